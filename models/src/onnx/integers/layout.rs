//! Layout: pictures lie with their channels last between operators that work so, and only there. Operators that do not care join their
//! neighbours; where the layout of a tensor differs from what a node takes, a node that changes it is put between.

use super::convolutions::of_normalisation;
use super::fuse::repeating;
use super::nodes::{Attributes as _, node, pooling_as};
use super::view::View;
use std::collections::HashMap;
use std::mem;
use tract_onnx::pb::{GraphProto, NodeProto};

/// How a node's pictures lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Channels last, input and output.
    Last,
    /// As its neighbours like it; all its pictures alike.
    Either,
    /// As the file has it.
    First,
}

fn kind(view: &View<'_>, node: &NodeProto) -> Kind {
    match node.op_type.as_str() {
        "hearth.Conv" | "hearth.DynamicConv" | "hearth.FloatConv" | "hearth.MaxPool" | "hearth.AveragePool" | "hearth.Repeat" => Kind::Last,
        _ if pictures(node).any(|name| view.constant(name).is_some()) => Kind::First,
        "hearth.Lookup" | "hearth.Sum" | "hearth.Product" => Kind::Either,
        "Relu" | "Clip" | "Sigmoid" | "HardSigmoid" | "HardSwish" | "LeakyRelu" | "Add" | "Mul" => Kind::Either,
        "Concat" | "Split" | "MaxPool" | "AveragePool" | "GlobalAveragePool" | "Resize" | "BatchNormalization"
            if channels_last(view, node).is_some() =>
        {
            Kind::Either
        }
        _ => Kind::First,
    }
}

/// What a node is when its pictures lie with their channels last, if it has to be another.
fn channels_last(view: &View<'_>, old: &NodeProto) -> Option<NodeProto> {
    let pool = |operator: &str| node(operator, &[&old.input[0]], &[&old.output[0]]);
    match old.op_type.as_str() {
        "Concat" | "Split" => Some(old.clone().with_int("axis", moved_axis(old)?)),
        "MaxPool" => pooling_as(old, pool("hearth.MaxPool")),
        "AveragePool" => {
            let new = pool("hearth.FloatAveragePool").with_int("count_include_pad", old.int("count_include_pad").unwrap_or(0));
            pooling_as(old, new)
        }
        "GlobalAveragePool" => Some(pool("hearth.FloatAveragePool")),
        "Resize" => repeating(view, old),
        "BatchNormalization" => of_normalisation(view, old),
        _ => None,
    }
}

/// The axis of a Concat or Split when the channels are last: only where its meaning does not hang on the rank.
fn moved_axis(node: &NodeProto) -> Option<i64> {
    match node.int("axis").unwrap_or(0) {
        0 => Some(0),
        1 => Some(-1),
        axis if axis > 1 => Some(axis - 1),
        -1 => Some(-2),
        _ => None,
    }
}

/// The inputs of a node that may be pictures.
fn pictures(node: &NodeProto) -> impl Iterator<Item = &str> {
    let count =
        if matches!(node.op_type.as_str(), "Concat" | "hearth.Sum" | "hearth.Product" | "Add" | "Mul") { node.input.len() } else { 1 };
    node.input.iter().take(count).map(String::as_str)
}

/// Decides, and puts the changes in.
pub(super) fn settle(graph: &mut GraphProto) {
    let view = View::new(graph);
    let last = decide(&view);
    let others = graph.node.iter().zip(&last).map(|(node, last)| channels_last(&view, node).filter(|_| *last));
    let others: Vec<Option<NodeProto>> = others.collect();
    let mut as_made: HashMap<String, bool> = HashMap::new();
    let mut changed: HashMap<(String, bool), String> = HashMap::new();
    let mut nodes = Vec::with_capacity(graph.node.len());
    for ((old, other), last) in mem::take(&mut graph.node).into_iter().zip(others).zip(last) {
        let mut node_ = other.unwrap_or(old);
        let count = if last { pictures(&node_).count() } else { node_.input.len() };
        for input in node_.input.iter_mut().take(count) {
            if as_made.get(input).copied().unwrap_or(false) != last {
                let name = changed.entry((input.clone(), last)).or_insert_with(|| {
                    let (operator, what) =
                        if last { ("hearth.ChannelsLast", "channels_last") } else { ("hearth.ChannelsFirst", "channels_first") };
                    let name = format!("{input}/{what}");
                    nodes.push(node(operator, &[input], &[&name]));
                    name
                });
                input.clone_from(name);
            }
        }
        as_made.extend(node_.output.iter().map(|name| (name.clone(), last)));
        nodes.push(node_);
    }
    graph.node = nodes;
    // The caller, and the bodies of nodes, see every tensor as the file has it.
    let view = View::new(graph);
    let seen: Vec<String> = as_made.into_iter().filter(|(name, last)| *last && view.is_kept(name)).map(|(name, _)| name).collect();
    for name in seen {
        let inner = format!("{name}/as_made");
        for node in &mut graph.node {
            node.output.iter_mut().chain(&mut node.input).filter(|n| **n == name).for_each(|n| n.clone_from(&inner));
        }
        graph.node.push(node("hearth.ChannelsFirst", &[&inner], &[&name]));
    }
}

/// For each node, whether its pictures lie with their channels last.
fn decide(view: &View<'_>) -> Vec<bool> {
    let kinds: Vec<Kind> = view.graph.node.iter().map(|node| kind(view, node)).collect();
    let mut last: Vec<bool> = kinds.iter().map(|kind| *kind == Kind::Last).collect();
    // From each such node on to those that do not care, and on.
    let mut open: Vec<usize> = (0..last.len()).filter(|index| last[*index]).collect();
    while let Some(index) = open.pop() {
        let node = &view.graph.node[index];
        let makers = pictures(node).filter_map(|name| view.maker(name)).map(|(maker, _)| maker);
        let takers = node.output.iter().flat_map(|name| view.takers(name).filter(move |(_, taker)| pictures(taker).any(|p| p == name)));
        for neighbour in makers.chain(takers.map(|(taker, _)| taker)) {
            if kinds[neighbour] == Kind::Either && !last[neighbour] {
                last[neighbour] = true;
                open.push(neighbour);
            }
        }
    }
    last
}
