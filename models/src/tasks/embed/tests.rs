//! Vectors of a real, tiny encoder against those of onnxruntime, and what becomes of outputs that are none.

use super::*;
use crate::Model;
use crate::manifest::Manifest;
use hearth_api::{ContentType, FaultKind, Payload};
use hearth_kernels::Pool;
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(serde::Deserialize)]
struct Expected {
    text: String,
    ids: Vec<u32>,
    truncated: bool,
    vector: Vec<f32>,
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/embed")
}

fn expected() -> Vec<Expected> {
    serde_json::from_slice(&std::fs::read(fixture().join("expected.json")).unwrap()).unwrap()
}

/// The encoder, with its manifest changed.
fn model(from: &str, to: &str) -> (tempfile::TempDir, Model) {
    let folder = tempfile::tempdir().unwrap();
    for file in ["model.onnx", "tokenizer.json", "sample.txt"] {
        std::fs::copy(fixture().join(file), folder.path().join(file)).unwrap();
    }
    let manifest = std::fs::read_to_string(fixture().join("manifest.toml")).unwrap();
    assert!(manifest.contains(from));
    std::fs::write(folder.path().join("manifest.toml"), manifest.replace(from, to)).unwrap();
    let model = Model::load(folder.path()).unwrap();
    (folder, model)
}

fn text(text: &str) -> Payload {
    Payload { content_type: ContentType::Text, bytes: text.to_owned().into() }
}

fn json(value: serde_json::Value) -> Payload {
    Payload { content_type: ContentType::Json, bytes: value.to_string().into() }
}

fn ask(model: &Model, payload: Payload) -> Result<Answer, Fault> {
    model.infer(&[payload], 1, &std::sync::Arc::new(Pool::new(1)), &mut || ()).remove(0)
}

fn vectors(answer: Result<Answer, Fault>) -> Vec<Vec<f32>> {
    match answer.unwrap() {
        Answer::Embedding { embedding, .. } => vec![embedding],
        Answer::Embeddings(list) => list.embeddings,
        other => panic!("{other:?}"),
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn vectors_are_those_of_the_original_alone_in_a_list_and_in_a_batch() {
    let (_folder, model) = model("mean", "mean");
    let expected = expected();
    let pool = std::sync::Arc::new(Pool::new(2));
    let payloads: Vec<Payload> = expected.iter().map(|one| text(&one.text)).collect();
    let together: Vec<Vec<f32>> = model.infer(&payloads, 2, &pool, &mut || ()).into_iter().map(|a| vectors(a).remove(0)).collect();
    let listed = vectors(ask(&model, json(json!({"text": expected.iter().map(|one| &one.text).collect::<Vec<_>>()}))));
    for (index, one) in expected.iter().enumerate() {
        let Answer::Embedding { embedding, tokens, truncated } = ask(&model, text(&one.text)).unwrap() else { panic!() };
        assert_eq!((tokens, truncated), (Some(one.ids.len() as u32), Some(one.truncated)), "{}", one.text);
        assert!((cosine(&embedding, &embedding).sqrt() - 1.0).abs() < 1e-6);
        for vector in [&embedding, &together[index], &listed[index]] {
            // Each is padded to another length.
            assert!(cosine(vector, &one.vector) >= 0.999_99, "{}: {}", one.text, cosine(vector, &one.vector));
            assert!(vector.iter().zip(&one.vector).all(|(a, b)| (a - b).abs() < 1e-4), "{}", one.text);
        }
    }
}

#[test]
fn a_list_says_of_each_text_what_became_of_it() {
    let (_folder, model) = model("mean", "mean");
    let long = "the motor ".repeat(100);
    let Answer::Embeddings(list) = ask(&model, json(json!({"text": ["a", long]}))).unwrap() else { panic!() };
    assert_eq!((list.embeddings.len(), list.tokens, list.truncated), (2, Some(vec![3, 64]), Some(vec![false, true])));
}

#[test]
fn tokens_of_the_callers_own_are_answered_in_rows() {
    let (_folder, model) = model("mean", "mean");
    let one = &expected()[0];
    let length = one.ids.len();
    let tensor = |name: &str, data: Vec<u32>| json!({"name": name, "datatype": "INT64", "shape": [1, length + 3], "data": data});
    // Padded at the left.
    let pad = |value: Vec<u32>| [vec![0; 3], value].concat();
    let inputs = [
        tensor("input_ids", pad(one.ids.clone())),
        tensor("attention_mask", pad(vec![1; length])),
        tensor("token_type_ids", vec![0; length + 3]),
    ];
    let answer = ask(&model, json(json!({ "inputs": inputs }))).unwrap();
    let Answer::Embeddings(list) = answer else { panic!("{answer:?}") };
    assert_eq!((list.embeddings.len(), list.embeddings[0].len(), list.tokens, list.truncated), (1, 32, None, None));
    let unseen = [inputs[0].clone(), tensor("attention_mask", vec![0; length + 3]), inputs[2].clone()];
    let fault = ask(&model, json(json!({ "inputs": unseen }))).unwrap_err();
    assert_eq!(fault.kind, FaultKind::BadRequest, "{fault}");
}

#[test]
fn a_token_that_the_graph_does_not_have_ends_its_own_request_alone() {
    let (folder, _) = model("mean", "mean");
    // A tokenizer that promises words beyond the table of the graph.
    let file = folder.path().join("tokenizer.json");
    let tokenizer = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, tokenizer.replace("\"pump\":100", "\"pump\":4000000000")).unwrap();
    let model = Model::load(folder.path()).unwrap();
    let answers = model.infer(&["the motor", "the pump", "the valve"].map(text), 1, &std::sync::Arc::new(Pool::new(1)), &mut || ());
    let fault = answers[1].as_ref().unwrap_err();
    assert_eq!(fault.kind, FaultKind::ModelFailed, "{fault}");
    assert!(answers[0].is_ok() && answers[2].is_ok(), "{answers:?}");
    assert!(fault.message.contains("the largest token of the request is 4000000000"), "{fault}");
}

#[test]
fn tokens_are_pooled_as_the_manifest_says() {
    let states: Vec<f32> = vec![1.0, 0.0, 3.0, 4.0, 5.0, 0.0, 9.0, 9.0];
    let seen = [true, true, true, false];
    for (pooling, vector) in [(Pooling::Mean, [3.0, 4.0 / 3.0]), (Pooling::Cls, [1.0, 0.0]), (Pooling::Last, [5.0, 0.0])] {
        assert_eq!(pool(pooling, &states, 2, Some(&seen)).unwrap(), vector);
    }
    assert_eq!(pool(Pooling::Mean, &states, 2, Some(&[false; 4])), None);
    assert_eq!(pool(Pooling::Last, &states, 2, None).unwrap(), [9.0, 9.0]);
    let mut vector = [3.0, 4.0];
    normalise(&mut vector);
    assert_eq!(vector, [0.6, 0.8]);
    let mut zeros = [0.0; 2];
    normalise(&mut zeros);
    assert_eq!(zeros, [0.0; 2]);
    let (_folder, plain) = model("pooling = \"mean\"", "pooling = \"cls\"\nnormalise = false");
    let vector = vectors(ask(&plain, text("the pump"))).remove(0);
    assert!((cosine(&vector, &vector) - 1.0).abs() < 1e-9 && vector.iter().map(|x| x * x).sum::<f32>() > 1.5);
}

fn port(name: &str, shape: &[i64]) -> TensorMetadata {
    TensorMetadata { name: name.into(), datatype: Datatype::Fp32, shape: shape.to_vec() }
}

#[test]
fn an_output_that_is_plain_is_found_and_any_other_has_to_be_named() {
    let (states, pooler, sentence) =
        (port("last_hidden_state", &[-1, -1, 8]), port("pooler_output", &[-1, 8]), port("sentence_embedding", &[-1, 8]));
    let embed = |pooling, output: Option<&str>| Embed { pooling, normalise: true, output: output.map(str::to_owned) };
    let found = |embed: Embed, outputs: &[TensorMetadata]| {
        resolve(&embed, outputs).map(|e| (e.output.unwrap_or_default(), e.pooling.unwrap_or(Pooling::Last).as_str()))
    };
    let both = [states.clone(), sentence.clone()];
    let bert = [pooler.clone(), states.clone()];
    for (asked, outputs, right) in [
        (embed(Some(Pooling::Mean), None), &bert[..], ("last_hidden_state", "mean")),
        (embed(Some(Pooling::Mean), None), &both, ("last_hidden_state", "mean")),
        (embed(None, None), &both, ("sentence_embedding", "none")),
        (embed(Some(Pooling::None), None), &both, ("sentence_embedding", "none")),
        (embed(None, None), &bert[..1], ("pooler_output", "none")),
        (embed(None, Some("pooler_output")), &bert, ("pooler_output", "none")),
    ] {
        assert_eq!(found(asked, outputs), Ok((right.0.to_owned(), right.1)));
    }
    for (asked, outputs, says) in [
        (embed(None, None), &bert[..], "which of the outputs is meant"),
        (embed(None, None), &bert[1..], "mean, cls or last"),
        (embed(Some(Pooling::Mean), None), &bert[..1], "is pooled already: none"),
        (embed(Some(Pooling::None), None), &bert[1..], "[batch, width]"),
        (embed(None, Some("logits")), &bert, "but the graph gives \"pooler_output\""),
        (embed(None, None), &[TensorMetadata { datatype: Datatype::Int64, ..pooler.clone() }], "not floats"),
    ] {
        let wrong = found(asked, outputs).unwrap_err();
        assert!(wrong.contains(says), "{wrong}");
    }
}

#[test]
fn a_picture_or_a_row_of_numbers_has_a_vector_as_well() {
    let embed = Embed { pooling: Some(Pooling::None), normalise: true, output: Some("y".into()) };
    let outputs = [Tensor::from_f32("y", vec![1, 2], &[3.0, 4.0])];
    let alone = Decoded { alone: true, ..Decoded::default() };
    let one = encode(&embed, &alone, &outputs).unwrap();
    assert_eq!(one, Answer::Embedding { embedding: vec![0.6, 0.8], tokens: None, truncated: None });
    let listed = encode(&embed, &Decoded::default(), &outputs).unwrap();
    assert_eq!(listed, Answer::Embeddings(Box::new(Embeddings { embeddings: vec![vec![0.6, 0.8]], tokens: None, truncated: None })));
    let fault = encode(&embed, &alone, &[Tensor::from_f32("y", vec![0, 2], &[])]).unwrap_err();
    assert!(fault.message.contains("is empty"), "{fault}");
}

#[test]
fn a_manifest_with_its_tokenizer_missing_is_refused() {
    let (folder, _) = model("mean", "mean");
    std::fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    let manifest = Manifest::read(folder.path()).unwrap();
    assert!(manifest.files().contains("tokenizer.json"));
    assert!(manifest.verify(folder.path()).unwrap_err().to_string().contains("tokenizer.json"));
    assert!(Model::load(folder.path()).map(|_| ()).unwrap_err().to_string().contains("tokenizer.json: cannot be read"));
}
