//! The families of decoders that are known, a file each: from a GGUF's metadata to a [`DecoderSpec`].

mod llama;
mod olmo2;
mod qwen2;
mod qwen3;

use super::spec::{AttentionSpec, DecoderSpec, FeedForwardSpec, LayerSpec, Norms, Pairs, QkNorm, RopeSpec, Scaling};
use crate::gguf::{Gguf, GgufError};

/// A family: its name in `general.architecture`, who belongs to it, and how its metadata is read.
struct Family {
    architecture: &'static str,
    models: &'static str,
    spec: fn(&Keys<'_>) -> Result<DecoderSpec, GgufError>,
}

const FAMILIES: [Family; 4] = [
    Family { architecture: llama::ARCHITECTURE, models: "Llama 3.x, DeepSeek-R1-Distill-Llama, Mistral, SmolLM", spec: llama::spec },
    Family { architecture: qwen2::ARCHITECTURE, models: "Qwen2.5, DeepSeek-R1-Distill-Qwen", spec: qwen2::spec },
    Family { architecture: qwen3::ARCHITECTURE, models: "Qwen3 (dense)", spec: qwen3::spec },
    Family { architecture: olmo2::ARCHITECTURE, models: "OLMo-2", spec: olmo2::spec },
];

/// The specification of the decoder in a file.
///
/// # Errors
/// If its family is not known, or its metadata is missing, absurd, or asks for what the family's code does not do.
pub(crate) fn spec(gguf: &Gguf) -> Result<DecoderSpec, GgufError> {
    if let Some(parts) = gguf.metadata.count("split.count")?.filter(|parts| *parts > 1) {
        let says = format!("it is one of {parts} parts of a model; join them first: llama-gguf-split --merge FIRST-PART WHOLE.gguf");
        return Err(GgufError(says));
    }
    let Some(architecture) = gguf.metadata.text("general.architecture")? else {
        return Err(GgufError("its metadata has no general.architecture: it holds no model".into()));
    };
    let Some(family) = FAMILIES.iter().find(|family| family.architecture == architecture) else {
        let known: Vec<String> = FAMILIES.iter().map(|family| format!("{} ({})", family.architecture, family.models)).collect();
        return Err(GgufError(format!("its architecture {architecture:?} is not known; known are {}", known.join("; "))));
    };
    (family.spec)(&Keys { gguf, architecture: family.architecture })
}

/// The keys of a family in a file's metadata, bounded: no number in it makes anything absurdly large.
struct Keys<'a> {
    gguf: &'a Gguf,
    architecture: &'static str,
}

/// The largest width, number of heads, or layers that is believed.
const MOST: usize = 1 << 18;
/// The most layers.
const LAYERS: usize = 1024;

impl Keys<'_> {
    fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    /// A size that may be there.
    fn size(&self, key: &str) -> Result<Option<usize>, GgufError> {
        let name = self.name(key);
        match self.gguf.metadata.count(&name)? {
            Some(0) => Err(GgufError(format!("its metadata {name} is 0"))),
            Some(size) if size > MOST => Err(GgufError(format!("its metadata {name} is {size}, more than is believed ({MOST})"))),
            size => Ok(size),
        }
    }

    /// A size that must be there.
    fn required(&self, key: &str) -> Result<usize, GgufError> {
        self.size(key)?.ok_or_else(|| GgufError(format!("its metadata has no {}", self.name(key))))
    }

    fn float(&self, key: &str) -> Result<Option<f32>, GgufError> {
        self.gguf.metadata.float(&self.name(key))
    }

    /// Refuses experts, in a family whose dense models alone are known.
    fn dense(&self) -> Result<(), GgufError> {
        match self.gguf.metadata.count(&self.name("expert_count"))? {
            None | Some(0) => Ok(()),
            Some(experts) => {
                Err(GgufError(format!("its {} model has {experts} experts; dense models of this family are known", self.architecture)))
            }
        }
    }

    /// What the families here have in common; each says what is its own.
    fn common(&self, pairs: Pairs, qk_norm: QkNorm, norms: Norms) -> Result<DecoderSpec, GgufError> {
        self.dense()?;
        let (width, layers) = (self.required("embedding_length")?, self.required("block_count")?);
        if layers > LAYERS {
            return Err(GgufError(format!("its metadata {} is {layers}, more than is believed ({LAYERS})", self.name("block_count"))));
        }
        let heads = self.required("attention.head_count")?;
        let kv_heads = self.size("attention.head_count_kv")?.unwrap_or(heads);
        if heads % kv_heads != 0 {
            return Err(GgufError(format!("its {heads} heads of queries cannot share {kv_heads} heads of keys evenly")));
        }
        let head = width / heads;
        let key_width = self.size("attention.key_length")?.unwrap_or(head);
        let value_width = self.size("attention.value_length")?.unwrap_or(head);
        let turning = self.size("rope.dimension_count")?.unwrap_or(key_width);
        if key_width == 0 || turning > key_width || turning % 2 != 0 {
            return Err(GgufError(format!("its heads of {key_width} cannot turn {turning} values")));
        }
        let epsilon = self.float("attention.layer_norm_rms_epsilon")?.unwrap_or(1e-5);
        let theta = self.float("rope.freq_base")?.unwrap_or(10_000.0);
        if !(theta > 1.0 && epsilon >= 0.0) {
            return Err(GgufError(format!(
                "its rope.freq_base {theta} or norm epsilon {epsilon} cannot be: a base above 1 and an epsilon from 0 on can"
            )));
        }
        let rope = RopeSpec {
            pairs,
            width: turning,
            theta,
            scaling: self.scaling()?,
            factors: self.gguf.tensors.contains_key("rope_freqs.weight"),
        };
        let attention = AttentionSpec { heads, kv_heads, key_width, value_width, scale: 1.0 / (key_width as f32).sqrt(), rope, qk_norm };
        let layer = LayerSpec { norms, attention, feed_forward: FeedForwardSpec { width: self.required("feed_forward_length")? } };
        Ok(DecoderSpec {
            family: self.architecture,
            context: self.required_context()?,
            vocabulary: self.gguf.tensor("token_embd.weight")?.rows(),
            width,
            epsilon,
            layers: vec![layer; layers],
        })
    }

    /// Contexts may be longer than any width.
    fn required_context(&self) -> Result<usize, GgufError> {
        let name = self.name("context_length");
        match self.gguf.metadata.count(&name)? {
            Some(context) if context > 0 => Ok(context),
            _ => Err(GgufError(format!("its metadata has no {name}, or 0"))),
        }
    }

    fn scaling(&self) -> Result<Scaling, GgufError> {
        let name = self.name("rope.scaling.type");
        let kind = self.gguf.metadata.text(&name)?.unwrap_or("none");
        let factor = || match self.float("rope.scaling.factor")? {
            Some(factor) if factor >= 1.0 => Ok(factor),
            factor => Err(GgufError(format!("its {name} is {kind}, with a factor of {factor:?}; at least 1 is meant"))),
        };
        match kind {
            "none" => Ok(Scaling::None),
            "linear" => Ok(Scaling::Linear { factor: factor()? }),
            "yarn" => Ok(Scaling::Yarn {
                factor: factor()?,
                original_context: self
                    .gguf
                    .metadata
                    .count(&self.name("rope.scaling.original_context_length"))?
                    .filter(|context| *context > 0)
                    .ok_or_else(|| {
                        GgufError(format!("its {name} is yarn without {}", self.name("rope.scaling.original_context_length")))
                    })?,
            }),
            _ => Err(GgufError(format!("its {name} is {kind:?}; none, linear and yarn are known"))),
        }
    }
}
