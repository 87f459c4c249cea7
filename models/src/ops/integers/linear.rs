//! Rows times constant weights: Gemm, and MatMul with a constant second operand.

use super::finish::Finish;
use super::{Compute, bytes, dims, rows_of, with_memory, zero_points};
use hearth_kernels::{InstructionSet, linear};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::internal::*;

#[derive(Debug)]
pub(super) struct Linear {
    weights: linear::Weights,
    finish: Finish,
}

impl Linear {
    pub(super) fn new(node: &NodeProto) -> TractResult<Linear> {
        let &[outputs, depth] = dims(node, "weights").as_slice() else { bail!("weights of {} are no matrix", node.op_type) };
        let weights = linear::Weights::pack(InstructionSet::best(), &bytes(node, "weights")?, outputs, depth, &zero_points(node)?);
        Ok(Linear { weights, finish: Finish::new(node, outputs)? })
    }
}

impl Compute for Linear {
    fn name(&self) -> &'static str {
        "Linear"
    }

    fn output(&self, _: DatumType, shapes: &[&[TDim]]) -> TractResult<(DatumType, TVec<TDim>)> {
        Ok((self.finish.datum_type(), rows_of(shapes[0], self.weights.outputs())?))
    }

    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()> {
        let depth = self.weights.depth();
        ensure!(inputs[0].shape().last() == Some(&depth), "rows of {:?} and weights of depth {depth}", inputs[0].shape());
        let x = inputs[0].try_as_plain_ram()?.as_slice::<i8>()?;
        let rows = linear::Matrix::new(x, x.len() / depth.max(1), depth, depth);
        let outputs = self.weights.outputs();
        let mut plain = output.try_as_plain_ram_mut()?;
        with_memory(|memory| {
            let scratch = &mut memory.scratch;
            if let Some(finish) = self.finish.requantize() {
                linear::multiply(&self.weights, 0..outputs, &rows, &finish, plain.as_slice_mut::<i8>()?, outputs, scratch);
            } else if let Some(finish) = self.finish.float() {
                linear::multiply(&self.weights, 0..outputs, &rows, &finish, plain.as_slice_mut::<f32>()?, outputs, scratch);
            }
            Ok(())
        })
    }

    fn bytes(&self) -> u64 {
        self.weights.bytes() as u64
    }
}
