//! Layer normalisation in its parts, as exporters before opset 17 write it, becomes one LayerNormalization again.

use super::nodes::{Attributes as _, node, replace, to_floats, to_integers};
use super::view::{View, other};
use tract_onnx::pb::{GraphProto, NodeProto};

/// Joins the parts; what is left of them is dead.
pub(super) fn join(graph: &mut GraphProto) {
    let view = View::new(graph);
    let joined = graph.node.iter().filter_map(|node| whole(&view, node)).map(|(last, whole)| (last, vec![whole])).collect();
    replace(graph, joined);
}

/// The normalisation that ends with this division, and the scale and bias after it: where its last part is, and what takes its place.
fn whole(view: &View<'_>, divide: &NodeProto) -> Option<(usize, NodeProto)> {
    let made = |name: &str, operator: &str| view.maker(name).map(|(_, maker)| maker).filter(|maker| maker.op_type == operator);
    let input = |node: &NodeProto, index: usize| node.input.get(index).cloned();
    if divide.op_type != "Div" {
        return None;
    }
    // x - mean, over sqrt(mean of its square + epsilon).
    let difference = made(&divide.input[0], "Sub")?;
    let (x, mean) = (input(difference, 0)?, made(&input(difference, 1)?, "ReduceMean")?);
    let sum = made(&made(&input(divide, 1)?, "Sqrt")?.input[0], "Add")?;
    let (variance, epsilon) = match (view.floats(sum.input.first()?), view.floats(sum.input.get(1)?)) {
        (None, Some(epsilon)) => (&sum.input[0], epsilon),
        (Some(epsilon), None) => (&sum.input[1], epsilon),
        _ => return None,
    };
    let variance = made(variance, "ReduceMean")?;
    let square = view.maker(variance.input.first()?).map(|(_, maker)| maker)?;
    let squared = match square.op_type.as_str() {
        "Pow" if view.floats(square.input.get(1)?)? == [2.0] => &square.input[0],
        "Mul" if square.input.first() == square.input.get(1) => &square.input[0],
        _ => return None,
    };
    // Some exporters subtract the mean twice.
    let same = squared == &divide.input[0] || made(squared, "Sub").is_some_and(|again| again.input == difference.input);
    let of_rows = [mean, variance].iter().all(|reduce| is_of_rows(view, reduce));
    if !same || !of_rows || mean.input.first() != Some(&x) || epsilon.len() != 1 {
        return None;
    }
    let (scaled, scale) = view.only_taker_of_kind(&divide.output[0], "Mul").map(|(index, mul)| (index, other(mul, &divide.output[0])))?;
    let depth = view.constant(scale).and_then(to_floats)?.len();
    let (mut last, mut inputs) = (scaled, vec![x.as_str(), scale]);
    if let Some((added, bias)) = view.sum_with(&view.graph.node[scaled].output[0])
        && view.constant(bias).and_then(to_floats).is_some_and(|bias| bias.len() == depth)
    {
        last = added;
        inputs.push(bias);
    }
    let new = node("LayerNormalization", &inputs, &[&view.graph.node[last].output[0]]);
    Some((last, new.with_int("axis", -1).with_float("epsilon", epsilon[0])))
}

/// Whether a mean is that over the last axis, which stays.
fn is_of_rows(view: &View<'_>, reduce: &NodeProto) -> bool {
    let given = view.input(reduce, 1).and_then(to_integers);
    reduce.int("keepdims") != Some(0) && given.as_deref().or(reduce.ints("axes")) == Some(&[-1])
}
