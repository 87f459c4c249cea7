//! Rows of `f32` times weights of 4 or 8 bits that have a scale for each block of the depth; the rows are quantized by the same blocks.

use super::{Compute, rows_of, with_memory};
use crate::onnx::integers::nodes::{Attributes as _, to_floats};
use hearth_kernels::InstructionSet;
use hearth_kernels::int4::{Source, Weights, multiply};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::internal::*;

#[derive(Debug)]
pub(super) struct BlockLinear {
    weights: Weights,
    /// Empty, or one an output.
    bias: Vec<f32>,
}

impl BlockLinear {
    pub(super) fn new(node: &NodeProto) -> TractResult<BlockLinear> {
        let size = |name: &str| {
            let size = node.int(name).and_then(|i| usize::try_from(i).ok());
            size.with_context(|| format!("{} without {name}", node.op_type))
        };
        let tensor = |name: &str| node.get(name).and_then(|a| a.t.as_ref());
        let bytes = |name: &str| tensor(name).map(|t| t.raw_data.as_slice()).unwrap_or_default();
        let floats = |name: &str| tensor(name).and_then(to_floats).unwrap_or_default();
        let source = Source {
            bits: size("bits")? as u32,
            outputs: size("N")?,
            depth: size("K")?,
            block: size("block_size")?,
            weights: bytes("weights"),
            scales: &floats("scales"),
            zero_points: bytes("zero_points"),
        };
        Ok(BlockLinear { weights: Weights::pack(InstructionSet::best(), &source), bias: floats("bias") })
    }
}

impl Compute for BlockLinear {
    fn name(&self) -> &'static str {
        "BlockLinear"
    }

    fn output(&self, _: DatumType, shapes: &[&[TDim]]) -> TractResult<(DatumType, TVec<TDim>)> {
        Ok((DatumType::F32, rows_of(shapes[0], self.weights.outputs())?))
    }

    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()> {
        let (depth, outputs) = (self.weights.depth(), self.weights.outputs());
        ensure!(inputs[0].shape().last() == Some(&depth), "rows of {:?} and weights of depth {depth}", inputs[0].shape());
        let x = inputs[0].try_as_plain_ram()?.as_slice::<f32>()?;
        let mut plain = output.try_as_plain_ram_mut()?;
        with_memory(|memory| {
            let (rows, scratch) = &mut memory.blocks;
            rows.quantize(x, depth, self.weights.block());
            multiply(&self.weights, 0..outputs, rows, 0..rows.count(), &self.bias, plain.as_slice_mut()?, outputs, scratch);
            Ok(())
        })
    }

    fn bytes(&self) -> u64 {
        (self.weights.bytes() + 4 * self.bias.len()) as u64
    }
}
