//! Products of activations that are quantized as they come, item by item, on the grid that covers each: `f32` in, `f32` out.
//!
//! ONNX takes one grid for the whole batch; here the items of a batch do not touch each other.

use super::convolution::Filters;
use super::{Compute, Memory, bytes, dims, float_limits, picture, rows_of, with_memory, zero_points};
use crate::onnx::integers::nodes::{Attributes as _, to_floats};
use hearth_kernels::{InstructionSet, linear, quant};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::internal::*;

/// Scales and bias of the outputs, the sums of their weights, and the bounds of what comes of them.
#[derive(Debug)]
struct Outputs {
    scale: Vec<f32>,
    bias: Vec<f32>,
    sums: Vec<i32>,
    limits: [f32; 2],
}

impl Outputs {
    fn new(node: &NodeProto, sums: &[i32]) -> TractResult<Outputs> {
        let list = |name: &str| {
            let list = node.get(name).and_then(|a| a.t.as_ref()).and_then(to_floats);
            list.filter(|list| list.len() == sums.len()).with_context(|| format!("{} without {} {name}", node.op_type, sums.len()))
        };
        Ok(Outputs { scale: list("scale")?, bias: list("bias")?, sums: sums.to_vec(), limits: float_limits(node) })
    }

    /// Quantizes an item, and hands on its integers, its zero point and the finish of its sums.
    fn with_item<T>(
        &self,
        item: &[f32],
        memory: &mut Memory,
        compute: impl FnOnce(&[i8], i8, &linear::Float<'_>, (&mut linear::Scratch, &mut Vec<i8>)) -> T,
    ) -> T {
        memory.item.resize(item.len(), 0);
        let grid = quant::dynamic_quantize::<i8>(item, &mut memory.item);
        memory.offset.clear();
        memory.offset.extend(self.sums.iter().map(|sum| sum.wrapping_mul(-grid.zero_point())));
        memory.scale.clear();
        memory.scale.extend(self.scale.iter().map(|scale| scale * grid.scale()));
        let finish = linear::Float { offset: &memory.offset, scale: &memory.scale, row_scale: &[], bias: &self.bias, limits: self.limits };
        compute(&memory.item, grid.zero_point() as i8, &finish, (&mut memory.scratch, &mut memory.padding))
    }
}

/// Rows times constant weights.
#[derive(Debug)]
pub(super) struct DynamicLinear {
    weights: linear::Weights,
    outputs: Outputs,
}

impl DynamicLinear {
    pub(super) fn new(node: &NodeProto) -> TractResult<DynamicLinear> {
        let &[outputs, depth] = dims(node, "weights").as_slice() else { bail!("weights of {} are no matrix", node.op_type) };
        let weights = linear::Weights::pack(InstructionSet::best(), &bytes(node, "weights")?, outputs, depth, &zero_points(node)?);
        let outputs = Outputs::new(node, weights.sums())?;
        Ok(DynamicLinear { weights, outputs })
    }
}

/// Rows of an item at most for all items to be multiplied at once: products of few rows wait for the weights.
const FEW_ROWS: usize = 4;

impl DynamicLinear {
    /// All items in one product, whose sums are finished afterwards, each item's by its own grid.
    fn together(&self, x: &[f32], size: usize, out: &mut [f32], memory: &mut Memory) {
        let Memory { scratch, item: integers, sums, offset: zero_points, scale: scales, .. } = memory;
        let (depth, outputs) = (self.weights.depth(), self.weights.outputs());
        integers.resize(x.len(), 0);
        zero_points.clear();
        scales.clear();
        for (item, integers) in x.chunks_exact(size).zip(integers.chunks_exact_mut(size)) {
            let grid = quant::dynamic_quantize::<i8>(item, integers);
            zero_points.push(grid.zero_point());
            scales.push(grid.scale());
        }
        sums.resize(out.len(), 0);
        let rows = linear::Matrix::new(integers, x.len() / depth, depth, depth);
        linear::multiply(&self.weights, 0..outputs, &rows, &linear::Raw { bias: &[] }, sums, outputs, scratch);
        let Outputs { scale, bias, sums: weight_sums, limits } = &self.outputs;
        let finish = linear::Dynamic { weight_sums, scale, bias, limits: *limits };
        let of_item = size / depth * outputs;
        let items = out.chunks_exact_mut(of_item).zip(sums.chunks_exact(of_item));
        for ((out, sums), (zero_point, step)) in items.zip(zero_points.iter().zip(scales.iter())) {
            finish.finish(sums, *zero_point, *step, out);
        }
    }
}

impl Compute for DynamicLinear {
    fn name(&self) -> &'static str {
        "DynamicLinear"
    }

    fn output(&self, _: DatumType, shapes: &[&[TDim]]) -> TractResult<(DatumType, TVec<TDim>)> {
        Ok((DatumType::F32, rows_of(shapes[0], self.weights.outputs())?))
    }

    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()> {
        let (depth, shape) = (self.weights.depth(), inputs[0].shape());
        ensure!(shape.last() == Some(&depth), "rows of {shape:?} and weights of depth {depth}");
        let items = if shape.len() > 1 { shape[0] } else { 1 };
        let (x, outputs) = (inputs[0].try_as_plain_ram()?.as_slice::<f32>()?, self.weights.outputs());
        let mut plain = output.try_as_plain_ram_mut()?;
        let out = plain.as_slice_mut::<f32>()?;
        if out.is_empty() || x.is_empty() {
            return Ok(());
        }
        let (size, out_size) = (x.len() / items, out.len() / items);
        if size <= FEW_ROWS * depth {
            with_memory(|memory| self.together(x, size, out, memory));
            return Ok(());
        }
        with_memory(|memory| {
            for (item, out) in x.chunks_exact(size).zip(out.chunks_exact_mut(out_size)) {
                self.outputs.with_item(item, memory, |item, _, finish, (scratch, _)| {
                    let rows = linear::Matrix::new(item, item.len() / depth, depth, depth);
                    linear::multiply(&self.weights, 0..outputs, &rows, finish, out, outputs, scratch);
                });
            }
        });
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.weights.bytes() as u64
    }
}

/// Convolution, channels last.
#[derive(Debug)]
pub(super) struct DynamicConv {
    filters: Filters,
    outputs: Outputs,
}

impl DynamicConv {
    pub(super) fn new(node: &NodeProto) -> TractResult<DynamicConv> {
        let filters = Filters::new(node)?;
        let outputs = Outputs::new(node, filters.sums())?;
        Ok(DynamicConv { filters, outputs })
    }
}

impl Compute for DynamicConv {
    fn name(&self) -> &'static str {
        if self.filters.is_depthwise() { "DynamicDepthwiseConv" } else { "DynamicConv" }
    }

    fn output(&self, _: DatumType, shapes: &[&[TDim]]) -> TractResult<(DatumType, TVec<TDim>)> {
        Ok((DatumType::F32, self.filters.output(shapes[0])?))
    }

    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()> {
        let [batch, height, width, _] = picture(inputs[0].shape(), 1)?;
        let x = inputs[0].try_as_plain_ram()?.as_slice::<f32>()?;
        let mut plain = output.try_as_plain_ram_mut()?;
        let out = plain.as_slice_mut::<f32>()?;
        if x.is_empty() || out.is_empty() {
            return Ok(());
        }
        let (size, out_size) = (x.len() / batch, out.len() / batch);
        with_memory(|memory| {
            x.chunks_exact(size).zip(out.chunks_exact_mut(out_size)).try_for_each(|(item, out)| {
                self.outputs.with_item(item, memory, |item, zero_point, finish, scratch| {
                    self.filters.run(item, [height, width], zero_point, finish, out, scratch)
                })
            })
        })
    }

    fn bytes(&self) -> u64 {
        self.filters.bytes()
    }
}
