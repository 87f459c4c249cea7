//! The contract in `daemon/api/contract`: what the daemon serves is what is written there, interface by interface, and what
//! it answers is what the schemas say.

use crate::client::{Options, Stage, call, infer, model, parts, seven, tensor};
use hearth_api::chat::{
    Chat, ChatChunk, ChatObject, ChatRequest, Choice, ChunkChoice, ChunkObject, Delta, FinishReason, Logprobs, Message, Role, Speed,
    TokenLogprob, TopLogprob, Usage,
};
use hearth_api::dbus::{BUS_NAME, MANAGER_PATH, ROOT_PATH};
use hearth_api::{Answer, ContentType, ModelName, Payload, Reply, RequestId, Timings};
use hearth_tests::bus::{bytes, repository, sealed};
use serde_json::json;
use std::io::Write;
use std::process::{Command, Stdio};
use zbus::{Connection, Fd, OwnedObjectPath, Variant};

async fn introspect(client: &Connection, path: &str) -> anyhow::Result<String> {
    let proxy = zbus::fdo::IntrospectableProxy::builder(client).destination(BUS_NAME).path(path.to_owned()).build().await?;
    Ok(proxy.introspect().await?)
}

/// The element of an interface in an introspection, as a document of its own.
fn interface(xml: &str, name: &str) -> String {
    let begin = xml.find(&format!("  <interface name=\"{name}\">")).unwrap_or_else(|| panic!("{name} is not in\n{xml}"));
    let end = begin + xml[begin..].find("</interface>").expect("its end") + "</interface>".len();
    format!(
        "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n \"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n<node>\n{}\n</node>\n",
        &xml[begin..end]
    )
}

#[tokio::test]
async fn the_served_interfaces_are_those_of_the_contract() -> anyhow::Result<()> {
    let stage = Stage::set().await?;
    let client = stage.client().await?;
    let digits = model(&client, "digits").await?;
    let job: OwnedObjectPath = call(&digits, "Submit", &("image/png", Variant::from(seven()?), Options::new())).await?;
    for (path, name) in [
        (MANAGER_PATH, "org.hearthd.Inference1.Manager"),
        (MANAGER_PATH, "org.hearthd.Inference1.Thermal"),
        (digits.path().as_str(), "org.hearthd.Inference1.Model"),
        (job.as_str(), "org.hearthd.Inference1.Job"),
    ] {
        let served = interface(&introspect(&client, path).await?, name);
        let golden = repository(&format!("daemon/api/contract/{name}.xml"));
        if std::env::var_os("UPDATE_CONTRACT").is_some() {
            std::fs::write(&golden, &served)?;
        }
        let written = std::fs::read_to_string(&golden)?;
        assert_eq!(
            served, written,
            "{name} is not what the contract says; if that is meant, run this with UPDATE_CONTRACT=1 and mind the version"
        );
    }
    assert!(introspect(&client, ROOT_PATH).await?.contains("org.freedesktop.DBus.ObjectManager"));
    Ok(())
}

/// Chat requests, chunks and replies, and whether they are to be allowed.
fn chats() -> (Documents, Documents, Documents) {
    let hello = json!([{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]);
    let asked = vec![
        (json!({"messages": hello}), true),
        (json!({"messages": hello, "stop": "\n", "stream": true, "temperature": null, "seed": -1, "metadata": {"a": "b"}}), true),
        (json!({"messages": [{"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f"}}]}]}), true),
        (json!({"messages": [{"role": "user", "content": null}]}), false),
        (json!({"messages": []}), false),
        (json!({"messages": hello, "n": 2}), false),
        (json!({"messages": hello, "temperature": 3}), false),
        (json!({"messages": hello, "response_format": {"type": "json_schema"}}), false),
    ];
    for (document, allowed) in &asked {
        let payload = Payload { content_type: ContentType::Json, bytes: document.to_string().into() };
        let parsed = ChatRequest::parse(&payload);
        assert_eq!(parsed.is_ok(), *allowed, "what the daemon reads and what the schema says is one: {document} {parsed:?}");
    }
    let token = TokenLogprob {
        token: "Hi".into(),
        logprob: -0.5,
        bytes: b"Hi".into(),
        top_logprobs: vec![TopLogprob { token: "Ho".into(), logprob: -9999.0, bytes: b"Ho".into() }],
    };
    let chunk = |delta, finish_reason, logprobs| {
        let choices = vec![ChunkChoice { index: 0, delta, finish_reason, logprobs }];
        let (id, model) = (RequestId::new("7").expect("an id"), ModelName::new("foreman").expect("a name"));
        json!(ChatChunk { id, object: ChunkObject::Chunk, created: 1, model, number: 0, attempt: 1000, choices })
    };
    let first = Delta { role: Some(Role::Assistant), content: Some("Hi".into()) };
    let logprobs = Some(Logprobs { content: vec![token] });
    let chunks = vec![
        (chunk(first, None, logprobs.clone()), true),
        (chunk(Delta::default(), Some(FinishReason::Stop), None), true),
        (chunk(Delta { role: Some(Role::User), content: None }, None, None), false),
    ];
    let choice = Choice { index: 0, message: Message::new(Role::Assistant, "Hi"), finish_reason: FinishReason::Length, logprobs };
    let speed = Speed { time_to_first_token_us: 5, tokens_per_second: 0.0 };
    let chat = Chat { object: ChatObject::Completion, created: 1, choices: vec![choice], usage: Usage::new(3, 1, 1), speed };
    let reply = json!(Reply {
        id: RequestId::new("7").expect("an id"),
        model: ModelName::new("foreman").expect("a name"),
        model_version: "1".into(),
        answer: Answer::Chat(Box::new(chat)),
        timings: Timings::default(),
        batch: 1,
        threads: 1,
        performance_degraded: String::new(),
    });
    let mut without = reply.clone();
    without.as_object_mut().expect("a reply").remove("usage");
    (asked, chunks, vec![(reply, true), (without, false)])
}

/// Documents, and whether a schema is to allow them.
type Documents = Vec<(serde_json::Value, bool)>;

/// Reads schema, document pairs; prints what is wrong. Debian's python3-jsonschema.
const VALIDATE: &str = r#"
import json, sys
import jsonschema
for line in sys.stdin:
    schema, documents = json.loads(line)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for document, valid in documents:
        errors = [error.message for error in validator.iter_errors(document)]
        if (not errors) != valid:
            print(schema["title"], json.dumps(document), errors or "was to be refused")
"#;

#[tokio::test]
async fn what_goes_in_and_out_is_what_the_schemas_say() -> anyhow::Result<()> {
    let stage = Stage::set().await?;
    let client = stage.client().await?;
    let mut replies = Documents::new();
    for (name, content_type, payload) in [
        ("digits", "image/png", seven()?.into()),
        // Over what a call holds.
        ("parts", "image/png", Fd::from(sealed(&parts()?)?).into()),
        ("negate", "application/json", tensor(&[1.0, -2.0]).into()),
    ] {
        let payload: Variant = payload;
        let (_, result, _) = infer(&model(&client, name).await?, content_type, payload, Options::new()).await?;
        replies.push((serde_json::from_slice(&bytes(result)?)?, true));
    }
    let mut wrong: serde_json::Value = replies[0].0.clone();
    wrong["outputs"] = json!([]);
    replies.push((wrong, false));
    // A detector that found nothing says so, and in what.
    let mut nothing = replies[1].0.clone();
    assert!(nothing["boxes"].as_array().is_some_and(|boxes| !boxes.is_empty()), "{nothing}");
    nothing["boxes"] = json!([]);
    replies.push((nothing.clone(), true));
    nothing.as_object_mut().expect("a reply").remove("image");
    replies.push((nothing, false));

    let limited = hearth_api::Fault::overloaded("full").with_limit("queue_requests", 5).retry_after(std::time::Duration::from_millis(9));
    let fault = serde_json::to_value(hearth_api::FaultBody::new(None, Some(ModelName::new("digits")?), limited))?;
    let watched = hearth_ctl::bus::BusClient::connect(&stage.bus.address()).await?;
    let models = watched.models().await?.iter().map(|m| Ok((serde_json::to_value(m)?, true))).collect::<serde_json::Result<Vec<_>>>()?;
    let stats = serde_json::Value::Object(watched.stats().await?);
    let request = serde_json::from_slice(&tensor(&[1.0]))?;
    let (asked, chunk, said) = chats();
    replies.extend(said);
    let documents = [
        ("chat-request", asked),
        ("chat-chunk", chunk),
        ("request", vec![(request, true), (json!({"inputs": []}), false)]),
        ("reply", replies),
        ("fault", vec![(fault, true), (json!({"kind": "bad-luck", "message": "x", "whose": "caller"}), false)]),
        ("model", models),
        ("stats", vec![(stats, true), (json!({"received": 1}), false)]),
    ];
    let mut python = Command::new("/usr/bin/python3").args(["-c", VALIDATE]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut input = python.stdin.take().expect("piped");
    for (schema, documents) in documents {
        let schema: serde_json::Value =
            serde_json::from_slice(&std::fs::read(repository(&format!("daemon/api/contract/{schema}.schema.json")))?)?;
        writeln!(input, "{}", serde_json::to_string(&(schema, documents))?)?;
    }
    drop(input);
    let output = python.wait_with_output()?;
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout)?, "");
    Ok(())
}
