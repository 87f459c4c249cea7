//! The governor: three zones below the limit, with hysteresis, and one at it. Pure: readings in, a budget out.
//!
//! It answers the present temperature. The forecast that acts before the heat is there replaces this file behind the
//! same interface.

use super::sensors::Reading;
use super::{Budget, Celsius, Degraded, Limit};
use hearth_api::Priority;
use serde::Serialize;
use std::time::Duration;

/// How near the limit the board is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Zone {
    /// Far below: full speed.
    Cool,
    /// Background work waits, half the threads, smaller batches.
    Warm,
    /// One thread, small batches, a rest as long as the work.
    Hot,
    /// At the limit: only high priority is admitted, one at a time, mostly resting.
    Limit,
}

/// Below the limit by this much, a zone begins.
const WARM_BELOW: f64 = 12.0;
const HOT_BELOW: f64 = 6.0;
const LIMIT_BELOW: f64 = 1.5;
/// A zone is left when the temperature is this far under where it began.
const HYSTERESIS: f64 = 2.0;

impl Zone {
    const ALL: [Zone; 4] = [Zone::Cool, Zone::Warm, Zone::Hot, Zone::Limit];

    /// How far below the limit this zone begins.
    fn below(self) -> f64 {
        match self {
            Zone::Cool => f64::INFINITY,
            Zone::Warm => WARM_BELOW,
            Zone::Hot => HOT_BELOW,
            Zone::Limit => LIMIT_BELOW,
        }
    }

    /// The zone as it is written on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Zone::Cool => "cool",
            Zone::Warm => "warm",
            Zone::Hot => "hot",
            Zone::Limit => "limit",
        }
    }

    /// The zone of this temperature, coming from zone `before`.
    fn at(temperature: Celsius, limit: Celsius, before: Zone) -> Zone {
        let below = limit.0 - temperature.0;
        let hottest = |slack: f64| Zone::ALL.into_iter().rev().find(|z| below <= z.below() + slack).unwrap_or(Zone::Cool);
        // Up at once; down only past the hysteresis.
        hottest(0.0).max(hottest(HYSTERESIS).min(before))
    }
}

/// Chooses the budget from the readings.
#[derive(Debug)]
pub struct Governor {
    threads: u32,
    limit: Option<Limit>,
    zone: Zone,
}

impl Governor {
    /// A governor of a board with this many compute threads and this limit.
    pub fn new(threads: u32, limit: Option<Limit>) -> Governor {
        Governor { threads, limit, zone: Zone::Cool }
    }

    /// The zone it is in.
    pub fn zone(&self) -> Zone {
        self.zone
    }

    /// The limit it keeps.
    pub fn limit(&self) -> Option<&Limit> {
        self.limit.as_ref()
    }

    /// A new limit, after a reload.
    pub fn set_limit(&mut self, limit: Option<Limit>) {
        self.limit = limit;
    }

    /// Takes a reading and decides.
    pub fn on(&mut self, reading: &Reading) -> Budget {
        let (zone, reason) = self.judge(reading);
        self.zone = zone;
        self.budget(reason)
    }

    fn judge(&self, reading: &Reading) -> (Zone, String) {
        let Some(limit) = &self.limit else {
            return (Zone::Cool, "no temperature sensor: nothing is held back".into());
        };
        let Some((sensor, temperature)) = &reading.hottest else {
            // A board that had a sensor and lost it may be hot: stay on the safe side.
            return (Zone::Hot, format!("no usable temperature: {}; held back to be safe", reading.complaints.join(", ")));
        };
        let zone = Zone::at(*temperature, limit.at, self.zone);
        if zone < Zone::Hot && reading.throttled.is_some_and(|t| t.now()) {
            return (Zone::Hot, format!("{sensor} is at {temperature}, and the firmware throttles"));
        }
        (zone, format!("{sensor} is at {temperature}, the limit is {}", limit.at))
    }

    fn budget(&self, reason: String) -> Budget {
        let full = Budget::unbounded(self.threads);
        let degraded = Degraded::HighOperatingTemperature;
        match self.zone {
            Zone::Cool => Budget { reason, ..full },
            Zone::Warm => Budget {
                threads: self.threads.div_ceil(2),
                batch: 16,
                rest: 0.25,
                admit: Priority::Normal,
                retry_after: Duration::from_secs(5),
                degraded,
                reason,
            },
            Zone::Hot => {
                Budget { threads: 1, batch: 4, rest: 1.0, admit: Priority::Normal, retry_after: Duration::from_secs(10), degraded, reason }
            }
            Zone::Limit => {
                Budget { threads: 1, batch: 1, rest: 3.0, admit: Priority::High, retry_after: Duration::from_secs(15), degraded, reason }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::limit::LimitRule;
    use super::super::sensors::Throttled;
    use super::*;

    fn governor() -> Governor {
        Governor::new(4, Some(Limit { at: Celsius(80.0), rule: LimitRule::User }))
    }

    fn at(t: f64) -> Reading {
        Reading { hottest: Some(("cpu".into(), Celsius(t))), sensors: 1, complaints: Vec::new(), throttled: None }
    }

    #[test]
    fn the_hotter_the_board_the_less_is_spent() {
        let mut g = governor();
        let budgets: Vec<Budget> = [40.0, 70.0, 75.0, 79.0].into_iter().map(|t| g.on(&at(t))).collect();
        for pair in budgets.windows(2) {
            assert!(pair[1].threads <= pair[0].threads && pair[1].batch < pair[0].batch && pair[1].rest > pair[0].rest);
        }
        assert_eq!(budgets[0], Budget { reason: budgets[0].reason.clone(), ..Budget::unbounded(4) });
        assert_eq!(budgets[3].admit, Priority::High);
        assert!(budgets[3].reason.contains("79.0 °C"));
    }

    #[test]
    fn a_zone_is_left_only_past_the_hysteresis() {
        let mut g = governor();
        for (t, zone) in [
            (67.9, Zone::Cool),
            (68.0, Zone::Warm),
            (67.0, Zone::Warm),
            (65.9, Zone::Cool),
            (80.0, Zone::Limit),
            (77.0, Zone::Limit),
            (76.4, Zone::Hot),
            (60.0, Zone::Cool),
        ] {
            g.on(&at(t));
            assert_eq!(g.zone(), zone, "{t}");
        }
    }

    #[test]
    fn a_lost_or_lying_sensor_is_taken_for_heat() {
        let mut g = governor();
        let lost = Reading { hottest: None, complaints: vec!["cpu cannot be read".into()], ..at(0.0) };
        let budget = g.on(&lost);
        assert_eq!((g.zone(), budget.threads), (Zone::Hot, 1));
        assert!(budget.reason.contains("cannot be read"));
    }

    #[test]
    fn a_board_without_a_sensor_runs_at_full_speed() {
        let budget = Governor::new(4, None).on(&Reading { hottest: None, sensors: 0, complaints: Vec::new(), throttled: None });
        assert_eq!((budget.threads, budget.degraded), (4, Degraded::No));
    }

    #[test]
    fn firmware_that_throttles_is_believed() {
        let mut g = governor();
        g.on(&Reading { throttled: Some(Throttled(0x50000)), ..at(40.0) });
        assert_eq!(g.zone(), Zone::Cool);
        g.on(&Reading { throttled: Some(Throttled(0x8)), ..at(40.0) });
        assert_eq!(g.zone(), Zone::Hot);
    }
}
