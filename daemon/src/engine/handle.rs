//! What the doors hold of the engine: send requests, cancel them, watch.

use crate::config::Settings;
use crate::scheduler::Key;
use crate::thermal::Budget;
use hearth_api::{Fault, ModelInfo, ModelName, Reply, Request};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

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

/// A request on its way into the engine.
pub struct Submission {
    /// Its identity.
    pub key: Key,
    /// The request.
    pub request: Request,
    /// Called exactly once with its end, on an engine thread or within `submit`; must not block.
    pub deliver: Box<dyn FnOnce(Ending) + Send>,
}

/// Counts since the start, and what waits now.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// Requests that came.
    pub received: u64,
    /// Requests answered.
    pub answered: u64,
    /// Requests that ended in a fault, by kind.
    pub faults: std::collections::BTreeMap<String, u64>,
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
}

/// What can be seen of the engine from outside.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Installed models, by name.
    pub models: Vec<ModelInfo>,
    /// Counts.
    pub stats: Stats,
}

/// A handle on the engine; cheap to clone.
#[derive(Clone)]
pub struct Engine {
    snapshot: watch::Receiver<Arc<Snapshot>>,
}

/// Why the engine cannot start.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

impl Engine {
    /// Opens the store, starts the step loop and the loader, and begins to load what is pinned or preloaded.
    pub fn start(_settings: &Settings) -> Result<Engine, StartError> {
        todo!()
    }

    /// Hands a request in. Never waits: a full queue is an outcome.
    pub fn submit(&self, _submission: Submission) {
        todo!()
    }

    /// The caller of this request does not want the answer any more. Its outcome is `cancelled`, unless it came first.
    pub fn cancel(&self, _key: &Key) {
        todo!()
    }

    /// The governor's decision.
    pub fn set_budget(&self, _budget: Budget) {
        todo!()
    }

    /// A count that moves at least once a second while the step loop lives: each turn, and between the nodes of a graph.
    pub fn heartbeat(&self) -> u64 {
        todo!()
    }

    /// Models and counts, each time they change (counts at most every second).
    pub fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshot.clone()
    }

    /// Loads a model, and keeps it in memory if `pin`. Resolves when it is ready or failed.
    pub async fn load(&self, _model: &ModelName, _pin: bool) -> Result<(), Fault> {
        todo!()
    }

    /// Takes a model out of memory, once the step that uses it is over.
    pub async fn unload(&self, _model: &ModelName) -> Result<(), Fault> {
        todo!()
    }

    /// Looks at the store again: models that came, went or changed version.
    pub async fn rescan(&self) {
        todo!()
    }

    /// Admits nothing more, finishes what it can within `bound`, hands the rest back, stops the threads.
    pub async fn shutdown(&self, _bound: Duration) {
        todo!()
    }
}
