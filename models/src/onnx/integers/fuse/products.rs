//! Convolutions and products with constant weights: the weights channels last, the bias on the grid of the sums, the zero point of the
//! input folded into it, and a Relu or Clip into the bounds of the result.

use super::super::nodes::{Attributes as _, bytes, moving_as, node, words};
use super::super::view::{Quantized, Weights};
use super::{Fuser, onto, with_list};
use tract_onnx::pb::NodeProto;

/// A bias beyond this saturates any result that it is added to.
const LARGEST_BIAS: f32 = (1 << 30) as f32;

/// Weights as the kernels take them: `integers[output][depth]`.
pub(super) struct Matrix {
    pub(super) integers: Vec<i8>,
    depth: usize,
    /// One an output.
    pub(super) scales: Vec<f32>,
    /// Empty where all are 0, else one an output.
    zero_points: Vec<i8>,
}

impl Matrix {
    /// From weights whose element `at(output, index)` is that of the output at `index` of its depth.
    pub(super) fn new(weights: &Weights, outputs: usize, depth: usize, at: impl Fn(usize, usize) -> usize) -> Matrix {
        let integers =
            (0..outputs).flat_map(|output| (0..depth).map(move |index| (output, index))).map(|(o, i)| weights.integers[at(o, i)]).collect();
        let each = |output: usize| output.min(weights.scales.len() - 1);
        let scales = (0..outputs).map(|output| weights.scales[each(output)]).collect();
        let all_zero = weights.zero_points.iter().all(|z| *z == 0);
        let zero_points = if all_zero { Vec::new() } else { (0..outputs).map(|output| weights.zero_points[each(output)]).collect() };
        Matrix { integers, depth, scales, zero_points }
    }

    /// A node with the zero points, where there are any.
    pub(super) fn with_zero_points(&self, new: NodeProto) -> NodeProto {
        match self.zero_points.len() {
            0 => new,
            n => new.with_tensor("weight_zero_points", bytes("weight_zero_points", &[n as i64], &self.zero_points)),
        }
    }

    /// What the zero point of the input adds to each sum.
    fn offsets(&self, zero_point: i8) -> Vec<i32> {
        let zero = |output: usize| self.zero_points.get(output).copied().map_or(0, i32::from);
        let sum = |(output, row): (usize, &[i8])| row.iter().map(|w| i32::from(*w) - zero(output)).fold(0i32, i32::wrapping_add);
        self.integers.chunks(self.depth.max(1)).enumerate().map(sum).map(|sum| sum.wrapping_mul(-i32::from(zero_point))).collect()
    }
}

impl<'a> Fuser<'a> {
    pub(super) fn convolution(&mut self, old: &'a NodeProto) -> Option<()> {
        let x = self.view.dequantized(&old.input[0])?;
        let weights = self.view.weights(old.input.get(1)?)?;
        let (matrix, filters) = with_filters(old, &weights)?;
        self.product(old, "hearth.Conv", x, &matrix, old.input.get(2), 1.0, filters)
    }

    pub(super) fn gemm(&mut self, old: &'a NodeProto) -> Option<()> {
        let flag = |name: &str| old.int(name).unwrap_or(0) != 0;
        let factor = |name: &str| old.float(name).unwrap_or(1.0);
        if flag("transA") || (factor("beta") != 1.0 && old.input.len() > 2) {
            return None;
        }
        self.linear(old, flag("transB"), old.input.get(2), factor("alpha"))
    }

    pub(super) fn matrix_product(&mut self, old: &'a NodeProto) -> Option<()> {
        self.linear(old, false, None, 1.0)
    }

    fn linear(&mut self, old: &'a NodeProto, transposed: bool, bias: Option<&String>, alpha: f32) -> Option<()> {
        let x = self.view.dequantized(&old.input[0])?;
        let weights = self.view.weights(old.input.get(1)?)?;
        let &[rows, columns] = weights.dims.as_slice() else { return None };
        let (outputs, depth) = if transposed { (rows, columns) } else { (columns, rows) };
        if weights.scales.len() > 1 && weights.axis != usize::from(!transposed) {
            return None;
        }
        let matrix = Matrix::new(
            &weights,
            outputs,
            depth,
            |output, index| if transposed { output * depth + index } else { index * outputs + output },
        );
        let constant = bytes("weights", &[outputs as i64, depth as i64], &matrix.integers);
        let filters = node("", &[], &[]).with_tensor("weights", constant);
        self.product(old, "hearth.Linear", x, &matrix, bias, alpha, filters)
    }

    /// A product of two tensors of activations: on integers where both are on grids, else on floats.
    pub(super) fn activations(&mut self, old: &'a NodeProto) -> Option<()> {
        let (left, right) = (old.input.first()?, old.input.get(1)?);
        let constant = |name: &str| self.view.constant(name).is_some() || self.view.floats(name).is_some();
        if constant(left) || constant(right) {
            return None;
        }
        let (Some(a), Some(b)) = (self.view.dequantized(left), self.view.dequantized(right)) else {
            return self.emit(node("hearth.MatMul", &[left, right], &[&old.output[0]]));
        };
        let scale = a.scale * b.scale;
        let new = match self.end(&old.output[0]) {
            Some(end) => onto(&end, "hearth.MatMul", &[a.integers, b.integers]).with_float("multiplier", scale / end.target.scale),
            None => node("hearth.MatMul", &[a.integers, b.integers], &[&old.output[0]]).with_float("scale", scale),
        };
        self.emit(new.with_int("input_zero_point", a.zero_point.into()).with_int("other_zero_point", b.zero_point.into()))
    }

    /// Emits a product: to `i8` where its result is quantized next, else to `f32`.
    #[allow(clippy::too_many_arguments, reason = "what two operators have in common")]
    fn product(
        &mut self,
        old: &'a NodeProto,
        operator: &str,
        x: Quantized<'a>,
        matrix: &Matrix,
        bias: Option<&String>,
        alpha: f32,
        filters: NodeProto,
    ) -> Option<()> {
        let outputs = matrix.scales.len();
        let bias = match bias.filter(|name| !name.is_empty()) {
            Some(name) => {
                let bias = self.view.floats(name)?;
                match bias.len() {
                    1 => vec![bias[0]; outputs],
                    n if n == outputs => bias,
                    _ => return None,
                }
            }
            None => vec![0.0; outputs],
        };
        let scales: Vec<f32> = matrix.scales.iter().map(|w| x.scale * w * alpha).collect();
        let mut offsets = matrix.offsets(x.zero_point);
        let new = match self.end(&old.output[0]) {
            Some(end) => {
                for ((offset, bias), scale) in offsets.iter_mut().zip(&bias).zip(&scales) {
                    let steps = if *bias == 0.0 { 0.0 } else { (bias / scale).round_ties_even().clamp(-LARGEST_BIAS, LARGEST_BIAS) };
                    *offset = offset.saturating_add(steps as i32);
                }
                let multiplier: Vec<f32> = scales.iter().map(|scale| scale / end.target.scale).collect();
                with_list(onto(&end, operator, &[x.integers]), "multiplier", &multiplier)
            }
            None => with_list(with_list(node(operator, &[x.integers], &[&old.output[0]]), "scale", &scales), "bias", &bias),
        };
        let new = new.with_tensor("offset", words("offset", &[outputs as i64], &offsets)).with_int("input_zero_point", x.zero_point.into());
        let mut new = matrix.with_zero_points(new);
        new.attribute.extend(filters.attribute);
        self.emit(new)
    }
}

/// The filters of a convolution, channels last, and the attributes of one that has them; none if it is not of our kind.
pub(super) fn with_filters(old: &NodeProto, weights: &Weights) -> Option<(Matrix, NodeProto)> {
    if !(3..=4).contains(&weights.dims.len()) || (weights.scales.len() > 1 && weights.axis != 0) {
        return None;
    }
    let (outputs, channels, kernel) = (weights.dims[0], weights.dims[1], &weights.dims[2..]);
    let taps: usize = kernel.iter().product();
    let place = |output: usize, index: usize| (output * channels + index % channels) * taps + index / channels;
    let matrix = Matrix::new(weights, outputs, taps * channels, place);
    let mut dims = vec![outputs as i64];
    dims.extend(kernel.iter().map(|k| *k as i64));
    dims.push(channels as i64);
    let filters = node("", &[], &[]).with_tensor("weights", bytes("weights", &dims, &matrix.integers));
    let filters = filters.with_int("group", old.int("group").unwrap_or(1));
    let filters = moving_as(old, kernel.len(), filters)?;
    Some((matrix, filters))
}
