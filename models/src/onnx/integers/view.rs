//! A graph to look things up in: who makes a tensor, who takes it, what is constant, what is quantized how. Changes nothing.

use super::nodes::{Attributes as _, to_floats, to_integers};
use crate::onnx::bodies;
use std::collections::{HashMap, HashSet};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

/// See the module.
pub(in crate::onnx) struct View<'a> {
    pub(in crate::onnx) graph: &'a GraphProto,
    constants: HashMap<&'a str, &'a TensorProto>,
    makers: HashMap<&'a str, usize>,
    takers: HashMap<&'a str, Vec<usize>>,
    /// Outputs of the graph, and what the bodies of its nodes take: there is somebody whom the nodes do not show.
    kept: HashSet<&'a str>,
}

/// A tensor on a grid of 8-bit integers, one scale for all of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Quantized<'a> {
    /// The tensor that holds the integers.
    pub(super) integers: &'a str,
    pub(super) scale: f32,
    pub(super) zero_point: i8,
    /// Whether they were `u8` in the file.
    pub(super) unsigned: bool,
}

/// An attribute of the Q and DQ nodes whose integers were `u8` in the file.
pub(super) const UNSIGNED: &str = "unsigned";

fn was_unsigned(node: &NodeProto) -> bool {
    node.int(UNSIGNED).is_some()
}

/// Constant weights on grids of `i8`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Weights {
    pub(super) dims: Vec<usize>,
    pub(super) integers: Vec<i8>,
    /// One, or one for each index along the axis.
    pub(super) scales: Vec<f32>,
    pub(super) zero_points: Vec<i8>,
    /// Counted from the front.
    pub(super) axis: usize,
}

impl<'a> View<'a> {
    pub(in crate::onnx) fn new(graph: &'a GraphProto) -> View<'a> {
        let inputs: HashSet<&str> = graph.input.iter().map(|i| i.name.as_str()).collect();
        let constants =
            graph.initializer.iter().filter(|t| !inputs.contains(t.name.as_str())).map(|t| (t.name.as_str(), t)).collect::<HashMap<_, _>>();
        let mut view = View { graph, constants, makers: HashMap::new(), takers: HashMap::new(), kept: HashSet::new() };
        view.kept.extend(graph.output.iter().map(|o| o.name.as_str()));
        for (index, node) in graph.node.iter().enumerate() {
            node.output.iter().for_each(|name| _ = view.makers.insert(name, index));
            node.input.iter().filter(|name| !name.is_empty()).for_each(|name| view.takers.entry(name).or_default().push(index));
            bodies(node).for_each(|body| keep_body(body, &mut view.kept));
            if let ("Constant", Some(value), Some(name)) =
                (node.op_type.as_str(), node.get("value").and_then(|a| a.t.as_ref()), node.output.first())
            {
                view.constants.insert(name, value);
            }
        }
        view
    }

    pub(in crate::onnx) fn constant(&self, name: &str) -> Option<&'a TensorProto> {
        self.constants.get(name).copied()
    }

    /// The constant behind an input, if it is there and given.
    pub(in crate::onnx) fn input(&self, node: &NodeProto, index: usize) -> Option<&'a TensorProto> {
        self.constant(node.input.get(index)?)
    }

    pub(in crate::onnx) fn maker(&self, name: &str) -> Option<(usize, &'a NodeProto)> {
        self.makers.get(name).map(|index| (*index, &self.graph.node[*index]))
    }

    pub(in crate::onnx) fn takers(&self, name: &str) -> impl Iterator<Item = (usize, &'a NodeProto)> {
        self.takers.get(name).into_iter().flatten().map(|index| (*index, &self.graph.node[*index]))
    }

    /// Whether the graph's caller or the body of a node takes it.
    pub(in crate::onnx) fn is_kept(&self, name: &str) -> bool {
        self.kept.contains(name)
    }

    /// The node that alone takes a tensor, as its first input.
    pub(super) fn only_taker(&self, name: &str) -> Option<(usize, &'a NodeProto)> {
        if self.is_kept(name) {
            return None;
        }
        let mut takers = self.takers(name);
        let only = takers.next()?;
        (takers.next().is_none() && only.1.input[0] == name).then_some(only)
    }

    /// The node of this kind that alone takes a tensor, as either input.
    pub(super) fn only_taker_of_kind(&self, name: &str, operator: &str) -> Option<(usize, &'a NodeProto)> {
        if self.is_kept(name) {
            return None;
        }
        let mut takers = self.takers(name);
        let only = takers.next().filter(|(_, taker)| taker.op_type == operator)?;
        takers.next().is_none().then_some(only)
    }

    /// The Add that alone takes a tensor, and what it adds.
    pub(super) fn sum_with(&self, name: &str) -> Option<(usize, &'a str)> {
        self.only_taker_of_kind(name, "Add").map(|(index, add)| (index, other(add, name)))
    }

    /// The one constant scale of a Q or DQ node and its zero point, if that is of `i8`.
    pub(super) fn grid(&self, node: &NodeProto) -> Option<(f32, i8)> {
        let scale = to_floats(self.input(node, 1)?)?;
        let zero_point = self.input(node, 2)?;
        let zero_points = (zero_point.data_type == DataType::Int8 as i32).then(|| to_integers(zero_point))??;
        match (scale.as_slice(), zero_points.as_slice()) {
            (&[scale], &[zero_point]) if scale.is_finite() && scale > 0.0 => Some((scale, zero_point as i8)),
            _ => None,
        }
    }

    /// What a float tensor was dequantized from.
    pub(super) fn dequantized(&self, name: &str) -> Option<Quantized<'a>> {
        let (_, node) = self.maker(name).filter(|(_, node)| node.op_type == "DequantizeLinear")?;
        let (scale, zero_point) = self.grid(node)?;
        Some(Quantized { integers: &node.input[0], scale, zero_point, unsigned: was_unsigned(node) })
    }

    /// The QuantizeLinear that alone takes a float tensor: its place, and what it makes.
    pub(super) fn quantized(&self, name: &str) -> Option<(usize, Quantized<'a>)> {
        let (index, node) = self.only_taker(name).filter(|(_, node)| node.op_type == "QuantizeLinear")?;
        let (scale, zero_point) = self.grid(node)?;
        Some((index, Quantized { integers: &node.output[0], scale, zero_point, unsigned: was_unsigned(node) }))
    }

    /// Constant weights behind a float tensor.
    pub(super) fn weights(&self, name: &str) -> Option<Weights> {
        let (_, node) = self.maker(name).filter(|(_, node)| node.op_type == "DequantizeLinear")?;
        let integers = self.input(node, 0).filter(|t| t.data_type == DataType::Int8 as i32)?;
        let scales = to_floats(self.input(node, 1)?)?;
        let zero_points = match self.input(node, 2) {
            Some(zero_points) => to_integers(zero_points)?.into_iter().map(|z| z as i8).collect(),
            None if node.input.get(2).is_none_or(String::is_empty) => vec![0; scales.len()],
            None => return None,
        };
        let dims: Vec<usize> = integers.dims.iter().map(|d| usize::try_from(*d).ok()).collect::<Option<_>>()?;
        let axis = node.int("axis").unwrap_or(1);
        let axis = usize::try_from(if axis < 0 { axis + dims.len() as i64 } else { axis }).ok()?;
        let sound = scales.len() == zero_points.len()
            && scales.iter().all(|s| s.is_finite())
            && (scales.len() == 1 || dims.get(axis) == Some(&scales.len()))
            && node.int("block_size").unwrap_or(0) == 0;
        sound.then(|| Weights { dims, integers: integers.raw_data.iter().map(|b| *b as i8).collect(), scales, zero_points, axis })
    }

    /// A constant of floats: given so, or dequantized.
    pub(super) fn floats(&self, name: &str) -> Option<Vec<f32>> {
        if let Some(constant) = self.constant(name) {
            return to_floats(constant);
        }
        let (_, node) = self.maker(name).filter(|(_, node)| node.op_type == "DequantizeLinear")?;
        let (integers, scales) = (to_integers(self.input(node, 0)?)?, to_floats(self.input(node, 1)?)?);
        let zero_points = self.input(node, 2).map_or(Some(Vec::new()), to_integers)?;
        if ![1, integers.len()].contains(&scales.len()) || node.int("block_size").unwrap_or(0) != 0 {
            return None;
        }
        let at = |list: &[f32], index: usize| list[index.min(list.len() - 1)];
        let zero = |index: usize| zero_points.get(index.min(zero_points.len().saturating_sub(1))).copied().unwrap_or(0);
        Some(integers.iter().enumerate().map(|(i, q)| (q - zero(i)) as f32 * at(&scales, i)).collect())
    }
}

/// The other input of a node that has two.
pub(super) fn other<'a>(node: &'a NodeProto, name: &str) -> &'a str {
    let place = usize::from(node.input.first().is_some_and(|first| first == name));
    node.input.get(place).map_or("", String::as_str)
}

fn keep_body<'a>(body: &'a GraphProto, kept: &mut HashSet<&'a str>) {
    kept.extend(body.output.iter().map(|o| o.name.as_str()));
    for node in &body.node {
        kept.extend(node.input.iter().map(String::as_str));
        bodies(node).for_each(|inner| keep_body(inner, kept));
    }
}
