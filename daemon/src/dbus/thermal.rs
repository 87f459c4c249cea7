//! The thermal interface: how hot the board is and will be, how near its limit, and what that costs.

use super::Link;
use super::error::CallError;
use super::options::Options;
use crate::thermal::{Celsius, Heat, Mode};
use hearth_api::Fault;
use std::sync::Arc;
use zbus::Connection;
use zbus::message::Header;
use zbus::object_server::SignalEmitter;

/// The furthest ahead that can be asked for, in seconds.
const FURTHEST: u32 = 300;
/// A temperature is told again once it has moved by so much, in K; so is what is forecast from it.
const TOLD_STEP: f64 = 1.0;

/// Heat on the bus.
pub(super) struct Thermal {
    link: Arc<Link>,
    heat: tokio::sync::watch::Receiver<Heat>,
}

impl Thermal {
    /// On this connection.
    pub(super) fn new(link: Arc<Link>) -> Thermal {
        let heat = link.door.monitor.watch();
        Thermal { link, heat }
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
            self.forecast_changed(emitter).await?;
            self.limit_in_changed(emitter).await?;
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
            mode => mode_changed,
            cool_celsius => cool_temperature_changed,
            degraded => performance_degraded_changed,
            threads => threads_changed,
            batch => batch_changed,
            clock => clock_changed,
            admit => admit_changed,
            fan_step => fan_step_changed,
            firmware_throttling => firmware_throttling_changed,
        }
        // The reason quotes the temperature: it is told with it, or with what it is the reason of.
        if moved || now.decision() != told.decision() {
            self.reason_changed(emitter).await?;
            self.cores_changed(emitter).await?;
        }
        Ok(Heat { temperature_celsius: told.temperature_celsius, ..now })
    }
}

fn celsius(temperature: Option<Celsius>) -> f64 {
    temperature.map_or(f64::NAN, |t| t.0)
}

/// How hot the board is, how near its limit, and what that costs.
#[zbus::interface(name = "org.hearthd.Inference1.Thermal")]
impl Thermal {
    /// How near the limit the board will be so many seconds (0 to 300) ahead if the load stays as it is, as Android's thermal
    /// headroom: 1.0 is at the limit, 0.0 is 30 K or more below it; NaN without a sensor.
    #[zbus(out_args("headroom"))]
    async fn get_headroom(&self, seconds: u32) -> Result<f64, CallError> {
        if seconds > FURTHEST {
            return Err(Fault::bad_request(format!("{seconds} seconds are too far ahead; 0 to {FURTHEST} can be asked for")).into());
        }
        Ok(self.read(|heat| heat.headroom(seconds)).unwrap_or(f64::NAN))
    }

    /// What the board is to be like from now on: performance, balanced, quiet, or cool with the option celsius (d). Until the
    /// daemon ends or its configuration names another. Takes the right to manage models.
    async fn set_mode(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        mode: String,
        options: Options,
    ) -> Result<(), CallError> {
        self.link.authorise(connection, &header).await?;
        let mode = match (mode.as_str(), options.into_celsius()?) {
            ("cool", Some(at)) => format!("cool:{at}"),
            ("cool", None) => return Err(Fault::bad_request("mode cool takes the option celsius: no hotter than that").into()),
            (_, Some(_)) => return Err(Fault::bad_request("the option celsius goes with mode cool").into()),
            _ => mode,
        };
        self.link.door.monitor.set_mode(mode.parse::<Mode>().map_err(Fault::bad_request)?);
        Ok(())
    }

    /// The thermal history, read-only: files of JSON lines, the older first, of which hearthctl thermal report draws a picture.
    /// None where nothing could be written.
    #[zbus(out_args("files"))]
    async fn open_history(&self) -> Result<Vec<zbus::OwnedFd>, CallError> {
        let files = self.link.door.monitor.history().clone();
        let opened = tokio::task::spawn_blocking(move || files.descriptors()).await;
        let unreadable = |reason: String| Fault::internal(format!("the thermal history cannot be read: {reason}"));
        let descriptors = opened.map_err(|error| unreadable(error.to_string()))?.map_err(|error| unreadable(error.to_string()))?;
        Ok(descriptors.into_iter().map(zbus::OwnedFd::from).collect())
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

    /// performance, balanced, cool or quiet.
    #[zbus(property)]
    fn mode(&self) -> String {
        self.read(|heat| heat.mode.as_str().to_owned())
    }

    /// Degrees Celsius that mode cool keeps to; NaN in the other modes.
    #[zbus(property)]
    fn cool_temperature(&self) -> f64 {
        celsius(self.read(|heat| heat.cool_celsius))
    }

    /// What comes if the load stays as it is: seconds ahead (10, 60, 300), degrees Celsius, how far that may be off (one sigma,
    /// in K), headroom. Empty without a sensor. Told with the temperature.
    #[zbus(property)]
    fn forecast(&self) -> Vec<(u32, f64, f64, f64)> {
        let whole = |after: std::time::Duration| u32::try_from(after.as_secs()).unwrap_or(u32::MAX);
        self.read(|heat| heat.told().map(|e| (whole(e.after), e.temperature.0, e.error, e.headroom)).collect())
    }

    /// Seconds until the limit is reached if the load stays as it is; NaN if not within 900.
    #[zbus(property)]
    fn limit_in(&self) -> f64 {
        self.read(|heat| heat.limit_in_seconds).unwrap_or(f64::NAN)
    }

    /// Most threads that a step may use.
    #[zbus(property)]
    fn threads(&self) -> u32 {
        self.read(|heat| heat.threads)
    }

    /// Mean busy cores that may be spent. Told with the decisions.
    #[zbus(property)]
    fn cores(&self) -> f64 {
        self.read(|heat| heat.cores)
    }

    /// Most requests that a step may hold; 0 is no bound.
    #[zbus(property)]
    fn batch(&self) -> u32 {
        self.read(|heat| heat.batch)
    }

    /// Cap of the clock, as a share of the top one; 1 is none.
    #[zbus(property)]
    fn clock(&self) -> f64 {
        self.read(|heat| heat.clock)
    }

    /// The lowest priority that is admitted: background, normal or high.
    #[zbus(property)]
    fn admit(&self) -> String {
        self.read(|heat| heat.admit.as_str().to_owned())
    }

    /// Mean busy cores of the whole machine since the last look. Changes without a signal.
    #[zbus(property(emits_changed_signal = "false"))]
    fn busy(&self) -> f64 {
        self.read(|heat| heat.busy)
    }

    /// The fan's step, 0 is off; -1 where there is no fan to be seen.
    #[zbus(property)]
    fn fan_step(&self) -> i32 {
        self.read(|heat| heat.fan_step).map_or(-1, |step| i32::try_from(step).unwrap_or(i32::MAX))
    }

    /// Degrees Celsius at which the fan goes one step up.
    #[zbus(property(emits_changed_signal = "const"))]
    fn fan_trips(&self) -> Vec<f64> {
        self.read(|heat| heat.fan_trips.iter().map(|at| at.0).collect())
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
