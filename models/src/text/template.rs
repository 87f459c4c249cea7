//! Chat templates: a conversation to the text that a model was trained on, in Jinja as Hugging Face's transformers runs it.
//!
//! What a template may cost is bounded by minijinja's fuel, which counts instructions and the bytes that they make. Two things it does not
//! count (3.1): `list + list` again and again, and `~` with a list that holds itself many times over. A template that does that on
//! purpose hangs the engine, which systemd's watchdog and the quarantine of models are for.

mod filters;
mod moment;

use super::{TextError, Vocabulary};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::time::SystemTime;

/// Most bytes of a template. The longest published ones have 30 KiB.
const MAX_TEMPLATE: usize = 256 << 10;
/// Most bytes of a conversation with its tools and variables.
const MAX_CHAT: usize = 1 << 20;
/// What any conversation may cost: so many instructions or, at 64 bytes each, 16 MB.
const FUEL: u64 = 250_000;
/// What each byte of a conversation may cost beside. Messages of one letter cost the most for each byte, and have some 1,700 each.
const FUEL_A_BYTE: u64 = 50;
/// How deep a template may call itself.
const RECURSION: usize = 100;
/// The name by which the template is known in messages.
const NAME: &str = "chat_template";
/// What most models without a template of their own were trained on.
const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}\
    {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// A model's template. Holds no state of a conversation.
pub struct ChatTemplate {
    environment: Environment<'static>,
    /// `bos_token` and its like, as transformers names them.
    tokens: BTreeMap<&'static str, String>,
}

/// A conversation, as the template sees it.
#[derive(Debug, Clone, Copy)]
pub struct Chat<'c> {
    /// An array of messages, as OpenAI's API has them: `[{"role": "user", "content": "..."}, ...]`.
    pub messages: &'c RawValue,
    /// An array of tools, as OpenAI's API has them.
    pub tools: Option<&'c RawValue>,
    /// An object of more variables for the template, such as `{"enable_thinking": false}`.
    pub variables: Option<&'c RawValue>,
    /// Whether the text ends with the beginning of an answer.
    pub add_generation_prompt: bool,
    /// What `strftime_now` tells, in UTC.
    pub now: SystemTime,
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a chat template")
    }
}

impl ChatTemplate {
    /// The template of a model: its own or, where it has none but knows `<|im_start|>`, ChatML.
    ///
    /// # Errors
    /// [`TextError::Template`] where there is none, or it is no Jinja.
    pub fn new(vocabulary: &Vocabulary) -> Result<ChatTemplate, TextError> {
        let own = vocabulary.chat_template.as_deref().filter(|template| !template.trim().is_empty());
        let source = match own {
            Some(own) => own,
            None if vocabulary.id_of("<|im_start|>").is_some() => CHATML,
            None => {
                let wrong =
                    "is missing (tokenizer.chat_template), and the vocabulary has no <|im_start|>; such a model completes texts only";
                return Err(TextError::Template(wrong.into()));
            }
        };
        let tokens =
            [("bos_token", vocabulary.bos), ("eos_token", vocabulary.eos), ("unk_token", vocabulary.unk), ("pad_token", vocabulary.pad)];
        let tokens = tokens.into_iter().filter_map(|(name, id)| Some((name, vocabulary.text_of(id)?.to_owned()))).collect();
        ChatTemplate::parse(source, tokens)
    }

    fn parse(source: &str, tokens: BTreeMap<&'static str, String>) -> Result<ChatTemplate, TextError> {
        if source.len() > MAX_TEMPLATE {
            let length = source.len();
            return Err(TextError::Template(format!("has {length} bytes; at most {MAX_TEMPLATE} are taken")));
        }
        let mut environment = Environment::new();
        // As transformers makes its environment (`utils/chat_template_utils.py`).
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(|e| faulty(&e))?;
        environment.set_syntax(syntax);
        environment.set_recursion_limit(RECURSION);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_formatter(filters::print);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.add_filter("tojson", filters::tojson);
        environment.add_filter("string", filters::string);
        environment.add_test("iterable", filters::is_iterable);
        environment.add_function("raise_exception", raise_exception);
        environment.add_template_owned(NAME, without_generation(source)).map_err(|e| faulty(&e))?;
        Ok(ChatTemplate { environment, tokens })
    }

    /// The text of a conversation.
    ///
    /// # Errors
    /// [`TextError::Request`] where the conversation is none, is too long, or the template refuses it (a role that it does not know);
    /// [`TextError::Template`] where the template fails or does not end.
    pub fn render(&self, chat: &Chat<'_>) -> Result<String, TextError> {
        let parts = [Some(chat.messages), chat.tools, chat.variables].into_iter().flatten();
        let length: usize = parts.map(|part| part.get().len()).sum();
        if length > MAX_CHAT {
            return Err(TextError::Request(format!("the conversation has {length} bytes; at most {MAX_CHAT} are taken")));
        }
        let messages = value(chat.messages, "messages", ValueKind::Seq)?;
        let tools = chat.tools.map(|tools| value(tools, "tools", ValueKind::Seq)).transpose()?;
        let mut variables: BTreeMap<String, Value> = self.tokens.iter().map(|(name, text)| ((*name).to_owned(), text.into())).collect();
        if let Some(more) = chat.variables {
            let more = value(more, "the template's variables", ValueKind::Map)?;
            for name in more.try_iter().map_err(|e| faulty(&e))? {
                variables.insert(name.to_string(), more.get_item(&name).unwrap_or_default());
            }
        }
        let now = chat.now;
        variables.insert("messages".into(), messages);
        // transformers hands them over even where there are none.
        variables.insert("tools".into(), tools.unwrap_or(Value::from(())));
        variables.insert("documents".into(), Value::from(()));
        variables.insert("add_generation_prompt".into(), chat.add_generation_prompt.into());
        variables.insert("strftime_now".into(), Value::from_function(move |format: &str| moment::format(now, format)));
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(FUEL + FUEL_A_BYTE * length as u64));
        let template = environment.get_template(NAME).map_err(|e| faulty(&e))?;
        template.render(variables).map_err(|e| match refusal(&e) {
            Some(message) => TextError::Request(format!("the model does not take this conversation: {message}")),
            None if e.kind() == ErrorKind::OutOfFuel => {
                TextError::Template("does more work than such a conversation can need; it may never end".into())
            }
            None => faulty(&e),
        })
    }
}

/// A template's `{% generation %}`, by which transformers marks an answer for training and which prints nothing, as an `if`.
fn without_generation(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at + 2);
        text.push_str(before);
        let sign = tag.len() - tag.trim_start_matches(['-', '+']).len();
        let (sign, tag) = tag.split_at(sign.min(1));
        let word = tag.trim_start();
        let replaced = [("generation", " if true "), ("endgeneration", " endif ")];
        let found = replaced.iter().find_map(|(name, new)| {
            let after = word.strip_prefix(name)?.trim_start();
            (after.starts_with("%}") || after.starts_with("-%}") || after.starts_with("+%}")).then_some((*new, after))
        });
        let (new, after) = found.unwrap_or(("", tag));
        text.push_str(sign);
        text.push_str(new);
        rest = after;
    }
    text + rest
}

/// The value of a part of a conversation.
fn value(json: &RawValue, what: &str, kind: ValueKind) -> Result<Value, TextError> {
    let value: Value = serde_json::from_str(json.get()).map_err(|e| TextError::Request(format!("{what} cannot be read: {e}")))?;
    let (right, found) = (if kind == ValueKind::Seq { "a JSON array" } else { "a JSON object" }, value.kind());
    if found == kind { Ok(value) } else { Err(TextError::Request(format!("{what} must be {right}, not a {found}"))) }
}

/// Marks the errors that a template raises itself.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

fn raise_exception(message: &str, _: Kwargs) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message.to_owned()).with_source(Raised(message.to_owned())))
}

/// What a template itself said against a conversation.
fn refusal(error: &Error) -> Option<String> {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(Raised(message)) = inner.downcast_ref() {
            return Some(message.clone());
        }
        source = inner.source();
    }
    None
}

fn faulty(error: &Error) -> TextError {
    let line = error.line().map(|line| format!(" (line {line})")).unwrap_or_default();
    TextError::Template(format!("failed{line}: {error}"))
}

#[cfg(test)]
mod tests;
