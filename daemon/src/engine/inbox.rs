//! The way into the step loop: one channel of commands, bounded in requests and bytes before admission, and the
//! heartbeat that tells that somebody reads it.

use super::handle::{Deliver, Ending, Stream, Submission};
use super::loader::Loaded;
use crate::scheduler::Key;
use crate::thermal::Budget;
use hearth_api::{Fault, ModelName, Request};
use hearth_models::Installed;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// What a request weighs besides its payload: topics, names, its places in the tables.
const REQUEST_OVERHEAD: usize = 512;
/// The step loop empties the inbox between two nodes, so another try is soon worth while.
const RETRY: Duration = Duration::from_millis(100);

/// What the step loop is asked to do.
pub(super) enum Command {
    /// Work on this request.
    Submit(Arrival),
    /// Its caller does not want the answer any more.
    Cancel(Key),
    /// Spend no more than this.
    Budget(Budget),
    /// The models that the configuration pins.
    Pinned(Vec<ModelName>),
    /// Load a model, pin it if asked.
    Load { model: ModelName, pin: bool, done: oneshot::Sender<Result<(), Fault>> },
    /// Unpin a model and take it out of memory.
    Unload { model: ModelName, done: oneshot::Sender<Result<(), Fault>> },
    /// This is what the store holds.
    Installed { installed: Vec<Installed>, done: oneshot::Sender<()> },
    /// The loader is done with a model.
    Loaded(Loaded),
    /// Admit nothing more, end by this moment.
    Drain { until: Instant, done: oneshot::Sender<()> },
}

/// A request that came.
pub(super) struct Arrival {
    pub(super) key: Key,
    pub(super) request: Request,
    pub(super) stream: Option<Stream>,
    pub(super) delivery: Delivery,
    pub(super) came: Instant,
    /// The memory it holds while it waits, in bytes.
    pub(super) bytes: usize,
}

/// Tells a door the end of a request, exactly once: one that is dropped untold, because the step loop is gone, is handed
/// back.
pub(super) struct Delivery(Option<Deliver>);

impl Delivery {
    /// Tells the end.
    pub(super) fn end(mut self, ending: Ending) {
        self.tell(ending);
    }

    fn tell(&mut self, ending: Ending) {
        if let Some(deliver) = self.0.take()
            && catch_unwind(AssertUnwindSafe(|| deliver(ending))).is_err()
        {
            tracing::error!("a door panicked when it was told the end of a request");
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.tell(Ending::HandedBack);
    }
}

/// What both ends see.
#[derive(Default)]
struct Gauges {
    commands: AtomicUsize,
    requests: AtomicUsize,
    bytes: AtomicUsize,
    refused: AtomicU64,
    heartbeat: AtomicU64,
}

/// How much may lie in the inbox.
#[derive(Debug, Clone, Copy)]
pub(super) struct InboxBounds {
    /// Requests.
    pub(super) requests: usize,
    /// Bytes they hold.
    pub(super) bytes: usize,
}

/// The step loop has ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gone;

/// The senders' end.
#[derive(Clone)]
pub(super) struct Sender {
    channel: mpsc::Sender<Command>,
    gauges: Arc<Gauges>,
    bounds: InboxBounds,
}

/// The step loop's end.
pub(super) struct Receiver {
    channel: mpsc::Receiver<Command>,
    gauges: Arc<Gauges>,
}

/// A new inbox.
pub(super) fn inbox(bounds: InboxBounds) -> (Sender, Receiver) {
    let (sender, receiver) = mpsc::channel();
    let gauges = Arc::new(Gauges::default());
    (Sender { channel: sender, gauges: gauges.clone(), bounds }, Receiver { channel: receiver, gauges })
}

impl Sender {
    /// Puts a request in; where there is no room it ends here.
    pub(super) fn submit(&self, submission: Submission) {
        let Submission { key, request, stream, deliver } = submission;
        let bytes = request.payload.bytes.len() + key.correlation.len() + REQUEST_OVERHEAD;
        let arrival = Arrival { key, request, stream, delivery: Delivery(Some(deliver)), came: Instant::now(), bytes };
        let requests = self.gauges.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let all_bytes = self.gauges.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        // One request always fits, however small the bounds are.
        let full = if requests > self.bounds.requests.max(1) {
            Some(("queue_requests", self.bounds.requests))
        } else if all_bytes > self.bounds.bytes && requests > 1 {
            Some(("queue_bytes", self.bounds.bytes))
        } else {
            None
        };
        if let Some((limit, value)) = full {
            self.gauges.requests.fetch_sub(1, Ordering::Relaxed);
            self.gauges.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.gauges.refused.fetch_add(1, Ordering::Relaxed);
            let fault = Fault::overloaded(format!("{requests} requests of {all_bytes} bytes came at once"));
            let fault = fault.with_limit(limit, value as u64).retry_after(RETRY);
            return arrival.delivery.end(Ending::Failed(fault));
        }
        // Where the step loop is gone, dropping the command hands the request back.
        let _ = self.send(Command::Submit(arrival));
    }

    /// Puts a cancellation in. More of them than there can be requests are dropped: the requests run on.
    pub(super) fn cancel(&self, key: Key) {
        if self.gauges.commands.load(Ordering::Relaxed) <= self.bounds.requests.saturating_mul(2) {
            // Without a step loop there is nothing to cancel.
            let _ = self.send(Command::Cancel(key));
        }
    }

    /// Puts any other command in; its sender waits for the outcome, so these bound themselves. When nobody reads any more
    /// the command is dropped, and who waits for its outcome learns that.
    pub(super) fn send(&self, command: Command) -> Result<(), Gone> {
        self.gauges.commands.fetch_add(1, Ordering::Relaxed);
        self.channel.send(command).map_err(|_| {
            self.gauges.commands.fetch_sub(1, Ordering::Relaxed);
            Gone
        })
    }

    /// The step loop's heartbeat.
    pub(super) fn heartbeat(&self) -> u64 {
        self.gauges.heartbeat.load(Ordering::Relaxed)
    }
}

impl Receiver {
    /// Tells that the step loop lives.
    pub(super) fn beat(&self) {
        self.gauges.heartbeat.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests that found the inbox full, since the last time this was asked.
    pub(super) fn take_refused(&self) -> u64 {
        self.gauges.refused.swap(0, Ordering::Relaxed)
    }

    /// Whether a command is there; cheap enough to ask between two nodes.
    pub(super) fn has_commands(&self) -> bool {
        self.gauges.commands.load(Ordering::Relaxed) > 0
    }

    /// The next command, if there is one.
    pub(super) fn next(&self) -> Option<Command> {
        self.channel.try_recv().ok().inspect(|command| self.taken(command))
    }

    /// The next command that comes within `wait`. A thread of its own: blocks.
    pub(super) fn next_within(&self, wait: Duration) -> Option<Command> {
        self.channel.recv_timeout(wait).ok().inspect(|command| self.taken(command))
    }

    fn taken(&self, command: &Command) {
        self.gauges.commands.fetch_sub(1, Ordering::Relaxed);
        if let Command::Submit(arrival) = command {
            self.gauges.requests.fetch_sub(1, Ordering::Relaxed);
            self.gauges.bytes.fetch_sub(arrival.bytes, Ordering::Relaxed);
        }
    }
}
