//! Products of dynamically quantized activations with constant weights: DynamicQuantizeLinear, MatMulInteger or ConvInteger, Cast and
//! the product with the scales, the bias after it, and a Relu or Clip after that, are one operator from `f32` to `f32`.

use super::super::nodes::{Attributes as _, bytes, node, to_floats, to_integers};
use super::super::view::{Weights, other};
use super::products::{Matrix, with_filters};
use super::{Fuser, bounds, with_list};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{NodeProto, TensorProto};

impl<'a> Fuser<'a> {
    pub(super) fn dynamic(&mut self, old: &'a NodeProto) -> Option<()> {
        let view = self.view;
        let (_, quantize) = view.maker(&old.input[0]).filter(|(_, maker)| maker.op_type == "DynamicQuantizeLinear")?;
        let [_, x_scale, x_zero_point] = quantize.output.as_slice() else { return None };
        if old.input[0] != quantize.output[0] || old.input.get(2) != Some(x_zero_point) {
            return None;
        }
        let convolution = old.op_type == "ConvInteger";
        let weights = signed_weights(view.input(old, 1)?, view.input(old, 3), usize::from(!convolution))?;
        let (operator, matrix, filters) = if convolution {
            let (matrix, prepare) = with_filters(old, &weights)?;
            ("hearth.DynamicConv", matrix, prepare)
        } else {
            let &[depth, outputs] = weights.dims.as_slice() else { return None };
            let matrix = Matrix::new(&weights, outputs, depth, |output, index| index * outputs + output);
            let constant = bytes("weights", &[outputs as i64, depth as i64], &matrix.integers);
            ("hearth.DynamicLinear", matrix, node("", &[], &[]).with_tensor("weights", constant))
        };
        let outputs = matrix.scales.len();
        let one_each = |list: Vec<f32>| match list.len() {
            1 => Some(vec![list[0]; outputs]),
            n if n == outputs => Some(list),
            _ => None,
        };
        // The scale of the activations times that of the weights.
        let (cast, float) = view.only_taker_of_kind(&old.output[0], "Cast")?;
        let (product, real) = view.only_taker_of_kind(&float.output[0], "Mul")?;
        let (_, scales) = view.maker(other(real, &float.output[0])).filter(|(_, maker)| maker.op_type == "Mul")?;
        let scale = one_each(self.constant(other(scales, x_scale))?)?;
        let mut gone = vec![cast, product];
        let (mut bias, mut result) = (vec![0.0; outputs], &real.output[0]);
        if let Some((index, other)) = view.sum_with(result)
            && let Some(constant) = self.constant(other).and_then(one_each)
        {
            gone.push(index);
            (bias, result) = (constant, &view.graph.node[index].output[0]);
        }
        let mut limits = (f32::NEG_INFINITY, f32::INFINITY);
        if let Some((index, next)) = view.only_taker(result)
            && let Some(given) = bounds(view, next)
        {
            gone.push(index);
            (limits, result) = (given, &next.output[0]);
        }
        self.gone.extend(gone);
        let mut new = with_list(with_list(node(operator, &[&quantize.input[0]], &[result]), "scale", &scale), "bias", &bias)
            .with_float("low", limits.0)
            .with_float("high", limits.1);
        new.attribute.extend(filters.attribute);
        self.emit(matrix.with_zero_points(new))
    }

    /// A constant list of floats; a Reshape, which exporters put before a bias, leaves the list as it is.
    fn constant(&self, name: &str) -> Option<Vec<f32>> {
        if let Some(constant) = self.view.constant(name) {
            return to_floats(constant);
        }
        let (_, reshape) = self.view.maker(name).filter(|(_, maker)| maker.op_type == "Reshape")?;
        to_floats(self.view.input(reshape, 0)?)
    }
}

/// Integer weights as `i8`, without scales of their own.
fn signed_weights(weights: &TensorProto, zero_point: Option<&TensorProto>, axis: usize) -> Option<Weights> {
    let flip = match DataType::try_from(weights.data_type).ok()? {
        DataType::Int8 => 0,
        DataType::Uint8 => 0x80,
        _ => return None,
    };
    let zero_points = match zero_point {
        Some(given) if given.data_type != weights.data_type => return None,
        Some(given) => {
            to_integers(given)?;
            given.raw_data.iter().map(|b| (b ^ flip) as i8).collect()
        }
        None => vec![flip as i8],
    };
    let dims = weights.dims.iter().map(|d| usize::try_from(*d).ok()).collect::<Option<Vec<_>>>()?;
    let sound = zero_points.len() == 1 || dims.get(axis) == Some(&zero_points.len());
    let integers = weights.raw_data.iter().map(|b| (b ^ flip) as i8).collect();
    sound.then(|| Weights { dims, integers, scales: vec![1.0; zero_points.len()], zero_points, axis })
}
