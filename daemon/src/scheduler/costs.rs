//! What a batch costs: the measured points of a model, made into a table that is read by batch size.

use super::{Profile, pace};
use crate::thermal::Budget;
use std::collections::BTreeMap;
use std::time::Duration;

/// What counts as better: a rate, or a latency, that is ahead by more than this share. Less is noise of the measurement.
const GAIN: f64 = 0.03;
/// What a step costs around its model: the choice, the flight record, the wake-ups. It makes batches of the smallest models pay.
const STEP: Duration = Duration::from_micros(25);
/// The largest batch of a model whose batches were not measured.
const CAUTIOUS_BATCH: u32 = 4;
/// The largest table, whatever a file of points says.
const LARGEST_BATCH: u32 = 1024;

/// Latencies by batch size, on the number of threads that serves the most within the budget.
#[derive(Debug)]
pub(super) struct Costs {
    /// For batch 1, 2, ...; empty while nothing was measured.
    table: Vec<Cost>,
    /// Of what was not measured: the largest batch, and its threads.
    unmeasured: (usize, u32),
    /// The threads, the batch and the cores that it was made for.
    made_for: (u32, u32, f64),
}

#[derive(Debug, Clone, Copy)]
struct Cost {
    latency: Duration,
    threads: u32,
    /// Mean busy cores.
    busy: f64,
    /// The latency with the rest after it.
    rested: Duration,
    /// The batch to make where so many could be made: the smallest whose rate no other up to this one betters.
    pays: usize,
}

/// Latency in microseconds, and CPU time, by batch size.
#[derive(Debug, Default)]
struct Measured {
    latency: BTreeMap<u32, f64>,
    cpu: BTreeMap<u32, f64>,
}

/// The table is made anew when the cores differ by more than this share.
const CORES: f64 = 0.05;

impl Costs {
    /// The table of `profile` within a budget.
    pub(super) fn within(profile: &Profile, budget: &Budget) -> Costs {
        let made_for = (pace::threads(budget), budget.batch, pace::cores(budget));
        let (threads, batch, cores) = made_for;
        let ceiling = profile.max_batch.min(batch).clamp(1, LARGEST_BATCH);
        if profile.conversations {
            // What bounds them is the memory, and waiting for that heats as well: each of their threads is busy all the time.
            return Costs { table: Vec::new(), unmeasured: (ceiling as usize, pace::filled(budget)), made_for };
        }
        let unmeasured = (ceiling.min(CAUTIOUS_BATCH) as usize, 1);
        let mut measured: BTreeMap<u32, Measured> = BTreeMap::new();
        for point in profile.points.iter().filter(|p| p.batch >= 1 && p.threads >= 1 && p.threads <= threads && p.latency_us > 0) {
            let on = measured.entry(point.threads).or_default();
            on.latency.insert(point.batch, point.latency_us as f64);
            on.cpu.insert(point.batch, point.cpu_us_per_item as f64 * f64::from(point.batch));
        }
        let Some(on_one) = measured.get(&1) else { return Costs { table: Vec::new(), unmeasured, made_for } };
        let comparable = on_one.latency.len() >= 2;
        let largest =
            if comparable { measured.values().flat_map(|on| on.latency.keys()).copied().max().unwrap_or(1) } else { CAUTIOUS_BATCH };
        if !comparable {
            // One size says how long things take, and nothing about batching.
            measured.retain(|threads, _| *threads == 1);
        }
        let mut table: Vec<Cost> = Vec::new();
        let mut best_rate = 0.0;
        for batch in 1..=largest.min(ceiling) {
            let mut best = (f64::INFINITY, f64::INFINITY, 1, 1.0);
            for (on, costs) in measured.iter().filter(|(on, _)| **on <= batch) {
                let latency = interpolate(&costs.latency, batch);
                let busy = (interpolate(&costs.cpu, batch) / latency).clamp(0.1, f64::from(*on));
                let rested = latency * (busy / cores).max(1.0);
                // Threads cost: more of them only where that serves more.
                if rested < best.0 * (1.0 - GAIN) {
                    best = (rested, latency, *on, busy);
                }
            }
            let (rested, latency, threads, busy) = best;
            // More requests never take less time: a table that says so was measured under different conditions.
            let at_least = |us: f64, before: Option<Duration>| Duration::from_secs_f64(us / 1e6).max(before.unwrap_or_default());
            let last = table.last();
            let latency = at_least(latency, last.map(|c| c.latency));
            let rested = at_least(rested, last.map(|c| c.rested));
            let before = last.map_or(1, |c| c.pays);
            let batch = batch as usize;
            table.push(Cost { latency, threads, busy, rested, pays: batch });
            best_rate = f64::max(best_rate, rate(&table, batch));
            if comparable {
                table[batch - 1].pays = (before..=batch).find(|b| rate(&table, *b) * (1.0 + GAIN) >= best_rate).unwrap_or(batch);
            }
        }
        Costs { table, unmeasured, made_for }
    }

    /// The budget has changed: the table is made anew if that makes a difference.
    pub(super) fn change(&mut self, profile: &Profile, budget: &Budget) {
        let (threads, batch, cores) = self.made_for;
        let same = (threads, batch) == (pace::threads(budget), budget.batch) && (pace::cores(budget) / cores - 1.0).abs() <= CORES;
        if !same {
            *self = Costs::within(profile, budget);
        }
    }

    /// The batch to make when `waiting` requests, at least one, could ride in it.
    pub(super) fn batch(&self, waiting: usize) -> usize {
        match self.table.get(waiting.min(self.table.len()).saturating_sub(1)) {
            Some(cost) => cost.pays,
            None => waiting.min(self.unmeasured.0),
        }
    }

    /// The batch to make when any number of requests could ride in it.
    pub(super) fn best_batch(&self) -> usize {
        self.batch(usize::MAX)
    }

    /// How long a step of `batch` requests takes; none if that was not measured.
    pub(super) fn latency(&self, batch: usize) -> Option<Duration> {
        self.table.get(batch.checked_sub(1)?).map(|cost| cost.latency)
    }

    /// The threads for a step of `batch` requests.
    pub(super) fn threads(&self, batch: usize) -> u32 {
        self.table.get(batch.saturating_sub(1)).map_or(self.unmeasured.1, |cost| cost.threads)
    }

    /// Mean busy cores of a step of `batch` requests; all its threads while nothing was measured.
    pub(super) fn busy(&self, batch: usize) -> f64 {
        self.table.get(batch.saturating_sub(1)).map_or(f64::from(self.unmeasured.1), |cost| cost.busy)
    }

    /// How long a request takes of the best batch, rest included, in seconds; none if nothing was measured.
    pub(super) fn pace(&self) -> Option<f64> {
        let batch = self.best_batch();
        self.table.get(batch.checked_sub(1)?).map(|cost| cost.rested.as_secs_f64() / batch as f64)
    }

    /// The compute time saved when one more request joins a batch of `batch`, rather than run on its own.
    pub(super) fn saved_by_joining(&self, batch: usize) -> Duration {
        match (self.latency(batch), self.latency(1), self.latency(batch + 1)) {
            (Some(so_far), Some(alone), Some(together)) => (so_far + alone).saturating_sub(together),
            _ => Duration::ZERO,
        }
    }
}

fn rate(table: &[Cost], batch: usize) -> f64 {
    batch as f64 / (table[batch - 1].rested + STEP).as_secs_f64()
}

/// Between two measured batches, along the line; below the first, as that one; above the last, in proportion.
fn interpolate(latencies: &BTreeMap<u32, f64>, batch: u32) -> f64 {
    let below = latencies.range(..=batch).next_back();
    let above = latencies.range(batch..).next();
    match (below, above) {
        (Some((b0, l0)), Some((b1, l1))) if b0 != b1 => l0 + (l1 - l0) * f64::from(batch - b0) / f64::from(b1 - b0),
        (Some((b0, l0)), None) => l0 * f64::from(batch) / f64::from(*b0),
        (_, Some((_, l1))) => *l1,
        (None, None) => f64::INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_api::Point;

    fn profile(points: &[(u32, u32, u64)]) -> Profile {
        let points = points.iter().map(|&(batch, threads, latency_us)| Point { batch, threads, latency_us, cpu_us_per_item: latency_us });
        Profile { max_batch: 32, max_delay: Duration::from_millis(5), points: points.collect(), conversations: false }
    }

    fn table(profile: &Profile, threads: u32, batch: u32) -> Costs {
        Costs::within(profile, &Budget { batch, ..Budget::unbounded(threads) })
    }

    #[test]
    fn a_batch_is_as_large_as_pays_and_no_larger() {
        // 10 ms and 1 ms an item up to 8; from there on 10 ms an item.
        let costs = table(&profile(&[(1, 1, 11_000), (2, 1, 12_000), (8, 1, 18_000), (16, 1, 98_000)]), 1, u32::MAX);
        assert_eq!(costs.best_batch(), 8);
        assert_eq!(costs.batch(5), 5);
        assert_eq!(costs.batch(100), 8);
        assert_eq!(costs.latency(5), Some(Duration::from_millis(15)));
    }

    #[test]
    fn where_batching_does_not_pay_the_batch_is_one() {
        let costs = table(&profile(&[(1, 1, 10_000), (2, 1, 19_800), (4, 1, 39_200), (8, 1, 90_000)]), 1, u32::MAX);
        for waiting in 1..50 {
            assert_eq!(costs.batch(waiting), 1);
        }
    }

    #[test]
    fn the_budget_bounds_batch_and_threads() {
        let points = [(1, 1, 10_000), (2, 1, 19_000), (2, 2, 10_100), (4, 1, 37_000), (4, 2, 20_000), (8, 1, 70_000), (8, 2, 38_000)];
        let wide = table(&profile(&points), 2, u32::MAX);
        // 8 are 2 % faster than 6, which is not worth making the first of them wait for.
        assert_eq!((wide.best_batch(), wide.threads(2), wide.threads(1)), (6, 2, 1));
        let few = table(&profile(&points), 2, 3);
        assert_eq!((few.best_batch(), few.threads(2)), (2, 2));
        let one = table(&profile(&points), 1, u32::MAX);
        assert_eq!((one.threads(8), one.latency(2)), (1, Some(Duration::from_millis(19))));
    }

    #[test]
    fn conversations_ride_all_together_on_all_threads() {
        let costs = table(&Profile { conversations: true, ..profile(&[]) }, 4, u32::MAX);
        assert_eq!((costs.batch(9), costs.best_batch(), costs.threads(9)), (9, 32, 4));
        let bounded = table(&Profile { conversations: true, ..profile(&[]) }, 2, 3);
        assert_eq!((bounded.batch(9), bounded.threads(3)), (3, 2));
        let hot = Costs::within(&Profile { conversations: true, ..profile(&[]) }, &Budget { cores: 1.3, ..Budget::unbounded(4) });
        assert_eq!(hot.threads(3), 2);
    }

    #[test]
    fn threads_that_bring_nothing_are_left_alone() {
        let costs = table(&profile(&[(1, 1, 10_000), (2, 1, 12_000), (2, 2, 11_900)]), 4, u32::MAX);
        assert_eq!(costs.threads(2), 1);
    }

    #[test]
    fn an_unmeasured_model_gets_small_batches_on_one_thread() {
        for points in [&[][..], &[(1, 1, 500)], &[(1, 1, 500), (2, 2, 500)], &[(2, 2, 700), (4, 2, 900)]] {
            let costs = table(&profile(points), 4, u32::MAX);
            assert_eq!((costs.batch(1), costs.batch(3), costs.batch(50), costs.threads(3)), (1, 3, 4, 1));
            assert_eq!(table(&profile(points), 4, 2).batch(50), 2);
        }
    }

    #[test]
    fn one_measured_size_says_how_long_things_take() {
        let costs = table(&profile(&[(1, 1, 500)]), 4, u32::MAX);
        assert_eq!(
            (costs.latency(1), costs.latency(4), costs.latency(5)),
            (Some(Duration::from_micros(500)), Some(Duration::from_millis(2)), None)
        );
        assert_eq!(costs.saved_by_joining(1), Duration::ZERO);
    }

    #[test]
    fn an_absurd_table_is_survived() {
        let costs = table(&profile(&[(u32::MAX, 1, u64::MAX), (0, 1, 5), (1, 0, 5), (7, 1, 0), (3, 1, 1), (1, 1, 9)]), 0, 0);
        assert_eq!((costs.best_batch(), costs.threads(1)), (1, 1));
        assert_eq!(costs.latency(1), Some(Duration::from_micros(9)));
    }
}
