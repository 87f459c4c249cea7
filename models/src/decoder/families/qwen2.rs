//! Qwen2 and Qwen2.5, and what DeepSeek distilled into them: queries, keys and values have biases, which the builder takes where they are.

use super::{DecoderSpec, GgufError, Keys, Norms, Pairs, QkNorm};

pub(super) const ARCHITECTURE: &str = "qwen2";

pub(super) fn spec(keys: &Keys<'_>) -> Result<DecoderSpec, GgufError> {
    keys.common(Pairs::HalfSplit, QkNorm::None, Norms::Before)
}
