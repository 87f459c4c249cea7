//! Share: how much of the time a model's steps had lately, rests included. A conversation shares the time with what comes while it
//! stays, and how much that will have goes by this.

use super::Time;

/// What is longer ago than so many seconds counts little (1/e of the newest).
const LATELY: f64 = 15.0;

/// A share of the time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Share {
    mean: f64,
    at: Time,
}

impl Share {
    /// A step that is over now took so many seconds, with the rest that it has to be paid with.
    pub(super) fn had(&mut self, seconds: f64, now: Time) {
        self.mean = (self.lately(now) + 1.0 - (-seconds / LATELY).exp()).min(1.0);
        self.at = now;
    }

    /// The share, from 0 to 1.
    pub(super) fn lately(&self, now: Time) -> f64 {
        self.mean * (-now.since(self.at).as_secs_f64() / LATELY).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn it_is_what_steps_had_of_the_time_and_sinks_when_they_end() {
        let mut share = Share::default();
        let after = |seconds: f64| Time(Duration::from_secs_f64(seconds));
        assert_eq!(share.lately(after(5.0)), 0.0);
        for step in 1..=200 {
            share.had(0.2, after(0.5 * f64::from(step)));
        }
        let busy = share.lately(after(100.0));
        assert!((busy - 0.4).abs() < 0.02, "{busy:.3}, not 0.2 s of each 0.5");
        let idle = share.lately(after(130.0));
        assert!(idle < 0.06, "{idle:.3} half a minute after the last step");
        share.had(1e6, after(131.0));
        assert_eq!(share.lately(after(131.0)), 1.0);
    }
}
