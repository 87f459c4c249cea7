//! What the virtual boards are made of: figures with their units and where they come from. Not how they behave.
//!
//! Sources, by the letter named at each figure:
//! - **A**: two exponentials fitted to public stress logs of the Raspberry Pi 4. Bare board in air of 22 °C: 46.7 °C idle, then a
//!   step of 3.2 W with a fast part of 8 s and 10.9 K and a slow one of 120 s (other logs: 100 to 240 s) and 15.3 K. In a metal
//!   case with a fan (Argon): 3 s and 8.5 K, 130 s and 7.4 K. Resistances and capacities are those of the ladder (Cauer form) whose
//!   step response has these two parts; a part's own resistance and time (Foster form) are 10.9 K / 3.2 W = 3.4 K/W and so on.
//! - **B**: public logs of the Raspberry Pi 5. Active cooler: 48.5 °C at 3.6 W and 60.5 °C at 6.6 W, half of that rise within 14 s;
//!   bare: 10 to 12 K/W in all.
//! - **C**: the Raspberry Pi documentation, "Frequency management and thermal control": progressive throttling from 80 to 85 °C;
//!   fan steps of the Pi 5 at 50, 60, 67.5 and 75 °C with 5 °C of hysteresis; idle power of a Pi 5 without a screen.
//! - **D**: `gpio-fan` in the README of the Raspberry Pi overlays: on at 55 °C, off 10 °C below.
//! - **E**: an assumption, within what is known: a core in dense arithmetic (NEON) takes about a quarter more than in the logs of A,
//!   half more than in those of B; voltages as the firmware's `measure_volts` shows them at the ends, a line between; leakage as an
//!   exponential of the temperature (Liu, Dick, Shang and Yang, DATE 2007), a tenth of the idle power at 50 °C.
//! - **F**: energy of a byte from or to LPDDR4, array, wires and controller: 60 pJ, of the order that O'Connor et al. (MICRO 2017)
//!   give for mobile memory; below the 160 to 320 pJ of Horowitz (ISSCC 2014) for DDR3.

/// A board that can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Raspberry Pi 4 without a heat sink.
    Pi4Bare,
    /// Raspberry Pi 4 in a metal case with a fan of one speed.
    Pi4Fan,
    /// Raspberry Pi 5 without a heat sink.
    Pi5Bare,
    /// Raspberry Pi 5 with the active cooler.
    Pi5Cooled,
}

/// A frequency of the cores, and the voltage that goes with it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clock {
    /// Frequency, MHz.
    pub megahertz: f64,
    /// Voltage, V.
    pub volts: f64,
}

/// A board's figures.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameters {
    /// What a person calls it.
    pub name: &'static str,
    /// The first string of the device tree's `compatible`.
    pub compatible: &'static str,
    /// Cores.
    pub cores: u32,
    /// Power of the idle board without leakage, W.
    pub rest: f64,
    /// Leakage at 50 °C and the top voltage, W.
    pub leakage: f64,
    /// Switched capacitance of one busy core, F: it takes C·V²·f.
    pub capacitance: f64,
    /// Energy of a byte moved from or to memory, J. The memory sits on the board, not on the die.
    pub byte: f64,
    /// From die to board, K/W.
    pub die_resistance: f64,
    /// Of the die and its package, J/K.
    pub die_capacity: f64,
    /// From board to air, K/W: with the fan still (or none), then at each of its steps.
    pub board_resistance: &'static [f64],
    /// Of board, heat sink and case, J/K.
    pub board_capacity: f64,
    /// Where each step of the fan begins, °C; empty without one.
    pub fan: &'static [f64],
    /// A step ends so far below where it began, K.
    pub fan_hysteresis: f64,
    /// Frequencies that the cores can be held to, ascending.
    pub clocks: Vec<Clock>,
    /// Where the firmware begins to throttle, °C.
    pub throttle_from: f64,
    /// Where it has throttled all the way to the lowest frequency, °C.
    pub throttle_full: f64,
}

impl Kind {
    /// Every board.
    pub const ALL: [Kind; 4] = [Kind::Pi4Bare, Kind::Pi4Fan, Kind::Pi5Bare, Kind::Pi5Cooled];

    /// Its figures.
    pub fn parameters(self) -> Parameters {
        match self {
            Kind::Pi4Bare => pi4(),
            Kind::Pi4Fan => Parameters {
                name: "Pi 4 with fan",
                die_resistance: 2.76,            // A
                die_capacity: 1.11,              // A
                board_resistance: &[4.14, 2.21], // still: as the bare board (E); blowing: A
                board_capacity: 57.8,            // A
                fan: &[55.0],                    // D
                fan_hysteresis: 10.0,            // D
                ..pi4()
            },
            Kind::Pi5Bare => pi5(),
            Kind::Pi5Cooled => Parameters {
                name: "Pi 5 cooled",
                die_resistance: 2.0,                          // B: the fast half of a rise of 12 K at 3 W
                die_capacity: 3.0,                            // B: half of the rise within 14 s
                board_resistance: &[5.4, 4.4, 3.8, 3.2, 2.7], // B at the still fan and at the second step; E between and beyond
                board_capacity: 60.0,                         // E: 45 g of aluminium and the board itself
                fan: &[50.0, 60.0, 67.5, 75.0],               // C
                fan_hysteresis: 5.0,                          // C
                ..pi5()
            },
        }
    }
}

fn pi4() -> Parameters {
    Parameters {
        name: "Pi 4 bare",
        compatible: "raspberrypi,4-model-b",
        cores: 4,
        rest: 2.8,                 // A: 46.7 °C idle in air of 22 °C, with the leakage
        leakage: 0.2,              // E
        capacitance: 0.9e-9,       // A and E: 1.0 W at the top
        byte: 60e-12,              // F
        die_resistance: 4.05,      // A
        die_capacity: 2.15,        // A
        board_resistance: &[4.14], // A
        board_capacity: 26.7,      // A
        fan: &[],
        fan_hysteresis: 0.0,
        clocks: clocks(600, 1500, 0.72, 0.86), // E; frequencies as cpufreq lists them
        throttle_from: 80.0,                   // C
        throttle_full: 85.0,                   // C
    }
}

fn pi5() -> Parameters {
    Parameters {
        name: "Pi 5 bare",
        compatible: "raspberrypi,5-model-b",
        cores: 4,
        rest: 2.4,                // C: 2.7 W idle, with the leakage
        leakage: 0.3,             // E
        capacitance: 0.58e-9,     // B and E: 1.2 W at the top
        byte: 60e-12,             // F
        die_resistance: 3.0,      // B and E: as the Pi 4's, for a larger package
        die_capacity: 3.0,        // E
        board_resistance: &[7.5], // B: 10.5 K/W in all
        board_capacity: 28.0,     // E: a board of the Pi 4's size
        fan: &[],
        fan_hysteresis: 0.0,
        clocks: clocks(1500, 2400, 0.72, 0.93), // E; frequencies as cpufreq lists them
        throttle_from: 80.0,                    // C
        throttle_full: 85.0,                    // C
    }
}

/// Every hundred MHz, with voltages along a line.
fn clocks(lowest: u32, top: u32, lowest_volts: f64, top_volts: f64) -> Vec<Clock> {
    let along = |megahertz: u32| f64::from(megahertz - lowest) / f64::from(top - lowest);
    let steps = (lowest..=top).step_by(100);
    steps.map(|m| Clock { megahertz: f64::from(m), volts: lowest_volts + (top_volts - lowest_volts) * along(m) }).collect()
}

impl Parameters {
    /// The top frequency, MHz.
    pub fn top(&self) -> f64 {
        self.clocks.last().map_or(1.0, |clock| clock.megahertz)
    }

    /// The voltage at a share of the top frequency, V; between two steps along the line, beyond the ends as at the end.
    pub fn volts(&self, clock: f64) -> f64 {
        let megahertz = clock * self.top();
        let above = self.clocks.iter().position(|step| step.megahertz >= megahertz);
        match above {
            Some(0) => self.clocks[0].volts,
            Some(at) => {
                let (low, high) = (self.clocks[at - 1], self.clocks[at]);
                low.volts + (high.volts - low.volts) * (megahertz - low.megahertz) / (high.megahertz - low.megahertz)
            }
            None => self.clocks.last().map_or(0.0, |step| step.volts),
        }
    }

    /// Power of one busy core at a share of the top frequency, W.
    pub fn core(&self, clock: f64) -> f64 {
        self.capacitance * self.volts(clock).powi(2) * clock * self.top() * 1e6
    }

    /// Power of the idle board at this temperature of its die (°C) and share of the top frequency, W.
    pub fn idle(&self, celsius: f64, clock: f64) -> f64 {
        /// Leakage grows by a factor e in so many degrees (E), K.
        const FOLD: f64 = 40.0;
        let top = self.volts(1.0);
        self.rest + self.leakage * self.volts(clock) / top * ((celsius.min(130.0) - 50.0) / FOLD).exp()
    }

    /// The lowest share of the top frequency.
    pub fn slowest(&self) -> f64 {
        self.clocks.first().map_or(1.0, |clock| clock.megahertz / self.top())
    }
}
