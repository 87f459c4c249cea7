//! The learner: where the board stands and what it is made of, from temperature and load. An extended Kalman filter over the
//! temperatures of both stages, the air, and the logarithms of the resistances and capacities (of the outer resistance one
//! for each step of the fan) and of the power; random walks let it forget (Ljung and Söderström, Theory and Practice of
//! Recursive Identification, 1983). Rounding and noise of the sensor are noise of the measurement.

#![allow(clippy::needless_range_loop, reason = "rows and columns of matrices are named by number")]

use super::Traits;
use super::learnt::Learnt;
use super::stages::{Stage, Stages, Stride, Warmth};

/// The most steps of a fan, `off` among them, that are told apart.
pub(super) const FAN_STEPS: usize = 6;
const CHIP: usize = 0;
const BOARD: usize = 1;
const AIR: usize = 2;
const R1: usize = 3;
const C1: usize = 4;
const C2: usize = 5;
const POWER: usize = 6;
const R2: usize = 7;
const MOST: usize = R2 + FAN_STEPS;

/// Variance of a reading, K²: noise of 0.3 K and steps of 1 K.
const READING: f64 = 0.09 + 1.0 / 12.0;
/// Random walks: variance a second. The chip and the board, K² (what the two stages do not tell); the air, K² (20 K within an
/// hour is followed); logarithms of what they are made of, and of the power (work differs in how much it heats).
const WALK: [f64; 5] = [6e-4, 4e-5, 6e-4, 1e-7, 1e-6];
/// Doubt (one sigma of the logarithm) of the power of a core, which work changes; and where it is measured.
const POWER_DOUBT: [f64; 2] = [0.15, 0.01];
/// How far a step of the fan may be from what the others say (one sigma of the logarithm), and how much better it cools than the one below.
const FAN_DOUBT: f64 = 0.25;
const FAN_GAIN: f64 = 0.2;
/// The air may be so far off, K (one sigma), where nothing is known.
const AIR_DOUBT: f64 = 8.0;
/// Leakage: its share of the idle power at 50 °C, and in how many K it grows e-fold (Liu, Dick, Shang and Yang, DATE 2007).
const LEAK: (f64, f64) = (0.08, 40.0);
/// Variance of the logarithms of what the chip is made of that a change of the board adds.
const ON_IT: f64 = 0.01;
/// What was expected is strange if readings are so many sigmas off as a mean over some 5 looks, or over some 40. What each look then adds
/// to the variance of the air, K², of the board, K², and of the logarithms of its resistance to the air and of its capacity.
const STRANGE: [f64; 2] = [1.6, 0.3];
const DOUBTS: [[f64; 4]; 2] = [[0.3, 0.05, 4e-3, 0.0], [0.05, 0.01, 1e-3, 1e-3]];
/// The board's capacity shows in minutes only: for so many looks no less variance of its logarithm is believed, if there was as much.
const EARLY: (u32, f64) = (600, 0.09);
/// Variance of the logarithm of the power that a change of the whole clock would add: how the voltage follows it is taken for granted.
const VOLTAGE: f64 = 0.02;
/// What readings are off, as a mean over 10, when nothing is wrong, K.
const USUAL: f64 = 0.1;
/// The integration's stride where a look is taken in, s.
const STRIDE: f64 = 0.5;

type Row = [f64; MOST];

/// Power that goes into the board.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Power {
    /// Of work, on top of the idle power: as reckoned from cores and clock.
    Work(f64),
    /// All of it, as measured.
    Measured(f64),
}

/// What is known of the board.
#[derive(Debug, Clone)]
pub(super) struct Learner {
    rest: f64,
    prior: Stages,
    /// Steps of the fan, `off` among them.
    fans: usize,
    at: Row,
    /// Covariance.
    doubt: [Row; MOST],
    /// What was expected less what came, by its sigma: means over some 5 and some 40 looks.
    surprise: [f64; 2],
    /// The same in K, over some 10 and some 40 looks.
    off: [f64; 2],
    looks: u32,
    /// The least variance of the board's capacity, while it is early.
    early: f64,
}

impl Learner {
    /// Begins at a temperature and a load, with what is taken for granted of the board.
    pub(super) fn new(traits: &Traits, temperature: f64, power: Power, fan: usize, learnt: Option<&Learnt>) -> Learner {
        let fans = (traits.fan.len() + 1).min(FAN_STEPS);
        let mut learner = Learner {
            rest: traits.rest,
            prior: traits.prior,
            fans,
            at: [0.0; MOST],
            doubt: [[0.0; MOST]; MOST],
            surprise: [0.0; 2],
            off: [0.0; 2],
            looks: 0,
            early: 0.0,
        };
        learner.believe_prior();
        if let Some(learnt) = learnt {
            learner.believe(learnt);
        }
        learner.stand_at(temperature, power, fan);
        learner
    }

    fn size(&self) -> usize {
        R2 + self.fans
    }

    fn prior_of(&self, i: usize) -> f64 {
        let Stages { fast, slow, .. } = self.prior;
        match i {
            R1 => fast.resistance.ln(),
            C1 => fast.capacity.ln(),
            C2 => slow.capacity.ln(),
            i if i >= R2 => slow.resistance.ln() - FAN_GAIN * (i - R2) as f64,
            _ => 0.0,
        }
    }

    /// Variance of what nothing is learnt of.
    fn doubt_of(&self, i: usize) -> f64 {
        match i {
            CHIP => 4.0 * READING,
            BOARD => 16.0,
            AIR => AIR_DOUBT * AIR_DOUBT,
            POWER => POWER_DOUBT[0] * POWER_DOUBT[0],
            i if i > R2 => self.prior.doubt.powi(2) + FAN_DOUBT * FAN_DOUBT,
            _ => self.prior.doubt.powi(2),
        }
    }

    fn believe_prior(&mut self) {
        for i in R1..self.size() {
            self.at[i] = self.prior_of(i);
            self.doubt_alone(i, self.doubt_of(i));
        }
        self.doubt_cooling();
    }

    /// How the board gives its heat to the air may be as far off as at the start; what it is taken for stays.
    fn doubt_cooling(&mut self) {
        for i in R2..self.size() {
            self.doubt_alone(i, self.doubt_of(i));
            for j in R2..i {
                // What is off for one step of the fan is off for all.
                (self.doubt[i][j], self.doubt[j][i]) = (self.prior.doubt.powi(2), self.prior.doubt.powi(2));
            }
        }
    }

    /// This much doubt of one, and nothing known of how it goes with the others.
    fn doubt_alone(&mut self, i: usize, variance: f64) {
        for j in 0..MOST {
            (self.doubt[i][j], self.doubt[j][i]) = (0.0, 0.0);
        }
        self.doubt[i][i] = variance;
    }

    /// The board is at this temperature; how warm what lies behind the chip is can only be guessed.
    pub(super) fn stand_at(&mut self, temperature: f64, power: Power, fan: usize) {
        let stages = self.stages(fan);
        let watts = self.watts(power, temperature, &self.at);
        self.at[CHIP] = temperature;
        self.at[BOARD] = temperature - stages.fast.resistance * watts;
        self.at[AIR] = self.at[BOARD] - stages.slow.resistance * watts;
        [CHIP, BOARD, AIR].into_iter().for_each(|i| self.doubt_alone(i, self.doubt_of(i)));
        self.begin();
    }

    /// From here on looks are counted, and what they say is averaged.
    fn begin(&mut self) {
        (self.surprise, self.off) = ([0.0; 2], [0.0; 2]);
        (self.looks, self.early) = (0, self.doubt[C2][C2].min(EARLY.1));
    }

    fn believe(&mut self, learnt: &Learnt) {
        let Some(kept) = learnt.of(self.fans) else { return };
        for (i, (value, sigma)) in (R1..self.size()).filter(|i| *i != POWER).zip(kept) {
            self.at[i] = self.bounded(i, value);
            let sigma = sigma.max(0.02);
            self.doubt_alone(i, (sigma * sigma).min(self.doubt_of(i)));
        }
    }

    /// What was learnt, each with its sigma; the power is of the moment.
    pub(super) fn learnt(&self) -> Learnt {
        Learnt::new((R1..self.size()).filter(|i| *i != POWER).map(|i| (self.at[i], self.doubt[i][i].sqrt())))
    }

    /// A logarithm within what is physical: so far from its prior. A fan's step may cool as badly as none does.
    fn bounded(&self, i: usize, value: f64) -> f64 {
        let bound = if i == POWER { 3.0 * POWER_DOUBT[0] } else { 2.5 * self.prior.doubt };
        value.clamp(self.prior_of(i) - bound, self.prior_of(i.min(R2)) + bound)
    }

    fn stages_of(&self, at: &Row, fan: usize) -> Stages {
        Stages {
            fast: Stage { resistance: at[R1].exp(), capacity: at[C1].exp() },
            slow: Stage { resistance: at[R2 + fan.min(self.fans - 1)].exp(), capacity: at[C2].exp() },
            doubt: self.prior.doubt,
        }
    }

    /// What the board is made of, with the fan at a step.
    pub(super) fn stages(&self, fan: usize) -> Stages {
        self.stages_of(&self.at, fan)
    }

    fn watts(&self, power: Power, chip: f64, at: &Row) -> f64 {
        match power {
            Power::Work(work) => {
                let leaks = LEAK.0 * ((chip.min(120.0) - 50.0) / LEAK.1).exp();
                self.rest * (1.0 - LEAK.0 + leaks) + work * at[POWER].exp()
            }
            Power::Measured(watts) => watts * at[POWER].exp(),
        }
    }

    /// Temperature of the chip, °C, and its variance.
    pub(super) fn chip(&self) -> (f64, f64) {
        (self.at[CHIP], self.doubt[CHIP][CHIP])
    }

    /// What is expected less what came, K: the mean over some 40 looks; and the same by its sigma.
    pub(super) fn off(&self) -> (f64, f64) {
        (self.off[1], self.surprise[1])
    }

    /// How far readings lately were above what was expected, K.
    pub(super) fn lags(&self) -> f64 {
        (self.off[0] - USUAL).max(0.0)
    }

    /// Where the two stages go in a time, s, strides no longer than `stride`, at a power, with the fan at a step.
    fn advance(&self, at: &Row, power: Power, fan: usize, seconds: f64, stride: f64) -> Warmth {
        let strides = (seconds / stride).ceil().max(1.0);
        let by = Stride::new(self.stages_of(at, fan), seconds / strides);
        let mut warmth = Warmth { chip: at[CHIP], board: at[BOARD] };
        for _ in 0..strides as u32 {
            warmth = by.from(warmth, self.watts(power, warmth.chip, at), at[AIR]);
        }
        warmth
    }

    /// Time passes: the temperatures follow the power, and everything becomes less certain.
    pub(super) fn pass(&mut self, seconds: f64, power: Power, fan: usize) {
        if seconds <= 0.0 {
            return;
        }
        let n = self.size();
        let before = self.at;
        let after = self.advance(&before, power, fan, seconds, STRIDE);
        // How the temperatures depend on everything; the rest stays as it is.
        let mut slopes = [[0.0; MOST]; 2];
        for i in 0..n {
            let step = if i < R1 { 0.1 } else { 0.01 };
            let mut nudged = before;
            nudged[i] += step;
            let there = self.advance(&nudged, power, fan, seconds, STRIDE);
            slopes[CHIP][i] = (there.chip - after.chip) / step;
            slopes[BOARD][i] = (there.board - after.board) / step;
        }
        (self.at[CHIP], self.at[BOARD]) = (after.chip, after.board);
        self.spread(&slopes);
        let measured = matches!(power, Power::Measured(_));
        for i in 0..n {
            let walk = match i {
                CHIP | BOARD | AIR => WALK[i],
                POWER if measured => 0.0,
                POWER => WALK[4],
                i if i >= R2 && i != R2 + fan.min(self.fans - 1) => 0.0,
                _ => WALK[3],
            };
            self.doubt[i][i] += walk * seconds;
        }
        if measured {
            self.hold(POWER, POWER_DOUBT[1] * POWER_DOUBT[1]);
        }
        (R1..n).for_each(|i| self.hold(i, self.doubt_of(i)));
        self.hold(AIR, 2.0 * AIR_DOUBT * AIR_DOUBT);
    }

    /// The clock has changed by this share of the highest: what work takes there is less certain.
    pub(super) fn change_clock(&mut self, by: f64) {
        self.doubt[POWER][POWER] += VOLTAGE * by;
    }

    /// The covariance after the temperatures have moved by these slopes: F P Fᵀ, where F differs from one in two rows.
    fn spread(&mut self, slopes: &[Row; 2]) {
        let n = self.size();
        let mut moved = [[0.0; MOST]; 2];
        for (row, slope) in moved.iter_mut().zip(slopes) {
            for j in 0..n {
                row[j] = (0..n).map(|k| slope[k] * self.doubt[k][j]).sum();
            }
        }
        let corner = |a: usize, b: usize| -> f64 { (0..n).map(|k| moved[a][k] * slopes[b][k]).sum() };
        let corners = [[corner(0, 0), corner(0, 1)], [corner(1, 0), corner(1, 1)]];
        for a in 0..2 {
            for j in 2..n {
                (self.doubt[a][j], self.doubt[j][a]) = (moved[a][j], moved[a][j]);
            }
        }
        let cross = (corners[0][1] + corners[1][0]) / 2.0;
        (self.doubt[0][0], self.doubt[1][1]) = (corners[0][0], corners[1][1]);
        (self.doubt[0][1], self.doubt[1][0]) = (cross, cross);
    }

    /// No more doubt of one than this; how it goes with the others is kept.
    fn hold(&mut self, i: usize, most: f64) {
        let shrink = (most / self.doubt[i][i].max(1e-12)).sqrt();
        if shrink < 1.0 {
            for j in 0..self.size() {
                self.doubt[i][j] *= shrink;
                self.doubt[j][i] *= shrink;
            }
        }
    }

    /// Takes a reading in, °C.
    pub(super) fn see(&mut self, reading: f64, fan: usize) {
        let n = self.size();
        let variance = self.doubt[CHIP][CHIP] + READING;
        let error = reading - self.at[CHIP];
        let score = error / variance.sqrt();
        self.looks = self.looks.saturating_add(1);
        for (mean, looks) in self.surprise.iter_mut().zip([5.0, 40.0]) {
            *mean += (score.clamp(-6.0, 6.0) - *mean) / looks;
        }
        for (mean, looks) in self.off.iter_mut().zip([10.0, 40.0]) {
            *mean += (error.clamp(-5.0, 5.0) - *mean) / looks;
        }
        // The board does something that was not learnt, or not rightly.
        let r2 = R2 + fan.min(self.fans - 1);
        for ((surprise, strange), doubts) in self.surprise.into_iter().zip(STRANGE).zip(DOUBTS) {
            if surprise.abs() > strange {
                [AIR, BOARD, r2, C2].into_iter().zip(doubts).for_each(|(i, more)| self.doubt[i][i] += more);
            }
        }
        // One reading that is far off moves it no further than one at 4 sigma would (Huber).
        let error = error.clamp(-4.0 * variance.sqrt(), 4.0 * variance.sqrt());
        let gain: Row = std::array::from_fn(|i| self.doubt[i][CHIP] / variance);
        for i in 0..n {
            self.at[i] += gain[i] * error;
        }
        let row = self.doubt[CHIP];
        for i in 0..n {
            for j in 0..n {
                self.doubt[i][j] -= gain[i] * row[j];
            }
        }
        for i in 0..n {
            for j in 0..i {
                let mean = (self.doubt[i][j] + self.doubt[j][i]) / 2.0;
                (self.doubt[i][j], self.doubt[j][i]) = (mean, mean);
            }
            self.doubt[i][i] = self.doubt[i][i].max(1e-9);
            if i >= R1 {
                self.at[i] = self.bounded(i, self.at[i]);
            }
        }
        if self.looks < EARLY.0 {
            self.doubt[C2][C2] = self.doubt[C2][C2].max(self.early);
        }
        // A lower step of the fan cools no better than this one: where the fan is dead, all of its steps are.
        for lower in R2..r2 {
            self.at[lower] = self.at[lower].max(self.at[r2]);
        }
    }

    /// What was learnt does not hold any more: learns anew from where it is. A board that is hotter than it should be with its fan
    /// on has most likely lost it: then every step cools as none does.
    pub(super) fn forget(&mut self, fan: usize, hotter: bool) {
        if hotter && fan > 0 {
            for i in R2 + 1..self.size() {
                self.at[i] = self.at[R2];
            }
        }
        self.doubt_cooling();
        // A chip stays what it is, but for what is put on it.
        [R1, C1, C2].into_iter().for_each(|i| self.doubt[i][i] += ON_IT);
        self.doubt[AIR][AIR] = self.doubt[AIR][AIR].max(AIR_DOUBT * AIR_DOUBT / 4.0);
        self.doubt[BOARD][BOARD] = self.doubt[BOARD][BOARD].max(4.0);
        self.begin();
    }

    /// Looks taken in since it began to learn.
    pub(super) fn looks(&self) -> u32 {
        self.looks
    }

    /// A journey through time from here, for a forecast.
    pub(super) fn journey(&self) -> Journey<'_> {
        self.journey_with(self.at)
    }

    fn journey_with(&self, at: Row) -> Journey<'_> {
        Journey { learner: self, warmth: Warmth { chip: at[CHIP], board: at[BOARD] }, at, stride: None }
    }

    /// The variance of where a journey ends, K²: `travel` is made once for everything that is uncertain.
    pub(super) fn variance(&self, ends: f64, travel: impl Fn(&mut Journey<'_>) -> f64, seconds: f64) -> f64 {
        let n = self.size();
        let mut slopes = [0.0; MOST];
        for (i, slope) in slopes.iter_mut().enumerate().take(n) {
            let step = if i < R1 { 0.1 } else { 0.01 };
            let mut nudged = self.at;
            nudged[i] += step;
            // A fan's step is a jump: what it makes of a nudge is no slope.
            *slope = ((travel(&mut self.journey_with(nudged)) - ends) / step).clamp(-200.0, 200.0);
        }
        let known: f64 = (0..n).map(|i| slopes[i] * (0..n).map(|j| self.doubt[i][j] * slopes[j]).sum::<f64>()).sum();
        // The air and the work go on wandering.
        let wandering = (WALK[AIR] * slopes[AIR].powi(2) + WALK[4] * slopes[POWER].powi(2)) * seconds / 3.0;
        known.max(0.0) + wandering + 0.03
    }
}

/// The board's way through time at some load.
#[derive(Debug)]
pub(super) struct Journey<'a> {
    learner: &'a Learner,
    at: Row,
    warmth: Warmth,
    /// The last stride made, with its length and the step of the fan.
    stride: Option<(f64, usize, Stride)>,
}

impl Journey<'_> {
    /// A stride of so many seconds, no longer than some; where the chip is then, °C.
    pub(super) fn go(&mut self, seconds: f64, power: Power, fan: usize) -> f64 {
        let stride = match self.stride {
            Some((length, step, stride)) if (length, step) == (seconds, fan) => stride,
            _ => Stride::new(self.learner.stages_of(&self.at, fan), seconds),
        };
        self.stride = Some((seconds, fan, stride));
        self.warmth = stride.from(self.warmth, self.learner.watts(power, self.warmth.chip, &self.at), self.at[AIR]);
        self.warmth.chip
    }

    /// Where the chip is, °C.
    pub(super) fn chip(&self) -> f64 {
        self.warmth.chip
    }
}
