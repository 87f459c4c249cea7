//! Products of two tensors of activations, as in attention: neither is known before the graph runs. Heads that lie interleaved are
//! multiplied where they are: transpositions before and after are only other strides.

use super::layout::transpose_matrix;
use super::{Compute, Memory, byte, sizes, with_memory};
use crate::onnx::integers::nodes::Attributes as _;
use hearth_kernels::InstructionSet;
use hearth_kernels::float::{self, Right, multiply_pair};
use hearth_kernels::linear::{self, Float, Requantize, Weights};
use std::slice::from_ref;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::broadcast::multi_broadcast;
use tract_onnx::tract_core::internal::*;

/// `[..., rows, depth]` times `[..., depth, columns]`, of `i8` or of `f32`.
#[derive(Debug)]
pub(super) struct MatMul {
    /// How the operands are transposed before; empty where they are not.
    before: [TVec<usize>; 2],
    /// How the result is transposed.
    after: TVec<usize>,
    becomes: Becomes,
}

/// What the sums of products become.
#[derive(Debug)]
enum Becomes {
    /// Sums of products of `f32`.
    Sums,
    /// `f32`, from those of `i8`.
    Floats { zero_points: [i8; 2], scale: f32 },
    /// `i8` on a grid.
    Integers { zero_points: [i8; 2], multiplier: f32, zero_point: i8, low: i8, high: i8 },
}

impl MatMul {
    pub(super) fn new(node: &NodeProto) -> TractResult<MatMul> {
        let zero_points = || TractResult::Ok([byte(node, "input_zero_point")?, byte(node, "other_zero_point")?]);
        let becomes = match (node.float("multiplier"), node.float("scale")) {
            (Some(multiplier), _) => {
                let (zero_point, low, high) = (byte(node, "zero_point")?, byte(node, "low")?, byte(node, "high")?);
                Becomes::Integers { zero_points: zero_points()?, multiplier, zero_point, low, high }
            }
            (None, Some(scale)) => Becomes::Floats { zero_points: zero_points()?, scale },
            (None, None) => Becomes::Sums,
        };
        let before = ["perm_left", "perm_right"].map(|name| sizes(node, name));
        Ok(MatMul { before, after: sizes(node, "perm"), becomes })
    }

    /// The shape of the product, before it is transposed.
    fn product<T: DimLike>(&self, left: &[T], right: &[T]) -> TractResult<TVec<T>> {
        let ([.., rows, depth], [.., other, columns]) = (left, right) else {
            bail!("a product of ranks {} and {}", left.len(), right.len())
        };
        ensure!(depth == other, "a product of depths {depth} and {other}");
        let mut shape = multi_broadcast(&[&left[..left.len() - 2], &right[..right.len() - 2]])?;
        shape.extend([rows.clone(), columns.clone()]);
        Ok(shape)
    }
}

/// A list in another order.
fn permuted<T: Clone>(list: &[T], perm: &[usize]) -> TractResult<TVec<T>> {
    if perm.is_empty() {
        return Ok(list.into());
    }
    ensure!(perm.len() == list.len(), "{} axes transposed as {perm:?}", list.len());
    perm.iter().map(|axis| list.get(*axis).cloned().context("a transposition of an axis that is not there")).collect()
}

/// Distances in memory between neighbours along each axis.
fn strides(shape: &[usize]) -> TVec<usize> {
    let mut strides: TVec<usize> = shape.iter().rev().scan(1, |step, size| Some(std::mem::replace(step, *step * size))).collect();
    strides.reverse();
    strides
}

/// The distances along the axes of the batch, 0 where an operand is repeated, and then those along the rows and within them.
fn steps(shape: &[usize], perm: &[usize], batch: usize) -> TractResult<(TVec<usize>, [usize; 2])> {
    let (shape, strides) = (permuted(shape, perm)?, permuted(&strides(shape), perm)?);
    let (inner, own) = (strides.len() - 2, shape.iter().zip(&strides).map(|(size, stride)| if *size == 1 { 0 } else { *stride }));
    let own: TVec<usize> = own.take(inner).collect();
    let lacking = std::iter::repeat_n(0, batch - own.len());
    Ok((lacking.chain(own).collect(), [strides[inner], strides[inner + 1]]))
}

impl Compute for MatMul {
    fn name(&self) -> &'static str {
        "MatMul"
    }

    fn inputs(&self) -> usize {
        2
    }

    fn output(&self, _: DatumType, shapes: &[&[TDim]]) -> TractResult<(DatumType, TVec<TDim>)> {
        let product = self.product(&permuted(shapes[0], &self.before[0])?, &permuted(shapes[1], &self.before[1])?)?;
        let datum_type = if matches!(self.becomes, Becomes::Integers { .. }) { DatumType::I8 } else { DatumType::F32 };
        Ok((datum_type, permuted(&product, &self.after)?))
    }

    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()> {
        let (left, right) = (permuted(inputs[0].shape(), &self.before[0])?, permuted(inputs[1].shape(), &self.before[1])?);
        let product = self.product(&left, &right)?;
        let (batch, depth) = (product.len() - 2, left[left.len() - 1]);
        let [rows, columns] = [product[batch], product[batch + 1]];
        if output.len() == 0 {
            return Ok(());
        }
        ensure!(depth > 0, "a product of depth 0");
        let (left_steps, left) = steps(inputs[0].shape(), &self.before[0], batch)?;
        let (right_steps, right) = steps(inputs[1].shape(), &self.before[1], batch)?;
        // Where the axes of the product lie in the output.
        let mut made = strides(output.shape());
        for (axis, stride) in self.after.iter().zip(strides(output.shape())) {
            made[*axis] = stride;
        }
        let shape = Sizes { rows, depth, columns, left, right, made: [made[batch], made[batch + 1]] };
        let places = |steps: &[usize], mut index: usize| {
            steps.iter().zip(&product[..batch]).rev().fold(0, |place, (step, size)| {
                let at = index % size;
                index /= size;
                place + at * step
            })
        };
        with_memory(|memory| {
            (0..product[..batch].iter().product()).try_for_each(|index| {
                let at = [places(&left_steps, index), places(&right_steps, index), places(&made[..batch], index)];
                self.multiply(&shape, inputs, output, at, memory)
            })
        })
    }
}

/// Of one product: its sizes, and distances in memory along both axes of each matrix.
struct Sizes {
    rows: usize,
    depth: usize,
    columns: usize,
    left: [usize; 2],
    right: [usize; 2],
    made: [usize; 2],
}

impl MatMul {
    fn multiply(&self, sizes: &Sizes, inputs: &[&Tensor], output: &mut Tensor, at: [usize; 3], memory: &mut Memory) -> TractResult<()> {
        let &Sizes { rows, depth, columns, left, right, made } = sizes;
        ensure!((left[1] == 1 || depth == 1) && (made[1] == 1 || columns == 1), "rows that do not lie together");
        ensure!(right.contains(&1) || depth == 1 || columns == 1, "neither rows nor columns that lie together");
        let (a, b, mut out) = (inputs[0].try_as_plain_ram()?, inputs[1].try_as_plain_ram()?, output.try_as_plain_ram_mut()?);
        let [left_at, right_at, out_at] = at;
        let by_columns = right[0] == 1 && depth > 1 || columns == 1;
        let (zero_points, scratch) = match &self.becomes {
            Becomes::Sums => {
                let (a, b) = (&a.as_slice::<f32>()?[left_at..], &b.as_slice::<f32>()?[right_at..]);
                let b = if by_columns {
                    Right::transposed(b, depth, columns, right[1].max(depth))
                } else {
                    Right::new(b, depth, columns, right[0].max(columns))
                };
                let (a, finish) = (float::Matrix::new(a, rows, depth, left[0].max(depth)), float::Finish::default());
                let out = &mut out.as_slice_mut::<f32>()?[out_at..];
                multiply_pair(InstructionSet::best(), &a, &b, &finish, out, made[0].max(columns), &mut memory.floats);
                return Ok(());
            }
            Becomes::Floats { zero_points, .. } | Becomes::Integers { zero_points, .. } => (zero_points, &mut memory.scratch),
        };
        let b = &b.as_slice::<i8>()?[right_at..];
        memory.item.resize(columns * depth, 0);
        if by_columns {
            for (column, from) in memory.item.chunks_exact_mut(depth).zip(b.chunks(right[1].max(depth))) {
                column.copy_from_slice(&from[..depth]);
            }
        } else {
            transpose_matrix(b, [depth, columns], right[0], &mut memory.item);
        }
        let weights = Weights::pack(InstructionSet::best(), &memory.item, columns, depth, from_ref(&zero_points[1]));
        memory.offset.clear();
        memory.offset.extend(weights.sums().iter().map(|sum| sum.wrapping_mul(-i32::from(zero_points[0]))));
        let a = linear::Matrix::new(&a.as_slice::<i8>()?[left_at..], rows, depth, left[0].max(depth));
        let (offset, stride) = (&memory.offset, made[0].max(columns));
        match &self.becomes {
            Becomes::Integers { multiplier, zero_point, low, high, .. } => {
                let (multiplier, zero_point, low, high) = (from_ref(multiplier), *zero_point, *low, *high);
                let finish = Requantize { bias: offset, multiplier, zero_point, low, high, table: None };
                linear::multiply(&weights, 0..columns, &a, &finish, &mut out.as_slice_mut()?[out_at..], stride, scratch);
            }
            Becomes::Floats { scale, .. } => {
                let finish = Float { offset, scale: from_ref(scale), row_scale: &[], bias: &[], limits: Float::FREE };
                linear::multiply(&weights, 0..columns, &a, &finish, &mut out.as_slice_mut()?[out_at..], stride, scratch);
            }
            Becomes::Sums => unreachable!("multiplied above"),
        }
        Ok(())
    }
}
