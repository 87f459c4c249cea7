//! The budget: what the governor lets the engine spend.

use hearth_api::Priority;
use std::time::Duration;

/// What the engine may spend until the governor decides anew.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    /// The most threads a step may use; at least 1.
    pub threads: u32,
    /// The most requests in a step; at least 1.
    pub batch: u32,
    /// Rest after each step, as a share of the time the step took; 0 is none.
    pub rest: f64,
    /// The lowest priority that is admitted; lower ones are refused as `too-hot`.
    pub admit: Priority,
    /// When a refused request is worth another try.
    pub retry_after: Duration,
    /// Whether heat costs speed.
    pub degraded: Degraded,
    /// Why, for a person.
    pub reason: String,
}

/// Whether performance is degraded, in the words of power-profiles-daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Degraded {
    /// Full speed.
    No,
    /// Slower, to stay below the limit.
    HighOperatingTemperature,
}

impl Degraded {
    /// The word on the wire; empty for full speed.
    pub fn as_str(self) -> &'static str {
        match self {
            Degraded::No => "",
            Degraded::HighOperatingTemperature => "high-operating-temperature",
        }
    }
}

impl Budget {
    /// No bound but the board's own threads.
    pub fn unbounded(threads: u32) -> Budget {
        Budget {
            threads,
            batch: u32::MAX,
            rest: 0.0,
            admit: Priority::Background,
            retry_after: Duration::from_secs(1),
            degraded: Degraded::No,
            reason: "cool".into(),
        }
    }
}
