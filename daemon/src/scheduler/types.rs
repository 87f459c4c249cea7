//! What goes into the scheduler and what comes out.
//!
//! **How a ticket ends.** Each ticket that came in a [`Event::Submit`] ends exactly once, in one of four ways: by
//! [`Action::Attach`], by [`Action::Refuse`], by [`Action::HandBack`], or by the [`Event::Finished`] of the step that
//! holds it (and does not say that it is unfinished). The engine owns the answers of a step: it delivers them, faults of a failed step included, before or after
//! it reports `Finished`.

use crate::thermal::Budget;
use bytes::Bytes;
use hearth_api::{Fault, ModelName, Point, Priority};
use std::sync::Arc;
use std::time::Duration;

/// A moment: the time since the engine started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time(pub Duration);

impl Time {
    /// The time passed since `earlier`; zero if that is later.
    pub fn since(self, earlier: Time) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Add<Duration> for Time {
    type Output = Time;
    fn add(self, after: Duration) -> Time {
        Time(self.0.saturating_add(after))
    }
}

impl std::ops::Sub<Duration> for Time {
    type Output = Time;
    /// Not before the start of the engine.
    fn sub(self, before: Duration) -> Time {
        Time(self.0.saturating_sub(before))
    }
}

/// A request inside the daemon; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// A step of work: one batch of one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepId(pub u64);

/// The door a request came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Door {
    /// The MQTT broker.
    Mqtt,
    /// The bus.
    Bus,
}

/// What makes two deliveries the same request: a redelivery attaches to its running work.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// The door.
    pub door: Door,
    /// Where the answer goes: the response topic, or the caller's unique bus name.
    pub reply_to: Arc<str>,
    /// The caller's correlation data, or the request id.
    pub correlation: Bytes,
}

/// A request as the scheduler sees it.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its ticket.
    pub ticket: Ticket,
    /// Its identity.
    pub key: Key,
    /// The model asked for.
    pub model: ModelName,
    /// How urgent it is.
    pub priority: Priority,
    /// When the answer stops being worth having.
    pub deadline: Time,
    /// Memory it holds while it waits.
    pub bytes: usize,
    /// Was in a step that killed the daemon: runs in a batch of its own.
    pub alone: bool,
}

/// Whether a model can run, as the scheduler needs to know it.
#[derive(Debug, Clone)]
pub enum Readiness {
    /// Installed, not loaded: the first job asks for it.
    Available,
    /// On its way: jobs wait within their deadlines.
    Loading,
    /// Runs.
    Ready(Arc<Profile>),
    /// Cannot run: jobs end with this fault.
    Failed(Fault),
    /// Not installed any more: jobs end as `unknown-model`.
    Removed,
}

/// How a model may be batched, and what its batches were measured to cost.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The most jobs in a step.
    pub max_batch: u32,
    /// The longest a job may wait for others to join.
    pub max_delay: Duration,
    /// Measured points, the whole table each time. Until it holds two batch sizes on one thread it says nothing about
    /// batching: small batches of what is there, on one thread.
    pub points: Vec<Point>,
    /// Its requests are conversations: a step takes each of as many as may ride a token or a piece of a prompt further, on all
    /// threads; those that are not over wait for the next step ([`Event::Finished`]).
    pub conversations: bool,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A request came.
    Submit(Job),
    /// Its caller does not want the answer any more. While it waits it ends at once, by `Refuse` as `cancelled`. In a
    /// step it ends with the step: the engine drops the answer, and a new delivery of the same request is a new request.
    Cancel(Ticket),
    /// A model changed state, or its points were measured anew.
    Model(ModelName, Readiness),
    /// A step is over, well or badly.
    Finished {
        /// Which.
        step: StepId,
        /// How long the step computed, without what ran inside it.
        took: Duration,
        /// Requests of the step that are not over: they wait again, where they stood, and ride in a later step.
        unfinished: Vec<Ticket>,
    },
    /// The running step stands between two nodes of its graph and may be interrupted. Worth sending only while
    /// [`Scheduler::wants_interruption`](super::Scheduler::wants_interruption).
    Between(StepId),
    /// The governor has decided anew.
    Budget(Budget),
    /// The time asked for by `WakeAt` has come.
    Timer,
    /// The daemon shuts down: nothing is admitted any more; what has not begun by then ends by `HandBack`.
    Drain {
        /// Until when.
        until: Time,
    },
}

/// What the engine shall do.
#[derive(Debug, Clone)]
pub enum Action {
    /// The same request is already at work: this delivery shares its answer.
    Attach {
        /// The new ticket; over for the scheduler.
        ticket: Ticket,
        /// The one at work.
        to: Ticket,
    },
    /// The request ends here, with this fault.
    Refuse {
        /// Which.
        ticket: Ticket,
        /// Why.
        fault: Fault,
    },
    /// The daemon shuts down before this request could begin. It was neither answered nor refused: whoever can deliver
    /// it again (the broker) shall; anyone else is told `cancelled`.
    HandBack {
        /// Which.
        ticket: Ticket,
    },
    /// Load this model. Sent once for each time the model becomes `Available` while somebody wants it.
    Load(ModelName),
    /// Run this step; at most two at a time, the second inside the first, between two of its nodes.
    Run(Step),
    /// Send `Timer` at this time; replaces an earlier wish. A `Timer` that comes with nothing to do is harmless.
    WakeAt(Time),
}

/// A batch to run.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its name.
    pub id: StepId,
    /// The model.
    pub model: ModelName,
    /// Its requests, the oldest first.
    pub jobs: Vec<StepJob>,
    /// Threads to use.
    pub threads: u32,
}

/// A request in a step.
#[derive(Debug, Clone, Copy)]
pub struct StepJob {
    /// Which.
    pub ticket: Ticket,
    /// How long it waited for its model's turn.
    pub queued: Duration,
    /// How long it waited, on purpose, for others to join.
    pub batched: Duration,
}

/// Bounds on what waits. A sixteenth of each is kept for high priority, and no caller and no model may hold more than
/// four times what it leaves free for others.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Requests waiting or running, in all.
    pub requests: usize,
    /// Bytes they hold, in all.
    pub bytes: usize,
    /// Requests waiting for one model.
    pub requests_per_model: usize,
    /// Deadline of a request that names none; also the longest that a request with a later deadline is overtaken by
    /// requests with earlier ones.
    pub default_timeout: Duration,
    /// Who would have to wait for more than this share of the time left to its deadline is refused; infinity refuses nobody.
    pub patience: f64,
}

impl Bounds {
    /// The patience of the daemon: who is let in has the answer early enough to be worth it, and who is not knows at once.
    pub const PATIENCE: f64 = 0.25;
}
