//! A vocabulary as GGUF metadata gives it (`tokenizer.*`), and the checks that need no more than that.

use super::TextError;

/// Most tokens of a vocabulary. The largest published ones have 262,144.
const MAX_TOKENS: usize = 1 << 20;
/// Most bytes of a token. GLM-4 has one of 1024 spaces.
const MAX_TOKEN_BYTES: usize = 1024;

/// The fields of `tokenizer.ggml.*` that language models need, as they stand in a GGUF file.
///
/// `tokenizer.ggml.add_eos_token` is not among them: a prompt that is to be continued has no end.
#[derive(Debug, Clone, Default)]
pub struct Vocabulary {
    /// `tokenizer.ggml.model`: `gpt2` (byte-level BPE with merges) or `llama` (SentencePiece's BPE ranked by scores).
    pub model: String,
    /// `tokenizer.ggml.pre`: how a text is cut into words before BPE. Not used by `llama`.
    pub pre: Option<String>,
    /// `tokenizer.ggml.tokens`: the text of each token.
    pub tokens: Vec<String>,
    /// `tokenizer.ggml.scores`: one for each token, or empty. A higher one merges first. Not used by `gpt2`.
    pub scores: Vec<f32>,
    /// `tokenizer.ggml.token_type`: one for each token, or empty; the numbers are those of [`TokenType`].
    pub types: Vec<i32>,
    /// `tokenizer.ggml.merges`: two tokens with a space between, the first to merge first. Not used by `llama`.
    pub merges: Vec<String>,
    /// `tokenizer.ggml.bos_token_id`: begins a text.
    pub bos: Option<u32>,
    /// `tokenizer.ggml.eos_token_id`: ends a text.
    pub eos: Option<u32>,
    /// `tokenizer.ggml.eot_token_id`: ends a turn.
    pub eot: Option<u32>,
    /// `tokenizer.ggml.eom_token_id`: ends a message that waits for a tool.
    pub eom: Option<u32>,
    /// `tokenizer.ggml.unknown_token_id`: stands for what has no token.
    pub unk: Option<u32>,
    /// `tokenizer.ggml.padding_token_id`: fills up.
    pub pad: Option<u32>,
    /// `tokenizer.ggml.add_bos_token`: a prompt begins with `bos`.
    pub add_bos: Option<bool>,
    /// `tokenizer.ggml.add_space_prefix`: a text begins with a space. Not used by `gpt2`.
    pub add_space_prefix: Option<bool>,
    /// `tokenizer.chat_template`, in Jinja.
    pub chat_template: Option<String>,
}

/// What a token is, by the numbers of `tokenizer.ggml.token_type` (those of SentencePiece's model proto).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenType {
    /// 1: a part of a text.
    Normal,
    /// 2: stands for what has no token.
    Unknown,
    /// 3: steers the model and is not shown.
    Control,
    /// 4: text that is never cut, whatever stands around it.
    UserDefined,
    /// 5: a place that no token has.
    Unused,
    /// 6: one byte, where no token has its text: `<0x0A>`.
    Byte,
}

impl TokenType {
    fn from_number(number: i32) -> Option<TokenType> {
        match number {
            1 => Some(TokenType::Normal),
            2 => Some(TokenType::Unknown),
            3 => Some(TokenType::Control),
            4 => Some(TokenType::UserDefined),
            // 0 is "undefined": llama.cpp writes it for nothing, and treats it as a token that no text has.
            0 | 5 => Some(TokenType::Unused),
            6 => Some(TokenType::Byte),
            _ => None,
        }
    }
}

/// How texts become tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `gpt2`.
    ByteLevel,
    /// `llama`.
    Scored,
}

impl Vocabulary {
    /// The token with this text.
    pub fn id_of(&self, text: &str) -> Option<u32> {
        self.tokens.iter().position(|token| token == text).map(|id| id as u32)
    }

    /// The text of a token that may be missing.
    pub(super) fn text_of(&self, id: Option<u32>) -> Option<&str> {
        self.tokens.get(id? as usize).map(String::as_str)
    }

    pub(super) fn kind(&self) -> Result<Kind, TextError> {
        match self.model.as_str() {
            "gpt2" => Ok(Kind::ByteLevel),
            "llama" => Ok(Kind::Scored),
            other => Err(wrong(format!(
                "is of the kind {other:?} (tokenizer.ggml.model); supported are \"gpt2\" (byte-level BPE) and \"llama\" (SentencePiece BPE)"
            ))),
        }
    }

    /// Fills in what a file may leave out, after the checks of lengths and ids.
    pub(super) fn checked(mut self) -> Result<Vocabulary, TextError> {
        let count = self.tokens.len();
        if count == 0 || count > MAX_TOKENS {
            return Err(wrong(format!("has {count} tokens (tokenizer.ggml.tokens); 1 to {MAX_TOKENS} are right")));
        }
        let kind = self.kind()?;
        for (name, length) in [("scores", self.scores.len()), ("token_type", self.types.len())] {
            if length != 0 && length != count {
                return Err(wrong(format!("has {length} entries in tokenizer.ggml.{name}; as many as tokens are right, {count}")));
            }
        }
        if let Some(id) = self.tokens.iter().position(|token| token.len() > MAX_TOKEN_BYTES) {
            let length = self.tokens[id].len();
            return Err(wrong(format!("has a token of {length} bytes (number {id}); at most {MAX_TOKEN_BYTES} are taken")));
        }
        if let Some(id) = self.scores.iter().position(|score| score.is_nan()) {
            return Err(wrong(format!("has no number as the score of token {id}")));
        }
        if kind == Kind::Scored {
            if self.scores.is_empty() {
                return Err(wrong("has no tokenizer.ggml.scores, by which a \"llama\" vocabulary merges"));
            }
            // SentencePiece's own numbers, where a file leaves them out.
            let usual = |id: &mut Option<u32>, number: u32| *id = id.or(Some(number).filter(|n| (*n as usize) < count));
            usual(&mut self.unk, 0);
            usual(&mut self.bos, 1);
            usual(&mut self.eos, 2);
        } else if self.merges.is_empty() {
            return Err(wrong("has no tokenizer.ggml.merges, by which a \"gpt2\" vocabulary merges"));
        }
        let ids =
            [("bos", self.bos), ("eos", self.eos), ("eot", self.eot), ("eom", self.eom), ("unknown", self.unk), ("padding", self.pad)];
        for (name, id) in ids {
            if let Some(id) = id.filter(|id| *id as usize >= count) {
                return Err(wrong(format!(
                    "has {id} as tokenizer.ggml.{name}_token_id; there are {count} tokens, the last is {}",
                    count - 1
                )));
            }
        }
        if self.add_bos == Some(true) && self.bos.is_none() {
            return Err(wrong("wants a token before each prompt (tokenizer.ggml.add_bos_token), and names none as bos_token_id"));
        }
        Ok(self)
    }

    /// The type of each token.
    pub(super) fn token_types(&self) -> Result<Vec<TokenType>, TextError> {
        if self.types.is_empty() {
            return Ok(vec![TokenType::Normal; self.tokens.len()]);
        }
        let parse = |(id, number): (usize, &i32)| {
            TokenType::from_number(*number).ok_or_else(|| wrong(format!("has {number} as the type of token {id}; 0 to 6 are right")))
        };
        self.types.iter().enumerate().map(parse).collect()
    }
}

/// What is wrong with a vocabulary.
pub(super) fn wrong(what: impl Into<String>) -> TextError {
    TextError::Vocabulary(what.into())
}
