//! A table that alone takes the result of a product goes into the product: no pass over memory of its own.

use super::nodes::{Attributes as _, replace};
use super::view::View;
use std::collections::HashMap;
use tract_onnx::pb::GraphProto;

/// Joins them.
pub(super) fn attach(graph: &mut GraphProto) {
    let mut others = HashMap::new();
    let view = View::new(graph);
    for (index, node) in graph.node.iter().enumerate() {
        let product = matches!(node.op_type.as_str(), "hearth.Conv" | "hearth.Linear") && node.get("multiplier").is_some();
        if let Some((lookup, taker)) = view.only_taker(&node.output[0]).filter(|(_, taker)| product && taker.op_type == "hearth.Lookup")
            && let Some(table) = taker.get("table")
        {
            let mut joined = node.clone().set(table.clone());
            joined.output[0].clone_from(&taker.output[0]);
            others.extend([(index, vec![joined]), (lookup, Vec::new())]);
        }
    }
    replace(graph, others);
}
