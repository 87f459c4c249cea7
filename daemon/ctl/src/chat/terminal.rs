//! A talk at the terminal: lines in, answers out, a few commands. Ctrl-C stops the answer, Ctrl-D ends.

use super::door::{Door, Heard};
use super::screen::Screen;
use super::talk::Talk;
use crate::CallError;
use hearth_api::{Fault, FaultKind};
use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{Config, Editor};
use std::path::Path;
use std::process::ExitCode;
use tokio::signal::unix::{Signal, SignalKind, signal};

const HELP: &str = "/clear         forget the talk and begin anew
/system TEXT   what the model is told before the talk; without TEXT nothing
/save FILE     write the talk into a new file
/help          this
Ctrl-C stops an answer, Ctrl-D ends.";

/// What a line asks for.
#[derive(Debug, PartialEq)]
enum Line<'a> {
    Nothing,
    Say(&'a str),
    Clear,
    System(&'a str),
    Save(&'a Path),
    Help,
    /// A command that is none, and why.
    Unknown(String),
}

impl Line<'_> {
    fn parse(line: &str) -> Line<'_> {
        let line = line.trim();
        let Some(command) = line.strip_prefix('/') else {
            return if line.is_empty() { Line::Nothing } else { Line::Say(line) };
        };
        let (name, argument) = command.split_once(char::is_whitespace).map_or((command, ""), |(name, rest)| (name, rest.trim()));
        match (name, argument) {
            ("clear", "") => Line::Clear,
            ("help", "") => Line::Help,
            ("system", text) => Line::System(text),
            ("save", "") => Line::Unknown("/save needs the name of a file".into()),
            ("save", file) => Line::Save(Path::new(file)),
            _ => Line::Unknown(format!("/{name} is not known like this; /help tells what there is")),
        }
    }
}

/// Talks until the person ends it.
pub(super) async fn run(door: &Door, mut talk: Talk) -> anyhow::Result<ExitCode> {
    let mut editor: Editor<(), MemHistory> = Editor::with_history(Config::default(), MemHistory::new())?;
    // From here on SIGINT is ours; while a line is edited Ctrl-C is a key like others.
    let mut interrupts = signal(SignalKind::interrupt())?;
    let screen = Screen::new();
    screen.remark(&format!("{} listens. /help tells what you can do, Ctrl-D ends.", door.model()))?;
    loop {
        let (back, line) = tokio::task::spawn_blocking(move || {
            let line = editor.readline("> ");
            (editor, line)
        })
        .await?;
        editor = back;
        let line = match line {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => {
                screen.remark("Ctrl-D ends.")?;
                continue;
            }
            Err(ReadlineError::Eof) => return Ok(ExitCode::SUCCESS),
            Err(error) => return Err(error.into()),
        };
        match Line::parse(&line) {
            Line::Nothing => continue,
            Line::Say(text) => answer(door, &mut talk, text, &mut interrupts).await?,
            Line::Clear => {
                talk.clear();
                screen.remark("The talk begins anew.")?;
            }
            Line::System(text) => {
                talk.instruct(text);
                screen.remark(if text.is_empty() {
                    "The model is told nothing before the talk."
                } else {
                    "The model is told this before the talk."
                })?;
            }
            Line::Save(file) => match talk.save(file, door.model()) {
                Ok(()) => screen.remark(&format!("The talk is in {}.", file.display()))?,
                Err(error) => screen.remark(&format!("{error:#}"))?,
            },
            Line::Help => screen.remark(HELP)?,
            Line::Unknown(why) => screen.remark(&why)?,
        }
        editor.add_history_entry(line.trim())?;
    }
}

/// One question and its answer. What went wrong is said, and the talk goes on as if it had not been asked.
async fn answer(door: &Door, talk: &mut Talk, question: &str, interrupts: &mut Signal) -> anyhow::Result<()> {
    let mut screen = Screen::new();
    talk.ask(question);
    let mut answering = match door.ask(talk.request(true)).await {
        Ok(answering) => answering,
        Err(error) => {
            talk.take_back();
            return Ok(screen.remark(&mend(&error))?);
        }
    };
    let mut stopped = false;
    loop {
        let heard = tokio::select! {
            heard = answering.next() => heard,
            // Again: whatever the daemon does, nobody waits for it.
            _ = interrupts.recv() => if stopped {
                Heard::Failed(CallError::Fault(Fault::cancelled("stopped")))
            } else {
                stopped = true;
                if let Err(error) = answering.cancel().await {
                    // Its end came first, or nothing comes any more; then it takes a second Ctrl-C.
                    tracing::debug!(%error, "an answer could not be stopped");
                }
                continue;
            }
        };
        match heard {
            Heard::Chunk(chunk) if !stopped => screen.chunk(&chunk)?,
            Heard::Chunk(_) => {}
            Heard::Reply(reply) => {
                screen.whole(&serde_json::from_value(reply)?)?;
                talk.answered(screen.text());
                return Ok(screen.speed(door.temperature().await)?);
            }
            Heard::Failed(error) => {
                screen.end_line()?;
                // What the model has said of it stays said.
                if stopped && !screen.text().is_empty() {
                    talk.answered(screen.text());
                } else {
                    talk.take_back();
                }
                return Ok(screen.remark(&if stopped { "Stopped.".into() } else { mend(&error) })?);
            }
        }
    }
}

/// What went wrong, and what to do about it.
fn mend(error: &CallError) -> String {
    let CallError::Fault(fault) = error else { return error.to_string() };
    let remedy = match fault.kind {
        FaultKind::TooLarge => "/clear begins anew",
        FaultKind::Overloaded | FaultKind::TooHot => "ask again in a moment",
        FaultKind::DeadlineExceeded => "--timeout-ms gives it longer, --max-tokens makes the answer shorter",
        FaultKind::UnknownModel | FaultKind::ModelFailed => "hearthctl models tells what there is and in which state",
        FaultKind::Unauthorized => "hearthctl doctor tells what is in the way",
        FaultKind::Internal => "the journal has more: journalctl -u hearthd",
        FaultKind::BadRequest | FaultKind::Cancelled => return fault.message.clone(),
    };
    format!("{} ({remedy})", fault.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_said_unless_it_is_a_command() {
        assert_eq!(Line::parse("  "), Line::Nothing);
        assert_eq!(Line::parse(" lamp on "), Line::Say("lamp on"));
        assert_eq!(Line::parse("/clear "), Line::Clear);
        assert_eq!(Line::parse("/system  Be brief. "), Line::System("Be brief."));
        assert_eq!(Line::parse("/system"), Line::System(""));
        assert_eq!(Line::parse("/save a b.txt"), Line::Save(Path::new("a b.txt")));
        for wrong in ["/save", "/clear all", "/quit", "/"] {
            assert!(matches!(Line::parse(wrong), Line::Unknown(_)), "{wrong}");
        }
    }

    #[test]
    fn a_fault_comes_with_its_mend() {
        let mended = mend(&CallError::Fault(Fault::too_large("the talk has 3000 tokens, the context holds 2048")));
        assert_eq!(mended, "the talk has 3000 tokens, the context holds 2048 (/clear begins anew)");
    }
}
