//! The heat of the board as the bus tells it, in types, and its words for a person.

use serde_json::{Map, Value};

/// Kelvin below the limit at which the headroom is 0: the contract's, as Android has it.
const HEADROOM_SPAN: f64 = 30.0;

/// What the thermal interface tells. What the daemon does not know, or is too old to tell, is none or empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Heat {
    /// Degrees Celsius at the hottest sensor of the CPU.
    pub(crate) temperature: Option<f64>,
    /// Degrees Celsius that are not to be crossed.
    pub(crate) limit: Option<f64>,
    pub(crate) limit_rule: String,
    pub(crate) sensor: String,
    pub(crate) mode: String,
    /// The temperature of mode `cool`, in degrees Celsius.
    pub(crate) cool: Option<f64>,
    pub(crate) forecast: Vec<Forecast>,
    /// Seconds until the limit at this load.
    pub(crate) limit_in: Option<f64>,
    pub(crate) threads: Option<u32>,
    /// Mean busy cores that may be spent.
    pub(crate) cores: Option<f64>,
    /// Mean busy cores of the machine.
    pub(crate) busy: Option<f64>,
    /// Most requests in a step; 0 is no bound.
    pub(crate) batch: Option<u32>,
    /// Cap of the clock as a share of the top one.
    pub(crate) clock: Option<f64>,
    pub(crate) admit: String,
    pub(crate) fan_step: Option<u32>,
    /// Degrees Celsius at which the fan's steps begin.
    pub(crate) fan_trips: Vec<f64>,
    /// Empty at full speed.
    pub(crate) degraded: String,
    /// What the board's firmware does unseen by the kernel.
    pub(crate) firmware: Vec<String>,
    pub(crate) reason: String,
}

/// What is expected at the present load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Forecast {
    /// So many seconds ahead.
    pub(crate) after: f64,
    /// Degrees Celsius.
    pub(crate) temperature: f64,
    /// One standard deviation, in Kelvin.
    pub(crate) error: f64,
    /// 1 at the limit.
    pub(crate) headroom: f64,
}

impl Heat {
    /// Reads the properties of the thermal interface.
    pub(crate) fn of(properties: &Map<String, Value>) -> Heat {
        let number = |name: &str| properties.get(name).and_then(Value::as_f64);
        let count = |name: &str| properties.get(name).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
        let word = |name: &str| properties.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let list = |name: &str| properties.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let forecast = |ahead: &Value| {
            let [after, temperature, error, headroom] = [0, 1, 2, 3].map(|at| ahead.get(at).and_then(Value::as_f64));
            Some(Forecast { after: after?, temperature: temperature?, error: error?, headroom: headroom? })
        };
        Heat {
            temperature: number("Temperature"),
            limit: number("Limit"),
            limit_rule: word("LimitRule"),
            sensor: word("Sensor"),
            mode: word("Mode"),
            cool: number("CoolTemperature"),
            forecast: list("Forecast").iter().filter_map(forecast).collect(),
            limit_in: number("LimitIn"),
            threads: count("Threads"),
            cores: number("Cores"),
            busy: number("Busy"),
            batch: count("Batch"),
            clock: number("Clock"),
            admit: word("Admit"),
            // -1 is no fan, which no count holds.
            fan_step: count("FanStep"),
            fan_trips: list("FanTrips").iter().filter_map(Value::as_f64).collect(),
            degraded: word("PerformanceDegraded"),
            firmware: list("FirmwareThrottling").iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            reason: word("Reason"),
        }
    }

    /// 1 at the limit, 0 at 30 K or more below it.
    pub(crate) fn headroom(&self) -> Option<f64> {
        Some(((self.temperature? - self.limit? + HEADROOM_SPAN) / HEADROOM_SPAN).max(0.0))
    }

    /// The temperature beside its limit; none without a sensor.
    pub(crate) fn warmth(&self) -> Option<String> {
        Some(format!("{:.1} °C of {:.0} °C", self.temperature?, self.limit?))
    }

    /// The mode with its temperature, where it has one.
    pub(crate) fn mode(&self) -> String {
        match self.cool {
            Some(cool) if self.mode == "cool" => format!("cool, at most {cool:.0} °C"),
            _ => self.mode.clone(),
        }
    }

    /// What the engine may spend, in words: each with its name.
    pub(crate) fn allowed(&self) -> Vec<(&'static str, String)> {
        let mut allowed = Vec::new();
        allowed.extend(self.threads.map(|n| ("threads", n.to_string())));
        allowed.extend(self.cores.map(|n| ("cores", format!("{n:.1}"))));
        allowed.extend(self.busy.map(|n| ("busy", format!("{n:.1}"))));
        allowed.extend(self.batch.map(|n| ("batch", if n == 0 { "any".into() } else { n.to_string() })));
        allowed.extend(self.clock.map(|share| ("clock", format!("{:.0} %", share * 100.0))));
        allowed.extend(self.fan_step.map(|step| ("fan", format!("{step} of {}", self.fan_trips.len()))));
        if !self.admit.is_empty() {
            let admitted = match self.admit.as_str() {
                "background" => "all".into(),
                other => format!("{other}+"),
            };
            allowed.push(("admits", admitted));
        }
        allowed
    }

    /// When the limit comes, in words; none where it does not.
    pub(crate) fn limit_in(&self) -> Option<String> {
        let seconds = self.limit_in?;
        Some(if seconds < 1.0 { "at the limit".into() } else { format!("the limit in about {} at this load", duration(seconds)) })
    }
}

/// Seconds as a person says them.
pub(crate) fn duration(seconds: f64) -> String {
    match seconds.round() {
        s if s < 180.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    /// A warm board with a fan, as the bus tells it.
    pub(crate) fn warm() -> Heat {
        let Value::Object(properties) = json!({
            "Temperature": 71.34, "Limit": 80.0, "LimitRule": "the first passive trip, less 5 K", "Sensor": "cpu-thermal",
            "Mode": "balanced", "CoolTemperature": null, "LimitIn": 143.0, "Threads": 3, "Cores": 2.4, "Busy": 2.1, "Batch": 8,
            "Clock": 1.0, "Admit": "normal", "FanStep": 2, "FanTrips": [50.0, 60.0, 67.5, 75.0],
            "PerformanceDegraded": "high-operating-temperature", "FirmwareThrottling": [],
            "Forecast": [[10, 71.9, 0.2, 0.73], [60, 75.1, 0.6, 0.84], [300, 79.2, 1.4, 0.97]],
            "Reason": "79.2 °C are expected in 300 s at 3 cores: 2.4 cores and batches of 8 instead",
        }) else {
            unreachable!()
        };
        Heat::of(&properties)
    }

    #[test]
    fn what_the_bus_tells_is_read() {
        let heat = warm();
        assert_eq!(heat.forecast[1], Forecast { after: 60.0, temperature: 75.1, error: 0.6, headroom: 0.84 });
        assert!((heat.headroom().unwrap() - 0.711).abs() < 0.001);
        assert_eq!(heat.warmth().unwrap(), "71.3 °C of 80 °C");
        assert_eq!(heat.limit_in().unwrap(), "the limit in about 143 s at this load");
        let allowed = heat.allowed().into_iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ");
        assert_eq!(allowed, "threads 3, cores 2.4, busy 2.1, batch 8, clock 100 %, fan 2 of 4, admits normal+");
    }

    #[test]
    fn a_board_without_a_sensor_or_a_fan_and_an_old_daemon_are_no_trouble() {
        let Value::Object(none) = json!({"Temperature": null, "Limit": null, "FanStep": -1, "Forecast": [], "Mode": "cool"}) else {
            unreachable!()
        };
        let heat = Heat::of(&none);
        assert_eq!((heat.headroom(), heat.warmth(), heat.limit_in(), heat.fan_step), (None, None, None, None));
        assert_eq!(heat.mode(), "cool");
        assert_eq!(Heat::of(&Map::new()), Heat::default());
        assert!(Heat::default().allowed().is_empty());
    }
}
