//! Steps: how long those of the engine are. The longer they are, the further the chip swings about its mean temperature while
//! they work and rest by turns.

use super::Look;

/// Steps of so many core-seconds, or more, are long ones.
const LONG: f64 = 0.7;
/// What steps take is a mean over so many seconds, and of so many of them at least.
const MEAN: f64 = 120.0;
const ENOUGH: f64 = 10.0;

/// What the engine's steps take.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Steps {
    /// Core-seconds, and the steps in which they were spent; both fade.
    spent: f64,
    count: f64,
}

impl Steps {
    /// A look, so many seconds after the one before. Others' work counts as that of the steps.
    pub(super) fn pass(&mut self, look: &Look, seconds: f64) {
        let stays = (-seconds / MEAN).exp();
        self.spent = self.spent * stays + look.busy * seconds;
        self.count = self.count * stays + f64::from(look.steps);
    }

    /// How long they are, as a share of long ones; long ones while nothing is known.
    pub(super) fn length(self) -> f64 {
        if self.count < ENOUGH { 1.0 } else { (self.spent / self.count / LONG).min(1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn length(busy: f64, steps: u32) -> f64 {
        let mut all = Steps::default();
        let look = Look {
            at: Duration::ZERO,
            temperature: None,
            busy,
            clock: 1.0,
            watts: None,
            fan: None,
            steps,
            throttled: false,
            complaint: String::new(),
        };
        (0..600).for_each(|_| all.pass(&look, 1.0));
        all.length()
    }

    #[test]
    fn steps_are_as_long_as_what_they_take_and_long_where_they_are_not_known() {
        assert!((length(1.4, 10) - 0.2).abs() < 1e-9);
        assert_eq!((length(3.0, 1), length(3.0, 0)), (1.0, 1.0));
    }
}
