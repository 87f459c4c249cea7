//! The structure of a graph: every operator is known, every name is made exactly once before it is read, nothing goes in a circle.

use super::{MAX_NODES, bodies};
use crate::error::LoadError;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;
use tract_onnx::pb::{GraphProto, NodeProto};

/// Checks the structure of a graph and of its bodies.
pub(super) fn check(file: &Path, graph: &GraphProto, known: impl Fn(&NodeProto) -> bool) -> Result<(), LoadError> {
    let nodes = count(graph);
    if nodes > MAX_NODES {
        return Err(LoadError::invalid(
            file,
            format!("the graph has {nodes} nodes"),
            format!("at most {MAX_NODES} are served; simplify the export"),
        ));
    }
    let mut unknown = BTreeSet::new();
    super::any_node(graph, &mut |node| {
        if !known(node) {
            let domain = if node.domain.is_empty() { String::new() } else { format!("{}.", node.domain) };
            unknown.insert(format!("{domain}{}", node.op_type));
        }
        false
    });
    if !unknown.is_empty() {
        let names: Vec<String> = unknown.into_iter().collect();
        let what = format!("operator {}", names.join(", "));
        return Err(LoadError::unsupported(
            file,
            what,
            "export with standard ONNX operators (opset 13 to 18), functions inlined, quantization as QuantizeLinear and DequantizeLinear (QDQ)",
        ));
    }
    check_graph(file, graph, &HashSet::new())
}

/// Gives nodes that have the name of another one, as tools write them, that of what they make, which is made once.
pub(super) fn distinguish(graph: &mut GraphProto) {
    let mut taken = HashSet::new();
    for node in &mut graph.node {
        if !taken.insert(node.name.clone()) {
            node.name = node.output.iter().find(|output| !output.is_empty()).cloned().unwrap_or_default();
            taken.insert(node.name.clone());
        }
        node.attribute.iter_mut().flat_map(|a| a.g.iter_mut().chain(&mut a.graphs)).for_each(distinguish);
    }
}

fn count(graph: &GraphProto) -> usize {
    graph.node.len() + graph.node.iter().flat_map(bodies).map(count).sum::<usize>()
}

/// `outer` are the names a body sees of the graphs around it.
fn check_graph(file: &Path, graph: &GraphProto, outer: &HashSet<&str>) -> Result<(), LoadError> {
    let invalid = |wrong: String, mend: &str| LoadError::invalid(file, wrong, mend);
    let given: HashSet<&str> =
        graph.input.iter().map(|i| i.name.as_str()).chain(graph.initializer.iter().map(|t| t.name.as_str())).collect();
    let mut maker: HashMap<&str, usize> = HashMap::new();
    for (index, node) in graph.node.iter().enumerate() {
        for output in node.output.iter().filter(|o| !o.is_empty()) {
            if given.contains(output.as_str()) || maker.insert(output, index).is_some() {
                return Err(invalid(format!("{output:?} is made twice"), "each name in a graph is made once"));
            }
        }
    }
    let reads: Vec<HashSet<&str>> = graph.node.iter().map(reads).collect();
    let is_there = |name: &str| given.contains(name) || maker.contains_key(name) || outer.contains(name);
    for (node, reads) in graph.node.iter().zip(&reads) {
        if let Some(missing) = reads.iter().find(|name| !is_there(name)) {
            let wrong = format!("node {:?} ({}) reads {missing:?}, which nothing makes", node.name, node.op_type);
            return Err(invalid(wrong, "the file is cut short, or was edited wrongly: export it again"));
        }
    }
    if let Some(output) = graph.output.iter().find(|o| !is_there(&o.name)) {
        return Err(invalid(format!("nothing makes the output {:?}", output.name), "export it again"));
    }
    if let Some(node) = circle(&graph.node, &reads, &maker) {
        let wrong = format!("node {:?} ({}) reads what follows from its own output: the graph goes in a circle", node.name, node.op_type);
        return Err(invalid(wrong, "a graph has no cycles; loops are written with Loop or Scan"));
    }
    let mut seen = outer.clone();
    seen.extend(given);
    seen.extend(maker.keys().copied());
    graph.node.iter().flat_map(bodies).try_for_each(|body| check_graph(file, body, &seen))
}

/// What a node reads, itself or from inside its bodies.
fn reads(node: &NodeProto) -> HashSet<&str> {
    let mut names: HashSet<&str> = node.input.iter().map(String::as_str).filter(|n| !n.is_empty()).collect();
    for body in bodies(node) {
        let own: HashSet<&str> = body
            .input
            .iter()
            .map(|i| i.name.as_str())
            .chain(body.initializer.iter().map(|t| t.name.as_str()))
            .chain(body.node.iter().flat_map(|n| n.output.iter().map(String::as_str)))
            .collect();
        let inner = body.node.iter().flat_map(reads).chain(body.output.iter().map(|o| o.name.as_str()));
        names.extend(inner.filter(|name| !own.contains(name)));
    }
    names
}

/// A node on a cycle or behind one, where there is a cycle (Kahn's algorithm).
fn circle<'a>(nodes: &'a [NodeProto], reads: &[HashSet<&str>], maker: &HashMap<&str, usize>) -> Option<&'a NodeProto> {
    let mut waits = vec![0usize; nodes.len()];
    let mut readers = vec![Vec::new(); nodes.len()];
    for (reader, names) in reads.iter().enumerate() {
        let makers: HashSet<usize> = names.iter().filter_map(|name| maker.get(name).copied()).collect();
        waits[reader] = makers.len();
        makers.into_iter().for_each(|maker| readers[maker].push(reader));
    }
    let mut ready: Vec<usize> = (0..nodes.len()).filter(|i| waits[*i] == 0).collect();
    let mut done = 0;
    while let Some(node) = ready.pop() {
        done += 1;
        for reader in &readers[node] {
            waits[*reader] -= 1;
            if waits[*reader] == 0 {
                ready.push(*reader);
            }
        }
    }
    if done == nodes.len() { None } else { waits.iter().position(|w| *w > 0).map(|i| &nodes[i]) }
}
