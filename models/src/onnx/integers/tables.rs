//! A table that alone takes the result of a product goes into the product: no pass over memory of its own.

use super::nodes::Attributes as _;
use super::view::View;
use std::collections::HashMap;
use std::mem;
use tract_onnx::pb::{AttributeProto, GraphProto};

/// Joins them.
pub(super) fn attach(graph: &mut GraphProto) {
    // For each product its table and what that made, and the tables that go.
    let (mut joined, mut gone) = (HashMap::<usize, (AttributeProto, String)>::new(), vec![false; graph.node.len()]);
    let view = View::new(graph);
    for (index, node) in graph.node.iter().enumerate() {
        let product = matches!(node.op_type.as_str(), "hearth.Conv" | "hearth.Linear") && node.get("multiplier").is_some();
        if let Some((lookup, taker)) = view.only_taker(&node.output[0]).filter(|(_, taker)| product && taker.op_type == "hearth.Lookup")
            && let Some(table) = taker.get("table")
        {
            joined.insert(index, (table.clone(), taker.output[0].clone()));
            gone[lookup] = true;
        }
    }
    for (index, mut node) in mem::take(&mut graph.node).into_iter().enumerate() {
        if let Some((table, output)) = joined.remove(&index) {
            node = node.set(table);
            node.output[0] = output;
        }
        if !gone[index] {
            graph.node.push(node);
        }
    }
}
