//! A real mosquitto with a configuration of the test's own, that can be killed and started again.

use anyhow::{Context, bail};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The lines that a broker has logged.
type Log = Arc<(Mutex<Vec<String>>, Condvar)>;

/// A running broker; killed with the value.
pub struct Broker {
    folder: TempDir,
    port: u16,
    child: Child,
    log: Log,
}

/// A port that is free now.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Broker {
    /// One that lets everybody in; `lines` are added to its configuration.
    pub fn start(lines: &str) -> anyhow::Result<Broker> {
        Broker::start_with(|_| Ok(format!("allow_anonymous true\n{lines}")))
    }

    /// One whose configuration, but for the listener, is made for its folder.
    pub fn start_with(configure: impl Fn(&Path) -> anyhow::Result<String>) -> anyhow::Result<Broker> {
        let folder = tempfile::tempdir()?;
        let lines = configure(folder.path())?;
        // Another process may take the port before mosquitto does.
        for _ in 0..5 {
            let port = free_port()?;
            // mosquitto wants the listener first, its certificates after it; it leaves root's rights unless told not to.
            let configuration = format!("user root\nlistener {port} 127.0.0.1\nlog_type all\n{lines}");
            std::fs::write(folder.path().join("mosquitto.conf"), configuration)?;
            if let Ok((child, log)) = spawn(folder.path()) {
                return Ok(Broker { folder, port, child, log });
            }
        }
        bail!("mosquitto does not start; configuration:\n{lines}")
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A file in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The configuration of a daemon that is to use it, the D-Bus door closed.
    pub fn section(&self) -> String {
        section(self.port)
    }

    /// Kills it with SIGKILL: it saves nothing.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again, on the same port.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        (self.child, self.log) = spawn(self.folder.path())?;
        Ok(())
    }

    /// Waits until a line with this text was logged `times` times.
    pub async fn logged(&self, text: &str, times: usize) -> anyhow::Result<()> {
        let (log, text) = (self.log.clone(), text.to_owned());
        tokio::task::spawn_blocking(move || wait_for(&log, &text, times)).await?
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.kill();
    }
}

/// The configuration of a daemon with a broker on this port of the loopback interface, and no bus.
pub fn section(port: u16) -> String {
    format!("[dbus]\nbus = \"none\"\n[mqtt]\nurl = \"mqtt://127.0.0.1:{port}\"\n")
}

fn spawn(folder: &Path) -> anyhow::Result<(Child, Log)> {
    // Debian keeps it out of a user's PATH.
    let program = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"].into_iter().find(|p| Path::new(p).exists()).unwrap_or("mosquitto");
    let mut child = Command::new(program)
        .arg("-c")
        .arg(folder.join("mosquitto.conf"))
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("mosquitto cannot be started; on Debian: apt install mosquitto")?;
    let stderr = child.stderr.take().context("mosquitto has no stderr")?;
    let log = Log::default();
    let of = log.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            of.0.lock().expect("no reader panics").push(line);
            of.1.notify_all();
        }
        // The end counts as a line, so that nobody waits for a dead broker.
        of.0.lock().expect("no reader panics").push("(ended)".into());
        of.1.notify_all();
    });
    let running = wait_for(&log, " running", 1);
    if let Err(error) = running {
        let _ = child.kill();
        let _ = child.wait();
        return Err(error);
    }
    Ok((child, log))
}

fn wait_for(log: &Log, text: &str, times: usize) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    let mut lines = log.0.lock().expect("no reader panics");
    loop {
        if lines.iter().filter(|line| line.contains(text)).count() >= times {
            return Ok(());
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || lines.last().is_some_and(|line| line == "(ended)") {
            bail!("the broker did not log {text:?}:\n{}", lines.join("\n"));
        }
        lines = log.1.wait_timeout(lines, left).expect("no reader panics").0;
    }
}
