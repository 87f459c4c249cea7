//! A start without configuration: an embedded broker, a private bus and the bundled models, all in a folder that goes
//! when we do. For `hearthctl try` and for a first look; the packaged unit never opens it.

use crate::config::{self, Broker, Bus, Settings};
use crate::mqtt::embedded::EmbeddedBroker;
use anyhow::Context;
use hearth_models::{Source, Store, bundled};
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What has to live as long as the daemon that uses it.
pub struct Standalone {
    settings: Settings,
    broker: EmbeddedBroker,
    bus: PrivateBus,
    // Last, so that it is removed when nothing uses it any more.
    folder: tempfile::TempDir,
}

impl Standalone {
    /// Starts the broker and the bus, and installs the bundled models, each checked in a child process as any other.
    pub async fn start() -> anyhow::Result<Standalone> {
        let folder = tempfile::Builder::new().prefix("hearthd-").tempdir().context("no folder for a temporary store")?;
        let broker = EmbeddedBroker::start().await.context("the embedded broker")?;
        let bus = PrivateBus::start(folder.path())?;
        let mut fragment = config::Fragment::default();
        fragment.stand_alone(folder.path());
        let mut settings = config::settings(&fragment)?;
        if let Some(mqtt) = &mut settings.mqtt {
            mqtt.broker =
                Broker { host: broker.address().ip().to_string(), port: broker.address().port(), login: Some(login(&broker)), tls: None };
        }
        settings.dbus = Some(bus.address().clone());
        write_secret(&folder.path().join("password"), broker.login().1)?;
        let models = settings.models.clone();
        tokio::task::spawn_blocking(move || install_bundled(&models)).await??;
        Ok(Standalone { settings, broker, bus, folder })
    }

    /// Settings of a daemon on this broker and bus.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Where everything is, and that none of it stays.
    pub fn describe(&self) -> String {
        format!(
            "embedded MQTT broker on {} (loopback only, keeps nothing); {}; models in {}, removed at the end",
            self.broker.address(),
            self.bus.describe(),
            self.folder.path().display()
        )
    }

    /// The broker's URL.
    pub fn broker_url(&self) -> String {
        format!("mqtt://{}", self.broker.address())
    }

    /// User name and password at the broker.
    pub fn login(&self) -> (String, config::Secret) {
        login(&self.broker)
    }

    /// A file with the password, readable by this user alone.
    pub fn password_file(&self) -> PathBuf {
        self.folder.path().join("password")
    }

    /// Stops the broker; the bus and the folder go with `self`.
    pub async fn stop(self) {
        self.broker.stop().await;
    }
}

fn login(broker: &EmbeddedBroker) -> (String, config::Secret) {
    let (user, password) = broker.login();
    (user.to_owned(), password.clone())
}

fn write_secret(file: &Path, secret: &config::Secret) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    file.write_all(secret.0.as_bytes())
}

fn install_bundled(models: &config::Models) -> anyhow::Result<()> {
    let store = Store::open(&models.directory)?;
    let checker = crate::checker(models)?;
    let unpacked = tempfile::tempdir().context("no folder to unpack the bundled models")?;
    for model in bundled::all() {
        let folder = unpacked.path().join(model.manifest().name.as_str());
        model.write_to(&folder).with_context(|| format!("cannot unpack the bundled model {}", model.manifest().name.as_str()))?;
        store.install(&Source::Folder(folder), &checker)?;
    }
    Ok(())
}

/// A bus of our own: a `dbus-daemon` where there is one, else a socket for peers.
pub struct PrivateBus {
    address: Bus,
    daemon: Option<Child>,
}

/// Only the user who started it is let in.
const BUS_CONFIGURATION: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=SOCKET</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"#;

impl PrivateBus {
    fn start(folder: &Path) -> anyhow::Result<PrivateBus> {
        let configuration = folder.join("bus.conf");
        let socket = folder.join("bus");
        std::fs::write(&configuration, BUS_CONFIGURATION.replace("SOCKET", &socket.display().to_string()))?;
        let spawned = Command::new("dbus-daemon")
            .arg("--nofork")
            .arg("--print-address=1")
            .arg(format!("--config-file={}", configuration.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let peer = || PrivateBus { address: Bus::Peer(folder.join("peer")), daemon: None };
        let Ok(mut daemon) = spawned else { return Ok(peer()) };
        // It prints its address when it listens; an end without one means that it could not.
        let mut address = String::new();
        let stdout = daemon.stdout.take().context("dbus-daemon has no output")?;
        BufReader::new(stdout).read_line(&mut address)?;
        if address.trim().is_empty() {
            let _ = daemon.wait();
            return Ok(peer());
        }
        Ok(PrivateBus { address: Bus::Address(address.trim().to_owned()), daemon: Some(daemon) })
    }

    /// How to reach it.
    pub fn address(&self) -> &Bus {
        &self.address
    }

    /// What it is, for a person.
    pub fn describe(&self) -> String {
        match &self.address {
            Bus::Address(address) => format!("a dbus-daemon of its own at {address}"),
            Bus::Peer(path) => format!("no dbus-daemon here, so a peer-to-peer D-Bus socket at {}", path.display()),
            Bus::System | Bus::Session => "a shared bus".into(),
        }
    }
}

impl Drop for PrivateBus {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}
