//! Picking: which batch runs next, and what runs inside a running step.

use super::batching::{Batch, form, hold};
use super::lane::{Lane, State};
use super::{Action, Running, Scheduler, Step, StepId, StepJob, Time};
use hearth_api::{ModelName, Priority};
use std::time::Duration;

/// How much more compute time than the least served model another may have had and still go first for a near deadline:
/// deadlines are kept where it costs others little, and are no way to take the board over.
const ADVANCE: Duration = Duration::from_millis(250);

/// A batch that could run next.
struct Contender {
    model: ModelName,
    batch: Batch,
    virtual_time: Duration,
}

impl Scheduler {
    /// Runs the next batch if one is to run now; else says when to look again, if not before the next event.
    pub(super) fn pick(&mut self, now: Time, actions: &mut Vec<Action>) -> Option<Time> {
        self.turn = self.turn.next();
        for priority in Priority::ALL.into_iter().rev() {
            // Background work is for a cool board, and what waits of it waits for that.
            if priority == Priority::Background && self.budget.admit > Priority::Background && self.draining.is_none() {
                continue;
            }
            let mut contenders = Vec::new();
            let mut look_again: Option<Time> = None;
            for (model, lane) in &mut self.lanes {
                let State::Ready { profile, costs, fast } = &lane.state else { continue };
                let costs = if self.pace.has_saved(now) { fast } else { costs };
                let queue = lane.queue(priority);
                if queue.waiting.is_empty() {
                    continue;
                }
                let begins = self.pace.begins(priority == Priority::High);
                if now < begins {
                    return Some(begins);
                }
                let here = lane.waiting();
                let may_wait = priority < Priority::High && self.draining.is_none();
                if let Some(until) = may_wait.then(|| hold(queue, profile, costs, &lane.arrivals, here, now)).flatten() {
                    lane.queue_mut(priority).hold(self.turn, now);
                    look_again = Some(look_again.map_or(until, |at| at.min(until)));
                } else if let Some(batch) = form(queue, costs, false, now) {
                    contenders.push(Contender { model: model.clone(), batch, virtual_time: queue.virtual_time });
                }
            }
            if let Some(chosen) = choose(contenders, now) {
                self.run(chosen, priority, false, now, actions);
                return None;
            }
            if look_again.is_some() {
                return look_again;
            }
        }
        None
    }

    /// The running step stands between two nodes: runs inside it what may.
    pub(super) fn interrupt(&mut self, step: StepId, now: Time, actions: &mut Vec<Action>) {
        let Some(running) = self.interruptible(step) else { return };
        for priority in Priority::ALL.into_iter().rev() {
            let contenders =
                self.lanes.iter().filter(|(_, lane)| self.may_run_inside(running, lane, priority)).filter_map(|(model, lane)| {
                    let State::Ready { costs, .. } = &lane.state else { return None };
                    let queue = lane.queue(priority);
                    let batch = form(queue, costs, true, now)?;
                    Some(Contender { model: model.clone(), batch, virtual_time: queue.virtual_time })
                });
            if let Some(chosen) = choose(contenders.collect(), now) {
                return self.run(chosen, priority, true, now, actions);
            }
        }
    }

    /// Whether anything waits that may run inside this step.
    pub(super) fn has_for_inside(&self, step: StepId) -> bool {
        self.interruptible(step).is_some_and(|running| {
            self.lanes.values().any(|lane| Priority::ALL.into_iter().any(|priority| self.may_run_inside(running, lane, priority)))
        })
    }

    /// The step, if anything may run inside it: it is the only one, not one that has to be alone, lest another be blamed for what
    /// it does, and what ran inside it has not spent too much heat.
    fn interruptible(&self, step: StepId) -> Option<&Running> {
        let [running] = self.running.as_slice() else { return None };
        (running.id == step && !running.inside && !running.alone && self.pace.lets_inside(&self.budget)).then_some(running)
    }

    /// Whether a lane has something of this level that may run inside this step: what is urgent inside what is not; and inside
    /// conversations, whose steps come without end, whatever is as urgent and none, as long as it had no more compute time.
    fn may_run_inside(&self, running: &Running, lane: &Lane, priority: Priority) -> bool {
        let queue = lane.queue(priority);
        if !lane.is_ready() || queue.waiting.values().all(|w| w.alone) {
            return false;
        }
        let urgent = priority == Priority::High && running.priority < Priority::High;
        let talks = self.lanes.get(&running.model).filter(|lane| lane.converses());
        let had = talks.map(|lane| lane.queue(running.priority).virtual_time);
        urgent || priority >= running.priority && !lane.converses() && had.is_some_and(|had| queue.virtual_time <= had + ADVANCE)
    }

    fn run(&mut self, chosen: Contender, priority: Priority, inside: bool, now: Time, actions: &mut Vec<Action>) {
        let Contender { model, batch, virtual_time } = chosen;
        let clock = &mut self.virtual_clock[priority as usize];
        *clock = virtual_time.max(*clock);

        let lane = self.lanes.get_mut(&model).expect("a contender is a lane");
        let outstanding = lane.waiting() + lane.running;
        lane.arrivals.step(outstanding);
        lane.running += batch.places.len();
        let converses = lane.converses();
        let mut waits = lane.waits[priority as usize];
        let queue = lane.queue_mut(priority);
        let held_since = queue.held_since(self.turn);
        let mut jobs = Vec::with_capacity(batch.places.len());
        for place in &batch.places {
            let waiting = queue.waiting.remove(place).expect("a batch is formed of what waits");
            let ticket = place.1;
            let entry = self.jobs.get_mut(&ticket).expect("what waits is a job");
            entry.place = None;
            // Of a conversation the stay is expected, not the wait.
            if !converses && let Some(expected) = entry.expected.take() {
                waits.over(expected, now.since(waiting.arrived).as_secs_f64(), now);
            }
            self.deadlines.remove(&(waiting.deadline, ticket));
            self.waiting_bytes -= entry.job.bytes;
            let batched = held_since.map_or(Duration::ZERO, |since| now.since(since.max(waiting.arrived)));
            let queued = now.since(waiting.arrived).saturating_sub(batched);
            jobs.push((waiting.arrived, StepJob { ticket, queued, batched }));
        }
        lane.waits[priority as usize] = waits;
        jobs.sort_by_key(|(arrived, job)| (*arrived, job.ticket));
        let jobs: Vec<StepJob> = jobs.into_iter().map(|(_, job)| job).collect();
        self.turn = self.turn.next();

        let id = StepId(self.next_step);
        self.next_step += 1;
        let tickets = jobs.iter().map(|job| job.ticket).collect();
        self.running.push(Running {
            id,
            model: model.clone(),
            priority,
            jobs: tickets,
            inside,
            alone: batch.alone,
            began: now,
            busy: batch.busy,
        });
        actions.push(Action::Run(Step { id, model, jobs, threads: batch.threads }));
    }
}

/// The contender to run: of those that would miss a deadline if another went first, the one with the first deadline, as
/// long as it is not too far ahead of the others in compute time; else the one that had the least.
fn choose(mut contenders: Vec<Contender>, now: Time) -> Option<Contender> {
    let least = contenders.iter().map(|c| c.virtual_time).min()?;
    let longest = contenders.iter().map(|c| c.batch.latency).max()?;
    let rank = |c: &Contender| {
        let ready = now + c.batch.latency;
        let near = c.batch.deadline >= ready && c.batch.deadline < ready + longest && c.virtual_time <= least + ADVANCE;
        if near { (0, c.batch.deadline.0, c.virtual_time) } else { (1, c.virtual_time, c.batch.deadline.0) }
    };
    let at = (0..contenders.len()).min_by_key(|at| rank(&contenders[*at]))?;
    Some(contenders.swap_remove(at))
}
