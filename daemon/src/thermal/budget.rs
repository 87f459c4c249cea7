//! The budget: what the governor lets the engine spend.

use hearth_api::Priority;
use std::time::Duration;

/// What the engine may spend until the governor decides anew.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    /// The most threads a step may use; at least 1.
    pub threads: u32,
    /// Mean busy cores that the engine may spend; `threads` where nothing is held back.
    pub cores: f64,
    /// The same as it will be in the next half a minute, if less: what is admitted now waits for that.
    pub soon: f64,
    /// Cap of the clock, as a share of the top one; 1 is none.
    pub clock: f64,
    /// The most requests in a step; at least 1.
    pub batch: u32,
    /// The lowest priority that is admitted; lower ones are refused as `too-hot`.
    pub admit: Priority,
    /// When a refused request is worth another try.
    pub retry_after: Duration,
    /// Whether heat costs speed.
    pub degraded: Degraded,
    /// Why, for a person.
    pub reason: String,
}

/// What makes a budget another decision: one to log and to announce. Not the cores, which follow the heat from look to look; that is
/// carrying a decision out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Decision {
    pub(super) threads: u32,
    pub(super) batch: u32,
    pub(super) clock: f64,
    pub(super) admit: Priority,
    pub(super) degraded: Degraded,
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
            cores: f64::from(threads),
            soon: f64::from(threads),
            clock: 1.0,
            batch: u32::MAX,
            admit: Priority::Background,
            retry_after: Duration::from_secs(1),
            degraded: Degraded::No,
            reason: "cool".into(),
        }
    }

    /// Whether it is another decision than `other`.
    pub fn decides_otherwise(&self, other: &Budget) -> bool {
        self.decision() != other.decision()
    }

    fn decision(&self) -> Decision {
        Decision { threads: self.threads, batch: self.batch, clock: self.clock, admit: self.admit, degraded: self.degraded }
    }

    /// Whether the engine has to hear of it, having heard of `told`.
    pub fn is_news_after(&self, told: &Budget) -> bool {
        self.decides_otherwise(told) || (self.cores, self.soon) != (told.cores, told.soon) || self.retry_after != told.retry_after
    }
}
