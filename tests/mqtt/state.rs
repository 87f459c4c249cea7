//! The state that stays with the broker.

use crate::Site;
use hearth_tests::client::{self, Client, tensor};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// What the broker keeps of the node.
async fn retained(port: u16) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let mut client = Client::connect(port, "reads-state").await?;
    client.subscribe("hearth/test/#").await?;
    let messages = client.messages_within(Duration::from_millis(200)).await;
    Ok(messages.into_iter().filter(|m| m.retain).map(|m| (String::from_utf8_lossy(&m.topic).into_owned(), m.payload.to_vec())).collect())
}

#[tokio::test]
async fn the_broker_keeps_what_the_node_is_and_can_do() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let state = retained(site.broker.port()).await?;
    let json = |topic: &str| -> anyhow::Result<Value> { Ok(serde_json::from_slice(state.get(topic).map_or(b"null", Vec::as_slice))?) };
    assert_eq!(state.get("hearth/test/availability").map(Vec::as_slice), Some(&b"online"[..]));
    let info = json("hearth/test/info")?;
    assert_eq!(info["contract"], "1.2");
    assert_eq!(info["limits"]["payload_bytes"], 8 << 20);
    assert!(info["board"].is_string());
    assert_eq!(json("hearth/test/models/negate")?["name"], "negate");
    assert_eq!(json("hearth/test/models/steady")?["task"], "tensor");
    assert_eq!(json("hearth/test/thermal")?["mode"], "balanced");
    assert!(json("hearth/test/stats")?["received"].is_number());
    Ok(())
}

#[tokio::test]
async fn stats_follow_what_is_done() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let mut client = site.client().await?;
    client.subscribe("hearth/test/stats").await?;
    client.ask("negate", "1", tensor(&[1.0])).await?;
    let answered = |payload: &[u8]| serde_json::from_slice::<Value>(payload).is_ok_and(|stats| stats["answered"] == 1);
    client.message_on("hearth/test/stats", answered).await?;
    Ok(())
}

#[tokio::test]
async fn a_node_that_leaves_or_dies_is_offline() -> anyhow::Result<()> {
    let mut site = Site::new().await?;
    let mut client = Client::connect(site.broker.port(), "client").await?;
    client.subscribe("hearth/test/availability").await?;
    site.daemon.signal(Signal::TERM)?;
    client.message_on("hearth/test/availability", |p| p == b"offline").await?;
    assert!(site.daemon.wait()?.success());
    site.daemon = site.home.start(&site.broker.section())?;
    client.message_on("hearth/test/availability", |p| p == b"online").await?;
    site.daemon.signal(Signal::KILL)?;
    client.message_on("hearth/test/availability", |p| p == b"offline").await?;
    Ok(())
}

#[tokio::test]
async fn a_model_that_went_while_the_node_was_down_is_cleared() -> anyhow::Result<()> {
    let mut site = Site::new().await?;
    drop(site.daemon);
    std::fs::remove_dir_all(site.home.store().join("steady"))?;
    site.daemon = site.home.start(&site.broker.section())?;
    client::online(site.broker.port()).await?;
    let mut client = Client::connect(site.broker.port(), "client").await?;
    client.subscribe("hearth/test/models/#").await?;
    // Cleared before this subscription, or after it.
    let models = client.messages_within(Duration::from_millis(300)).await;
    let last = |name: &str| models.iter().rfind(|m| m.topic.ends_with(name.as_bytes())).map(|m| m.payload.len());
    assert!(last("negate").is_some_and(|length| length > 0));
    assert!(last("steady").is_none_or(|length| length == 0));
    Ok(())
}
