use super::{LanguageModel, Progress, Talk};
use crate::manifest::{Chat, Manifest, Task};
use hearth_api::chat::FinishReason;
use hearth_api::{Answer, ContentType, Fault, FaultKind, ModelName, Payload, Priority};
use hearth_kernels::Pool;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tempfile::TempDir;

/// A small random model, which talks nonsense of its own.
fn model(chat: Chat) -> (TempDir, LanguageModel) {
    let folder = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/peers/llm/fixtures/llama3-Q8_0.gguf");
    let file = folder.path().join("nonsense.gguf");
    std::fs::copy(from, &file).unwrap();
    let mut manifest = Manifest::for_file(ModelName::new("nonsense").unwrap(), &file).unwrap();
    manifest.task = Task::Chat(chat.clone());
    let model = LanguageModel::load(folder.path(), &manifest, &chat).unwrap();
    (folder, model)
}

fn payload(body: &Value) -> Payload {
    Payload { content_type: ContentType::Json, bytes: serde_json::to_vec(body).unwrap().into() }
}

/// A question, answered by the likeliest tokens.
fn asked(words: &str, max_tokens: u32) -> Value {
    json!({"messages": [{"role": "user", "content": words}], "temperature": 0, "max_tokens": max_tokens})
}

fn answers(model: &LanguageModel, bodies: &[Value], threads: usize) -> Vec<Result<hearth_api::chat::Chat, Fault>> {
    let payloads: Vec<Payload> = bodies.iter().map(payload).collect();
    let answers = model.answer(&payloads, threads, &Arc::new(Pool::new(threads)), &mut || ());
    let chat = |answer| if let Answer::Chat(chat) = answer { *chat } else { panic!("{answer:?}") };
    answers.into_iter().map(|answer| answer.map(chat)).collect()
}

fn text(answer: &Result<hearth_api::chat::Chat, Fault>) -> &str {
    &answer.as_ref().unwrap().choices[0].message.content
}

fn begin(model: &LanguageModel, body: &Value, priority: Priority) -> Talk {
    model.begin(&payload(body), priority, Instant::now()).unwrap()
}

#[test]
fn an_answer_depends_neither_on_its_neighbours_nor_on_the_threads() {
    let (_folder, model) = model(Chat::default());
    let bodies: Vec<Value> =
        ["lamp on", "is the pump running hot again?", "a", "count the parts on line two, please"].map(|words| asked(words, 12)).into();
    let together = answers(&model, &bodies, 2);
    for (body, answer) in bodies.iter().zip(&together) {
        let alone = &answers(&model, std::slice::from_ref(body), 1)[0];
        assert_eq!(text(alone), text(answer));
    }
    assert!(together.iter().any(|answer| text(answer) != text(&together[0])), "different questions have different answers");
}

#[test]
fn a_seed_draws_the_same_answer_and_another_seed_another_one() {
    let (_folder, model) = model(Chat::default());
    let body = |seed: u64| json!({"messages": [{"role": "user", "content": "hello"}], "temperature": 1.5, "seed": seed, "max_tokens": 16});
    let drawn = answers(&model, &[body(1), body(1), body(2)], 1);
    assert_eq!(text(&drawn[0]), text(&drawn[1]));
    assert_ne!(text(&drawn[0]), text(&drawn[2]));
}

#[test]
fn what_was_said_before_is_not_computed_again() {
    let (_folder, model) = model(Chat::default());
    let long = "the pump of the second line runs hot and its bearing is louder than last week ".repeat(2);
    let first = answers(&model, &[asked(&long, 4)], 1).remove(0).unwrap();
    assert_eq!(first.usage.prompt_tokens_details.cached_tokens, 0);
    let again = answers(&model, &[asked(&long, 4)], 1).remove(0).unwrap();
    let (cached, prompt) = (again.usage.prompt_tokens_details.cached_tokens, again.usage.prompt_tokens);
    assert!(cached > 0 && cached % 32 == 0 && cached + 32 >= prompt, "{cached} of {prompt}");
    assert_eq!(first.choices, again.choices);
}

#[test]
fn where_the_cache_is_full_the_youngest_stands_aside_and_all_are_answered() {
    let chat = Chat { context: Some(128), cache: Some(160), ..Chat::default() };
    let (_folder, small) = model(chat);
    let (_other, large) = model(Chat { context: Some(128), cache: Some(2048), ..Chat::default() });
    let bodies: Vec<Value> = (0..6).map(|n| asked(&format!("{n} {}", "counting parts on the belt ".repeat(2)), 24)).collect();
    let (few, many) = (answers(&small, &bodies, 2), answers(&large, &bodies, 2));
    for (few, many) in few.iter().zip(&many) {
        assert_eq!(text(few), text(many));
    }
}

#[test]
fn a_conversation_of_higher_priority_is_not_set_aside() {
    let (_folder, model) = model(Chat { context: Some(96), cache: Some(96), ..Chat::default() });
    let pool = Arc::new(Pool::new(1));
    let words = "counting parts on the belt ".repeat(2);
    let mut urgent = begin(&model, &asked(&words, 40), Priority::High);
    let mut usual = begin(&model, &asked(&format!("x {words}"), 40), Priority::Normal);
    while urgent.pending() > 1 {
        model.step(&mut [&mut urgent], &mut [], 1, &pool, &mut || ());
    }
    for _ in 0..3 {
        let progress = model.step(&mut [&mut usual], &mut [&mut urgent], 1, &pool, &mut || ());
        assert!(matches!(progress[0], Progress::Going(_)));
        assert!(urgent.holds_pages());
    }
    // The other way round it gets what it needs.
    let progress = model.step(&mut [&mut urgent], &mut [&mut usual], 1, &pool, &mut || ());
    assert!(matches!(&progress[0], Progress::Going(said) if !said.text.is_empty() || urgent.pending() == 1), "{progress:?}");
}

#[test]
fn pieces_make_the_whole_and_logprobs_come_with_them() {
    let (_folder, model) = model(Chat::default());
    let mut body = asked("hello", 12);
    body["logprobs"] = true.into();
    body["top_logprobs"] = 2.into();
    body["stream"] = true.into();
    let mut talk = begin(&model, &body, Priority::Normal);
    assert!(talk.streams());
    let pool = Arc::new(Pool::new(1));
    let (mut pieces, mut logprobs) = (String::new(), 0);
    let chat = loop {
        match model.step(&mut [&mut talk], &mut [], 1, &pool, &mut || ()).remove(0) {
            Progress::Going(said) => {
                pieces.push_str(&said.text);
                logprobs += said.logprobs.len();
            }
            Progress::Over(said, chat) => {
                pieces.push_str(&said.text);
                logprobs += said.logprobs.len();
                break chat;
            }
            Progress::Failed(fault) => panic!("{fault:?}"),
        }
    };
    assert_eq!(pieces, chat.choices[0].message.content);
    let whole = chat.choices[0].logprobs.as_ref().unwrap();
    assert_eq!(logprobs, whole.content.len());
    assert!(whole.content.iter().all(|token| token.top_logprobs.len() == 2 && token.logprob <= 0.0));
    assert!(chat.speed.time_to_first_token_us > 0);
}

#[test]
fn an_answer_ends_at_its_length_its_stop_string_or_its_schema() {
    let (_folder, model) = model(Chat::default());
    let free = answers(&model, &[asked("hello", 12)], 1).remove(0).unwrap();
    let said = free.choices[0].message.content.clone();
    if free.choices[0].finish_reason == FinishReason::Length {
        assert_eq!(free.usage.completion_tokens, 12);
    }
    let stop: String = said.chars().skip(2).take(1).collect();
    let mut body = asked("hello", 12);
    body["stop"] = json!([stop]);
    let stopped = answers(&model, &[body], 1).remove(0).unwrap();
    assert_eq!(stopped.choices[0].finish_reason, FinishReason::Stop);
    assert_eq!(stopped.choices[0].message.content, said[..said.find(&stop).unwrap()]);
    let mut body = asked("hello", 60);
    let schema = json!({"type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"], "additionalProperties": false});
    body["response_format"] = json!({"type": "json_schema", "json_schema": {"name": "switch", "schema": schema}});
    let held = answers(&model, &[body], 1).remove(0).unwrap();
    let read: Value = serde_json::from_str(&held.choices[0].message.content).unwrap();
    assert!(read["on"].is_boolean(), "{read}");
    assert_eq!(held.choices[0].finish_reason, FinishReason::Stop);
}

#[test]
fn a_bad_request_is_told_what_is_wrong() {
    let (_folder, model) = model(Chat { context: Some(64), ..Chat::default() });
    let refused = |body: Value| model.begin(&payload(&body), Priority::Normal, Instant::now()).map(|_| ()).unwrap_err();
    let long = refused(asked(&"word ".repeat(100), 4));
    assert_eq!(long.kind, FaultKind::TooLarge);
    assert!(long.message.contains("64 are the most"), "{}", long.message);
    let mut impossible = asked("hello", 4);
    impossible["response_format"] =
        json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "string", "minLength": 5, "maxLength": 2}}});
    assert_eq!(refused(impossible).kind, FaultKind::BadRequest);
    assert_eq!(refused(json!({"messages": []})).kind, FaultKind::BadRequest);
}
