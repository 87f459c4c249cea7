//! From a specification and weights to a graph that tract runs: `tokens [T]` in, `logits [S, vocabulary]` out, S being the rows after
//! which a token is to be chosen.

use super::ops::{Add, Attention, Compute, Decode, Embed, Gated, Linear, RmsNorm, Select};
use super::spec::{AttentionSpec, DecoderSpec, LayerSpec, Norms, Pairs, QkNorm};
use super::weights::Model;
use crate::gguf::GgufError;
use hearth_kernels::decoder::rope;
use hearth_kernels::grouped::Weights;
use tract_onnx::tract_core::internal::*;

/// The graph of a decoder, with its first `layers` layers.
pub(super) fn build(spec: &DecoderSpec, weights: &mut Model<'_>, layers: usize) -> TractResult<TypedModel> {
    let mut graph = Graph { model: TypedModel::default(), spec, weights };
    let tokens = graph.model.symbols.sym("T").to_dim();
    let tokens = graph.model.add_source("tokens", i64::fact([tokens]))?;
    let embedding = graph.matrix("token_embd.weight", spec.vocabulary, spec.width)?;
    let mut x = graph.wire("embed", Embed(embedding.clone()), &[tokens])?;
    for (index, layer) in spec.layers.iter().enumerate().take(layers) {
        x = graph.layer(index, layer, x)?;
    }
    let norm = graph.norm("output_norm.weight", spec.width)?;
    let x = graph.wire("output_norm", norm, &[x])?;
    let x = graph.wire("select", Select, &[x])?;
    // Without a head of its own it is the embedding.
    let head = match graph.weights.has("output.weight") {
        true => graph.matrix("output.weight", spec.vocabulary, spec.width)?,
        false => embedding,
    };
    let logits = graph.wire("output", Linear { parts: vec![(head, Vec::new())], name: "Head" }, &[x])?;
    graph.model.select_output_outlets(&[logits])?;
    Ok(graph.model)
}

struct Graph<'a, 'w> {
    model: TypedModel,
    spec: &'a DecoderSpec,
    weights: &'a mut Model<'w>,
}

impl Graph<'_, '_> {
    fn wire(&mut self, name: &str, op: impl Compute, inputs: &[OutletId]) -> TractResult<OutletId> {
        Ok(self.model.wire_node(name, Decode(Arc::new(op)), inputs)?[0])
    }

    fn layer(&mut self, index: usize, layer: &LayerSpec, x: OutletId) -> TractResult<OutletId> {
        let name = |part: &str| format!("blk.{index}.{part}");
        let LayerSpec { norms, attention, feed_forward } = layer;
        let width = self.spec.width;
        let q = attention.heads * attention.key_width;
        let (k, v) = (attention.kv_heads * attention.key_width, attention.kv_heads * attention.value_width);
        let qkv = self.linear("Qkv", &[(name("attn_q"), q), (name("attn_k"), k), (name("attn_v"), v)], width)?;
        let attend = self.attention(index, attention)?;
        let output = self.linear("Output", &[(name("attn_output"), width)], attention.heads * attention.value_width)?;
        let inner = feed_forward.width;
        let up = self.linear("GateUp", &[(name("ffn_gate"), inner), (name("ffn_up"), inner)], width)?;
        let down = self.linear("Down", &[(name("ffn_down"), width)], inner)?;
        match norms {
            Norms::Before => {
                let norm = self.norm(&name("attn_norm.weight"), width)?;
                let normal = self.wire(&name("attn_norm"), norm, &[x])?;
                let rows = self.wire(&name("qkv"), qkv, &[normal])?;
                let rows = self.wire(&name("attention"), attend, &[rows])?;
                let x = self.wire(&name("attn_output"), output, &[rows, x])?;
                let norm = self.norm(&name("ffn_norm.weight"), width)?;
                let normal = self.wire(&name("ffn_norm"), norm, &[x])?;
                let rows = self.wire(&name("ffn_gate_up"), up, &[normal])?;
                let rows = self.wire(&name("ffn_act"), Gated, &[rows])?;
                self.wire(&name("ffn_down"), down, &[rows, x])
            }
            Norms::After => {
                let rows = self.wire(&name("qkv"), qkv, &[x])?;
                let rows = self.wire(&name("attention"), attend, &[rows])?;
                let rows = self.wire(&name("attn_output"), output, &[rows])?;
                let norm = self.norm(&name("post_attention_norm.weight"), width)?;
                let normal = self.wire(&name("post_attention_norm"), norm, &[rows])?;
                let x = self.wire(&name("attn_residual"), Add, &[x, normal])?;
                let rows = self.wire(&name("ffn_gate_up"), up, &[x])?;
                let rows = self.wire(&name("ffn_act"), Gated, &[rows])?;
                let rows = self.wire(&name("ffn_down"), down, &[rows])?;
                let norm = self.norm(&name("post_ffw_norm.weight"), width)?;
                let normal = self.wire(&name("post_ffw_norm"), norm, &[rows])?;
                self.wire(&name("ffn_residual"), Add, &[x, normal])
            }
        }
    }

    fn attention(&mut self, index: usize, spec: &AttentionSpec) -> TractResult<Attention> {
        let name = |part: &str| format!("blk.{index}.{part}");
        let norms = match spec.qk_norm {
            QkNorm::None => None,
            QkNorm::EachHead => Some((spec.key_width, spec.key_width)),
            QkNorm::Whole => Some((spec.heads * spec.key_width, spec.kv_heads * spec.key_width)),
        };
        let norms =
            norms.map(|(q, k)| TractResult::Ok((self.norm(&name("attn_q_norm.weight"), q)?, self.norm(&name("attn_k_norm.weight"), k)?)));
        Ok(Attention {
            layer: index,
            heads: spec.heads,
            kv_heads: spec.kv_heads,
            key_width: spec.key_width,
            value_width: spec.value_width,
            pairs: match spec.rope.pairs {
                Pairs::Interleaved => rope::Pairs::Interleaved,
                Pairs::HalfSplit => rope::Pairs::HalfSplit,
            },
            norms: norms.transpose()?,
            scale: spec.scale,
        })
    }

    /// A norm of rows so wide.
    fn norm(&mut self, name: &str, width: usize) -> TractResult<RmsNorm> {
        Ok(RmsNorm { weights: self.weights.vector(name, width)?, epsilon: self.spec.epsilon })
    }

    /// Matrices of these names and outputs side by side, each with its bias where the file has one.
    fn linear(&mut self, kind: &'static str, parts: &[(String, usize)], depth: usize) -> TractResult<Linear> {
        let parts = parts.iter().map(|(name, outputs)| {
            let weights = self.matrix(&format!("{name}.weight"), *outputs, depth)?;
            let bias = format!("{name}.bias");
            let bias = if self.weights.has(&bias) { self.weights.vector(&bias, *outputs)? } else { Vec::new() };
            TractResult::Ok((weights, bias))
        });
        Ok(Linear { parts: parts.collect::<TractResult<_>>()?, name: kind })
    }

    fn matrix(&mut self, name: &str, outputs: usize, depth: usize) -> Result<Arc<Weights>, GgufError> {
        self.weights.matrix(name, outputs, depth).map(Arc::new)
    }
}
