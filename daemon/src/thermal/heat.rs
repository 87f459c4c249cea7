//! What the daemon tells of heat: on the thermal topic, on the bus, and to `hearthctl`.

use super::Degraded;
use serde::{Serialize, Serializer};

/// A temperature in degrees Celsius.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Celsius(pub f64);

impl std::fmt::Display for Celsius {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} °C", self.0)
    }
}

/// The heat of the board, and what is done about it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Heat {
    /// Temperature of the hottest CPU sensor; none where there is no sensor, or none that answers sensibly.
    pub temperature_celsius: Option<Celsius>,
    /// The sensor it was read from.
    pub sensor: Option<String>,
    /// The temperature that is not to be crossed; none where there is no sensor.
    pub limit_celsius: Option<Celsius>,
    /// Which rule gave the limit.
    pub limit_rule: String,
    /// `cool`, `warm`, `hot` or `limit`.
    pub zone: super::Zone,
    /// Empty, or `high-operating-temperature`.
    #[serde(rename = "performance_degraded", serialize_with = "word")]
    pub degraded: Degraded,
    /// Most threads a step may use now.
    pub threads: u32,
    /// Most requests a step may hold now; 0 is no bound.
    pub batch: u32,
    /// Rest after each step, as a share of its length.
    pub rest: f64,
    /// The lowest priority that is admitted now.
    pub admit: hearth_api::Priority,
    /// What the firmware says of throttling: `now`, `since boot`, both, or nothing.
    pub firmware_throttling: Vec<String>,
    /// The board, as its firmware or device tree names it.
    pub board: String,
    /// The governor's reason, for a person.
    pub reason: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn word<S: Serializer>(degraded: &Degraded, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(degraded.as_str())
}
