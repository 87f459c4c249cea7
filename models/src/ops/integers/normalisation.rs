//! Softmax and layer normalisation, of integers or floats, to integers or floats: computed in `f32`, some rows at a time.

use super::{Compute, Memory, byte, with_memory};
use crate::onnx::integers::nodes::{Attributes as _, to_floats};
use hearth_kernels::pointwise::{self, layer_normalise};
use hearth_kernels::quant::{Grid, dequantize, quantize};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::broadcast::multi_broadcast;
use tract_onnx::tract_core::internal::*;

/// Values that are computed at once, if a row has not more: with their integers within the first-level cache of a small core.
const VALUES: usize = 4096;

/// The grid of the result; none where it is `f32`.
fn grid(node: &NodeProto) -> TractResult<Option<Grid>> {
    node.float("output_scale").map(|scale| Ok(Grid::new(scale, byte(node, "zero_point")?))).transpose()
}

fn datum_type(grid: Option<Grid>) -> DatumType {
    if grid.is_some() { DatumType::I8 } else { DatumType::F32 }
}

/// Reads some values of a tensor as floats, `i8` being on `grid`.
fn read(tensor: &Tensor, range: std::ops::Range<usize>, grid: Grid, values: &mut Vec<f32>) -> TractResult<()> {
    values.resize(range.len(), 0.0);
    let plain = tensor.try_as_plain_ram()?;
    if tensor.datum_type() == DatumType::I8 {
        dequantize(&plain.as_slice::<i8>()?[range], grid, values);
    } else {
        values.copy_from_slice(&plain.as_slice::<f32>()?[range]);
    }
    Ok(())
}

/// Writes some values to a tensor, on a grid if there is one.
fn write(values: &[f32], grid: Option<Grid>, start: usize, tensor: &mut Tensor) -> TractResult<()> {
    let (mut plain, range) = (tensor.try_as_plain_ram_mut()?, start..start + values.len());
    match grid {
        Some(grid) => quantize(values, grid, &mut plain.as_slice_mut::<i8>()?[range]),
        None => plain.as_slice_mut::<f32>()?[range].copy_from_slice(values),
    }
    Ok(())
}

/// `softmax(scale * x + mask)`; the mask is a second input of `f32`, repeated as ONNX broadcasts.
#[derive(Debug)]
pub(super) struct Softmax {
    axis: i64,
    scale: f32,
    masked: bool,
    grid: Option<Grid>,
}

impl Softmax {
    pub(super) fn new(node: &NodeProto) -> TractResult<Softmax> {
        let (axis, scale) = (node.int("axis").unwrap_or(-1), node.float("scale").unwrap_or(1.0));
        Ok(Softmax { axis, scale, masked: node.input.len() > 1, grid: grid(node)? })
    }

    fn axis(&self, rank: usize) -> TractResult<usize> {
        let axis = if self.axis < 0 { self.axis + rank as i64 } else { self.axis };
        usize::try_from(axis).ok().filter(|axis| *axis < rank).with_context(|| format!("softmax along axis {} of {rank}", self.axis))
    }
}

impl Compute for Softmax {
    fn name(&self) -> &'static str {
        "Softmax"
    }

    fn inputs(&self) -> usize {
        1 + usize::from(self.masked)
    }

    fn output(&self, _: DatumType, shapes: &[&[TDim]]) -> TractResult<(DatumType, TVec<TDim>)> {
        self.axis(shapes[0].len())?;
        Ok((datum_type(self.grid), multi_broadcast(shapes)?))
    }

    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()> {
        let shape: TVec<usize> = output.shape().into();
        let axis = self.axis(shape.len())?;
        let (depth, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
        let block = depth * inner;
        if output.len() == 0 {
            return Ok(());
        }
        let mask = inputs.get(1).map(|mask| mask.broadcast_to_shape(&shape)).transpose()?;
        let x = if inputs[0].shape() == &*shape { None } else { Some(inputs[0].broadcast_to_shape(&shape)?) };
        let x = x.as_ref().unwrap_or(inputs[0]);
        let step = if inner == 1 { depth * (VALUES / depth).max(1) } else { block };
        with_memory(|Memory { values, .. }| {
            for start in (0..output.len()).step_by(step) {
                let range = start..(start + step).min(output.len());
                read(x, range.clone(), Grid::new(self.scale, 0i8), values)?;
                if x.datum_type() == DatumType::F32 && self.scale != 1.0 {
                    values.iter_mut().for_each(|value| *value *= self.scale);
                }
                if let Some(mask) = &mask {
                    let mask = &mask.try_as_plain_ram()?;
                    values.iter_mut().zip(&mask.as_slice::<f32>()?[range]).for_each(|(value, mask)| *value += mask);
                }
                if inner == 1 {
                    pointwise::softmax(values, depth);
                } else {
                    pointwise::softmax_columns(values, depth, inner);
                }
                write(values, self.grid, start, output)?;
            }
            Ok(())
        })
    }
}

/// ONNX LayerNormalization over the last axis.
#[derive(Debug)]
pub(super) struct LayerNorm {
    scale: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f32,
    /// Of the input, where that is `i8`.
    given: Grid,
    grid: Option<Grid>,
}

impl LayerNorm {
    pub(super) fn new(node: &NodeProto) -> TractResult<LayerNorm> {
        let list = |name: &str| node.get(name).and_then(|a| a.t.as_ref()).and_then(to_floats);
        let (scale, bias) = (list("scale").with_context(|| format!("{} without scale", node.op_type))?, list("bias").unwrap_or_default());
        let given = match node.float("input_scale") {
            Some(scale) => Grid::new(scale, byte(node, "input_zero_point")?),
            None => Grid::new(1.0, 0i8),
        };
        Ok(LayerNorm { scale, bias, epsilon: node.float("epsilon").unwrap_or(1e-5), given, grid: grid(node)? })
    }
}

impl Compute for LayerNorm {
    fn name(&self) -> &'static str {
        "LayerNorm"
    }

    fn output(&self, _: DatumType, shapes: &[&[TDim]]) -> TractResult<(DatumType, TVec<TDim>)> {
        let depth = self.scale.len();
        ensure!(shapes[0].last() == Some(&depth.to_dim()), "{depth} scales for rows of {:?}", shapes[0]);
        Ok((datum_type(self.grid), shapes[0].into()))
    }

    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()> {
        let depth = self.scale.len();
        let norm = pointwise::LayerNorm { scale: &self.scale, bias: &self.bias, epsilon: self.epsilon };
        let step = depth * (VALUES / depth).max(1);
        with_memory(|Memory { values, results, .. }| {
            for start in (0..output.len()).step_by(step) {
                read(inputs[0], start..(start + step).min(output.len()), self.given, values)?;
                results.resize(values.len(), 0.0);
                layer_normalise(values, &norm, results);
                write(results, self.grid, start, output)?;
            }
            Ok(())
        })
    }
}
