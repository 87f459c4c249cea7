//! The heat at the command line: `hearthctl top` and `hearthctl thermal` beside the real daemon, on a real terminal.

use crate::client::{PATIENCE, hearthctl, infer, model, printed, seven, until, wait_for_name};
use crate::heat::{stage, start};
use anyhow::Context;
use hearth_tests::bus::Bus;
use hearth_tests::daemon::program;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Instant;
use zbus::Variant;

#[tokio::test]
async fn the_heat_and_the_mode_are_told_and_set() -> anyhow::Result<()> {
    let (bus, _home, _daemon) = stage("pi5").await?;
    let told = printed(&hearthctl(&bus, &["thermal"])?);
    for part in ["52.4 °C of 80 °C", "headroom", "at this load", "mode", "balanced", "fan 1 of 4", "why"] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
    let json: Value = serde_json::from_str(&printed(&hearthctl(&bus, &["thermal", "--json"])?))?;
    assert_eq!((json["Limit"].as_f64(), json["FanStep"].as_i64()), (Some(80.0), Some(1)));
    assert_eq!(printed(&hearthctl(&bus, &["thermal", "mode"])?), "balanced\n");
    assert_eq!(printed(&hearthctl(&bus, &["thermal", "mode", "cool", "--celsius", "61.5"])?), "mode cool, at most 62 °C\n");
    until("the mode is another", async || Ok(printed(&hearthctl(&bus, &["thermal", "mode"])?).starts_with("cool"))).await?;
    for wrong in [&["thermal", "mode", "cool"][..], &["thermal", "mode", "quiet", "--celsius", "60"], &["thermal", "mode", "cold"]] {
        assert!(!hearthctl(&bus, wrong)?.status.success(), "{wrong:?}");
    }
    let refused = hearthctl(&bus, &["thermal", "mode", "cool", "--celsius", "300"])?;
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("300"), "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn a_report_shows_what_the_daemon_kept() -> anyhow::Result<()> {
    let (bus, home, mut daemon) = stage("pi5").await?;
    let file = home.path("report.svg");
    let path = file.to_str().context("UTF-8")?;
    until("a first line is kept", async || Ok(hearthctl(&bus, &["thermal", "report", "-o", path])?.status.success())).await?;
    let svg = std::fs::read_to_string(&file)?;
    for part in ["<svg ", "limit 80 °C", "The daemon started: ", "fan 2 from 60 °C", "prefers-color-scheme:dark"] {
        assert!(svg.contains(part), "{part}");
    }
    // What was decided since, and before a restart, is in the next one.
    printed(&hearthctl(&bus, &["thermal", "mode", "quiet"])?);
    until("the decision is kept", async || {
        Ok(printed(&hearthctl(&bus, &["thermal", "report", "-o", "-"])?).contains("mode balanced → quiet"))
    })
    .await?;
    daemon.signal(Signal::TERM)?;
    daemon.wait()?;
    let _daemon = start(&bus, &home)?;
    wait_for_name(&bus.connect().await?).await?;
    until("both starts are kept", async || {
        let svg = printed(&hearthctl(&bus, &["thermal", "report", "--output", "-", "--hours", "1"])?);
        Ok(svg.matches("<title>").count() > 3 && svg.contains("mode balanced → quiet"))
    })
    .await?;
    let summary: Value = serde_json::from_str(&printed(&hearthctl(&bus, &["thermal", "report", "-o", path, "--json"])?))?;
    assert_eq!((summary["file"].as_str(), summary["hottest_celsius"].as_f64()), (Some(path), Some(52.35)));
    assert!(!hearthctl(&bus, &["thermal", "report", "-o", "/dev/full"])?.status.success());
    Ok(())
}

/// A running `hearthctl top --json`, ended with the test.
struct Lines {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Lines {
    fn start(bus: &Bus) -> anyhow::Result<Lines> {
        let mut child =
            Command::new(program("hearthctl")).args(["top", "--json", "--bus", &bus.address()]).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().context("piped")?).lines();
        Ok(Lines { child, lines })
    }

    /// The first line that is as it should be.
    fn until(&mut self, so: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        for _ in 0..30 {
            let line: Value = serde_json::from_str(&self.lines.next().context("it ended")??)?;
            if so(&line) {
                return Ok(line);
            }
        }
        anyhow::bail!("no such line came")
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn top_counts_by_model_and_outlives_the_daemon() -> anyhow::Result<()> {
    let (bus, home, mut daemon) = stage("pi5").await?;
    let client = bus.connect().await?;
    let digits = model(&client, "digits").await?;
    let mut lines = Lines::start(&bus)?;
    lines.until(|line| line["models"]["digits"]["state"] == "available")?;
    for _ in 0..20 {
        infer(&digits, "image/png", Variant::from(seven()?), crate::client::Options::new()).await?;
    }
    let busy = lines.until(|line| line["models"]["digits"]["rates"]["items_per_second"].as_f64().is_some_and(|rate| rate > 0.0))?;
    assert!(busy["models"]["digits"]["rates"]["latency_ms"].as_f64().is_some_and(|latency| latency > 0.0), "{busy}");
    assert_eq!(busy["thermal"]["Mode"], "balanced");
    let counted = lines.until(|line| line["stats"]["models"]["digits"]["answered"] == 20)?;
    assert!(counted["stats"]["models"]["digits"]["threads"].as_u64() > Some(0), "{counted}");
    daemon.signal(Signal::TERM)?;
    daemon.wait()?;
    let gone = lines.until(|line| line["error"].is_string())?;
    assert!(gone["error"].as_str().is_some_and(|error| error.contains("hearthd does not run on this bus")), "{gone}");
    let _daemon = start(&bus, &home)?;
    lines.until(|line| line["stats"]["models"]["digits"]["answered"] == 0)?;
    let once = printed(&hearthctl(&bus, &["top"])?);
    assert!(once.contains("52.4 °C of 80 °C") && once.contains("\ndigits ") && !once.contains('\u{1b}'), "{once}");
    Ok(())
}

/// `hearthctl top` on a terminal of `script`'s; what it wrote at the end.
fn on_a_terminal(
    bus: &Bus,
    pid: &std::path::Path,
    size: (u32, u32),
    end: impl FnOnce(&mut Child) -> anyhow::Result<()>,
) -> anyhow::Result<String> {
    let (columns, rows) = size;
    let run = format!(
        "stty cols {columns} rows {rows}; echo $$ >{}; exec {} top --bus '{}'",
        pid.display(),
        program("hearthctl").display(),
        bus.address()
    );
    let mut script = Command::new("script")
        .args(["-qefc", &run, "/dev/null"])
        .envs([("TERM", "xterm-256color"), ("LANG", "C.UTF-8"), ("LC_ALL", "C.UTF-8"), ("SHELL", "/bin/sh")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut output = script.stdout.take().context("piped")?;
    let mut written = Vec::new();
    let mut piece = [0; 4096];
    // The first look at the daemon. What does not change from frame to frame is not written again, so little else is in one piece.
    while !String::from_utf8_lossy(&written).contains("°C of 80 °C") {
        let count = output.read(&mut piece)?;
        anyhow::ensure!(count > 0, "it ended: {}", String::from_utf8_lossy(&written));
        written.extend_from_slice(&piece[..count]);
    }
    end(&mut script)?;
    output.read_to_end(&mut written)?;
    script.wait()?;
    Ok(String::from_utf8_lossy(&written).into_owned())
}

#[tokio::test]
async fn top_gives_the_terminal_back_as_it_was() -> anyhow::Result<()> {
    let (bus, home, _daemon) = stage("pi5").await?;
    let pid_file = home.path("pid");
    let key = |key: &'static [u8]| move |script: &mut Child| Ok(script.stdin.as_mut().context("piped")?.write_all(key)?);
    let signal = |signal: Signal| {
        let pid_file = pid_file.clone();
        move |_: &mut Child| {
            let pid: i32 = std::fs::read_to_string(&pid_file)?.trim().parse()?;
            Ok(kill_process(Pid::from_raw(pid).context("a process")?, signal)?)
        }
    };
    let written = [
        on_a_terminal(&bus, &pid_file, (80, 24), key(b"q"))?,
        on_a_terminal(&bus, &pid_file, (40, 10), key(b"\x03"))?,
        on_a_terminal(&bus, &pid_file, (200, 60), signal(Signal::TERM))?,
        on_a_terminal(&bus, &pid_file, (80, 24), signal(Signal::INT))?,
    ];
    for written in written {
        let (enters, leaves) = (written.find("\u{1b}[?1049h"), written.rfind("\u{1b}[?1049l"));
        assert!(enters.is_some() && leaves > enters, "the screen that was there comes back: {written:?}");
        assert!(written.rfind("\u{1b}[?25h") > written.rfind("\u{1b}[?25l"), "the cursor comes back: {written:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_key_changes_the_mode() -> anyhow::Result<()> {
    let (bus, home, _daemon) = stage("pi5").await?;
    on_a_terminal(&bus, &home.path("pid"), (80, 24), |script| {
        let mut keys = script.stdin.as_ref().context("piped")?;
        keys.write_all(b"m")?;
        let begun = Instant::now();
        while printed(&hearthctl(&bus, &["thermal", "mode"])?) != "quiet\n" {
            anyhow::ensure!(begun.elapsed() < PATIENCE, "the mode stays");
        }
        Ok(keys.write_all(b"q")?)
    })?;
    Ok(())
}
