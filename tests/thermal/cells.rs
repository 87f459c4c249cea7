//! The cells: every board under every load in every air, with and without a fan that fails and a clock that may be capped.

use super::loads::Load;
use hearth_tests::board::Kind;

/// The air around the board.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Air {
    /// Always this, °C.
    Still(f64),
    /// From 20 °C to 40 °C within an hour, and back in the next.
    Changing,
}

/// A cell of the tables.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cell {
    /// The board.
    pub(crate) kind: Kind,
    /// Who asks for what.
    pub(crate) load: Load,
    /// The air.
    pub(crate) air: Air,
    /// The fan fails half way.
    pub(crate) fan_fails: bool,
    /// The daemon may cap the clock.
    pub(crate) clock: bool,
    /// How long, s.
    pub(crate) seconds: f64,
    /// Seed of load and noise.
    pub(crate) seed: u64,
}

impl Air {
    /// Every air that the gates are held to.
    pub(crate) const ALL: [Air; 4] = [Air::Still(20.0), Air::Still(30.0), Air::Still(40.0), Air::Changing];

    /// Its temperature at a time, °C.
    pub(crate) fn at(self, now: f64) -> f64 {
        match self {
            Air::Still(celsius) => celsius,
            Air::Changing => 40.0 - 20.0 * ((now / 3600.0) % 2.0 - 1.0).abs(),
        }
    }

    fn name(self) -> String {
        match self {
            Air::Still(celsius) => format!("{celsius:.0}"),
            Air::Changing => "20-40".into(),
        }
    }
}

impl Cell {
    /// The cells that the gates are held to. A board without a fan has none that fails.
    pub(crate) fn all(seconds: f64, seed: u64) -> Vec<Cell> {
        let mut cells = Vec::new();
        for kind in Kind::ALL {
            for load in Load::ALL {
                for air in Air::ALL {
                    for fan_fails in [false, true] {
                        if fan_fails && kind.parameters().fan.is_empty() {
                            continue;
                        }
                        cells.extend([true, false].map(|clock| Cell { kind, load, air, fan_fails, clock, seconds, seed }));
                    }
                }
            }
        }
        cells
    }

    /// When the fan fails, s.
    pub(crate) fn failure(&self) -> Option<f64> {
        self.fan_fails.then_some(self.seconds / 2.0)
    }

    /// What it is called, without the clock.
    pub(crate) fn place(&self) -> String {
        let fails = if self.fan_fails { " fan-fails" } else { "" };
        format!("{} {} {}{fails}", self.kind.parameters().name, self.load.name(), self.air.name())
    }

    /// What it is called.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.place(), if self.clock { "clock" } else { "no-clock" })
    }
}
