//! Chat requests: what they may hold, and what is said of those that may not.

use super::*;
use crate::{ContentType, FaultKind, Payload};
use serde_json::{Value, json};

fn parse(body: &Value) -> Result<ChatRequest, crate::Fault> {
    ChatRequest::parse(&Payload { content_type: ContentType::Json, bytes: serde_json::to_vec(body).unwrap().into() })
}

/// A request of one message, and these fields.
fn with(fields: Value) -> Result<ChatRequest, crate::Fault> {
    let mut body = json!({"messages": [{"role": "user", "content": "Hello"}]});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    parse(&body)
}

#[test]
fn a_request_of_openai_is_read_with_all_it_holds() {
    let request = parse(&json!({
        "model": "foreman", "user": "me", "metadata": {"a": "b"}, "store": true, "parallel_tool_calls": true, "n": 1,
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "name": "ann", "content": [{"type": "text", "text": "Is the "}, {"type": "text", "text": "press on?"}]},
            {"role": "assistant", "content": null,
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "state", "arguments": "{\"of\":\"press\",\"by\":1}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "on"},
        ],
        "tools": [{"type": "function", "function": {"name": "state", "description": "d", "parameters": {"type": "object"}}}],
        "tool_choice": "auto", "chat_template_kwargs": {"enable_thinking": false},
        "temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "repetition_penalty": 1.1, "frequency_penalty": -1,
        "presence_penalty": 2, "seed": -1, "max_tokens": 5, "max_completion_tokens": 7, "stop": ["\n", "END"], "stream": true,
        "stream_options": {"include_usage": true}, "logprobs": true, "top_logprobs": 3,
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": true, "schema": {"type": "object"}}},
    }))
    .unwrap();
    let roles: Vec<Role> = request.messages.iter().map(|m| m.role).collect();
    assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::Tool]);
    assert_eq!((request.messages[1].content.as_str(), request.messages[1].name.as_deref()), ("Is the press on?", Some("ann")));
    // As templates want it: in the caller's order, and not a string within JSON.
    assert_eq!(request.messages[2].tool_calls[0]["function"]["arguments"].to_string(), r#"{"of":"press","by":1}"#);
    assert_eq!(request.messages[3].tool_call_id.as_deref(), Some("c1"));
    assert_eq!(
        request.tools[0].to_string(),
        r#"{"type":"function","function":{"name":"state","description":"d","parameters":{"type":"object"}}}"#
    );
    assert_eq!(request.chat_template_kwargs["enable_thinking"], false);
    let sampling = Sampling {
        temperature: Some(0.5),
        top_p: Some(0.9),
        top_k: Some(40),
        min_p: Some(0.05),
        repetition_penalty: Some(1.1),
        frequency_penalty: Some(-1.0),
        presence_penalty: Some(2.0),
        seed: Some(u64::MAX),
    };
    assert_eq!(request.sampling, sampling);
    assert_eq!(
        (request.max_tokens, request.stop, request.stream, request.logprobs),
        (Some(7), vec!["\n".into(), "END".into()], true, Some(3))
    );
    assert_eq!(request.response_format, ResponseFormat::JsonSchema(json!({"type": "object"})));
}

#[test]
fn what_is_left_out_or_null_is_left_to_the_model() {
    let bare = with(json!({})).unwrap();
    assert_eq!(bare, ChatRequest::parse(&Payload { content_type: ContentType::Text, bytes: "Hello".into() }).unwrap());
    assert_eq!(bare.sampling, Sampling::default());
    let nulls = json!({"temperature": null, "stop": null, "tools": null, "response_format": null, "n": null, "tool_choice": null,
        "audio": null, "stream": null, "logprobs": null, "top_logprobs": null, "some_day": {"x": 1}});
    assert_eq!(with(nulls).unwrap(), bare);
}

#[test]
fn the_limits_themselves_are_allowed() {
    for fields in [
        json!({"temperature": 0}),
        json!({"temperature": 2.0}),
        json!({"top_p": 0}),
        json!({"top_p": 1}),
        json!({"top_k": -1}),
        json!({"top_k": 0}),
        json!({"min_p": 1.0}),
        json!({"repetition_penalty": 2}),
        json!({"seed": u64::MAX}),
        json!({"max_tokens": u64::MAX}),
        json!({"stop": []}),
        json!({"stop": "x".repeat(256)}),
        json!({"logprobs": true, "top_logprobs": 20}),
        json!({"logprobs": false, "top_logprobs": 0}),
        json!({"modalities": ["text"], "logit_bias": {}}),
    ] {
        with(fields.clone()).unwrap_or_else(|fault| panic!("{fields}: {fault}"));
    }
    assert_eq!(with(json!({"logprobs": true})).unwrap().logprobs, Some(0));
    assert_eq!(with(json!({"top_k": -1})).unwrap().sampling.top_k, Some(0));
    let none = with(json!({"tool_choice": "none", "tools": [{"type": "function", "function": {"name": "f"}}]})).unwrap();
    assert!(none.tools.is_empty(), "the model is not to know of tools that it may not call");
}

#[test]
fn what_is_wrong_is_said_with_what_would_be_right() {
    for (fields, right) in [
        (json!({"temperature": 2.1}), "\"temperature\" is 2.1 and is to be a number from 0 to 2"),
        (json!({"temperature": "hot"}), "\"temperature\" is to be a number from 0 to 2"),
        (json!({"top_p": -0.1}), "from 0 to 1"),
        (json!({"top_k": 1.5}), "0 for all tokens"),
        (json!({"top_k": -2}), "0 for all tokens"),
        (json!({"min_p": 1.5}), "from 0 to 1"),
        (json!({"repetition_penalty": 0}), "over 0"),
        (json!({"frequency_penalty": 3}), "from -2 to 2"),
        (json!({"presence_penalty": -3}), "from -2 to 2"),
        (json!({"seed": 0.5}), "64 bits"),
        (json!({"max_tokens": 0}), "from 1 on"),
        (json!({"max_completion_tokens": -1}), "from 1 on"),
        (json!({"stop": ""}), "1 to 256 bytes"),
        (json!({"stop": vec!["x"; 17]}), "at most 16"),
        (json!({"stop": [1]}), "at most 16"),
        (json!({"stream": "yes"}), "true or false"),
        (json!({"logprobs": 3}), "true or false"),
        (json!({"logprobs": true, "top_logprobs": 21}), "from 0 to 20"),
        (json!({"top_logprobs": 2}), "\"logprobs\": true"),
        (json!({"response_format": {"type": "xml"}}), "json_schema"),
        (json!({"response_format": {"type": "json_schema"}}), "\"schema\": {...}"),
        (json!({"response_format": {"type": "json_schema", "json_schema": {"schema": 3}}}), "\"schema\": {...}"),
        (json!({"n": 2}), "\"n\" is to be 1"),
        (json!({"tool_choice": "required"}), "cannot be forced"),
        (json!({"tool_choice": {"type": "function", "function": {"name": "f"}}}), "cannot be forced"),
        (json!({"tools": ["f"]}), "a list of objects"),
        (json!({"functions": []}), "\"tools\""),
        (json!({"logit_bias": {"5": 1}}), "leave it out"),
        (json!({"audio": {"voice": "x"}}), "text"),
        (json!({"modalities": ["text", "audio"]}), "text"),
        (json!({"chat_template_kwargs": [1]}), "variables"),
        (json!({"messages": []}), "at least one message"),
        (json!({"messages": "Hello"}), "a list such as"),
        (json!({"messages": ["Hello"]}), "messages[0] is to be an object"),
        (json!({"messages": [{"role": "king", "content": "x"}]}), "messages[0].role is to be"),
        (json!({"messages": [{"role": "user"}]}), "messages[0].content"),
        (json!({"messages": [{"role": "user", "content": null}]}), "messages[0].content"),
        (json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}), "no pictures"),
        (json!({"messages": [{"role": "user", "content": "x", "tool_calls": []}]}), "of the assistant"),
        (json!({"messages": [{"role": "assistant", "tool_calls": [{"id": "1"}]}]}), "\"function\""),
        (json!({"messages": [{"role": "user", "content": "x", "name": 1}]}), "messages[0].name is to be a string"),
    ] {
        let fault = with(fields.clone()).expect_err(&fields.to_string());
        assert_eq!(fault.kind, FaultKind::BadRequest, "{fields}");
        assert!(fault.message.contains(right), "{fields}: {fault}");
    }
}

#[test]
fn what_is_no_chat_at_all_is_refused() {
    let refused = |content_type, bytes: &'static [u8], right: &str| {
        let fault = ChatRequest::parse(&Payload { content_type, bytes: bytes.into() }).expect_err(right);
        assert!(fault.kind == FaultKind::BadRequest && fault.message.contains(right), "{fault}");
    };
    refused(ContentType::Png, b"\x89PNG", "not image/png");
    refused(ContentType::Text, b"  \n", "empty");
    refused(ContentType::Text, b"ab\xff", "not UTF-8 from byte 2 on");
    refused(ContentType::Json, b"[1]", "a JSON object");
    refused(ContentType::Json, b"{}", "\"messages\"");
    // The fault does not repeat a prompt.
    refused(ContentType::Json, b"{\"messages\": secret}", "line 1, column 14");
    refused(ContentType::Json, "[".repeat(100_000).leak().as_bytes(), "no JSON");
}
