//! The scheduler: admission, queues, batches, deadlines, fairness, de-duplication. Pure: events and the time go in,
//! actions come out; no clock, no threads, no model. The engine carries the actions out.
//!
//! # How a decision is made
//! ```text
//! Submit ─> the same key at work? ── yes ─> Attach
//!              │ no
//!           admission (ledger) ── no ─> Refuse: shutting down, unknown or failed model, deadline past, too hot, a bound, too long a wait
//!              │ yes
//!           the model's lane: a queue for each priority, by the time due
//!              │                       deadline passed, cancelled, model gone ─> Refuse;  end of the drain ─> HandBack
//!           no step runs: pick
//!              priority      the highest level with a model that is ready; below high, after the rest
//!              batching      each of its queues: hold (wait for more, WakeAt), or form a batch
//!              choose        near deadline, else the least compute time so far
//!              │
//!            Run ─> Between ─> may what waits run inside? ─> Run, inside
//!              └──> Finished
//! ```
//! - **Admission** keeps three bounds: requests and bytes that wait or run, and requests that wait for one model. A
//!   sixteenth of each is for high priority alone, and nobody (a model, a caller, a caller within a model) may hold more
//!   than four times what stays free for others. So one greedy caller gets most of an idle board, several get equal
//!   parts, and a newcomer finds room. A refused caller is told when half of what is in its way will be done, at the
//!   pace at which it was served so far. Who would wait for more than a part of the time left is refused as well: an answer
//!   that comes late is heat for nothing, and a queue that is never short makes everybody wait. Where the board is getting hot,
//!   the wait is reckoned at the pace that it will have. Of conversations the whole stay counts, by how many steps those before
//!   took and by the share of the time that others have lately; the only one of its model is let in if it can be in time.
//! - **Within a queue** the first to be due goes first: at its deadline, or the default timeout after it came if that is
//!   earlier, so that near deadlines overtake a far one, but not for ever. A request that cannot be ready in time lets
//!   those pass that can.
//! - **A batch** is of one model and one priority, and as large as pays: the smallest whose measured rate (items a second,
//!   on the best number of threads the budget allows) no larger one betters by more than 3 %, and no larger than its
//!   first deadline allows. Until two batch sizes are measured, up to four requests on one thread.
//! - **A wait for more** is made only if all of this holds: the batch could be larger; more were at work lately than are
//!   here; the next is expected, by the usual gap between arrivals, within the model's longest delay and before the first
//!   deadline less the step; and what its joining saves is more than the wait for it. High priority never waits.
//! - **Among models** of one level the queue that had the least compute time goes next (start-time fair queueing).
//!   One that would miss a deadline if another went first goes before it, but never gets further than 250 ms ahead.
//! - **Background** runs when nothing else could run or is waited for, on a board cool enough to admit it.
//! - **Pace**: mean busy cores stay within the budget: a step is rested off until it is paid for. High priority may go a quarter
//!   of a second into debt. When heat is short, a step of conversations, which fills all its threads, uses no more of them than
//!   there are cores to spend, another at most one more; batch and threads are those that serve the most within that: what
//!   takes less CPU time an item.
//! - **Inside** a running step, between two of its nodes, high priority runs one level deep; inside a step of conversations
//!   also what is as urgent as they are and none itself, as long as it is no further than 250 ms ahead. A request that has to be
//!   alone (it was there when the daemon died) rides with none, runs inside none, and has none run inside.

mod admission;
mod arrivals;
mod batching;
mod costs;
mod lane;
mod ledger;
mod pace;
mod picking;
mod rides;
mod share;
#[cfg(test)]
mod tests;
mod types;

pub use types::*;

use crate::thermal::Budget;
use hearth_api::{Fault, ModelName, Priority};
use lane::{Lane, Place, Queue, State, Turn, Waiting};
use ledger::Ledger;
use pace::Pace;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// Decides what runs when; the module's page tells how.
#[derive(Debug)]
pub struct Scheduler {
    bounds: Bounds,
    budget: Budget,
    lanes: BTreeMap<ModelName, Lane>,
    /// Requests waiting or running.
    jobs: HashMap<Ticket, Entry>,
    /// Who is at work for a key; not those that were cancelled.
    keys: HashMap<Key, Ticket>,
    ledger: Ledger,
    /// Requests waiting, by the time they end if they still wait then.
    deadlines: BTreeSet<(Time, Ticket)>,
    waiting_bytes: usize,
    /// The step that runs, and the one inside it.
    running: Vec<Running>,
    next_step: u64,
    turn: Turn,
    /// For each priority the virtual time of the last queue picked: where a queue begins that was empty.
    virtual_clock: [Duration; Priority::ALL.len()],
    pace: Pace,
    /// Shutting down; what has not begun by then is handed back.
    draining: Option<Time>,
    /// The last wish for a `Timer`.
    wake_at: Option<Time>,
    now: Time,
}

/// A request waiting or running.
#[derive(Debug)]
struct Entry {
    job: Job,
    arrived: Time,
    /// Its place in its queue; none in a step.
    place: Option<Place>,
    /// The wait that was expected of it, in seconds; none where none was, or it is over.
    expected: Option<f64>,
}

/// A step that runs.
#[derive(Debug)]
struct Running {
    id: StepId,
    model: ModelName,
    priority: Priority,
    jobs: Vec<Ticket>,
    /// Runs within another step.
    inside: bool,
    /// Its request runs alone: nothing may run inside.
    alone: bool,
    began: Time,
    /// Mean busy cores that it should take.
    busy: f64,
}

impl Scheduler {
    /// A scheduler that knows no model yet.
    pub fn new(bounds: Bounds, budget: Budget) -> Scheduler {
        Scheduler {
            bounds,
            budget,
            lanes: BTreeMap::new(),
            jobs: HashMap::new(),
            keys: HashMap::new(),
            ledger: Ledger::new(bounds),
            deadlines: BTreeSet::new(),
            waiting_bytes: 0,
            running: Vec::with_capacity(2),
            next_step: 0,
            turn: Turn::default(),
            virtual_clock: [Duration::ZERO; Priority::ALL.len()],
            pace: Pace::default(),
            draining: None,
            wake_at: None,
            now: Time::default(),
        }
    }

    /// Takes an event at a time, never earlier than the last one's, and says what to do, in this order.
    pub fn on(&mut self, event: Event, now: Time) -> Vec<Action> {
        let now = now.max(self.now);
        self.now = now;
        let mut actions = Vec::new();
        self.expire(now, &mut actions);
        match event {
            Event::Submit(job) => self.submit(job, now, &mut actions),
            Event::Cancel(ticket) => self.cancel(ticket, &mut actions),
            Event::Model(model, readiness) => self.set_model(model, readiness, &mut actions),
            Event::Finished { step, took, unfinished } => self.finished(step, took, &unfinished, now, &mut actions),
            Event::Between(step) => self.interrupt(step, now, &mut actions),
            Event::Budget(budget) => self.set_budget(budget, now),
            Event::Timer => self.wake_at = None,
            Event::Drain { until } => {
                self.draining = Some(until);
                self.expire(now, &mut actions);
            }
        }
        let look_again = if self.running.is_empty() { self.pick(now, &mut actions) } else { None };
        self.wish_for_timer(look_again, now, &mut actions);
        actions
    }

    /// Requests that wait, those in steps not counted.
    pub fn waiting(&self) -> usize {
        self.deadlines.len()
    }

    /// Bytes held by what waits.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Whether a step is to be run inside this one: whether `Between` would be answered.
    pub fn wants_interruption(&self, step: StepId) -> bool {
        self.has_for_inside(step)
    }

    /// Ends what waits beyond its deadline, or beyond the end of the drain.
    fn expire(&mut self, now: Time, actions: &mut Vec<Action>) {
        while let Some(&(deadline, ticket)) = self.deadlines.first().filter(|(deadline, _)| *deadline <= now) {
            let waited = self.entry_waited(ticket, deadline);
            let fault = Fault::deadline_exceeded(format!("the deadline passed after {} ms of waiting", waited.as_millis()));
            self.refuse(ticket, fault, actions);
        }
        if self.draining.is_some_and(|until| until <= now) {
            while let Some(&(_, ticket)) = self.deadlines.first() {
                self.forget(ticket);
                actions.push(Action::HandBack { ticket });
            }
        }
    }

    /// How long this request has waited by `then`.
    fn entry_waited(&self, ticket: Ticket, then: Time) -> Duration {
        let waiting = self.jobs.get(&ticket).and_then(|entry| {
            let lane = self.lanes.get(&entry.job.model)?;
            lane.queue(entry.job.priority).waiting.get(&entry.place?)
        });
        waiting.map_or(Duration::ZERO, |waiting| then.since(waiting.arrived))
    }

    fn cancel(&mut self, ticket: Ticket, actions: &mut Vec<Action>) {
        match self.jobs.get(&ticket) {
            Some(entry) if entry.place.is_some() => self.refuse(ticket, Fault::cancelled("cancelled by its caller"), actions),
            // It ends with its step; only a new delivery must not attach to it.
            Some(entry) if self.keys.get(&entry.job.key) == Some(&ticket) => drop(self.keys.remove(&entry.job.key)),
            _ => {}
        }
    }

    fn set_model(&mut self, model: ModelName, readiness: Readiness, actions: &mut Vec<Action>) {
        let Some(state) = State::new(readiness, &self.budget) else { return self.remove_model(&model, actions) };
        let lane = self.lanes.entry(model.clone()).or_insert_with(Lane::new);
        let was_ready = matches!(lane.state, State::Ready { .. });
        lane.state = state;
        match &lane.state {
            State::Available if lane.waiting() > 0 => {
                lane.state = State::Loading;
                actions.push(Action::Load(model));
            }
            State::Failed(fault) => {
                let fault = fault.clone();
                for ticket in lane.tickets() {
                    self.refuse(ticket, fault.clone(), actions);
                }
            }
            // What waited while the model could not run has no claim on the compute time that passed meanwhile.
            State::Ready { .. } if !was_ready => {
                for (priority, queue) in lane.queues_mut() {
                    queue.virtual_time = queue.virtual_time.max(self.virtual_clock[priority as usize]);
                }
            }
            _ => {}
        }
    }

    fn remove_model(&mut self, model: &ModelName, actions: &mut Vec<Action>) {
        let Some(lane) = self.lanes.remove(model) else { return };
        for ticket in lane.tickets() {
            self.refuse(ticket, Fault::unknown_model(model, self.lanes.keys()), actions);
        }
    }

    fn set_budget(&mut self, budget: Budget, now: Time) {
        self.pace.change(&self.budget, &budget, now);
        self.budget = budget;
        self.lanes.values_mut().for_each(|lane| lane.set_budget(&self.budget));
    }

    fn finished(&mut self, step: StepId, took: Duration, unfinished: &[Ticket], now: Time, actions: &mut Vec<Action>) {
        let Some(at) = self.running.iter().position(|running| running.id == step) else { return };
        let step = self.running.remove(at);
        if let Some(lane) = self.lanes.get_mut(&step.model) {
            lane.served(step.jobs.len(), step.jobs.len() - unfinished.len().min(step.jobs.len()), took, step.busy);
            // A lane that came anew under the same name while the step ran has nothing of it.
            lane.running = lane.running.saturating_sub(step.jobs.len());
            lane.queue_mut(step.priority).virtual_time += took;
            let rested = took.as_secs_f64() * (step.busy / pace::cores(&self.budget)).max(1.0);
            lane.shares[step.priority as usize].had(rested, now);
        }
        for ticket in step.jobs {
            if unfinished.contains(&ticket) {
                self.wait_again(ticket, actions);
            } else {
                self.conversation_is_over(ticket, now);
                self.forget(ticket);
            }
        }
        // What waits again may have no time left.
        self.expire(now, actions);
        if self.running.is_empty() {
            self.pace.over(&self.budget, step.began, took, step.busy, now);
        } else {
            self.pace.inner_over(took, step.busy);
        }
    }

    /// The stay of a conversation tells how the next will be.
    fn conversation_is_over(&mut self, ticket: Ticket, now: Time) {
        let Some(Entry { job, arrived, expected: Some(expected), .. }) = self.jobs.get(&ticket) else { return };
        if let Some(lane) = self.lanes.get_mut(&job.model) {
            lane.waits[job.priority as usize].over(*expected, now.since(*arrived).as_secs_f64(), now);
        }
    }

    /// A request of a step that is not over goes back to where it stood.
    fn wait_again(&mut self, ticket: Ticket, actions: &mut Vec<Action>) {
        let Some(entry) = self.jobs.get_mut(&ticket) else { return };
        let job = &entry.job;
        let fault = match self.lanes.get_mut(&job.model) {
            Some(Lane { state: State::Failed(fault), .. }) => fault.clone(),
            Some(lane) => {
                let place = (job.deadline.min(entry.arrived + self.bounds.default_timeout), ticket);
                let waiting = Waiting { deadline: job.deadline, arrived: entry.arrived, alone: job.alone };
                lane.queue_mut(job.priority).waiting.insert(place, waiting);
                self.deadlines.insert((job.deadline, ticket));
                self.waiting_bytes += job.bytes;
                entry.place = Some(place);
                return;
            }
            None => Fault::unknown_model(&job.model, self.lanes.keys()),
        };
        self.refuse(ticket, fault, actions);
    }

    /// Ends a waiting request with a fault.
    fn refuse(&mut self, ticket: Ticket, fault: Fault, actions: &mut Vec<Action>) {
        self.forget(ticket);
        actions.push(Action::Refuse { ticket, fault });
    }

    /// Takes a request that ends out of everything that knows it.
    fn forget(&mut self, ticket: Ticket) {
        let Some(Entry { job, place, .. }) = self.jobs.remove(&ticket) else { return };
        if let Some(place) = place {
            self.deadlines.remove(&(job.deadline, ticket));
            self.waiting_bytes -= job.bytes;
            if let Some(lane) = self.lanes.get_mut(&job.model) {
                lane.queue_mut(job.priority).waiting.remove(&place);
            }
        }
        if self.keys.get(&job.key) == Some(&ticket) {
            self.keys.remove(&job.key);
        }
        self.ledger.remove(&job);
    }

    /// Asks for a `Timer` at the first time at which something is to be done, unless one comes before that anyway.
    fn wish_for_timer(&mut self, look_again: Option<Time>, now: Time, actions: &mut Vec<Action>) {
        let deadline = self.deadlines.first().map(|(deadline, _)| *deadline);
        let handing_back = self.draining.filter(|_| deadline.is_some());
        let Some(wanted) = [deadline, look_again, handing_back].into_iter().flatten().min() else { return };
        if self.wake_at.is_none_or(|armed| wanted < armed || armed <= now) {
            self.wake_at = Some(wanted);
            actions.push(Action::WakeAt(wanted));
        }
    }
}
