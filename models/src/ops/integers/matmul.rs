//! Products of two tensors of activations, as in attention: neither is known before the graph runs.

use super::layout::transpose_matrix;
use super::{Compute, byte, with_memory};
use crate::onnx::integers::nodes::Attributes as _;
use hearth_kernels::linear::{Float, Matrix, Requantize, Weights, multiply};
use hearth_kernels::InstructionSet;
use std::slice::from_ref;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::broadcast::multi_broadcast;
use tract_onnx::tract_core::internal::*;

/// `[..., rows, depth]` times `[..., depth, columns]`, or `[..., columns, depth]` where `transposed`.
#[derive(Debug)]
pub(super) struct MatMul {
    transposed: bool,
    zero_points: [i8; 2],
    becomes: Becomes,
}

/// What the sums of products become: `i8` on a grid, or `f32`.
#[derive(Debug)]
enum Becomes {
    Integers { multiplier: f32, zero_point: i8, low: i8, high: i8 },
    Floats { scale: f32 },
}

impl MatMul {
    pub(super) fn new(node: &NodeProto) -> TractResult<MatMul> {
        let becomes = match (node.float("multiplier"), node.float("scale")) {
            (Some(multiplier), _) => {
                let (zero_point, low, high) = (byte(node, "zero_point")?, byte(node, "low")?, byte(node, "high")?);
                Becomes::Integers { multiplier, zero_point, low, high }
            }
            (None, Some(scale)) => Becomes::Floats { scale },
            (None, None) => bail!("{} without multiplier or scale", node.op_type),
        };
        let zero_points = [byte(node, "input_zero_point")?, byte(node, "other_zero_point")?];
        Ok(MatMul { transposed: node.int("transposed") == Some(1), zero_points, becomes })
    }

    /// Rows, depth, and columns, from the last two axes.
    fn sizes<T: Clone + PartialEq + std::fmt::Debug>(&self, a: &[T], b: &[T]) -> TractResult<[T; 3]> {
        let ([.., rows, depth], [.., first, second]) = (a, b) else { bail!("a product of ranks {} and {}", a.len(), b.len()) };
        let (other, columns) = if self.transposed { (second, first) } else { (first, second) };
        ensure!(depth == other, "a product of depths {depth:?} and {other:?}");
        Ok([rows, depth, columns].map(T::clone))
    }
}

impl Compute for MatMul {
    fn name(&self) -> &'static str {
        "MatMul"
    }

    fn inputs(&self) -> usize {
        2
    }

    fn output(&self, _: DatumType, shapes: &[&[TDim]]) -> TractResult<(DatumType, TVec<TDim>)> {
        let [rows, _, columns] = self.sizes(shapes[0], shapes[1])?;
        let mut shape = multi_broadcast(&[&shapes[0][..shapes[0].len() - 2], &shapes[1][..shapes[1].len() - 2]])?;
        shape.extend([rows, columns]);
        Ok((if matches!(self.becomes, Becomes::Integers { .. }) { DatumType::I8 } else { DatumType::F32 }, shape))
    }

    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()> {
        let [rows, depth, columns] = self.sizes(inputs[0].shape(), inputs[1].shape())?;
        if output.len() == 0 || depth == 0 {
            return Ok(());
        }
        let batch: TVec<usize> = output.shape()[..output.rank() - 2].into();
        let places = repeated(inputs[0].shape(), &batch).zip(repeated(inputs[1].shape(), &batch));
        let (a, b, mut out) = (inputs[0].try_as_plain_ram()?, inputs[1].try_as_plain_ram()?, output.try_as_plain_ram_mut()?);
        let (a, b) = (a.as_slice::<i8>()?, b.as_slice::<i8>()?);
        let [zero_point, other_zero_point] = self.zero_points;
        with_memory(|memory| {
            for (index, (left, right)) in places.enumerate() {
                let matrix = &b[right * depth * columns..][..depth * columns];
                let matrix = if self.transposed {
                    matrix
                } else {
                    memory.item.resize(matrix.len(), 0);
                    transpose_matrix(matrix, depth, columns, &mut memory.item);
                    &memory.item
                };
                let weights = Weights::pack(InstructionSet::best(), matrix, columns, depth, from_ref(&other_zero_point));
                memory.offset.clear();
                memory.offset.extend(weights.sums().iter().map(|sum| sum.wrapping_mul(-i32::from(zero_point))));
                let x = Matrix::new(&a[left * rows * depth..][..rows * depth], rows, depth, depth);
                let (offset, place) = (&memory.offset, index * rows * columns..(index + 1) * rows * columns);
                match &self.becomes {
                    Becomes::Integers { multiplier, zero_point, low, high } => {
                        let (multiplier, zero_point, low, high) = (from_ref(multiplier), *zero_point, *low, *high);
                        let finish = Requantize { bias: offset, multiplier, zero_point, low, high, table: None };
                        multiply(&weights, 0..columns, &x, &finish, &mut out.as_slice_mut()?[place], columns, &mut memory.scratch);
                    }
                    Becomes::Floats { scale } => {
                        let finish = Float { offset, scale: from_ref(scale), row_scale: &[], bias: &[] };
                        multiply(&weights, 0..columns, &x, &finish, &mut out.as_slice_mut()?[place], columns, &mut memory.scratch);
                    }
                }
            }
            Ok(())
        })
    }
}

/// For each matrix of a batch of this shape, which one of a tensor it is, the tensor being repeated along axes of size 1 or that it
/// lacks; `shape` includes the two axes of the matrices.
fn repeated(shape: &[usize], batch: &[usize]) -> impl Iterator<Item = usize> {
    let own = &shape[..shape.len() - 2];
    let lacking = batch.len() - own.len();
    let mut steps: Vec<(usize, usize)> = batch.iter().map(|size| (*size, 0)).collect();
    let mut step = 1;
    for (axis, size) in own.iter().enumerate().rev() {
        if *size > 1 {
            steps[lacking + axis].1 = step;
        }
        step *= size;
    }
    (0..batch.iter().product()).map(move |mut index: usize| {
        steps.iter().rev().fold(0, |place, (size, step)| {
            let at = index % size;
            index /= size;
            place + at * step
        })
    })
}
