//! What a manifest says of texts: how they become tokens, and how the states of tokens become one vector.

use serde::{Deserialize, Serialize};

/// How a text becomes the inputs `input_ids`, `attention_mask` and, where the graph has them, `token_type_ids` and
/// `position_ids`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// The file of the tokenizer, relative to the manifest: JSON as Hugging Face's tokenizers write it.
    pub tokenizer: String,
    /// Tokens from which on a text is cut, those that the tokenizer adds included. None: what the tokenizer's own truncation says,
    /// or 512. Attention takes memory by its square.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// Put before each text (`query: `).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
}

/// How an output becomes vectors, one for each text or other row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embed {
    /// How the states of a row's tokens become one. None: the graph gives one, or the manifest has to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pooling: Option<Pooling>,
    /// Divide each vector by its length (L2), so that the dot product of two is their cosine similarity.
    #[serde(default = "super::yes")]
    pub normalise: bool,
    /// The output. None: the only one, `sentence_embedding`, or with a pooling of tokens `last_hidden_state` or
    /// `token_embeddings`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

/// How the states of tokens, [batch, tokens, width], become one vector each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// The mean of the tokens that the attention mask has.
    Mean,
    /// The first of them.
    Cls,
    /// The last of them.
    Last,
    /// None: the graph gives [batch, width].
    None,
}

impl Pooling {
    /// As a manifest says it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Pooling::Mean => "mean",
            Pooling::Cls => "cls",
            Pooling::Last => "last",
            Pooling::None => "none",
        }
    }
}
