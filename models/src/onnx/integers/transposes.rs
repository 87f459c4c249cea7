//! Transpositions before and after a product of activations go into it, where rows stay together: it reads and writes with strides.

use super::nodes::{Attributes as _, replace};
use super::view::View;
use std::collections::HashMap;
use tract_onnx::pb::{GraphProto, NodeProto};

/// Joins them; a transposition that others take as well stays beside.
pub(super) fn attach(graph: &mut GraphProto) {
    let mut others = HashMap::new();
    let view = View::new(graph);
    for (index, node) in graph.node.iter().enumerate().filter(|(_, node)| node.op_type == "hearth.MatMul") {
        let mut new = node.clone();
        for (operand, name) in ["perm_left", "perm_right"].into_iter().enumerate() {
            let Some((_, transpose)) = view.maker(&node.input[operand]) else { continue };
            if let Some(perm) = order(transpose).filter(|perm| together(perm, operand == 1)) {
                new.input[operand].clone_from(&transpose.input[0]);
                new = new.with_ints(name, &perm);
            }
        }
        if let Some((taker, transpose)) = view.only_taker(&node.output[0])
            && let Some(perm) = order(transpose).filter(|perm| together(perm, false))
        {
            new.output[0].clone_from(&transpose.output[0]);
            new = new.with_ints("perm", &perm);
            others.insert(taker, Vec::new());
        }
        others.insert(index, vec![new]);
    }
    replace(graph, others);
}

/// The order of axes that a transposition makes.
fn order(transpose: &NodeProto) -> Option<Vec<i64>> {
    let perm = transpose.ints("perm").filter(|perm| transpose.op_type == "Transpose" && perm.len() >= 2)?;
    Some(perm.to_vec())
}

/// Whether what lies together in memory is the last axis, or, if that may be too, the one before.
fn together(perm: &[i64], or_columns: bool) -> bool {
    let last = perm.len() as i64 - 1;
    perm[perm.len() - 1] == last || or_columns && perm[perm.len() - 2] == last
}
