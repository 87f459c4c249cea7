//! A real `dbus-daemon` on a private socket, and what a client of it needs: sealed memfds, and other programs as clients.

use anyhow::{Context, ensure};
use rustix::fs::{MemfdFlags, SealFlags};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;
use zbus::{Connection, OwnedVariant, Variant};

/// Everybody may do everything.
pub const OPEN: &str = r#"<policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>"#;

/// As on the system bus: names and calls are denied but where a policy allows them.
pub const CLOSED: &str = r#"<policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
  </policy>"#;

/// A bus of the test's own; it ends with the value.
pub struct Bus {
    folder: TempDir,
    child: Child,
}

impl Bus {
    /// A bus on which everybody may do everything.
    pub fn start() -> anyhow::Result<Bus> {
        Bus::with(OPEN)
    }

    /// A bus with these elements in its configuration.
    pub fn with(policies: &str) -> anyhow::Result<Bus> {
        let folder = tempfile::tempdir()?;
        // Other users have to reach the socket.
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let configuration = format!(
            r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={}</listen>
  <auth>EXTERNAL</auth>
  {policies}
</busconfig>
"#,
            folder.path().join("bus").display()
        );
        std::fs::write(folder.path().join("bus.conf"), configuration)?;
        let child = spawn(&folder)?;
        Ok(Bus { folder, child })
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        format!("unix:path={}", self.folder.path().join("bus").display())
    }

    /// A client.
    pub async fn connect(&self) -> anyhow::Result<Connection> {
        Ok(zbus::connection::Builder::address(self.address().as_str()).build().await?)
    }

    /// Ends it and starts it again on the same address.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        self.child = spawn(&self.folder)?;
        Ok(())
    }

    /// What a program prints that is told of this bus, as the session's and the system's.
    pub fn run(&self, program: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.command(program).args(arguments).output().with_context(|| format!("{program} cannot be run"))?;
        let (stdout, stderr) = (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "{program} {arguments:?}: {}\n{stdout}\n{stderr}", output.status);
        Ok(stdout)
    }

    /// A program that is told of this bus.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("DBUS_SESSION_BUS_ADDRESS", self.address()).env("DBUS_SYSTEM_BUS_ADDRESS", self.address());
        command
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        // It may have been ended by the test.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &TempDir) -> anyhow::Result<Child> {
    // What the bus before it left behind.
    let _ = std::fs::remove_file(folder.path().join("bus"));
    let mut child = Command::new("dbus-daemon")
        .arg(format!("--config-file={}", folder.path().join("bus.conf").display()))
        .args(["--nofork", "--nopidfile", "--nosyslog", "--print-address=1"])
        .stdout(Stdio::piped())
        .spawn()
        .context("dbus-daemon cannot be started (Debian: apt install dbus)")?;
    let mut address = String::new();
    BufReader::new(child.stdout.take().context("dbus-daemon has no output")?).read_line(&mut address)?;
    ensure!(!address.trim().is_empty(), "dbus-daemon refused its configuration");
    Ok(child)
}

/// A memfd that holds `bytes` and has `seals`.
pub fn memfd(bytes: &[u8], seals: SealFlags) -> anyhow::Result<OwnedFd> {
    let file = File::from(rustix::fs::memfd_create("payload", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    file.write_all_at(bytes, 0)?;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file.into())
}

/// A memfd with the seals that the daemon asks for.
pub fn sealed(bytes: &[u8]) -> anyhow::Result<OwnedFd> {
    memfd(bytes, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW)
}

/// The bytes of a result: `ay`, or what a client reads from `h` without looking for its offset.
pub fn bytes(result: OwnedVariant) -> anyhow::Result<Vec<u8>> {
    match Variant::from(result) {
        Variant::Fd(fd) => {
            let mut bytes = Vec::new();
            File::from(OwnedFd::from(zbus::OwnedFd::from(fd))).read_to_end(&mut bytes)?;
            Ok(bytes)
        }
        inline => Ok(Vec::<u8>::try_from(inline)?),
    }
}

/// A path below the repository.
pub fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
