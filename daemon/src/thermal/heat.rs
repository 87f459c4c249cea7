//! What the daemon tells of heat: on the thermal topic, on the bus, and to `hearthctl`.

use super::budget::Decision;
use super::{Degraded, Expected, Mode};
use serde::{Deserialize, Serialize, Serializer};

/// A temperature in degrees Celsius.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Celsius(pub f64);

impl std::fmt::Display for Celsius {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} °C", self.0)
    }
}

/// Kelvin below the limit at which the headroom is 0, as in Android's `ThermalManagerService`
/// (`DEGREES_BETWEEN_ZERO_AND_ONE`).
const HEADROOM_SPAN: f64 = 30.0;

/// Android's thermal headroom: the share of the way from 30 K below the limit to the limit; over 1 it is crossed.
pub(super) fn headroom(temperature: Celsius, limit: Celsius) -> f64 {
    ((temperature.0 - (limit.0 - HEADROOM_SPAN)) / HEADROOM_SPAN).max(0.0)
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
    /// What the board is to be like.
    #[serde(serialize_with = "mode")]
    pub mode: Mode,
    /// The temperature of mode `cool`.
    pub cool_celsius: Option<Celsius>,
    /// Empty, or `high-operating-temperature`.
    #[serde(rename = "performance_degraded", serialize_with = "word")]
    pub degraded: Degraded,
    /// Most threads a step may use now.
    pub threads: u32,
    /// Mean busy cores that the engine may spend now.
    pub cores: f64,
    /// Most requests a step may hold now; 0 is no bound.
    pub batch: u32,
    /// Cap of the clock, as a share of the top one; 1 is none.
    pub clock: f64,
    /// Mean busy cores of the whole machine since the last look.
    pub busy: f64,
    /// The lowest priority that is admitted now.
    pub admit: hearth_api::Priority,
    /// The fan's step; 0 is off, none where there is no fan to be seen.
    pub fan_step: Option<u32>,
    /// Temperatures at which the fan goes one step up.
    pub fan_trips: Vec<Celsius>,
    /// What comes if the load stays as it is, at [`AHEAD`]; empty without a sensor. The wire has those of [`TOLD`].
    #[serde(serialize_with = "told")]
    pub forecast: Vec<Expected>,
    /// When the limit is reached if the load stays as it is; none if not within 900 s.
    pub limit_in_seconds: Option<f64>,
    /// What the firmware says of throttling: `now`, `since boot`, both, or nothing.
    pub firmware_throttling: Vec<String>,
    /// The board, as its firmware or device tree names it.
    pub board: String,
    /// The governor's reason, for a person.
    pub reason: String,
}

/// Seconds ahead that are forecast. What is asked for between them is interpolated.
pub(super) const AHEAD: [u64; 12] = [0, 2, 5, 10, 20, 30, 45, 60, 100, 150, 220, 300];
/// Seconds ahead that are told on the wire.
const TOLD: [u64; 3] = [10, 60, 300];

impl Heat {
    /// The forecasts that are told: for 10, 60 and 300 seconds ahead.
    pub fn told(&self) -> impl Iterator<Item = &Expected> {
        self.forecast.iter().filter(|expected| TOLD.contains(&expected.after.as_secs()))
    }

    /// The decision that is in force.
    pub(crate) fn decision(&self) -> Decision {
        Decision { threads: self.threads, batch: self.batch, clock: self.clock, admit: self.admit, degraded: self.degraded }
    }

    /// The headroom so many seconds (at most 300) ahead; none without a sensor or a limit.
    pub fn headroom(&self, seconds: u32) -> Option<f64> {
        let limit = self.limit_celsius?;
        let Some(first) = self.forecast.first() else {
            // Nothing is known of the board: it stays as it is.
            return Some(headroom(self.temperature_celsius?, limit));
        };
        let at = f64::from(seconds);
        let mut before = first;
        for next in &self.forecast {
            let (from, to) = (before.after.as_secs_f64(), next.after.as_secs_f64());
            if at <= to {
                let share = if to > from { (at - from) / (to - from) } else { 1.0 };
                let temperature = before.temperature.0 + (next.temperature.0 - before.temperature.0) * share.clamp(0.0, 1.0);
                return Some(headroom(Celsius(temperature), limit));
            }
            before = next;
        }
        Some(headroom(before.temperature, limit))
    }
}

#[cfg(test)]
impl Heat {
    /// Of a board with a limit of 80 °C of which nothing else is known.
    pub(crate) fn unknown() -> Heat {
        Heat {
            temperature_celsius: None,
            sensor: None,
            limit_celsius: Some(Celsius(80.0)),
            limit_rule: String::new(),
            mode: Mode::Balanced,
            cool_celsius: None,
            degraded: Degraded::No,
            threads: 1,
            cores: 1.0,
            batch: 0,
            clock: 1.0,
            busy: 0.0,
            admit: hearth_api::Priority::Background,
            fan_step: None,
            fan_trips: Vec::new(),
            forecast: Vec::new(),
            limit_in_seconds: None,
            firmware_throttling: Vec::new(),
            board: "Raspberry Pi 5".into(),
            reason: String::new(),
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn word<S: Serializer>(degraded: &Degraded, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(degraded.as_str())
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn mode<S: Serializer>(mode: &Mode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(mode.as_str())
}

/// A forecast on the wire.
#[derive(Serialize)]
struct Forecast {
    after_seconds: u64,
    temperature_celsius: f64,
    error_celsius: f64,
    headroom: f64,
}

fn told<S: Serializer>(forecast: &[Expected], serializer: S) -> Result<S::Ok, S::Error> {
    let rounded = |x: f64, parts: f64| (x * parts).round() / parts;
    let told = forecast.iter().filter(|expected| TOLD.contains(&expected.after.as_secs())).map(|expected| Forecast {
        after_seconds: expected.after.as_secs(),
        temperature_celsius: rounded(expected.temperature.0, 10.0),
        error_celsius: rounded(expected.error, 10.0),
        headroom: rounded(expected.headroom, 100.0),
    });
    serializer.collect_seq(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headroom_is_one_at_the_limit_and_none_thirty_kelvin_below() {
        let limit = Celsius(80.0);
        assert_eq!(headroom(Celsius(80.0), limit), 1.0);
        assert_eq!(headroom(Celsius(65.0), limit), 0.5);
        assert_eq!(headroom(Celsius(20.0), limit), 0.0);
        assert!(headroom(Celsius(83.0), limit) > 1.0);
    }

    fn heat(forecast: &[(u64, f64)]) -> Heat {
        let expected = |&(after, at): &(u64, f64)| Expected {
            after: std::time::Duration::from_secs(after),
            temperature: Celsius(at),
            error: 0.512,
            headroom: headroom(Celsius(at), Celsius(80.0)),
        };
        Heat { forecast: forecast.iter().map(expected).collect(), ..Heat::unknown() }
    }

    #[test]
    fn headroom_between_two_forecasts_is_interpolated() {
        let heat = heat(&[(0, 50.0), (10, 60.0), (60, 65.0), (300, 77.0)]);
        let at = |seconds| (heat.headroom(seconds).unwrap() * 30.0 + 50.0).round();
        assert_eq!([0, 5, 10, 35, 60, 300, 900].map(at), [50.0, 55.0, 60.0, 63.0, 65.0, 77.0, 77.0]);
        assert_eq!(Heat { limit_celsius: None, ..heat }.headroom(10), None);
        // Nothing learnt: it stays as it is.
        assert_eq!(Heat { temperature_celsius: Some(Celsius(65.0)), ..self::heat(&[]) }.headroom(300), Some(0.5));
    }

    #[test]
    fn the_wire_has_three_forecasts() {
        let wire = serde_json::to_value(heat(&[(0, 50.0), (10, 60.04), (30, 61.0), (60, 65.0), (300, 77.0)])).unwrap();
        let first = serde_json::json!({"after_seconds": 10, "temperature_celsius": 60.0, "error_celsius": 0.5, "headroom": 0.33});
        assert_eq!(wire["forecast"][0], first);
        assert_eq!(wire["forecast"].as_array().unwrap().len(), 3);
        assert_eq!((wire["mode"].as_str(), wire["performance_degraded"].as_str()), (Some("balanced"), Some("")));
    }
}
