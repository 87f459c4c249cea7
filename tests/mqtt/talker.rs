//! Talks with a language model, a small one with random weights, over the broker.

use anyhow::{Context, ensure};
use hearth_api::chat::ChatChunk;
use hearth_api::{Answer, Reply};
use hearth_tests::broker::Broker;
use hearth_tests::client::{self, Client, tensor};
use hearth_tests::daemon::{Hearthd, Home};
use hearth_tests::onnx;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use rustix::process::Signal;
use serde_json::{Value, json};

/// A broker with a daemon that serves a language model, and a client that hears its answers.
struct Shop {
    daemon: Hearthd,
    home: Home,
    broker: Broker,
    client: Client,
}

impl Shop {
    async fn open() -> anyhow::Result<Shop> {
        let (broker, home) = (Broker::start("")?, Home::new()?);
        home.put_talker()?;
        home.put("negate", "1.0", onnx::negate)?;
        let daemon = home.start(&broker.section())?;
        client::online(broker.port()).await?;
        let mut client = Client::connect(broker.port(), "client").await?;
        client.subscribe("hearth/reply/#").await?;
        Ok(Shop { daemon, home, broker, client })
    }

    async fn ask(&self, id: &str, request: &Value) -> anyhow::Result<()> {
        let properties = PublishProperties {
            response_topic: Some(format!("hearth/reply/{id}")),
            correlation_data: Some(id.to_owned().into()),
            ..PublishProperties::default()
        };
        self.client.publish(&format!("hearth/test/chat/talker/{id}"), QoS::AtLeastOnce, false, request.to_string(), properties).await
    }

    /// The next chunk, or else the reply that ends the answer.
    async fn heard(&mut self) -> anyhow::Result<Result<ChatChunk, Reply>> {
        let answer = self.client.answer().await?;
        let properties = answer.publish.properties.as_ref().context("properties")?;
        ensure!(properties.correlation_data.is_some(), "without its correlation data");
        match answer.status.as_str() {
            "chunk" => {
                ensure!(answer.publish.qos == QoS::AtMostOnce, "a chunk at QoS 1");
                Ok(Ok(serde_json::from_value(answer.json)?))
            }
            "ok" => Ok(Err(serde_json::from_value(answer.json)?)),
            other => anyhow::bail!("{other}: {}", answer.json),
        }
    }
}

fn content(reply: Reply) -> String {
    let Answer::Chat(mut chat) = reply.answer else { panic!("{reply:?}") };
    chat.choices.remove(0).message.content
}

#[tokio::test]
async fn chunks_come_in_order_and_the_whole_answer_after_them() -> anyhow::Result<()> {
    let mut shop = Shop::open().await?;
    let talk = json!([{"role": "user", "content": "switch on the lamp in the workshop"}]);
    shop.ask("1", &json!({"messages": talk, "temperature": 0, "max_completion_tokens": 100, "stream": true})).await?;
    let (mut text, mut numbers) = (String::new(), Vec::new());
    let whole = loop {
        match shop.heard().await? {
            Ok(chunk) => {
                numbers.push(chunk.number);
                text.push_str(chunk.choices[0].delta.content.as_deref().unwrap_or_default());
            }
            Err(reply) => break content(reply),
        }
    };
    assert_eq!(text, whole);
    assert!(numbers.len() > 2 && numbers.iter().enumerate().all(|(at, number)| *number == at as u64), "{numbers:?}");
    shop.ask("2", &json!({"messages": talk, "temperature": 0, "max_completion_tokens": 100})).await?;
    let Err(reply) = shop.heard().await? else { panic!("nobody asked for chunks") };
    assert_eq!(content(reply), whole);
    Ok(())
}

#[tokio::test]
async fn an_answer_that_a_killed_daemon_had_begun_is_begun_again_as_another_attempt() -> anyhow::Result<()> {
    let mut shop = Shop::open().await?;
    let words = "turn the lamp on and the saw off ".repeat(20);
    let schema = json!({"type": "object", "properties": {"say": {"const": words}}, "required": ["say"], "additionalProperties": false});
    let format = json!({"type": "json_schema", "json_schema": {"name": "long", "schema": schema}});
    let request = json!({"messages": [{"role": "user", "content": "lamp on"}], "stream": true, "response_format": format});
    shop.ask("1", &request).await?;
    let Ok(first) = shop.heard().await? else { panic!("no chunk came before the answer") };
    shop.daemon.signal(Signal::KILL)?;
    shop.daemon.wait()?;
    shop.daemon = shop.home.start(&shop.broker.section())?;
    let mut again: Vec<ChatChunk> = Vec::new();
    let whole = loop {
        match shop.heard().await? {
            Ok(chunk) if chunk.attempt != first.attempt => again.push(chunk),
            Ok(_) => {}
            Err(reply) => break content(reply),
        }
    };
    assert_eq!(again.first().map(|chunk| chunk.number), Some(0));
    let text: String = again.iter().filter_map(|chunk| chunk.choices[0].delta.content.as_deref()).collect();
    assert_eq!(text, whole);
    Ok(())
}

#[tokio::test]
async fn another_model_does_not_wait_for_a_talk() -> anyhow::Result<()> {
    let mut shop = Shop::open().await?;
    let words = "turn the lamp on and the saw off ".repeat(12);
    let schema = json!({"type": "object", "properties": {"say": {"const": words}}, "required": ["say"], "additionalProperties": false});
    let format = json!({"type": "json_schema", "json_schema": {"name": "long", "schema": schema}});
    let request = json!({"messages": [{"role": "user", "content": "lamp on"}], "stream": true, "response_format": format});
    for talk in 0..4 {
        shop.ask(&format!("talk{talk}"), &request).await?;
    }
    while shop.client.answer().await?.status != "chunk" {}
    let properties = PublishProperties {
        response_topic: Some("hearth/reply/negate".into()),
        correlation_data: Some("negate".into()),
        ..PublishProperties::default()
    };
    shop.client.publish("hearth/test/infer/negate/n", QoS::AtLeastOnce, false, tensor(&[2.0]), properties).await?;
    let (mut over, mut negated) = (0, None);
    while over < 4 {
        let answer = shop.client.answer().await?;
        match (answer.status.as_str(), answer.json["outputs"][0]["data"][0].as_f64()) {
            ("chunk", _) => {}
            ("ok", Some(value)) => negated = Some((value, over)),
            ("ok", None) => over += 1,
            (other, _) => anyhow::bail!("{other}: {}", answer.json),
        }
    }
    assert_eq!(negated, Some((-2.0, 0)), "answered, and before any of the talks was over");
    Ok(())
}
