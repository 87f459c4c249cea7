//! Convolution in `f32` of pictures and sequences, channels last; where each channel has a filter of its own, depthwise.

use super::convolution::{by_tap, is_depthwise, shape_of};
use super::pooling::Sliding;
use super::{Compute, float_limits, picture, with_memory};
use crate::onnx::integers::nodes::{Attributes as _, to_floats};
use hearth_kernels::InstructionSet;
use hearth_kernels::convolution::Shape;
use hearth_kernels::float::{Convolution, Depthwise, Winograd};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::internal::*;

/// Of pictures of `f32`, its results held within bounds.
#[derive(Debug)]
pub(super) struct FloatConv {
    weights: Weights,
    sliding: Sliding,
    shape: Shape,
    limits: [f32; 2],
}

#[derive(Debug)]
enum Weights {
    Dense(Convolution),
    Winograd(Winograd),
    Depthwise(Depthwise),
}

impl FloatConv {
    pub(super) fn new(node: &NodeProto) -> TractResult<FloatConv> {
        let shape = shape_of(node)?;
        let constant = node.get("weights").and_then(|a| a.t.as_ref()).and_then(to_floats).context("filters without weights")?;
        let bias = node.get("bias").map(|a| a.floats.as_slice()).unwrap_or_default();
        let set = InstructionSet::best();
        let sliding = Sliding::new(node, &shape.kernel)?;
        let weights = if sliding.visits_each_pixel() && Winograd::pays(&shape) {
            Weights::Winograd(Winograd::pack(set, shape, &constant, bias))
        } else if is_depthwise(&shape) {
            Weights::Depthwise(Depthwise::pack(set, shape.channels, &by_tap(&shape, &constant).1, bias))
        } else {
            Weights::Dense(Convolution::pack(set, shape, &constant, bias))
        };
        Ok(FloatConv { weights, sliding, shape, limits: float_limits(node) })
    }
}

impl Compute for FloatConv {
    fn name(&self) -> &'static str {
        match self.weights {
            Weights::Dense(_) | Weights::Winograd(_) => "FloatConv",
            Weights::Depthwise(_) => "FloatDepthwiseConv",
        }
    }

    fn output(&self, datum_type: DatumType, shapes: &[&[TDim]]) -> TractResult<(DatumType, TVec<TDim>)> {
        ensure!(datum_type == DatumType::F32, "a convolution of {datum_type:?}");
        Ok((datum_type, self.sliding.convolved(shapes[0], self.shape.channels, self.shape.outputs)?))
    }

    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()> {
        let [batch, height, width, _] = picture(inputs[0].shape(), 1)?;
        let windows = self.sliding.windows([height, width])?;
        let x = inputs[0].try_as_plain_ram()?.as_slice::<f32>()?;
        let mut plain = output.try_as_plain_ram_mut()?;
        let out = plain.as_slice_mut::<f32>()?;
        match &self.weights {
            Weights::Dense(weights) => {
                with_memory(|memory| weights.run(&windows, x, 0..batch * windows.count(), self.limits, out, &mut memory.values));
            }
            Weights::Winograd(weights) => {
                with_memory(|memory| weights.run(&windows, x, self.limits, out, &mut memory.values));
            }
            Weights::Depthwise(weights) => weights.run(&windows, x, 0..batch * windows.output()[0], self.limits, out),
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        match &self.weights {
            Weights::Dense(weights) => weights.bytes() as u64,
            Weights::Winograd(weights) => weights.bytes() as u64,
            Weights::Depthwise(weights) => weights.bytes() as u64,
        }
    }
}
