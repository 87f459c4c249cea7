//! The measured table of a model: what a batch on so many threads takes. Pure: durations go in, points come out.

use hearth_api::Point;
use std::collections::BTreeMap;
use std::time::Duration;

/// Runs that make a point: the first warms up and does not count, the best of the others does. More than these, up to so many,
/// are made until they have taken long enough that one moment's trouble does not matter.
const RUNS: (u32, u32) = (3, 20);
const ENOUGH: Duration = Duration::from_millis(5);
/// A run that would take longer is left out: the table would cost more than it gives.
const LONGEST_RUN: Duration = Duration::from_secs(2);
/// Weight of a served step in the running mean: of one that was faster, and of one that was slower, which others on this board can
/// make it at any time, and by any measure.
const SERVED_WEIGHT: (f64, f64) = (1.0 / 8.0, 1.0 / 32.0);
/// A slower step counts as no more than this many times the mean.
const SERVED_MOST: f64 = 2.0;
/// A published point is published anew when it is off by more than this share.
const DRIFT: f64 = 0.25;

/// One way to run a step: requests and threads.
pub(super) type Shape = (u32, u32);

#[derive(Debug, Clone, Copy)]
struct Measured {
    latency_us: f64,
    cpu_us_per_item: f64,
}

/// A point that is being measured.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    shape: Shape,
    runs: u32,
    took: Duration,
    best: Measured,
}

/// The points of one model.
#[derive(Debug, Default)]
pub(super) struct Points {
    /// What is to be measured, the cheapest first.
    grid: Vec<Shape>,
    measured: BTreeMap<Shape, Measured>,
    attempt: Option<Attempt>,
    published: Vec<Point>,
}

impl Points {
    /// The table of a model that takes `max_batch` requests at once on a board of `threads` threads, begun with what was
    /// saved of an earlier run.
    pub(super) fn new(max_batch: u32, threads: u32, saved: &[Point]) -> Points {
        let batches = std::iter::successors(Some(1u32), |b| b.checked_mul(2)).take_while(|b| *b < max_batch).chain([max_batch.max(1)]);
        // More threads than requests are idle threads: each runs a sub-batch of whole requests.
        let grid: Vec<Shape> = batches.flat_map(|batch| (1..=threads.min(batch)).map(move |threads| (batch, threads))).collect();
        let measured = saved
            .iter()
            .filter(|p| grid.contains(&(p.batch, p.threads)))
            .map(|p| ((p.batch, p.threads), Measured { latency_us: p.latency_us as f64, cpu_us_per_item: p.cpu_us_per_item as f64 }))
            .collect();
        let mut points = Points { grid, measured, attempt: None, published: Vec::new() };
        points.publish();
        points
    }

    /// The points as they are told to others.
    pub(super) fn published(&self) -> &[Point] {
        &self.published
    }

    /// What to measure next within these bounds; none when the table is full.
    pub(super) fn next(&self, batch: u32, threads: u32) -> Option<Shape> {
        let within = |shape: &Shape| shape.0 <= batch && shape.1 <= threads;
        if let Some(attempt) = self.attempt.filter(|a| within(&a.shape)) {
            return Some(attempt.shape);
        }
        // Time of an item on one thread, at best.
        let item_us = |((batch, threads), m): (&Shape, &Measured)| m.latency_us * f64::from(*threads) / f64::from(*batch);
        let item_us = self.measured.iter().map(item_us).reduce(f64::min).unwrap_or(0.0);
        self.grid
            .iter()
            .copied()
            .filter(|shape| within(shape) && !self.measured.contains_key(shape))
            .find(|shape| item_us * f64::from(shape.0) / f64::from(shape.1) <= LONGEST_RUN.as_secs_f64() * 1e6)
    }

    /// A measuring run of `shape` took this long, and this much CPU time in all. True when the published points changed.
    pub(super) fn measured(&mut self, shape: Shape, took: Duration, cpu: Duration) -> bool {
        let run = Measured { latency_us: took.as_secs_f64() * 1e6, cpu_us_per_item: cpu.as_secs_f64() * 1e6 / f64::from(shape.0) };
        let attempt = match self.attempt {
            // The second run replaces the warm-up.
            Some(a) if a.shape == shape && (a.runs == 1 || run.latency_us < a.best.latency_us) => {
                Attempt { shape, runs: a.runs + 1, took: a.took + took, best: run }
            }
            Some(a) if a.shape == shape => Attempt { runs: a.runs + 1, took: a.took + took, ..a },
            _ => Attempt { shape, runs: 1, took, best: run },
        };
        self.attempt = Some(attempt);
        if attempt.runs < RUNS.0 || (attempt.took < ENOUGH && attempt.runs < RUNS.1) {
            return false;
        }
        self.attempt = None;
        self.measured.insert(shape, attempt.best);
        self.publish();
        true
    }

    /// A served step of `shape` took this long: keeps a measured point up. True when the published points changed.
    pub(super) fn served(&mut self, shape: Shape, took: Duration) -> bool {
        let Some(point) = self.measured.get_mut(&shape) else { return false };
        let took = (took.as_secs_f64() * 1e6).min(point.latency_us * SERVED_MOST);
        let weight = if took < point.latency_us { SERVED_WEIGHT.0 } else { SERVED_WEIGHT.1 };
        point.latency_us += (took - point.latency_us) * weight;
        let now = point.latency_us;
        let told = self.published.iter().find(|p| (p.batch, p.threads) == shape).map_or(0.0, |p| p.latency_us as f64);
        if (now - told).abs() <= told * DRIFT {
            return false;
        }
        self.publish();
        true
    }

    fn publish(&mut self) {
        self.published = self
            .measured
            .iter()
            .map(|(&(batch, threads), m)| Point {
                batch,
                threads,
                latency_us: m.latency_us.round() as u64,
                cpu_us_per_item: m.cpu_us_per_item.round() as u64,
            })
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn fill(points: &mut Points, item: Duration) -> Vec<Shape> {
        let mut shapes = Vec::new();
        while let Some(shape) = points.next(u32::MAX, u32::MAX) {
            if points.measured(shape, item * shape.0 / shape.1, item * shape.0) {
                shapes.push(shape);
            }
        }
        shapes
    }

    #[test]
    fn every_useful_shape_is_measured_the_cheapest_first() {
        let mut points = Points::new(6, 2, &[]);
        assert_eq!(fill(&mut points, MS), [(1, 1), (2, 1), (2, 2), (4, 1), (4, 2), (6, 1), (6, 2)]);
        assert_eq!(points.published()[2], Point { batch: 2, threads: 2, latency_us: 1000, cpu_us_per_item: 1000 });
        assert_eq!(fill(&mut Points::new(1, 4, &[]), MS), [(1, 1)]);
    }

    #[test]
    fn the_warm_up_does_not_count_and_the_best_run_does() {
        let mut points = Points::new(1, 1, &[]);
        for (took, done) in [(MS, false), (9 * MS, false), (5 * MS, true)] {
            assert_eq!(points.measured((1, 1), took, took), done);
        }
        assert_eq!(points.published()[0].latency_us, 5000);
    }

    #[test]
    fn nothing_is_measured_outside_the_bounds_or_for_too_long() {
        let mut points = Points::new(8, 4, &[]);
        assert_eq!(points.next(1, 1), Some((1, 1)));
        let shapes = fill(&mut points, 600 * MS);
        assert!(shapes.contains(&(2, 1)) && shapes.contains(&(8, 4)) && !shapes.contains(&(8, 1)), "{shapes:?}");
        assert_eq!(Points::new(8, 4, &[]).next(0, 0), None);
    }

    #[test]
    fn what_was_saved_is_not_measured_again() {
        let mut first = Points::new(4, 2, &[]);
        fill(&mut first, MS);
        let second = Points::new(4, 2, first.published());
        assert_eq!(second.next(4, 2), None);
        assert_eq!(second.published(), first.published());
        assert!(Points::new(1, 1, first.published()).published().len() == 1);
    }

    #[test]
    fn served_steps_keep_a_point_up_and_tell_only_of_real_drift() {
        let mut points = Points::new(1, 1, &[]);
        fill(&mut points, MS);
        assert!(!points.served((1, 1), MS));
        let told = (0..40).filter(|_| points.served((1, 1), 2 * MS)).count();
        assert!((1..5).contains(&told), "{told}");
        assert!(points.published()[0].latency_us > 1500);
        assert!(!points.served((3, 1), MS));
    }
}
