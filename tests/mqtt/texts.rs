//! Texts in, vectors out.

use crate::{Site, home};
use hearth_api::Reply;
use hearth_tests::broker::Broker;
use hearth_tests::bus::repository;
use hearth_tests::client;
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use serde_json::{Value, json};

fn content_type(name: &str) -> PublishProperties {
    PublishProperties { content_type: Some(name.into()), ..PublishProperties::default() }
}

/// The values of a JSON array of numbers.
fn floats(value: &Value) -> Vec<f64> {
    value.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[tokio::test]
async fn a_text_is_answered_with_its_vector_and_a_list_with_one_each() -> anyhow::Result<()> {
    let (broker, home) = (Broker::start("")?, home()?);
    let fixture = repository("models/fixtures/embed");
    home.put("embed", "1.0", |directory| {
        for file in ["manifest.toml", "model.onnx", "tokenizer.json", "sample.txt"] {
            std::fs::copy(fixture.join(file), directory.join(file))?;
        }
        Ok(())
    })?;
    let daemon = home.start(&broker.section())?;
    client::online(broker.port()).await?;
    let site = Site { daemon, home, broker };
    let mut client = site.client().await?;
    let expected: Vec<Value> = serde_json::from_slice(&std::fs::read(fixture.join("expected.json"))?)?;
    let texts: Vec<&str> = expected.iter().filter_map(|e| e["text"].as_str()).collect();
    for one in &expected {
        let text = one["text"].as_str().unwrap_or_default().to_owned();
        client.ask_with("embed", "1", text, content_type("text/plain; charset=utf-8")).await?;
        let answer = client.answer().await?;
        assert_eq!(answer.status, "ok", "{}", answer.json);
        assert!(cosine(&floats(&answer.json["embedding"]), &floats(&one["vector"])) >= 0.999_99, "{}", answer.json);
        assert_eq!(answer.json["tokens"].as_u64(), one["ids"].as_array().map(|ids| ids.len() as u64));
        assert_eq!(answer.json["truncated"], one["truncated"]);
        serde_json::from_value::<Reply>(answer.json)?;
    }
    let tensor = json!({"name": "text", "datatype": "BYTES", "shape": [texts.len()], "data": texts});
    for list in [json!({"id": "2", "text": texts}), json!({"id": "2", "inputs": [tensor]})] {
        client.ask("embed", "2", list.to_string()).await?;
        let answer = client.answer().await?;
        assert_eq!((answer.status.as_str(), &answer.json["id"]), ("ok", &json!("2")), "{}", answer.json);
        let vectors = answer.json["embeddings"].as_array().cloned().unwrap_or_default();
        assert_eq!(vectors.len(), expected.len());
        for (vector, one) in vectors.iter().zip(&expected) {
            assert!(cosine(&floats(vector), &floats(&one["vector"])) >= 0.999_99, "{}", one["text"]);
        }
    }
    for (payload, kind, status, says) in [
        (b"\xff\xfe".to_vec(), "text/plain", "bad-request", "not UTF-8"),
        (b"  ".to_vec(), "text/plain", "bad-request", "blank"),
        (json!({"text": vec!["a"; 10_000]}).to_string().into_bytes(), "application/json", "too-large", "at most 64"),
        ("a ".repeat(600_000).into_bytes(), "text/plain", "too-large", "at most 1048576"),
        (b"\x89PNG\r\n\x1a\n".to_vec(), "image/png", "bad-request", "it takes text/plain"),
    ] {
        client.ask_with("embed", "3", payload, content_type(kind)).await?;
        let answer = client.answer().await?;
        assert_eq!(answer.status, status, "{}", answer.json);
        assert!(answer.json["message"].as_str().unwrap_or_default().contains(says), "{}", answer.json);
    }
    Ok(())
}
