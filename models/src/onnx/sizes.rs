//! Graphs that would allocate without end: shapes that follow from constants alone are worked out before tract allocates them.
//! What only follows from inputs is bounded later, by the typed graph and by the check's memory limit.

use super::{MAX_ELEMENTS, bodies};
use crate::error::LoadError;
use std::collections::HashMap;
use std::path::Path;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dimension;
use tract_onnx::pb::type_proto::Value as Type;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

/// Small constants (shapes, counts, scales) by name. f64 holds every size below 2^53, and all above are refused anyway.
type Values<'a> = HashMap<&'a str, Vec<f64>>;

/// Checks every input and every operator that makes tensors from constants.
pub(super) fn check(file: &Path, graph: &GraphProto) -> Result<(), LoadError> {
    check_graph(file, graph, &HashMap::new())
}

fn check_graph<'a>(file: &Path, graph: &'a GraphProto, outer: &Values<'a>) -> Result<(), LoadError> {
    for input in &graph.input {
        if let Some(Type::TensorType(tensor)) = input.r#type.as_ref().and_then(|t| t.value.as_ref()) {
            let dims = tensor.shape.iter().flat_map(|s| &s.dim).filter_map(|d| match d.value {
                Some(Dimension::DimValue(v)) => Some(v as f64),
                _ => None,
            });
            refuse_over(file, volume(dims), || format!("input {:?}", input.name))?;
        }
    }
    let mut values = outer.clone();
    for tensor in &graph.initializer {
        values.extend(small(tensor).map(|v| (tensor.name.as_str(), v)));
    }
    // The order of a valid file; what comes out of order is only not worked out.
    for node in &graph.node {
        refuse_over(file, elements(node, &values), || format!("node {:?} ({})", node.name, node.op_type))?;
        if let (Some(value), Some(name)) = (compute(node, &values), node.output.first()) {
            values.insert(name, value);
        }
        bodies(node).try_for_each(|body| check_graph(file, body, &values))?;
    }
    Ok(())
}

fn refuse_over(file: &Path, elements: f64, what: impl Fn() -> String) -> Result<(), LoadError> {
    if elements <= MAX_ELEMENTS as f64 {
        return Ok(());
    }
    let wrong = format!("{} would make a tensor of {elements:.0} elements", what());
    Err(LoadError::invalid(file, wrong, format!("at most {MAX_ELEMENTS} elements a tensor are served")))
}

fn volume(dims: impl Iterator<Item = f64>) -> f64 {
    dims.filter(|d| *d > 0.0).product()
}

/// The least number of elements that a node makes, as far as constants tell; 0 where they do not.
fn elements(node: &NodeProto, values: &Values) -> f64 {
    let value = |index: usize| node.input.get(index).and_then(|name| values.get(name.as_str()));
    let product = |index: usize| value(index).map_or(0.0, |v| volume(v.iter().copied()));
    let attribute = |name: &str| node.attribute.iter().find(|a| a.name == name);
    let padded = |pads: &[f64]| {
        let (before, after) = pads.split_at(pads.len() / 2);
        before.iter().zip(after).map(|(b, a)| 1.0 + b.max(0.0) + a.max(0.0)).product()
    };
    match node.op_type.as_str() {
        "ConstantOfShape" => product(0),
        "Expand" | "Tile" => product(1),
        "OneHot" => product(1),
        "Range" => match (value(0).map(Vec::as_slice), value(1).map(Vec::as_slice), value(2).map(Vec::as_slice)) {
            (Some([start]), Some([limit]), Some([0.0])) if start != limit => f64::INFINITY,
            (Some([start]), Some([limit]), Some([delta])) => ((limit - start) / delta).ceil(),
            _ => 0.0,
        },
        // Inputs: X, roi, scales, sizes; in opset 10 and for Upsample X, scales.
        "Resize" if node.input.len() > 2 => product(2).max(product(3)),
        "Resize" | "Upsample" => product(1),
        "Pad" => value(1).map_or_else(|| attribute("pads").map_or(0.0, |a| padded(&floats(&a.ints))), |pads| padded(pads)),
        "Conv" | "ConvTranspose" | "MaxPool" | "AveragePool" | "LpPool" | "ConvInteger" | "QLinearConv" => {
            attribute("pads").map_or(0.0, |a| padded(&floats(&a.ints)))
        }
        "RandomNormal" | "RandomUniform" => attribute("shape").map_or(0.0, |a| volume(a.ints.iter().map(|i| *i as f64))),
        "BlackmanWindow" | "HannWindow" | "HammingWindow" => product(0),
        _ => 0.0,
    }
}

/// The value of a node that computes small constants from constants.
fn compute(node: &NodeProto, values: &Values) -> Option<Vec<f64>> {
    let inputs = || node.input.iter().map(|name| values.get(name.as_str()).map(Vec::as_slice)).collect::<Option<Vec<_>>>();
    match node.op_type.as_str() {
        "Constant" => node.attribute.iter().find_map(constant),
        "Identity" | "Cast" | "Squeeze" | "Unsqueeze" | "Reshape" | "Flatten" => values.get(node.input.first()?.as_str()).cloned(),
        "Concat" => Some(inputs()?.concat()),
        "Add" | "Sub" | "Mul" | "Div" | "Pow" => {
            let &[a, b] = inputs()?.as_slice() else { return None };
            let f: fn(f64, f64) -> f64 = match node.op_type.as_str() {
                "Add" => |a, b| a + b,
                "Sub" => |a, b| a - b,
                "Mul" => |a, b| a * b,
                "Div" => |a, b| a / b,
                _ => f64::powf,
            };
            match (a, b) {
                (a, [b]) => Some(a.iter().map(|a| f(*a, *b)).collect()),
                ([a], b) => Some(b.iter().map(|b| f(*a, *b)).collect()),
                (a, b) if a.len() == b.len() => Some(a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect()),
                _ => None,
            }
        }
        _ => None,
    }
}

fn constant(attribute: &AttributeProto) -> Option<Vec<f64>> {
    match attribute.name.as_str() {
        "value" => attribute.t.as_ref().and_then(small),
        "value_int" => Some(vec![attribute.i as f64]),
        "value_float" => Some(vec![f64::from(attribute.f)]),
        "value_ints" => Some(floats(&attribute.ints)),
        "value_floats" => Some(attribute.floats.iter().copied().map(f64::from).collect()),
        _ => None,
    }
}

/// The elements of a small tensor; its data is already in `raw_data`.
fn small(tensor: &TensorProto) -> Option<Vec<f64>> {
    const MOST: usize = 64 * 8;
    let raw = Some(&tensor.raw_data).filter(|raw| raw.len() <= MOST)?;
    macro_rules! read {
        ($t:ty) => {
            Some(raw.chunks_exact(size_of::<$t>()).map(|b| <$t>::from_le_bytes(b.try_into().expect("exact chunks")) as f64).collect())
        };
    }
    match DataType::try_from(tensor.data_type).ok()? {
        DataType::Int64 => read!(i64),
        DataType::Int32 => read!(i32),
        DataType::Float => read!(f32),
        DataType::Double => read!(f64),
        _ => None,
    }
}

fn floats(ints: &[i64]) -> Vec<f64> {
    ints.iter().map(|i| *i as f64).collect()
}
