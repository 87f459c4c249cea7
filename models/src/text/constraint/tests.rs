//! Answers that are held to JSON, drawn at random, and schemas that nothing should be held to.

use super::*;
use crate::text::tokenizer::tests::byte_level_vocabulary;
use crate::text::{Sampler, Sampling};
use serde_json::json;

fn constraints() -> (Arc<Tokenizer>, Constraints) {
    let merges = ["Ġ Ġ", "t r", "u e", "tr ue", "\" :", "{ \""];
    let tokenizer = Arc::new(Tokenizer::new(byte_level_vocabulary("qwen2", &merges)).unwrap());
    (tokenizer.clone(), Constraints::new(tokenizer).unwrap())
}

/// An answer drawn from a model that likes everything equally but for ends and quotes, which it likes more.
fn answer(tokenizer: &Tokenizer, constraint: &mut Constraint, seed: u64) -> String {
    let liked = |id: u32| tokenizer.ends(id) || [&b"\""[..], b"}", b"]"].contains(&tokenizer.bytes_of(id));
    let logits: Vec<f32> = (0..tokenizer.len() as u32).map(|id| if liked(id) { 5.0 } else { 0.0 }).collect();
    let mut sampler = Sampler::new(Sampling { seed, ..Sampling::default() }).unwrap();
    let mut bytes = Vec::new();
    for _ in 0..2000 {
        let id = sampler.sample(&logits, Some(&constraint.mask().unwrap())).unwrap().id;
        constraint.accept(id).unwrap();
        if tokenizer.ends(id) {
            assert!(constraint.is_over());
            break;
        }
        bytes.extend_from_slice(tokenizer.bytes_of(id));
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn every_answer_is_of_the_schema() {
    let (tokenizer, constraints) = constraints();
    let schema = json!({
        "type": "object",
        "properties": {"open": {"type": "boolean"}, "state": {"enum": ["on", "off"]}, "level": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["open", "state", "level"],
        "additionalProperties": false
    });
    for seed in 0..20 {
        let text = answer(&tokenizer, &mut constraints.json_schema(&schema).unwrap(), seed);
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert!(value["open"].is_boolean() && ["on", "off"].contains(&value["state"].as_str().unwrap()), "{text}");
        assert!((0..10).contains(&value["level"].as_i64().unwrap()), "{text}");
    }
}

#[test]
fn any_object_is_an_object() {
    let (tokenizer, constraints) = constraints();
    for seed in 0..20 {
        let text = answer(&tokenizer, &mut constraints.json_object().unwrap(), seed);
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert!(value.is_object(), "{text}");
    }
}

#[test]
fn references_within_a_schema_are_followed() {
    let (tokenizer, constraints) = constraints();
    let schema = json!({"$defs": {"n": {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}},
        "required": ["next"], "additionalProperties": false}}, "$ref": "#/$defs/n"});
    let text = answer(&tokenizer, &mut constraints.json_schema(&schema).unwrap(), 1);
    assert!(text.trim_start().starts_with('{'), "{text}");
}

#[test]
fn control_tokens_and_blanks_without_end_are_no_json() {
    let (tokenizer, constraints) = constraints();
    let mut constraint = constraints.json_object().unwrap();
    let mask = constraint.mask().unwrap();
    assert!((0..tokenizer.len() as u32).all(|id| !mask.allows(id) || !tokenizer.is_control(id)));
    assert!(!mask.allows(u32::MAX));
    constraint.accept(u32::from(b'{')).unwrap_or_else(|_| panic!("{{ opens an object"));
    let blank = tokenizer.encode(" ", Specials::AsText)[0];
    let taken = (0..1000).take_while(|_| constraint.mask().unwrap().allows(blank) && constraint.accept(blank).is_ok()).count();
    assert!((1..100).contains(&taken), "{taken}");
}

#[test]
fn a_token_that_does_not_follow_is_refused() {
    let (tokenizer, constraints) = constraints();
    let mut constraint = constraints.json_object().unwrap();
    let id = tokenizer.encode("x", Specials::AsText)[0];
    assert!(constraint.accept(id).unwrap_err().to_string().contains("does not follow"));
}

#[test]
fn schemas_that_nothing_can_be_held_to_are_refused_in_no_time() {
    let (tokenizer, constraints) = constraints();
    let deep = (0..60).fold(json!({"type": "string"}), |inner, _| json!({"type": "object", "properties": {"a": inner}, "required": ["a"]}));
    let wide: serde_json::Map<String, Value> =
        (0..3000).map(|i| (format!("p{i}"), json!({"type": "string", "pattern": "(a|b)*c{1,9}"}))).collect();
    let absurd = [
        json!(false),
        json!(3),
        json!({"type": "spoon"}),
        json!({"type": "object", "properties": {"a": false}, "required": ["a"]}),
        json!({"type": "integer", "minimum": 5, "maximum": 4}),
        json!({"type": "string", "pattern": "(?=a)b"}),
        json!({"$ref": "https://example.org/schema.json"}),
        json!({"$ref": "#/$defs/none"}),
        json!({"type": "object", "properties": wide, "minProperties": 2000}),
        json!({"description": "a".repeat(70_000)}),
    ];
    let started = std::time::Instant::now();
    for schema in &absurd {
        let short: String = schema.to_string().chars().take(80).collect();
        match constraints.json_schema(schema) {
            Err(TextError::Request(message)) => assert!(message.starts_with("no answer can be held to the JSON schema: "), "{message}"),
            other => panic!("{short}: {other:?}"),
        }
    }
    assert!(constraints.json_schema(&deep).is_ok());
    // What is not refused must not cost more with each token.
    for pattern in ["((((a{1000}){1000}){1000}){1000})", "(a|b)*a(a|b){30}", "(a*)*(a*)*(a*)*b"] {
        let Ok(mut constraint) = constraints.json_schema(&json!({"type": "string", "pattern": pattern})) else { continue };
        let ids = [b"\"", b"a"].map(|byte| (0..256).find(|id| tokenizer.bytes_of(*id) == byte).unwrap());
        let _ = constraint.accept(ids[0]);
        let _ = (0..200).take_while(|_| constraint.accept(ids[1]).and_then(|()| constraint.mask()).is_ok()).count();
    }
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
}

#[test]
fn a_vocabulary_without_an_end_is_refused() {
    let mut vocabulary = byte_level_vocabulary("qwen2", &["h e"]);
    vocabulary.eos = None;
    for name in ["<|im_end|>", "<|endoftext|>"] {
        let id = vocabulary.id_of(name).unwrap() as usize;
        vocabulary.tokens[id] += "x";
    }
    let error = Constraints::new(Arc::new(Tokenizer::new(vocabulary).unwrap())).unwrap_err();
    assert!(error.to_string().contains("no token that ends"), "{error}");
}
