//! What a decoder language model is made of, as data: all that the families differ in. `families` make it of a file's metadata, and one
//! builder (`graph`) makes a graph of it.
//!
//! The common form is: embed the tokens; in each layer attention and a feed-forward network, each added to the residual stream, with
//! RMS norms around them; a last norm, and the head.

use hearth_kernels::decoder::kv::Element;

/// A decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderSpec {
    /// The family, as GGUF's `general.architecture` names it.
    pub family: &'static str,
    /// Tokens that a sequence may have, as the model was trained.
    pub context: usize,
    /// Tokens that there are.
    pub vocabulary: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Of every RMS norm: added to the mean square.
    pub epsilon: f32,
    /// Its layers, the first one first.
    pub layers: Vec<LayerSpec>,
}

/// One layer.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerSpec {
    /// Where its norms stand.
    pub norms: Norms,
    /// Its attention.
    pub attention: AttentionSpec,
    /// Its feed-forward network.
    pub feed_forward: FeedForwardSpec,
}

/// Where the norms of a layer stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norms {
    /// Before attention and feed-forward, on what goes into them.
    Before,
    /// After them, on what comes out, before it is added to the residual stream.
    After,
}

/// Attention with grouped queries over cached keys and values.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionSpec {
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values; each serves `heads / kv_heads` heads of queries.
    pub kv_heads: usize,
    /// Width of a head of queries and keys.
    pub key_width: usize,
    /// Width of a head of values.
    pub value_width: usize,
    /// What scores are multiplied by.
    pub scale: f32,
    /// How positions get into queries and keys.
    pub rope: RopeSpec,
    /// Whether queries and keys are normalised first.
    pub qk_norm: QkNorm,
}

/// Norms of queries and keys, before their positions get in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkNorm {
    /// None.
    None,
    /// Each head by itself.
    EachHead,
    /// All heads as one row.
    Whole,
}

/// Rotary position embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeSpec {
    /// Which values turn together.
    pub pairs: Pairs,
    /// Values of a head that turn, from its first on.
    pub width: usize,
    /// Base of the frequencies.
    pub theta: f32,
    /// How a context longer than the trained one was made of it.
    pub scaling: Scaling,
    /// Whether the file holds a factor for each frequency (`rope_freqs.weight`).
    pub factors: bool,
}

/// Which values turn together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairs {
    /// Neighbours: `2i` and `2i + 1`.
    Interleaved,
    /// `i` and `i + width / 2`.
    HalfSplit,
}

/// How the positions of a longer context were fitted to the trained one.
#[derive(Debug, Clone, PartialEq)]
pub enum Scaling {
    /// Not at all.
    None,
    /// Positions are divided.
    Linear {
        /// By this.
        factor: f32,
    },
    /// YaRN (arXiv 2309.00071).
    Yarn {
        /// How many times longer the context is.
        factor: f32,
        /// The trained one, in tokens.
        original_context: usize,
    },
}

/// A gated feed-forward network: `down(silu(gate(x)) * up(x))`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedForwardSpec {
    /// Its inner width.
    pub width: usize,
}

impl DecoderSpec {
    /// What the keys and values of a token take, in bytes.
    pub fn cache_bytes(&self, element: Element) -> usize {
        let of = |layer: &LayerSpec| layer.attention.kv_heads * (layer.attention.key_width + layer.attention.value_width);
        let size = match element {
            Element::Half => 2,
            Element::Single => 4,
        };
        self.layers.iter().map(of).sum::<usize>() * size
    }

    /// What a step of so many tokens computes with, in bytes, when it gives so many rows of logits: its widest values, twice in the
    /// residual stream, twice between the matrices of attention and of the feed-forward network.
    pub fn scratch_bytes(&self, tokens: usize, logits: usize) -> usize {
        let inner = |layer: &LayerSpec| {
            let AttentionSpec { heads, kv_heads, key_width, value_width, .. } = &layer.attention;
            let attention = 2 * heads * key_width + kv_heads * (key_width + value_width);
            attention.max(2 * layer.feed_forward.width)
        };
        let inner = self.layers.iter().map(inner).max().unwrap_or(0);
        (tokens * (2 * self.width + 2 * inner) + logits * self.vocabulary) * size_of::<f32>()
    }
}
