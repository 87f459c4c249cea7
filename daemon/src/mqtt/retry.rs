//! How long to wait before another try: exponential, with jitter, so that a fleet does not come back in step.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Waits that double from the first to the longest.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    tries: u32,
}

impl Backoff {
    /// From the first wait to the longest.
    pub(super) fn new((first, longest): (Duration, Duration)) -> Backoff {
        Backoff { first, longest, tries: 0 }
    }

    /// The next wait: between the whole of its step and half as much again, never over the longest.
    pub(super) fn next(&mut self) -> Duration {
        let step = self.first.saturating_mul(1 << self.tries.min(20)).min(self.longest);
        self.tries += 1;
        // The keys of RandomState are the standard library's one source of randomness.
        let chance = RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64;
        step.mul_f64(1.0 + chance / 2.0).min(self.longest)
    }

    /// It went well: the next wait is the first again.
    pub(super) fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_from_the_first_to_the_longest_and_start_over() {
        let (first, longest) = (Duration::from_millis(200), Duration::from_secs(30));
        let mut backoff = Backoff::new((first, longest));
        let waits: Vec<Duration> = (0..40).map(|_| backoff.next()).collect();
        assert!(waits[0] >= first && waits[0] <= first * 3 / 2);
        assert!(waits[1] >= first * 2 && waits.iter().all(|w| *w <= longest));
        assert_eq!(waits[39], longest);
        backoff.reset();
        assert!(backoff.next() <= first * 3 / 2);
    }
}
