//! A virtual board: two stages of heat (die to board, board to air), a fan, a firmware that throttles, and a sensor that lies
//! as sensors do. It steps in any time, so that a test in virtual time and one beside a real daemon can both drive it.
//!
//! ```text
//!            P(cores) + P(idle)      P(memory)
//!                  │                     │
//!                 die ──die_resistance── board ──board_resistance(fan)── air
//!                  │                     │
//!             die_capacity         board_capacity
//! ```
//! Temperatures are in degrees Celsius, powers in watts, energies in joules, clocks in shares of the top frequency.

mod live;
mod parameters;
mod random;
#[cfg(test)]
mod tests;

pub use live::{LiveBoard, Record};
pub use parameters::{Clock, Kind, Parameters};
pub use random::Random;

use std::time::Duration;

/// The longest stride of the integration, s: a twentieth of the fastest stage's time.
const STRIDE: f64 = 0.1;
/// The sensor follows the die with this time constant, s.
const LAG: f64 = 0.5;
/// Deviation of the sensor's noise, K, before it is rounded to whole degrees.
const NOISE: f64 = 0.3;
/// The firmware follows the temperature with this time constant, s.
const FIRMWARE: f64 = 1.0;

/// A board, at a moment.
#[derive(Debug, Clone)]
pub struct VirtualBoard {
    parameters: Parameters,
    ambient: f64,
    die: f64,
    board: f64,
    /// What the sensor's element feels.
    felt: f64,
    fan: usize,
    fan_works: bool,
    /// What software allows.
    cap: f64,
    /// What the firmware allows.
    firmware: f64,
    power: f64,
    energy: f64,
    random: Random,
}

impl VirtualBoard {
    /// An idle board that has come to rest in air of this temperature. `seed` is for the sensor's noise.
    pub fn new(kind: Kind, ambient: f64, seed: u64) -> VirtualBoard {
        let parameters = kind.parameters();
        let mut board = VirtualBoard {
            ambient,
            die: ambient,
            board: ambient,
            felt: ambient,
            fan: 0,
            fan_works: true,
            cap: 1.0,
            firmware: 1.0,
            power: 0.0,
            energy: 0.0,
            random: Random::new(seed),
            parameters,
        };
        board.settle();
        board
    }

    /// Comes to rest without load.
    fn settle(&mut self) {
        // Leakage and fan depend on the temperature: a few rounds find the point where all agree.
        for _ in 0..64 {
            self.power = self.parameters.idle(self.die, self.clock());
            self.board = self.ambient + self.power * self.board_resistance();
            self.die = self.board + self.power * self.parameters.die_resistance;
            self.felt = self.die;
            self.turn_fan();
        }
    }

    /// Lets time pass with so many busy cores on average and so many bytes moved from or to memory.
    pub fn step(&mut self, time: Duration, busy_cores: f64, bytes: f64) {
        let seconds = time.as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        let memory = self.parameters.byte * bytes / seconds;
        let strides = (seconds / STRIDE).ceil();
        for _ in 0..strides as u64 {
            self.stride(seconds / strides, busy_cores, memory);
        }
    }

    fn stride(&mut self, seconds: f64, busy_cores: f64, memory: f64) {
        let is = &self.parameters;
        let clock = self.cap.min(self.firmware);
        let on_die = is.idle(self.die, clock) + busy_cores.clamp(0.0, f64::from(is.cores)) * is.core(clock);
        let inward = (self.die - self.board) / is.die_resistance;
        let outward = (self.board - self.ambient) / self.board_resistance();
        self.die += (on_die - inward) * seconds / is.die_capacity;
        self.board += (inward + memory - outward) * seconds / is.board_capacity;
        self.felt += (self.die - self.felt) * (1.0 - (-seconds / LAG).exp());
        self.power = on_die + memory;
        self.energy += self.power * seconds;

        let throttled = ((self.felt - is.throttle_from) / (is.throttle_full - is.throttle_from)).clamp(0.0, 1.0);
        let allowed = 1.0 - throttled * (1.0 - is.slowest());
        self.firmware += (allowed - self.firmware) * (1.0 - (-seconds / FIRMWARE).exp());
        if self.firmware > 0.999 {
            self.firmware = 1.0;
        }
        self.turn_fan();
    }

    /// The kernel turns the fan up where a step begins, and down its hysteresis below.
    fn turn_fan(&mut self) {
        let steps = self.parameters.fan;
        while self.fan < steps.len() && self.felt >= steps[self.fan] {
            self.fan += 1;
        }
        while self.fan > 0 && self.felt < steps[self.fan - 1] - self.parameters.fan_hysteresis {
            self.fan -= 1;
        }
    }

    /// From board to air, now, K/W.
    pub fn board_resistance(&self) -> f64 {
        self.parameters.board_resistance[if self.fan_works { self.fan } else { 0 }]
    }

    /// Its figures.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The true temperature of the die, °C.
    pub fn temperature(&self) -> f64 {
        self.die
    }

    /// The true temperature of the board around it, °C.
    pub fn board_temperature(&self) -> f64 {
        self.board
    }

    /// Of the air, °C.
    pub fn ambient(&self) -> f64 {
        self.ambient
    }

    /// What the sensor shows, °C: late, noisy, in whole degrees. Each reading has noise of its own.
    pub fn sensor(&mut self) -> f64 {
        (self.felt + NOISE * self.random.normal()).round()
    }

    /// The step the fan is told to run at; none without a fan. A fan that has failed is still told.
    pub fn fan(&self) -> Option<u32> {
        (!self.parameters.fan.is_empty()).then(|| u32::try_from(self.fan).unwrap_or(u32::MAX))
    }

    /// The clock of the cores: the lower of what software and firmware allow.
    pub fn clock(&self) -> f64 {
        self.cap.min(self.firmware)
    }

    /// Whether the firmware holds the clock down.
    pub fn throttled(&self) -> bool {
        self.firmware < 1.0
    }

    /// Power, W.
    pub fn power(&self) -> f64 {
        self.power
    }

    /// Energy since the start, J.
    pub fn energy(&self) -> f64 {
        self.energy
    }

    /// Software caps the clock: the highest step that is no faster, at least the slowest.
    pub fn set_cap(&mut self, clock: f64) {
        let top = self.parameters.top();
        let under = self.parameters.clocks.iter().rev().map(|step| step.megahertz / top).find(|share| *share <= clock + 1e-9);
        self.cap = under.unwrap_or(self.parameters.slowest());
    }

    /// The air changes.
    pub fn set_ambient(&mut self, celsius: f64) {
        self.ambient = celsius;
    }

    /// The fan stands still from now on, whatever it is told.
    pub fn fail_fan(&mut self) {
        self.fan_works = false;
    }
}
