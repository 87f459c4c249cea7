//! The thermal interface: how hot the board is, how near its limit, and what that costs.

use super::error::CallError;
use crate::thermal::{Celsius, Heat};
use hearth_api::Fault;
use tokio::sync::watch;
use zbus::object_server::SignalEmitter;

/// Kelvin below the limit at which the headroom is 0, as in Android's `ThermalManagerService`
/// (`DEGREES_BETWEEN_ZERO_AND_ONE`).
const HEADROOM_SPAN: f64 = 30.0;
/// The furthest ahead that can be asked for, in seconds, as in Android's `PowerManager.getThermalHeadroom`.
const FURTHEST: u32 = 60;
/// A temperature is told again once it has moved by so much, in Kelvin.
const TOLD_STEP: f64 = 1.0;

/// Heat on the bus.
pub(super) struct Thermal {
    heat: watch::Receiver<Heat>,
}

impl Thermal {
    /// Follows this heat.
    pub(super) fn new(heat: watch::Receiver<Heat>) -> Thermal {
        Thermal { heat }
    }

    fn read<T>(&self, read: impl FnOnce(&Heat) -> T) -> T {
        read(&self.heat.borrow())
    }

    /// Tells of what differs between what was `told` and now; returns what has been told since.
    pub(super) async fn tell_changes(&self, mut told: Heat, emitter: &SignalEmitter<'_>) -> zbus::Result<Heat> {
        let now = self.read(Clone::clone);
        let moved = match (told.temperature_celsius, now.temperature_celsius) {
            (Some(before), Some(after)) => (after.0 - before.0).abs() >= TOLD_STEP,
            (before, after) => before.is_some() != after.is_some(),
        };
        if moved {
            self.temperature_changed(emitter).await?;
            told.temperature_celsius = now.temperature_celsius;
        }
        macro_rules! tell {
            ($($field:ident => $changed:ident),* $(,)?) => {
                $(if told.$field != now.$field {
                    self.$changed(emitter).await?;
                })*
            };
        }
        tell! {
            limit_celsius => limit_changed,
            limit_rule => limit_rule_changed,
            sensor => sensor_changed,
            zone => zone_changed,
            degraded => performance_degraded_changed,
            firmware_throttling => firmware_throttling_changed,
        }
        // The reason quotes the temperature: it is told with it, or with what it is the reason of.
        if moved || told.zone != now.zone {
            self.reason_changed(emitter).await?;
        }
        Ok(Heat { temperature_celsius: told.temperature_celsius, ..now })
    }
}

/// Share of the way from 30 K below the limit to the limit; over 1 it is crossed.
fn headroom(temperature: Celsius, limit: Celsius) -> f64 {
    ((temperature.0 - (limit.0 - HEADROOM_SPAN)) / HEADROOM_SPAN).max(0.0)
}

fn celsius(temperature: Option<Celsius>) -> f64 {
    temperature.map_or(f64::NAN, |t| t.0)
}

/// How hot the board is, how near its limit, and what that costs.
#[zbus::interface(name = "org.hearthd.Inference1.Thermal")]
impl Thermal {
    /// How near the limit the board will be so many seconds (0 to 60) ahead, as Android's thermal headroom: 1.0 is at the
    /// limit, 0.0 is 30 K or more below it; NaN without a sensor. The present governor takes the present temperature for
    /// that of every second ahead.
    #[zbus(out_args("headroom"))]
    async fn get_headroom(&self, seconds: u32) -> Result<f64, CallError> {
        if seconds > FURTHEST {
            return Err(Fault::bad_request(format!("{seconds} seconds are too far ahead; 0 to {FURTHEST} can be asked for")).into());
        }
        Ok(self.read(|heat| match (heat.temperature_celsius, heat.limit_celsius) {
            (Some(temperature), Some(limit)) => headroom(temperature, limit),
            _ => f64::NAN,
        }))
    }

    /// Degrees Celsius at the hottest sensor of the CPU; NaN without a sensor. Told when it has moved by 1 K.
    #[zbus(property)]
    fn temperature(&self) -> f64 {
        celsius(self.read(|heat| heat.temperature_celsius))
    }

    /// Degrees Celsius that are not to be crossed; NaN without a sensor.
    #[zbus(property)]
    fn limit(&self) -> f64 {
        celsius(self.read(|heat| heat.limit_celsius))
    }

    /// The rule that gave the limit.
    #[zbus(property)]
    fn limit_rule(&self) -> String {
        self.read(|heat| heat.limit_rule.clone())
    }

    /// The sensor; empty without one.
    #[zbus(property)]
    fn sensor(&self) -> String {
        self.read(|heat| heat.sensor.clone()).unwrap_or_default()
    }

    /// cool, warm, hot or limit.
    #[zbus(property)]
    fn zone(&self) -> String {
        self.read(|heat| heat.zone.as_str().to_owned())
    }

    /// Empty, or high-operating-temperature: the words of power-profiles-daemon.
    #[zbus(property)]
    fn performance_degraded(&self) -> String {
        self.read(|heat| heat.degraded.as_str().to_owned())
    }

    /// What the board's firmware says that it does unseen by the kernel: throttled, under-voltage and so on, now or since boot.
    #[zbus(property)]
    fn firmware_throttling(&self) -> Vec<String> {
        self.read(|heat| heat.firmware_throttling.clone())
    }

    /// The governor's reason.
    #[zbus(property)]
    fn reason(&self) -> String {
        self.read(|heat| heat.reason.clone())
    }
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
}
