//! Admission: whether a request may wait at all, and what a refused one is told.

use super::ledger::Full;
use super::{Action, Entry, Job, Queue, Scheduler, State, Time, Waiting, rest_share};
use hearth_api::{Fault, Priority};
use std::time::Duration;

/// What the backlog of a model is taken for while nothing is known about how fast it serves.
const UNKNOWN_BACKLOG: Duration = Duration::from_millis(500);
/// The latest that a refused caller is told to come again.
const LATEST_RETRY: Duration = Duration::from_secs(60);
/// The earliest that a caller refused by a daemon that shuts down is told to come again: it may be restarting.
const AFTER_RESTART: Duration = Duration::from_secs(1);

impl Scheduler {
    pub(super) fn submit(&mut self, job: Job, now: Time, actions: &mut Vec<Action>) {
        if let Some(&at_work) = self.keys.get(&job.key) {
            actions.push(Action::Attach { ticket: job.ticket, to: at_work });
            return;
        }
        if let Err(fault) = self.admit(&job, now) {
            actions.push(Action::Refuse { ticket: job.ticket, fault });
            return;
        }
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
        self.jobs.insert(job.ticket, Entry { job, arrived: now, place: Some(place) });
    }

    fn admit(&self, job: &Job, now: Time) -> Result<(), Fault> {
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
        self.ledger.check(job, lane.waiting(), |full| self.retry_after(job, full))
    }

    /// When half of what is in the way of this request will be done, going by how fast it was served so far: its model's
    /// backlog, with the other models taking their turns, or everybody's.
    fn retry_after(&self, job: &Job, full: Full) -> Duration {
        let backlogs = || self.lanes.values().filter(|lane| lane.waiting() > 0).map(|lane| lane.backlog().unwrap_or(UNKNOWN_BACKLOG));
        let compute = match full {
            Full::Whole => backlogs().sum(),
            Full::Model => {
                let own = self.lanes.get(&job.model).and_then(|lane| lane.backlog()).unwrap_or(UNKNOWN_BACKLOG);
                backlogs().map(|other| other.min(own)).sum::<Duration>()
            }
        };
        let rested = if job.priority == Priority::High { compute } else { compute.mul_f64(1.0 + rest_share(&self.budget)) };
        (rested / 2).clamp(Duration::from_millis(1), LATEST_RETRY)
    }
}
