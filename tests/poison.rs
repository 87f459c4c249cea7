//! A request that is at work whenever the process dies: refused after its second try, and everyone else is answered.

use anyhow::{Context, ensure};
use hearth_tests::broker::Broker;
use hearth_tests::client::{self, Client, tensor};
use hearth_tests::daemon::Home;
use hearth_tests::onnx;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

#[tokio::test]
async fn a_request_that_aborts_the_process_is_refused_after_its_second_try() -> anyhow::Result<()> {
    let broker = Broker::start("")?;
    let home = Home::new()?;
    home.put("negate", "1.0", onnx::negate)?;
    home.put("steady", "1.0", onnx::steady)?;
    let mut daemon = home.start(&broker.section())?;
    client::online(broker.port()).await?;
    let mut client = Client::connect(broker.port(), "client").await?;
    client.subscribe("hearth/reply/#").await?;
    client.ask("steady", "poison", tensor(&[0.0])).await?;
    let record = home.path("flight");
    let mark = computing(&record, None).await?;
    client.ask("steady", "waits", tensor(&[0.0])).await?;
    client.ask("negate", "other", tensor(&[4.0])).await?;
    daemon.signal(Signal::ABORT)?;
    daemon.wait()?;
    daemon = home.start(&broker.section())?;
    // It has read what the first run left, and cleared it.
    client::online(broker.port()).await?;
    computing(&record, Some(&mark)).await?;
    daemon.signal(Signal::ABORT)?;
    daemon.wait()?;
    let _third = home.start(&broker.section())?;
    let mut statuses = BTreeMap::new();
    while statuses.len() < 3 {
        let answer = client.answer().await.with_context(|| format!("so far {statuses:?}"))?;
        let id = answer.json["id"].as_str().context("an answer has an id")?.to_owned();
        statuses.insert(id, answer.status);
    }
    assert_eq!(statuses["poison"], "model-failed");
    assert_eq!(["waits", "other"].map(|id| statuses[id].as_str()), ["ok"; 2]);
    Ok(())
}

/// Waits until the flight record notes a step with this one request, or with any, and gives its mark. Nobody else knows at that time.
async fn computing(record: &Path, of: Option<&[u8]>) -> anyhow::Result<Vec<u8>> {
    const PAGE: usize = 4096;
    let until = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let bytes = std::fs::read(record).unwrap_or_default();
        if let Some([1, 0, 0, 0, 1, 0, 0, 0, ..]) = bytes.get(PAGE..PAGE + 16)
            && let Some(mark) = bytes.get(PAGE + 16..PAGE + 24)
            && of.is_none_or(|of| of == mark)
        {
            return Ok(mark.to_vec());
        }
        ensure!(tokio::time::Instant::now() < until, "the request was not computed within 20 s");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
