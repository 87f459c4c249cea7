//! Fragments: one TOML file each, every key optional, nothing checked but its form. Merged in order, the later wins.

use serde::Deserialize;
use std::path::{Path, PathBuf};

/// What a configuration file may say.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fragment {
    pub(super) node: Node,
    pub(super) mqtt: Option<Mqtt>,
    pub(super) dbus: Bus,
    pub(super) models: Models,
    pub(super) limits: Limits,
    pub(super) thermal: Thermal,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Node {
    pub(super) name: Option<String>,
    pub(super) runtime_directory: Option<PathBuf>,
    pub(super) state_directory: Option<PathBuf>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Mqtt {
    pub(super) url: Option<String>,
    pub(super) username: Option<String>,
    pub(super) password_file: Option<PathBuf>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) certificate_file: Option<PathBuf>,
    pub(super) key_file: Option<PathBuf>,
    pub(super) response_topics: Option<Vec<String>>,
    pub(super) groups: Option<Vec<String>>,
    pub(super) keep_alive_seconds: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Bus {
    pub(super) bus: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Models {
    pub(super) directory: Option<PathBuf>,
    pub(super) memory_mb: Option<u64>,
    pub(super) preload: Option<bool>,
    pub(super) pinned: Option<Vec<String>>,
    pub(super) overcommit: Option<Vec<String>>,
    pub(super) idle_unload_minutes: Option<u64>,
    pub(super) check_memory_mb: Option<u64>,
    pub(super) check_timeout_seconds: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    pub(super) queue_requests: Option<usize>,
    pub(super) queue_requests_per_model: Option<usize>,
    pub(super) queue_mb: Option<u64>,
    pub(super) payload_kb: Option<u64>,
    pub(super) default_timeout_ms: Option<u64>,
    pub(super) chat_timeout_ms: Option<u64>,
    pub(super) threads: Option<u32>,
    pub(super) shutdown_seconds: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Thermal {
    pub(super) limit_celsius: Option<f64>,
    pub(super) interval_ms: Option<u64>,
    pub(super) mode: Option<String>,
    pub(super) root: Option<PathBuf>,
}

/// Reads a configuration file and the drop-ins beside it (`<file>.d/*.toml`, by name).
pub fn read(file: &Path) -> Result<Fragment, super::ConfigError> {
    let mut drop_ins = file.as_os_str().to_owned();
    drop_ins.push(".d");
    let mut files = vec![file.to_path_buf()];
    match std::fs::read_dir(&drop_ins) {
        Ok(entries) => {
            let mut found: Vec<PathBuf> =
                entries.filter_map(|e| Some(e.ok()?.path())).filter(|p| p.extension().is_some_and(|e| e == "toml")).collect();
            found.sort();
            files.append(&mut found);
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(source) => return Err(super::ConfigError::Unreadable { file: drop_ins.into(), source }),
    }
    let mut merged = toml::Table::new();
    for file in files {
        let text = std::fs::read_to_string(&file).map_err(|source| super::ConfigError::Unreadable { file: file.clone(), source })?;
        // Each file is held to the form by itself, so that an error names its file and line.
        let syntax = |source| super::ConfigError::Syntax { file: file.clone(), source: Box::new(source) };
        toml::from_str::<Fragment>(&text).map_err(syntax)?;
        merge(&mut merged, toml::from_str(&text).map_err(syntax)?);
    }
    merged.try_into().map_err(|source| super::ConfigError::Syntax { file: file.to_path_buf(), source: Box::new(source) })
}

fn merge(into: &mut toml::Table, from: toml::Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(toml::Value::Table(old)), toml::Value::Table(new)) => merge(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

impl Fragment {
    /// For a start without configuration: everything in `folder`, a broker to be filled in.
    pub fn stand_alone(&mut self, folder: &Path) {
        self.node.name = Some("try".into());
        self.node.runtime_directory = Some(folder.to_path_buf());
        self.node.state_directory = Some(folder.to_path_buf());
        self.models.directory = Some(folder.join("models"));
        self.mqtt = Some(Mqtt::default());
    }
}
