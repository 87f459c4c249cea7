//! Operators of `com.microsoft` into which onnxruntime's optimisers join others are taken apart again, into those that they stand for:
//! so there is one form of each thing for what follows.

mod attention;
mod normalisation;
mod parts;
mod pictures;
mod products;
mod rank;
#[cfg(test)]
mod tests;

use super::integers::nodes::Attributes as _;
use super::integers::view::View;
use attention::{attention, quantized_attention};
use normalisation::{embed_layer_normalization, skip_normalization};
use parts::Parts;
use pictures::{CHANNELS_LAST, channels_first, fused_conv, nhwc_max_pool};
use products::{dynamic_quantize_mat_mul, fused_gemm, fused_mat_mul, mat_mul_integer_to_float};
use std::mem;
use tract_onnx::pb::{GraphProto, NodeProto};

/// What takes an operator apart; none where this node of it has something that is not known here.
type Expand = fn(&mut Parts<'_>) -> Option<()>;

fn expansion(node: &NodeProto) -> Option<Expand> {
    if node.domain != DOMAIN {
        return None;
    }
    Some(match node.op_type.as_str() {
        "Attention" => attention,
        "DynamicQuantizeMatMul" => dynamic_quantize_mat_mul,
        "EmbedLayerNormalization" => embed_layer_normalization::<false>,
        "FusedConv" => fused_conv,
        "FusedGemm" => fused_gemm,
        "FusedMatMul" | "TransposeMatMul" => fused_mat_mul,
        "MatMulIntegerToFloat" => mat_mul_integer_to_float,
        "NhwcMaxPool" => nhwc_max_pool,
        "QAttention" => quantized_attention,
        "QEmbedLayerNormalization" => embed_layer_normalization::<true>,
        "QLinearAveragePool" | "QLinearConv" | "QLinearGlobalAveragePool" if node.int(CHANNELS_LAST) == Some(1) => channels_first,
        "SkipLayerNormalization" => |parts| skip_normalization(parts, "LayerNormalization"),
        "SkipSimplifiedLayerNormalization" => |parts| skip_normalization(parts, "SimplifiedLayerNormalization"),
        _ => return None,
    })
}

const DOMAIN: &str = "com.microsoft";

/// Whether an operator is known here.
pub(super) fn expands(node: &NodeProto) -> bool {
    expansion(node).is_some()
}

/// Whether an operator has the name of one of ONNX's that does something else.
pub(super) fn misleads(node: &NodeProto) -> bool {
    node.domain == DOMAIN && node.op_type == "Attention"
}

/// The nodes of operators known here that have something that is not.
pub(super) fn not_understood(graph: &GraphProto) -> Vec<&NodeProto> {
    let view = View::new(graph);
    graph.node.iter().filter(|node| expands(node) && Parts::of(&view, node).is_none()).collect()
}

/// Takes apart what can be.
pub(super) fn expand(graph: &mut GraphProto) {
    if !graph.node.iter().any(expands) {
        return;
    }
    let view = View::new(graph);
    let parts: Vec<_> = graph.node.iter().map(|node| Parts::of(&view, node)).map(|parts| parts.map(|p| (p.nodes, p.constants))).collect();
    for (old, parts) in mem::take(&mut graph.node).into_iter().zip(parts) {
        let (nodes, constants) = parts.unwrap_or_else(|| (vec![old], Vec::new()));
        graph.node.extend(nodes);
        graph.initializer.extend(constants);
    }
}
