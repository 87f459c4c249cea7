//! QLinear operators (ONNX's own and those of `com.microsoft`) become what they stand for: DequantizeLinear, the float operator,
//! QuantizeLinear. So there is one quantized form to deal with, and nothing is computed twice: `fuse` joins them again.

use super::nodes::{Attributes as _, floats, node, to_floats};
use super::view::View;
use std::mem;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

/// How the inputs of a QLinear operator are laid out; each operand is followed by its scale and zero point.
struct Form {
    /// What it stands for.
    operator: &'static str,
    /// Where each operand begins.
    operands: Vec<usize>,
    /// Where the scale and zero point of the result begin.
    result: usize,
    /// An `i32` bias, on the grid of the two operands' product.
    bias: Option<usize>,
    /// The axis along which the second operand may have scales.
    axis: i64,
}

impl Form {
    fn of(node: &NodeProto) -> Option<Form> {
        // With its channels last, `contrib` has not understood it.
        if node.int("channels_last") == Some(1) {
            return None;
        }
        let form = |operator, operands: &[usize], result| Form { operator, operands: operands.into(), result, bias: None, axis: 1 };
        Some(match node.op_type.as_str() {
            "QLinearConv" => Form { bias: Some(8), axis: 0, ..form("Conv", &[0, 3], 6) },
            "QLinearMatMul" => form("MatMul", &[0, 3], 6),
            "QGemm" => Form { bias: Some(6), axis: i64::from(node.int("transB") != Some(1)), ..form("Gemm", &[0, 3], 7) },
            "QLinearAdd" => form("Add", &[0, 3], 6),
            "QLinearMul" => form("Mul", &[0, 3], 6),
            "QLinearConcat" => form("Concat", &(2..node.input.len()).step_by(3).collect::<Vec<_>>(), 0),
            "QLinearAveragePool" => form("AveragePool", &[0], 3),
            "QLinearGlobalAveragePool" => form("GlobalAveragePool", &[0], 3),
            "QLinearReduceMean" => form("ReduceMean", &[0], 3),
            "QLinearSigmoid" => form("Sigmoid", &[0], 3),
            "QLinearLeakyRelu" => form("LeakyRelu", &[0], 3),
            // Before opset 13 it worked on a matrix made of all axes from this one on.
            "QLinearSoftmax" if node.int("opset").unwrap_or(13) >= 13 || node.int("axis") == Some(-1) => form("Softmax", &[0], 3),
            _ => return None,
        })
    }
}

/// Whether an operator is known here.
pub(crate) fn expands(operator: &str) -> bool {
    Form::of(&node(operator, &[], &[])).is_some()
}

/// Expands every QLinear operator of the graph that can be.
pub(crate) fn expand(graph: &mut GraphProto) {
    let (mut nodes, mut constants) = (Vec::with_capacity(graph.node.len()), Vec::new());
    let expanded: Vec<Option<(Vec<NodeProto>, Option<TensorProto>)>> = {
        let view = View::new(graph);
        graph.node.iter().map(|node| Form::of(node).and_then(|form| expand_node(&view, node, &form))).collect()
    };
    for (old, new) in mem::take(&mut graph.node).into_iter().zip(expanded) {
        match new {
            Some((new, constant)) => {
                nodes.extend(new);
                constants.extend(constant);
            }
            None => nodes.push(old),
        }
    }
    graph.node = nodes;
    graph.initializer.extend(constants);
}

fn expand_node(view: &View<'_>, old: &NodeProto, form: &Form) -> Option<(Vec<NodeProto>, Option<TensorProto>)> {
    let result = old.output.first()?;
    let input = |index: usize| old.input.get(index).map_or("", String::as_str);
    let fresh = |what: &str| format!("{result}/{what}");
    let (mut nodes, mut operands, mut constant) = (Vec::new(), Vec::new(), None);
    for (number, start) in form.operands.iter().enumerate() {
        let name = fresh(&format!("operand{number}"));
        let axis = if number == 1 { form.axis } else { 0 };
        nodes.push(node("DequantizeLinear", &[input(*start), input(start + 1), input(start + 2)], &[&name]).with_int("axis", axis));
        operands.push(name);
    }
    if let Some(bias) = form.bias.map(input).filter(|name| !name.is_empty()) {
        // Its scale is the product of the operands', and no tensor of the file.
        let scales = |index: usize| view.constant(input(index)).and_then(to_floats);
        let (x, w) = (scales(form.operands[0] + 1)?, scales(form.operands[1] + 1)?);
        let alpha = old.float("alpha").unwrap_or(1.0);
        let scales: Vec<f32> = w.iter().map(|w| w * x.first().copied().unwrap_or_default() * alpha).collect();
        let (scale, name) = (fresh("bias_scale"), fresh("bias"));
        let dims = if scales.len() == 1 { Vec::new() } else { vec![scales.len() as i64] };
        nodes.push(node("DequantizeLinear", &[bias, &scale], &[&name]).with_int("axis", 0));
        constant = Some(floats(&scale, &dims, &scales));
        operands.push(name);
    }
    let operands: Vec<&str> = operands.iter().map(String::as_str).collect();
    let quantized = !input(form.result).is_empty();
    let real = if quantized { fresh("real") } else { result.clone() };
    let mut float = node(form.operator, &operands, &[&real]);
    float.name.clone_from(&old.name);
    float.attribute = old.attribute.iter().filter(|a| !matches!(a.name.as_str(), "channels_last" | "opset")).cloned().collect();
    nodes.push(float);
    if quantized {
        nodes.push(node("QuantizeLinear", &[&real, input(form.result), input(form.result + 1)], &[result]));
    }
    Some((nodes, constant))
}
