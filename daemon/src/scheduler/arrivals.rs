//! How requests for a model come in: whether another can be expected soon enough to wait for it.

use super::Time;
use std::time::Duration;

/// Weight of the newest observation in the running means.
const WEIGHT: f64 = 1.0 / 8.0;
/// A silence counts as so many times the longest wait at most: the stream that follows it is soon known again.
const SILENCE: u32 = 8;
/// How many usual gaps without an arrival are enough to give up.
const PATIENCE: u32 = 3;

/// The recent arrivals of one model.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    last: Option<Time>,
    /// Running mean of the logarithm of the gap between arrivals, in seconds; none until two have come. The logarithm,
    /// because requests come in flocks: the pause between two flocks says little about the next one of the same flock.
    log_gap: Option<f64>,
    /// The most requests at work (waiting or running) at once since the last step.
    peak: usize,
    /// The running mean of that; jumps up, sinks slowly. Callers that each wait for their answer before they ask again
    /// are never more than this: when all are here, nobody else will come.
    crowd: f64,
}

impl Arrivals {
    /// A request came, and now `outstanding` are at work. `max_delay` is the longest that anybody would wait for one.
    pub(super) fn came(&mut self, now: Time, outstanding: usize, max_delay: Duration) {
        if let Some(last) = self.last {
            let gap = now.since(last).min(max_delay * SILENCE).max(Duration::from_micros(1)).as_secs_f64().ln();
            self.log_gap = Some(self.log_gap.map_or(gap, |mean| mean + (gap - mean) * WEIGHT));
        }
        self.last = Some(now);
        self.peak = self.peak.max(outstanding);
    }

    /// A step begins while `outstanding` are at work.
    pub(super) fn step(&mut self, outstanding: usize) {
        let peak = self.peak.max(outstanding) as f64;
        self.crowd = f64::max(peak, self.crowd + (peak - self.crowd) * WEIGHT);
        self.peak = 0;
    }

    /// Whether the `here` that are here are as many as were at work at once lately.
    pub(super) fn all_here(&self, here: usize) -> bool {
        here as f64 + 0.5 > self.crowd.max(self.peak as f64)
    }

    /// The usual gap, and until when to expect the next arrival before giving up; none while nothing is known.
    pub(super) fn next(&self) -> Option<(Duration, Time)> {
        let gap = Duration::from_secs_f64(self.log_gap?.exp());
        Some((gap, self.last? + gap * PATIENCE))
    }
}
