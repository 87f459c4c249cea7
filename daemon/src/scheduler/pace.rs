//! The pace: mean busy cores stay within the budget. Each step is paid for in core-seconds, at the rate the budget gives; what
//! is not paid for yet is rested off. (A virtual scheduling algorithm, as of ITU-T I.371 for cells of a network.)

use super::Time;
use crate::thermal::Budget;
use std::time::Duration;

/// What was not spent counts for so much time later, and no more: bursts of requests are served at once, and the heat stays even.
const SAVED: Duration = Duration::from_millis(200);
/// With so much saved, a step may be fast rather than cheap: what is not spent soon is lost.
const FAST: Duration = Duration::from_millis(120);
/// So far into debt high priority may go before it waits as well.
const CREDIT: Duration = Duration::from_millis(250);
/// No step is rested off for longer than this, whatever it took.
const LONGEST: Duration = Duration::from_secs(60);
/// Whatever the budget says, something is done: cores.
const LEAST: f64 = 0.01;

/// What is paid for, and what is not.
#[derive(Debug, Default)]
pub(super) struct Pace {
    paid_until: Time,
    /// Core-seconds of inner steps of the step that runs.
    inside: f64,
}

impl Pace {
    /// When a step may begin.
    pub(super) fn begins(&self, high: bool) -> Time {
        if high { self.paid_until - CREDIT } else { self.paid_until }
    }

    /// Whether there is more to spend now than on average.
    pub(super) fn has_saved(&self, now: Time) -> bool {
        now.since(self.paid_until) >= FAST
    }

    /// Whether another step may run inside the one that runs.
    pub(super) fn lets_inside(&self, budget: &Budget) -> bool {
        within(budget).is_none_or(|cores| self.inside < CREDIT.as_secs_f64() * cores)
    }

    /// A step inside another is over.
    pub(super) fn inner_over(&mut self, took: Duration, busy: f64) {
        self.inside += took.as_secs_f64() * busy;
    }

    /// The last step that ran is over.
    pub(super) fn over(&mut self, budget: &Budget, began: Time, took: Duration, busy: f64, now: Time) {
        let spent = std::mem::take(&mut self.inside) + took.as_secs_f64() * busy;
        let Some(cores) = within(budget) else { return };
        let pays = Duration::from_secs_f64((spent / cores).min(LONGEST.as_secs_f64() * 2.0));
        self.paid_until = (self.paid_until.max(began - SAVED) + pays).min(now + LONGEST);
    }

    /// Another budget: what is owed is paid at its rate.
    pub(super) fn change(&mut self, old: &Budget, new: &Budget, now: Time) {
        if self.paid_until <= now {
            return;
        }
        let owed = self.paid_until.since(now);
        self.paid_until = match (within(old), within(new)) {
            (Some(old), Some(new)) => now + owed.mul_f64((old / new).min(1e3)).min(LONGEST),
            (_, None) => now,
            (None, Some(_)) => self.paid_until,
        };
    }
}

/// The mean of busy cores that is allowed; none where nothing is held back.
fn within(budget: &Budget) -> Option<f64> {
    (budget.cores < f64::from(budget.threads)).then(|| budget.cores.max(LEAST))
}

/// The cores of a budget, as a number to calculate with.
pub(super) fn cores(budget: &Budget) -> f64 {
    within(budget).unwrap_or(f64::from(budget.threads.max(1)))
}

/// The cores that it will be soon.
pub(super) fn soon(budget: &Budget) -> f64 {
    budget.soon.clamp(LEAST, cores(budget))
}

/// The budget of a step that may be fast: the same threads, and cores for all of them.
pub(super) fn fast(budget: &Budget) -> Budget {
    let threads = threads(budget);
    Budget { threads, cores: f64::from(threads), ..budget.clone() }
}

/// The threads that a step may use: one more than the cores that may be busy on average, since few steps fill all of theirs; with
/// more, a step would heat the chip faster than the mean that the governor reckons with.
pub(super) fn threads(budget: &Budget) -> u32 {
    (filled(budget) + 1).min(budget.threads.max(1))
}

/// The same for steps that keep all their threads busy: no more than the cores that may be.
pub(super) fn filled(budget: &Budget) -> u32 {
    (cores(budget).ceil() as u32).clamp(1, budget.threads.max(1))
}
