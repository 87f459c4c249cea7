//! What the doors hold of the engine: send requests, cancel them, watch.

use super::inbox::{Command, Sender};
use super::step_loop;
use crate::config::Settings;
use crate::scheduler::Key;
use crate::thermal::Budget;
use hearth_api::chat::TokenLogprob;
use hearth_api::{Fault, ModelInfo, ModelName, Reply, Request};
use hearth_models::{Store, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// How a delivery of a request ends.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// With an answer.
    Answered(Reply),
    /// With a fault.
    Failed(Fault),
    /// The daemon stops before it could be worked on: it was neither answered nor refused. The MQTT door leaves it
    /// unacknowledged, so that the broker delivers it again; the bus door, where nobody delivers again, says `cancelled`.
    HandedBack,
}

/// What is called with the end of a request.
pub type Deliver = Box<dyn FnOnce(Ending) + Send>;

/// What is called with each new piece of a language model's answer, if the request asks for that (`stream`, which the engine
/// finds in the payload). Called on an engine thread, before `deliver`; must not block.
pub type Stream = Box<dyn FnMut(Piece) -> Pace + Send>;

/// A piece of an answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Piece {
    /// The new text; whole characters.
    pub text: String,
    /// Of the tokens in it, where the request asks for that; else empty.
    pub logprobs: Vec<TokenLogprob>,
}

/// What a door says to a piece that it was given. It has taken the piece in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// More may come.
    Ready,
    /// The reader has to catch up: no more pieces for a while. An empty piece asks again, and is not sent on.
    Behind,
    /// Nobody reads any more: as if the request had been cancelled.
    Gone,
}

/// A request on its way into the engine.
pub struct Submission {
    /// Its identity.
    pub key: Key,
    /// The request.
    pub request: Request,
    /// Where pieces of the answer go, where the door can pass them on.
    pub stream: Option<Stream>,
    /// Called exactly once with its end, on an engine thread or within `submit`; must not block.
    pub deliver: Deliver,
}

/// Counts since the start, and what waits now.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// Requests that came.
    pub received: u64,
    /// Requests answered.
    pub answered: u64,
    /// Requests that ended in a fault, by kind.
    pub faults: BTreeMap<String, u64>,
    /// Requests handed back by a daemon that stops.
    pub handed_back: u64,
    /// Steps run.
    pub steps: u64,
    /// Requests in those steps.
    pub items: u64,
    /// Requests waiting now.
    pub waiting: u64,
    /// Bytes they hold.
    pub waiting_bytes: u64,
    /// Memory the loaded models hold, in bytes.
    pub model_bytes: u64,
    /// The same of each installed model.
    pub models: BTreeMap<ModelName, ModelStats>,
}

/// What one model has done since the daemon started or it was installed, and what is so now. A request that was delivered
/// several times is one; one that found the inbox full is in the whole's faults alone.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelStats {
    /// Requests answered.
    pub answered: u64,
    /// Time from arrival to answer, summed over those, in microseconds.
    pub answered_us: u64,
    /// Requests that ended in a fault.
    pub faults: u64,
    /// Tokens that it generated, where it is a language model.
    pub tokens: u64,
    /// Requests that came and are not over.
    pub waiting: u64,
    /// Requests in its last step; 0 before the first.
    pub batch: u32,
    /// Threads of its last step; 0 before the first.
    pub threads: u32,
}

/// What can be seen of the engine from outside.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Installed models, by name.
    pub models: Vec<ModelInfo>,
    /// Counts.
    pub stats: Stats,
}

/// A handle on the engine; cheap to clone. The engine stops when the last one is dropped, handing back what waits.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
}

struct Shared {
    inbox: Sender,
    store: Arc<Store>,
    payload_bytes: usize,
    /// Two looks at the store do not overtake each other.
    rescan: Mutex<()>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        let (done, _) = oneshot::channel();
        // A step loop that is gone has stopped already.
        let _ = self.inbox.send(Command::Drain { until: Instant::now(), done });
    }
}

/// Why the engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be read.
    #[error("the model store {} cannot be opened: {source}", directory.display())]
    Store {
        /// `models.directory`
        directory: PathBuf,
        /// Why.
        source: StoreError,
    },
    /// The runtime directory cannot be written.
    #[error("the flight record in {} cannot be written: {source}; the daemon needs a runtime directory of its own", directory.display())]
    FlightRecord {
        /// `runtime_directory`
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel gives no thread.
    #[error("a thread cannot be started: {0}")]
    Thread(io::Error),
}

impl Engine {
    /// Opens the store, starts the step loop and the loader, and begins to load what is pinned or preloaded.
    pub fn start(settings: &Settings) -> Result<Engine, StartError> {
        let step_loop::Started { inbox, store, snapshot } = step_loop::start(settings)?;
        let shared = Shared { inbox, store, payload_bytes: settings.limits.payload_bytes, rescan: Mutex::new(()) };
        Ok(Engine { shared: Arc::new(shared), snapshot })
    }

    /// Hands a request in. Never waits: a full queue is an ending.
    ///
    /// Until the step loop has seen it, between two nodes at the latest, a request lies in an inbox with the bounds of
    /// the queue itself (`limits.queue_requests`, `limits.queue_bytes`); what finds it full ends as `overloaded`.
    pub fn submit(&self, submission: Submission) {
        let bytes = submission.request.payload.bytes.len();
        if bytes > self.shared.payload_bytes {
            let limit = self.shared.payload_bytes;
            let fault = Fault::too_large(format!("the payload has {bytes} bytes, {limit} are allowed"));
            return (submission.deliver)(Ending::Failed(fault.with_limit("payload_bytes", limit as u64)));
        }
        self.shared.inbox.submit(submission);
    }

    /// The caller of this request does not want the answer any more. It ends as `cancelled`, unless its end came first;
    /// so do all deliveries of it.
    pub fn cancel(&self, key: &Key) {
        self.shared.inbox.cancel(key.clone());
    }

    /// The governor's decision.
    pub fn set_budget(&self, budget: Budget) {
        // A step loop that is gone spends nothing.
        let _ = self.shared.inbox.send(Command::Budget(budget));
    }

    /// The models to load and keep, as the configuration names them now.
    pub fn set_pinned(&self, models: &[ModelName]) {
        // A step loop that is gone has no models.
        let _ = self.shared.inbox.send(Command::Pinned(models.to_vec()));
    }

    /// A count that moves at least once a second while the step loop lives: each turn, and between the nodes of a graph.
    pub fn heartbeat(&self) -> u64 {
        self.shared.inbox.heartbeat()
    }

    /// Models and counts, each time they change (counts at most every second).
    pub fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshot.clone()
    }

    /// The store. Its methods block: call them where that may be, and `rescan` after a change.
    pub fn store(&self) -> Arc<Store> {
        self.shared.store.clone()
    }

    /// Loads a model, and keeps it in memory if `pin`. Resolves when it is ready or failed.
    pub async fn load(&self, model: &ModelName, pin: bool) -> Result<(), Fault> {
        self.ask(|done| Command::Load { model: model.clone(), pin, done }).await.unwrap_or_else(|| Err(stopped()))
    }

    /// Unpins a model and takes it out of memory; the step that uses it ends first.
    pub async fn unload(&self, model: &ModelName) -> Result<(), Fault> {
        self.ask(|done| Command::Unload { model: model.clone(), done }).await.unwrap_or_else(|| Err(stopped()))
    }

    /// Looks at the store again: models that came, went or changed version. A new version of a loaded model takes over
    /// when it is loaded; until then the old one answers.
    pub async fn rescan(&self) {
        let shared = self.shared.clone();
        let look = move || {
            let _one_at_a_time = shared.rescan.lock().unwrap_or_else(PoisonError::into_inner);
            let (done, seen) = oneshot::channel();
            match shared.store.list() {
                Ok(installed) => {
                    // A step loop that is gone drops `done`.
                    let _ = shared.inbox.send(Command::Installed { installed, done });
                }
                Err(error) => tracing::error!(%error, "the model store cannot be read; the models stay as they were"),
            }
            seen
        };
        if let Ok(seen) = tokio::task::spawn_blocking(look).await {
            // Also resolves when nobody is left to see it.
            let _ = seen.await;
        }
    }

    /// Admits nothing more, finishes what it can within `bound`, hands the rest back, stops the threads. Returns within
    /// `bound` and the time of the longest node, and at the latest a second after `bound`.
    pub async fn shutdown(&self, bound: Duration) {
        let done = self.ask(|done| Command::Drain { until: Instant::now() + bound, done });
        if tokio::time::timeout(bound + Duration::from_secs(1), done).await.is_err() {
            tracing::warn!("the engine did not stop in time: a single node of a model runs on");
        }
    }

    /// Sends a command and awaits its outcome; none when the step loop is gone.
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (done, outcome) = oneshot::channel();
        self.shared.inbox.send(command(done)).ok()?;
        outcome.await.ok()
    }
}

fn stopped() -> Fault {
    Fault::cancelled("the daemon is shutting down")
}
