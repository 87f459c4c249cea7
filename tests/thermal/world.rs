//! The world in virtual time: the daemon's scheduler, an engine that carries its actions out with the models' costs, the virtual
//! board that is heated by it, and whoever controls both, who looks once a second.

use super::cells::Cell;
use super::controllers::{Controller, Seen};
use super::faults::Liar;
use super::loads::Arrival;
use super::models::{self, Cost, PIECE};
use super::outcome::Outcome;
use hearth_api::{FaultKind, Priority};
use hearth_tests::board::VirtualBoard;
use hearthd::scheduler::{Action, Bounds, Door, Event, Job, Key, Readiness, Scheduler, Step, StepId, Ticket, Time};
use hearthd::thermal::{Budget, Celsius, Look};
use std::collections::HashMap;
use std::time::Duration;

/// Time goes on in strides of at most this, s.
const STRIDE: f64 = 0.1;
/// The longest node of a graph, s at full clock: how often a step can be interrupted.
const NODE: f64 = 0.02;
/// The rest of the machine (broker, kernel, the daemon's doors), busy cores.
const SYSTEM: f64 = 0.05;
/// As the daemon is configured by default.
const BOUNDS: Bounds = Bounds {
    requests: 512,
    bytes: 64 << 20,
    requests_per_model: 385,
    default_timeout: Duration::from_secs(20),
    patience: Bounds::PATIENCE,
};
/// A request holds so much, in bytes.
const REQUEST: usize = 60_000;

/// A request at work.
struct Live {
    arrival: Arrival,
    /// Of its prompt, pieces to come.
    pieces: u32,
    /// Tokens to come; of an image, nothing.
    tokens: u32,
}

/// A step that computes, or waits for the one inside it.
struct Running {
    step: StepId,
    model: usize,
    jobs: Vec<Ticket>,
    cost: Cost,
    /// Of its time, s at full clock.
    left: f64,
    /// Until its next node, s at full clock.
    node: f64,
    /// It computed for so long, s.
    took: f64,
}

/// The world at a moment.
pub(crate) struct World<'a> {
    cell: Cell,
    arrivals: &'a [Arrival],
    controller: Controller,
    liar: Liar,
    board: VirtualBoard,
    scheduler: Scheduler,
    budget: Budget,
    now: f64,
    next_arrival: usize,
    timer: Option<f64>,
    next_look: f64,
    live: HashMap<Ticket, Live>,
    running: Vec<Running>,
    since: Since,
    outcome: Outcome,
}

/// Since the look before: busy core-seconds, clock-seconds, the hottest (°C), degree-seconds, seconds, steps that are over.
#[derive(Debug, Clone, Copy, Default)]
struct Since {
    busy: f64,
    clock: f64,
    peak: f64,
    temperature: f64,
    seconds: f64,
    steps: u32,
}

/// Lives through a cell.
pub(crate) fn run(cell: Cell, arrivals: &[Arrival], controller: Controller, liar: Liar) -> Outcome {
    let board = VirtualBoard::new(cell.kind, cell.air.at(0.0), cell.seed);
    let budget = Budget::unbounded(board.parameters().cores);
    let bounds = Bounds { patience: controller.patience(), ..BOUNDS };
    let mut world = World {
        cell,
        arrivals,
        controller,
        liar,
        scheduler: Scheduler::new(bounds, budget.clone()),
        budget,
        board,
        now: 0.0,
        next_arrival: 0,
        timer: None,
        next_look: 0.0,
        live: HashMap::new(),
        running: Vec::new(),
        since: Since::default(),
        outcome: Outcome::new(cell),
    };
    for model in &models::ALL {
        world.on(Event::Model(model.id(), Readiness::Available));
        world.on(Event::Model(model.id(), Readiness::Ready(model.profile(cell.kind))));
    }
    while world.now < cell.seconds {
        world.go_on();
    }
    world.end()
}

impl World<'_> {
    /// To the next thing that happens.
    fn go_on(&mut self) {
        let arrival = self.arrivals.get(self.next_arrival).map(|arrival| arrival.at);
        let node =
            self.running.last().map(|running| self.now + self.until_node(running) / models::ALL[running.model].pace(self.board.clock()));
        let next = [arrival, self.timer, node].into_iter().flatten().fold(self.next_look.min(self.now + STRIDE), f64::min);
        self.pass(next.max(self.now));
        if arrival.is_some_and(|at| at <= self.now) {
            self.arrive();
        }
        if self.timer.is_some_and(|at| at <= self.now) {
            self.timer = None;
            self.on(Event::Timer);
        }
        self.compute();
        if self.next_look <= self.now {
            self.look();
        }
    }

    /// Until the running step is over, or stands between two nodes where something may run inside it; s at full clock.
    fn until_node(&self, running: &Running) -> f64 {
        if self.running.len() == 1 && self.scheduler.wants_interruption(running.step) {
            running.left.min(running.node)
        } else {
            running.left
        }
    }

    /// Lets the board live until then.
    fn pass(&mut self, until: f64) {
        let seconds = until - self.now;
        self.now = until;
        if seconds <= 0.0 {
            return;
        }
        let (mut busy, mut bytes) = (SYSTEM, 0.0);
        let clock = self.board.clock();
        if let Some(running) = self.running.last_mut() {
            let pace = models::ALL[running.model].pace(clock);
            running.left -= seconds * pace;
            running.node -= seconds * pace;
            running.took += seconds;
            busy += running.cost.busy;
            bytes = running.cost.bytes / running.cost.seconds * seconds * pace;
        }
        busy = busy.min(f64::from(self.board.parameters().cores));
        self.board.set_ambient(self.cell.air.at(self.now));
        if self.cell.failure().is_some_and(|at| self.now >= at) {
            self.board.fail_fan();
        }
        self.board.step(Duration::from_secs_f64(seconds), busy, bytes);
        let temperature = self.board.temperature();
        self.since.busy += busy * seconds;
        self.since.clock += clock * seconds;
        self.since.temperature += temperature * seconds;
        self.since.seconds += seconds;
        self.since.peak = self.since.peak.max(temperature);
        self.outcome.heat(seconds, temperature);
    }

    fn arrive(&mut self) {
        let arrival = self.arrivals[self.next_arrival];
        let ticket = Ticket(self.next_arrival as u64);
        self.next_arrival += 1;
        let caller = format!("caller {}", ticket.0 % 8);
        let key = Key { door: Door::Mqtt, reply_to: caller.into(), correlation: ticket.0.to_le_bytes().to_vec().into() };
        let deadline = time(arrival.at + arrival.within);
        let model = models::ALL[arrival.model].id();
        let job = Job { ticket, key, model, priority: arrival.priority, deadline, bytes: REQUEST, alone: false };
        self.outcome.offered += arrival.items();
        self.live.insert(ticket, Live { arrival, pieces: arrival.pieces, tokens: arrival.tokens });
        self.on(Event::Submit(job));
    }

    /// The running step has come to its end, or to a node.
    fn compute(&mut self) {
        /// What is left of a step through the rounding of times, s.
        const NOTHING: f64 = 1e-7;
        let Some(running) = self.running.last_mut() else { return };
        if running.left <= NOTHING {
            return self.finish();
        }
        if running.node <= NOTHING {
            running.node = NODE;
            let step = running.step;
            if self.running.len() == 1 && self.scheduler.wants_interruption(step) {
                self.on(Event::Between(step));
            }
        }
    }

    fn finish(&mut self) {
        let Some(over) = self.running.pop() else { return };
        self.since.steps += 1;
        let mut unfinished = Vec::new();
        for ticket in &over.jobs {
            let Some(live) = self.live.get_mut(ticket) else { continue };
            if live.pieces > 0 {
                live.pieces -= 1;
            } else {
                live.tokens = live.tokens.saturating_sub(1);
            }
            if live.pieces > 0 || live.tokens > 0 {
                unfinished.push(*ticket);
            } else if let Some(live) = self.live.remove(ticket) {
                self.outcome.answered(&live.arrival, self.now);
            }
        }
        self.on(Event::Finished { step: over.step, took: Duration::from_secs_f64(over.took), unfinished });
    }

    /// Sends an event now, and carries out what it brings.
    fn on(&mut self, event: Event) {
        for action in self.scheduler.on(event, time(self.now)) {
            match action {
                Action::Refuse { ticket, fault } => {
                    if let Some(live) = self.live.remove(&ticket) {
                        self.outcome.refused(&live.arrival, self.now, &fault);
                    }
                }
                Action::Run(step) => self.start(step),
                Action::WakeAt(at) => self.timer = Some(at.0.as_secs_f64()),
                Action::Load(_) | Action::Attach { .. } | Action::HandBack { .. } => {}
            }
        }
    }

    fn start(&mut self, step: Step) {
        let model = models::ALL.iter().position(|model| model.id() == step.model).expect("a model of ours");
        let jobs: Vec<Ticket> = step.jobs.iter().map(|job| job.ticket).collect();
        let is = &models::ALL[model];
        let cost = if is.talks {
            let tokens =
                jobs.iter().map(|ticket| if self.live.get(ticket).is_some_and(|live| live.pieces > 0) { PIECE } else { 1.0 }).sum();
            is.turn(self.cell.kind, tokens, step.threads)
        } else {
            is.step(self.cell.kind, u32::try_from(jobs.len()).unwrap_or(u32::MAX), step.threads)
        };
        self.running.push(Running { step: step.id, model, jobs, cost, left: cost.seconds, node: NODE, took: 0.0 });
    }

    /// The controller looks, and its budget is carried out.
    fn look(&mut self) {
        self.next_look += 1.0;
        let since = std::mem::take(&mut self.since);
        let over = since.seconds.max(1e-9);
        let first = since.seconds == 0.0;
        let look = Look {
            at: Duration::from_secs_f64(self.now),
            temperature: Some(Celsius(self.board.sensor())),
            busy: if first { 0.0 } else { since.busy / over },
            clock: if first { self.board.clock() } else { since.clock / over },
            watts: None,
            fan: self.board.fan(),
            steps: since.steps,
            throttled: self.board.throttled(),
            complaint: String::new(),
        };
        self.outcome.second(since.temperature / over, &look);
        if let Some(asleep) = self.liar.sleeps(self.now, self.cell.seconds) {
            self.board.step(asleep, 0.0, 0.0);
        }
        let Some(told) = self.liar.tell(look, self.now, self.cell.seconds) else { return };
        let (demand, memory) = self.demand();
        let seen = Seen { look: &told, board: &self.board, peak: since.peak, demand, memory };
        let budget = self.controller.on(&seen, &mut self.outcome);
        if !self.liar.lets_write() && budget.clock < 1.0 {
            self.controller.clock_is_refused();
        } else if self.cell.clock {
            self.board.set_cap(budget.clock);
        }
        self.outcome.decided(&self.budget, &budget);
        if budget != self.budget {
            self.budget = budget.clone();
            self.on(Event::Budget(budget));
        }
    }

    /// Work that waits and that comes within the next seconds, as a share of what the cool board could do in that time; and the part of
    /// it that waits for memory. Only the oracle asks.
    fn demand(&self) -> (f64, f64) {
        /// So far it looks ahead, s.
        const AHEAD: f64 = 8.0;
        if !self.controller.foresees() {
            return (0.0, 0.0);
        }
        let (mut work, mut memory) = (0.0, 0.0);
        let mut add = |arrival: &Arrival, tokens: u32, pieces: u32| {
            let is = &models::ALL[arrival.model];
            let part = (f64::from(tokens.max(1)) + PIECE * f64::from(pieces)) / is.capacity(self.cell.kind) / AHEAD;
            work += part;
            memory += part * is.memory;
        };
        for live in self.live.values() {
            add(&live.arrival, live.tokens, live.pieces);
        }
        for arrival in self.arrivals[self.next_arrival..].iter().take_while(|arrival| arrival.at < self.now + AHEAD) {
            add(arrival, arrival.tokens, arrival.pieces);
        }
        (work, if work > 0.0 { memory / work } else { 0.0 })
    }

    fn end(mut self) -> Outcome {
        self.outcome.energy = self.board.energy();
        self.outcome.notices = self.controller.notices();
        self.outcome
    }
}

fn time(seconds: f64) -> Time {
    Time(Duration::from_secs_f64(seconds))
}

/// Whether a refusal says that the request waited in vain, having been admitted.
pub(crate) fn waited_in_vain(kind: FaultKind) -> bool {
    kind == FaultKind::DeadlineExceeded
}

/// Background work is no part of the gates on latency.
pub(crate) fn counts_for_latency(arrival: &Arrival) -> bool {
    arrival.priority > Priority::Background
}
