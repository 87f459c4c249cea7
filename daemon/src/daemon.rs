//! The parts put together: engine, heat, doors; started in order, stopped in the other.

use crate::config::{Changes, Settings};
use crate::engine::Engine;
use crate::thermal::{self, Monitor};
use crate::{dbus, mqtt, service};
use hearth_api::topics::Topics;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long the bus may take to let us in before we are ready without it.
const GREETING: Duration = Duration::from_secs(2);
/// How long the doors may take to say good-bye once the engine has stopped.
const FAREWELL: Duration = Duration::from_secs(2);

/// A running daemon.
pub struct Daemon {
    settings: Settings,
    engine: Engine,
    monitor: Monitor,
    doors: TaskTracker,
    /// The MQTT door takes nothing more, and tells that the node is offline.
    leaving: CancellationToken,
    /// Everything else ends.
    shutdown: CancellationToken,
}

impl Daemon {
    /// Starts everything. A broker or bus that cannot be reached is no reason to fail: the doors try again.
    pub async fn start(settings: Settings) -> anyhow::Result<Daemon> {
        if settings.mqtt.is_none() && settings.dbus.is_none() {
            anyhow::bail!("neither [mqtt] nor [dbus] is configured: nobody could reach this daemon");
        }
        let (leaving, shutdown) = (CancellationToken::new(), CancellationToken::new());
        let doors = TaskTracker::new();
        let engine = Engine::start(&settings)?;
        let governed = engine.clone();
        let (monitor, watch_heat) = thermal::start(&settings, engine.watch(), move |budget| governed.set_budget(budget), shutdown.clone());
        doors.spawn(watch_heat);
        doors.spawn(service::watchdog(engine.clone(), shutdown.clone()));
        if let Some(door) = &settings.mqtt {
            let (tell, status) = watch::channel(mqtt::Status::default());
            let topics = Topics::new(settings.node.clone());
            let door = mqtt::serve(door.clone(), topics, settings.limits.clone(), engine.clone(), monitor.watch(), tell, leaving.clone());
            doors.spawn(async move {
                if let Err(error) = door.await {
                    tracing::error!("MQTT is not served: {error}");
                }
            });
            doors.spawn(service::follow(status));
        }
        if let Some(bus) = &settings.dbus {
            let tried = CancellationToken::new();
            doors.spawn(dbus::serve(bus.clone(), settings.clone(), engine.clone(), monitor.clone(), tried.clone(), shutdown.clone()));
            // Whoever starts after us finds our name. A bus that hangs keeps nobody waiting.
            if tokio::time::timeout(GREETING, tried.cancelled()).await.is_err() {
                tracing::warn!("the bus has not answered within {GREETING:?}; it is tried on");
            }
        }
        Ok(Daemon { settings, engine, monitor, doors, leaving, shutdown })
    }

    /// The engine, for those in the same process.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The heat, for those in the same process.
    pub fn monitor(&self) -> &Monitor {
        &self.monitor
    }

    /// Applies what can change while running, and says what cannot.
    pub async fn reload(&mut self, new: Settings) {
        let changes = Changes::between(&self.settings, &new);
        self.monitor.tune(&new.thermal);
        self.engine.set_pinned(&new.models.pinned);
        self.engine.rescan().await;
        let list = |sections: &[&str]| if sections.is_empty() { "nothing".to_owned() } else { sections.join(", ") };
        tracing::info!("reloaded; the store was read again; changed: {}", list(&changes.live));
        if !changes.restart.is_empty() {
            tracing::warn!("these changes wait for a restart: {}", list(&changes.restart));
        }
        // What waits for a restart stays as it is, so that the next reload names it again.
        self.settings.thermal.limit_celsius = new.thermal.limit_celsius;
        self.settings.thermal.interval = new.thermal.interval;
        self.settings.thermal.mode = new.thermal.mode;
        self.settings.models.pinned = new.models.pinned;
    }

    /// Admits nothing more, finishes or hands back what there is, lets the doors say good-bye.
    pub async fn stop(self) {
        self.leaving.cancel();
        self.engine.shutdown(self.settings.limits.shutdown).await;
        self.shutdown.cancel();
        self.doors.close();
        if tokio::time::timeout(FAREWELL, self.doors.wait()).await.is_err() {
            tracing::warn!("a door did not close within {FAREWELL:?}");
        }
    }
}
