//! Nodes and constants that take the place of one node, in the making.

use super::expansion;
use crate::onnx::integers::nodes::{Attributes as _, constant, floats, node};
use crate::onnx::integers::view::View;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto};

/// What an operator becomes.
pub(super) struct Parts<'a> {
    pub(super) view: &'a View<'a>,
    pub(super) old: &'a NodeProto,
    pub(super) nodes: Vec<NodeProto>,
    pub(super) constants: Vec<TensorProto>,
}

impl<'a> Parts<'a> {
    /// What an operator becomes; none if it is not known, or has something that is not.
    pub(super) fn of(view: &'a View<'a>, old: &'a NodeProto) -> Option<Parts<'a>> {
        let expand = expansion(old).filter(|_| old.output.first().is_some_and(|name| !name.is_empty()))?;
        let mut parts = Parts { view, old, nodes: Vec::new(), constants: Vec::new() };
        expand(&mut parts)?;
        Some(parts)
    }

    /// An input that is given.
    pub(super) fn input(&self, index: usize) -> Option<&'a str> {
        self.old.input.get(index).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// An output that somebody takes.
    pub(super) fn output(&self, index: usize) -> Option<&'a str> {
        let name = self.old.output.get(index).map(String::as_str).filter(|name| !name.is_empty())?;
        (self.view.is_kept(name) || self.view.takers(name).next().is_some()).then_some(name)
    }

    pub(super) fn result(&self) -> Option<&'a str> {
        self.old.output.first().map(String::as_str)
    }

    /// Whether an attribute is not 0.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.old.int(name).unwrap_or(0) != 0
    }

    fn fresh(&self) -> String {
        format!("{}/part{}", self.old.output[0], self.nodes.len() + self.constants.len())
    }

    /// Adds a node, and names its output.
    pub(super) fn add(&mut self, operator: &str, inputs: &[&str]) -> String {
        self.add_with(operator, inputs, |node| node)
    }

    pub(super) fn add_with(&mut self, operator: &str, inputs: &[&str], with: impl FnOnce(NodeProto) -> NodeProto) -> String {
        let name = self.fresh();
        self.nodes.push(with(node(operator, inputs, &[&name])));
        name
    }

    /// The node added last makes this output.
    pub(super) fn ends_as(&mut self, name: &str) -> Option<()> {
        let last = self.nodes.last_mut()?;
        (last.output, last.name) = (vec![name.into()], name.into());
        Some(())
    }

    pub(super) fn ends(&mut self) -> Option<()> {
        self.ends_as(self.result()?)?;
        self.nodes.last_mut()?.name.clone_from(&self.old.name);
        Some(())
    }

    pub(super) fn constant(&mut self, mut tensor: TensorProto) -> String {
        tensor.name = self.fresh();
        let name = tensor.name.clone();
        self.constants.push(tensor);
        name
    }

    pub(super) fn float(&mut self, value: f32) -> String {
        self.constant(floats("", &[], &[value]))
    }

    pub(super) fn integers(&mut self, values: &[i64]) -> String {
        self.constant(constant("", DataType::Int64, &[values.len() as i64], values.iter().flat_map(|v| v.to_le_bytes()).collect()))
    }

    pub(super) fn transposed(&mut self, input: &str, perm: &[i64]) -> String {
        self.add_with("Transpose", &[input], |node| node.with_ints("perm", perm))
    }

    pub(super) fn reshaped(&mut self, input: &str, shape: &[i64]) -> String {
        let shape = self.integers(shape);
        self.add("Reshape", &[input, &shape])
    }

    pub(super) fn cast(&mut self, input: &str, to: DataType) -> String {
        self.add_with("Cast", &[input], |node| node.with_int("to", to as i64))
    }

    /// The attributes but for some.
    pub(super) fn attributes(&self, without: &[&str]) -> Vec<AttributeProto> {
        self.old.attribute.iter().filter(|a| !without.contains(&a.name.as_str())).cloned().collect()
    }
}
