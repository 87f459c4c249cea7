//! Who controls: nobody but the firmware (with and without our admission), the three zones that the governor replaced, the governor,
//! and an oracle.

use super::cells::Cell;
use super::faults::{Liar, Lie};
use super::forecast::Forecasts;
use super::loads::Arrival;
use super::oracle::{Held, MARGINS, Oracle};
use super::outcome::{LIMIT, Outcome};
use super::world;
use hearth_api::Priority;
use hearth_tests::board::{Kind, Parameters, VirtualBoard};
use hearthd::scheduler::Bounds;
use hearthd::thermal::{Board, Budget, Celsius, ClockStep, Degraded, Governor, Limit, LimitRule, Look, Mode, Traits};
use std::path::Path;
use std::time::Duration;

/// What there is to see, once a second.
pub(crate) struct Seen<'a> {
    /// What the daemon sees.
    pub(crate) look: &'a Look,
    /// The truth; for the oracle.
    pub(crate) board: &'a VirtualBoard,
    /// The hottest since the look before, °C; for the oracle.
    pub(crate) peak: f64,
    /// Work at hand and to come, as a share of what the board can do; for the oracle.
    pub(crate) demand: f64,
    /// The part of that work that waits for memory; for the oracle.
    pub(crate) memory: f64,
}

/// A controller.
pub(crate) enum Controller {
    /// Full budget, always: the firmware throttles when it must. With `refuses_by_wait`, the queue is ours all the same: who would
    /// wait too long is refused at once.
    Firmware { refuses_by_wait: bool },
    /// The three zones.
    Zones(Zones),
    /// The daemon's governor, and its forecasts.
    Governor(Box<Governed>),
    /// The oracle.
    Oracle(Box<Oracle>),
}

/// The governor and what it said.
pub(crate) struct Governed {
    governor: Governor,
    forecasts: Forecasts,
    notices: Vec<(f64, String)>,
}

/// Which controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Who {
    /// [`Controller::Firmware`], with a plain bounded queue.
    Firmware,
    /// The same with our admission.
    Admitting,
    /// [`Controller::Zones`].
    Zones,
    /// [`Controller::Governor`].
    Governor,
    /// [`Controller::Oracle`].
    Oracle,
}

impl Who {
    /// What it is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Who::Firmware => "firmware",
            Who::Admitting => "firmware+",
            Who::Zones => "zones",
            Who::Governor => "governor",
            Who::Oracle => "oracle",
        }
    }

    /// Lives through a cell.
    pub(crate) fn live(self, cell: &Cell, arrivals: &[Arrival]) -> Outcome {
        let lived = |controller: Controller| world::run(*cell, arrivals, controller, Liar::new(Lie::Nothing));
        match self {
            Who::Firmware => lived(Controller::Firmware { refuses_by_wait: false }),
            Who::Admitting => lived(Controller::Firmware { refuses_by_wait: true }),
            Who::Zones => lived(Controller::Zones(Zones::default())),
            Who::Governor => lived(Controller::governor(cell, Mode::Balanced, true)),
            Who::Oracle => oracle(cell, arrivals, &Held::FREE),
        }
    }
}

impl Controller {
    /// The daemon's governor in a mode, on a board with or without a sensor.
    pub(crate) fn governor(cell: &Cell, mode: Mode, sensor: bool) -> Controller {
        let limit = sensor.then(limit);
        let mut governor = Governor::new(traits(cell.kind, cell.clock), limit);
        governor.set_mode(mode);
        Controller::governed(governor)
    }

    /// A governor.
    pub(crate) fn governed(governor: Governor) -> Controller {
        Controller::Governor(Box::new(Governed { governor, forecasts: Forecasts::default(), notices: Vec::new() }))
    }

    /// Takes what there is to see and decides.
    pub(crate) fn on(&mut self, seen: &Seen, outcome: &mut Outcome) -> Budget {
        match self {
            Controller::Firmware { .. } => Budget::unbounded(seen.board.parameters().cores),
            Controller::Zones(zones) => zones.on(seen.look, seen.board.parameters().cores),
            Controller::Governor(governed) => {
                let budget = governed.governor.on(seen.look);
                let at = seen.look.at.as_secs_f64();
                governed.notices.extend(governed.governor.notices().into_iter().map(|notice| (at, notice.to_string())));
                governed.forecasts.look(&governed.governor, outcome);
                budget
            }
            Controller::Oracle(oracle) => oracle.on(seen),
        }
    }

    /// The share of the time to its deadline that a request may wait; more is refused at once. The three zones had no such queue.
    pub(crate) fn patience(&self) -> f64 {
        match self {
            Controller::Firmware { refuses_by_wait: false } | Controller::Zones(_) => f64::INFINITY,
            Controller::Firmware { refuses_by_wait: true } | Controller::Governor(_) => Bounds::PATIENCE,
            Controller::Oracle(oracle) => Bounds::PATIENCE * oracle.patience(),
        }
    }

    /// Whether it knows what is to come.
    pub(crate) fn foresees(&self) -> bool {
        matches!(self, Controller::Oracle(_))
    }

    /// The write to the clock's cap failed.
    pub(crate) fn clock_is_refused(&mut self) {
        if let Controller::Governor(governed) = self {
            governed.governor.set_clocks(Vec::new());
        }
    }

    /// What it said aloud, and when.
    pub(crate) fn notices(self) -> Vec<(f64, String)> {
        match self {
            Controller::Governor(governed) => governed.notices,
            _ => Vec::new(),
        }
    }
}

/// The oracle, held to something. It knows beforehand how far below the limit it has to stay.
pub(crate) fn oracle(cell: &Cell, arrivals: &[Arrival], held: &Held) -> Outcome {
    let lived = |margin| {
        let oracle = Oracle::new(cell.clock, margin, held.clone());
        world::run(*cell, arrivals, Controller::Oracle(Box::new(oracle)), Liar::new(Lie::Nothing))
    };
    let mut outcome = lived(MARGINS[0]);
    for margin in &MARGINS[1..] {
        if outcome.above == 0.0 {
            break;
        }
        outcome = lived(*margin);
    }
    outcome
}

/// The limit of these boards.
pub(crate) fn limit() -> Limit {
    Limit { at: Celsius(LIMIT), rule: LimitRule::Firmware("virtual board") }
}

/// What the daemon takes for granted of a board: by its device tree, as captured from real ones.
pub(crate) fn traits(kind: Kind, clock: bool) -> Traits {
    let captured = match kind {
        Kind::Pi4Bare | Kind::Pi4Fan => "pi4",
        Kind::Pi5Bare | Kind::Pi5Cooled => "pi5",
    };
    let is: Parameters = kind.parameters();
    let board = Board::find(&Path::new(env!("CARGO_MANIFEST_DIR")).join("boards").join(captured));
    let clocks = is.clocks.iter().map(|step| ClockStep { clock: step.megahertz / is.top(), volts: None });
    let clocks = if clock { clocks.collect() } else { Vec::new() };
    Traits { fan: is.fan.iter().map(|at| Celsius(*at)).collect(), clocks, ..Traits::of(&board, is.cores) }
}

/// The three zones that the governor replaced: the nearer the limit, the less, with hysteresis.
#[derive(Debug, Default)]
pub(crate) struct Zones {
    /// 0 is cool, 3 at the limit.
    zone: usize,
}

impl Zones {
    /// A zone begins so far below the limit, K.
    const BELOW: [f64; 4] = [f64::INFINITY, 12.0, 6.0, 1.5];
    /// And ends so far under that, K.
    const HYSTERESIS: f64 = 2.0;

    fn on(&mut self, look: &Look, cores: u32) -> Budget {
        let below = LIMIT - look.temperature.map_or(LIMIT - 6.0, |t| t.0);
        let hottest = |slack: f64| (0..4).rev().find(|zone| below <= Zones::BELOW[*zone] + slack).unwrap_or(0);
        self.zone = hottest(0.0).max(hottest(Zones::HYSTERESIS).min(self.zone));
        if self.zone < 2 && look.throttled {
            self.zone = 2;
        }
        // Threads, batch, rest as a share of the work, the lowest priority, and when to come again.
        let (threads, batch, rest, admit, retry) = match self.zone {
            0 => return Budget::unbounded(cores),
            1 => (cores.div_ceil(2), 16, 0.25, Priority::Normal, 5),
            2 => (1, 4, 1.0, Priority::Normal, 10),
            _ => (1, 1, 3.0, Priority::High, 15),
        };
        Budget {
            threads,
            cores: f64::from(threads) / (1.0 + rest),
            batch,
            admit,
            retry_after: Duration::from_secs(retry),
            degraded: Degraded::HighOperatingTemperature,
            reason: String::new(),
            ..Budget::unbounded(cores)
        }
    }
}
