//! Where an answer ends: at an end token, a stop string or its most tokens. What may still become a stop string is held back.

use super::{Detokenizer, TextError, Tokenizer};

/// Most stop strings of a request.
const MAX_STRINGS: usize = 16;
/// Most bytes of a stop string.
const MAX_BYTES: usize = 256;

/// Why an answer ended, as in OpenAI's `finish_reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// `stop`: the model ended it, or a stop string came.
    Stop,
    /// `length`: it has as many tokens as it may have.
    Length,
}

/// The text of one answer, as its tokens come.
#[derive(Debug, Clone)]
pub struct Output {
    detokenizer: Detokenizer,
    strings: Vec<String>,
    max_tokens: usize,
    tokens: usize,
    /// The beginning of a stop string, perhaps.
    held: String,
    finish: Option<Finish>,
}

impl Output {
    /// An answer of at most `max_tokens` tokens, that ends before the first of `strings` in it.
    ///
    /// # Errors
    /// [`TextError::Request`] where there are more than 16 strings, or one is empty or longer than 256 bytes.
    pub fn new(strings: Vec<String>, max_tokens: usize) -> Result<Output, TextError> {
        if strings.len() > MAX_STRINGS {
            let count = strings.len();
            return Err(TextError::Request(format!("the request has {count} stop strings; at most {MAX_STRINGS} are taken")));
        }
        if let Some(string) = strings.iter().find(|string| string.is_empty() || string.len() > MAX_BYTES) {
            let length = string.len();
            return Err(TextError::Request(format!("a stop string has {length} bytes; 1 to {MAX_BYTES} are right")));
        }
        if max_tokens == 0 {
            return Err(TextError::Request("an answer of at most 0 tokens is asked for; 1 or more are right".into()));
        }
        Ok(Output { detokenizer: Detokenizer::default(), strings, max_tokens, tokens: 0, held: String::new(), finish: None })
    }

    /// Takes the next token and gives the text that is certain by now. End tokens and other control tokens are not shown.
    ///
    /// # Panics
    /// Where the answer has ended.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> String {
        assert!(self.finish.is_none(), "the answer has ended");
        self.tokens += 1;
        if tokenizer.ends(id) {
            return self.end(Finish::Stop);
        }
        if !tokenizer.is_control(id) {
            let text = self.detokenizer.push(tokenizer.bytes_of(id));
            self.held.push_str(&text);
        }
        if let Some(at) = self.strings.iter().filter_map(|string| self.held.find(string.as_str())).min() {
            self.finish = Some(Finish::Stop);
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        if self.tokens >= self.max_tokens {
            return self.end(Finish::Length);
        }
        let certain = self.held.len() - self.strings.iter().map(|string| overlap(&self.held, string)).max().unwrap_or(0);
        self.held.drain(..certain).collect()
    }

    /// Why the answer ended, once it has.
    pub fn finish(&self) -> Option<Finish> {
        self.finish
    }

    /// How many tokens the answer has, an end token included.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Ends the answer with all that was held back.
    fn end(&mut self, finish: Finish) -> String {
        self.finish = Some(finish);
        let mut text = std::mem::take(&mut self.held);
        text.push_str(&self.detokenizer.finish());
        // What was left of a character may complete a stop string only where that has U+FFFD in it.
        if let Some(at) = self.strings.iter().filter_map(|string| text.find(string.as_str())).min() {
            self.finish = Some(Finish::Stop);
            text.truncate(at);
        }
        text
    }
}

/// Bytes at the end of `text` with which `string` begins.
fn overlap(text: &str, string: &str) -> usize {
    let most = text.len().min(string.len() - 1);
    (1..=most).rev().find(|length| string.is_char_boundary(*length) && text.ends_with(&string[..*length])).unwrap_or(0)
}

#[cfg(test)]
mod tests;
