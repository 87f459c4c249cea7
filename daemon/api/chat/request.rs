//! What is asked of a language model: messages, tools, sampling. Read by hand, so that a fault can say what would be right
//! without repeating what was written: prompts rest nowhere.

use crate::{ContentType, Fault, Payload};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Stop strings of a request.
const STOPS: usize = 16;
/// Bytes of a stop string: so much of an answer may have to be held back while it streams.
const STOP_BYTES: usize = 256;
/// Alternatives shown for each token.
const TOP_LOGPROBS: u64 = 20;

/// A chat request, with what the caller left open left open: defaults are the model's.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatRequest {
    /// The talk so far; at least one.
    pub messages: Vec<Message>,
    /// What the model may call, each as the caller wrote it, for the model's template. Empty where `tool_choice` is `none`.
    pub tools: Vec<Value>,
    /// More variables for the model's template, such as `enable_thinking`.
    pub chat_template_kwargs: Map<String, Value>,
    /// How a token is chosen.
    pub sampling: Sampling,
    /// The answer has at most so many tokens; at least one.
    pub max_tokens: Option<u32>,
    /// The answer ends before the first of these; none is empty.
    pub stop: Vec<String>,
    /// Whether the answer is wanted piece by piece too.
    pub stream: bool,
    /// How many alternatives are shown for each token, 0 to 20; none where no logprobs are wanted.
    pub logprobs: Option<u32>,
    /// What the answer has to be.
    pub response_format: ResponseFormat,
}

/// One message of a talk. Serialized it is what chat templates expect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What they say. Empty where an assistant only calls tools.
    pub content: String,
    /// The name of who says it, or of the tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What an assistant calls: as the caller wrote it, but for `function.arguments`, which is an object where it held one as
    /// a string, because templates write it out as JSON themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<Value>,
    /// Which call a tool answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

impl Message {
    /// A message that is text alone.
    pub fn new(role: Role, content: impl Into<String>) -> Message {
        Message { role, content: content.into(), name: None, tool_calls: Vec::new(), tool_call_id: None }
    }
}

/// Who says a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Whoever sets the model up; `developer` is read as this, for templates know no other name for it.
    System,
    /// Whoever asks.
    User,
    /// The model.
    Assistant,
    /// A tool that the model called.
    Tool,
}

/// How a token is chosen; none leaves it to the model.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sampling {
    /// 0 (the likeliest token) to 2.
    pub temperature: Option<f32>,
    /// Among the likeliest tokens that together have this probability, 0 to 1.
    pub top_p: Option<f32>,
    /// Among so many likeliest tokens; 0 means all.
    pub top_k: Option<u32>,
    /// Among tokens at least so probable, as a share of the likeliest one, 0 to 1.
    pub min_p: Option<f32>,
    /// Divides the logits of tokens that occurred (multiplies negative ones), over 0 to 2; 1 does nothing.
    pub repetition_penalty: Option<f32>,
    /// Subtracted from a logit for each occurrence in the answer, -2 to 2.
    pub frequency_penalty: Option<f32>,
    /// Subtracted once from the logit of a token that occurred in the answer, -2 to 2.
    pub presence_penalty: Option<f32>,
    /// The same seed and request give the same answer.
    pub seed: Option<u64>,
}

/// What an answer has to be.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum ResponseFormat {
    /// Any text.
    #[default]
    Text,
    /// A JSON object.
    JsonObject,
    /// JSON that fits this schema.
    JsonSchema(Value),
}

impl ChatRequest {
    /// Reads a payload: JSON in the shape of OpenAI's chat completions, or text, which is one message of a user.
    ///
    /// Unknown fields are ignored, as OpenAI's servers do; what would change the meaning of the answer and is not supported
    /// is a `bad-request`.
    pub fn parse(payload: &Payload) -> Result<ChatRequest, Fault> {
        match payload.content_type {
            ContentType::Json => ChatRequest::from_json(&payload.bytes),
            ContentType::Text => {
                let text = std::str::from_utf8(&payload.bytes)
                    .map_err(|e| Fault::bad_request(format!("the text is not UTF-8 from byte {} on", e.valid_up_to())))?;
                if text.trim().is_empty() {
                    return Err(Fault::bad_request("the text is empty"));
                }
                Ok(ChatRequest::of(vec![Message::new(Role::User, text)]))
            }
            other => Err(Fault::bad_request(format!(
                "a language model takes application/json (OpenAI's chat completions) or text/plain, not {}",
                other.as_str()
            ))),
        }
    }

    /// These messages, and all else left open.
    fn of(messages: Vec<Message>) -> ChatRequest {
        ChatRequest {
            messages,
            tools: Vec::new(),
            chat_template_kwargs: Map::new(),
            sampling: Sampling::default(),
            max_tokens: None,
            stop: Vec::new(),
            stream: false,
            logprobs: None,
            response_format: ResponseFormat::Text,
        }
    }

    fn from_json(json: &[u8]) -> Result<ChatRequest, Fault> {
        let body: Value = serde_json::from_slice(json)
            .map_err(|e| Fault::bad_request(format!("the payload is no JSON: an error in line {}, column {}", e.line(), e.column())))?;
        let Value::Object(mut body) = body else { return wrong("the payload", "a JSON object with \"messages\"") };
        // To some clients a field that is null is a field left out.
        body.retain(|_, value| !value.is_null());
        refuse_unsupported(&body)?;
        let Some(Value::Array(messages)) = body.remove("messages") else {
            return wrong("\"messages\"", "a list such as [{\"role\": \"user\", \"content\": \"Hello\"}]");
        };
        if messages.is_empty() {
            return wrong("\"messages\"", "a list of at least one message");
        }
        let messages = messages.into_iter().enumerate().map(|(at, m)| message(&format!("messages[{at}]"), m)).collect::<Result<_, _>>()?;
        let fields = Fields(&body);
        Ok(ChatRequest {
            tools: tools(&body)?,
            chat_template_kwargs: match body.get("chat_template_kwargs") {
                None => Map::new(),
                Some(Value::Object(arguments)) => arguments.clone(),
                Some(_) => return wrong("\"chat_template_kwargs\"", "an object of variables for the model's template"),
            },
            sampling: fields.sampling()?,
            max_tokens: match fields.tokens("max_completion_tokens")? {
                None => fields.tokens("max_tokens")?,
                newer => newer,
            },
            stop: stop(body.get("stop"))?,
            stream: fields.flag("stream")?,
            logprobs: fields.logprobs()?,
            response_format: response_format(body.get("response_format"))?,
            ..ChatRequest::of(messages)
        })
    }
}

fn wrong<T>(what: &str, right: &str) -> Result<T, Fault> {
    Err(Fault::bad_request(format!("{what} is to be {right}")))
}

/// What this daemon cannot do, and what would give another answer than was asked for if it were ignored.
fn refuse_unsupported(body: &Map<String, Value>) -> Result<(), Fault> {
    let refuse = |why: &str| Err(Fault::bad_request(why));
    if body.get("n").is_some_and(|n| n.as_u64() != Some(1)) {
        return refuse("\"n\" is to be 1: a request has one answer; send several with different seeds");
    }
    match body.get("tool_choice").map(|choice| (choice.as_str(), choice)) {
        None | Some((Some("auto" | "none"), _)) => {}
        Some(_) => {
            return refuse("\"tool_choice\" is to be \"auto\" or \"none\": a call cannot be forced; ask for JSON by \"response_format\"");
        }
    }
    if body.contains_key("functions") || body.contains_key("function_call") {
        return refuse("\"functions\" and \"function_call\" are not supported; send \"tools\"");
    }
    if body.get("logit_bias").is_some_and(|bias| bias.as_object().is_none_or(|bias| !bias.is_empty())) {
        return refuse("\"logit_bias\" is not supported; leave it out");
    }
    let text_alone = |modalities: &Value| modalities.as_array().is_some_and(|list| list.iter().all(|m| m == "text"));
    if body.contains_key("audio") || body.get("modalities").is_some_and(|m| !text_alone(m)) {
        return refuse("an answer is text: leave \"audio\" out, and \"modalities\" or all of it but \"text\"");
    }
    Ok(())
}

fn message(at: &str, message: Value) -> Result<Message, Fault> {
    let Value::Object(mut message) = message else {
        return wrong(at, "an object such as {\"role\": \"user\", \"content\": \"Hello\"}");
    };
    let role = match message.get("role").and_then(Value::as_str) {
        Some("system" | "developer") => Role::System,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("tool") => Role::Tool,
        _ => return wrong(&format!("{at}.role"), "\"system\", \"developer\", \"user\", \"assistant\" or \"tool\""),
    };
    let mut tool_calls = match message.remove("tool_calls") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(calls)) if role == Role::Assistant => calls,
        Some(_) => return wrong(&format!("{at}.tool_calls"), "a list, in a message of the assistant"),
    };
    for call in &mut tool_calls {
        unfold_arguments(&format!("{at}.tool_calls"), call)?;
    }
    let content = match message.remove("content") {
        Some(Value::String(text)) => text,
        Some(Value::Array(parts)) => text_of(at, parts)?,
        None | Some(Value::Null) if !tool_calls.is_empty() => String::new(),
        _ => return wrong(&format!("{at}.content"), "a string, or a list of {\"type\": \"text\", \"text\": \"...\"}"),
    };
    let mut string = |name: &str| match message.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => wrong(&format!("{at}.{name}"), "a string"),
    };
    Ok(Message { role, content, name: string("name")?, tool_call_id: string("tool_call_id")?, tool_calls })
}

fn text_of(at: &str, parts: Vec<Value>) -> Result<String, Fault> {
    let mut all = String::new();
    for (part_at, mut part) in parts.into_iter().enumerate() {
        match (part.get("type").and_then(Value::as_str), part.get("text").is_some_and(Value::is_string)) {
            (Some("text"), true) => {
                if let Value::String(text) = part["text"].take() {
                    all.push_str(&text);
                }
            }
            _ => {
                let right = "{\"type\": \"text\", \"text\": \"...\"}: language models here read text alone, no pictures, sound or files";
                return wrong(&format!("{at}.content[{part_at}]"), right);
            }
        }
    }
    Ok(all)
}

/// On OpenAI's wire the arguments of a call are JSON in a string; templates want what is in it.
fn unfold_arguments(at: &str, call: &mut Value) -> Result<(), Fault> {
    let Some(function) = call.get_mut("function").and_then(Value::as_object_mut) else {
        return wrong(&format!("each of {at}"), "an object with \"function\": {\"name\": ..., \"arguments\": ...}");
    };
    if let Some(arguments) = function.get_mut("arguments")
        && let Some(Ok(unfolded @ Value::Object(_))) = arguments.as_str().map(serde_json::from_str::<Value>)
    {
        *arguments = unfolded;
    }
    Ok(())
}

fn tools(body: &Map<String, Value>) -> Result<Vec<Value>, Fault> {
    let tools = match body.get("tools") {
        None => return Ok(Vec::new()),
        Some(Value::Array(tools)) if tools.iter().all(Value::is_object) => tools,
        Some(_) => return wrong("\"tools\"", "a list of objects such as {\"type\": \"function\", \"function\": {\"name\": ...}}"),
    };
    let none = body.get("tool_choice").is_some_and(|choice| choice == "none");
    Ok(if none { Vec::new() } else { tools.clone() })
}

fn stop(stop: Option<&Value>) -> Result<Vec<String>, Fault> {
    let stops: Option<Vec<String>> = match stop {
        None => return Ok(Vec::new()),
        Some(Value::String(one)) => Some(vec![one.clone()]),
        Some(Value::Array(list)) => list.iter().map(|s| s.as_str().map(str::to_owned)).collect(),
        Some(_) => None,
    };
    match stops {
        Some(stops) if stops.len() <= STOPS && stops.iter().all(|s| (1..=STOP_BYTES).contains(&s.len())) => Ok(stops),
        _ => wrong("\"stop\"", &format!("a string or at most {STOPS} strings, each of 1 to {STOP_BYTES} bytes")),
    }
}

fn response_format(format: Option<&Value>) -> Result<ResponseFormat, Fault> {
    let Some(format) = format else { return Ok(ResponseFormat::Text) };
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(ResponseFormat::Text),
        Some("json_object") => Ok(ResponseFormat::JsonObject),
        Some("json_schema") => match format.pointer("/json_schema/schema") {
            Some(schema) if schema.is_object() => Ok(ResponseFormat::JsonSchema(schema.clone())),
            _ => wrong("\"response_format\" of type json_schema", "{\"type\": \"json_schema\", \"json_schema\": {\"schema\": {...}}}"),
        },
        _ => wrong("\"response_format\"", "an object whose \"type\" is \"text\", \"json_object\" or \"json_schema\""),
    }
}

/// The fields that are numbers and flags.
struct Fields<'a>(&'a Map<String, Value>);

impl Fields<'_> {
    fn number(&self, name: &str, range: &str, fits: impl Fn(f64) -> bool) -> Result<Option<f32>, Fault> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        match value.as_f64() {
            Some(number) if fits(number) => Ok(Some(number as f32)),
            Some(number) => wrong(&format!("{name:?} is {number} and"), range),
            None => wrong(&format!("{name:?}"), range),
        }
    }

    fn flag(&self, name: &str) -> Result<bool, Fault> {
        match self.0.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => wrong(&format!("{name:?}"), "true or false"),
        }
    }

    fn tokens(&self, name: &str) -> Result<Option<u32>, Fault> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        match value.as_u64() {
            // More than any context holds is no more than it holds.
            Some(tokens @ 1..) => Ok(Some(u32::try_from(tokens).unwrap_or(u32::MAX))),
            _ => wrong(&format!("{name:?}"), "a whole number from 1 on"),
        }
    }

    fn sampling(&self) -> Result<Sampling, Fault> {
        let share = |name| self.number(name, "a number from 0 to 1", |x| (0.0..=1.0).contains(&x));
        let penalty = |name| self.number(name, "a number from -2 to 2", |x| (-2.0..=2.0).contains(&x));
        let top_k = match self.0.get("top_k").map(Value::as_i64) {
            None => None,
            // -1 is all in vLLM, 0 in llama.cpp.
            Some(Some(-1)) => Some(0),
            Some(Some(k @ 0..)) => Some(u32::try_from(k).unwrap_or(u32::MAX)),
            Some(_) => return wrong("\"top_k\"", "a whole number from 1 on, or 0 for all tokens"),
        };
        let seed = match self.0.get("seed").map(|seed| seed.as_u64().or(seed.as_i64().map(i64::cast_unsigned))) {
            None => None,
            Some(seed @ Some(_)) => seed,
            Some(None) => return wrong("\"seed\"", "a whole number of 64 bits"),
        };
        Ok(Sampling {
            temperature: self.number("temperature", "a number from 0 to 2", |x| (0.0..=2.0).contains(&x))?,
            top_p: share("top_p")?,
            top_k,
            min_p: share("min_p")?,
            repetition_penalty: self.number("repetition_penalty", "a number over 0, and 2 at most", |x| x > 0.0 && x <= 2.0)?,
            frequency_penalty: penalty("frequency_penalty")?,
            presence_penalty: penalty("presence_penalty")?,
            seed,
        })
    }

    fn logprobs(&self) -> Result<Option<u32>, Fault> {
        let top = match self.0.get("top_logprobs").map(Value::as_u64) {
            None => None,
            Some(Some(top @ 0..=TOP_LOGPROBS)) => Some(top as u32),
            Some(_) => return wrong("\"top_logprobs\"", &format!("a whole number from 0 to {TOP_LOGPROBS}")),
        };
        match (self.flag("logprobs")?, top) {
            (true, top) => Ok(Some(top.unwrap_or(0))),
            (false, None | Some(0)) => Ok(None),
            (false, Some(_)) => Err(Fault::bad_request("\"top_logprobs\" needs \"logprobs\": true beside it")),
        }
    }
}
