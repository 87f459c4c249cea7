//! The promise that nothing is lost, under the worst that can be done to a daemon.

use anyhow::Context;
use hearth_tests::broker::Broker;
use hearth_tests::client::{self, Client};
use hearth_tests::daemon::{Home, python};
use hearth_tests::onnx;
use rustix::process::Signal;
use serde_json::Value;
use std::io::Read;
use std::process::Stdio;

/// How often it is killed.
const KILLS: usize = 20;
/// Answers that are awaited between two kills, so that each meets a daemon at work.
const ANSWERS: usize = 50;

#[tokio::test]
async fn a_daemon_killed_twenty_times_under_load_answers_every_request() -> anyhow::Result<()> {
    let broker = Broker::start_with(|folder| {
        let shipped = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../systemd/mosquitto/hearthd.conf"))?;
        Ok(format!("allow_anonymous true\npersistence_location {}/\n{shipped}", folder.display()))
    })?;
    let home = Home::new()?;
    home.put("negate", "1.0", onnx::negate)?;
    let mut daemon = home.start(&broker.section())?;
    client::online(broker.port()).await?;
    let mut watch = Client::connect(broker.port(), "watch").await?;
    watch.subscribe("hearth/reply/load").await?;
    let mut load = python("load.py").args([&broker.port().to_string(), "150"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    for _ in 0..KILLS {
        for _ in 0..ANSWERS {
            watch.message().await?;
        }
        daemon.signal(Signal::KILL)?;
        daemon.wait()?;
        daemon = home.start(&broker.section())?;
    }
    drop(load.stdin.take());
    let mut told = String::new();
    load.stdout.take().context("the load has no output")?.read_to_string(&mut told)?;
    load.wait()?;
    let told: Value = serde_json::from_str(&told).with_context(|| format!("the load said {told:?}"))?;
    println!("{KILLS} kills: {told}");
    assert_eq!(told["answered"], told["published"], "{told}");
    assert!(told["published"].as_u64().is_some_and(|n| n > (KILLS * ANSWERS / 2) as u64));
    Ok(())
}
