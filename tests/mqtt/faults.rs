//! What is wrong with a request, said where its caller listens; the daemon goes on.

use crate::Site;
use hearth_tests::client::{Client, tensor};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use std::time::Duration;

fn content_type(text: &str) -> PublishProperties {
    PublishProperties { content_type: Some(text.into()), ..PublishProperties::default() }
}

#[tokio::test]
async fn every_bad_request_gets_a_fault_and_the_next_good_one_an_answer() -> anyhow::Result<()> {
    let site = Site::with("", "[limits]\npayload_kb = 64\n").await?;
    let mut client = site.client().await?;
    let mut expired = content_type("application/json");
    expired.user_properties.push(("timeout_ms".into(), "0".into()));
    let none = PublishProperties::default;
    let bad: Vec<(&str, Vec<u8>, PublishProperties, &str)> = vec![
        ("negate", b"\xff\xfe\xfd".to_vec(), none(), "bad-request"),
        ("negate", b"\xff\xfe\xfd".to_vec(), content_type("application/json"), "bad-request"),
        ("negate", b"\xff\xfe\xfd".to_vec(), content_type("text/nonsense"), "bad-request"),
        ("negate", Vec::new(), none(), "bad-request"),
        ("negate", Vec::new(), content_type("application/json"), "bad-request"),
        ("negate", "[".repeat(10_000).into_bytes(), content_type("application/json"), "bad-request"),
        ("negate", tensor(&[1.0]).replace("[1,1]", "[7]").into_bytes(), none(), "bad-request"),
        ("negate", b"no jpeg".to_vec(), content_type("image/jpeg"), "bad-request"),
        ("negate", vec![b' '; 65 * 1024], content_type("application/json"), "too-large"),
        ("nobody", tensor(&[1.0]).into_bytes(), none(), "unknown-model"),
        ("NoModel", tensor(&[1.0]).into_bytes(), none(), "bad-request"),
        ("negate", tensor(&[1.0]).into_bytes(), expired, "deadline-exceeded"),
    ];
    for (number, (model, payload, properties, kind)) in bad.into_iter().enumerate() {
        client.ask_with(model, &number.to_string(), payload, properties).await?;
        let answer = client.answer().await?;
        assert_eq!(answer.status, kind, "case {number}: {}", answer.json);
        assert_eq!(answer.json["kind"], kind);
        assert!(answer.json["message"].as_str().is_some_and(|message| !message.is_empty()), "{}", answer.json);
        assert_eq!(answer.publish.topic, format!("hearth/reply/{number}"));
    }
    client.ask("negate", "good", tensor(&[1.0])).await?;
    assert_eq!(client.answer().await?.status, "ok");
    Ok(())
}

#[tokio::test]
async fn nobody_can_have_an_answer_written_where_it_may_not_go() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let mut client = Client::connect(site.broker.port(), "client").await?;
    client.subscribe("hearth/test/result/#").await?;
    client.subscribe("elsewhere/#").await?;
    let forbidden =
        ["elsewhere/me", "hearth/test/infer/negate/2", "hearth/test/availability", "hearth/test/models/negate", "hearth/test/cancel"];
    for (number, topic) in forbidden.into_iter().enumerate() {
        let properties =
            PublishProperties { response_topic: Some(topic.into()), correlation_data: Some("c".into()), ..PublishProperties::default() };
        client.publish(&format!("hearth/test/infer/negate/{number}"), QoS::AtLeastOnce, false, tensor(&[1.0]), properties).await?;
        let answer = client.answer().await?;
        assert_eq!((answer.publish.topic, answer.status), (format!("hearth/test/result/negate/{number}").into(), "unauthorized".into()));
        assert_eq!(answer.publish.properties.and_then(|p| p.correlation_data).as_deref(), Some(&b"c"[..]));
    }
    Ok(())
}

#[tokio::test]
async fn a_retained_request_is_not_run_again_at_each_subscription() -> anyhow::Result<()> {
    let mut site = Site::new().await?;
    let mut client = site.client().await?;
    // Who is subscribed cannot tell that it is retained, and answers.
    let properties = PublishProperties { response_topic: Some("hearth/reply/r".into()), ..PublishProperties::default() };
    client.publish("hearth/test/infer/negate/r", QoS::AtLeastOnce, true, tensor(&[1.0]), properties).await?;
    assert_eq!(client.answer().await?.status, "ok");
    // The next run subscribes, and is sent it.
    drop(site.daemon);
    site.daemon = site.home.start(&site.broker.section())?;
    site.broker.logged("Sending PUBLISH to hearthd-test-infer (d0, q1, r1", 1).await?;
    client.ask("negate", "after", tensor(&[1.0])).await?;
    let answers = client.messages_within(Duration::from_millis(300)).await;
    let topics: Vec<_> = answers.iter().map(|a| String::from_utf8_lossy(&a.topic)).collect();
    assert_eq!(topics, ["hearth/reply/after"]);
    Ok(())
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_still_hears_cancellations() -> anyhow::Result<()> {
    let site = Site::with("", "[limits]\nqueue_requests = 4\nqueue_requests_per_model = 4\n").await?;
    let mut client = site.client().await?;
    const COUNT: usize = 400;
    for number in 0..COUNT {
        client.ask("steady", &number.to_string(), tensor(&[0.0])).await?;
    }
    // Were the window little larger than the queue, the daemon could not read on before the first is done: what was refused
    // waits behind it for its acknowledgement.
    for number in 0..COUNT - 100 {
        let answer = client.answer().await?;
        assert_eq!(answer.status, "overloaded", "answer {number}: {}", answer.json);
        assert!(answer.json["retry_after_ms"].as_u64().is_some_and(|ms| ms > 0));
    }
    for number in 0..4 {
        client.publish("hearth/test/cancel", QoS::AtLeastOnce, false, number.to_string(), PublishProperties::default()).await?;
    }
    let mut statuses = Vec::new();
    for _ in COUNT - 100..COUNT {
        statuses.push(client.answer().await?.status);
    }
    assert!(statuses.iter().any(|status| status == "cancelled"), "{statuses:?}");
    Ok(())
}
