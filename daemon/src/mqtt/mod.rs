//! The MQTT door: requests from the broker into the engine, answers and the daemon's state back. The only place that names
//! rumqttc.
//!
//! Sessions, each with an id of its own that the broker remembers: `control` (cancellations in, retained state out), `infer`,
//! `chat` and `groups` (requests in, answers out). A request is acknowledged after its answer is, in order of arrival; a talk
//! goes on for minutes, so it has a session of its own, where it holds up no acknowledgement but those of other talks.

mod connection;
mod control;
pub mod embedded;
mod ledger;
mod link;
mod message;
mod outbox;
mod request;
mod requests;
mod retained;
mod retry;
mod session;
mod status;
mod tls;
mod trouble;

pub use status::{SessionStatus, Status};
pub use tls::TlsError;

use crate::config;
use crate::engine::Engine;
use crate::thermal::Heat;
use hearth_api::topics::Topics;
use std::time::Duration;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

/// Cancellations that a session may be behind.
const CANCELLATIONS: usize = 256;
/// What leaving takes beyond the engine's own bound: the last answers and their acknowledgements.
const GOODBYE: Duration = Duration::from_secs(1);

/// Serves until `shutdown`; then takes nothing more, publishes the answers of what the engine still finishes within its
/// bound, leaves the rest to the broker, and returns. Best cancelled when the engine's own shutdown begins: then callers
/// read `offline` before anything of theirs is handed back. `status` is told how the door stands with the broker.
pub async fn serve(
    settings: config::Mqtt,
    topics: Topics,
    limits: config::Limits,
    engine: Engine,
    heat: watch::Receiver<Heat>,
    status: watch::Sender<Status>,
    shutdown: CancellationToken,
) -> Result<(), TlsError> {
    let common = session::Common {
        tls: session::tls(&settings.broker)?,
        settings: &settings,
        topics: &topics,
        leave_within: limits.shutdown + GOODBYE,
        report: status::Report(status.clone()),
    };
    let bounds = outbox::Bounds { messages: usize::from(settings.receive_maximum) * 2, payload_bytes: limits.queue_bytes };
    let rules =
        request::Rules { topics: topics.clone(), response_topics: settings.response_topics.clone(), payload_bytes: limits.payload_bytes };
    // All of them are known before the first has subscribed: who waits for `online` would else be lost to the others.
    let names = ["control", "infer", "chat"].into_iter().chain(common.groups().map(|session| session.name));
    names.for_each(|name| common.report.update(name, |_| ()));
    let (cancel, cancelled) = broadcast::channel(CANCELLATIONS);
    let requests = || requests::Requests::new(engine.clone(), rules.clone(), cancelled.resubscribe());
    let infer = link::keep(common.infer(), requests(), bounds, shutdown.clone());
    let chat = link::keep(common.chat(), requests(), bounds, shutdown.clone());
    let groups = common.groups().map(|session| link::keep(session, requests(), bounds, shutdown.clone()));
    let control = control::Control {
        retained: retained::Retained::new(topics.clone(), limits),
        snapshot: engine.watch(),
        heat,
        status: status.subscribe(),
        cancel,
        leaving: false,
    };
    let control = link::keep(common.control(), control, bounds, shutdown);
    // Each session polls in a task of its own: a burst of requests does not hold back a cancellation.
    let mut sessions = tokio::task::JoinSet::new();
    sessions.spawn(control);
    sessions.spawn(infer);
    sessions.spawn(chat);
    if let Some(groups) = groups {
        sessions.spawn(groups);
    }
    sessions.join_all().await;
    Ok(())
}
