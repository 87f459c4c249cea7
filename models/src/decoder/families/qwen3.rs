//! Qwen3 without experts: each head of queries and keys is normalised, and heads may be wider than their share of the residual stream.

use super::{DecoderSpec, GgufError, Keys, Norms, Pairs, QkNorm};

pub(super) const ARCHITECTURE: &str = "qwen3";

pub(super) fn spec(keys: &Keys<'_>) -> Result<DecoderSpec, GgufError> {
    keys.common(Pairs::HalfSplit, QkNorm::EachHead, Norms::Before)
}
