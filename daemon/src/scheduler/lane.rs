//! A lane: one model, the requests that wait for it (a queue for each priority), and how fast it serves them.

use super::admission::Waits;
use super::arrivals::Arrivals;
use super::costs::Costs;
use super::rides::Rides;
use super::share::Share;
use super::{Profile, Readiness, Ticket, Time, pace};
use crate::thermal::Budget;
use hearth_api::Priority;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Weight of the newest step in the running mean of the time an item takes.
const WEIGHT: f64 = 1.0 / 4.0;

/// What the queue needs to know of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    pub(super) deadline: Time,
    pub(super) arrived: Time,
    pub(super) alone: bool,
}

/// Where a request stands in its queue: by the time it is due, which is its deadline, or the end of its patience if that
/// comes first: requests with near deadlines overtake one with a far deadline, but not for ever.
pub(super) type Place = (Time, Ticket);

/// Requests of one priority that wait for one model.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) waiting: BTreeMap<Place, Waiting>,
    /// Compute time it was given, in the time of start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996): the queue
    /// with the least goes next; one that was empty begins where the others are.
    pub(super) virtual_time: Duration,
    /// Since when it waits, on purpose, for more requests to join, although the compute threads are free; and the last
    /// turn in which it did.
    held: (Time, Turn),
}

/// A turn of the picking. A turn that runs a step counts twice, so that what was held before the step is not held on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Turn(u64);

impl Turn {
    pub(super) fn next(self) -> Turn {
        Turn(self.0 + 1)
    }
}

impl Queue {
    /// It waits for more requests to join.
    pub(super) fn hold(&mut self, turn: Turn, now: Time) {
        let since = self.held_since(turn).unwrap_or(now);
        self.held = (since, turn);
    }

    /// Since when it has been held without a break until this turn.
    pub(super) fn held_since(&self, turn: Turn) -> Option<Time> {
        (self.held.1 > Turn::default() && self.held.1.next() >= turn).then_some(self.held.0)
    }
}

/// What a model can do now.
#[derive(Debug)]
pub(super) enum State {
    Available,
    Loading,
    /// `costs`: within the budget; `fast`: while there is more to spend at the moment than on average.
    Ready {
        profile: Arc<Profile>,
        costs: Costs,
        fast: Costs,
    },
    Failed(hearth_api::Fault),
}

impl State {
    /// None for a model that is removed: it has no lane.
    pub(super) fn new(readiness: Readiness, budget: &Budget) -> Option<State> {
        Some(match readiness {
            Readiness::Available => State::Available,
            Readiness::Loading => State::Loading,
            Readiness::Ready(profile) => {
                State::Ready { costs: Costs::within(&profile, budget), fast: Costs::within(&profile, &pace::fast(budget)), profile }
            }
            Readiness::Failed(fault) => State::Failed(fault),
            Readiness::Removed => return None,
        })
    }
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) state: State,
    queues: [Queue; Priority::ALL.len()],
    pub(super) arrivals: Arrivals,
    /// How waits turn out, for each priority.
    pub(super) waits: [Waits; Priority::ALL.len()],
    /// How much of the time its steps have, for each priority.
    pub(super) shares: [Share; Priority::ALL.len()],
    /// Requests in steps.
    pub(super) running: usize,
    /// Mean time a request takes of its steps, in seconds and in core-seconds; none before the first is over.
    takes: Option<[f64; 2]>,
    /// Time of steps since the last request was over, in seconds and in core-seconds.
    spent: [f64; 2],
    /// How much longer steps take than was measured, as a factor: the clock may be down. Running mean.
    slower: f64,
    rides: Rides,
}

impl Lane {
    pub(super) fn new() -> Lane {
        Lane {
            state: State::Available,
            queues: Default::default(),
            arrivals: Arrivals::default(),
            waits: Default::default(),
            shares: Default::default(),
            running: 0,
            takes: None,
            spent: [0.0; 2],
            slower: 1.0,
            rides: Rides::default(),
        }
    }

    /// The budget has changed.
    pub(super) fn set_budget(&mut self, budget: &Budget) {
        if let State::Ready { profile, costs, fast } = &mut self.state {
            costs.change(profile, budget);
            fast.change(profile, &pace::fast(budget));
        }
    }

    pub(super) fn queue(&self, priority: Priority) -> &Queue {
        &self.queues[priority as usize]
    }

    pub(super) fn queue_mut(&mut self, priority: Priority) -> &mut Queue {
        &mut self.queues[priority as usize]
    }

    pub(super) fn queues_mut(&mut self) -> impl Iterator<Item = (Priority, &mut Queue)> {
        Priority::ALL.into_iter().zip(&mut self.queues)
    }

    /// Requests waiting, of every priority.
    pub(super) fn waiting(&self) -> usize {
        self.queues.iter().map(|queue| queue.waiting.len()).sum()
    }

    /// Every request that waits.
    pub(super) fn tickets(&self) -> Vec<Ticket> {
        self.queues.iter().flat_map(|queue| queue.waiting.keys().map(|(_, ticket)| *ticket)).collect()
    }

    /// A step of so many requests, `items` of which are over, took so long, with so many busy cores.
    pub(super) fn served(&mut self, riders: usize, items: usize, took: Duration, busy: f64) {
        self.rides.over(riders, items, took, busy);
        if let State::Ready { costs, .. } = &self.state
            && let Some(measured) = costs.latency(items).filter(|measured| !measured.is_zero())
        {
            let slower = (took.as_secs_f64() / measured.as_secs_f64()).clamp(0.1, 10.0);
            self.slower += (slower - self.slower) * WEIGHT;
        }
        self.spent[0] += took.as_secs_f64();
        self.spent[1] += took.as_secs_f64() * busy;
        if items == 0 {
            return;
        }
        let item = std::mem::take(&mut self.spent).map(|spent| spent / items as f64);
        let mean = self.takes.get_or_insert(item);
        for (mean, item) in mean.iter_mut().zip(item) {
            *mean += (item - *mean) * WEIGHT;
        }
    }

    /// Whether its model can run.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready { .. })
    }

    /// Whether its requests are conversations.
    pub(super) fn converses(&self) -> bool {
        matches!(&self.state, State::Ready { profile, .. } if profile.conversations)
    }

    /// Time that a request takes while so many cores may be busy on average, rests included, in seconds; none while nothing is
    /// known. Where batches were measured it is that of the best one: it is what forms where many wait.
    pub(super) fn pace(&self, cores: f64) -> Option<f64> {
        let measured = if let State::Ready { costs, .. } = &self.state { costs.pace() } else { None };
        let served = self.takes.map(|[seconds, core_seconds]| seconds.max(core_seconds / cores));
        measured.map(|pace| pace * self.slower).or(served)
    }

    /// How long a step of so many takes at the present clock, in seconds; none if nothing was measured.
    pub(super) fn latency(&self, batch: usize) -> Option<f64> {
        let State::Ready { costs, .. } = &self.state else { return None };
        costs.latency(batch).map(|latency| latency.as_secs_f64() * self.slower)
    }

    /// The same for one request, with the rest after it.
    pub(super) fn step(&self, cores: f64) -> Option<f64> {
        let State::Ready { costs, .. } = &self.state else { return None };
        self.latency(1).map(|latency| latency * (costs.busy(1) / cores).max(1.0))
    }

    /// How long one more conversation would stay while so many cores may be busy on average, in seconds: as long as those that it rides
    /// with, and itself; none while that is not known.
    pub(super) fn stay(&self, cores: f64) -> Option<f64> {
        let State::Ready { costs, .. } = &self.state else { return None };
        self.rides.stay(self.waiting() + self.running + 1, costs.best_batch(), cores)
    }

    /// Whether a conversation was over: what is said of stays before that is a guess.
    pub(super) fn knows_stays(&self) -> bool {
        self.rides.knows()
    }

    /// Time that all that is here will take, as far as that is known.
    pub(super) fn backlog(&self, cores: f64) -> Option<Duration> {
        Some(Duration::from_secs_f64(self.pace(cores)? * (self.waiting() + self.running) as f64))
    }
}
