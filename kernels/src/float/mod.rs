//! Matrix products in `f32`: rows times weights that are packed once, or times another activation; and the convolutions made of them. Not
//! for integers, which are `linear`'s.
//!
//! A result is one chain of multiply-adds over the depth, from the first to the last, that starts from the bias: whatever the
//! other rows and outputs are, and however many, it has the same bits on one instruction set. Multiply-adds are fused with AVX2
//! and NEON and rounded twice in the scalar code, so sets differ in the last bits. With `u = 2^-24` and depth `n`, a result
//! is within `(2 n + 2) u * (|start| + sum |row| |weight|)` of the exact one.
//!
//! Rows are read where they lie. A block of the depth of a panel of weights stays in the first-level cache while all rows of a
//! block run over it; few rows run over several panels at once, for enough sums that do not wait for each other.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod convolution;
#[cfg(test)]
mod convolution_tests;
mod depthwise;
#[cfg(target_arch = "aarch64")]
mod neon;
mod pair;
mod scalar;
#[cfg(test)]
mod tests;
mod weights;
#[cfg(target_arch = "x86_64")]
mod wide;
mod winograd;

pub use convolution::Convolution;
pub use depthwise::Depthwise;
pub use pair::{Right, Scratch, multiply_pair};
pub use weights::Weights;
pub use winograd::Winograd;

use crate::InstructionSet;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::cpu::Kind;
#[cfg(target_arch = "x86_64")]
use crate::cpu::Products;
use std::ops::Range;

/// Outputs at a multiple of which the work of [`multiply`] may be divided.
pub const PANEL: usize = 16;

/// Depth of a block: with a panel's weights and a tile's rows within the first-level cache of a small core.
const DEPTH: usize = 256;

/// Rows of a block: within the second-level cache. A multiple of the rows of every tile.
const ROWS: usize = 120;

/// Rows of the last panel, where it is not whole, that are computed at once beside the target.
const SPILL_ROWS: usize = 24;

/// Rows that lie in memory at a regular distance.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    values: &'a [f32],
    count: usize,
    depth: usize,
    stride: usize,
}

impl<'a> Matrix<'a> {
    /// `count` rows of `depth` values, `stride` apart.
    ///
    /// # Panics
    /// If `values` is too short for them.
    pub fn new(values: &'a [f32], count: usize, depth: usize, stride: usize) -> Matrix<'a> {
        assert!(reaches(values.len(), count, depth, stride), "float: the matrix is too short");
        Matrix { values, count, depth, stride }
    }
}

/// Whether `length` values hold `count` rows of `depth`, `stride` apart.
fn reaches(length: usize, count: usize, depth: usize, stride: usize) -> bool {
    count == 0 || depth == 0 || (count - 1).checked_mul(stride).and_then(|last| last.checked_add(depth)).is_some_and(|end| end <= length)
}

/// What a product starts from.
#[derive(Debug, Clone, Copy, Default)]
pub struct Finish<'a> {
    /// What the sums start from: empty, or one for each output.
    pub bias: &'a [f32],
    /// Whether the sums start from what the target holds (plus the bias).
    pub accumulate: bool,
}

/// `out[row][output] = bias + sum over the depth of rows * weights` for all rows and a range of outputs.
///
/// `out` holds, for each row, `outputs.len()` elements, the rows `stride` elements apart; what lies between is left alone.
/// Neither thread nor allocation is used: divide the rows, or for few rows the outputs.
///
/// # Panics
/// If the depths differ, if `outputs` does not start at a multiple of [`PANEL`] or leaves the weights, if `out` is too short,
/// or if there is not one bias for each output of the weights.
pub fn multiply(weights: &Weights, outputs: Range<usize>, rows: &Matrix<'_>, finish: &Finish<'_>, out: &mut [f32], stride: usize) {
    assert_eq!(rows.depth, weights.depth(), "float: rows as deep as the weights");
    assert!(
        outputs.start.is_multiple_of(PANEL) && outputs.end <= weights.outputs(),
        "float: no outputs {outputs:?} in {}",
        weights.outputs()
    );
    check_finish(finish, weights.outputs());
    let bias = if finish.bias.is_empty() { finish.bias } else { &finish.bias[outputs.clone()] };
    let target = Target::new(out, rows.count, outputs.len(), stride);
    if rows.count > 0 && !outputs.is_empty() {
        with_kernel(weights.set(), Product { weights, first: outputs.start, rows, finish: &Finish { bias, ..*finish }, target });
    }
}

fn check_finish(finish: &Finish<'_>, outputs: usize) {
    assert!([0, outputs].contains(&finish.bias.len()), "float: {} biases for {outputs} outputs", finish.bias.len());
}

/// Where results go.
struct Target<'a> {
    out: &'a mut [f32],
    columns: usize,
    stride: usize,
}

impl<'a> Target<'a> {
    fn new(out: &'a mut [f32], rows: usize, columns: usize, stride: usize) -> Target<'a> {
        let fits = stride >= columns && reaches(out.len(), rows, columns, stride);
        assert!(rows == 0 || columns == 0 || fits, "float: the target is too short");
        Target { out, columns, stride }
    }

    /// Adds the products of some rows with panels that begin at `column`, over a part of the depth.
    ///
    /// # Safety
    /// The CPU has the kernel's instruction set. At `panels` is a block of whole panels for all columns up to the last.
    unsafe fn add<K: Kernel>(&mut self, part: &Part<'_>, rows: Range<usize>, column: usize, panels: Panels, columns: usize) {
        let source = part.rows.values.as_ptr().wrapping_add(rows.start * part.rows.stride + part.depth.start);
        let depth = part.depth.len();
        let whole = columns / K::COLUMNS;
        let bias = |column: usize| if part.bias.is_empty() { None } else { Some(&part.bias[column..]) };
        let block = Block {
            rows: source,
            row_stride: part.rows.stride,
            count: rows.len(),
            depth,
            panels,
            panel_count: whole,
            bias: bias(column).map(<[f32]>::as_ptr),
            accumulate: part.accumulate,
        };
        if whole > 0 {
            let out = self.out[rows.start * self.stride + column..].as_mut_ptr();
            // SAFETY: `Matrix` and `Target` hold these rows, the bias a value for each column.
            unsafe { K::panels(&block, out, self.stride) };
        }
        let width = columns % K::COLUMNS;
        if width == 0 {
            return;
        }
        // The last panel goes by way of memory that has room for all of it.
        let column = column + whole * K::COLUMNS;
        let (mut lanes, mut spill) = ([0.0; PANEL], [0.0; SPILL_ROWS * PANEL]);
        if let Some(bias) = bias(column) {
            lanes[..width].copy_from_slice(&bias[..width]);
        }
        for start in (0..rows.len()).step_by(SPILL_ROWS) {
            let count = SPILL_ROWS.min(rows.len() - start);
            let target = (rows.start + start) * self.stride + column;
            if part.accumulate {
                for (row, spill) in spill.chunks_exact_mut(K::COLUMNS).take(count).enumerate() {
                    spill[..width].copy_from_slice(&self.out[target + row * self.stride..][..width]);
                }
            }
            let block = Block {
                rows: source.wrapping_add(start * part.rows.stride),
                count,
                panels: Panels { weights: panels.weights.wrapping_add(whole * panels.stride), ..panels },
                panel_count: 1,
                bias: block.bias.map(|_| lanes.as_ptr()),
                ..block
            };
            // SAFETY: as above; the spill has room for a panel of these rows.
            unsafe { K::panels(&block, spill.as_mut_ptr(), K::COLUMNS) };
            for (row, spill) in spill.chunks_exact(K::COLUMNS).take(count).enumerate() {
                self.out[target + row * self.stride..][..width].copy_from_slice(&spill[..width]);
            }
        }
    }
}

/// A part of the depth of a product.
struct Part<'a> {
    rows: &'a Matrix<'a>,
    depth: Range<usize>,
    bias: &'a [f32],
    accumulate: bool,
}

/// Calls `add` for each part of the depth, at least once: the first starts from what the finish says, the others from the last one's results.
fn for_each_part(rows: &Matrix<'_>, finish: &Finish<'_>, length: usize, mut add: impl FnMut(&Part<'_>)) {
    let mut part = Part { rows, depth: 0..length.min(rows.depth), bias: finish.bias, accumulate: finish.accumulate };
    loop {
        add(&part);
        if part.depth.end == rows.depth {
            return;
        }
        let start = part.depth.end;
        part = Part { depth: start..rows.depth.min(start + length), bias: &[], accumulate: true, ..part };
    }
}

/// The arguments of [`multiply`].
struct Product<'a> {
    weights: &'a Weights,
    /// First output.
    first: usize,
    rows: &'a Matrix<'a>,
    finish: &'a Finish<'a>,
    target: Target<'a>,
}

impl Visit for Product<'_> {
    type Output = ();

    fn visit<K: Kernel>(self) {
        let Product { weights, first, rows, finish, mut target } = self;
        for start in (0..rows.count).step_by(ROWS) {
            let block = start..rows.count.min(start + ROWS);
            // A single tile reads the weights once anyway.
            let length = if block.len() <= K::ROWS { rows.depth } else { DEPTH };
            for_each_part(rows, finish, length.max(1), |part| {
                let panels = Panels { weights: weights.panel::<K>(first, part.depth.start), stride: weights.depth() * K::COLUMNS };
                // SAFETY: `Weights` are packed for a set that this CPU has, and hold whole panels up to their last output.
                unsafe { target.add::<K>(part, block.clone(), 0, panels, target.columns) };
            });
            // While the cache holds them.
        }
    }
}

/// Packed weights of neighbouring panels.
#[derive(Clone, Copy)]
struct Panels {
    /// `[depth][COLUMNS]`.
    weights: *const f32,
    /// From a panel to the next.
    stride: usize,
}

/// What a kernel multiplies.
#[derive(Clone, Copy)]
struct Block {
    rows: *const f32,
    row_stride: usize,
    /// Of the rows.
    count: usize,
    depth: usize,
    panels: Panels,
    panel_count: usize,
    /// For each output of the panels.
    bias: Option<*const f32>,
    /// Whether sums start from what the target holds.
    accumulate: bool,
}

/// The loop of one instruction set.
trait Kernel {
    /// Rows of the largest tile.
    const ROWS: usize;
    /// Outputs of a panel; divides [`PANEL`].
    const COLUMNS: usize;

    /// `out = start + rows * panels`.
    ///
    /// # Safety
    /// The CPU has the instruction set. There are the rows, panels and biases that `block` tells of. At `out` begin as many rows,
    /// `stride` apart, with room for all panels each.
    unsafe fn panels(block: &Block, out: *mut f32, stride: usize);
}

/// What is done with the kernel of an instruction set.
trait Visit {
    type Output;

    fn visit<K: Kernel>(self) -> Self::Output;
}

/// Calls `visitor` with the kernel for `set`: the CPU has its instructions, since it has the set.
fn with_kernel<V: Visit>(set: InstructionSet, visitor: V) -> V::Output {
    match set.0 {
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2(Products::Wide) => visitor.visit::<wide::Wide>(),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2(_) if std::arch::is_x86_feature_detected!("fma") => visitor.visit::<avx2::Fma>(),
        #[cfg(target_arch = "aarch64")]
        Kind::Neon(_) => visitor.visit::<neon::Neon>(),
        _ => visitor.visit::<scalar::Scalar>(),
    }
}
