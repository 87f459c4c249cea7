//! Modes: what each promises, on a board where it matters.

use super::cells::{Air, Cell};
use super::controllers::Controller;
use super::faults::{Liar, Lie};
use super::loads::Load;
use super::outcome::{LIMIT, Outcome};
use super::world;
use hearth_api::Priority;
use hearth_tests::board::Kind;
use hearthd::thermal::{Celsius, Mode};

/// A promise, and whether it is kept.
pub(crate) struct Promise {
    /// What is promised.
    pub(crate) says: &'static str,
    /// The figures.
    pub(crate) shows: String,
    /// Whether it is kept.
    pub(crate) kept: bool,
}

fn live(cell: Cell, mode: Mode) -> Outcome {
    let arrivals = cell.load.arrivals(cell.kind, cell.seconds, cell.seed);
    world::run(cell, &arrivals, Controller::governor(&cell, mode, true), Liar::new(Lie::Nothing))
}

/// The mean step of the fan over the last two thirds of a run.
fn fan(outcome: &Outcome) -> f64 {
    let all: f64 = outcome.fan.iter().sum();
    outcome.fan.iter().enumerate().map(|(step, seconds)| step as f64 * seconds).sum::<f64>() / all.max(1.0)
}

/// Every promise, to be held against a length of the runs (s) and a seed.
pub(crate) const PROMISES: [fn(f64, u64) -> Promise; 5] = [performance, background, cool, quiet_while_it_can, quiet_when_it_cannot];

fn cell(kind: Kind, load: Load, air: f64, seconds: f64, seed: u64) -> Cell {
    Cell { kind, load, air: Air::Still(air), fan_fails: false, clock: true, seconds, seed }
}

fn performance(seconds: f64, seed: u64) -> Promise {
    let light = cell(Kind::Pi4Bare, Load::Light, 25.0, seconds, seed);
    let steady = cell(Kind::Pi4Bare, Load::Steady, 30.0, seconds, seed);
    let [fast, balanced] = [Mode::Performance, Mode::Balanced].map(|mode| live(light, mode).wait(0.5, |_| true).unwrap_or(0.0));
    let hot = live(steady, Mode::Performance);
    Promise {
        says: "performance: no slower than balanced where it is cool, and below the limit under overload",
        shows: format!("median {:.0} ms, balanced {:.0} ms; overload peaks at {:.1} °C", fast * 1e3, balanced * 1e3, hot.peak),
        kept: fast <= balanced * 1.02 && hot.above == 0.0,
    }
}

fn background(seconds: f64, seed: u64) -> Promise {
    let [cool, hot] = [20.0, 40.0].map(|air| cell(Kind::Pi4Bare, Load::Background, air, seconds, seed));
    let asked: f64 =
        cool.load.arrivals(cool.kind, seconds, seed).iter().filter(|a| a.priority == Priority::Background).map(|a| a.items()).sum();
    let [cool, hot] = [cool, hot].map(|cell| live(cell, Mode::Balanced));
    Promise {
        says: "balanced: background work gets what is left in the cool, and next to nothing while heat costs speed",
        shows: format!(
            "{:.0} of {asked:.0} answered in air of 20 °C; {:.0} in 40 °C, of these {:.0} in {:.0} s of heat",
            cool.background, hot.background, hot.background_in_heat, hot.degraded
        ),
        kept: cool.background > 0.3 * asked && hot.background_in_heat <= 0.01 * asked && hot.above == 0.0,
    }
}

fn cool(seconds: f64, seed: u64) -> Promise {
    let lived = live(cell(Kind::Pi4Fan, Load::Steady, 25.0, seconds, seed), Mode::Cool(Celsius(55.0)));
    Promise {
        says: "cool: never above the temperature asked for, and it serves",
        shows: format!("peak {:.2} °C of 55, {:.0} answers in time of {:.0}", lived.peak, lived.good, lived.offered),
        kept: lived.peak <= 55.0 && lived.good > 0.35 * lived.offered,
    }
}

/// With the fan at rest this board carries 1.4 W of work below 50 °C in air of 20 °C, and 0.8 W in 25 °C; the light load takes 0.95 W at
/// the slowest clock.
fn quiet_while_it_can(seconds: f64, seed: u64) -> Promise {
    let light = cell(Kind::Pi5Cooled, Load::Light, 20.0, seconds, seed);
    let [quiet, balanced] = [Mode::Quiet, Mode::Balanced].map(|mode| live(light, mode));
    Promise {
        says: "quiet: a slower fan than balanced while demand allows, and serves it",
        shows: format!(
            "mean fan step {:.2}, balanced {:.2}; answers {:.0} of {:.0}",
            fan(&quiet),
            fan(&balanced),
            quiet.good,
            balanced.good
        ),
        kept: fan(&quiet) < 0.8 * fan(&balanced) && quiet.good >= 0.97 * balanced.good,
    }
}

fn quiet_when_it_cannot(seconds: f64, seed: u64) -> Promise {
    let steady = cell(Kind::Pi5Cooled, Load::Steady, 30.0, seconds, seed);
    let [quiet, balanced] = [Mode::Quiet, Mode::Balanced].map(|mode| live(steady, mode));
    let said = quiet.notices.iter().find(|(_, says)| says.contains("quiet"));
    let says = said.map_or("nothing", |(_, says)| says.as_str());
    Promise {
        says: "quiet: where demand does not allow it the fan goes up, and it says so",
        shows: format!("answers {:.0} of balanced's {:.0}; peak {:.1} °C; said: {says}", quiet.good, balanced.good, quiet.peak),
        kept: quiet.good >= 0.9 * balanced.good && said.is_some() && quiet.peak <= LIMIT,
    }
}
