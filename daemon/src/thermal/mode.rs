//! Modes: what the user wants of the heat.

use super::Celsius;
use std::str::FromStr;

/// What the board is to be like.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Mode {
    /// As fast as the limit allows; the clock is capped only where that serves clearly more.
    Performance,
    /// As much served as the limit allows.
    #[default]
    Balanced,
    /// No hotter than this.
    Cool(Celsius),
    /// Below the next step of the fan while demand allows, else on the lowest step that serves it.
    Quiet,
}

impl Mode {
    /// The mode's name on the wire: `performance`, `balanced`, `cool` or `quiet`.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Performance => "performance",
            Mode::Balanced => "balanced",
            Mode::Cool(_) => "cool",
            Mode::Quiet => "quiet",
        }
    }
}

/// Temperatures that may be asked for with `cool`, in °C: what a board in a warm room can reach, and what no limit is above.
const COOL: std::ops::RangeInclusive<f64> = 30.0..=100.0;

impl FromStr for Mode {
    type Err = String;

    /// `performance`, `balanced`, `quiet`, or `cool:` and a temperature in °C, such as `cool:60`.
    fn from_str(text: &str) -> Result<Mode, String> {
        match text {
            "performance" => Ok(Mode::Performance),
            "balanced" => Ok(Mode::Balanced),
            "quiet" => Ok(Mode::Quiet),
            _ => {
                let at = text.strip_prefix("cool:").and_then(|at| at.parse::<f64>().ok());
                let at = at.ok_or_else(|| {
                    format!("`{text}` is no mode: performance, balanced, quiet, or cool and a temperature, as in cool:60")
                })?;
                if !COOL.contains(&at) {
                    return Err(format!("cool:{at} cannot be kept: between {} and {} °C", COOL.start(), COOL.end()));
                }
                Ok(Mode::Cool(Celsius(at)))
            }
        }
    }
}
