//! Proofs that the gates can fail: controllers that are wrong on purpose, each judged as if it were the governor.

use super::cells::{Air, Cell};
use super::controllers::{Controller, Who, Zones, limit, traits};
use super::faults::{Liar, Lie};
use super::gates::{Compared, Gate, Verdict};
use super::loads::Load;
use super::world;
use hearth_tests::board::Kind;
use hearthd::thermal::{Celsius, Governor, Limit, Stages, Traits};

/// A wrong controller, and whether a gate caught it.
pub(crate) struct Proof {
    /// What is wrong.
    pub(crate) says: &'static str,
    /// The gates that it misses, with their figures.
    pub(crate) shows: String,
    /// Whether the right gate caught it.
    pub(crate) caught: bool,
}

/// Every proof, to be held against a length of the runs (s) and a seed.
pub(crate) const ALL: [fn(f64, u64) -> Proof; 4] = [firmware_only, zones, a_limit_that_is_too_high, a_prior_that_is_wrong];

/// Judges `wrong` on a bare Pi 4 under overload; `right` is the gate that has to catch it.
fn judge(says: &'static str, seconds: f64, seed: u64, right: Gate, wrong: impl Fn(&Cell) -> Controller) -> Proof {
    let cell = Cell { kind: Kind::Pi4Bare, load: Load::Steady, air: Air::Still(40.0), fan_fails: false, clock: true, seconds, seed };
    let arrivals = cell.load.arrivals(cell.kind, seconds, seed);
    let [firmware, admitting, oracle] = [Who::Firmware, Who::Admitting, Who::Oracle].map(|who| who.live(&cell, &arrivals));
    let governor = world::run(cell, &arrivals, wrong(&cell), Liar::new(Lie::Nothing));
    let compared = Compared { firmware: &firmware, admitting: &admitting, governor: &governor, oracle: &oracle, restrained: None };
    let missed: Vec<_> = Gate::ALL.into_iter().map(|gate| gate.judge(&compared)).filter(|j| j.verdict == Verdict::Missed).collect();
    Proof {
        says,
        caught: missed.iter().any(|judged| judged.gate == right),
        shows: missed.iter().map(|judged| format!("{} ({})", judged.gate.name(), judged.figures)).collect::<Vec<_>>().join("; "),
    }
}

fn firmware_only(seconds: f64, seed: u64) -> Proof {
    judge("firmware only", seconds, seed, Gate::Limit, |_| Controller::Firmware { refuses_by_wait: false })
}

fn zones(seconds: f64, seed: u64) -> Proof {
    judge("the three zones", seconds, seed, Gate::Oracle, |_| Controller::Zones(Zones::default()))
}

fn a_limit_that_is_too_high(seconds: f64, seed: u64) -> Proof {
    judge("a governor that believes in a limit of 83 °C", seconds, seed, Gate::Limit, |cell| {
        let limit = Limit { at: Celsius(83.0), ..limit() };
        Controller::governed(Governor::new(traits(cell.kind, cell.clock), Some(limit)))
    })
}

/// Ten times the capacity and a third of the resistance, and no doubt: little can be learnt, and the pace goes to and fro.
fn a_prior_that_is_wrong(seconds: f64, seed: u64) -> Proof {
    judge("a governor whose prior is wrong and certain", seconds, seed, Gate::Switches, |cell| {
        let is = traits(cell.kind, cell.clock);
        let mut prior: Stages = is.prior;
        for stage in [&mut prior.fast, &mut prior.slow] {
            (stage.resistance, stage.capacity) = (stage.resistance / 3.0, stage.capacity * 10.0);
        }
        prior.doubt = 1e-6;
        Controller::governed(Governor::new(Traits { prior, ..is }, Some(limit())))
    })
}
