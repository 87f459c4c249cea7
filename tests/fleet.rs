//! A fleet behind one topic: two daemons share the load; one leaves, one is killed.

use hearth_tests::broker::Broker;
use hearth_tests::client::{self, Client, tensor};
use hearth_tests::daemon::{Hearthd, Home};
use hearth_tests::onnx;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use rustix::process::Signal;
use std::collections::BTreeMap;

struct Fleet {
    a: Hearthd,
    b: Hearthd,
    home_b: Home,
    sections: String,
    broker: Broker,
    client: Client,
    _home_a: Home,
}

/// Nodes `a` and `b` in the group `line`, and a client that hears the answers of both.
async fn fleet() -> anyhow::Result<Fleet> {
    let broker = Broker::start("")?;
    let sections = format!("{}groups = [\"line\"]\n[limits]\nshutdown_seconds = 0\n", broker.section());
    let [home_a, home_b] = ["a", "b"].map(Home::named);
    let (home_a, home_b) = (home_a?, home_b?);
    for home in [&home_a, &home_b] {
        home.put("negate", "1.0", onnx::negate)?;
        home.put("steady", "1.0", onnx::steady)?;
    }
    let (a, b) = (home_a.start(&sections)?, home_b.start(&sections)?);
    let mut client = Client::connect(broker.port(), "client").await?;
    client.subscribe("hearth/+/result/#").await?;
    for node in ["a", "b"] {
        client::online_as(broker.port(), node).await?;
        broker.logged(&format!("Sending SUBACK to hearthd-{node}-groups"), 1).await?;
    }
    Ok(Fleet { a, b, home_b, sections, broker, client, _home_a: home_a })
}

impl Fleet {
    async fn ask(&self, model: &str, ids: std::ops::Range<u32>) -> anyhow::Result<()> {
        for id in ids {
            let topic = format!("hearth/group/line/infer/{model}/{id}");
            self.client.publish(&topic, QoS::AtLeastOnce, false, tensor(&[0.0]), PublishProperties::default()).await?;
        }
        Ok(())
    }

    /// Which node has answered which request; each at least once.
    async fn answers(&mut self, count: usize) -> anyhow::Result<BTreeMap<String, String>> {
        let mut by = BTreeMap::new();
        while by.len() < count {
            let answer = self.client.answer().await?;
            assert_eq!(answer.status, "ok", "{}", answer.json);
            let topic = String::from_utf8(answer.publish.topic.to_vec())?;
            let levels: Vec<&str> = topic.split('/').collect();
            by.insert(levels[4].to_owned(), levels[1].to_owned());
        }
        Ok(by)
    }
}

#[tokio::test]
async fn a_fleet_shares_the_load() -> anyhow::Result<()> {
    let mut fleet = fleet().await?;
    fleet.ask("negate", 0..40).await?;
    let by = fleet.answers(40).await?;
    for node in ["a", "b"] {
        let share = by.values().filter(|n| *n == node).count();
        assert!(share >= 10, "{node} answered {share} of 40");
    }
    Ok(())
}

#[tokio::test]
async fn a_node_that_leaves_gives_its_share_away_at_once() -> anyhow::Result<()> {
    let mut fleet = fleet().await?;
    fleet.b.signal(Signal::TERM)?;
    fleet.b.wait()?;
    fleet.ask("negate", 0..20).await?;
    let by = fleet.answers(20).await?;
    assert!(by.values().all(|node| node == "a"), "{by:?}");
    Ok(())
}

#[tokio::test]
async fn the_work_of_a_killed_node_is_done_when_it_is_back() -> anyhow::Result<()> {
    let mut fleet = fleet().await?;
    fleet.ask("steady", 0..2).await?;
    fleet.broker.logged("Sending PUBLISH to hearthd-b-groups", 1).await?;
    fleet.b.signal(Signal::KILL)?;
    fleet.b.wait()?;
    // mosquitto goes on dealing to a session that is away, until it expires after 30 s; nothing of that is lost.
    fleet.ask("negate", 2..12).await?;
    fleet.b = fleet.home_b.start(&fleet.sections)?;
    let by = fleet.answers(12).await?;
    assert!(by.values().any(|node| node == "a") && by.values().any(|node| node == "b"), "{by:?}");
    // The living one was not disturbed.
    fleet.a.signal(Signal::TERM)?;
    assert!(fleet.a.wait()?.success());
    Ok(())
}
