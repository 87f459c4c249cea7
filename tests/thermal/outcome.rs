//! What came of a cell: answers in time, waits, heat, energy, decisions, forecasts against the truth.

use super::cells::Cell;
use super::loads::Arrival;
use super::world::{counts_for_latency, waited_in_vain};
use hearth_api::{Fault, FaultKind};
use hearthd::thermal::{Budget, Degraded, Look};

/// The limit of these boards, °C (the firmware begins to throttle there).
pub(crate) const LIMIT: f64 = 80.0;
/// Forecasts are scored at these horizons, s.
pub(crate) const HORIZONS: [usize; 2] = [60, 300];

/// How long an admitted request took to its answer, or to the word that it waited in vain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wait {
    /// When it came, s.
    pub(crate) came: f32,
    /// How long it took, s.
    pub(crate) took: f32,
    /// It was a conversation.
    pub(crate) talk: bool,
}

/// A second of the board.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Second {
    /// Mean true temperature, °C.
    pub(crate) temperature: f32,
    /// Busy cores.
    pub(crate) busy: f32,
    /// Clock.
    pub(crate) clock: f32,
    /// It was above the limit at some moment.
    pub(crate) above: bool,
    /// Requests that were refused or waited in vain.
    pub(crate) turned_away: u32,
}

/// Squared errors of forecasts, in K², and their number.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Errors {
    sum: f64,
    count: u32,
}

impl Errors {
    /// One more.
    pub(crate) fn add(&mut self, error: f64) {
        self.sum += error * error;
        self.count += 1;
    }

    /// The root of their mean, K; none without any.
    pub(crate) fn rms(&self) -> Option<f64> {
        (self.count > 0).then(|| (self.sum / f64::from(self.count)).sqrt())
    }
}

/// What came of it.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// Where.
    pub(crate) cell: Cell,
    /// Items asked for.
    pub(crate) offered: f64,
    /// Items answered within their deadlines.
    pub(crate) good: f64,
    /// Tokens among these.
    pub(crate) tokens: f64,
    /// Items answered at all.
    pub(crate) answered: f64,
    /// Items of background work among those answered.
    pub(crate) background: f64,
    /// Of these, answered while heat cost speed.
    pub(crate) background_in_heat: f64,
    /// Requests refused for heat, for a queue, and those that waited in vain.
    pub(crate) refused: [u32; 3],
    /// Of all that were admitted.
    pub(crate) waits: Vec<Wait>,
    /// Each second.
    pub(crate) seconds: Vec<Second>,
    /// Above the limit, s.
    pub(crate) above: f64,
    /// The hottest, °C.
    pub(crate) peak: f64,
    /// Energy, J.
    pub(crate) energy: f64,
    /// Decisions other than the one before.
    pub(crate) switches: u32,
    /// Times the pace went back and forth by more than a core.
    pub(crate) swings: u32,
    /// Time with heat costing speed, s.
    pub(crate) degraded: f64,
    /// Forecasts given the load that came, at each of the horizons.
    pub(crate) given: [Errors; HORIZONS.len()],
    /// Forecasts as they were made, taking the load to go on.
    pub(crate) made: [Errors; HORIZONS.len()],
    /// What the controller said aloud: when, and what.
    pub(crate) notices: Vec<(f64, String)>,
    /// Time on each step of the fan, s.
    pub(crate) fan: [f64; 8],
    is_degraded: bool,
    turning: Turning,
}

/// The pace's last turning point.
#[derive(Debug, Clone, Copy)]
struct Turning {
    low: f64,
    high: f64,
    up: bool,
}

impl Outcome {
    /// Nothing yet.
    pub(crate) fn new(cell: Cell) -> Outcome {
        Outcome {
            cell,
            offered: 0.0,
            good: 0.0,
            tokens: 0.0,
            answered: 0.0,
            background: 0.0,
            background_in_heat: 0.0,
            refused: [0; 3],
            waits: Vec::new(),
            seconds: Vec::with_capacity(cell.seconds as usize + 1),
            above: 0.0,
            peak: 0.0,
            energy: 0.0,
            switches: 0,
            swings: 0,
            degraded: 0.0,
            given: Default::default(),
            made: Default::default(),
            notices: Vec::new(),
            fan: [0.0; 8],
            is_degraded: false,
            turning: Turning { low: f64::INFINITY, high: f64::NEG_INFINITY, up: false },
        }
    }

    /// So long the die had this temperature.
    pub(crate) fn heat(&mut self, seconds: f64, temperature: f64) {
        self.peak = self.peak.max(temperature);
        if temperature > LIMIT {
            self.above += seconds;
            if let Some(second) = self.seconds.last_mut() {
                second.above = true;
            }
        }
    }

    /// A second is over.
    pub(crate) fn second(&mut self, temperature: f64, look: &Look) {
        if let Some(step) = look.fan {
            self.fan[(step as usize).min(7)] += 1.0;
        }
        if let Some(second) = self.seconds.last_mut() {
            (second.temperature, second.busy, second.clock) = (temperature as f32, look.busy as f32, look.clock as f32);
        }
        self.seconds.push(Second { temperature: 0.0, busy: 0.0, clock: 1.0, above: false, turned_away: 0 });
    }

    /// A request was answered.
    pub(crate) fn answered(&mut self, arrival: &Arrival, now: f64) {
        let items = arrival.items();
        self.answered += items;
        if now <= arrival.at + arrival.within {
            self.good += items;
            self.tokens += f64::from(arrival.tokens);
        }
        if counts_for_latency(arrival) {
            self.waits.push(Wait { came: arrival.at as f32, took: (now - arrival.at) as f32, talk: arrival.tokens > 0 });
        } else {
            self.background += items;
            if self.is_degraded {
                self.background_in_heat += items;
            }
        }
    }

    /// A request was refused, or waited in vain.
    pub(crate) fn refused(&mut self, arrival: &Arrival, now: f64, fault: &Fault) {
        let in_vain = waited_in_vain(fault.kind);
        self.refused[if fault.kind == FaultKind::TooHot {
            0
        } else if in_vain {
            2
        } else {
            1
        }] += 1;
        if let Some(second) = self.seconds.last_mut() {
            second.turned_away += 1;
        }
        if in_vain && counts_for_latency(arrival) {
            self.waits.push(Wait { came: arrival.at as f32, took: (now - arrival.at) as f32, talk: arrival.tokens > 0 });
        }
    }

    /// The controller decided.
    pub(crate) fn decided(&mut self, before: &Budget, budget: &Budget) {
        if budget.decides_otherwise(before) {
            self.switches += 1;
        }
        self.is_degraded = budget.degraded != Degraded::No;
        if self.is_degraded {
            self.degraded += 1.0;
        }
        self.turn(budget.cores.min(f64::from(budget.threads)));
    }

    /// Follows the pace from turning point to turning point.
    fn turn(&mut self, cores: f64) {
        let turning = &mut self.turning;
        (turning.low, turning.high) = (turning.low.min(cores), turning.high.max(cores));
        let turned = if turning.up { cores < turning.high - 1.0 } else { cores > turning.low + 1.0 };
        if turned {
            self.swings += 1;
            *turning = Turning { low: cores, high: cores, up: !turning.up };
        }
    }

    /// This quantile of the waits that `of` names, s; none without any.
    pub(crate) fn wait(&self, quantile: f64, of: impl Fn(&Wait) -> bool) -> Option<f64> {
        let mut waits: Vec<f32> = self.waits.iter().filter(|wait| of(wait)).map(|wait| wait.took).collect();
        if waits.is_empty() {
            return None;
        }
        let at = ((waits.len() as f64 * quantile).ceil() as usize).clamp(1, waits.len()) - 1;
        let (_, value, _) = waits.select_nth_unstable_by(at, f32::total_cmp);
        Some(f64::from(*value))
    }

    /// What it served in time, as a share of what another did, of images or of tokens, whichever is less.
    pub(crate) fn least_share(&self, of: &Outcome) -> f64 {
        let share = |a: f64, b: f64| if b > 0.0 { a / b } else { 1.0 };
        share(self.tokens, of.tokens).min(share(self.good - self.tokens, of.good - of.tokens))
    }

    /// Joules an item answered in time.
    pub(crate) fn joules_an_item(&self) -> f64 {
        self.energy / self.good.max(1.0)
    }

    /// Switches an hour.
    pub(crate) fn switches_an_hour(&self) -> f64 {
        f64::from(self.switches) * 3600.0 / self.cell.seconds
    }

    /// Swings an hour.
    pub(crate) fn swings_an_hour(&self) -> f64 {
        f64::from(self.swings) * 3600.0 / self.cell.seconds
    }
}
