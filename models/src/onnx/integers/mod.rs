//! The front end for quantized graphs: whatever form a file is quantized in, it is brought to one small family of operators on
//! `i8`, channels last, before tract reads it. Passes over the ONNX graph, each with one subject; none runs anything.
//!
//! 1. [`qoperator`]: QLinear operators become the float operators that they stand for, between DequantizeLinear and QuantizeLinear.
//! 2. [`signed`]: `u8` activations and weights become `i8`.
//! 3. [`fuse`]: operators between DequantizeLinear and QuantizeLinear become operators on integers.
//! 4. [`prune`]: what nobody takes any more goes.
//! 5. [`tables`]: a function of a product's result goes into the product.
//! 6. [`transposes`]: a transposition around a product of activations goes into it.
//! 7. [`layout`]: which operators hold their channels last, and where that changes.

mod fuse;
mod layout;
pub(crate) mod nodes;
mod prune;
mod qoperator;
mod signed;
mod tables;
mod transposes;
mod view;

pub(crate) use qoperator::{expand, expands};

use tract_onnx::pb::GraphProto;

/// What became of a graph, for a person.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rewritten {
    /// Operators that compute on integers now.
    pub(crate) integer_nodes: usize,
    /// QuantizeLinear and DequantizeLinear that are left.
    pub(crate) boundaries: usize,
}

/// Whether an operator is of our own making, which no file may use.
pub(crate) fn is_own(operator: &str) -> bool {
    operator.starts_with(nodes::PREFIX)
}

/// Rewrites a graph in place; none of it if it holds nothing quantized.
pub(crate) fn rewrite(graph: &mut GraphProto, opset: i64) -> Option<Rewritten> {
    let quantized = |op: &str| op.starts_with("QLinear") || matches!(op, "QuantizeLinear" | "QGemm" | "DynamicQuantizeLinear");
    if !graph.node.iter().any(|node| quantized(&node.op_type)) {
        return None;
    }
    expand(graph);
    signed::shift(graph);
    fuse::fuse(graph, opset);
    prune::prune(graph);
    tables::attach(graph);
    transposes::attach(graph);
    prune::prune(graph);
    layout::settle(graph);
    let count = |test: fn(&str) -> bool| graph.node.iter().filter(|node| test(&node.op_type)).count();
    Some(Rewritten { integer_nodes: count(is_own), boundaries: count(|op| matches!(op, "QuantizeLinear" | "DequantizeLinear")) })
}

#[cfg(test)]
mod tests;
