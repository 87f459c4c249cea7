//! Convolution of pictures and sequences, channels last; where each channel has a filter of its own, depthwise.

use super::finish::Finish;
use super::pooling::Sliding;
use super::{Compute, byte, bytes, filters, picture, with_memory, zero_points};
use hearth_kernels::convolution::{Convolution, Shape};
use hearth_kernels::{InstructionSet, depthwise};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::internal::*;

#[derive(Debug)]
pub(super) struct Conv {
    weights: Weights,
    sliding: Sliding,
    /// Of the input, and of the output.
    channels: usize,
    outputs: usize,
    /// Stands for 0 in the input.
    zero_point: i8,
    finish: Finish,
}

#[derive(Debug)]
enum Weights {
    Dense(Convolution),
    Depthwise(depthwise::Weights, u64),
}

impl Conv {
    pub(super) fn new(node: &NodeProto) -> TractResult<Conv> {
        let shape = filters(node)?;
        let Shape { channels, outputs, kernel, groups } = shape;
        let (integers, zero_points) = (bytes(node, "weights")?, zero_points(node)?);
        let finish = Finish::new(node, outputs)?;
        let weights = if groups == channels && groups == outputs && groups > 1 && finish.requantize().is_some() {
            let taps: usize = kernel.iter().product();
            let by_tap: Vec<i8> = (0..taps * outputs).map(|i| integers[i % outputs * taps + i / outputs]).collect();
            Weights::Depthwise(depthwise::Weights::pack(&by_tap, taps, outputs, &zero_points), integers.len() as u64)
        } else {
            Weights::Dense(Convolution::pack(InstructionSet::best(), shape, &integers, &zero_points))
        };
        let sliding = Sliding::new(node, &kernel)?;
        Ok(Conv { weights, sliding, channels, outputs, zero_point: byte(node, "input_zero_point")?, finish })
    }
}

impl Compute for Conv {
    fn name(&self) -> &'static str {
        match self.weights {
            Weights::Dense(_) => "Conv",
            Weights::Depthwise(..) => "DepthwiseConv",
        }
    }

    fn output(&self, _: DatumType, shapes: &[&[TDim]]) -> TractResult<(DatumType, TVec<TDim>)> {
        Ok((self.finish.datum_type(), self.sliding.convolved(shapes[0], self.channels, self.outputs)?))
    }

    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()> {
        let [batch, height, width, _] = picture(inputs[0].shape(), 1)?;
        let windows = self.sliding.windows([height, width])?;
        let x = inputs[0].try_as_plain_ram()?.as_slice::<i8>()?;
        let [out_height, out_width] = windows.output();
        let pixels = 0..batch * out_height * out_width;
        let mut plain = output.try_as_plain_ram_mut()?;
        with_memory(|memory| {
            match (&self.weights, self.finish.requantize(), self.finish.float()) {
                (Weights::Dense(weights), Some(finish), _) => {
                    weights.run(&windows, x, self.zero_point, pixels, &finish, plain.as_slice_mut::<i8>()?, &mut memory.scratch);
                }
                (Weights::Dense(weights), _, Some(finish)) => {
                    weights.run(&windows, x, self.zero_point, pixels, &finish, plain.as_slice_mut::<f32>()?, &mut memory.scratch);
                }
                (Weights::Depthwise(weights, _), Some(finish), _) => {
                    memory.padding.clear();
                    memory.padding.resize(width * self.channels, self.zero_point);
                    let out = plain.as_slice_mut::<i8>()?;
                    depthwise::depthwise(weights, &windows, x, &memory.padding, &finish, 0..batch * out_height, out);
                }
                (Weights::Depthwise(..), None, _) | (Weights::Dense(_), None, None) => bail!("a convolution without a finish"),
            }
            Ok(())
        })
    }

    fn bytes(&self) -> u64 {
        match &self.weights {
            Weights::Dense(weights) => weights.bytes() as u64,
            Weights::Depthwise(_, bytes) => *bytes,
        }
    }
}
