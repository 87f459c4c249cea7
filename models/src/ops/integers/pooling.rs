//! The largest and the mean value of windows, channels last.

use super::{Compute, byte, pair, picture, sizes};
use crate::onnx::integers::nodes::Attributes as _;
use hearth_kernels::Windows;
use hearth_kernels::pooling::{self, Average, PictureAverage};
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

    /// Whether they move by one pixel and their taps are neighbours.
    pub(super) fn visits_each_pixel(&self) -> bool {
        (self.strides, self.dilations) == ([1; 2], [1; 2])
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

    fn output(&self, datum_type: DatumType, shapes: &[&[TDim]]) -> TractResult<(DatumType, TVec<TDim>)> {
        let channels = shapes[0].last().cloned().context("a picture of rank 0")?;
        Ok((datum_type, self.0.output(shapes[0], channels)?))
    }

    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()> {
        let [batch, height, width, channels] = picture(inputs[0].shape(), 1)?;
        let windows = self.0.windows([height, width])?;
        let rows = 0..batch * windows.output()[0];
        let (x, mut plain) = (inputs[0].try_as_plain_ram()?, output.try_as_plain_ram_mut()?);
        match inputs[0].datum_type() {
            DatumType::I8 => pooling::max(&windows, channels, x.as_slice()?, rows, plain.as_slice_mut()?),
            DatumType::F32 => pooling::max_float(&windows, channels, x.as_slice()?, rows, plain.as_slice_mut()?),
            other => bail!("the largest of {other:?}"),
        }
        Ok(())
    }
}

/// The windows of a mean: those given, or one on the whole picture.
#[derive(Debug)]
struct Averaged(Option<Sliding>);

impl Averaged {
    fn new(node: &NodeProto) -> TractResult<Averaged> {
        let kernel = sizes(node, "kernel_shape");
        Ok(Averaged(if kernel.is_empty() { None } else { Some(Sliding::new(node, &kernel)?) }))
    }

    fn output(&self, shape: &[TDim]) -> TractResult<TVec<TDim>> {
        let channels = shape.last().cloned().context("a picture of rank 0")?;
        match &self.0 {
            Some(sliding) => sliding.output(shape, channels),
            None => {
                let inner = shape.len().saturating_sub(2);
                Ok(shape.iter().take(1).cloned().chain(std::iter::repeat_n(1.to_dim(), inner)).chain([channels]).collect())
            }
        }
    }

    /// None: the mean of the whole picture, which has pixels.
    fn windows(&self, [height, width]: [usize; 2]) -> TractResult<Option<Windows>> {
        match &self.0 {
            Some(sliding) => sliding.windows([height, width]).map(Some),
            None => {
                ensure!(height > 0 && width > 0, "the mean of an empty picture");
                Ok(None)
            }
        }
    }
}

/// Of integers.
#[derive(Debug)]
pub(super) struct AveragePool {
    windows: Averaged,
    of_windows: Average,
    of_pictures: PictureAverage,
}

impl AveragePool {
    pub(super) fn new(node: &NodeProto) -> TractResult<AveragePool> {
        let scales =
            node.get("scales").and_then(|a| <[f32; 2]>::try_from(a.floats.clone()).ok()).context("AveragePool without two scales")?;
        let zero_point = byte(node, "input_zero_point")?;
        let target = Target { zero_point: byte(node, "zero_point")?, low: byte(node, "low")?, high: byte(node, "high")? };
        let unsigned = node.int("unsigned").unwrap_or(0) != 0;
        Ok(AveragePool {
            windows: Averaged::new(node)?,
            of_windows: Average::new(zero_point, scales, counts_padding(node), target, unsigned),
            of_pictures: PictureAverage { zero_point, multiplier: scales[0] / scales[1], target },
        })
    }
}

fn counts_padding(node: &NodeProto) -> bool {
    node.int("count_include_pad").unwrap_or(0) != 0
}

impl Compute for AveragePool {
    fn name(&self) -> &'static str {
        "AveragePool"
    }

    fn output(&self, _: DatumType, shapes: &[&[TDim]]) -> TractResult<(DatumType, TVec<TDim>)> {
        Ok((DatumType::I8, self.windows.output(shapes[0])?))
    }

    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()> {
        let [batch, height, width, channels] = picture(inputs[0].shape(), 1)?;
        let mut plain = output.try_as_plain_ram_mut()?;
        let (x, out) = (inputs[0].try_as_plain_ram()?.as_slice::<i8>()?, plain.as_slice_mut()?);
        match self.windows.windows([height, width])? {
            Some(windows) => pooling::average(&windows, channels, x, &self.of_windows, 0..batch * windows.output()[0], out),
            None => pooling::average_pictures(channels, x, &self.of_pictures, out),
        }
        Ok(())
    }
}

/// Of `f32`.
#[derive(Debug)]
pub(super) struct FloatAveragePool {
    windows: Averaged,
    count_padding: bool,
}

impl FloatAveragePool {
    pub(super) fn new(node: &NodeProto) -> TractResult<FloatAveragePool> {
        Ok(FloatAveragePool { windows: Averaged::new(node)?, count_padding: counts_padding(node) })
    }
}

impl Compute for FloatAveragePool {
    fn name(&self) -> &'static str {
        "FloatAveragePool"
    }

    fn output(&self, datum_type: DatumType, shapes: &[&[TDim]]) -> TractResult<(DatumType, TVec<TDim>)> {
        ensure!(datum_type == DatumType::F32, "a mean of {datum_type:?}");
        Ok((datum_type, self.windows.output(shapes[0])?))
    }

    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()> {
        let [batch, height, width, channels] = picture(inputs[0].shape(), 1)?;
        let whole = || Windows::new([height, width], [height, width], [1; 2], [1; 2], [0; 4]);
        let windows = self.windows.windows([height, width])?.unwrap_or_else(whole);
        let (x, mut plain) = (inputs[0].try_as_plain_ram()?, output.try_as_plain_ram_mut()?);
        let rows = 0..batch * windows.output()[0];
        pooling::average_float(&windows, channels, x.as_slice()?, self.count_padding, rows, plain.as_slice_mut()?);
        Ok(())
    }
}
