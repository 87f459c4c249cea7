//! The ledger: what each caller and each model holds of the bounds, and whether one more request fits.

use super::{Bounds, Door, Job};
use hearth_api::{Fault, ModelName, Priority};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

/// The share of each bound, one in so many, that only requests of high priority may take.
const RESERVE: usize = 16;
/// Nobody may hold more than so many times what stays free for the others, so that nobody can fill a bound, and several
/// greedy ones settle at equal parts (dynamic thresholds: Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2),
/// 1998). It holds for models and for callers in what there is in all, and for callers in what their model may hold.
const SHARE: usize = 4;

type Caller = (Door, Arc<str>);

/// Requests and bytes.
type Amount = [usize; 2];

/// The names of the limits, in requests and in bytes.
const IN_ALL: [&str; 2] = ["queue_requests", "queue_bytes"];
const PER_MODEL: [&str; 2] = ["queue_requests_per_model", "queue_bytes_per_model"];
const PER_CALLER: [&str; 2] = ["queue_requests_per_caller", "queue_bytes_per_caller"];
const UNITS: [&str; 2] = ["requests", "bytes"];

/// What is held, waiting or running.
#[derive(Debug)]
pub(super) struct Ledger {
    bounds: Bounds,
    total: Amount,
    models: HashMap<ModelName, Amount>,
    callers: HashMap<Caller, Amount>,
    /// What each caller holds with each model.
    parts: HashMap<(Caller, ModelName), Amount>,
}

/// What kept a request out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// What its model may hold.
    Model,
    /// What there is in all.
    Whole,
}

impl Ledger {
    pub(super) fn new(bounds: Bounds) -> Ledger {
        Ledger { bounds, total: [0; 2], models: HashMap::new(), callers: HashMap::new(), parts: HashMap::new() }
    }

    /// Whether `job` fits, with `waiting` requests waiting for its model. `retry_after` is asked only if it does not.
    pub(super) fn check(&self, job: &Job, waiting: usize, retry_after: impl FnOnce(Full) -> Duration) -> Result<(), Fault> {
        let for_priority = |bound: usize| if job.priority == Priority::High { bound } else { bound - bound / RESERVE };
        let bounds = [for_priority(self.bounds.requests), for_priority(self.bounds.bytes)];
        if job.bytes > bounds[1] {
            let says = format!("the request holds {} bytes; all that wait may hold {}", job.bytes, bounds[1]);
            return Err(Fault::too_large(says).with_limit(IN_ALL[1], to_u64(bounds[1])));
        }
        let full = |what: Full, name: &str, limit: usize, says: String| {
            Err(Fault::overloaded(says).with_limit(name, to_u64(limit)).retry_after(retry_after(what)))
        };
        let per_model = for_priority(self.bounds.requests_per_model);
        if waiting >= per_model {
            return full(Full::Model, PER_MODEL[0], per_model, format!("{waiting} requests wait for {}", job.model));
        }

        let caller = caller_of(job);
        let by_model = held(&self.models, &job.model);
        let by_caller = held(&self.callers, &caller);
        let part = held(&self.parts, &(caller, job.model.clone()));
        let added = amount_of(job);
        for unit in 0..2 {
            // High priority may have gone beyond what the others may take.
            let Some(free) = bounds[unit].checked_sub(self.total[unit].saturating_add(added[unit])) else {
                let says = format!("{} {} wait or run", self.total[unit], UNITS[unit]);
                return full(Full::Whole, IN_ALL[unit], bounds[unit], says);
            };
            let share = free.saturating_mul(SHARE);
            // Whoever holds nothing is let in as long as there is room at all.
            let fits = |held: Amount, share: usize| held[0] == 0 || held[unit] + added[unit] <= share;
            if !fits(by_model, share) {
                let says = format!("{} {} of {} wait or run, and others need room", by_model[unit], UNITS[unit], job.model);
                return full(Full::Model, PER_MODEL[unit], share, says);
            }
            if !fits(by_caller, share) {
                let says = format!("{} {} of this caller wait or run, and others need room", by_caller[unit], UNITS[unit]);
                return full(Full::Whole, PER_CALLER[unit], share, says);
            }
            let mut free_of_model = share.saturating_sub(by_model[unit] + added[unit]);
            if unit == 0 {
                free_of_model = free_of_model.min(per_model - waiting - 1);
            }
            let share_of_model = free_of_model.saturating_mul(SHARE);
            if !fits(part, share_of_model) {
                let says = format!("{} {} of this caller wait or run with {}, and others need room", part[unit], UNITS[unit], job.model);
                return full(Full::Model, PER_CALLER[unit], share_of_model, says);
            }
        }
        Ok(())
    }

    /// `job` was admitted.
    pub(super) fn add(&mut self, job: &Job) {
        let caller = caller_of(job);
        for held in [
            &mut self.total,
            self.models.entry(job.model.clone()).or_default(),
            self.callers.entry(caller.clone()).or_default(),
            self.parts.entry((caller, job.model.clone())).or_default(),
        ] {
            held[0] += 1;
            held[1] += job.bytes;
        }
    }

    /// `job` has ended.
    pub(super) fn remove(&mut self, job: &Job) {
        let caller = caller_of(job);
        self.total[0] -= 1;
        self.total[1] -= job.bytes;
        release(&mut self.models, &job.model, job.bytes);
        release(&mut self.callers, &caller, job.bytes);
        release(&mut self.parts, &(caller, job.model.clone()), job.bytes);
    }
}

fn caller_of(job: &Job) -> Caller {
    (job.key.door, job.key.reply_to.clone())
}

fn amount_of(job: &Job) -> Amount {
    [1, job.bytes]
}

fn held<K: Eq + Hash>(of: &HashMap<K, Amount>, who: &K) -> Amount {
    of.get(who).copied().unwrap_or_default()
}

fn release<K: Eq + Hash>(of: &mut HashMap<K, Amount>, who: &K, bytes: usize) {
    let Some(held) = of.get_mut(who) else { return };
    held[0] -= 1;
    held[1] -= bytes;
    if held[0] == 0 {
        of.remove(who);
    }
}

fn to_u64(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
