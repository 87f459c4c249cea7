//! `hearthctl chat`: a talk with a language model at the terminal, or one question and its answer.

mod door;
mod screen;
mod talk;
mod terminal;

use crate::broker::BrokerOptions;
use crate::{CallError, Where};
use anyhow::{Context, bail};
use clap::Args;
use door::{Door, Heard};
use hearth_api::{FaultBody, ModelName};
use screen::Screen;
use serde_json::{Map, Value, json};
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use talk::Talk;

/// `hearthctl chat`
#[derive(Debug, Args)]
pub struct Options {
    /// The model
    model: ModelName,
    /// One question, answered at once; without it, a talk at the terminal, or what comes from a pipe
    question: Option<String>,
    /// What the model is told before the talk
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// 0: always the likeliest word; up to 2: ever bolder
    #[arg(long, value_name = "T")]
    temperature: Option<f64>,
    /// The longest answer, in tokens
    #[arg(long, value_name = "N")]
    max_tokens: Option<u32>,
    /// The same seed and talk give the same answer
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// A JSON schema that each answer is to fit
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,
    /// How long an answer is worth having, in milliseconds
    #[arg(long, value_name = "MS")]
    timeout_ms: Option<u64>,
    #[command(flatten)]
    at: Where,
    #[command(flatten)]
    broker: BrokerOptions,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let question = match &options.question {
        Some(question) => Some(question.clone()),
        None if !std::io::stdin().is_terminal() => Some(piped()?),
        None if options.at.json => bail!("--json prints one reply; give a question: hearthctl chat {} --json \"...\"", options.model),
        None if !std::io::stdout().is_terminal() => bail!("a talk needs a terminal; give a question to have its answer written to a file"),
        None => None,
    };
    let talk = Talk::new(options.system.clone(), settings(&options)?);
    let timeout = options.timeout_ms.map(Duration::from_millis);
    let door = Door::open(&options.model, &options.at.bus, &options.broker, timeout).await?;
    match question {
        Some(question) if options.at.json => print_reply(&door, talk, &question).await,
        Some(question) => answer_one(&door, talk, &question).await,
        None => terminal::run(&door, talk).await,
    }
}

fn piped() -> anyhow::Result<String> {
    let mut question = String::new();
    std::io::stdin().read_to_string(&mut question).context("the question cannot be read from standard input")?;
    if question.trim().is_empty() {
        bail!("no question came through the pipe; write one to it, or after the model's name");
    }
    Ok(question)
}

/// What goes along with each request.
fn settings(options: &Options) -> anyhow::Result<Map<String, Value>> {
    let mut settings = Map::new();
    let mut set = |name: &str, value: Option<Value>| value.map(|value| settings.insert(name.into(), value));
    set("temperature", options.temperature.map(Value::from));
    set("max_completion_tokens", options.max_tokens.map(Value::from));
    set("seed", options.seed.map(Value::from));
    set("response_format", options.schema.as_deref().map(response_format).transpose()?);
    Ok(settings)
}

fn response_format(file: &Path) -> anyhow::Result<Value> {
    let text = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let schema: Value = serde_json::from_slice(&text).with_context(|| format!("{} is no JSON schema", file.display()))?;
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    Ok(json!({"type": "json_schema", "json_schema": {"name": name, "schema": schema}}))
}

/// The reply as JSON, or the fault.
async fn print_reply(door: &Door, mut talk: Talk, question: &str) -> anyhow::Result<ExitCode> {
    talk.ask(question);
    let mut answering = match door.ask(talk.request(false)).await {
        Ok(answering) => answering,
        Err(error) => return print_fault(door, error),
    };
    loop {
        match answering.next().await {
            Heard::Chunk(_) => {}
            Heard::Reply(reply) => {
                println!("{reply}");
                return Ok(ExitCode::SUCCESS);
            }
            Heard::Failed(error) => return print_fault(door, error),
        }
    }
}

fn print_fault(door: &Door, error: CallError) -> anyhow::Result<ExitCode> {
    match error {
        CallError::Fault(fault) => {
            println!("{}", serde_json::to_string(&FaultBody::new(None, Some(door.model().clone()), fault))?);
            Ok(ExitCode::FAILURE)
        }
        unreachable => Err(unreachable.into()),
    }
}

/// The answer as text, while it comes. Ctrl-C ends the program, and with it the request.
async fn answer_one(door: &Door, mut talk: Talk, question: &str) -> anyhow::Result<ExitCode> {
    talk.ask(question);
    let mut answering = door.ask(talk.request(true)).await?;
    let mut screen = Screen::new();
    loop {
        match answering.next().await {
            Heard::Chunk(chunk) => screen.chunk(&chunk)?,
            Heard::Reply(reply) => {
                screen.whole(&serde_json::from_value(reply)?)?;
                screen.speed(door.temperature().await)?;
                return Ok(ExitCode::SUCCESS);
            }
            Heard::Failed(error) => {
                screen.end_line()?;
                return Err(error.into());
            }
        }
    }
}
