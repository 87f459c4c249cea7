//! A board in virtual time: an engine that carries the scheduler's actions out with service times of its own, and holds
//! every action against the scheduler's promises.

use crate::scheduler::*;
use crate::thermal::Budget;
use hearth_api::{Fault, FaultKind, ModelName, Point, Priority};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(super) fn us(us: u64) -> Duration {
    Duration::from_micros(us)
}

pub(super) fn at(time: Duration) -> Time {
    Time(time)
}

pub(super) fn name(name: &str) -> ModelName {
    ModelName::new(name).unwrap()
}

pub(super) const BOUNDS: Bounds =
    Bounds { requests: 100_000, bytes: 1 << 40, requests_per_model: 100_000, default_timeout: Duration::from_secs(20), patience: 0.4 };

/// A model of the board: a step of `n` takes `base + each * ceil(n / threads)`.
#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) base: Duration,
    pub(super) each: Duration,
    pub(super) max_batch: u32,
    pub(super) max_delay: Duration,
    pub(super) load: Duration,
    /// The table the scheduler sees, in times of the truth; none: nothing was measured.
    pub(super) told: Option<f64>,
}

impl Model {
    pub(super) fn new(base: Duration, each: Duration) -> Model {
        Model { base, each, max_batch: 16, max_delay: ms(5), load: ms(50), told: Some(1.0) }
    }

    pub(super) fn unmeasured(mut self) -> Model {
        self.told = None;
        self
    }

    fn takes(&self, batch: u32, threads: u32) -> Duration {
        self.base + self.each * batch.div_ceil(threads)
    }

    pub(super) fn profile(&self) -> Arc<Profile> {
        let shapes = [1, 2, 4, 8, 16].into_iter().filter(|b| *b <= self.max_batch).flat_map(|b| [(b, 1), (b, 2)]).filter(|(b, t)| t <= b);
        let points = self.told.into_iter().flat_map(|told| {
            shapes.clone().map(move |(batch, threads)| {
                let latency_us = (self.takes(batch, threads).as_micros() as f64 * told).max(1.0) as u64;
                Point { batch, threads, latency_us, cpu_us_per_item: latency_us * u64::from(threads) / u64::from(batch) }
            })
        });
        Arc::new(Profile { max_batch: self.max_batch, max_delay: self.max_delay, points: points.collect(), conversations: false })
    }
}

/// A request to send.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    model: ModelName,
    priority: Priority,
    within: Duration,
    caller: String,
    bytes: usize,
    alone: bool,
    correlation: Option<u64>,
}

impl Ask {
    pub(super) fn of(model: &str) -> Ask {
        Ask {
            model: name(model),
            priority: Priority::Normal,
            within: Duration::from_secs(20),
            caller: "caller".into(),
            bytes: 100,
            alone: false,
            correlation: None,
        }
    }
    pub(super) fn priority(self, priority: Priority) -> Ask {
        Ask { priority, ..self }
    }
    pub(super) fn high(self) -> Ask {
        self.priority(Priority::High)
    }
    pub(super) fn background(self) -> Ask {
        self.priority(Priority::Background)
    }
    pub(super) fn within(self, within: Duration) -> Ask {
        Ask { within, ..self }
    }
    pub(super) fn from(self, caller: &str) -> Ask {
        Ask { caller: caller.into(), ..self }
    }
    pub(super) fn bytes(self, bytes: usize) -> Ask {
        Ask { bytes, ..self }
    }
    pub(super) fn alone(self, alone: bool) -> Ask {
        Ask { alone, ..self }
    }
    /// The same correlation from the same caller is the same request.
    pub(super) fn correlation(self, id: u64) -> Ask {
        Ask { correlation: Some(id), ..self }
    }
}

/// How a ticket ended.
#[derive(Debug, Clone)]
pub(super) enum How {
    Served { batch: usize, started: Time, batched: Duration },
    Refused(Fault),
    HandedBack,
    Attached(Ticket),
}

/// A ticket's end.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub(super) at: Time,
    pub(super) how: How,
}

impl End {
    pub(super) fn kind(&self) -> Option<FaultKind> {
        match &self.how {
            How::Refused(fault) => Some(fault.kind),
            _ => None,
        }
    }
    pub(super) fn served(&self) -> bool {
        matches!(self.how, How::Served { .. })
    }
}

/// A step that was run.
#[derive(Debug, Clone)]
pub(super) struct Ran {
    pub(super) id: StepId,
    pub(super) model: ModelName,
    pub(super) priority: Priority,
    pub(super) tickets: Vec<Ticket>,
    pub(super) threads: u32,
    pub(super) started: Time,
    pub(super) took: Duration,
    pub(super) inside: bool,
}

#[derive(Debug)]
struct Live {
    job: Job,
    arrived: Time,
    running: bool,
    cancelled: bool,
}

#[derive(Debug)]
struct Computing {
    ran: Ran,
    left: Duration,
    jobs: Vec<StepJob>,
}

#[derive(Debug)]
enum Due {
    Event(Event),
    /// A node of the running step is over.
    Node(StepId),
    Timer,
    Loaded(ModelName),
}

/// The board.
pub(super) struct Board {
    pub(super) scheduler: Scheduler,
    pub(super) now: Time,
    /// The longest node of a graph: how often a step can be interrupted.
    pub(super) node: Duration,
    /// Service times vary by up to this share, up and down.
    pub(super) noise: f64,
    pub(super) ends: BTreeMap<Ticket, End>,
    pub(super) steps: Vec<Ran>,
    pub(super) loads: Vec<ModelName>,
    pub(super) events: u64,
    bounds: Bounds,
    budget: Budget,
    models: HashMap<ModelName, Model>,
    ready: BTreeSet<ModelName>,
    due: BinaryHeap<Reverse<(Time, u64)>>,
    what: HashMap<u64, Due>,
    sequence: u64,
    timer: Option<(Time, u64)>,
    live: BTreeMap<Ticket, Live>,
    computing: Vec<Computing>,
    tickets: u64,
    random: u64,
}

impl Board {
    pub(super) fn new(bounds: Bounds, budget: Budget) -> Board {
        Board {
            scheduler: Scheduler::new(bounds, budget.clone()),
            now: Time::default(),
            node: ms(1),
            noise: 0.0,
            ends: BTreeMap::new(),
            steps: Vec::new(),
            loads: Vec::new(),
            events: 0,
            bounds,
            budget,
            models: HashMap::new(),
            ready: BTreeSet::new(),
            due: BinaryHeap::new(),
            what: HashMap::new(),
            sequence: 0,
            timer: None,
            live: BTreeMap::new(),
            computing: Vec::new(),
            tickets: 0,
            random: 0x9e37_79b9_7f4a_7c15,
        }
    }

    /// A cool board of two threads with these models, loaded.
    pub(super) fn with(models: &[(&str, Model)]) -> Board {
        let mut board = Board::new(BOUNDS, Budget::unbounded(2));
        for (model, is) in models {
            board.install(model, is.clone());
            board.on(Event::Model(name(model), Readiness::Ready(is.profile())));
        }
        board
    }

    /// Installs a model; not loaded.
    pub(super) fn install(&mut self, model: &str, is: Model) {
        self.models.insert(name(model), is);
        self.on(Event::Model(name(model), Readiness::Available));
    }

    /// Sends a request at a time.
    pub(super) fn ask_at(&mut self, time: Duration, ask: Ask) -> Ticket {
        let ticket = Ticket(self.tickets);
        self.tickets += 1;
        let correlation = ask.correlation.unwrap_or(1 << 32 | ticket.0);
        let key = Key { door: Door::Mqtt, reply_to: ask.caller.as_str().into(), correlation: correlation.to_le_bytes().to_vec().into() };
        let deadline = at(time) + ask.within;
        let job = Job { ticket, key, model: ask.model, priority: ask.priority, deadline, bytes: ask.bytes, alone: ask.alone };
        self.event_at(time, Event::Submit(job));
        ticket
    }

    pub(super) fn event_at(&mut self, time: Duration, event: Event) {
        self.plan(at(time), Due::Event(event));
    }

    fn plan(&mut self, time: Time, what: Due) -> u64 {
        self.sequence += 1;
        self.due.push(Reverse((time, self.sequence)));
        self.what.insert(self.sequence, what);
        self.sequence
    }

    /// Lets time pass until then.
    pub(super) fn run_until(&mut self, until: Duration) {
        while let Some(Reverse((time, id))) = self.due.peek().copied().filter(|Reverse((time, _))| *time <= at(until)) {
            self.due.pop();
            let Some(what) = self.what.remove(&id) else { continue };
            self.now = time;
            match what {
                Due::Event(event) => self.on(event),
                Due::Node(step) => self.node_is_over(step),
                Due::Timer => {
                    self.timer = None;
                    self.on(Event::Timer);
                }
                Due::Loaded(model) => {
                    let profile = self.models[&model].profile();
                    self.on(Event::Model(model, Readiness::Ready(profile)));
                }
            }
        }
        self.now = at(until);
    }

    /// Lets time pass until nothing is left to do.
    pub(super) fn run(&mut self) {
        while let Some(Reverse((time, _))) = self.due.peek().copied() {
            self.run_until(time.0);
        }
        assert!(self.live.is_empty(), "left without an end: {:?}", self.live);
        assert_eq!((self.scheduler.waiting(), self.scheduler.waiting_bytes()), (0, 0));
    }

    pub(super) fn end(&self, ticket: Ticket) -> &End {
        self.ends.get(&ticket).unwrap_or_else(|| panic!("{ticket:?} has no end yet"))
    }

    /// How many rode in the step that served it.
    pub(super) fn batch_of(&self, ticket: Ticket) -> usize {
        match self.end(ticket).how {
            How::Served { batch, .. } => batch,
            ref other => panic!("{ticket:?} was not served: {other:?}"),
        }
    }

    pub(super) fn started(&self, ticket: Ticket) -> Time {
        match self.end(ticket).how {
            How::Served { started, .. } => started,
            ref other => panic!("{ticket:?} was not served: {other:?}"),
        }
    }

    /// Compute time a model was given.
    pub(super) fn compute(&self, model: &str) -> Duration {
        self.steps.iter().filter(|ran| ran.model == name(model)).map(|ran| ran.took).sum()
    }

    /// The callers of what waits.
    pub(super) fn waiting_callers(&self) -> impl Iterator<Item = &str> {
        self.live.values().filter(|live| !live.running).map(|live| &*live.job.key.reply_to)
    }

    /// Sends an event now, and carries out what it brings.
    pub(super) fn on(&mut self, event: Event) {
        self.events += 1;
        match &event {
            Event::Submit(job) => {
                let live = Live { job: job.clone(), arrived: self.now, running: false, cancelled: false };
                assert!(self.live.insert(job.ticket, live).is_none());
            }
            Event::Cancel(ticket) => {
                if let Some(live) = self.live.get_mut(ticket) {
                    live.cancelled = true;
                }
            }
            Event::Model(model, Readiness::Ready(_)) => drop(self.ready.insert(model.clone())),
            Event::Model(model, _) => drop(self.ready.remove(model)),
            Event::Budget(budget) => self.budget = budget.clone(),
            _ => {}
        }
        let between = matches!(event, Event::Between(_));
        for action in self.scheduler.on(event, self.now) {
            self.carry_out(action, between);
        }
        self.check();
    }

    fn end_with(&mut self, ticket: Ticket, how: How) {
        let live = self.live.remove(&ticket).unwrap_or_else(|| panic!("{ticket:?} ends twice: {how:?}"));
        assert_eq!(live.running, matches!(how, How::Served { .. }), "{ticket:?}: {how:?}");
        self.ends.insert(ticket, End { at: self.now, how });
    }

    fn carry_out(&mut self, action: Action, between: bool) {
        match action {
            Action::Attach { ticket, to } => {
                let (new, old) = (&self.live[&ticket], &self.live[&to]);
                assert!(new.job.key == old.job.key && !old.cancelled && ticket != to);
                self.end_with(ticket, How::Attached(to));
            }
            Action::Refuse { ticket, fault } => {
                if matches!(fault.kind, FaultKind::Overloaded | FaultKind::TooHot) {
                    assert!(fault.retry_after_ms.is_some_and(|ms| ms > 0), "{fault:?}");
                }
                self.end_with(ticket, How::Refused(fault));
            }
            Action::HandBack { ticket } => self.end_with(ticket, How::HandedBack),
            Action::Load(model) => {
                assert!(!self.ready.contains(&model));
                self.loads.push(model.clone());
                let loaded = self.now + self.models[&model].load;
                self.plan(loaded, Due::Loaded(model));
            }
            Action::WakeAt(time) => {
                assert!(time > self.now, "a timer in the past");
                if let Some((_, id)) = self.timer.take() {
                    self.what.remove(&id);
                }
                let id = self.plan(time, Due::Timer);
                self.timer = Some((time, id));
            }
            Action::Run(step) => self.start(step, between),
        }
    }

    fn start(&mut self, step: Step, between: bool) {
        let model = self.models[&step.model].clone();
        let first = &self.live[&step.jobs[0].ticket];
        let (priority, alone) = (first.job.priority, first.job.alone);
        assert!(self.ready.contains(&step.model));
        assert!(step.jobs.len() <= model.max_batch.min(self.budget.batch) as usize);
        assert!((1..=self.budget.threads).contains(&step.threads) && step.threads as usize <= step.jobs.len());
        match self.computing.as_slice() {
            [] => assert!(!between),
            [outer] => {
                assert!(between && priority == Priority::High && outer.ran.priority < Priority::High && !alone);
                assert!(outer.jobs.iter().all(|job| !self.live[&job.ticket].job.alone));
            }
            more => panic!("{} steps at once", more.len() + 1),
        }
        let mut before = None;
        for job in &step.jobs {
            let live = self.live.get_mut(&job.ticket).expect("it has not ended");
            assert!(!live.running && !live.cancelled && live.job.deadline > self.now && live.job.model == step.model);
            assert!(live.job.priority == priority && (!live.job.alone || step.jobs.len() == 1));
            assert_eq!(job.queued + job.batched, self.now.since(live.arrived));
            assert!(job.batched <= model.max_delay && (priority < Priority::High || job.batched.is_zero()), "{job:?}");
            assert!(before <= Some(live.arrived), "the oldest first");
            before = Some(live.arrived);
            live.running = true;
        }
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let noise = 1.0 + self.noise * ((self.random >> 33) as f64 / f64::from(1u32 << 31) * 2.0 - 1.0);
        let took = model.takes(step.jobs.len() as u32, step.threads).mul_f64(noise);
        let tickets = step.jobs.iter().map(|job| job.ticket).collect();
        let (threads, inside) = (step.threads, between);
        let ran = Ran { id: step.id, model: step.model, priority, tickets, threads, started: self.now, took, inside };
        self.steps.push(ran.clone());
        self.computing.push(Computing { ran, left: took, jobs: step.jobs });
        self.next_node();
    }

    /// Computes the next node of the innermost step.
    fn next_node(&mut self) {
        let Some(innermost) = self.computing.last_mut() else { return };
        let node = innermost.left.min(self.node);
        innermost.left -= node;
        let id = innermost.ran.id;
        self.plan(self.now + node, Due::Node(id));
    }

    fn node_is_over(&mut self, id: StepId) {
        let innermost = self.computing.last().expect("a node of a step");
        assert_eq!(innermost.ran.id, id);
        if innermost.left.is_zero() {
            let over = self.computing.pop().expect("it is there");
            for job in &over.jobs {
                let (batch, started) = (over.jobs.len(), over.ran.started);
                self.end_with(job.ticket, How::Served { batch, started, batched: job.batched });
            }
            self.on(Event::Finished { step: id, took: over.ran.took, unfinished: Vec::new() });
            // A step that was interrupted goes on; one that has just begun has its first node planned.
            if self.computing.last().is_some_and(|outer| outer.ran.id < id) {
                self.next_node();
            }
            return;
        }
        let wanted = self.scheduler.wants_interruption(id);
        self.on(Event::Between(id));
        let interrupted = self.computing.last().is_some_and(|innermost| innermost.ran.id != id);
        assert_eq!(interrupted, wanted);
        if !interrupted {
            self.next_node();
        }
    }

    /// What holds after every event; looked at now and then only where so many are here that it would take for ever.
    fn check(&self) {
        if self.live.len() > 300 && !self.events.is_multiple_of(1000) {
            return;
        }
        let waiting = || self.live.values().filter(|live| !live.running);
        assert_eq!(self.scheduler.waiting(), waiting().count());
        assert_eq!(self.scheduler.waiting_bytes(), waiting().map(|live| live.job.bytes).sum::<usize>());
        assert!(self.live.len() <= self.bounds.requests);
        assert!(self.live.values().map(|live| live.job.bytes).sum::<usize>() <= self.bounds.bytes);
        for model in self.models.keys() {
            assert!(waiting().filter(|live| live.job.model == *model).count() <= self.bounds.requests_per_model);
        }
        if let Some(first) = waiting().map(|live| live.job.deadline).min() {
            let (timer, _) = self.timer.expect("somebody waits, so a timer is set");
            assert!(self.now < first && timer <= first, "a deadline at {first:?} would be missed: {timer:?}");
        }
    }
}
