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

/// Calls `compute` with parts of `step` values of a tensor of `f32`, or of `i8` on a grid: where a part begins, and where to put it, as
/// floats.
fn in_parts(
    output: &mut Tensor,
    grid: Option<Grid>,
    step: usize,
    values: &mut Vec<f32>,
    mut compute: impl FnMut(usize, &mut [f32]) -> TractResult<()>,
) -> TractResult<()> {
    let mut plain = output.try_as_plain_ram_mut()?;
    let Some(grid) = grid else {
        let mut parts = plain.as_slice_mut::<f32>()?.chunks_mut(step).enumerate();
        return parts.try_for_each(|(index, part)| compute(index * step, part));
    };
    plain.as_slice_mut::<i8>()?.chunks_mut(step).enumerate().try_for_each(|(index, part)| {
        values.resize(part.len(), 0.0);
        compute(index * step, values)?;
        quantize(values, grid, part);
        Ok(())
    })
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
        if output.len() == 0 {
            return Ok(());
        }
        let mask = inputs.get(1).map(|mask| Mask::new(mask, &shape)).transpose()?;
        let x = if inputs[0].shape() == &*shape { None } else { Some(inputs[0].broadcast_to_shape(&shape)?) };
        let x = x.as_ref().unwrap_or(inputs[0]);
        let step = if inner == 1 { depth * (VALUES / depth).max(1) } else { depth * inner };
        let given = x.try_as_plain_ram()?;
        with_memory(|Memory { values, .. }| {
            in_parts(output, self.grid, step, values, |start, values| {
                let range = start..start + values.len();
                if x.datum_type() == DatumType::I8 {
                    dequantize(&given.as_slice::<i8>()?[range], Grid::new(self.scale, 0i8), values);
                } else {
                    values.iter_mut().zip(&given.as_slice::<f32>()?[range]).for_each(|(value, x)| *value = x * self.scale);
                }
                if let Some(mask) = &mask {
                    mask.add_to(values, start);
                }
                if inner == 1 {
                    pointwise::softmax(values, depth);
                } else {
                    pointwise::softmax_columns(values, depth, inner);
                }
                Ok(())
            })
        })
    }
}

/// A mask that is repeated along some axes, read where it is.
struct Mask<'a> {
    values: &'a [f32],
    /// Of the axes before the last: their sizes in the result, and between neighbours in the mask, 0 where it is repeated.
    steps: TVec<(usize, usize)>,
    /// Values of a row of the result, and of the mask: as many or one.
    row: usize,
    own_row: usize,
}

impl<'a> Mask<'a> {
    fn new(mask: &'a Tensor, shape: &[usize]) -> TractResult<Mask<'a>> {
        let lacking = shape.len().checked_sub(mask.rank()).context("a mask of more axes than what it masks")?;
        let own: TVec<usize> = std::iter::repeat_n(&1, lacking).chain(mask.shape()).copied().collect();
        ensure!(own.iter().zip(shape).all(|(own, size)| [1, *size].contains(own)), "a mask of {:?} for {shape:?}", mask.shape());
        let last = shape.len() - 1;
        let (mut steps, mut stride) = (TVec::new(), own[last]);
        for (size, own) in shape[..last].iter().zip(&own[..last]).rev() {
            steps.push((*size, if *own == 1 { 0 } else { stride }));
            stride *= own;
        }
        Ok(Mask { values: mask.try_as_plain_ram()?.as_slice()?, steps, row: shape[last], own_row: own[last] })
    }

    /// Adds its part to whole rows of the result from value `start` on.
    fn add_to(&self, values: &mut [f32], start: usize) {
        for (index, row) in values.chunks_exact_mut(self.row).enumerate() {
            let (mut index, mut place) = (start / self.row + index, 0);
            for (size, step) in &self.steps {
                place += index % size * step;
                index /= size;
            }
            let mask = &self.values[place..][..self.own_row];
            if let [mask] = mask {
                row.iter_mut().for_each(|value| *value += mask);
            } else {
                row.iter_mut().zip(mask).for_each(|(value, mask)| *value += mask);
            }
        }
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
        let given = inputs[0].try_as_plain_ram()?;
        with_memory(|Memory { values, results, .. }| {
            in_parts(output, self.grid, step, results, |start, results| {
                let range = start..start + results.len();
                if inputs[0].datum_type() == DatumType::I8 {
                    values.resize(results.len(), 0.0);
                    dequantize(&given.as_slice::<i8>()?[range], self.given, values);
                    layer_normalise(values, &norm, results);
                } else {
                    layer_normalise(&given.as_slice::<f32>()?[range], &norm, results);
                }
                Ok(())
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_added_as_onnx_broadcasts_it() {
        let shape = [2, 3, 4, 5];
        for own in [&[2, 1, 1, 5][..], &[1, 3, 4, 1], &[4, 5], &[5], &[1], &[], &[2, 3, 4, 5], &[3, 1, 1]] {
            let values: Vec<f32> = (0..own.iter().product::<usize>()).map(|index| index as f32 + 1.0).collect();
            let tensor = Tensor::from_shape(own, &values).unwrap();
            let expected = tensor.broadcast_to_shape(&shape).unwrap();
            let expected = expected.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec();
            let mask = Mask::new(&tensor, &shape).unwrap();
            // In two parts of whole rows.
            let mut found = vec![0.0; expected.len()];
            let (first, second) = found.split_at_mut(35);
            mask.add_to(first, 0);
            mask.add_to(second, 35);
            assert_eq!(found, expected, "{own:?}");
        }
        assert!(Mask::new(&Tensor::zero::<f32>(&[3, 5]).unwrap(), &shape).is_err());
    }
}
