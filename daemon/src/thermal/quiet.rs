//! Quiet: on which step the fan is to stay. The lowest that serves what is asked.

use super::{Celsius, Notice, Traits};
use std::time::Duration;

/// The fan's step is left to the next when what is asked could not be served below it for so long.
const NEEDS: Duration = Duration::from_secs(45);
/// And taken back when the board would have served it below for so long.
const AGAIN: Duration = Duration::from_secs(600);
/// What is asked counts as served below when it is so much less than was served there, at most.
const LESS: f64 = 0.8;

/// What quiet knows.
#[derive(Debug, Clone, Default)]
pub(super) struct Quiet {
    /// The step the fan may take.
    step: usize,
    /// The work, in cores at the full clock, that each step was left at.
    served: Vec<f64>,
    saturated: f64,
    modest: f64,
}

impl Quiet {
    /// Below which temperature the board is to stay: where the next step of the fan begins; none on the last step. `saturated`:
    /// all that may be spent is; `work`: what is, in cores at the full clock, a running mean.
    pub(super) fn goal(&mut self, traits: &Traits, since: f64, saturated: bool, work: f64, notices: &mut Vec<Notice>) -> Option<Celsius> {
        if traits.fan.is_empty() {
            return None;
        }
        self.saturated = if saturated { self.saturated + since } else { (self.saturated - since).max(0.0) };
        if self.saturated >= NEEDS.as_secs_f64() && self.step < traits.fan.len() {
            self.served.truncate(self.step);
            self.served.push(work);
            self.step += 1;
            (self.saturated, self.modest) = (0.0, 0.0);
            notices.push(Notice::QuietNeeds(u32::try_from(self.step).unwrap_or(u32::MAX)));
        }
        let below = self.step.checked_sub(1).and_then(|step| self.served.get(step));
        let modest = below.is_some_and(|served| work < LESS * served);
        self.modest = if modest { self.modest + since } else { 0.0 };
        if self.modest >= AGAIN.as_secs_f64() {
            self.step -= 1;
            (self.saturated, self.modest) = (0.0, 0.0);
            notices.push(Notice::QuietAgain(u32::try_from(self.step).unwrap_or(u32::MAX)));
        }
        traits.fan.get(self.step).copied()
    }
}
