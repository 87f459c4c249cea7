//! The thermal interface: the board's heat, its forecast, and what the board is to be like.

use crate::client::{Options, fault, home, proxy, wait_for_name};
use hearth_api::dbus::{MANAGER_PATH, THERMAL_INTERFACE};
use hearth_tests::bus::{Bus, repository};
use hearth_tests::daemon::{Hearthd, Home};
use rustix::process::Signal;
use std::time::{Duration, Instant};
use zbus::{Proxy, Variant};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A daemon on a copy of the captured tree of a board.
pub(crate) async fn stage(board: &str) -> anyhow::Result<(Bus, Home, Hearthd)> {
    let (bus, home) = (Bus::start()?, home()?);
    let root = home.path("board");
    let copied = std::process::Command::new("cp").arg("-r").arg(repository("tests/boards").join(board)).arg(&root).status()?;
    anyhow::ensure!(copied.success());
    let daemon = start(&bus, &home)?;
    wait_for_name(&bus.connect().await?).await?;
    Ok((bus, home, daemon))
}

pub(crate) fn start(bus: &Bus, home: &Home) -> anyhow::Result<Hearthd> {
    let root = home.path("board");
    home.start(&format!("preload = false\n[dbus]\nbus = {:?}\n[thermal]\nroot = {root:?}\ninterval_ms = 50\n", bus.address()))
}

/// Waits until a property is as it should be.
async fn until<T>(thermal: &Proxy<'_>, property: &str, enough: impl Fn(&T) -> bool) -> anyhow::Result<T>
where
    T: serde::de::DeserializeOwned + zbus::Type + std::fmt::Debug,
{
    let begin = Instant::now();
    loop {
        let value: T = thermal.get_property(property).await?;
        if enough(&value) {
            return Ok(value);
        }
        anyhow::ensure!(begin.elapsed() < PATIENCE, "{property} stays {value:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn heat_and_its_forecast_can_be_asked_for() -> anyhow::Result<()> {
    let (bus, _home, _daemon) = stage("pi5").await?;
    let client = bus.connect().await?;
    let thermal = proxy(&client, MANAGER_PATH, THERMAL_INTERFACE).await?;
    let (temperature, limit): (f64, f64) = (thermal.get_property("Temperature").await?, thermal.get_property("Limit").await?);
    assert_eq!((temperature, limit), (52.35, 80.0));
    assert!(thermal.get_property::<String>("LimitRule").await?.contains("Raspberry Pi 5"));
    assert_eq!(thermal.get_property::<i32>("FanStep").await?, 1);
    assert_eq!(thermal.get_property::<Vec<f64>>("FanTrips").await?, [50.0, 60.0, 67.5, 75.0]);
    let forecast: Vec<(u32, f64, f64, f64)> = until(&thermal, "Forecast", |forecast: &Vec<_>| !forecast.is_empty()).await?;
    assert_eq!(forecast.iter().map(|(after, ..)| *after).collect::<Vec<_>>(), [10, 60, 300]);
    for (_, at, error, headroom) in &forecast {
        assert!((20.0..80.0).contains(at) && *error > 0.0 && (0.0..1.0).contains(headroom), "{forecast:?}");
    }
    // What is further away is less sure.
    assert!(forecast[2].2 > forecast[0].2, "{forecast:?}");
    let headroom: f64 = thermal.call("GetHeadroom", &(60u32,)).await?;
    assert!((headroom - forecast[1].3).abs() < 0.1, "{headroom} {forecast:?}");
    let (name, message, _) = fault(thermal.call::<_, _, f64>("GetHeadroom", &(301u32,)).await);
    assert_eq!((name.as_str(), message.contains("0 to 300")), ("BadRequest", true), "{message}");
    Ok(())
}

#[tokio::test]
async fn a_mode_can_be_asked_for() -> anyhow::Result<()> {
    let (bus, home, daemon) = stage("pi5").await?;
    let client = bus.connect().await?;
    let thermal = proxy(&client, MANAGER_PATH, THERMAL_INTERFACE).await?;
    let set = async |mode: &str, celsius: Option<f64>| {
        let options: Options<'_> = celsius.map(|at| ("celsius", Variant::from(at))).into_iter().collect();
        thermal.call::<_, _, ()>("SetMode", &(mode, options)).await
    };
    assert_eq!(thermal.get_property::<String>("Mode").await?, "balanced");
    set("cool", Some(45.0)).await?;
    until(&thermal, "CoolTemperature", |at: &f64| *at == 45.0).await?;
    assert_eq!(thermal.get_property::<String>("Mode").await?, "cool");
    // The board is at 52 degrees: it has to become cooler.
    until(&thermal, "Cores", |cores: &f64| *cores < 0.5).await?;
    for (mode, celsius, says) in [
        ("cold", None, "performance, balanced, quiet"),
        ("cool", None, "celsius"),
        ("quiet", Some(50.0), "cool"),
        ("cool", Some(300.0), "300"),
    ] {
        let (kind, message, _) = fault(set(mode, celsius).await);
        assert_eq!((kind.as_str(), message.contains(says)), ("BadRequest", true), "{message}");
    }
    // A mode that the configuration names instead counts again after a reload.
    let file = home.path("hearthd.toml");
    let configuration = std::fs::read_to_string(&file)? + "mode = \"quiet\"\n";
    std::fs::write(&file, configuration)?;
    daemon.signal(Signal::HUP)?;
    until(&thermal, "Mode", |mode: &String| mode == "quiet").await?;
    Ok(())
}

/// Stands in for power-profiles-daemon.
struct Profiles(&'static str);

#[zbus::interface(name = "net.hadess.PowerProfiles")]
impl Profiles {
    #[zbus(property)]
    fn active_profile(&self) -> String {
        self.0.to_owned()
    }
}

#[tokio::test]
async fn the_power_profile_counts_until_somebody_says_otherwise() -> anyhow::Result<()> {
    let (bus, _home, _daemon) = stage("pi5").await?;
    let client = bus.connect().await?;
    let thermal = proxy(&client, MANAGER_PATH, THERMAL_INTERFACE).await?;
    let profiles = zbus::connection::Builder::address(bus.address().as_str())
        .serve_at("/net/hadess/PowerProfiles", Profiles("power-saver"))
        .name("net.hadess.PowerProfiles")
        .build()
        .await?;
    until(&thermal, "Mode", |mode: &String| mode == "quiet").await?;
    let service = profiles.object_server().interface::<_, Profiles>("/net/hadess/PowerProfiles").await?;
    service.get_mut().await.0 = "performance";
    service.get().await.active_profile_changed(service.signal_emitter()).await?;
    until(&thermal, "Mode", |mode: &String| mode == "performance").await?;
    profiles.close().await?;
    until(&thermal, "Mode", |mode: &String| mode == "balanced").await?;
    Ok(())
}

#[tokio::test]
async fn what_was_learnt_outlives_the_daemon() -> anyhow::Result<()> {
    let (bus, home, mut daemon) = stage("pi4").await?;
    let client = bus.connect().await?;
    daemon.signal(Signal::TERM)?;
    daemon.wait()?;
    let learnt: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(home.path("thermal.json"))?)?;
    assert!(learnt["version"].is_u64(), "{learnt}");
    // One that cannot be used is no reason not to start.
    std::fs::write(home.path("thermal.json"), "{")?;
    let _daemon = start(&bus, &home)?;
    wait_for_name(&client).await?;
    Ok(())
}

#[tokio::test]
async fn a_sensor_that_goes_away_is_heat_and_said_aloud() -> anyhow::Result<()> {
    let (bus, home, _daemon) = stage("pi4").await?;
    let client = bus.connect().await?;
    let thermal = proxy(&client, MANAGER_PATH, THERMAL_INTERFACE).await?;
    assert_eq!(thermal.get_property::<String>("PerformanceDegraded").await?, "");
    std::fs::remove_file(home.path("board/sys/class/thermal/thermal_zone0/temp"))?;
    until(&thermal, "Temperature", |at: &f64| at.is_nan()).await?;
    until(&thermal, "PerformanceDegraded", |word: &String| word == "high-operating-temperature").await?;
    let reason: String = thermal.get_property("Reason").await?;
    assert!(reason.contains("cannot be read"), "{reason}");
    Ok(())
}
