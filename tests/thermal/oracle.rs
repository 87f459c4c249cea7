//! The oracle: the same actuators and the same limit, but it knows the board's true figures and state, and who will ask.
//!
//! Each second it takes the setting that serves what is asked with the least power; where heat forbids that, the one that serves the
//! most of those that end the next second below the limit. Greed is enough: how much a second of power yields falls with the power
//! (voltage rises with the clock), and an unused second of coolness lasts no longer than the board's two minutes.

use super::controllers::Seen;
use super::models::crowded;
use hearth_tests::board::{Parameters, VirtualBoard};
use hearthd::thermal::{Budget, Degraded};

/// It plans so far ahead, s: somewhat more than the time until it decides anew.
const AHEAD: f64 = 1.5;
/// Paces between nothing and all, for each clock.
const PACES: u32 = 160;
/// Bytes that a busy core moves a second, about; what the models' steps are like.
const BYTES: f64 = 0.4e9;
/// How far below the limit it may want to stay, K, at the peak of each second: the first of these that keeps the limit in all of a run is
/// the right one, and an oracle knows it.
pub(crate) const MARGINS: [f64; 5] = [0.1, 0.3, 0.6, 1.0, 1.5];
/// It serves what is asked with this much to spare.
const SPARE: f64 = 2.0;

/// What an oracle is held to beside the limit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Held {
    /// The clock of each stretch of the time, in order; any at any time where there are none.
    pub(crate) clocks: Vec<f64>,
    /// How long a stretch is, s.
    pub(crate) stretch: f64,
    /// Requests are refused at so many times the usual wait.
    pub(crate) patience: f64,
}

impl Held {
    /// To nothing.
    pub(crate) const FREE: Held = Held { clocks: Vec::new(), stretch: f64::INFINITY, patience: 1.0 };

    fn clock(&self, now: f64) -> Option<f64> {
        self.clocks.get((now / self.stretch) as usize).or(self.clocks.last()).copied()
    }
}

/// The oracle.
#[derive(Debug)]
pub(crate) struct Oracle {
    clock: bool,
    margin: f64,
    held: Held,
    /// How far the peaks within a second (a step works, then rests) are above the mean, as seen: K.
    ripple: f64,
}

/// A setting of the actuators.
#[derive(Debug, Clone, Copy)]
struct Setting {
    cores: f64,
    clock: f64,
    /// What it serves, as a share of the cool board's most.
    yields: f64,
    watts: f64,
}

impl Oracle {
    /// An oracle that stays so far below the limit, K; with `clock` it may cap the clock.
    pub(crate) fn new(clock: bool, margin: f64, held: Held) -> Oracle {
        Oracle { clock, margin, held, ripple: 0.3 }
    }

    /// At so many times the usual wait requests are refused.
    pub(crate) fn patience(&self) -> f64 {
        self.held.patience
    }

    /// Takes what there is to see and decides.
    pub(crate) fn on(&mut self, seen: &Seen) -> Budget {
        let is = seen.board.parameters();
        let limit = super::outcome::LIMIT - self.margin;
        // The peak shows whether the ripple was taken for too little or too much.
        if seen.peak > limit {
            self.ripple = (self.ripple + 0.05 + seen.peak - limit).min(4.0);
        } else if seen.peak > limit - 1.5 {
            self.ripple = (self.ripple - 0.003).max(0.0);
        }
        let watts = watts_to(seen.board, limit - self.ripple);
        let settings = self.settings(is, seen.memory, self.held.clock(seen.look.at.as_secs_f64()));
        let bearable = |setting: &&Setting| setting.watts <= watts;
        let cheapest_enough = settings.iter().filter(bearable).filter(|s| s.yields >= seen.demand * SPARE);
        let most = || settings.iter().filter(bearable).max_by(|a, b| a.yields.total_cmp(&b.yields));
        let full = settings.iter().map(|s| s.yields).fold(0.0, f64::max);
        let chosen = cheapest_enough.min_by(|a, b| a.watts.total_cmp(&b.watts)).or_else(most);
        let Some(chosen) = chosen else {
            let clock = settings.first().map_or(is.slowest(), |setting| setting.clock);
            return budget(is, Setting { cores: 0.02, clock, yields: 0.0, watts: 0.0 }, true);
        };
        let held = chosen.yields < seen.demand && chosen.yields < full;
        budget(is, *chosen, held)
    }

    /// Every setting, with any clock or this one, for work of which this part waits for memory.
    fn settings(&self, is: &Parameters, memory: f64, held: Option<f64>) -> Vec<Setting> {
        let allowed = |clock: &f64| held.map_or(self.clock || *clock == 1.0, |held| *clock == held);
        let clocks = clocks(is).into_iter().filter(allowed);
        let paces = |clock: f64| {
            (1..=PACES).map(move |pace| {
                let cores = f64::from(is.cores) * f64::from(pace) / f64::from(PACES);
                let speed = 1.0 / (memory + (1.0 - memory) / clock);
                let yields = cores / f64::from(is.cores) * speed * crowded(is.cores) / crowded(cores.ceil() as u32);
                Setting { cores, clock, yields, watts: cores * is.core(clock) }
            })
        };
        clocks.flat_map(paces).collect()
    }
}

/// The clocks of a board, as shares of its highest.
pub(crate) fn clocks(is: &Parameters) -> Vec<f64> {
    is.clocks.iter().map(|step| step.megahertz / is.top()).collect()
}

/// The power of busy cores that lets the die end the next seconds at this temperature, W.
fn watts_to(board: &VirtualBoard, celsius: f64) -> f64 {
    let after = |cores: f64| {
        let mut board = board.clone();
        board.step(std::time::Duration::from_secs_f64(AHEAD), cores, cores * BYTES * AHEAD);
        board.temperature()
    };
    let is = board.parameters();
    let (still, busy) = (after(0.0), after(f64::from(is.cores)));
    // Over so short a time the temperature is a line in the power.
    let cores = (celsius - still) / (busy - still).max(1e-9) * f64::from(is.cores);
    cores * is.core(board.clock())
}

fn budget(is: &Parameters, setting: Setting, held: bool) -> Budget {
    let degraded = if held { Degraded::HighOperatingTemperature } else { Degraded::No };
    Budget { threads: is.cores, cores: setting.cores, clock: setting.clock, degraded, reason: String::new(), ..Budget::unbounded(is.cores) }
}
