//! The D-Bus door: the requests that also come over MQTT, from programs on this board. The only place that names zbus.
//!
//! ```text
//! /org/hearthd                          ObjectManager
//! /org/hearthd/Inference1               .Manager .Thermal
//! /org/hearthd/Inference1/model/<name>  .Model: Infer, Submit, Chat, Load, Unload
//! /org/hearthd/Inference1/job/<n>       .Job: Result, Cancel, Finished
//! ```
//! `daemon/api/contract` holds the introspection of each interface.

mod administration;
mod authority;
mod bus;
mod caller;
mod error;
mod job;
mod manager;
mod model;
mod objects;
mod options;
mod payload;
mod peer;
mod profiles;
mod request;
mod talk;
mod thermal;

use crate::config::{Bus, Limits, Models, Settings};
use crate::engine::{Engine, Snapshot};
use crate::thermal::Monitor;
use caller::Callers;
use hearth_api::Fault;
use hearth_api::dbus::BUS_NAME;
use hearth_api::topics::NodeName;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use zbus::Connection;
use zbus::message::Header;
use zbus::names::BusName;
use zbus::object_server::SignalEmitter;

/// Between two tries to open the door: doubled from the first to the last.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// How long pending calls may take to return once the engine has stopped, and then the last replies to be written.
const FAREWELL: Duration = Duration::from_millis(500);

/// Why the door cannot open.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error("{bus} cannot be served: {source}")]
    Bus { bus: String, source: zbus::Error },
    #[error("{BUS_NAME} on {bus} belongs to another process: is another hearthd running?")]
    NameTaken { bus: String },
    #[error("the policy of {bus} does not let this user own {BUS_NAME} ({reason}); on the system bus, system.d/{BUS_NAME}.conf allows it")]
    NameDenied { bus: String, reason: String },
    #[error("peers cannot be served on {}: {source}", path.display())]
    Socket { path: PathBuf, source: std::io::Error },
    #[error("{} is served by another process: is another hearthd running?", path.display())]
    SocketTaken { path: PathBuf },
}

/// What all objects on all connections share.
struct Door {
    node: NodeName,
    limits: Limits,
    models: Models,
    engine: Engine,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    monitor: Monitor,
    /// Held by whoever changes the store.
    administration: tokio::sync::Mutex<()>,
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

/// An emitter of signals to this caller alone. On a bus; a peer is alone, and has no name.
pub(super) fn addressed<'e>(emitter: &SignalEmitter<'e>, caller: &str) -> SignalEmitter<'e> {
    match BusName::try_from(caller) {
        Ok(caller) if emitter.connection().is_bus() => emitter.clone().set_destination(caller.to_owned()),
        _ => emitter.clone(),
    }
}

/// Serves until `shutdown` is cancelled, which comes after the engine's own shutdown, so that every pending call has ended.
/// A bus or socket that cannot be served is tried again, and so is a bus that goes away; `tried` is cancelled after the first try.
pub async fn serve(bus: Bus, settings: Settings, engine: Engine, monitor: Monitor, tried: CancellationToken, shutdown: CancellationToken) {
    let Settings { node, limits, models, .. } = settings;
    let door =
        Arc::new(Door { node, limits, models, snapshot: engine.watch(), engine, monitor, administration: tokio::sync::Mutex::default() });
    match bus {
        Bus::Peer(path) => peer::serve(&path, &door, &tried, &shutdown).await,
        bus => bus::serve(&bus, &door, &tried, &shutdown).await,
    }
}

/// Tries until it works, saying each time why it did not; none once `shutdown` is cancelled. `tried` is cancelled after the first try.
async fn until_open<T, F>(tried: &CancellationToken, shutdown: &CancellationToken, open: impl Fn() -> F) -> Option<T>
where
    F: Future<Output = Result<T, OpenError>>,
{
    let (mut pause, longest) = RETRY;
    shutdown
        .run_until_cancelled(async {
            loop {
                let outcome = open().await;
                tried.cancel();
                match outcome {
                    Ok(opened) => return opened,
                    Err(error) => tracing::error!("{error}; the next try is in {} s", pause.as_secs_f64()),
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(longest);
            }
        })
        .await
}

/// Waits until no call is pending; then the jobs go, and the connection once the last reply is written. Both bounded.
async fn leave(connection: Connection, callers: &Callers) {
    if tokio::time::timeout(FAREWELL, callers.idle()).await.is_err() {
        tracing::warn!("calls were still pending when the door closed");
    }
    callers.leave_all();
    if tokio::time::timeout(FAREWELL, connection.graceful_shutdown()).await.is_err() {
        tracing::debug!("a caller did not take its last replies");
    }
}
