//! Other names for the same tensor: exporters write Identity where weights are equal. tract would not see constants behind them, and
//! takes minutes over the shapes that follow from them.

use super::integers::view::View;
use std::collections::HashMap;
use tract_onnx::pb::{GraphProto, NodeProto};

/// Gives the takers of an Identity what it takes, and leaves out the node; one whose result the caller or a body sees stays.
pub(super) fn resolve(graph: &mut GraphProto) {
    let view = View::new(graph);
    let is_alias = |node: &NodeProto| match (node.input.as_slice(), node.output.as_slice()) {
        ([input], [output]) => node.op_type == "Identity" && !input.is_empty() && !view.is_kept(output),
        _ => false,
    };
    let aliases: Vec<bool> = graph.node.iter().map(is_alias).collect();
    let named: HashMap<String, String> = (graph.node.iter().zip(&aliases))
        .filter(|(_, alias)| **alias)
        .map(|(node, _)| (node.output[0].clone(), node.input[0].clone()))
        .collect();
    let mut alias = aliases.into_iter();
    graph.node.retain(|_| !alias.next().unwrap_or(false));
    for input in graph.node.iter_mut().flat_map(|node| &mut node.input) {
        // A file without cycles has fewer steps than names.
        for _ in 0..named.len() {
            let Some(other) = named.get(input) else { break };
            input.clone_from(other);
        }
    }
}
