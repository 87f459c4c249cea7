//! The front end: whatever form a file is quantized in, it is brought to one small family of operators on `i8`, channels last, before tract
//! reads it; and what is left in floats, or was never quantized, to operators of ours on `f32` where they are faster. Passes over the
//! ONNX graph, each with one subject; none runs anything.
//!
//! 1. [`blocks`]: MatMulNBits becomes one operator with its bias.
//! 2. [`qoperator`]: QLinear operators become the float operators that they stand for, between DequantizeLinear and QuantizeLinear.
//! 3. [`layer_norm`]: layer normalisation in parts becomes one operator.
//! 4. [`signed`]: `u8` activations and weights become `i8`.
//! 5. [`fuse`]: operators between DequantizeLinear and QuantizeLinear become operators on integers.
//! 6. [`prune`]: what nobody takes any more goes.
//! 7. [`convolutions`] and [`linear`]: those that stay in `f32` become operators of ours.
//! 8. [`tables`]: a function of a product's result goes into the product.
//! 9. [`transposes`]: a transposition around a product of activations goes into it.
//! 10. [`layout`]: which operators hold their channels last, and where that changes.

mod blocks;
mod convolutions;
mod fuse;
mod layer_norm;
mod layout;
mod linear;
pub(crate) mod nodes;
pub(super) mod prune;
mod qoperator;
mod signed;
mod tables;
mod transposes;
pub(super) mod view;

pub(crate) use qoperator::expands;

use tract_onnx::pb::GraphProto;

/// What became of a graph, for a person.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rewritten {
    /// Operators that are ours now.
    pub(crate) own_nodes: usize,
    /// QuantizeLinear and DequantizeLinear that are left.
    pub(crate) boundaries: usize,
}

/// Whether an operator is of our own making, which no file may use.
pub(crate) fn is_own(operator: &str) -> bool {
    operator.starts_with(nodes::PREFIX)
}

/// Brings what tract does not know to standard operators, without any other change: the reference.
pub(crate) fn expand(graph: &mut GraphProto) {
    blocks::expand(graph);
    qoperator::expand(graph);
}

/// Whether a graph holds anything quantized.
fn is_quantized(graph: &GraphProto) -> bool {
    let quantized =
        |op: &str| op.starts_with("QLinear") || matches!(op, "QuantizeLinear" | "QGemm" | "DynamicQuantizeLinear" | "MatMulNBits");
    graph.node.iter().any(|node| quantized(&node.op_type))
}

/// Rewrites what is computed in floats, and leaves alone what is quantized; whether there was anything.
pub(crate) fn rewrite_floats(graph: &mut GraphProto, opset: i64) -> bool {
    if !is_quantized(graph) {
        layer_norm::join(graph);
        fuse::fuse(graph, opset);
    }
    settle(graph);
    graph.node.iter().any(|node| is_own(&node.op_type))
}

/// Rewrites a graph in place; none of it if it holds nothing quantized.
pub(crate) fn rewrite(graph: &mut GraphProto, opset: i64) -> Option<Rewritten> {
    if !is_quantized(graph) {
        return None;
    }
    blocks::settle(graph);
    qoperator::expand(graph);
    layer_norm::join(graph);
    signed::shift(graph);
    fuse::fuse(graph, opset);
    settle(graph);
    let count = |test: fn(&str) -> bool| graph.node.iter().filter(|node| test(&node.op_type)).count();
    Some(Rewritten { own_nodes: count(is_own), boundaries: count(|op| matches!(op, "QuantizeLinear" | "DequantizeLinear")) })
}

/// The passes after integers are joined.
fn settle(graph: &mut GraphProto) {
    prune::prune(graph);
    convolutions::own(graph);
    linear::own(graph);
    tables::attach(graph);
    transposes::attach(graph);
    prune::prune(graph);
    layout::settle(graph);
}

#[cfg(test)]
mod attention_tests;
#[cfg(test)]
mod floats_tests;
#[cfg(test)]
mod tests;
