//! A board of two stages with a sensor in whole degrees, and an engine that spends all it may. Small and without noise but for
//! the rounding; `tests/heat` has a truer one.

use crate::thermal::{Budget, Celsius, ClockStep, Governor, Limit, LimitRule, Load, Look, Mode, Stage, Stages, Traits};
use std::time::Duration;

pub(super) const LIMIT: f64 = 80.0;

/// A board that is none of those the priors are of.
#[derive(Debug, Clone)]
pub(super) struct Board {
    pub(super) chip: f64,
    pub(super) board: f64,
    pub(super) air: f64,
    /// Resistances in K/W and capacities in J/K: of the chip, of the board.
    pub(super) resistance: [f64; 2],
    pub(super) capacity: [f64; 2],
    pub(super) rest: f64,
    pub(super) core: f64,
    /// Supply voltage at half the clock and below, as a share of that at the top.
    pub(super) volts: f64,
    pub(super) at: Duration,
    /// The hottest it ever was.
    pub(super) peak: f64,
    seed: u64,
}

impl Board {
    /// At rest in air of this temperature.
    pub(super) fn new(air: f64) -> Board {
        let (resistance, rest) = ([4.0, 4.5], 2.8);
        let board = air + resistance[1] * rest;
        let chip = board + resistance[0] * rest;
        let capacity = [2.1, 27.0];
        Board { chip, board, air, resistance, capacity, rest, core: 1.0, volts: 0.75, at: Duration::from_secs(100), peak: chip, seed: 1 }
    }

    /// A second with so many busy cores at a clock.
    pub(super) fn second(&mut self, busy: f64, clock: f64) {
        let volts = self.volts + (1.0 - self.volts) * ((clock - 0.5) / 0.5).clamp(0.0, 1.0);
        let power = self.rest + busy * self.core * clock * volts * volts;
        for _ in 0..20 {
            let inward = (self.chip - self.board) / self.resistance[0];
            let outward = (self.board - self.air) / self.resistance[1];
            self.chip += (power - inward) * 0.05 / self.capacity[0];
            self.board += (inward - outward) * 0.05 / self.capacity[1];
            self.peak = self.peak.max(self.chip);
        }
        self.at += Duration::from_secs(1);
    }

    /// What a look shows after a second of so many busy cores.
    pub(super) fn look(&mut self, busy: f64, clock: f64) -> Look {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let noise = (self.seed >> 33) as f64 / f64::from(1u32 << 31) - 0.5;
        Look {
            at: self.at,
            temperature: Some(Celsius((self.chip + noise).round())),
            busy,
            clock,
            watts: None,
            fan: None,
            steps: 0,
            throttled: false,
            complaint: String::new(),
        }
    }
}

pub(super) fn limit() -> Option<Limit> {
    Some(Limit { at: Celsius(LIMIT), rule: LimitRule::User })
}

/// Traits that are off: by a quarter and more.
pub(super) fn traits() -> Traits {
    Traits {
        threads: 4,
        rest: 2.6,
        core: 0.8,
        prior: Stages { fast: Stage { resistance: 3.0, capacity: 3.0 }, slow: Stage { resistance: 6.0, capacity: 40.0 }, doubt: 0.5 },
        fan: Vec::new(),
        clocks: Vec::new(),
    }
}

pub(super) fn clocks() -> Vec<ClockStep> {
    (4..=10).map(|tenth| ClockStep { clock: f64::from(tenth) / 10.0, volts: None }).collect()
}

/// Lets time pass: each second the engine spends the lower of what it wants and what it may. The budgets.
pub(super) fn live(governor: &mut Governor, board: &mut Board, seconds: u32, wants: impl Fn(u32) -> f64) -> Vec<Budget> {
    live_with(governor, board, seconds, wants, |look, _| look)
}

/// The same, with looks that are told otherwise than they are.
pub(super) fn live_with(
    governor: &mut Governor,
    board: &mut Board,
    seconds: u32,
    wants: impl Fn(u32) -> f64,
    tell: impl Fn(Look, u32) -> Look,
) -> Vec<Budget> {
    let mut budget = Budget { cores: 0.5, ..Budget::unbounded(4) };
    let mut budgets = Vec::new();
    for second in 0..seconds {
        let busy = wants(second).min(budget.cores);
        board.second(busy, budget.clock);
        let look = board.look(busy, budget.clock);
        budget = governor.on(&tell(look, second));
        budgets.push(budget.clone());
    }
    budgets
}

/// Cores at the full clock that were served on average.
pub(super) fn served(budgets: &[Budget]) -> f64 {
    budgets.iter().map(|b| b.cores * b.clock).sum::<f64>() / budgets.len() as f64
}

pub(super) fn governor(mode: Mode) -> Governor {
    let mut governor = Governor::new(traits(), limit());
    governor.set_mode(mode);
    governor
}

/// Seconds of so many busy cores at the full clock.
pub(super) fn load(seconds: u64, busy: f64) -> Load {
    Load { during: Duration::from_secs(seconds), busy, clock: 1.0, watts: None }
}
