//! A layer from its node, as `onnx::recurrent` makes it: ONNX's attributes, and the weights as attributes too.

use super::cell::{Candidate, Cell, Direction};
use super::layer::{Extra, Layer, Output};
use super::products::{Integer, Products};
use crate::onnx::integers::nodes::{Attributes as _, to_floats};
use hearth_kernels::recurrent::{Function, Gru, Lstm};
use hearth_kernels::{InstructionSet, float, linear};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{NodeProto, TensorProto};
use tract_onnx::tract_core::internal::*;

/// Reads the node.
pub(super) fn layer(node: &NodeProto) -> TractResult<Layer> {
    let is_lstm = node.op_type == "hearth.Lstm";
    let gates = if is_lstm { 4 } else { 3 };
    let weights = tensor(node, "weights").with_context(|| format!("{} without weights", node.op_type))?;
    let state_weights = tensor(node, "state_weights").with_context(|| format!("{} without state weights", node.op_type))?;
    let (&[directions, outputs, depth], &[_, _, units]) = (sizes(weights).as_slice(), sizes(state_weights).as_slice()) else {
        bail!("weights of {} without directions", node.op_type)
    };
    ensure!(units > 0 && outputs == gates * units, "{outputs} outputs of {gates} gates of {units} units");
    ensure!(sizes(state_weights) == [directions, outputs, units], "state weights of shape {:?}", state_weights.dims);
    let backward = match (node.text("direction").unwrap_or("forward"), directions) {
        ("forward", 1) => [false].as_slice(),
        ("reverse", 1) => &[true],
        ("bidirectional", 2) => &[false, true],
        (direction, _) => bail!("{directions} directions of a {direction} layer"),
    };
    let functions = functions(node, directions, is_lstm)?;
    let clip = node.float("clip");
    ensure!(clip.is_none_or(|clip| clip > 0.0), "clip {clip:?} is not above 0");
    let layer = Parts { node, directions, outputs };
    let [bias, peepholes] = [("bias", 2 * outputs), ("peepholes", 3 * units)].map(|(name, size)| layer.floats(name, size));
    let (bias, peepholes) = (bias?, peepholes?);
    let mut made = Vec::new();
    for (index, &backward) in backward.iter().enumerate() {
        let (of_input, of_state) = match &bias {
            Some(bias) => bias[index * 2 * outputs..][..2 * outputs].split_at(outputs),
            None => (&vec![0.0; outputs][..], &vec![0.0; outputs][..]),
        };
        let mut sums: Vec<f32> = of_input.iter().zip(of_state).map(|(a, b)| a + b).collect();
        let functions = &functions[index * functions.len() / directions..][..functions.len() / directions];
        let cell = if is_lstm {
            let peepholes = peepholes.as_ref().map_or(Vec::new(), |all| all[index * 3 * units..][..3 * units].to_vec());
            let functions = [functions[0], functions[1], functions[2]];
            let lstm = Lstm { functions, peepholes, clip, input_forget: node.int("input_forget").unwrap_or(0) != 0 };
            Cell::Lstm { lstm, state: layer.products("state_weights", index, units)? }
        } else {
            let all = layer.matrix("state_weights", index, units)?;
            let (gates, candidate) = all.split_at(2 * units * units);
            let pack = |weights: &[f32], outputs| float::Weights::pack(InstructionSet::best(), weights, outputs, units);
            let gates = pack(gates, 2 * units);
            let candidate = if node.int("linear_before_reset").unwrap_or(0) != 0 {
                sums[2 * units..].copy_from_slice(&of_input[2 * units..]);
                Candidate::BeforeReset(pack(candidate, units), of_state[2 * units..].to_vec())
            } else {
                Candidate::AfterReset(pack(candidate, units))
            };
            Cell::Gru { gru: Gru { functions: [functions[0], functions[1]], clip }, gates, candidate }
        };
        made.push(Direction { backward, input: layer.products("weights", index, depth)?, bias: sums, cell });
    }
    let extras = node.ints("inputs").unwrap_or_default().iter().skip(1).map(|place| {
        Ok(match place {
            4 => Extra::SequenceLengths,
            5 => Extra::InitialHidden,
            6 => Extra::InitialCell,
            _ => bail!("no input {place} of a layer"),
        })
    });
    let given = node.ints("outputs").unwrap_or_default().iter().map(|place| {
        Ok(match place {
            0 => Output::Every,
            1 => Output::LastHidden,
            2 => Output::LastCell,
            _ => bail!("no output {place} of a layer"),
        })
    });
    Ok(Layer {
        directions: made,
        units,
        batch_first: node.int("layout").unwrap_or(0) == 1,
        extras: extras.collect::<TractResult<_>>()?,
        outputs: given.collect::<TractResult<_>>()?,
    })
}

/// What the weights of a layer are cut from.
struct Parts<'a> {
    node: &'a NodeProto,
    directions: usize,
    outputs: usize,
}

impl Parts<'_> {
    /// A list of floats that may be missing, so many for each direction.
    fn floats(&self, name: &str, each: usize) -> TractResult<Option<Vec<f32>>> {
        let Some(tensor) = tensor(self.node, name) else { return Ok(None) };
        let list = to_floats(tensor).filter(|list| list.len() == self.directions * each);
        Ok(Some(list.with_context(|| format!("{name} of shape {:?}, not {each} for each direction", tensor.dims))?))
    }

    /// The weights of a direction.
    fn matrix(&self, name: &str, direction: usize, depth: usize) -> TractResult<Vec<f32>> {
        let size = self.outputs * depth;
        let all = self.floats(name, size)?.with_context(|| format!("{} without {name}", self.node.op_type))?;
        Ok(all[direction * size..][..size].to_vec())
    }

    fn products(&self, name: &str, direction: usize, depth: usize) -> TractResult<Products> {
        Ok(match self.integer(name, direction, depth)? {
            Some(integer) => Products::Integer(integer),
            None => {
                let weights = self.matrix(name, direction, depth)?;
                Products::Float(float::Weights::pack(InstructionSet::best(), &weights, self.outputs, depth))
            }
        })
    }

    /// The weights of a direction where they are integers.
    fn integer(&self, name: &str, direction: usize, depth: usize) -> TractResult<Option<Integer>> {
        let bytes = |name: &str, each: usize| {
            let tensor = tensor(self.node, name).filter(|tensor| tensor.data_type == DataType::Int8 as i32)?;
            let part = tensor.raw_data.get(direction * each..(direction + 1) * each)?;
            Some(part.iter().map(|byte| *byte as i8).collect::<Vec<_>>())
        };
        let Some(weights) = bytes(name, self.outputs * depth) else { return Ok(None) };
        let scales = self.floats(&format!("{name}_scale"), self.outputs)?.with_context(|| format!("{name} without scales"))?;
        let zero_points = bytes(&format!("{name}_zero_point"), self.outputs).with_context(|| format!("{name} without zero points"))?;
        let weights = linear::Weights::pack(InstructionSet::best(), &weights, self.outputs, depth, &zero_points);
        Ok(Some(Integer { weights, scale: scales[direction * self.outputs..][..self.outputs].to_vec() }))
    }
}

fn tensor<'a>(node: &'a NodeProto, name: &str) -> Option<&'a TensorProto> {
    node.get(name).and_then(|attribute| attribute.t.as_ref())
}

fn sizes(tensor: &TensorProto) -> Vec<usize> {
    tensor.dims.iter().filter_map(|d| usize::try_from(*d).ok()).collect()
}

/// The functions of all directions, one after the other. Each takes the next of the parameters that the node has, if it has any.
fn functions(node: &NodeProto, directions: usize, is_lstm: bool) -> TractResult<Vec<Function>> {
    let usual: &[Function] =
        if is_lstm { &[Function::Sigmoid, Function::Tanh, Function::Tanh] } else { &[Function::Sigmoid, Function::Tanh] };
    let Some(attribute) = node.get("activations").filter(|attribute| !attribute.strings.is_empty()) else {
        return Ok(usual.repeat(directions));
    };
    ensure!(
        attribute.strings.len() == directions * usual.len(),
        "{} activations, not {}",
        attribute.strings.len(),
        directions * usual.len()
    );
    let [mut alphas, mut betas] =
        ["activation_alpha", "activation_beta"].map(|name| node.get(name).map_or(&[][..], |attribute| &attribute.floats).iter().copied());
    let function = |name: &Vec<u8>| {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        let mut alpha = |usual: Option<f32>| alphas.next().or(usual).with_context(|| format!("{name} without alpha"));
        let mut beta = |usual: Option<f32>| betas.next().or(usual).with_context(|| format!("{name} without beta"));
        Ok(match name.as_str() {
            "sigmoid" => Function::Sigmoid,
            "tanh" => Function::Tanh,
            "relu" => Function::Relu,
            "affine" => Function::Affine { alpha: alpha(None)?, beta: beta(None)? },
            "leakyrelu" => Function::LeakyRelu { alpha: alpha(Some(0.01))? },
            "thresholdedrelu" => Function::ThresholdedRelu { alpha: alpha(Some(1.0))? },
            "scaledtanh" => Function::ScaledTanh { alpha: alpha(None)?, beta: beta(None)? },
            "hardsigmoid" => Function::HardSigmoid { alpha: alpha(Some(0.2))?, beta: beta(Some(0.5))? },
            "elu" => Function::Elu { alpha: alpha(Some(1.0))? },
            "softsign" => Function::Softsign,
            "softplus" => Function::Softplus,
            _ => bail!("no activation {name}"),
        })
    };
    attribute.strings.iter().map(function).collect()
}
