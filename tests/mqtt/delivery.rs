//! Nothing that was delivered is lost, whoever is killed or cut off; and answers that cannot go out do not go round for ever.

use crate::{Site, home};
use hearth_tests::broker::{Broker, section};
use hearth_tests::client::{self, Client, tensor};
use hearth_tests::gate::{Gate, connections_of, deliveries};
use rumqttc::v5::mqttbytes::v5::{Packet, PublishProperties};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeSet;

const INFER: &str = "hearthd-test-infer";

fn urgent() -> PublishProperties {
    PublishProperties { user_properties: vec![("priority".into(), "high".into())], ..PublishProperties::default() }
}

/// Topics of this many answers, each `ok`.
async fn answered(client: &mut Client, count: usize) -> anyhow::Result<BTreeSet<String>> {
    let mut topics = BTreeSet::new();
    while topics.len() < count {
        let answer = client.answer().await?;
        assert_eq!(answer.status, "ok", "{}", answer.json);
        topics.insert(String::from_utf8(answer.publish.topic.to_vec())?);
    }
    Ok(topics)
}

#[tokio::test]
async fn a_request_survives_a_killed_daemon() -> anyhow::Result<()> {
    let mut site = Site::new().await?;
    let mut client = site.client().await?;
    client.ask("steady", "1", tensor(&[0.0])).await?;
    site.broker.logged("Sending PUBLISH to hearthd-test-infer", 1).await?;
    site.daemon.signal(Signal::KILL)?;
    site.daemon.wait()?;
    // Queued while nobody is there.
    client.ask("negate", "2", tensor(&[1.0])).await?;
    site.daemon = site.home.start(&site.broker.section())?;
    answered(&mut client, 2).await?;
    Ok(())
}

#[tokio::test]
async fn a_daemon_that_stops_leaves_its_work_to_the_next_run() -> anyhow::Result<()> {
    let hasty = "[limits]\nshutdown_seconds = 0\n";
    let mut site = Site::with("", hasty).await?;
    let mut client = site.client().await?;
    client.ask("steady", "1", tensor(&[0.0])).await?;
    client.ask("steady", "2", tensor(&[0.0])).await?;
    site.broker.logged("Sending PUBLISH to hearthd-test-infer", 2).await?;
    site.daemon.signal(Signal::TERM)?;
    assert!(site.daemon.wait()?.success());
    site.daemon = site.home.start(&(site.broker.section() + hasty))?;
    answered(&mut client, 2).await?;
    Ok(())
}

#[tokio::test]
async fn answers_that_the_broker_never_got_are_sent_to_its_next_run() -> anyhow::Result<()> {
    const COUNT: usize = 60;
    let mut broker = Broker::start("")?;
    let mut gate = Gate::to(broker.port()).await?;
    let home = home()?;
    let _daemon = home.start(&section(gate.port()))?;
    client::online(broker.port()).await?;
    let mut client = Client::connect(broker.port(), "client").await?;
    client.subscribe("hearth/test/stats").await?;
    gate.hold_back(connections_of(&gate.passed(), INFER)[0]);
    for number in 0..COUNT {
        client.ask("negate", &number.to_string(), tensor(&[1.0])).await?;
    }
    // The daemon has answered; the broker has heard nothing of it.
    let done = |payload: &[u8]| serde_json::from_slice::<Value>(payload).is_ok_and(|stats| stats["answered"] == COUNT);
    client.message_on("hearth/test/stats", done).await?;
    gate.shut().await?;
    broker.kill()?;
    broker.restart()?;
    let mut client = Client::connect(broker.port(), "client").await?;
    client.subscribe("hearth/reply/#").await?;
    gate.open();
    assert_eq!(answered(&mut client, COUNT).await?.len(), COUNT);
    Ok(())
}

#[tokio::test]
async fn acknowledgements_leave_in_order_of_arrival_after_the_answers() -> anyhow::Result<()> {
    let broker = Broker::start("")?;
    let mut gate = Gate::to(broker.port()).await?;
    let home = home()?;
    let _daemon = home.start(&section(gate.port()))?;
    client::online(broker.port()).await?;
    let mut client = Client::connect(broker.port(), "client").await?;
    client.subscribe("hearth/reply/#").await?;
    client.ask("steady", "0", tensor(&[0.0])).await?;
    for number in 1..6 {
        client.ask_with("negate", &number.to_string(), tensor(&[1.0]), urgent()).await?;
    }
    // The quick ones are answered first, and wait for the slow one to be acknowledged.
    assert!(!answered(&mut client, 5).await?.contains("hearth/reply/0"));
    let connection = connections_of(&gate.passed(), INFER)[0];
    assert!(deliveries(&gate.passed(), connection).1.is_empty());
    answered(&mut client, 1).await?;
    gate.wait_for("six acknowledgements", |passed| deliveries(passed, connection).1.len() == 6).await?;
    let (published, acknowledged) = deliveries(&gate.passed(), connection);
    assert_eq!(published, acknowledged);
    Ok(())
}

#[tokio::test]
async fn a_redelivered_request_attaches_to_its_running_work() -> anyhow::Result<()> {
    let broker = Broker::start("")?;
    let mut gate = Gate::to(broker.port()).await?;
    let home = home()?;
    let _daemon = home.start(&section(gate.port()))?;
    client::online(broker.port()).await?;
    let mut client = Client::connect(broker.port(), "client").await?;
    client.subscribe("hearth/reply/#").await?;
    client.ask("steady", "1", tensor(&[0.0])).await?;
    let first = connections_of(&gate.passed(), INFER)[0];
    gate.wait_for("the request", |passed| deliveries(passed, first).0.len() == 1).await?;
    gate.shut().await?;
    gate.open();
    gate.wait_for("the request again", |passed| {
        connections_of(passed, INFER).get(1).is_some_and(|second| deliveries(passed, *second).0.len() == 1)
    })
    .await?;
    answered(&mut client, 1).await?;
    let second = connections_of(&gate.passed(), INFER)[1];
    gate.wait_for("its acknowledgement", |passed| deliveries(passed, second).1.len() == 1).await?;
    // One run, one answer; nothing was acknowledged on the connection that broke.
    client.ask("negate", "2", tensor(&[1.0])).await?;
    assert_eq!(client.answer().await?.publish.topic, "hearth/reply/2");
    assert!(deliveries(&gate.passed(), first).1.is_empty());
    Ok(())
}

#[tokio::test]
async fn no_more_answers_are_on_their_way_than_the_broker_allows() -> anyhow::Result<()> {
    const COUNT: usize = 300;
    let broker = Broker::start("max_inflight_messages 5\n")?;
    let gate = Gate::to(broker.port()).await?;
    let home = home()?;
    let _daemon = home.start(&section(gate.port()))?;
    client::online(broker.port()).await?;
    let mut client = Client::connect(broker.port(), "client").await?;
    client.subscribe("hearth/reply/#").await?;
    for number in 0..COUNT {
        client.ask("negate", &number.to_string(), tensor(&[1.0])).await?;
    }
    answered(&mut client, COUNT).await?;
    let passed = gate.passed();
    let connections = connections_of(&passed, INFER);
    assert_eq!(connections.len(), 1, "the broker closes a connection that exceeds its receive maximum");
    let (mut flying, mut most) = (0usize, 0);
    for packet in passed.iter().filter(|p| p.connection == connections[0]) {
        match &packet.packet {
            Packet::Publish(publish) if packet.outward && publish.pkid != 0 => flying += 1,
            Packet::PubAck(_) if !packet.outward => flying -= 1,
            _ => {}
        }
        most = most.max(flying);
    }
    assert!((1..=5).contains(&most), "{most} at a time");
    Ok(())
}

/// A request of some 2,000 bytes whose answer has some 5,000.
fn grows() -> String {
    tensor(&[1.0; 800]).replace(".0", "").replace(' ', "")
}

#[tokio::test]
async fn an_answer_over_the_brokers_packet_limit_becomes_a_small_fault() -> anyhow::Result<()> {
    let site = Site::with("max_packet_size 4000\n", "").await?;
    let mut client = site.client().await?;
    client.ask("negate", "1", grows()).await?;
    let answer = client.answer().await?;
    assert_eq!((answer.status.as_str(), &answer.json["limit"]["value"]), ("too-large", &4000.into()), "{}", answer.json);
    client.ask("negate", "2", tensor(&[1.0])).await?;
    answered(&mut client, 1).await?;
    Ok(())
}

#[tokio::test]
async fn an_answer_over_a_limit_that_the_broker_keeps_to_itself_does_not_go_round_for_ever() -> anyhow::Result<()> {
    let site = Site::with("message_size_limit 4000\n", "").await?;
    let mut client = site.client().await?;
    client.ask("negate", "1", grows()).await?;
    let answer = client.answer().await?;
    assert_eq!(answer.status, "too-large", "{}", answer.json);
    client.ask("negate", "2", tensor(&[1.0])).await?;
    answered(&mut client, 1).await?;
    Ok(())
}
