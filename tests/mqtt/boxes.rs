//! A detector, asked for what lies in pictures: the bundled model `parts`, held against onnxruntime.

use crate::home;
use hearth_tests::broker::Broker;
use hearth_tests::bus::repository;
use hearth_tests::client::{self, Client};
use serde_json::Value;
use std::collections::BTreeMap;

/// Intersection over union of two boxes of answers.
fn overlap(a: &Value, b: &Value) -> f64 {
    let edges = |b: &Value| ["x", "y", "width", "height"].map(|key| b[key].as_f64().unwrap_or(f64::NAN));
    let ([ax, ay, aw, ah], [bx, by, bw, bh]) = (edges(a), edges(b));
    let shared = ((ax + aw).min(bx + bw) - ax.max(bx)).max(0.0) * ((ay + ah).min(by + bh) - ay.max(by)).max(0.0);
    shared / (aw * ah + bw * bh - shared)
}

#[tokio::test]
async fn boxes_are_those_of_onnxruntime_in_each_pictures_own_pixels() -> anyhow::Result<()> {
    let expected: Value = serde_json::from_slice(&std::fs::read(repository("tests/mqtt/boxes.json"))?)?;
    let samples: BTreeMap<String, Value> = serde_json::from_value(expected["samples"].clone())?;
    let broker = Broker::start("")?;
    let home = home()?;
    home.put_bundled("parts")?;
    let _daemon = home.start(&broker.section())?;
    client::online(broker.port()).await?;
    let mut client = Client::connect(broker.port(), "client").await?;
    client.subscribe("hearth/reply/#").await?;
    // Pictures of several sizes, asked for at once: they ride in batches, and each is answered for itself.
    let mut asked = BTreeMap::new();
    for round in 0..3 {
        for (number, file) in samples.keys().enumerate() {
            let id = format!("{round}-{number}");
            client.ask("parts", &id, std::fs::read(repository(&format!("models/bundled/parts/{file}")))?).await?;
            asked.insert(id, file);
        }
    }
    let mut seen = 0;
    while !asked.is_empty() {
        let answer = client.answer().await?;
        assert_eq!(answer.status, "ok", "{}", answer.json);
        let file = asked.remove(answer.json["id"].as_str().unwrap_or_default()).expect("an answer to what was asked");
        let (ours, theirs) = (&answer.json, &samples[file]);
        assert_eq!(ours["image"], theirs["image"]);
        let boxes = |of: &Value| of["boxes"].as_array().cloned().unwrap_or_default();
        let (ours, theirs) = (boxes(ours), boxes(theirs));
        assert_eq!(ours.len(), theirs.len(), "{file}: {ours:?}, not {theirs:?}");
        for box_ in &ours {
            let twin = theirs.iter().filter(|other| other["label"] == box_["label"]).find(|other| overlap(box_, other) >= 0.9);
            let score = twin.and_then(|twin| twin["score"].as_f64()).unwrap_or(f64::NAN);
            assert!((box_["score"].as_f64().unwrap_or_default() - score).abs() < 0.05, "{file}: {box_} has no equal in {theirs:?}");
            seen += 1;
        }
        let scores: Vec<f64> = ours.iter().filter_map(|b| b["score"].as_f64()).collect();
        assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    }
    assert!(seen > 30, "{seen}");
    Ok(())
}
