//! Forecasts: where the temperature goes at a load, with an honest error, and how much load a goal allows.

use super::heat::headroom;
use super::learner::{Journey, Learner, Power};
use super::{Celsius, Traits};
use std::time::Duration;

/// A temperature to come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expected {
    /// So long after the last look.
    pub after: Duration,
    /// What it will be.
    pub temperature: Celsius,
    /// How far that may be off: one sigma, in K.
    pub error: f64,
    /// Android's thermal headroom: 1.0 at the limit, 0.0 at 30 K below it.
    pub headroom: f64,
}

/// A load, for a forecast of what comes of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// For so long.
    pub during: Duration,
    /// Busy cores.
    pub busy: f64,
    /// Clock, as a share of the top one.
    pub clock: f64,
    /// Power in W, where it is measured.
    pub watts: Option<f64>,
}

/// How far below where it began a fan's step ends, K: of the Pi 5's cooler; of others near enough.
const FAN_HYSTERESIS: f64 = 5.0;
/// Strides: short while the chip moves, longer when only the board does, s.
const SHORT: f64 = 1.0;
const LONG: f64 = 5.0;
const SETTLED: f64 = 20.0;

/// A fan as it will behave.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fan<'a> {
    /// Where its steps begin; empty where that is not known, and then it stays as it is.
    pub(super) steps: &'a [Celsius],
    /// Its step now.
    pub(super) now: usize,
}

impl Fan<'_> {
    fn follow(&mut self, chip: f64) {
        while self.steps.get(self.now).is_some_and(|step| chip >= step.0) {
            self.now += 1;
        }
        while self.now > 0 && self.steps.get(self.now - 1).is_some_and(|step| chip < step.0 - FAN_HYSTERESIS) {
            self.now -= 1;
        }
    }
}

/// Travels for so many seconds at a power; `stop` may end it early. Seconds travelled.
fn travel(journey: &mut Journey<'_>, fan: &mut Fan<'_>, power: Power, seconds: f64, mut stop: impl FnMut(f64) -> bool) -> f64 {
    let mut gone = 0.0;
    while gone < seconds - 1e-6 {
        let stride = if gone < SETTLED { SHORT } else { LONG };
        let stride = stride.min(seconds - gone);
        let chip = journey.go(stride, power, fan.now);
        gone += stride;
        fan.follow(chip);
        if stop(chip) {
            break;
        }
    }
    gone
}

/// The temperature at the end of these loads, each a power for so many seconds.
pub(super) fn expect(learner: &Learner, fan: Fan<'_>, loads: &[(f64, Power)], limit: Option<Celsius>) -> Expected {
    let seconds: f64 = loads.iter().map(|(seconds, _)| seconds).sum();
    let go = |journey: &mut Journey<'_>| {
        let mut fan = fan;
        for (seconds, power) in loads {
            travel(journey, &mut fan, *power, *seconds, |_| false);
        }
        journey.chip()
    };
    let chip = go(&mut learner.journey());
    let error = learner.variance(chip, go, seconds).sqrt();
    let headroom = limit.map_or(0.0, |limit| headroom(Celsius(chip), limit));
    Expected { after: Duration::from_secs_f64(seconds), temperature: Celsius(chip), error, headroom }
}

/// When the chip passes a temperature at this power, if within `seconds`.
pub(super) fn passes(learner: &Learner, mut fan: Fan<'_>, power: Power, at: f64, seconds: f64) -> Option<Duration> {
    let mut journey = learner.journey();
    if journey.chip() >= at {
        return Some(Duration::ZERO);
    }
    let mut passed = false;
    let gone = travel(&mut journey, &mut fan, power, seconds, |chip| {
        passed = chip >= at;
        passed
    });
    passed.then(|| Duration::from_secs_f64(gone))
}

/// How much work, in W of [`Traits::dynamic`], leaves the chip at `goal` after so many seconds, with the fan at a step.
/// The stages are linear, so two journeys tell: one without work and one with 1 W.
pub(super) fn allows(learner: &Learner, fan: usize, power: impl Fn(f64) -> Power, goal: f64, seconds: f64) -> f64 {
    let go = |work: f64| {
        let mut journey = learner.journey();
        let strides = (seconds / if seconds > SETTLED { LONG } else { SHORT }).ceil().max(1.0);
        for _ in 0..strides as u32 {
            journey.go(seconds / strides, power(work), fan);
        }
        journey.chip()
    };
    let (without, with) = (go(0.0), go(1.0));
    (goal - without) / (with - without).max(1e-3)
}

/// The highest step the fan takes below a temperature.
pub(super) fn fan_below(traits: &Traits, at: f64) -> usize {
    traits.fan.iter().filter(|step| step.0 < at).count()
}
