//! An answer on standard output, as it comes, and the dim line after it.

use hearth_api::chat::{Chat, ChatChunk, FinishReason};
use hearth_api::{Answer, Reply};
use std::io::{self, IsTerminal, StdoutLock, Write};

/// Where one answer is written.
pub(super) struct Screen {
    terminal: bool,
    colours: bool,
    attempt: Option<u64>,
    /// What was written of the answer.
    text: String,
    reply: Option<Reply>,
}

impl Screen {
    /// Nothing written yet.
    pub(super) fn new() -> Screen {
        let terminal = io::stdout().is_terminal();
        Screen { terminal, colours: terminal && std::env::var_os("NO_COLOR").is_none(), attempt: None, text: String::new(), reply: None }
    }

    /// What was said so far.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// A piece of the answer.
    pub(super) fn chunk(&mut self, chunk: &ChatChunk) -> io::Result<()> {
        if self.attempt.replace(chunk.attempt).is_some_and(|attempt| attempt != chunk.attempt) {
            self.text.clear();
            write(self.terminal, "\n(the daemon started again, and so does the answer)\n")?;
        }
        match chunk.choices.first().and_then(|choice| choice.delta.content.as_deref()) {
            Some(text) => self.append(text),
            None => Ok(()),
        }
    }

    /// The whole answer: writes what no chunk brought.
    pub(super) fn whole(&mut self, reply: &Reply) -> io::Result<()> {
        let whole = match &reply.answer {
            Answer::Chat(chat) => chat.choices.first().map_or("", |choice| choice.message.content.as_str()).to_owned(),
            other => crate::answer(other),
        };
        match whole.strip_prefix(self.text.as_str()) {
            Some(rest) => self.append(rest)?,
            None => {
                write(self.terminal, "\n(pieces of the answer were lost; here is all of it)\n")?;
                self.text.clear();
                self.append(&whole)?;
            }
        }
        self.reply = Some(reply.clone());
        self.end_line()
    }

    /// Ends the line where the answer did not.
    pub(super) fn end_line(&self) -> io::Result<()> {
        if self.text.is_empty() || self.text.ends_with('\n') { Ok(()) } else { write(self.terminal, "\n") }
    }

    /// For a person, how fast the answer came.
    pub(super) fn speed(&self, temperature: Option<f64>) -> io::Result<()> {
        match &self.reply {
            Some(Reply { answer: Answer::Chat(chat), performance_degraded, .. }) if self.terminal => {
                self.remark(&speed(chat, temperature, !performance_degraded.is_empty()))
            }
            _ => Ok(()),
        }
    }

    /// Something that is no part of the answer.
    pub(super) fn remark(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.colours { writeln!(out, "\x1b[2m{text}\x1b[0m") } else { writeln!(out, "{text}") }
    }

    fn append(&mut self, text: &str) -> io::Result<()> {
        self.text.push_str(text);
        write(self.terminal, text)
    }
}

/// Writes a text at once. A model may say anything, but nothing to a terminal that it would obey.
fn write(terminal: bool, text: &str) -> io::Result<()> {
    let flushed = |mut out: StdoutLock<'_>, text: &str| out.write_all(text.as_bytes()).and_then(|()| out.flush());
    if terminal { flushed(io::stdout().lock(), &harmless(text)) } else { flushed(io::stdout().lock(), text) }
}

/// Without control characters but line breaks and tabs.
pub(super) fn harmless(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

fn speed(chat: &Chat, temperature: Option<f64>, hot: bool) -> String {
    let usage = &chat.usage;
    let mut parts = Vec::new();
    if chat.speed.tokens_per_second > 0.0 {
        parts.push(format!("{:.1} tokens/s", chat.speed.tokens_per_second));
    }
    let tokens = |n: u32| format!("{n} token{}", if n == 1 { "" } else { "s" });
    parts.push(format!(
        "{} after {} ({} of them kept)",
        tokens(usage.completion_tokens),
        tokens(usage.prompt_tokens),
        usage.prompt_tokens_details.cached_tokens
    ));
    parts.push(format!("the first within {:.2} s", chat.speed.time_to_first_token_us as f64 / 1e6));
    parts.extend(temperature.map(|degrees| format!("{degrees:.1} °C")));
    if hot {
        parts.push("slower because of heat".into());
    }
    if chat.choices.first().is_some_and(|choice| choice.finish_reason == FinishReason::Length) {
        parts.push("cut off at its longest".into());
    }
    parts.join(" · ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_api::chat::{ChatObject, Choice, Message, Role, Speed, Usage};

    #[test]
    fn a_model_cannot_command_the_terminal() {
        assert_eq!(harmless("a\x1b]0;title\x07b\r\n\tü\u{9b}c"), "a]0;titleb\n\tüc");
    }

    #[test]
    fn the_line_after_an_answer_tells_speed_size_and_heat() {
        let choice = Choice { index: 0, message: Message::new(Role::Assistant, "x"), finish_reason: FinishReason::Length, logprobs: None };
        let mut chat = Chat {
            object: ChatObject::Completion,
            created: 1,
            choices: vec![choice],
            usage: Usage::new(40, 32, 12),
            speed: Speed { time_to_first_token_us: 81_000, tokens_per_second: 12.34 },
        };
        assert_eq!(
            speed(&chat, Some(48.25), true),
            "12.3 tokens/s · 12 tokens after 40 tokens (32 of them kept) · the first within 0.08 s · 48.2 °C · slower because of heat · cut off at its longest"
        );
        chat.choices[0].finish_reason = FinishReason::Stop;
        (chat.usage, chat.speed.tokens_per_second) = (Usage::new(40, 0, 1), 0.0);
        assert_eq!(speed(&chat, None, false), "1 token after 40 tokens (0 of them kept) · the first within 0.08 s");
    }
}
