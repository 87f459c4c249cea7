//! Reads a chat template and conversations as JSON from standard input, and writes what it makes of each as a line of JSON: a string,
//! or null where it refuses. For `tests/peers/llm/templates.py`, which compares them with Jinja's.

use hearth_models::text::{Chat, ChatTemplate, Vocabulary};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::io::Read;
use std::time::{Duration, Instant, UNIX_EPOCH};

#[derive(Deserialize)]
struct Input {
    template: String,
    bos: String,
    eos: String,
    /// Seconds since 1970.
    now: u64,
    chats: Vec<Conversation>,
}

#[derive(Deserialize)]
struct Conversation {
    messages: Box<RawValue>,
    tools: Option<Box<RawValue>>,
    variables: Option<Box<RawValue>>,
    add_generation_prompt: bool,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut json = String::new();
    std::io::stdin().read_to_string(&mut json)?;
    let Input { template, bos, eos, now, chats } = serde_json::from_str(&json)?;
    let vocabulary =
        Vocabulary { chat_template: Some(template), tokens: vec![bos, eos], bos: Some(0), eos: Some(1), ..Vocabulary::default() };
    let template = ChatTemplate::new(&vocabulary)?;
    let start = Instant::now();
    for chat in &chats {
        let text = template.render(&Chat {
            messages: &chat.messages,
            tools: chat.tools.as_deref(),
            variables: chat.variables.as_deref(),
            add_generation_prompt: chat.add_generation_prompt,
            now: UNIX_EPOCH + Duration::from_secs(now),
        });
        if let Err(error) = &text {
            eprintln!("{error}");
        }
        println!("{}", serde_json::to_string(&text.ok())?);
    }
    eprintln!("{} conversations in {} µs", chats.len(), start.elapsed().as_micros());
    Ok(())
}
