//! GGUF: a file's metadata and where its tensors lie, read from bytes that may lie about everything. What a number in it means for a
//! model is `decoder`'s; how its weights are stored for this daemon, `weights`'.
//!
//! Source: the GGUF specification (versions 2 and 3) in ggml's `docs/gguf.md`.

pub mod format;
pub(crate) mod groups;
mod metadata;
mod reader;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod vocabulary;

pub use format::Format;
pub use metadata::{Metadata, Value};
pub use reader::Gguf;

/// What is wrong with a GGUF file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct GgufError(pub(crate) String);

/// A tensor of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Its dimensions, the quickest first: a matrix of a linear layer is `[inputs, outputs]`.
    pub dimensions: Vec<usize>,
    /// How its values are stored.
    pub format: Format,
    /// Where its bytes lie in the file.
    pub bytes: std::ops::Range<usize>,
}

impl TensorInfo {
    /// Values in it.
    pub fn elements(&self) -> usize {
        self.dimensions.iter().product()
    }

    /// Values of a row: its first dimension.
    pub fn row(&self) -> usize {
        self.dimensions.first().copied().unwrap_or(1)
    }

    /// Rows: all other dimensions.
    pub fn rows(&self) -> usize {
        self.dimensions.iter().skip(1).product()
    }
}
