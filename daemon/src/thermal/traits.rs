//! Traits: what is taken for granted of a board until it is learnt, and what cannot be learnt (how power and heat are split).
//!
//! Sources: step responses of public stress logs of the Raspberry Pi 4 (bare: 8 s and 10.9 K, then 120 s and 15.3 K) and the
//! power and temperature tables that are published for the Pi 3 and the Pi 5. They are where learning begins, no more.

use super::stages::{Stage, Stages};
use super::{Board, Celsius};

/// What a board is taken for.
#[derive(Debug, Clone, PartialEq)]
pub struct Traits {
    /// Compute threads: the cores that the engine may use.
    pub threads: u32,
    /// Power while idle, in W.
    pub rest: f64,
    /// Power of one busy core at the full clock on top of that, in W.
    pub core: f64,
    /// Its thermal resistances and capacities, without a fan.
    pub prior: Stages,
    /// Temperatures at which the fan goes one step up; empty where there is no fan, or its steps are not known.
    pub fan: Vec<Celsius>,
    /// Clocks that may be set as a cap, ascending; empty where the cap may not be written.
    pub clocks: Vec<ClockStep>,
}

/// A clock that the cores can run at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClockStep {
    /// Share of the top clock, above 0 and at most 1.
    pub clock: f64,
    /// Supply voltage at that clock, in V, where it is known.
    pub volts: Option<f64>,
}

/// A board that is known.
struct Known {
    compatible: &'static str,
    rest: f64,
    core: f64,
    prior: Stages,
}

const fn stages(r1: f64, c1: f64, r2: f64, c2: f64, doubt: f64) -> Stages {
    Stages { fast: Stage { resistance: r1, capacity: c1 }, slow: Stage { resistance: r2, capacity: c2 }, doubt }
}

/// How far off the priors of a known board may be (one sigma of the logarithm): bare or cooled, in a case or not.
const KNOWN_DOUBT: f64 = 0.5;

const KNOWN: [Known; 5] = [
    Known { compatible: "raspberrypi,3-", rest: 1.6, core: 0.75, prior: stages(4.0, 2.5, 7.5, 25.0, KNOWN_DOUBT) },
    Known { compatible: "raspberrypi,4-", rest: 2.6, core: 0.8, prior: stages(3.4, 2.3, 4.8, 25.0, KNOWN_DOUBT) },
    // The board in the keyboard lies on a plate as large as itself.
    Known { compatible: "raspberrypi,400", rest: 2.6, core: 0.8, prior: stages(2.5, 3.0, 3.0, 120.0, KNOWN_DOUBT) },
    Known { compatible: "raspberrypi,5-", rest: 3.0, core: 1.2, prior: stages(2.0, 4.0, 4.0, 35.0, KNOWN_DOUBT) },
    Known { compatible: "raspberrypi,500", rest: 3.0, core: 1.2, prior: stages(2.0, 4.0, 2.5, 150.0, KNOWN_DOUBT) },
];

/// A board of which nothing is known.
const ANY: Known = Known { compatible: "", rest: 2.5, core: 1.0, prior: stages(2.5, 4.0, 5.0, 50.0, 0.8) };

impl Traits {
    /// The traits of this board, with so many compute threads. It has no clocks to cap: whoever has tried to write them says so
    /// with [`Governor::set_clocks`](super::Governor::set_clocks).
    pub fn of(board: &Board, threads: u32) -> Traits {
        let known = KNOWN.iter().find(|known| board.compatible.iter().any(|c| c.starts_with(known.compatible))).unwrap_or(&ANY);
        let mut fan: Vec<Celsius> = board.trips.iter().filter(|trip| trip.kind == super::TripKind::Active).map(|trip| trip.at).collect();
        fan.sort_by(|a, b| a.0.total_cmp(&b.0));
        Traits { threads: threads.max(1), rest: known.rest, core: known.core, prior: known.prior, fan, clocks: Vec::new() }
    }

    /// Supply voltage at a clock, as a share of that at the top clock.
    pub(super) fn voltage(&self, clock: f64) -> f64 {
        let known: Vec<(f64, f64)> = self.clocks.iter().filter_map(|step| Some((step.clock, step.volts?))).collect();
        let Some(&(_, top)) = known.last().filter(|(_, volts)| *volts > 0.0) else {
            // Of chips for boards: flat below half the clock, then rising by a third.
            return 0.75 + 0.25 * ((clock - 0.5) / 0.5).clamp(0.0, 1.0);
        };
        let above = known.iter().position(|(at, _)| *at >= clock);
        let volts = match above {
            Some(0) => known[0].1,
            Some(i) => {
                let ((c0, v0), (c1, v1)) = (known[i - 1], known[i]);
                v0 + (v1 - v0) * (clock - c0) / (c1 - c0).max(1e-9)
            }
            None => top,
        };
        (volts / top).clamp(0.3, 1.0)
    }

    /// Power of so many busy cores at a clock on top of the idle power, in W: capacity x voltage² x frequency.
    pub(super) fn dynamic(&self, busy: f64, clock: f64) -> f64 {
        self.core * busy.max(0.0) * clock.max(0.0) * self.voltage(clock).powi(2)
    }
}
