//! The largest and the mean value of windows, channels last.

use super::{Compute, byte, pair, picture, sizes};
use crate::onnx::integers::nodes::Attributes as _;
use hearth_kernels::Windows;
use hearth_kernels::pooling::{self, Average};
use hearth_kernels::quant::Target;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::internal::*;

/// Windows for pictures of any size.
#[derive(Debug)]
pub(super) struct Sliding {
    kernel: [usize; 2],
    strides: [usize; 2],
    dilations: [usize; 2],
    /// Top, left, bottom, right.
    pads: [usize; 4],
    /// A last window may reach beyond the padding.
    rounded_up: bool,
}

impl Sliding {
    pub(super) fn new(node: &NodeProto, kernel: &[usize]) -> TractResult<Sliding> {
        let pads = match sizes(node, "pads").as_slice() {
            &[left, right] => [0, left, 0, right],
            &[top, left, bottom, right] => [top, left, bottom, right],
            other => bail!("pads {other:?} of {}", node.op_type),
        };
        let sliding = Sliding {
            kernel: pair(kernel, 1)?,
            strides: pair(&sizes(node, "strides"), 1)?,
            dilations: pair(&sizes(node, "dilations"), 1)?,
            pads,
            rounded_up: node.int("ceil_mode").unwrap_or(0) != 0,
        };
        ensure!(
            [sliding.kernel, sliding.strides, sliding.dilations].iter().flatten().all(|s| *s > 0),
            "{} with a kernel, stride or dilation of 0",
            node.op_type
        );
        Ok(sliding)
    }

    /// On pictures of this height and width.
    pub(super) fn windows(&self, input: [usize; 2]) -> TractResult<Windows> {
        for (axis, size) in input.into_iter().enumerate() {
            let padded = size + self.pads[axis] + self.pads[axis + 2];
            let window = (self.kernel[axis] - 1) * self.dilations[axis] + 1;
            ensure!(size > 0 && window <= padded, "a window of {window} on a padded input of {padded}");
        }
        let windows = Windows::new(input, self.kernel, self.strides, self.dilations, self.pads);
        Ok(if self.rounded_up { windows.rounded_up() } else { windows })
    }

    /// Shape of the output for that of the input, both channels last.
    pub(super) fn output(&self, shape: &[TDim], channels: TDim) -> TractResult<TVec<TDim>> {
        let [batch, height, width, _] = picture(shape, 1.to_dim())?;
        let mut output = tvec!(batch);
        let axes = [height, width];
        for (axis, size) in axes.iter().enumerate().skip(4 - shape.len()) {
            let made = match size.to_usize() {
                Ok(size) => {
                    let mut input = [self.kernel[0] * self.dilations[0], self.kernel[1] * self.dilations[1]];
                    input[axis] = size;
                    self.windows(input)?.output()[axis].to_dim()
                }
                Err(_) => {
                    let reach = (self.kernel[axis] - 1) * self.dilations[axis] + 1;
                    let span = size.clone() + (self.pads[axis] + self.pads[axis + 2]) as i64 - reach as i64;
                    let span = if self.rounded_up { span + (self.strides[axis] - 1) as i64 } else { span };
                    span / self.strides[axis] as u64 + 1
                }
            };
            output.push(made);
        }
        output.push(channels);
        Ok(output)
    }

    /// The same for a convolution that takes so many channels and makes so many.
    pub(super) fn convolved(&self, shape: &[TDim], channels: usize, outputs: usize) -> TractResult<TVec<TDim>> {
        let given = shape.last().context("a picture of rank 0")?;
        ensure!(given.to_usize().is_ok_and(|c| c == channels), "a picture of {given} channels, for filters of {channels}");
        self.output(shape, outputs.to_dim())
    }
}

#[derive(Debug)]
pub(super) struct MaxPool(Sliding);

impl MaxPool {
    pub(super) fn new(node: &NodeProto) -> TractResult<MaxPool> {
        Ok(MaxPool(Sliding::new(node, &sizes(node, "kernel_shape"))?))
    }
}

impl Compute for MaxPool {
    fn name(&self) -> &'static str {
        "MaxPool"
    }

    fn output(&self, _: DatumType, shapes: &[&[TDim]]) -> TractResult<(DatumType, TVec<TDim>)> {
        let channels = shapes[0].last().cloned().context("a picture of rank 0")?;
        Ok((DatumType::I8, self.0.output(shapes[0], channels)?))
    }

    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()> {
        let [batch, height, width, channels] = picture(inputs[0].shape(), 1)?;
        let windows = self.0.windows([height, width])?;
        let mut plain = output.try_as_plain_ram_mut()?;
        let x = inputs[0].try_as_plain_ram()?.as_slice::<i8>()?;
        pooling::max(&windows, channels, x, 0..batch * windows.output()[0], plain.as_slice_mut()?);
        Ok(())
    }
}

/// Of windows, or of the whole picture.
#[derive(Debug)]
pub(super) struct AveragePool {
    sliding: Option<Sliding>,
    average: Average,
}

impl AveragePool {
    pub(super) fn new(node: &NodeProto) -> TractResult<AveragePool> {
        let kernel = sizes(node, "kernel_shape");
        let multiplier = node.get("multipliers").and_then(|a| a.floats.first()).copied().context("AveragePool without a multiplier")?;
        Ok(AveragePool {
            sliding: if kernel.is_empty() { None } else { Some(Sliding::new(node, &kernel)?) },
            average: Average {
                zero_point: byte(node, "input_zero_point")?,
                multiplier,
                count_padding: node.int("count_include_pad").unwrap_or(0) != 0,
                target: Target { zero_point: byte(node, "zero_point")?, low: byte(node, "low")?, high: byte(node, "high")? },
            },
        })
    }
}

impl Compute for AveragePool {
    fn name(&self) -> &'static str {
        "AveragePool"
    }

    fn output(&self, _: DatumType, shapes: &[&[TDim]]) -> TractResult<(DatumType, TVec<TDim>)> {
        let shape = shapes[0];
        let channels = shape.last().cloned().context("a picture of rank 0")?;
        let output = match &self.sliding {
            Some(sliding) => sliding.output(shape, channels)?,
            None => {
                let inner = shape.len().saturating_sub(2);
                shape.iter().take(1).cloned().chain(std::iter::repeat_n(1.to_dim(), inner)).chain([channels]).collect()
            }
        };
        Ok((DatumType::I8, output))
    }

    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()> {
        let [batch, height, width, channels] = picture(inputs[0].shape(), 1)?;
        let windows = match &self.sliding {
            Some(sliding) => sliding.windows([height, width])?,
            None => {
                ensure!(height > 0 && width > 0, "the mean of an empty picture");
                Windows::new([height, width], [height, width], [1; 2], [1; 2], [0; 4])
            }
        };
        let mut plain = output.try_as_plain_ram_mut()?;
        let x = inputs[0].try_as_plain_ram()?.as_slice::<i8>()?;
        pooling::average(&windows, channels, x, &self.average, 0..batch * windows.output()[0], plain.as_slice_mut()?);
        Ok(())
    }
}
