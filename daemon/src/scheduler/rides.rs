//! Rides: how long a conversation stays, by how many ride with it. A step costs something by itself (a language model reads all its
//! weights) and something for each that rides in it; how many steps a conversation takes is learnt from those that were.

use std::time::Duration;

/// Weight of the newest step: in the means of what steps cost, and in those of how many conversations end.
const STEP: f64 = 1.0 / 64.0;
const END: f64 = 1.0 / 512.0;
/// While all steps were of one size, each rider is taken for this share of a step of one; and how much a spread of sizes (a variance)
/// weighs against that.
const SHARE: f64 = 0.3;
const DOUBT: f64 = 0.25;

/// What is learnt of a model's steps.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rides {
    steps: u32,
    /// Riders of a step: mean and variance.
    riders: f64,
    variance: f64,
    seconds: Line,
    core_seconds: Line,
    /// Riders of a step, and those of them that were over after it: means over a longer time.
    rode: f64,
    ended: f64,
}

/// A cost against the riders of a step: its mean, and the covariance of the two.
#[derive(Debug, Clone, Copy, Default)]
struct Line {
    mean: f64,
    covariance: f64,
}

impl Line {
    fn saw(&mut self, cost: f64, off: f64, weight: f64) {
        let by = cost - self.mean;
        self.mean += weight * by;
        self.covariance = (1.0 - weight) * (self.covariance + weight * off * by);
    }
}

impl Rides {
    /// A step of so many took so long, with so many busy cores; so many of them are over.
    pub(super) fn over(&mut self, riders: usize, ended: usize, took: Duration, busy: f64) {
        self.steps = self.steps.saturating_add(1);
        let first = 1.0 / f64::from(self.steps);
        let (weight, long) = (STEP.max(first), END.max(first));
        let off = riders as f64 - self.riders;
        self.seconds.saw(took.as_secs_f64(), off, weight);
        self.core_seconds.saw(took.as_secs_f64() * busy, off, weight);
        self.riders += weight * off;
        self.variance = (1.0 - weight) * (self.variance + weight * off * off);
        self.rode += long * (riders as f64 - self.rode);
        self.ended += long * (ended as f64 - self.ended);
    }

    /// Whether one was over.
    pub(super) fn knows(&self) -> bool {
        self.ended > 0.0
    }

    /// How long each of `together` conversations stays, in seconds, if at most `most` ride in a step and so many cores may be busy on
    /// average; none before the first step.
    pub(super) fn stay(&self, together: usize, most: usize, cores: f64) -> Option<f64> {
        // Until one is over, one is taken for as long as all together were, lest everybody be let in at the start.
        let rides = match self.steps {
            0 => return None,
            steps if !self.knows() => f64::from(steps) * self.rode,
            _ => self.rode / self.ended,
        };
        let riders = together.min(most).max(1) as f64;
        let cost = |line: &Line| {
            let slope = (line.covariance + DOUBT * SHARE * line.mean / self.riders.max(1.0)) / (self.variance + DOUBT);
            let slope = slope.clamp(0.0, line.mean / self.riders.max(1.0));
            line.mean + slope * (riders - self.riders)
        };
        let step = cost(&self.seconds).max(cost(&self.core_seconds) / cores);
        Some(rides * step * together.max(1) as f64 / riders)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A step takes 100 ms, and 20 ms for each rider, on two cores; one in so many rides is the last.
    fn rode(sizes: impl Iterator<Item = usize>) -> Rides {
        let mut rides = Rides::default();
        let mut rode = 0;
        for riders in sizes {
            rode += riders;
            let ended = usize::from(rode >= 50);
            rode -= 50 * ended;
            rides.over(riders, ended, Duration::from_millis(100 + 20 * riders as u64), 2.0);
        }
        rides
    }

    #[test]
    fn more_riders_cost_what_they_add_to_a_step() {
        let rides = rode((0..4000).map(|step| 1 + step / 7 % 4));
        for together in 1..=8 {
            let right = 50.0 * (0.1 + 0.02 * together as f64);
            let says = rides.stay(together, 8, 4.0).unwrap();
            assert!((says / right - 1.0).abs() < 0.1, "{together}: {says:.2} s, not {right:.2}");
            // One busy core of the two that a step keeps busy: twice as long.
            let slow = rides.stay(together, 8, 1.0).unwrap();
            assert!((slow / right / 2.0 - 1.0).abs() < 0.1, "{together}: {slow:.2} s at half of the pace");
        }
        let in_turns = rides.stay(16, 8, 4.0).unwrap() / rides.stay(8, 8, 4.0).unwrap();
        assert!((in_turns - 2.0).abs() < 1e-9);
    }

    #[test]
    fn until_one_is_over_a_stay_is_as_long_as_all_that_was_ridden() {
        let mut rides = Rides::default();
        assert_eq!(rides.stay(1, 8, 4.0), None);
        for _ in 0..20 {
            rides.over(3, 0, Duration::from_millis(100), 2.0);
        }
        let says = rides.stay(3, 8, 4.0).unwrap();
        assert!(!rides.knows() && (says - 6.0).abs() < 1e-9, "{says:.2} s, not 3 x 20 steps of 0.1 s");
        rides.over(3, 2, Duration::from_millis(100), 2.0);
        let says = rides.stay(3, 8, 4.0).unwrap();
        assert!(rides.knows() && (says - 3.15).abs() < 1e-9, "{says:.2} s, not 63 / 2 steps of 0.1 s");
    }

    #[test]
    fn of_steps_of_one_size_more_riders_are_taken_to_cost_less_than_as_much_again() {
        let rides = rode(std::iter::repeat_n(2, 500));
        let [two, four] = [2, 4].map(|together| rides.stay(together, 8, 4.0).unwrap());
        assert!(four > two && four < 2.0 * two, "{two:.2} s, {four:.2} s");
    }
}
