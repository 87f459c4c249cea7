//! Chat topics: a session of their own. What it does does not depend on the model, so most of it is asked of small ones.

use crate::Site;
use hearth_tests::client::{Client, tensor};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use serde_json::Value;

/// Sends a chat request at QoS 1, to be answered at `hearth/reply/<id>`.
async fn ask(client: &Client, model: &str, id: &str, payload: String) -> anyhow::Result<()> {
    let properties = PublishProperties {
        response_topic: Some(format!("hearth/reply/{id}")),
        correlation_data: Some(id.to_owned().into()),
        ..PublishProperties::default()
    };
    client.publish(&format!("hearth/test/chat/{model}/{id}"), QoS::AtLeastOnce, false, payload, properties).await
}

#[tokio::test]
async fn a_chat_topic_answers_like_any_other_in_a_session_of_its_own() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let mut client = site.client().await?;
    ask(&client, "negate", "1", tensor(&[2.0])).await?;
    let answer = client.answer().await?;
    assert_eq!((answer.status.as_str(), answer.json["outputs"][0]["data"][0].as_f64()), ("ok", Some(-2.0)), "{}", answer.json);
    site.broker.logged("Sending PUBLISH to hearthd-test-chat", 1).await?;
    // Without a content type what is no JSON is text, which this model does not take.
    ask(&client, "negate", "2", "lamp on".into()).await?;
    let answer = client.answer().await?;
    assert_eq!((answer.status.as_str(), &answer.json["id"]), ("bad-request", &"2".into()), "{}", answer.json);
    assert!(!answer.json["message"].as_str().unwrap_or_default().contains("content type"), "{}", answer.json);
    Ok(())
}

#[tokio::test]
async fn a_talk_is_cancelled_by_its_id() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let mut client = site.client().await?;
    for id in ["1", "2", "3"] {
        ask(&client, "steady", id, tensor(&[0.0])).await?;
    }
    // A cancellation is of another session, and might overtake what it cancels.
    let mut watch = Client::connect(site.broker.port(), "watch").await?;
    watch.subscribe("hearth/test/stats").await?;
    let all_came = |stats: &[u8]| serde_json::from_slice::<Value>(stats).is_ok_and(|stats| stats["received"] == 3);
    watch.message_on("hearth/test/stats", all_came).await?;
    client.publish("hearth/test/cancel", QoS::AtLeastOnce, false, "3", PublishProperties::default()).await?;
    let mut ends = Vec::new();
    for _ in 0..3 {
        let answer = client.answer().await?;
        ends.push((answer.json["id"].as_str().unwrap_or_default().to_owned(), answer.status));
    }
    ends.sort();
    let end = |id: &str, status: &str| (id.to_owned(), status.to_owned());
    assert_eq!(ends, [end("1", "ok"), end("2", "ok"), end("3", "cancelled")]);
    Ok(())
}
