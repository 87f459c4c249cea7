//! What templates make of conversations, against texts that Jinja 3.1 made as transformers runs it (`template/expected.py`).

use super::*;
use serde_json::json;
use std::time::{Duration, UNIX_EPOCH};

/// What `expected.py` wrote: templates with the constructs that published ones have, conversations, and Jinja's texts.
const EXPECTED: &str = include_str!("expected.json");

fn template(source: &str) -> ChatTemplate {
    let tokens = ["<s>", "</s>"].map(String::from).into();
    let vocabulary = Vocabulary { chat_template: Some(source.into()), tokens, bos: Some(0), eos: Some(1), ..Vocabulary::default() };
    ChatTemplate::new(&vocabulary).unwrap()
}

fn raw(value: &serde_json::Value) -> Box<RawValue> {
    RawValue::from_string(value.to_string()).unwrap()
}

fn render(source: &str, messages: &serde_json::Value) -> Result<String, TextError> {
    let messages = raw(messages);
    let chat = Chat { messages: &messages, tools: None, variables: None, add_generation_prompt: true, now: UNIX_EPOCH };
    template(source).render(&chat)
}

#[test]
fn texts_are_jinjas_byte_for_byte() {
    #[derive(serde::Deserialize)]
    struct Case {
        template: String,
        messages: Box<RawValue>,
        tools: Option<Box<RawValue>>,
        variables: Option<Box<RawValue>>,
        add_generation_prompt: bool,
        /// Nothing where the template refuses.
        text: Option<String>,
    }
    let cases: Vec<Case> = serde_json::from_str(EXPECTED).unwrap();
    assert!(cases.len() > 20);
    for case in cases {
        let now = UNIX_EPOCH + Duration::from_secs(1_795_904_645);
        let (tools, variables) = (case.tools.as_deref(), case.variables.as_deref());
        let chat = Chat { messages: &case.messages, tools, variables, add_generation_prompt: case.add_generation_prompt, now };
        let text = template(&case.template).render(&chat);
        match (&text, &case.text) {
            (Ok(text), Some(expected)) => assert_eq!(text, expected, "{}", case.template),
            (Err(TextError::Request(message)), None) => assert!(message.contains("does not take this conversation"), "{message}"),
            _ => panic!("{}: {text:?}, not {:?}", case.template, case.text),
        }
    }
}

#[test]
fn a_vocabulary_that_knows_chatml_needs_no_template() {
    let tokens = vec!["<|im_start|>".to_owned()];
    let template = ChatTemplate::new(&Vocabulary { tokens, ..Vocabulary::default() }).unwrap();
    let messages = raw(&json!([{"role": "user", "content": "Hi"}]));
    let chat = Chat { messages: &messages, tools: None, variables: None, add_generation_prompt: true, now: UNIX_EPOCH };
    assert_eq!(template.render(&chat).unwrap(), "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
    let error = ChatTemplate::new(&Vocabulary { tokens: vec!["a".into()], ..Vocabulary::default() }).unwrap_err();
    assert!(error.to_string().contains("tokenizer.chat_template"), "{error}");
}

#[test]
fn a_template_that_does_not_end_or_fills_the_memory_is_stopped() {
    let nested = |depth: usize| {
        let opened: String = (0..depth).map(|i| format!("{{% for a{i} in range(9999) %}}")).collect();
        opened + "x" + &"{% endfor %}".repeat(depth)
    };
    let doubling =
        "{% set ns = namespace(s='aaaaaaaaaaaaaaaa') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}";
    let twice =
        |last: &str| "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}".to_owned() + last;
    let (print, json, string) = (twice("{{ ns.s }}"), twice("{{ ns.s | tojson }}"), twice("{{ ns.s | string }}"));
    let macros = "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}";
    let huge = ["{{ 'a' * 10000000000 }}", "{{ [[1]] | tojson(indent=10000000000) }}"];
    for source in [nested(4).as_str(), doubling, &print, &json, &string, macros, huge[0], huge[1]] {
        let started = std::time::Instant::now();
        let error = render(source, &json!([])).unwrap_err();
        assert!(matches!(error, TextError::Template(_)), "{source}: {error}");
        assert!(started.elapsed().as_secs() < 20, "{source}: {:?}", started.elapsed());
    }
}

#[test]
fn a_long_conversation_has_the_fuel_that_it_needs() {
    let source = "{% for m in messages %}{% if m.role == 'user' %}{{ '<|user|>' ~ m.content | trim ~ '\\n' }}{% else %}\
        {{ '<|other|>' + m['content'].strip() + '\\n' }}{% endif %}{% endfor %}";
    let many: Vec<_> = (0..20_000).map(|i| json!({"role": if i % 2 == 0 { "user" } else { "assistant" }, "content": "x"})).collect();
    assert_eq!(render(source, &json!(many)).unwrap().lines().count(), 20_000);
    let long = json!([{"role": "user", "content": "word ".repeat(200_000)}]);
    assert!(render(source, &long).unwrap().len() > 900_000);
    let error = render(source, &json!([{"role": "user", "content": "word ".repeat(300_000)}])).unwrap_err();
    assert!(matches!(&error, TextError::Request(message) if message.contains("at most")), "{error}");
}

#[test]
fn what_is_no_conversation_is_refused_with_what_would_be_right() {
    for (messages, expected) in [(json!({"role": "user"}), "messages must be a JSON array"), (json!("hi"), "messages must be a JSON array")]
    {
        let error = render("{{ messages }}", &messages).unwrap_err();
        assert!(matches!(&error, TextError::Request(message) if message.contains(expected)), "{error}");
    }
    let messages = raw(&json!([]));
    let variables = raw(&json!([1]));
    let chat = Chat { messages: &messages, tools: None, variables: Some(&variables), add_generation_prompt: true, now: UNIX_EPOCH };
    assert!(template("x").render(&chat).unwrap_err().to_string().contains("must be a JSON object"));
    // The conversation itself cannot be replaced by a variable.
    let variables = raw(&json!({"messages": "other", "tools": 1, "mood": "good"}));
    let chat = Chat { variables: Some(&variables), ..chat };
    assert_eq!(template("{{ messages }}{{ tools }}{{ mood }}").render(&chat).unwrap(), "[]Nonegood");
}

#[test]
fn a_template_that_is_no_jinja_tells_where() {
    let vocabulary = Vocabulary { chat_template: Some("a\n{% if %}".into()), ..Vocabulary::default() };
    let error = ChatTemplate::new(&vocabulary).unwrap_err().to_string();
    assert!(error.contains("line 2"), "{error}");
    let long = Vocabulary { chat_template: Some("a".repeat(300_000)), ..Vocabulary::default() };
    assert!(ChatTemplate::new(&long).unwrap_err().to_string().contains("300000 bytes"));
}
