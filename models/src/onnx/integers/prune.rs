//! Dead code: nodes and constants that nobody takes any more go.

use crate::onnx::bodies;
use std::collections::{HashMap, HashSet};
use tract_onnx::pb::GraphProto;

/// Removes them.
pub(in crate::onnx) fn prune(graph: &mut GraphProto) {
    let makers: HashMap<&str, usize> =
        graph.node.iter().enumerate().flat_map(|(index, node)| node.output.iter().map(move |name| (name.as_str(), index))).collect();
    let mut wanted: HashSet<String> = HashSet::new();
    let mut open: Vec<&str> = graph.output.iter().map(|o| o.name.as_str()).collect();
    while let Some(name) = open.pop() {
        if wanted.insert(name.to_owned())
            && let Some(index) = makers.get(name)
        {
            let node = &graph.node[*index];
            open.extend(node.input.iter().map(String::as_str));
            bodies(node).for_each(|body| taken_by(body, &mut open));
        }
    }
    graph.node.retain(|node| node.output.iter().any(|name| wanted.contains(name)));
    graph.initializer.retain(|tensor| wanted.contains(&tensor.name));
}

/// What a body takes, from outside or of its own.
fn taken_by<'a>(body: &'a GraphProto, names: &mut Vec<&'a str>) {
    names.extend(body.output.iter().map(|o| o.name.as_str()));
    for node in &body.node {
        names.extend(node.input.iter().map(String::as_str));
        bodies(node).for_each(|inner| taken_by(inner, names));
    }
}
