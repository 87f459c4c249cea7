//! Llama 1 to 3 and who shares their form. GGUF holds the rows of queries and keys in an order in which neighbours turn together; the
//! stretched frequencies of Llama 3.1 and later come as factors in `rope_freqs.weight`.

use super::{DecoderSpec, GgufError, Keys, Norms, Pairs, QkNorm};

pub(super) const ARCHITECTURE: &str = "llama";

pub(super) fn spec(keys: &Keys<'_>) -> Result<DecoderSpec, GgufError> {
    keys.common(Pairs::Interleaved, QkNorm::None, Norms::Before)
}
