//! Convolution of pictures and sequences, channels last; where each channel has a filter of its own, depthwise.

use super::finish::Finish;
use super::pooling::Sliding;
use super::{Compute, byte, bytes, dims, pair, picture, with_memory, zero_points};
use crate::onnx::integers::nodes::Attributes as _;
use hearth_kernels::convolution::{Convolution, Shape};
use hearth_kernels::linear::Scratch;
use hearth_kernels::{InstructionSet, depthwise};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::internal::*;

/// Filters, and how they move over a picture.
#[derive(Debug)]
pub(super) struct Filters {
    weights: Weights,
    sliding: Sliding,
    shape: Shape,
}

/// What the weights of a node say about it: `[output][kernel][channels of a group]`.
pub(super) fn shape_of(node: &NodeProto) -> TractResult<Shape> {
    let given = dims(node, "weights");
    let [outputs, kernel @ .., part] = given.as_slice() else { bail!("weights of {} are no filters", node.op_type) };
    let groups = node.int("group").and_then(|g| usize::try_from(g).ok()).unwrap_or(1);
    ensure!(groups > 0 && outputs % groups == 0, "{outputs} filters in {groups} groups");
    Ok(Shape { channels: groups * part, outputs: *outputs, kernel: pair(kernel, 1)?, groups })
}

/// Whether each channel has a filter of its own.
pub(super) fn is_depthwise(shape: &Shape) -> bool {
    shape.groups > 1 && shape.groups == shape.channels && shape.groups == shape.outputs
}

/// Such filters tap by tap, and how many taps there are.
pub(super) fn by_tap<T: Copy>(shape: &Shape, weights: &[T]) -> (usize, Vec<T>) {
    let (taps, channels) = (shape.kernel.iter().product(), shape.channels);
    (taps, (0..taps * channels).map(|i| weights[i % channels * taps + i / channels]).collect())
}

#[derive(Debug)]
enum Weights {
    Dense(Convolution),
    /// With the bytes that they take.
    Depthwise(depthwise::Weights, u64),
}

impl Filters {
    /// From the attributes of a node.
    pub(super) fn new(node: &NodeProto) -> TractResult<Filters> {
        let shape = shape_of(node)?;
        let (integers, zero_points) = (bytes(node, "weights")?, zero_points(node)?);
        let weights = if is_depthwise(&shape) {
            let (taps, by_tap) = by_tap(&shape, &integers);
            Weights::Depthwise(depthwise::Weights::pack(&by_tap, taps, shape.channels, &zero_points), integers.len() as u64)
        } else {
            Weights::Dense(Convolution::pack(InstructionSet::best(), shape, &integers, &zero_points))
        };
        Ok(Filters { weights, sliding: Sliding::new(node, &shape.kernel)?, shape })
    }

    pub(super) fn outputs(&self) -> usize {
        self.shape.outputs
    }

    pub(super) fn is_depthwise(&self) -> bool {
        matches!(self.weights, Weights::Depthwise(..))
    }

    /// For each output the sum of its weights, less their zero points.
    pub(super) fn sums(&self) -> &[i32] {
        match &self.weights {
            Weights::Dense(weights) => weights.sums(),
            Weights::Depthwise(weights, _) => weights.sums(),
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        match &self.weights {
            Weights::Dense(weights) => weights.bytes() as u64,
            Weights::Depthwise(_, bytes) => *bytes,
        }
    }

    /// Shape of the output for that of the input.
    pub(super) fn output(&self, shape: &[TDim]) -> TractResult<TVec<TDim>> {
        self.sliding.convolved(shape, self.shape.channels, self.shape.outputs)
    }

    /// Convolves a batch of pictures of `height x width`.
    pub(super) fn run<F: depthwise::Finish>(
        &self,
        pictures: &[i8],
        size: [usize; 2],
        zero_point: i8,
        finish: &F,
        out: &mut [F::Output],
        (scratch, padding): (&mut Scratch, &mut Vec<i8>),
    ) -> TractResult<()> {
        let windows = self.sliding.windows(size)?;
        let ([height, width], channels) = (windows.output(), self.shape.channels);
        let batch = pictures.len() / (size[0] * size[1] * channels).max(1);
        match &self.weights {
            Weights::Dense(weights) => {
                weights.run(&windows, pictures, zero_point, 0..batch * height * width, finish, out, scratch);
            }
            Weights::Depthwise(weights, _) => {
                padding.clear();
                padding.resize(size[1] * channels, zero_point);
                depthwise::depthwise(weights, &windows, pictures, padding, finish, 0..batch * height, out);
            }
        }
        Ok(())
    }
}

/// Of pictures of `i8`.
#[derive(Debug)]
pub(super) struct Conv {
    filters: Filters,
    /// Stands for 0 in the input.
    zero_point: i8,
    finish: Finish,
}

impl Conv {
    pub(super) fn new(node: &NodeProto) -> TractResult<Conv> {
        let filters = Filters::new(node)?;
        let finish = Finish::new(node, filters.outputs())?;
        Ok(Conv { filters, zero_point: byte(node, "input_zero_point")?, finish })
    }
}

impl Compute for Conv {
    fn name(&self) -> &'static str {
        if self.filters.is_depthwise() { "DepthwiseConv" } else { "Conv" }
    }

    fn output(&self, _: DatumType, shapes: &[&[TDim]]) -> TractResult<(DatumType, TVec<TDim>)> {
        Ok((self.finish.datum_type(), self.filters.output(shapes[0])?))
    }

    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()> {
        let [_, height, width, _] = picture(inputs[0].shape(), 1)?;
        let x = inputs[0].try_as_plain_ram()?.as_slice::<i8>()?;
        let mut plain = output.try_as_plain_ram_mut()?;
        with_memory(|memory| {
            let scratch = (&mut memory.scratch, &mut memory.padding);
            match (self.finish.requantize(), self.finish.float()) {
                (Some(finish), _) => self.filters.run(x, [height, width], self.zero_point, &finish, plain.as_slice_mut::<i8>()?, scratch),
                (_, Some(finish)) => self.filters.run(x, [height, width], self.zero_point, &finish, plain.as_slice_mut::<f32>()?, scratch),
                (None, None) => bail!("a convolution without a finish"),
            }
        })
    }

    fn bytes(&self) -> u64 {
        self.filters.bytes()
    }
}
