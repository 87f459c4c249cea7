//! The meter: how a load becomes a power. Where power is measured, how many watts work takes (a line, by recursive least
//! squares with forgetting); else what the traits say.

use super::Traits;
use super::learner::Power;

/// What a second counts after one more.
const FORGET: f64 = 0.995;

/// Watts by work.
#[derive(Debug, Clone, Default)]
pub(super) struct Meter {
    /// Weighted sums: of ones, work, its square, watts, work times watts.
    sums: [f64; 5],
}

impl Meter {
    /// The power of a look.
    pub(super) fn see(&mut self, traits: &Traits, busy: f64, clock: f64, watts: Option<f64>) -> Power {
        let work = traits.dynamic(busy, clock);
        let Some(watts) = watts.filter(|watts| watts.is_finite() && (0.0..1000.0).contains(watts)) else { return Power::Work(work) };
        for (sum, new) in self.sums.iter_mut().zip([1.0, work, work * work, watts, work * watts]) {
            *sum = *sum * FORGET + new;
        }
        Power::Measured(watts)
    }

    /// The power of so much work to come, in W of [`Traits::dynamic`].
    pub(super) fn power(&self, traits: &Traits, work: f64, measured: bool) -> Power {
        if !measured || self.sums[0] < 1.0 {
            return Power::Work(work);
        }
        // Pulled towards what the traits say, as if that had been seen for some seconds.
        let [n, x, xx, y, xy] = self.sums;
        let (n, x, xx) = (n + 2.0, x + traits.core, xx + traits.core.powi(2));
        let (y, xy) = (y + 2.0 * traits.rest + traits.core, xy + traits.core * (traits.rest + traits.core));
        let spread = n * xx - x * x;
        let slope = if spread > 1e-9 { (n * xy - x * y) / spread } else { 1.0 };
        let slope = slope.clamp(0.3, 3.0);
        Power::Measured(((y - slope * x) / n + slope * work).max(0.0))
    }
}
