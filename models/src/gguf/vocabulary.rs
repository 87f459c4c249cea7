//! The vocabulary of a GGUF file: the fields of its metadata that say how texts become tokens.

use super::{GgufError, Metadata};
use crate::text::Vocabulary;

impl Metadata {
    /// What `tokenizer.*` says.
    ///
    /// # Errors
    /// If it has no tokens, or a field is of another kind. Whether they fit together is looked at when a tokenizer is made of them.
    pub(crate) fn vocabulary(&self) -> Result<Vocabulary, GgufError> {
        let key = |name: &str| format!("tokenizer.ggml.{name}");
        let id = |name: &str| self.count(&key(name)).map(|id| id.map(|id| id as u32));
        let text = |key: &str| self.text(key).map(|text| text.map(str::to_owned));
        let missing = |name: &str| GgufError(format!("its metadata has no {}: it cannot read texts", key(name)));
        let types = self.integers(&key("token_type"))?.unwrap_or_default();
        Ok(Vocabulary {
            model: text(&key("model"))?.ok_or_else(|| missing("model"))?,
            pre: text(&key("pre"))?,
            tokens: self.texts(&key("tokens"))?.ok_or_else(|| missing("tokens"))?.to_vec(),
            scores: self.floats(&key("scores"))?.unwrap_or_default().to_vec(),
            types: types.iter().map(|kind| i32::try_from(*kind).unwrap_or(-1)).collect(),
            merges: self.texts(&key("merges"))?.unwrap_or_default().to_vec(),
            bos: id("bos_token_id")?,
            eos: id("eos_token_id")?,
            eot: id("eot_token_id")?,
            eom: id("eom_token_id")?,
            unk: id("unknown_token_id")?,
            pad: id("padding_token_id")?,
            add_bos: self.bool(&key("add_bos_token"))?,
            add_space_prefix: self.bool(&key("add_space_prefix"))?,
            chat_template: text("tokenizer.chat_template")?,
        })
    }
}
