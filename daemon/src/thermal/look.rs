//! A look: what the governor is told of the board, once a second or so.

use super::Celsius;
use std::time::Duration;

/// The board between the look before and this one. Everything in it may be missing or wrong: the governor judges it.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// When: the time since boot, suspend included (`CLOCK_BOOTTIME`), which no one can set.
    pub at: Duration,
    /// What the hottest CPU sensor says; none where there is none, or none that answers sensibly.
    pub temperature: Option<Celsius>,
    /// Mean busy cores of the whole machine since the look before.
    pub busy: f64,
    /// Mean clock of the cores since the look before, as a share of the top clock.
    pub clock: f64,
    /// Power of the chip, in W, where it is measured.
    pub watts: Option<f64>,
    /// Step of the fan; 0 is off, none where there is no fan to be seen.
    pub fan: Option<u32>,
    /// Steps that the engine has ended since the look before; none while that is not known.
    pub steps: u32,
    /// The firmware says that it throttles for heat now.
    pub throttled: bool,
    /// Why there is no temperature, for a person; empty where there is one.
    pub complaint: String,
}
