//! The first look: `hearthctl try`, through both doors, held against the truth; and `hearthd` without a configuration.

use anyhow::{Context, ensure};
use hearth_tests::daemon::program;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// Runs `hearthctl try` with this search path, and gives its JSON lines.
fn trial(path: Option<&str>) -> anyhow::Result<Vec<Value>> {
    let mut command = Command::new(program("hearthctl"));
    if let Some(path) = path {
        command.env("PATH", path);
    }
    let output = command.args(["try", "--json", "--burst", "90"]).output()?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "{}: {text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

/// Every sample went through one of the doors and was answered as well as its model promises; the burst lost nothing.
fn all_is_well(lines: &[Value]) {
    let mut models: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for line in lines.iter().filter(|line| line["right"].is_boolean()) {
        assert!(["MQTT", "D-Bus"].contains(&line["door"].as_str().unwrap_or_default()), "{line}");
        assert!(line["timings"]["computed_us"].as_u64().is_some_and(|us| us > 0), "{line}");
        let (asked, wrong) = models.entry(line["model"].as_str().unwrap_or_default()).or_default();
        *asked += 1;
        *wrong += usize::from(line["right"] == false);
    }
    assert_eq!(models.keys().copied().collect::<Vec<_>>(), ["bearing", "digits", "foreman", "gauge", "parts"]);
    for (model, (asked, wrong)) in models {
        // A picture of parts is right if every box in it is; to what it promises of boxes, `try` itself holds the model.
        let one_in = if model == "parts" { 4 } else { 20 };
        assert!(asked >= 10 && wrong * one_in <= asked, "{model}: {wrong} of {asked} wrong");
    }
    let burst = &lines.last().unwrap()["burst"];
    assert_eq!((&burst["requests"], &burst["answered"], &burst["lost"]), (&90.into(), &90.into(), &0.into()));
    let batches = burst["batches"].as_object().unwrap().values().flat_map(|sizes| sizes.as_object().unwrap().keys());
    assert!(batches.into_iter().any(|size| size != "1"), "no batch formed: {burst}");
}

#[test]
fn a_first_look_answers_right_and_loses_nothing() -> anyhow::Result<()> {
    let lines = trial(None)?;
    assert!(lines[0]["daemon"]["running_on"].as_str().is_some_and(|on| on.contains("a dbus-daemon of its own")), "{}", lines[0]);
    all_is_well(&lines);
    Ok(())
}

#[test]
fn without_a_bus_daemon_it_talks_peer_to_peer_and_says_so() -> anyhow::Result<()> {
    let lines = trial(Some("/nowhere"))?;
    assert!(lines[0]["daemon"]["running_on"].as_str().is_some_and(|on| on.contains("peer-to-peer")), "{}", lines[0]);
    all_is_well(&lines);
    Ok(())
}

#[test]
fn a_daemon_without_a_configuration_says_what_it_runs_on() -> anyhow::Result<()> {
    let mut daemon = Command::new(program("hearthd")).stderr(Stdio::piped()).spawn()?;
    let log = BufReader::new(daemon.stderr.take().context("it has a log")?);
    let mut said = Vec::new();
    for line in log.lines() {
        said.push(line?);
        if said.last().is_some_and(|line| line.contains("embedded MQTT broker on 127.0.0.1:")) {
            break;
        }
    }
    assert!(said.iter().any(|line| line.contains("no configuration")), "{said:?}");
    kill_process(Pid::from_raw(daemon.id().cast_signed()).context("a child has a pid")?, Signal::TERM)?;
    assert!(daemon.wait()?.success(), "{said:?}");
    Ok(())
}
