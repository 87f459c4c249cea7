//! Recurrent layers on their way to operators of our own: LSTM and GRU with constant weights, whatever the file's form, and
//! `com.microsoft`'s DynamicQuantizeLSTM. What a layer's node becomes holds its weights in attributes, takes only the inputs that
//! matter, and gives only the outputs that somebody takes. A layer whose weights are computed stays with tract.

use super::integers::nodes::{Attributes, bytes, floats, node, to_floats, to_integers};
use super::integers::prune::prune;
use super::integers::view::View;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

/// ONNX's places of the inputs.
const BIAS: usize = 3;
const SEQUENCE_LENGTHS: usize = 4;
const INITIAL_H: usize = 5;
const INITIAL_C: usize = 6;
const PEEPHOLES: usize = 7;
/// Of DynamicQuantizeLSTM: scale and zero point of the input's weights, then of the state's.
const GRIDS: [usize; 2] = [8, 10];

const QUANTIZED: &str = "DynamicQuantizeLSTM";

/// Whether an operator that tract does not have is known here.
pub(super) fn expands(operator: &str) -> bool {
    operator == QUANTIZED
}

/// What a layer's weights are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Products {
    /// `i8` where the file has them so.
    Integers,
    /// `f32`.
    Floats,
}

/// Rewrites every layer that can be; whether any was.
pub(super) fn rewrite(graph: &mut GraphProto, products: Products) -> bool {
    rewrite_those(graph, |view, node| ours(view, node, products))
}

/// For a graph that tract is to run as the file has it: rewrites what tract does not have or silently misreads, in `f32`.
pub(super) fn complete(graph: &mut GraphProto) {
    rewrite_those(graph, |view, node| if is_misread(node) { ours(view, node, Products::Floats) } else { None });
}

/// Whether any layer has integer weights.
pub(super) fn is_quantized(graph: &GraphProto) -> bool {
    graph.node.iter().any(|node| node.op_type == QUANTIZED)
}

fn rewrite_those(graph: &mut GraphProto, rewrite: impl Fn(&View<'_>, &NodeProto) -> Option<NodeProto>) -> bool {
    let view = View::new(graph);
    let new: Vec<_> = graph.node.iter().map(|node| rewrite(&view, node)).collect();
    let any = new.iter().any(Option::is_some);
    if any {
        for (old, new) in graph.node.iter_mut().zip(new) {
            if let Some(new) = new {
                *old = new;
            }
        }
        prune(graph);
    }
    any
}

/// tract takes every layer for one with the usual functions, and refuses items of different lengths.
fn is_misread(node: &NodeProto) -> bool {
    node.op_type == QUANTIZED
        || matches!(node.op_type.as_str(), "LSTM" | "GRU")
            && (node.get("clip").is_some()
                || node.get("activations").is_some()
                || node.int("input_forget").unwrap_or(0) != 0
                || given(node, SEQUENCE_LENGTHS).is_some())
}

/// The operator that takes the place of a layer.
fn ours(view: &View<'_>, old: &NodeProto, products: Products) -> Option<NodeProto> {
    let (operator, gates) = match old.op_type.as_str() {
        "LSTM" | QUANTIZED => ("hearth.Lstm", 4),
        "GRU" => ("hearth.Gru", 3),
        _ => return None,
    };
    // Of opset 1, with another meaning.
    if old.get("output_sequence").is_some() {
        return None;
    }
    let outputs: Vec<i64> = (0..3).filter(|index| old.output.get(*index as usize).is_some_and(|name| is_taken(view, name))).collect();
    let names: Vec<&str> = outputs.iter().map(|index| old.output[*index as usize].as_str()).collect();
    let mut inputs = vec![(0, old.input.first()?.as_str())];
    inputs.extend(given(old, SEQUENCE_LENGTHS).map(|name| (SEQUENCE_LENGTHS, name)));
    for place in [INITIAL_H, INITIAL_C] {
        inputs.extend(given(old, place).filter(|name| !is_zero(view, name)).map(|name| (place, name)));
    }
    let places: Vec<i64> = inputs.iter().map(|(place, _)| *place as i64).collect();
    let inputs: Vec<&str> = inputs.into_iter().map(|(_, name)| name).collect();
    let mut new = node(operator, &inputs, &names);
    new.name.clone_from(&old.name);
    new.attribute.clone_from(&old.attribute);
    new = new.with_ints("inputs", &places).with_ints("outputs", &outputs);
    for (place, name) in [(BIAS, "bias"), (PEEPHOLES, "peepholes")] {
        if let Some(input) = given(old, place) {
            new = new.with_tensor(name, constant(view, input)?);
        }
    }
    for (index, name) in [(0, "weights"), (1, "state_weights")] {
        let weights = old.input.get(index + 1)?;
        new = if old.op_type == QUANTIZED {
            let weights = Quantized::new(view, old, weights, GRIDS[index], gates)?;
            match products {
                Products::Integers => weights.into_attributes(new, name),
                Products::Floats => new.with_tensor(name, weights.into_floats()),
            }
        } else {
            new.with_tensor(name, constant(view, weights).filter(|weights| weights.dims.len() == 3)?)
        };
    }
    (!names.is_empty()).then_some(new)
}

/// The name of an optional input that is there.
fn given(node: &NodeProto, place: usize) -> Option<&str> {
    node.input.get(place).map(String::as_str).filter(|name| !name.is_empty())
}

fn is_taken(view: &View<'_>, name: &str) -> bool {
    !name.is_empty() && (view.is_kept(name) || view.takers(name).next().is_some())
}

/// Whether a tensor, whatever its shape, is all zeros: the initial state that exporters compute from the batch.
fn is_zero(view: &View<'_>, name: &str) -> bool {
    let zeros = |tensor: &TensorProto| tensor.raw_data.iter().all(|byte| *byte == 0);
    if let Some(constant) = view.constant(name) {
        return zeros(constant);
    }
    let Some((_, maker)) = view.maker(name) else { return false };
    match maker.op_type.as_str() {
        "ConstantOfShape" => maker.get("value").and_then(|a| a.t.as_ref()).is_none_or(zeros),
        "Slice" | "Gather" | "Squeeze" | "Unsqueeze" | "Reshape" | "Transpose" | "Expand" | "Tile" | "Split" | "Identity" | "Cast" => {
            maker.input.first().is_some_and(|input| is_zero(view, input))
        }
        "Concat" => maker.input.iter().all(|input| is_zero(view, input)),
        _ => false,
    }
}

/// A constant of floats: given so, or dequantized from constants.
fn constant(view: &View<'_>, name: &str) -> Option<TensorProto> {
    if let Some(constant) = view.constant(name) {
        return (constant.data_type == DataType::Float as i32).then(|| constant.clone());
    }
    let (_, maker) = view.maker(name)?;
    match maker.op_type.as_str() {
        // Half precision is widened already.
        "Identity" | "Cast" => constant(view, maker.input.first()?),
        "DequantizeLinear" => dequantized(view, maker),
        _ => None,
    }
}

fn dequantized(view: &View<'_>, node: &NodeProto) -> Option<TensorProto> {
    let tensor = view.input(node, 0)?;
    let (integers, scales) = (to_integers(tensor)?, to_floats(view.input(node, 1)?)?);
    let zero_points = match given(node, 2) {
        Some(name) => to_integers(view.constant(name)?)?,
        None => vec![0; scales.len()],
    };
    let axis = node.int("axis").unwrap_or(1);
    let axis = usize::try_from(if axis < 0 { axis + tensor.dims.len() as i64 } else { axis }).ok()?;
    let sound = scales.len() == zero_points.len()
        && (scales.len() == 1 || tensor.dims.get(axis) == Some(&(scales.len() as i64)))
        && node.int("block_size").unwrap_or(0) == 0;
    if !sound {
        return None;
    }
    let inner = if scales.len() == 1 { integers.len() } else { tensor.dims[axis + 1..].iter().product::<i64>() as usize };
    let real = |(index, integer): (usize, &i64)| {
        let grid = index / inner.max(1) % scales.len();
        (integer - zero_points[grid]) as f32 * scales[grid]
    };
    Some(floats("", &tensor.dims, &integers.iter().enumerate().map(real).collect::<Vec<_>>()))
}

/// Integer weights of a layer, `[directions][outputs][depth]`.
struct Quantized {
    dims: [usize; 3],
    integers: Vec<i8>,
    /// `[directions][outputs]`.
    scales: Vec<f32>,
    /// As many.
    zero_points: Vec<i8>,
}

impl Quantized {
    /// From the file's `[directions][depth][outputs]`, with a scale for each direction, or for each output.
    fn new(view: &View<'_>, node: &NodeProto, name: &str, grid: usize, gates: i64) -> Option<Quantized> {
        let tensor = view.constant(name)?;
        let flip = match DataType::try_from(tensor.data_type).ok()? {
            DataType::Int8 => 0,
            DataType::Uint8 => 0x80,
            _ => return None,
        };
        let &[directions, depth, outputs] = tensor.dims.iter().map(|d| usize::try_from(*d).ok()).collect::<Option<Vec<_>>>()?.as_slice()
        else {
            return None;
        };
        let scales = to_floats(view.input(node, grid)?)?;
        let zero_points: Vec<i8> = match given(node, grid + 1) {
            Some(name) => {
                let given = view.constant(name).filter(|given| given.data_type == tensor.data_type)?;
                given.raw_data.iter().map(|byte| (byte ^ flip) as i8).collect()
            }
            None => vec![flip as i8; scales.len()],
        };
        let each = directions * outputs;
        if outputs as i64 % gates != 0 || ![directions, each].contains(&scales.len()) || scales.len() != zero_points.len() {
            return None;
        }
        let repeated = each / scales.len().max(1);
        let at =
            |direction: usize, output: usize, index: usize| (tensor.raw_data[(direction * depth + index) * outputs + output] ^ flip) as i8;
        let integers = (0..each).flat_map(|row| (0..depth).map(move |index| at(row / outputs, row % outputs, index))).collect();
        Some(Quantized {
            dims: [directions, outputs, depth],
            integers,
            scales: (0..each).map(|row| scales[row / repeated]).collect(),
            zero_points: (0..each).map(|row| zero_points[row / repeated]).collect(),
        })
    }

    fn into_attributes(self, node: NodeProto, name: &str) -> NodeProto {
        let dims = self.dims.map(|d| d as i64);
        node.with_tensor(name, bytes(name, &dims, &self.integers))
            .with_tensor(&format!("{name}_scale"), floats(name, &dims[..2], &self.scales))
            .with_tensor(&format!("{name}_zero_point"), bytes(name, &dims[..2], &self.zero_points))
    }

    fn into_floats(self) -> TensorProto {
        let rows = self.integers.chunks(self.dims[2].max(1)).zip(self.scales.iter().zip(&self.zero_points));
        let reals = rows.flat_map(|(row, (scale, zero))| row.iter().map(move |q| (i32::from(*q) - i32::from(*zero)) as f32 * scale));
        floats("", &self.dims.map(|d| d as i64), &reals.collect::<Vec<_>>())
    }
}
