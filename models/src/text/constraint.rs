//! Answers that are JSON, of a schema or any object: which tokens may come next, by llguidance's grammars.

use super::{Specials, TextError, Tokenizer};
use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie, TokenizerEnv};
use llguidance::{JsonCompileOptions, Matcher, ParserFactory};
use serde_json::Value;
use std::sync::Arc;

/// Most bytes of all tokens: the trie's nodes, of which there is at most one for each byte, are numbered with 22 bits.
const MAX_TRIE_BYTES: usize = 1 << 22;
/// Most bytes of a schema.
const MAX_SCHEMA: usize = 64 << 10;
/// Blanks between two parts of an answer. A model that finds no end would write blanks for ever.
const BLANKS: &str = r"[ \t\r\n]{1,64}";
/// Bounds of what a schema may cost: llguidance's usual ones, but for those that hold for a whole schema, which are a fifth to a half.
const LIMITS: ParserLimits = ParserLimits {
    max_items_in_row: 2000,
    initial_lexer_fuel: 500_000,
    step_lexer_fuel: 200_000,
    step_max_items: 50_000,
    max_lexer_states: 50_000,
    max_grammar_size: 100_000,
    precompute_large_lexemes: false,
    verbose_errors: false,
};

/// What the constraints of all answers of a model share: its tokens as a trie. Made once for each model.
pub struct Constraints {
    factory: ParserFactory,
}

/// The tokens that may come next.
pub struct Mask(SimpleVob);

/// What one answer has yet to hold.
pub struct Constraint {
    matcher: Matcher,
}

/// A tokenizer as llguidance sees it.
struct Environment {
    tokenizer: Arc<Tokenizer>,
    trie: TokTrie,
}

impl TokenizerEnv for Environment {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<u32> {
        self.trie.tokenize_with_greedy_fallback(bytes, |text| self.tokenizer.encode(text, Specials::AsText))
    }
}

impl std::fmt::Debug for Constraints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "constraints over {} tokens", self.factory.tok_env().tok_trie().vocab_size())
    }
}

impl Constraints {
    /// Makes the trie of a model's tokens.
    ///
    /// # Errors
    /// [`TextError::Vocabulary`] where no token ends an answer, or the tokens are too long.
    pub fn new(tokenizer: Arc<Tokenizer>) -> Result<Constraints, TextError> {
        let count = tokenizer.len() as u32;
        let ends: Vec<u32> = tokenizer.end_tokens().collect();
        let Some(end) = ends.first() else {
            return Err(TextError::Vocabulary("has no token that ends an answer; answers cannot be held to JSON".into()));
        };
        let words: Vec<Vec<u8>> = (0..count).map(|id| word(&tokenizer, id)).collect();
        let bytes: usize = words.iter().map(Vec::len).sum();
        if bytes >= MAX_TRIE_BYTES {
            let most = MAX_TRIE_BYTES - 1;
            return Err(TextError::Vocabulary(format!("has tokens of {bytes} bytes in all; answers are held to JSON up to {most}")));
        }
        let trie = TokTrie::from(&TokRxInfo::new(count, *end), &words).with_eos_tokens(&ends);
        let environment: TokEnv = Arc::new(Environment { tokenizer, trie });
        let slices = llguidance::earley::SlicedBiasComputer::json_slices();
        let mut factory = ParserFactory::new(&environment, InferenceCapabilities::default(), &slices)
            .map_err(|e| TextError::Vocabulary(format!("cannot be used to hold answers to JSON: {e}")))?;
        factory.quiet();
        *factory.limits_mut() = LIMITS;
        Ok(Constraints { factory })
    }

    /// An answer that is a JSON object, as `response_format: {"type": "json_object"}` asks for.
    ///
    /// # Errors
    /// As [`Constraints::json_schema`].
    pub fn json_object(&self) -> Result<Constraint, TextError> {
        self.json_schema(&serde_json::json!({"type": "object"}))
    }

    /// An answer of this JSON Schema.
    ///
    /// # Errors
    /// [`TextError::Request`] where the schema is none, is too large, asks for what is not supported, or nothing can meet it.
    pub fn json_schema(&self, schema: &Value) -> Result<Constraint, TextError> {
        let refused = |why: &dyn std::fmt::Display| TextError::Request(format!("no answer can be held to the JSON schema: {why}"));
        let length = schema.to_string().len();
        if length > MAX_SCHEMA {
            return Err(refused(&format!("it has {length} bytes; at most {MAX_SCHEMA} are taken")));
        }
        let mut schema = schema.clone();
        match &mut schema {
            Value::Object(members) => {
                // How the grammar is made is for us to say.
                members.remove("x-guidance");
                let options = JsonCompileOptions { whitespace_pattern: Some(BLANKS.into()), ..JsonCompileOptions::default() };
                options.apply_to(&mut schema);
            }
            Value::Bool(true) => return self.json_schema(&Value::Object(serde_json::Map::new())),
            _ => return Err(refused(&"it is no object")),
        }
        let parser = self.factory.create_parser(TopLevelGrammar::from_json_schema(schema)).map_err(|e| refused(&e))?;
        let mut constraint = Constraint { matcher: Matcher::new(Ok(parser)) };
        // A schema that nothing meets may show only here.
        let none = constraint.mask().map_err(|e| refused(&e))?.is_empty();
        if none { Err(refused(&"nothing meets it")) } else { Ok(constraint) }
    }
}

/// The bytes of a token as the trie takes them: those that are no text are marked, so that no text can be them.
fn word(tokenizer: &Tokenizer, id: u32) -> Vec<u8> {
    let bytes = tokenizer.bytes_of(id);
    let mark = tokenizer.is_control(id).then_some(TokTrie::SPECIAL_TOKEN_MARKER);
    // As long as a token may be in the trie.
    mark.into_iter().chain(bytes.iter().copied()).take(1024).collect()
}

impl Constraint {
    /// The tokens that may come next: end tokens alone once the answer is complete.
    ///
    /// # Errors
    /// [`TextError::Request`] where the schema is too much work, or leads to where nothing can follow.
    pub fn mask(&mut self) -> Result<Mask, TextError> {
        self.matcher.compute_mask_or_eos().map(Mask).map_err(|e| TextError::Request(format!("the JSON schema cannot be followed: {e}")))
    }

    /// Takes the token that came.
    ///
    /// # Errors
    /// [`TextError::Request`] where the token is not one of the mask's.
    pub fn accept(&mut self, id: u32) -> Result<(), TextError> {
        if self.matcher.is_stopped() && self.matcher.get_error().is_none() {
            return Ok(());
        }
        self.matcher.consume_token(id).map_err(|e| TextError::Request(format!("token {id} does not follow the JSON schema: {e}")))
    }

    /// Whether the answer is complete, so that nothing but an end token can follow.
    pub fn is_over(&self) -> bool {
        self.matcher.is_stopped()
    }
}

impl std::fmt::Debug for Constraint {
    // What it has seen is an answer's text.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a constraint that is {}", if self.is_over() { "over" } else { "open" })
    }
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a mask of {} tokens", self.0.num_set())
    }
}

impl Mask {
    /// Whether a token may come next.
    pub fn allows(&self, id: u32) -> bool {
        (id as usize) < self.0.len() && self.0.is_allowed(id)
    }

    /// Whether no token may come next.
    pub fn is_empty(&self) -> bool {
        self.0.is_zero()
    }

    /// Takes the logits of all other tokens down to -∞.
    pub(super) fn apply(&self, logits: &mut [f32]) {
        let words = self.0.as_slice();
        for (at, block) in logits.chunks_mut(u32::BITS as usize).enumerate() {
            match words.get(at).copied().unwrap_or(0) {
                0 => block.fill(f32::NEG_INFINITY),
                u32::MAX => {}
                word => block.iter_mut().enumerate().filter(|(bit, _)| word & (1 << bit) == 0).for_each(|(_, l)| *l = f32::NEG_INFINITY),
            }
        }
    }
}

#[cfg(test)]
mod tests;
