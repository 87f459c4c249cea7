//! The D-Bus door: the requests that also come over MQTT, from programs on this board. The only place that names zbus.
//!
//! ```text
//! /org/hearthd                          ObjectManager
//! /org/hearthd/Inference1               .Manager .Thermal
//! /org/hearthd/Inference1/model/<name>  .Model: Infer, Submit, Load, Unload
//! /org/hearthd/Inference1/job/<n>       .Job: Result, Cancel, Finished
//! ```
//! `daemon/api/contract` holds the introspection of each interface.

mod authority;
mod caller;
mod error;
mod job;
mod manager;
mod model;
mod objects;
mod options;
mod payload;
mod peer;
mod request;
mod thermal;

use crate::config::{Bus, Limits};
use crate::engine::{Engine, Snapshot};
use crate::thermal::Heat;
use caller::Callers;
use futures_util::StreamExt;
use hearth_api::Fault;
use hearth_api::dbus::BUS_NAME;
use hearth_api::topics::NodeName;
use objects::Objects;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use zbus::message::Header;
use zbus::{Connection, MatchRule, MessageStream, connection, message};

/// Between two tries to come back to a bus that went away: doubled from the first to the last.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// How long the last replies may take to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What the door serves.
pub struct Service {
    /// Name of this node.
    pub node: NodeName,
    /// Bounds on payloads and on what is kept.
    pub limits: Limits,
    /// Where requests go.
    pub engine: Engine,
    /// What the thermal interface tells.
    pub heat: watch::Receiver<Heat>,
}

/// Why the door cannot open.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The bus is not there, or does not let us in.
    #[error("{bus} cannot be served: {source}")]
    Bus {
        /// Which.
        bus: String,
        /// Why.
        source: zbus::Error,
    },
    /// Another daemon has the name.
    #[error("{BUS_NAME} on {bus} belongs to another process: is another hearthd running?")]
    NameTaken {
        /// Where.
        bus: String,
    },
    /// The bus's policy does not let us have the name.
    #[error("the policy of {bus} does not let this user own {BUS_NAME}: install dbus-1/system.d/{BUS_NAME}.conf ({reason})")]
    NameDenied {
        /// Where.
        bus: String,
        /// What the bus said.
        reason: String,
    },
    /// The socket for peers cannot be made.
    #[error("peers cannot be served on {}: {source}", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another daemon listens there.
    #[error("{} is served by another process: is another hearthd running?", path.display())]
    SocketTaken {
        /// Where.
        path: PathBuf,
    },
}

/// What all objects on all connections share.
struct Door {
    node: NodeName,
    limits: Limits,
    engine: Engine,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    heat: watch::Receiver<Heat>,
}

/// One connection, as its objects see it.
struct Link {
    door: Arc<Door>,
    callers: Callers,
    side: Side,
}

/// Who is at the other side of a connection.
enum Side {
    /// A bus with any number of callers.
    Bus {
        /// Whether it is the system bus, where polkit can be asked.
        polkit: bool,
    },
    /// One caller.
    Peer {
        /// What we call it; it has no name of its own.
        name: Arc<str>,
        /// Its user, where the socket tells.
        user: Option<u32>,
    },
}

impl Link {
    /// Who makes this call.
    fn caller(&self, call: &Header<'_>) -> Result<Arc<str>, Fault> {
        match &self.side {
            Side::Peer { name, .. } => Ok(name.clone()),
            Side::Bus { .. } => {
                call.sender().map(|name| name.as_str().into()).ok_or_else(|| Fault::bad_request("the call names no sender"))
            }
        }
    }
}

/// Opens the door: resolves when the name is ours, or the socket listens. The task behind the handle ends after `shutdown`
/// is cancelled and the pending calls have returned, which the engine's own shutdown sees to; they get at most
/// `limits.shutdown`. A bus that goes away is come back to.
pub async fn serve(bus: Bus, service: Service, shutdown: CancellationToken) -> Result<JoinHandle<()>, ServeError> {
    let door = Arc::new(Door {
        node: service.node,
        limits: service.limits,
        snapshot: service.engine.watch(),
        engine: service.engine,
        heat: service.heat,
    });
    if let Bus::Peer(path) = bus {
        return peer::serve(path, door, shutdown);
    }
    let first = connect(&bus, &door).await?;
    tracing::info!("serving {BUS_NAME} on {}", describe(&bus));
    Ok(tokio::spawn(async move {
        let mut open = first;
        loop {
            tokio::select! {
                () = open.follow() => {}
                () = shutdown.cancelled() => return open.close().await,
            }
            tracing::warn!("{} has gone; coming back to it", describe(&bus));
            open.link.callers.leave_all();
            tokio::select! {
                again = reconnect(&bus, &door) => open = again,
                () = shutdown.cancelled() => return,
            }
            tracing::info!("serving {BUS_NAME} on {} again", describe(&bus));
        }
    }))
}

/// Our side of a bus.
struct OnBus {
    connection: Connection,
    link: Arc<Link>,
    objects: Option<Objects>,
    departures: MessageStream,
}

impl OnBus {
    /// Keeps the objects and the callers up to date until the connection closes.
    async fn follow(&mut self) {
        let objects = self.objects.take();
        let (connection, callers, departures) = (&self.connection, &self.link.callers, &mut self.departures);
        let follow_objects = async {
            match objects {
                Some(objects) => objects.follow(connection).await,
                None => connection.closed().await,
            }
        };
        let follow_callers = async {
            while let Some(Ok(signal)) = departures.next().await {
                match signal.body().deserialize::<(&str, &str, &str)>() {
                    Ok((name, _, "")) if name.starts_with(':') => callers.leave(name),
                    _ => {}
                }
            }
        };
        tokio::join!(follow_objects, follow_callers);
    }

    /// Gives the name back, lets the pending calls return, and goes.
    async fn close(self) {
        if let Err(error) = self.connection.release_name(BUS_NAME).await {
            tracing::debug!(%error, "the name was not given back");
        }
        let OnBus { connection, link, departures, .. } = self;
        drop(departures);
        leave(connection, &link.callers, link.door.limits.shutdown).await;
    }
}

/// Waits until no call is pending, for at most `bound`; then the jobs go, and the connection once the last reply is on it.
async fn leave(connection: Connection, callers: &Callers, bound: Duration) {
    if tokio::time::timeout(bound, callers.idle()).await.is_err() {
        tracing::warn!("calls were still pending when the door closed");
    }
    callers.leave_all();
    if tokio::time::timeout(LAST_WORDS, connection.graceful_shutdown()).await.is_err() {
        tracing::debug!("a caller did not take its last replies");
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

async fn connect(bus: &Bus, door: &Arc<Door>) -> Result<OnBus, ServeError> {
    let failed = |source: zbus::Error| match source {
        zbus::Error::NameTaken => ServeError::NameTaken { bus: describe(bus) },
        source => ServeError::Bus { bus: describe(bus), source },
    };
    let builder = match bus {
        Bus::System => connection::Builder::system(),
        Bus::Session => connection::Builder::session(),
        Bus::Address(address) => connection::Builder::address(address.as_str()),
        Bus::Peer(path) => return Err(ServeError::Socket { path: path.clone(), source: std::io::ErrorKind::Unsupported.into() }),
    };
    let callers = Callers::new(door.engine.clone());
    let link = Arc::new(Link { door: door.clone(), callers, side: Side::Bus { polkit: *bus == Bus::System } });
    let (objects, builder) = Objects::serve(link.clone(), builder);
    let connection = builder.build().await.map_err(failed)?;
    // Before the name is asked for: whoever calls by the name is heard to leave.
    let departures = departures(&connection).await.map_err(failed)?;
    connection.request_name(BUS_NAME).await.map_err(failed)?;
    Ok(OnBus { connection, link, objects: Some(objects), departures })
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

async fn reconnect(bus: &Bus, door: &Arc<Door>) -> OnBus {
    let (mut pause, longest) = RETRY;
    loop {
        tokio::time::sleep(pause).await;
        match connect(bus, door).await {
            Ok(open) => return open,
            Err(error) => tracing::warn!(%error, "the bus is not back; the next try is in {pause:?}"),
        }
        pause = (pause * 2).min(longest);
    }
}
