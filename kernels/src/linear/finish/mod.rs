//! What becomes of an exact sum: an `i8` of another scale, a float, or itself.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "aarch64")]
mod neon;

#[cfg(target_arch = "x86_64")]
use avx2::Avx2 as Lanes;
#[cfg(target_arch = "aarch64")]
use neon::Neon as Lanes;
/// Elsewhere there is no vector code.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
trait Lanes {}
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
impl<T> Lanes for T {}

use super::rows::Value;
use crate::InstructionSet;
use crate::loops::PLAIN_FUSED;
use crate::loops::{Hold, run};
use crate::pointwise::{Lookup, multiply_add};
use std::ops::Range;

/// How sums are finished: [`Requantize`], [`Float`] or [`Raw`]. Sums wrap as `i32` do.
#[allow(private_bounds, reason = "the vector code of the three is this module's own")]
pub trait Finish: Lanes + Copy {
    /// What the product consists of.
    type Output: Value + Default + Send + Sync;

    /// What is added to each sum before it is finished: empty, or one for all outputs, or one for each.
    fn bias(&self) -> &[i32];

    /// Finishes the sum of one row and one output, bias included, but for [`complete`](Finish::complete).
    fn one(&self, row: usize, output: usize, sum: i32) -> Self::Output;

    /// What is still to be done to results, whichever they are, while the cache holds them.
    fn complete(&self, _set: InstructionSet, _results: &mut [Self::Output]) {}

    /// The same for a product of some of the outputs alone.
    fn outputs(&self, outputs: Range<usize>) -> Self;

    /// # Panics
    /// If there are not values for all outputs, or for all rows.
    fn check(&self, rows: usize, outputs: usize);
}

/// `clamp(round(sum * multiplier) + zero_point, low, high)`, the sum made an `f32` first, halves rounded to even: as onnxruntime
/// requantizes. `low` and `high` carry a fused Relu or Clip, `table` any other activation.
#[derive(Debug, Clone, Copy)]
pub struct Requantize<'a> {
    /// Added to each sum: empty, or one for all outputs, or one for each.
    pub bias: &'a [i32],
    /// Scale of the input times that of the weights over that of the result: one for all outputs, or one for each. Finite.
    pub multiplier: &'a [f32],
    /// Zero point of the result.
    pub zero_point: i8,
    /// Smallest result.
    pub low: i8,
    /// Largest result.
    pub high: i8,
    /// What the result, clamped, is replaced by in the end, on a grid of the table's own.
    pub table: Option<&'a Lookup>,
}

/// `sum * (row_scale * scale) + bias`, each operation rounded to `f32`: no fused multiply-add.
#[derive(Debug, Clone, Copy)]
pub struct Float<'a> {
    /// Added to each sum, such as the input's zero point times the weights' sums: empty, or one for all outputs, or one for each.
    pub offset: &'a [i32],
    /// One for all outputs, or one for each.
    pub scale: &'a [f32],
    /// Empty, or one a row.
    pub row_scale: &'a [f32],
    /// Empty, or one for all outputs, or one for each.
    pub bias: &'a [f32],
    /// The least and the largest result: what is beyond becomes the bound, and what is no number stays so.
    pub limits: [f32; 2],
}

impl Float<'_> {
    /// Limits that hold nothing.
    pub const FREE: [f32; 2] = [f32::NEG_INFINITY, f32::INFINITY];

    /// The scale of a row.
    #[inline(always)]
    pub(crate) fn row_scale(&self, row: usize) -> f32 {
        if self.row_scale.is_empty() { 1.0 } else { self.row_scale[row] }
    }
}

/// `sum + bias`.
#[derive(Debug, Clone, Copy)]
pub struct Raw<'a> {
    /// Empty, or one for all outputs, or one for each.
    pub bias: &'a [i32],
}

/// `total + sum * (row_scale * scale)`, each operation rounded to `f32`, but that the addition is fused with its product on 64-bit ARM:
/// blocks of one sum added up, for `int4`.
#[derive(Clone, Copy)]
pub(crate) struct Accumulate<'a> {
    /// One an output of a single panel.
    pub(crate) scale: &'a [f32],
    /// One a row.
    pub(crate) row_scale: &'a [f32],
    /// Which the results replace: rows of the panel's outputs, `stride` apart.
    totals: *const f32,
    stride: usize,
}

impl<'a> Accumulate<'a> {
    /// # Safety
    /// At `totals` are rows as long as `scale`, `stride` apart, one for each of `row_scale`, while this is used; the kernel's panel
    /// is as wide.
    pub(crate) unsafe fn new(scale: &'a [f32], row_scale: &'a [f32], totals: *const f32, stride: usize) -> Accumulate<'a> {
        Accumulate { scale, row_scale, totals, stride }
    }

    /// Where the total of a row and an output is.
    #[inline(always)]
    fn total(&self, row: usize, output: usize) -> *const f32 {
        self.totals.wrapping_add(row * self.stride + output)
    }
}

impl Finish for Requantize<'_> {
    type Output = i8;

    fn bias(&self) -> &[i32] {
        self.bias
    }

    #[inline]
    fn one(&self, _row: usize, output: usize, sum: i32) -> i8 {
        let value = sum as f32 * at(self.multiplier, output, 1.0);
        // A float to integer cast saturates.
        let steps = (value.round_ties_even() as i32).clamp(-1 << 15, (1 << 15) - 1);
        ((steps + i32::from(self.zero_point)).clamp(-128, 127) as i8).max(self.low).min(self.high)
    }

    fn complete(&self, set: InstructionSet, results: &mut [i8]) {
        if let Some(table) = self.table {
            table.apply_on(set, results);
        }
    }

    fn outputs(&self, outputs: Range<usize>) -> Self {
        Requantize { bias: part(self.bias, &outputs), multiplier: part(self.multiplier, &outputs), ..*self }
    }

    fn check(&self, _rows: usize, outputs: usize) {
        check("biases", self.bias.len(), &[0, 1, outputs]);
        check("multipliers", self.multiplier.len(), &[1, outputs]);
    }
}

impl Finish for Float<'_> {
    type Output = f32;

    fn bias(&self) -> &[i32] {
        self.offset
    }

    #[inline]
    fn one(&self, row: usize, output: usize, sum: i32) -> f32 {
        sum as f32 * (self.row_scale(row) * at(self.scale, output, 1.0)) + at(self.bias, output, 0.0)
    }

    fn complete(&self, set: InstructionSet, results: &mut [f32]) {
        if self.limits != Float::FREE {
            run(set, Hold(self.limits, results));
        }
    }

    fn outputs(&self, outputs: Range<usize>) -> Self {
        Float {
            offset: part(self.offset, &outputs),
            scale: part(self.scale, &outputs),
            row_scale: self.row_scale,
            bias: part(self.bias, &outputs),
            limits: self.limits,
        }
    }

    fn check(&self, rows: usize, outputs: usize) {
        check("offsets", self.offset.len(), &[0, 1, outputs]);
        check("scales", self.scale.len(), &[1, outputs]);
        check("row scales", self.row_scale.len(), &[0, rows]);
        check("biases", self.bias.len(), &[0, 1, outputs]);
    }
}

impl Finish for Accumulate<'_> {
    type Output = f32;

    fn bias(&self) -> &[i32] {
        &[]
    }

    #[inline]
    fn one(&self, row: usize, output: usize, sum: i32) -> f32 {
        // SAFETY: by the contract of `new`.
        let total = unsafe { *self.total(row, output) };
        multiply_add::<PLAIN_FUSED>(sum as f32, self.row_scale[row] * self.scale[output], total)
    }

    fn outputs(&self, _outputs: Range<usize>) -> Self {
        *self
    }

    fn check(&self, rows: usize, outputs: usize) {
        check("row scales", self.row_scale.len(), &[rows]);
        check("scales", self.scale.len(), &[outputs]);
    }
}

impl Finish for Raw<'_> {
    type Output = i32;

    fn bias(&self) -> &[i32] {
        self.bias
    }

    #[inline]
    fn one(&self, _row: usize, _output: usize, sum: i32) -> i32 {
        sum
    }

    fn outputs(&self, outputs: Range<usize>) -> Self {
        Raw { bias: part(self.bias, &outputs) }
    }

    fn check(&self, _rows: usize, outputs: usize) {
        check("biases", self.bias.len(), &[0, 1, outputs]);
    }
}

fn check(what: &str, found: usize, wanted: &[usize]) {
    assert!(wanted.contains(&found), "finish: {found} {what}, not one of {wanted:?}");
}

/// The value for one output of a slice that is empty, holds one for all, or one for each; `absent` also after the last output,
/// since panels are computed whole.
#[inline]
fn at<T: Copy>(values: &[T], output: usize, absent: T) -> T {
    match values {
        [] => absent,
        &[one] => one,
        each => each.get(output).copied().unwrap_or(absent),
    }
}

/// The values for some of the outputs.
fn part<'a, T>(values: &'a [T], outputs: &Range<usize>) -> &'a [T] {
    if values.len() <= 1 { values } else { &values[outputs.clone()] }
}

/// The values for `N` outputs from `output` on, as [`at`]; `absent` also where there is no output any more.
#[inline]
pub(crate) fn lanes<const N: usize, T: Copy>(values: &[T], output: usize, absent: T) -> [T; N] {
    let mut lanes = [absent; N];
    match values {
        [] => {}
        &[one] => lanes = [one; N],
        // All of them, mostly: no call, since the length is known when compiled.
        each => match each.get(output..).and_then(|each| each.first_chunk()) {
            Some(all) => lanes = *all,
            None => {
                let each = &each[output.min(each.len())..];
                lanes[..each.len()].copy_from_slice(each);
            }
        },
    }
    lanes
}
