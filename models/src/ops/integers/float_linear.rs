//! Rows times constant weights in `f32`, the results held within bounds.

use super::{Compute, dims, float_limits, rows_of};
use crate::onnx::integers::nodes::{Attributes as _, to_floats};
use hearth_kernels::float::{Finish, Matrix, Weights, multiply};
use hearth_kernels::{InstructionSet, hold};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::internal::*;

/// Rows that are held within the bounds while the cache has them.
const ROWS: usize = 120;

#[derive(Debug)]
pub(super) struct FloatLinear {
    weights: Weights,
    bias: Vec<f32>,
    limits: [f32; 2],
}

impl FloatLinear {
    pub(super) fn new(node: &NodeProto) -> TractResult<FloatLinear> {
        let &[outputs, depth] = dims(node, "weights").as_slice() else { bail!("weights of {} are no matrix", node.op_type) };
        let weights = node.get("weights").and_then(|a| a.t.as_ref()).and_then(to_floats).context("a product without weights")?;
        let bias = node.get("bias").map(|a| a.floats.clone()).unwrap_or_default();
        let weights = Weights::pack(InstructionSet::best(), &weights, outputs, depth);
        Ok(FloatLinear { weights, bias, limits: float_limits(node) })
    }
}

impl Compute for FloatLinear {
    fn name(&self) -> &'static str {
        "FloatLinear"
    }

    fn output(&self, datum_type: DatumType, shapes: &[&[TDim]]) -> TractResult<(DatumType, TVec<TDim>)> {
        ensure!(datum_type == DatumType::F32, "a product of {datum_type:?}");
        Ok((datum_type, rows_of(shapes[0], self.weights.outputs())?))
    }

    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()> {
        let (depth, outputs) = (self.weights.depth(), self.weights.outputs());
        ensure!(inputs[0].shape().last() == Some(&depth), "rows of {:?} and weights of depth {depth}", inputs[0].shape());
        let (x, mut plain) = (inputs[0].try_as_plain_ram()?, output.try_as_plain_ram_mut()?);
        let blocks = x.as_slice::<f32>()?.chunks(ROWS * depth).zip(plain.as_slice_mut::<f32>()?.chunks_mut(ROWS * outputs));
        for (x, out) in blocks {
            let rows = Matrix::new(x, x.len() / depth, depth, depth);
            multiply(&self.weights, 0..outputs, &rows, &Finish { bias: &self.bias, accumulate: false }, out, outputs);
            hold(self.limits, out);
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.weights.bytes() as u64
    }
}
