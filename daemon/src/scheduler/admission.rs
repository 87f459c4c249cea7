//! Admission: whether a request may wait at all, and what a refused one is told.

use super::lane::Lane;
use super::ledger::Full;
use super::{Action, Entry, Job, Queue, Scheduler, State, Time, Waiting, pace};
use crate::thermal::Degraded;
use hearth_api::{Fault, Priority};
use std::time::Duration;

/// What the backlog of a model is taken for while nothing is known about how fast it serves.
const UNKNOWN_BACKLOG: Duration = Duration::from_millis(500);
/// The latest that a refused caller is told to come again.
const LATEST_RETRY: Duration = Duration::from_secs(60);
/// Who could not be answered in time anyway is refused; an estimate is taken for this share of itself less.
const IN_TIME: f64 = 0.9;
/// Of a conversation the whole stay counts, not the wait alone: it may be so many times as long. (For the only one of its model it is
/// enough to be in time: nobody is before it.)
const STAY: f64 = 1.2;
/// Of two that wait as expected, one waits longer: to the wait comes this much of what waits stray from what was expected.
const STRAYING: f64 = 0.1;
/// What others leave of the time is taken for no less than this share.
const LEFT: f64 = 0.1;
/// A wait of so many steps is no long one, whatever the patience: batches form of what waits.
const STEPS: f64 = 3.0;
/// The earliest that a caller refused by a daemon that shuts down is told to come again: it may be restarting.
const AFTER_RESTART: Duration = Duration::from_secs(1);

impl Scheduler {
    pub(super) fn submit(&mut self, job: Job, now: Time, actions: &mut Vec<Action>) {
        if let Some(&at_work) = self.keys.get(&job.key) {
            actions.push(Action::Attach { ticket: job.ticket, to: at_work });
            return;
        }
        let expected = match self.admit(&job, now) {
            Ok(expected) => expected,
            Err(fault) => return actions.push(Action::Refuse { ticket: job.ticket, fault }),
        };
        let lane = self.lanes.get_mut(&job.model).expect("a model that is not known was refused");
        if let State::Available = lane.state {
            lane.state = State::Loading;
            actions.push(Action::Load(job.model.clone()));
        }
        let place = (job.deadline.min(now + self.bounds.default_timeout), job.ticket);
        let queue: &mut Queue = lane.queue_mut(job.priority);
        if queue.waiting.is_empty() {
            queue.virtual_time = queue.virtual_time.max(self.virtual_clock[job.priority as usize]);
        }
        queue.waiting.insert(place, Waiting { deadline: job.deadline, arrived: now, alone: job.alone });
        let outstanding = lane.waiting() + lane.running;
        if let State::Ready { profile, .. } = &lane.state {
            lane.arrivals.came(now, outstanding, profile.max_delay);
        }
        self.deadlines.insert((job.deadline, job.ticket));
        self.waiting_bytes += job.bytes;
        self.keys.insert(job.key.clone(), job.ticket);
        self.ledger.add(&job);
        self.jobs.insert(job.ticket, Entry { job, arrived: now, place: Some(place), expected });
    }

    /// Whether it is let in; and the wait that is expected of it, in seconds, where one is.
    fn admit(&self, job: &Job, now: Time) -> Result<Option<f64>, Fault> {
        if let Some(until) = self.draining {
            let fault = Fault::overloaded("the daemon is shutting down");
            return Err(fault.retry_after(until.since(now).max(AFTER_RESTART)));
        }
        let Some(lane) = self.lanes.get(&job.model) else { return Err(Fault::unknown_model(&job.model, self.lanes.keys())) };
        if let State::Failed(fault) = &lane.state {
            return Err(fault.clone());
        }
        if job.deadline <= now {
            return Err(Fault::deadline_exceeded("the deadline had passed when the request arrived"));
        }
        if job.priority < self.budget.admit {
            let says = format!("{}; only requests of {} priority are admitted", self.budget.reason, self.budget.admit.as_str());
            return Err(Fault::too_hot(says).retry_after(self.budget.retry_after));
        }
        self.ledger.check(job, lane.waiting(), |full| self.retry_after(job, full))?;
        self.check_wait(job, lane, now)
    }

    /// Refuses a request that would wait too long.
    fn check_wait(&self, job: &Job, lane: &Lane, now: Time) -> Result<Option<f64>, Fault> {
        if self.bounds.patience.is_infinite() {
            return Ok(None);
        }
        let Some((expected, step)) = self.expected_wait(job, lane, now) else { return Ok(None) };
        // A board that is getting hot will be slower than it is.
        let slower = pace::cores(&self.budget) / pace::soon(&self.budget);
        let waits = lane.waits[job.priority as usize];
        let left = job.deadline.since(now).as_secs_f64();
        let (wait, may) = if lane.converses() {
            let only = lane.waiting() + lane.running == 0;
            let part = if only { IN_TIME } else { (self.bounds.patience * STAY).min(IN_TIME) };
            (expected * waits.longer(now), left * part)
        } else {
            let may = (left * self.bounds.patience).max(STEPS * step).min((left - step).max(0.0) * IN_TIME);
            (expected * waits.longer(now) + STRAYING * waits.straying(now), may)
        };
        let wait = wait * slower;
        if wait <= may {
            // A guess is nothing to learn from.
            let guess = lane.converses() && !lane.knows_stays();
            return Ok((!guess).then_some(expected));
        }
        let does = if lane.converses() { "would be at work" } else { "would wait" };
        let says = format!("{} {does} for {wait:.1} s of the {left:.1} s left to its deadline", job.model);
        let hot = self.budget.degraded != Degraded::No;
        let fault = if hot { Fault::too_hot(format!("{}; {says}", self.budget.reason)) } else { Fault::overloaded(says) };
        let again = Duration::from_secs_f64((wait - may).max(0.001)).min(LATEST_RETRY);
        Err(fault.with_limit("wait_ms", (may * 1e3) as u64).retry_after(again))
    }

    /// How long until this request begins (of a conversation: is over), and how long a step of its model takes (of a conversation:
    /// none counts), both in seconds with the rests; none while that is not known.
    fn expected_wait(&self, job: &Job, lane: &Lane, now: Time) -> Option<(f64, f64)> {
        let cores = pace::cores(&self.budget);
        let more_urgent =
            |lane: &Lane| -> usize { Priority::ALL.into_iter().filter(|p| *p > job.priority).map(|p| lane.queue(p).waiting.len()).sum() };
        let (own, step) = if lane.converses() {
            (lane.stay(cores)?, 0.0)
        } else {
            let pace = lane.pace(cores)?;
            let place = (job.deadline.min(now + self.bounds.default_timeout), job.ticket);
            let ahead = lane.queue(job.priority).waiting.range(..place).count() + more_urgent(lane);
            (pace * ahead as f64, lane.step(cores).unwrap_or(pace))
        };
        // What is more urgent goes before. Others of the same level take turns, with no more than is given to this one: with what waits;
        // and while a conversation stays with what will come, by the share of the time that they had lately.
        let others = || self.lanes.iter().filter(|(model, _)| **model != job.model).map(|(_, other)| other);
        let waits = |other: &Lane, count: usize| other.pace(cores).unwrap_or(0.0) * count as f64;
        let share = |other: &Lane| -> f64 { other.shares[job.priority as usize..].iter().map(|share| share.lately(now)).sum() };
        let whole = if lane.converses() { own / (1.0 - others().map(share).sum::<f64>()).max(LEFT) } else { 0.0 };
        let turns = |other: &Lane| waits(other, other.queue(job.priority).waiting.len()).max(share(other) * whole).min(own);
        let before: f64 = others().map(|other| waits(other, more_urgent(other)) + turns(other)).sum();
        Some((self.busy_for(now) + own + before, step))
    }

    /// How long the step that runs will go on, in seconds, as far as that is known.
    fn busy_for(&self, now: Time) -> f64 {
        let rests = self.pace.begins(false).since(now).as_secs_f64();
        let Some(outer) = self.running.first() else { return rests };
        let latency = self.lanes.get(&outer.model).and_then(|lane| lane.latency(outer.jobs.len()));
        latency.map_or(0.0, |latency| (latency - now.since(outer.began).as_secs_f64()).max(0.0))
    }

    /// When half of what is in the way of this request will be done, going by how fast it was served so far: its model's
    /// backlog, with the other models taking their turns, or everybody's.
    fn retry_after(&self, job: &Job, full: Full) -> Duration {
        let cores = pace::cores(&self.budget);
        let backlogs = || self.lanes.values().filter(|lane| lane.waiting() > 0).map(|lane| lane.backlog(cores).unwrap_or(UNKNOWN_BACKLOG));
        let takes: Duration = match full {
            Full::Whole => backlogs().sum(),
            Full::Model => {
                let own = self.lanes.get(&job.model).and_then(|lane| lane.backlog(cores)).unwrap_or(UNKNOWN_BACKLOG);
                backlogs().map(|other| other.min(own)).sum::<Duration>()
            }
        };
        (takes / 2).clamp(Duration::from_millis(1), LATEST_RETRY)
    }
}

/// How waits turn out, beside what was expected of them: what comes later and goes first, steps that fill badly.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Waits {
    expected: f64,
    waited: f64,
    /// How far waits are from what was expected of them, either way.
    strayed: f64,
    /// When the newest was over.
    at: Time,
}

impl Waits {
    /// Weight of the newest wait in the running means.
    const WEIGHT: f64 = 1.0 / 32.0;
    /// A wait that counts, in seconds, with every one: short ones say nothing of long ones.
    const SHORT: f64 = 0.05;
    /// What was learnt is forgotten in so many seconds (to 1/e of it) while nothing new is: what nobody is let in by cannot be unlearnt.
    const FORGOTTEN: f64 = 60.0;

    /// A request was expected to wait so long, and did so long until now, in seconds.
    pub(super) fn over(&mut self, expected: f64, waited: f64, now: Time) {
        let strayed = (waited - expected * self.longer(now)).abs();
        self.strayed += (strayed - self.strayed) * Waits::WEIGHT;
        self.expected += (expected - self.expected) * Waits::WEIGHT;
        self.waited += (waited - self.waited) * Waits::WEIGHT;
        self.at = now;
    }

    /// Waits are so many times as long as expected.
    fn longer(self, now: Time) -> f64 {
        let longer = ((self.waited + Waits::SHORT) / (self.expected + Waits::SHORT)).clamp(0.5, 4.0);
        1.0 + (longer - 1.0) * self.remembered(now)
    }

    /// Waits are so much shorter or longer than that, in seconds.
    fn straying(self, now: Time) -> f64 {
        self.strayed * self.remembered(now)
    }

    fn remembered(self, now: Time) -> f64 {
        (-now.since(self.at).as_secs_f64() / Waits::FORGOTTEN).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learnt_of_waits_is_forgotten_when_nobody_waits() {
        let mut waits = Waits::default();
        let at = |seconds| Time(Duration::from_secs(seconds));
        for second in 0..200 {
            waits.over(1.0, 3.0, at(second));
        }
        let [longer, straying] = [waits.longer(at(200)), waits.straying(at(200))];
        assert!((2.7..3.0).contains(&longer) && straying < 0.2, "{longer:.2} times as long, and {straying:.2} s off");
        let longer = waits.longer(at(500));
        assert!((1.0..1.02).contains(&longer), "{longer:.2} times as long after five minutes");
    }
}
