//! Operators between DequantizeLinear and QuantizeLinear become operators on integers, with the same results but for the order of
//! roundings. What cannot be joined stays as it was, between its own Q and DQ.

mod dynamic;
mod movement;
mod normalisation;
mod pointwise;
mod pooling;
mod products;

pub(super) use movement::{moves, repeating};

use super::nodes::{Attributes, floats, node};
use super::view::{Quantized, View};
use std::collections::{HashMap, HashSet};
use tract_onnx::pb::{GraphProto, NodeProto};

/// Joins what can be joined.
pub(super) fn fuse(graph: &mut GraphProto, opset: i64) {
    let view = View::new(graph);
    let mut fuser = Fuser { view: &view, opset, nodes: Vec::with_capacity(graph.node.len()), gone: HashSet::new(), tables: HashMap::new() };
    for (index, node) in graph.node.iter().enumerate() {
        if !fuser.gone.contains(&index) && fuser.node(node).is_none() {
            fuser.nodes.push(node.clone());
        }
    }
    graph.node = fuser.nodes;
}

struct Fuser<'a> {
    view: &'a View<'a>,
    /// Of ONNX's own operators.
    opset: i64,
    /// The graph as it becomes.
    nodes: Vec<NodeProto>,
    /// Nodes that an earlier one has taken in.
    gone: HashSet<usize>,
    /// Integer tensors that are a function of another one, element by element.
    tables: HashMap<String, Table>,
}

/// `table[bits of an element of source]` is the element.
#[derive(Clone)]
struct Table {
    source: String,
    elements: [i8; 256],
}

/// Where the result of an operator goes: on a grid, clamped.
#[derive(Debug, Clone, Copy)]
struct End<'a> {
    target: Quantized<'a>,
    low: i8,
    high: i8,
}

impl<'a> Fuser<'a> {
    /// Emits what takes the place of a node; none if it stays.
    fn node(&mut self, node: &'a NodeProto) -> Option<()> {
        match node.op_type.as_str() {
            "Conv" => self.convolution(node),
            "Gemm" => self.gemm(node),
            "MatMul" => self.matrix_product(node).or_else(|| self.activations(node)),
            "MatMulInteger" | "ConvInteger" => self.dynamic(node),
            "AveragePool" | "GlobalAveragePool" | "ReduceMean" => self.average_pool(node),
            "Softmax" => self.softmax(node),
            "LayerNormalization" => self.layer_norm(node),
            "QuantizeLinear" => self.quantize(node),
            _ => self.movement(node),
        }
    }

    /// The grid that a float tensor goes to next, by way of Relu and Clip alone; what lies between is gone then.
    fn end(&mut self, name: &str) -> Option<End<'a>> {
        let (mut name, mut within, mut passed) = (name, (f32::NEG_INFINITY, f32::INFINITY), Vec::new());
        loop {
            if let Some((index, target)) = self.view.quantized(name) {
                let Quantized { scale, zero_point, .. } = target;
                let on_grid = |real: f32| ((real / scale).round_ties_even() + f32::from(zero_point)).clamp(-128.0, 127.0) as i8;
                let (low, high) = (on_grid(within.0), on_grid(within.1));
                if low > high {
                    return None;
                }
                self.gone.extend(passed);
                self.gone.insert(index);
                return Some(End { target, low, high });
            }
            let (index, node) = self.view.only_taker(name)?;
            let (low, high) = bounds(self.view, node)?;
            within = (within.0.max(low).min(high), within.1.min(high).max(low));
            passed.push(index);
            name = &node.output[0];
        }
    }

    /// Emits a node that writes to `end`, or a float tensor.
    fn emit(&mut self, node: NodeProto) -> Option<()> {
        self.nodes.push(node);
        Some(())
    }
}

/// The bounds between which a Relu or Clip holds its argument.
pub(super) fn bounds(view: &View<'_>, node: &NodeProto) -> Option<(f32, f32)> {
    match node.op_type.as_str() {
        "Relu" => Some((0.0, f32::INFINITY)),
        "Clip" => {
            let bound = |input: usize, attribute: &str, none: f32| match node.input.get(input).filter(|name| !name.is_empty()) {
                Some(name) => view.floats(name).and_then(|v| v.first().copied()),
                None => Some(node.float(attribute).unwrap_or(none)),
            };
            Some((bound(1, "min", f32::NEG_INFINITY)?, bound(2, "max", f32::INFINITY)?))
        }
        _ => None,
    }
}

/// A node that makes `i8` on the grid of `end`.
fn onto(end: &End<'_>, operator: &str, inputs: &[&str]) -> NodeProto {
    node(operator, inputs, &[end.target.integers])
        .with_int("zero_point", end.target.zero_point.into())
        .with_int("low", end.low.into())
        .with_int("high", end.high.into())
}

/// A list of floats, one for all or one an output.
fn with_list(node: NodeProto, name: &str, list: &[f32]) -> NodeProto {
    node.with_tensor(name, floats(name, &[list.len() as i64], list))
}
