//! What can be wrong between text and tokens, grouped by whose fault it is.

/// Why a vocabulary, a template or a request cannot be used. Each message says what was wrong and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// The model's vocabulary is not what it should be, or of a kind that hearthd does not do: the model file's fault.
    #[error("the vocabulary {0}")]
    Vocabulary(String),
    /// The model's chat template cannot be read, or failed on a conversation: the model file's fault.
    #[error("the chat template {0}")]
    Template(String),
    /// The model answered with logits that are no numbers: the model's fault.
    #[error("the model's logits {0}")]
    Logits(String),
    /// The request asks for something that cannot be: the caller's fault.
    #[error("{0}")]
    Request(String),
}
