//! The step loop: one thread that owns the scheduler, the loaded models and the compute pool. It takes commands in, tells
//! the scheduler, and carries its actions out. How a step runs is in `step.rs`, how models come and go in `models.rs`.

use super::catalog::Catalog;
use super::conversations::Conversations;
use super::flight::{FlightRecord, Mark};
use super::handle::{Ending, Snapshot, StartError, Stats, Stream};
use super::inbox::{self, Arrival, Command, Delivery, InboxBounds, Receiver, Sender};
use super::loader::{self, Chore};
use super::memory::MemoryBudget;
use super::step::{Interruption, micros};
use crate::config::{self, Settings};
use crate::scheduler::{Action, Bounds, Event, Job, Key, Scheduler, Step, Ticket, Time};
use crate::thermal::Budget;
use hearth_api::{Fault, FaultKind, ModelName, Reply, Request, RequestId};
use hearth_kernels::Pool;
use hearth_models::Store;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{oneshot, watch};

/// The step loop wakes at least this often, so that its heartbeat moves; counts are told no more often.
const TICK: Duration = Duration::from_secs(1);
/// Deliveries of one request beyond this are refused; a door that redelivers more often is broken.
const DELIVERIES: usize = 64;

/// A request that is not over yet.
pub(super) struct Waiting {
    pub(super) key: Key,
    pub(super) request: Request,
    came: Instant,
    /// Time between `submit` and the step loop.
    pub(super) in_inbox: Duration,
    bytes: usize,
    /// Where pieces of the answer go. Pieces go to the first delivery alone.
    pub(super) stream: Option<Stream>,
    delivery: Delivery,
    /// Redeliveries that share the end.
    attached: Vec<(RequestId, Delivery)>,
}

/// What the handle needs of a started engine.
pub(super) struct Started {
    pub(super) inbox: Sender,
    pub(super) store: Arc<Store>,
    pub(super) snapshot: watch::Receiver<Arc<Snapshot>>,
}

/// The state of the step loop; lives on its thread.
pub(super) struct StepLoop {
    pub(super) inbox: Receiver,
    pub(super) scheduler: Scheduler,
    pub(super) pool: Arc<Pool>,
    pub(super) catalog: Catalog,
    pub(super) flight: FlightRecord,
    pub(super) loader: mpsc::Sender<Chore>,
    pub(super) store: Arc<Store>,
    pub(super) settings: config::Models,
    pub(super) budget: Budget,
    pub(super) waiting: HashMap<Ticket, Waiting>,
    pub(super) conversations: Conversations,
    tickets: HashMap<Key, Ticket>,
    last_ticket: u64,
    default_timeout: Duration,
    chat_timeout: Duration,
    /// Moment zero of the scheduler.
    start: Instant,
    wake: Option<Time>,
    /// The step the scheduler wants run.
    pub(super) next: Option<Step>,
    pub(super) interruption: Interruption,
    /// When the last step ended.
    pub(super) quiet_since: Instant,
    /// When measuring may go on.
    pub(super) measure_at: Instant,
    drain: Option<Instant>,
    drained: Vec<oneshot::Sender<()>>,
    over: bool,
    pub(super) stats: Stats,
    pub(super) models_changed: bool,
    stats_changed: bool,
    told: Instant,
    snapshot: watch::Sender<Arc<Snapshot>>,
}

/// Starts the step loop and the loader.
pub(super) fn start(settings: &Settings) -> Result<Started, StartError> {
    let directory = &settings.models.directory;
    let store_error = |source| StartError::Store { directory: directory.clone(), source };
    let store = Arc::new(Store::open(directory).map_err(store_error)?);
    let flight = FlightRecord::open(&settings.runtime_directory, SystemTime::now())
        .map_err(|source| StartError::FlightRecord { directory: settings.runtime_directory.clone(), source })?;
    let limits = &settings.limits;
    let threads = limits.compute_threads().max(1);
    let bounds = Bounds {
        requests: limits.queue_requests,
        bytes: limits.queue_bytes,
        requests_per_model: limits.queue_requests_per_model,
        default_timeout: limits.default_timeout,
        patience: Bounds::PATIENCE,
    };
    let budget = Budget::unbounded(threads);
    let memory = MemoryBudget::new(settings.models.memory_bytes, Path::new("/"));
    tracing::info!(threads, memory = %memory, "the engine starts");
    let (sender, receiver) = inbox::inbox(InboxBounds { requests: bounds.requests, bytes: bounds.bytes });
    let (chores, _) = loader::start(store.clone(), sender.clone()).map_err(StartError::Thread)?;
    let (snapshot, watch) = watch::channel(Arc::default());
    let now = Instant::now();
    let mut step_loop = StepLoop {
        inbox: receiver,
        scheduler: Scheduler::new(bounds, budget.clone()),
        pool: Arc::new(Pool::new(threads as usize)),
        catalog: Catalog::new(memory, settings.models.overcommit.clone()),
        flight,
        loader: chores,
        store: store.clone(),
        settings: settings.models.clone(),
        budget,
        waiting: HashMap::new(),
        conversations: Conversations::default(),
        tickets: HashMap::new(),
        last_ticket: 0,
        default_timeout: limits.default_timeout,
        chat_timeout: limits.chat_timeout,
        start: now,
        wake: None,
        next: None,
        interruption: Interruption::default(),
        quiet_since: now,
        measure_at: now,
        drain: None,
        drained: Vec::new(),
        over: false,
        stats: Stats::default(),
        models_changed: true,
        stats_changed: false,
        told: now,
        snapshot,
    };
    step_loop.quarantine().map_err(store_error)?;
    step_loop.installed(store.list().map_err(store_error)?);
    step_loop.preload();
    // What is installed can be seen as soon as the engine has started.
    step_loop.tell_watchers(now);
    thread::Builder::new().name("hearth-step-loop".into()).spawn(move || step_loop.run()).map_err(StartError::Thread)?;
    Ok(Started { inbox: sender, store, snapshot: watch })
}

impl StepLoop {
    fn run(mut self) {
        while !self.over {
            let now = self.turn();
            if let Some(step) = self.next.take() {
                self.run_step(step, 0);
                continue;
            }
            if self.drain.is_some() && self.waiting.is_empty() {
                self.finish();
                break;
            }
            if self.may_measure(now) {
                self.measure();
                continue;
            }
            if let Some(command) = self.inbox.next_within(self.pause(now)) {
                self.obey(command);
            }
        }
    }

    /// What is done each turn, and between two nodes when something came.
    pub(super) fn turn(&mut self) -> Instant {
        self.inbox.beat();
        while let Some(command) = self.inbox.next() {
            self.obey(command);
        }
        let now = Instant::now();
        if self.wake.is_some_and(|wake| wake <= self.time(now)) {
            self.wake = None;
            self.tell(Event::Timer);
        }
        if self.drain.is_some_and(|until| until <= now) {
            self.finish();
        }
        self.look_after_models(now);
        self.tell_watchers(now);
        now
    }

    /// Whether the step that runs should stand aside for a moment: a command came, or a time.
    pub(super) fn is_called(&self) -> bool {
        if self.inbox.has_commands() {
            return true;
        }
        // Most steps run with no time to keep, and need no clock between nodes.
        let Some(time) = self.wake.map(|wake| self.start + wake.0).into_iter().chain(self.drain).min() else { return false };
        time <= Instant::now()
    }

    /// How long the loop may sleep.
    fn pause(&self, now: Instant) -> Duration {
        let wake = self.wake.map(|wake| self.start + wake.0);
        let watchers = self.stats_changed.then(|| self.told + TICK);
        let times = [wake, self.drain, watchers, self.next_unload(), self.next_measurement()];
        times.into_iter().flatten().map(|at| at.saturating_duration_since(now)).min().unwrap_or(TICK).min(TICK)
    }

    pub(super) fn time(&self, at: Instant) -> Time {
        Time(at.saturating_duration_since(self.start))
    }

    /// Tells the scheduler, and carries out what it says; a step to run is noted in `next`.
    pub(super) fn tell(&mut self, event: Event) {
        let actions = self.scheduler.on(event, self.time(Instant::now()));
        for action in actions {
            match action {
                Action::Attach { ticket, to } => self.attach(ticket, to),
                Action::Refuse { ticket, fault } => self.end(ticket, Ending::Failed(fault)),
                Action::HandBack { ticket } => self.end(ticket, Ending::HandedBack),
                Action::Load(model) => self.catalog.want(model),
                Action::Run(step) => self.next = Some(step),
                Action::WakeAt(time) => self.wake = Some(time),
            }
        }
    }

    pub(super) fn obey(&mut self, command: Command) {
        match command {
            Command::Submit(arrival) => self.submit(arrival),
            Command::Cancel(key) => {
                if let Some(ticket) = self.tickets.get(&key).copied() {
                    self.tell(Event::Cancel(ticket));
                    // In a step it computes on, for nobody.
                    self.end(ticket, Ending::Failed(Fault::cancelled("cancelled by its caller")));
                }
            }
            Command::Budget(budget) => {
                self.budget = budget.clone();
                self.tell(Event::Budget(budget));
            }
            Command::Pinned(models) => self.set_pinned(models),
            Command::Load { model, pin, done } => self.load(model, pin, done),
            Command::Unload { model, done } => {
                // Whoever asked may have gone.
                let _ = done.send(self.unload(&model));
            }
            Command::Installed { installed, done } => {
                self.installed(installed);
                self.tell_watchers(Instant::now());
                let _ = done.send(());
            }
            Command::Loaded(loaded) => self.loaded(loaded),
            Command::Drain { until, done } => {
                let until = self.drain.map_or(until, |earlier| earlier.min(until));
                self.drain = Some(until);
                self.drained.push(done);
                self.tell(Event::Drain { until: self.time(until) });
            }
        }
    }

    fn submit(&mut self, arrival: Arrival) {
        let Arrival { key, request, stream, delivery, came, bytes } = arrival;
        self.stats.received += 1;
        self.stats_changed = true;
        if self.drain.is_some() {
            // Better delivered again to the daemon that follows than refused by this one.
            return self.deliver(delivery, Ending::HandedBack);
        }
        let deaths = self.flight.deaths(|| Mark::request(&key));
        if deaths >= 2 {
            let fault = Fault::model_failed("this request killed the daemon twice; it is not tried again");
            tracing::warn!(model = %request.model, "a request that killed the daemon twice is refused");
            return self.deliver(delivery, Ending::Failed(fault));
        }
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        let patience = if self.catalog.chats(&request.model) { self.chat_timeout } else { self.default_timeout };
        let job = Job {
            ticket,
            key: key.clone(),
            model: request.model.clone(),
            priority: request.priority,
            deadline: self.time(came) + request.timeout.unwrap_or(patience),
            bytes,
            alone: deaths > 0,
        };
        self.catalog.begin(&request.model);
        self.tickets.entry(key.clone()).or_insert(ticket);
        self.stats.waiting_bytes += bytes as u64;
        let waiting = Waiting { key, request, came, in_inbox: came.elapsed(), bytes, stream, delivery, attached: Vec::new() };
        self.waiting.insert(ticket, waiting);
        self.tell(Event::Submit(job));
    }

    fn attach(&mut self, ticket: Ticket, to: Ticket) {
        let Some(again) = self.forget(ticket) else { return };
        match self.waiting.get_mut(&to) {
            Some(running) if running.attached.len() + 1 < DELIVERIES => running.attached.push((again.request.id, again.delivery)),
            _ => {
                let fault = Fault::overloaded(format!("{DELIVERIES} deliveries of this request share its answer already"));
                self.deliver(again.delivery, Ending::Failed(fault.with_limit("deliveries", DELIVERIES as u64)));
            }
        }
    }

    /// Takes a request out of the books.
    fn forget(&mut self, ticket: Ticket) -> Option<Waiting> {
        let waiting = self.waiting.remove(&ticket)?;
        if self.tickets.get(&waiting.key) == Some(&ticket) {
            self.tickets.remove(&waiting.key);
        }
        self.conversations.forget(ticket);
        self.stats.waiting_bytes -= waiting.bytes as u64;
        self.catalog.end(&waiting.request.model);
        Some(waiting)
    }

    /// A request is over: everyone it was delivered for gets its end.
    pub(super) fn end(&mut self, ticket: Ticket, ending: Ending) {
        let Some(waiting) = self.forget(ticket) else { return };
        if let Some(counts) = self.catalog.counts(&waiting.request.model) {
            match &ending {
                Ending::Answered(_) => {
                    counts.answered += 1;
                    counts.answered_us += micros(waiting.came.elapsed());
                }
                Ending::Failed(_) => counts.faults += 1,
                Ending::HandedBack => {}
            }
        }
        for (id, delivery) in waiting.attached {
            let ending = match &ending {
                Ending::Answered(reply) => Ending::Answered(Reply { id, ..reply.clone() }),
                other => other.clone(),
            };
            self.deliver(delivery, ending);
        }
        self.deliver(waiting.delivery, ending);
    }

    fn deliver(&mut self, delivery: Delivery, ending: Ending) {
        match &ending {
            Ending::Answered(_) => self.stats.answered += 1,
            Ending::Failed(fault) => *self.stats.faults.entry(fault.kind.as_str().into()).or_default() += 1,
            Ending::HandedBack => self.stats.handed_back += 1,
        }
        self.stats_changed = true;
        delivery.end(ending);
    }

    /// A step of a model ended, with so many requests in it.
    pub(super) fn count_step(&mut self, model: &ModelName, requests: usize, threads: u32) {
        self.stats.steps += 1;
        self.stats.items += requests as u64;
        if let Some(counts) = self.catalog.counts(model) {
            (counts.batch, counts.threads) = (requests as u32, threads);
        }
        self.stats_changed = true;
    }

    /// Tells the watchers of a model that changed at once, of counts at most once a tick.
    pub(super) fn tell_watchers(&mut self, now: Instant) {
        let counts_due = self.stats_changed && now >= self.told + TICK;
        if !(self.models_changed || counts_due) {
            return;
        }
        let refused = self.inbox.take_refused();
        if refused > 0 {
            self.stats.received += refused;
            *self.stats.faults.entry(FaultKind::Overloaded.as_str().into()).or_default() += refused;
        }
        self.stats.waiting = self.waiting.len() as u64;
        self.stats.model_bytes = self.catalog.held();
        self.stats.models = self.catalog.stats();
        self.snapshot.send_replace(Arc::new(Snapshot { models: self.catalog.describe(), stats: self.stats.clone() }));
        (self.models_changed, self.stats_changed, self.told) = (false, false, now);
    }

    /// Ends in good order. A step that runs on computes for nobody: its requests were handed back.
    fn finish(&mut self) {
        if self.over {
            return;
        }
        self.over = true;
        self.next = None;
        let left: Vec<Ticket> = self.waiting.keys().copied().collect();
        left.into_iter().for_each(|ticket| self.end(ticket, Ending::HandedBack));
        self.save_points();
        self.flight.end_clean();
        self.stats_changed = true;
        self.told = Instant::now();
        self.models_changed = true;
        self.tell_watchers(Instant::now());
        for done in self.drained.drain(..) {
            let _ = done.send(());
        }
    }
}
