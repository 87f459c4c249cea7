//! What a reload changes: what can take effect at once, and what waits for a restart.

use super::Settings;

/// The difference between the settings in force and those just read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Sections that take effect at once.
    pub live: Vec<&'static str>,
    /// Sections that need a restart.
    pub restart: Vec<&'static str>,
}

impl Changes {
    /// Compares section by section.
    pub fn between(old: &Settings, new: &Settings) -> Changes {
        let mut changes = Changes::default();
        let mut note = |changed: bool, live: bool, what| {
            if changed {
                if live { changes.live.push(what) } else { changes.restart.push(what) }
            }
        };
        note(old.thermal.limit_celsius != new.thermal.limit_celsius, true, "thermal.limit_celsius");
        note(old.thermal.interval != new.thermal.interval, true, "thermal.interval_ms");
        note(old.thermal.mode != new.thermal.mode, true, "thermal.mode");
        note(old.thermal.root != new.thermal.root, false, "thermal.root");
        note(old.models.pinned != new.models.pinned, true, "models.pinned");
        note(models_but_pinned(old) != models_but_pinned(new), false, "models");
        note(old.node != new.node, false, "node.name");
        note(old.runtime_directory != new.runtime_directory, false, "node.runtime_directory");
        note(old.state_directory != new.state_directory, false, "node.state_directory");
        note(old.mqtt != new.mqtt, false, "mqtt");
        note(old.dbus != new.dbus, false, "dbus");
        note(old.limits != new.limits, false, "limits");
        changes
    }
}

fn models_but_pinned(settings: &Settings) -> super::Models {
    super::Models { pinned: Vec::new(), ..settings.models.clone() }
}
