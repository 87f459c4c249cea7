//! From a merged fragment to settings: defaults filled in, every value within its bounds.

use super::fragments::{self, Fragment};
use super::{Broker, Bus, ConfigError, Limits, Models, Mqtt, Secret, Settings, Thermal, Tls};
use hearth_api::ModelName;
use hearth_api::topics::{NodeName, Topics};
use std::path::{Path, PathBuf};
use std::time::Duration;

const MEBIBYTE: u64 = 1 << 20;
/// Requests in flight from the broker beyond those admitted: room to read on, refuse and reorder. Acknowledgements leave in
/// order, so behind a slow request this many may stand that were answered; each is a packet id by then, not a payload.
const WINDOW_MARGIN: usize = 4096;
/// Topic, properties and framing around a payload.
const PACKET_OVERHEAD: usize = 64 * 1024;

fn wrong(key: &'static str, value: impl ToString, reason: impl Into<String>) -> ConfigError {
    ConfigError::Value { key, value: value.to_string(), reason: reason.into() }
}

/// A number within bounds, or the default.
fn bounded<T: PartialOrd + Copy + ToString>(key: &'static str, value: Option<T>, default: T, low: T, high: T) -> Result<T, ConfigError> {
    let value = value.unwrap_or(default);
    if value < low || value > high {
        return Err(wrong(key, value, format!("must be from {} to {}", low.to_string(), high.to_string())));
    }
    Ok(value)
}

/// Checks a fragment and fills in the defaults.
pub fn settings(fragment: &Fragment) -> Result<Settings, ConfigError> {
    let node = match &fragment.node.name {
        Some(name) => NodeName::new(name).map_err(|f| wrong("node.name", name, f.message))?,
        None => host_name(),
    };
    let limits = limits(&fragment.limits)?;
    let state_directory = fragment.node.state_directory.clone().unwrap_or_else(state_directory);
    Ok(Settings {
        mqtt: fragment.mqtt.as_ref().map(|m| mqtt(m, &node, &limits)).transpose()?,
        dbus: bus(&fragment.dbus)?,
        models: models(&fragment.models, &state_directory)?,
        thermal: thermal(&fragment.thermal)?,
        runtime_directory: fragment.node.runtime_directory.clone().unwrap_or_else(runtime_directory),
        state_directory,
        node,
        limits,
    })
}

/// The host's name, what a topic cannot hold replaced by hyphens.
fn host_name() -> NodeName {
    let name = sysinfo::System::host_name().unwrap_or_default();
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' }).take(64).collect();
    NodeName::new(name).unwrap_or_else(|_| NodeName::new("board").expect("a literal that fits"))
}

fn runtime_directory() -> PathBuf {
    // systemd names it; a start by hand keeps to the user's own.
    ["RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"].iter().find_map(std::env::var_os).map_or_else(std::env::temp_dir, PathBuf::from)
}

fn state_directory() -> PathBuf {
    std::env::var_os("STATE_DIRECTORY").map_or_else(|| PathBuf::from("/var/lib/hearth"), PathBuf::from)
}

fn limits(raw: &fragments::Limits) -> Result<Limits, ConfigError> {
    let queue_requests = bounded("limits.queue_requests", raw.queue_requests, 512, 1, 60_000)?;
    let queue_bytes = bounded("limits.queue_mb", raw.queue_mb, 64, 1, 65_536)? * MEBIBYTE;
    let payload_bytes = bounded("limits.payload_kb", raw.payload_kb, 8 * 1024, 1, 256 * 1024)? * 1024;
    if payload_bytes > queue_bytes {
        return Err(wrong("limits.payload_kb", payload_bytes / 1024, "one payload would not fit into limits.queue_mb"));
    }
    let per_model = bounded("limits.queue_requests_per_model", raw.queue_requests_per_model, queue_requests * 3 / 4 + 1, 1, 60_000)?;
    let to_usize = |bytes: u64| usize::try_from(bytes).map_err(|_| wrong("limits", bytes, "is more than this machine can address"));
    Ok(Limits {
        queue_requests,
        queue_requests_per_model: per_model.min(queue_requests),
        queue_bytes: to_usize(queue_bytes)?,
        payload_bytes: to_usize(payload_bytes)?,
        default_timeout: Duration::from_millis(bounded("limits.default_timeout_ms", raw.default_timeout_ms, 20_000, 1, 86_400_000)?),
        chat_timeout: Duration::from_millis(bounded("limits.chat_timeout_ms", raw.chat_timeout_ms, 600_000, 1, 86_400_000)?),
        threads: raw.threads.map(|n| bounded("limits.threads", Some(n), n, 1, 256)).transpose()?,
        shutdown: Duration::from_secs(bounded("limits.shutdown_seconds", raw.shutdown_seconds, 5, 0, 300)?),
    })
}

fn mqtt(raw: &fragments::Mqtt, node: &NodeName, limits: &Limits) -> Result<Mqtt, ConfigError> {
    let response_topics = match &raw.response_topics {
        Some(patterns) => patterns.iter().map(|p| filter(p)).collect::<Result<_, _>>()?,
        None => Topics::new(node.clone()).default_response_patterns(),
    };
    let groups = raw.groups.iter().flatten().map(|g| NodeName::new(g).map_err(|f| wrong("mqtt.groups", g, f.message)));
    let window = limits.queue_requests + WINDOW_MARGIN;
    Ok(Mqtt {
        broker: broker(raw)?,
        response_topics,
        groups: groups.collect::<Result<_, _>>()?,
        receive_maximum: u16::try_from(window).unwrap_or(u16::MAX),
        max_packet_bytes: u32::try_from(limits.payload_bytes + PACKET_OVERHEAD).unwrap_or(u32::MAX),
        keep_alive: Duration::from_secs(bounded("mqtt.keep_alive_seconds", raw.keep_alive_seconds, 30, 5, 3600)?),
    })
}

/// A topic filter as MQTT 5 section 4.7.1 wants it.
fn filter(pattern: &str) -> Result<String, ConfigError> {
    let levels: Vec<&str> = pattern.split('/').collect();
    let well_formed = !pattern.is_empty()
        && levels.iter().enumerate().all(|(i, level)| {
            let alone = level.len() == 1;
            (!level.contains('+') || alone) && (!level.contains('#') || (alone && i + 1 == levels.len()))
        });
    if well_formed {
        return Ok(pattern.to_owned());
    }
    Err(wrong("mqtt.response_topics", pattern, "is no topic filter: + and # stand alone in a level, # in the last"))
}

fn broker(raw: &fragments::Mqtt) -> Result<Broker, ConfigError> {
    let url = raw.url.as_deref().unwrap_or("mqtt://localhost:1883");
    let form = "must look like mqtt://host:1883, or mqtts://host:8883 for TLS";
    let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("mqtt.url", url, form))?;
    let secure = match scheme {
        "mqtt" => false,
        "mqtts" => true,
        _ => return Err(wrong("mqtt.url", url, form)),
    };
    if rest.contains('@') {
        return Err(wrong("mqtt.url", format!("{scheme}://..."), "user and password belong into mqtt.username and mqtt.password_file"));
    }
    let authority = rest.trim_end_matches('/');
    let (host, port) = match authority.rsplit_once(':') {
        // A bare IPv6 address has colons of its own.
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, port.parse().map_err(|_| wrong("mqtt.url", url, format!("{port:?} is no port; it {form}")))?)
        }
        _ => (authority, if secure { 8883 } else { 1883 }),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() || host.contains('/') {
        return Err(wrong("mqtt.url", url, form));
    }
    let tls = match (secure, &raw.ca_file, &raw.certificate_file, &raw.key_file) {
        (true, Some(ca), certificate, key) => Some(Tls {
            ca_file: ca.clone(),
            identity: match (certificate, key) {
                (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
                (None, None) => None,
                _ => return Err(wrong("mqtt.certificate_file", "", "mqtt.certificate_file and mqtt.key_file go together")),
            },
        }),
        (true, None, ..) => {
            return Err(wrong("mqtt.ca_file", "", "mqtts:// needs the PEM file of the authority that signed the broker's certificate"));
        }
        (false, None, None, None) => None,
        (false, ..) => return Err(wrong("mqtt.url", url, "certificates are configured, so the URL must begin with mqtts://")),
    };
    Ok(Broker { host: host.to_owned(), port, login: login(raw)?, tls })
}

/// The password comes from its file, or from systemd's credential `mqtt-password`.
fn login(raw: &fragments::Mqtt) -> Result<Option<(String, Secret)>, ConfigError> {
    let credential = std::env::var_os("CREDENTIALS_DIRECTORY").map(|d| Path::new(&d).join("mqtt-password")).filter(|f| f.exists());
    let Some(user) = &raw.username else {
        return match &raw.password_file {
            Some(file) => Err(wrong("mqtt.password_file", file.display(), "needs mqtt.username beside it")),
            None => Ok(None),
        };
    };
    let Some(file) = raw.password_file.clone().or(credential) else {
        return Err(wrong("mqtt.username", user, "needs mqtt.password_file, or a systemd credential called mqtt-password"));
    };
    let password = std::fs::read_to_string(&file).map_err(|source| ConfigError::Unreadable { file, source })?;
    Ok(Some((user.clone(), Secret(password.trim_end_matches(['\r', '\n']).to_owned()))))
}

fn bus(raw: &fragments::Bus) -> Result<Option<Bus>, ConfigError> {
    Ok(match raw.bus.as_deref().unwrap_or("system") {
        "none" => None,
        "system" => Some(Bus::System),
        "session" => Some(Bus::Session),
        other => Some(match (other.strip_prefix("peer:"), other.contains('=')) {
            (Some(path), _) if path.starts_with('/') => Bus::Peer(path.into()),
            (None, true) => Bus::Address(other.to_owned()),
            _ => {
                return Err(wrong(
                    "dbus.bus",
                    other,
                    "must be system, session, none, an address such as unix:path=/run/bus, or peer:/path/of/a/socket",
                ));
            }
        }),
    })
}

fn models(raw: &fragments::Models, state_directory: &Path) -> Result<Models, ConfigError> {
    let names = |key, names: &Option<Vec<String>>| {
        names.iter().flatten().map(|n| ModelName::new(n).map_err(|f| wrong(key, n, f.message))).collect::<Result<Vec<_>, _>>()
    };
    Ok(Models {
        directory: raw.directory.clone().unwrap_or_else(|| state_directory.join("models")),
        memory_bytes: raw.memory_mb.map(|m| bounded("models.memory_mb", Some(m), m, 1, 1 << 24)).transpose()?.map(|m| m * MEBIBYTE),
        pinned: names("models.pinned", &raw.pinned)?,
        overcommit: names("models.overcommit", &raw.overcommit)?,
        preload: raw.preload.unwrap_or(true),
        idle_unload: raw
            .idle_unload_minutes
            .map(|m| bounded("models.idle_unload_minutes", Some(m), m, 1, 525_600))
            .transpose()?
            .map(|m| Duration::from_secs(m * 60)),
        check_memory_bytes: bounded("models.check_memory_mb", raw.check_memory_mb, 2048, 64, 1 << 20)? * MEBIBYTE,
        check_timeout: Duration::from_secs(bounded("models.check_timeout_seconds", raw.check_timeout_seconds, 120, 1, 3600)?),
    })
}

fn thermal(raw: &fragments::Thermal) -> Result<Thermal, ConfigError> {
    let limit_celsius = raw.limit_celsius.map(|l| bounded("thermal.limit_celsius", Some(l), l, 30.0, 110.0)).transpose()?;
    Ok(Thermal {
        root: raw.root.clone().unwrap_or_else(|| "/".into()),
        limit_celsius,
        interval: Duration::from_millis(bounded("thermal.interval_ms", raw.interval_ms, 1000, 50, 60_000)?),
        mode: raw.mode.as_ref().map(|mode| mode.parse().map_err(|why: String| wrong("thermal.mode", mode, why))).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, String> {
        let fragment = toml::from_str(text).map_err(|e| e.to_string())?;
        settings(&fragment).map_err(|e| e.to_string())
    }

    #[test]
    fn an_empty_file_is_a_configuration() {
        let s = parse("").unwrap();
        assert!(s.mqtt.is_none());
        assert_eq!(s.dbus, Some(Bus::System));
        assert_eq!(s.limits.default_timeout, Duration::from_secs(20));
        assert_eq!(s.limits.chat_timeout, Duration::from_secs(600));
    }

    #[test]
    fn the_window_exceeds_the_admission_bound() {
        let s = parse("[mqtt]\n[limits]\nqueue_requests = 100\n").unwrap();
        assert!(usize::from(s.mqtt.unwrap().receive_maximum) > s.limits.queue_requests);
    }

    #[test]
    fn a_broker_is_read_from_its_url() {
        let of = |url: &str| parse(&format!("[mqtt]\nurl = \"{url}\"\nca_file = \"/ca.pem\"\n")).map(|s| s.mqtt.unwrap().broker);
        let broker = of("mqtts://[fe80::1]:1234").unwrap();
        assert_eq!((broker.host.as_str(), broker.port), ("fe80::1", 1234));
        assert_eq!(of("mqtts://broker").unwrap().port, 8883);
        for (url, says) in [
            ("broker", "must look like"),
            ("http://x", "must look like"),
            ("mqtts://u:p@x", "mqtt.username"),
            ("mqtt://x", "mqtts://"),
            ("mqtts://x:y", "no port"),
        ] {
            assert!(of(url).unwrap_err().contains(says), "{url}");
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_named() {
        for (text, says) in [
            ("[limits]\nqueue_requests = 0", "limits.queue_requests = 0: must be from 1 to 60000"),
            ("[node]\nname = \"a/b\"", "node.name"),
            ("[mqtt]\nkeep_alive_seconds = 4", "mqtt.keep_alive_seconds"),
            ("[mqtt]\nresponse_topics = [\"a/#/b\"]", "# in the last"),
            ("[mqtt]\nusername = \"u\"", "mqtt.password_file"),
            ("[dbus]\nbus = \"sytem\"", "must be system"),
            ("[thermal]\nlimit_celsius = 300.0", "thermal.limit_celsius"),
            ("[thermal]\nmode = \"cool\"", "cool:60"),
            ("[nod]\nname = \"x\"", "unknown field `nod`"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_drop_in_overrides_the_file_and_keeps_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hearthd.toml");
        std::fs::write(&file, "[node]\nname = \"a\"\n[limits]\nqueue_requests = 7\n").unwrap();
        std::fs::create_dir(dir.path().join("hearthd.toml.d")).unwrap();
        std::fs::write(dir.path().join("hearthd.toml.d/10-name.toml"), "[node]\nname = \"b\"\n").unwrap();
        let s = settings(&super::super::read(&file).unwrap()).unwrap();
        assert_eq!((s.node.as_str(), s.limits.queue_requests), ("b", 7));
        std::fs::write(dir.path().join("hearthd.toml.d/20-bad.toml"), "[limits]\nqueue_request = 7\n").unwrap();
        let error = super::super::read(&file).unwrap_err().to_string();
        assert!(error.contains("20-bad.toml") && error.contains("queue_request"), "{error}");
    }
}
