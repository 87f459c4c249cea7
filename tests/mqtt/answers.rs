//! What is asked, and what comes back.

use crate::Site;
use hearth_tests::client::{Client, tensor};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use serde_json::json;
use std::time::{Duration, Instant};

fn user(pairs: &[(&str, &str)]) -> PublishProperties {
    PublishProperties {
        user_properties: pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        ..PublishProperties::default()
    }
}

#[tokio::test]
async fn an_answer_comes_where_and_as_it_was_asked_for() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let mut client = site.client().await?;
    for qos in [QoS::AtLeastOnce, QoS::AtMostOnce] {
        let properties = PublishProperties {
            response_topic: Some("hearth/reply/me".into()),
            correlation_data: Some(b"\x00\xff"[..].into()),
            content_type: Some("application/json".into()),
            ..PublishProperties::default()
        };
        client.publish("hearth/test/infer/negate/7", qos, false, tensor(&[1.5, -2.0]), properties).await?;
        let answer = client.answer().await?;
        assert_eq!(answer.status, "ok", "{}", answer.json);
        assert_eq!(answer.json["id"], "7");
        assert_eq!(answer.json["outputs"][0]["data"], json!([-1.5, 2.0]));
        let properties = answer.publish.properties.unwrap_or_default();
        assert_eq!(properties.correlation_data.as_deref(), Some(&b"\x00\xff"[..]));
        assert_eq!(properties.content_type.as_deref(), Some("application/json"));
        assert_eq!((&answer.publish.topic[..], answer.publish.qos), (&b"hearth/reply/me"[..], qos));
        // A reply that stayed with the broker would meet the next to subscribe.
        let mut later = Client::connect(site.broker.port(), "later").await?;
        later.subscribe("hearth/reply/#").await?;
        assert!(later.messages_within(Duration::from_millis(100)).await.is_empty());
    }
    Ok(())
}

#[tokio::test]
async fn binary_tensors_go_in_and_come_out() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let mut client = site.client().await?;
    let header = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"parameters":{"binary_data_size":8}}]}"#;
    let payload = [header.as_bytes(), &1.5f32.to_le_bytes(), &2.5f32.to_le_bytes()].concat();
    let properties = PublishProperties {
        content_type: Some("application/octet-stream".into()),
        ..user(&[("Inference-Header-Content-Length", &header.len().to_string())])
    };
    client.ask_with("negate", "1", payload, properties).await?;
    let answer = client.answer().await?;
    assert_eq!(answer.status, "ok", "{answer:?}");
    let properties = answer.publish.properties.unwrap_or_default();
    assert_eq!(properties.content_type.as_deref(), Some("application/octet-stream"));
    let length = properties.user_properties.iter().find(|(name, _)| name == "header_length").map(|(_, value)| value.parse::<usize>());
    let (head, data) = answer.publish.payload.split_at(length.expect("a header length")?);
    assert_eq!(serde_json::from_slice::<serde_json::Value>(head)?["outputs"][0]["shape"], json!([1, 2]));
    assert_eq!(data, [(-1.5f32).to_le_bytes(), (-2.5f32).to_le_bytes()].concat());
    Ok(())
}

#[tokio::test]
async fn a_request_without_an_id_gets_one_of_its_own() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let mut client = Client::connect(site.broker.port(), "client").await?;
    client.subscribe("hearth/test/result/negate/+").await?;
    let mut topics = Vec::new();
    for _ in 0..2 {
        client.publish("hearth/test/infer/negate", QoS::AtLeastOnce, false, tensor(&[1.0]), PublishProperties::default()).await?;
        let answer = client.answer().await?;
        let topic = String::from_utf8(answer.publish.topic.to_vec())?;
        assert_eq!(Some(answer.json["id"].as_str().expect("an id")), topic.rsplit('/').next());
        topics.push(topic);
    }
    assert_ne!(topics[0], topics[1]);
    Ok(())
}

#[tokio::test]
async fn a_request_on_its_way_can_be_cancelled_by_its_id() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let mut client = site.client().await?;
    for (id, cancel) in [("1", "1".to_owned()), ("2", json!({"id": "2"}).to_string())] {
        client.ask("steady", id, tensor(&[0.0])).await?;
        // Not ordered with the request, which travels on another session: asked for until it is there to be cancelled.
        let answer = loop {
            client.publish("hearth/test/cancel", QoS::AtLeastOnce, false, cancel.clone(), PublishProperties::default()).await?;
            if let Ok(answer) = tokio::time::timeout(Duration::from_millis(50), client.answer()).await {
                break answer?;
            }
        };
        assert_eq!((answer.status.as_str(), &answer.json["id"]), ("cancelled", &json!(id)));
    }
    Ok(())
}

#[tokio::test]
async fn what_is_left_of_a_messages_expiry_is_its_deadline() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let mut client = site.client().await?;
    let began = Instant::now();
    for id in 10..16 {
        client.ask_with("steady", &id.to_string(), tensor(&[0.0]), user(&[("priority", "high")])).await?;
    }
    let expiring = PublishProperties { message_expiry_interval: Some(1), ..PublishProperties::default() };
    client.ask_with("steady", "1", tensor(&[0.0]), expiring).await?;
    client.ask_with("steady", "2", tensor(&[0.0]), user(&[("timeout_ms", "200")])).await?;
    let mut late = Vec::new();
    while late.len() < 2 {
        let answer = client.answer().await?;
        if answer.status != "ok" {
            assert_eq!(answer.status, "deadline-exceeded", "{} after {:?}", answer.json, began.elapsed());
            late.push(answer.json["id"].clone());
        }
    }
    assert_eq!(late, ["2", "1"]);
    Ok(())
}

#[tokio::test]
async fn an_urgent_request_is_answered_before_those_that_wait() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let mut client = site.client().await?;
    for id in ["1", "2", "3"] {
        client.ask_with("steady", id, tensor(&[0.0]), user(&[("priority", "background")])).await?;
    }
    client.ask_with("negate", "urgent", tensor(&[1.0]), user(&[("priority", "high")])).await?;
    assert_eq!(client.answer().await?.json["id"], "urgent");
    Ok(())
}
