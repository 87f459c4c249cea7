//! Serving on a bus: the name, who leaves, and coming back to a bus that went away.

use super::caller::Callers;
use super::objects::Objects;
use super::{Door, FAREWELL, Link, OpenError, Side, leave, profiles, until_open};
use crate::config::Bus;
use futures_util::StreamExt;
use hearth_api::dbus::BUS_NAME;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use zbus::{Connection, MatchRule, MessageStream, connection, message};

/// Our side of a bus.
struct OnBus {
    connection: Connection,
    callers: Callers,
    objects: Objects,
    departures: MessageStream,
}

/// Serves on this bus until `shutdown` is cancelled.
pub(super) async fn serve(bus: &Bus, door: &Arc<Door>, tried: &CancellationToken, shutdown: &CancellationToken) {
    while let Some(open) = until_open(tried, shutdown, move || connect(bus, door)).await {
        tracing::info!("serving {BUS_NAME} on {}", describe(bus));
        let OnBus { connection, callers, objects, departures } = open;
        let profiles = profiles::follow(&connection, &door.monitor);
        let follow = async { tokio::join!(objects.follow(&connection), follow_departures(departures, &callers), profiles) };
        if shutdown.run_until_cancelled(follow).await.is_none() {
            // Who calls from now on is told, or waits for the next to own the name.
            if tokio::time::timeout(FAREWELL, connection.release_name(BUS_NAME)).await.is_err() {
                tracing::debug!("the bus did not take the name back");
            }
            return leave(connection, &callers).await;
        }
        callers.leave_all();
        tracing::warn!("{} has gone; coming back to it", describe(bus));
    }
}

fn describe(bus: &Bus) -> String {
    match bus {
        Bus::System => "the system bus".into(),
        Bus::Session => "the session bus".into(),
        Bus::Address(address) => format!("the bus at {address}"),
        Bus::Peer(path) => format!("the socket {}", path.display()),
    }
}

async fn connect(bus: &Bus, door: &Arc<Door>) -> Result<OnBus, OpenError> {
    let failed = |source| OpenError::Bus { bus: describe(bus), source };
    let builder = match bus {
        Bus::System => connection::Builder::system(),
        Bus::Session => connection::Builder::session(),
        Bus::Address(address) => connection::Builder::address(address.as_str()),
        Bus::Peer(path) => {
            return Err(OpenError::Socket { path: path.clone(), source: std::io::ErrorKind::Unsupported.into() });
        }
    };
    let callers = Callers::new(door.engine.clone());
    let link = Arc::new(Link { door: door.clone(), callers: callers.clone(), side: Side::Bus { polkit: *bus == Bus::System } });
    let (objects, builder) = Objects::serve(link, builder);
    let connection = builder.build().await.map_err(failed)?;
    // Before the name is asked for: whoever finds us by it is heard to leave.
    let departures = departures(&connection).await.map_err(failed)?;
    match connection.request_name(BUS_NAME).await {
        Ok(()) => Ok(OnBus { connection, callers, objects, departures }),
        Err(zbus::Error::NameTaken) => Err(OpenError::NameTaken { bus: describe(bus) }),
        Err(zbus::Error::MethodError(name, reason, _)) if name == "org.freedesktop.DBus.Error.AccessDenied" => {
            Err(OpenError::NameDenied { bus: describe(bus), reason: reason.unwrap_or_default() })
        }
        Err(error) => Err(failed(error)),
    }
}

/// `NameOwnerChanged` with no new owner: of all that happens on a bus, only who leaves it.
async fn departures(connection: &Connection) -> zbus::Result<MessageStream> {
    let rule = MatchRule::builder()
        .msg_type(message::Type::Signal)
        .sender("org.freedesktop.DBus")
        .interface("org.freedesktop.DBus")
        .member("NameOwnerChanged")
        .arg(2, "")
        .build()?;
    MessageStream::for_match_rule(rule, connection, None).await
}

async fn follow_departures(mut departures: MessageStream, callers: &Callers) {
    while let Some(Ok(signal)) = departures.next().await {
        match signal.body().deserialize::<(&str, &str, &str)>() {
            Ok((name, _, "")) if name.starts_with(':') => callers.leave(name),
            _ => {}
        }
    }
}
