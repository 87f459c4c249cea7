//! Straying: how far the chip strays from its aim. Work comes in steps, readings are noisy, and what is aimed at moves with what is
//! learnt; how much all of that makes is seen best from what it made lately.

/// The least and the most that one look counts, K above the aim; a chip further below is on its way, and tells nothing.
const COUNTS: (f64, f64) = (-0.3, 0.6);
const ON_ITS_WAY: f64 = -0.6;
/// Seconds of the running mean while it rises, and while it falls.
const MEAN: (f64, f64) = (60.0, 120.0);
/// What it is taken for at first, K.
const FIRST: f64 = 0.15;

/// A running mean square, K².
#[derive(Debug, Clone, Copy)]
pub(super) struct Straying(f64);

impl Default for Straying {
    fn default() -> Straying {
        Straying(FIRST * FIRST)
    }
}

impl Straying {
    /// The chip is so far above its aim, K, so many seconds after the look before.
    pub(super) fn see(&mut self, above: f64, since: f64) {
        if above <= ON_ITS_WAY {
            return;
        }
        let square = above.clamp(COUNTS.0, COUNTS.1).powi(2);
        let seconds = if square > self.0 { MEAN.0 } else { MEAN.1 };
        self.0 += (square - self.0) * (since / seconds).min(1.0);
    }

    /// How far it strays, K.
    pub(super) fn by(self) -> f64 {
        self.0.sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(looks: impl Iterator<Item = f64>) -> f64 {
        let mut straying = Straying::default();
        looks.for_each(|above| straying.see(above, 1.0));
        straying.by()
    }

    #[test]
    fn it_is_what_was_seen_lately_and_at_first_what_is_usual() {
        assert_eq!(after(std::iter::empty()), FIRST);
        assert!(after([0.4, -0.2].into_iter().cycle().take(600)) > 0.3);
        assert!(after([0.05, -0.05].into_iter().cycle().take(600)) < 0.06);
    }

    #[test]
    fn a_chip_on_its_way_tells_nothing_and_a_wild_one_only_so_much() {
        assert_eq!(after((0..600).map(|_| -20.0)), FIRST);
        assert!(after((0..600).map(|_| 20.0)) <= COUNTS.1);
    }
}
