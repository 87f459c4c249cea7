//! OLMo-2: norms after attention and feed-forward instead of before them, and on the whole rows of queries and keys.

use super::{DecoderSpec, GgufError, Keys, Norms, Pairs, QkNorm};

pub(super) const ARCHITECTURE: &str = "olmo2";

pub(super) fn spec(keys: &Keys<'_>) -> Result<DecoderSpec, GgufError> {
    keys.common(Pairs::HalfSplit, QkNorm::Whole, Norms::After)
}
