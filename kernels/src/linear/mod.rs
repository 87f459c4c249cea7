//! Integer matrix products: rows of `i8` times packed `i8` weights, summed exactly in `i32` and finished (requantized, made
//! floats, or left) while still in registers. Knows rows, not pictures: `convolution` builds on it.
//!
//! A block of rows is copied to scratch memory in the order in which the inner loop reads it, then each panel of weights runs over
//! that block. So rows may come in pieces (the taps of a convolution) and nothing larger than the cache is ever written.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "aarch64")]
pub(crate) mod dot;
mod dynamic;
mod finish;
#[cfg(target_arch = "aarch64")]
pub(crate) mod matrix;
#[cfg(target_arch = "aarch64")]
mod neon;
mod pack;
mod rows;
mod scalar;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
pub(crate) mod vnni;
mod weights;
#[cfg(target_arch = "x86_64")]
mod wide;

pub use dynamic::Dynamic;
pub(crate) use finish::{Accumulate, lanes};
pub use finish::{Finish, Float, Raw, Requantize};
pub use pack::Sink;
pub(crate) use pack::pack_tiles;
pub(crate) use rows::{Activation, Aligned, Line, view};
pub use rows::{Matrix, Rows, Scratch};
pub use weights::Weights;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::cpu::Products;
use crate::{InstructionSet, cpu::Kind};
use std::ops::Range;

/// Bytes of packed rows that a block aims at, and of their results, which are written in strips: with the panel that runs over it,
/// within the first-level cache of a small core.
const BLOCK_BYTES: usize = 16 << 10;

/// Rows of a block at least: all weights are read once a block, so fewer would wait for memory.
const BLOCK_ROWS: usize = 32;

/// Outputs at a multiple of which the work of [`multiply`] may be divided.
pub const PANEL: usize = 16;

/// How one instruction set lays out rows and weights, and the loop over them.
///
/// With `R` rows in a tile, rows are packed as `[steps][R][STEP]`, weights of a panel as `[depth / RUN][COLUMNS][RUN]`; both are
/// filled up with what is multiplied by zero.
pub(crate) trait Kernel {
    /// What a packed activation is.
    type Value: Activation;
    /// Rows of a full tile; the rest of a block is divided into tiles of 8, 4, 2 and 1.
    const ROWS: usize;
    /// Outputs of a panel; divides [`PANEL`].
    const COLUMNS: usize;
    /// Neighbours along the depth that lie together in packed rows.
    const STEP: usize;
    /// Neighbours along the depth that lie together in packed weights; divides `STEP`.
    const RUN: usize;
    /// Whether [`pair`](Kernel::pair) is quicker than two panels one after the other.
    const PAIRS: bool = false;
    /// Whether [`Block::maxima`] and [`Panel::limits`] are wanted.
    const LIMITS: bool = false;

    /// Fills [`Block::maxima`] for packed rows; only for kernels with limits.
    ///
    /// # Safety
    /// The CPU has the instruction set.
    unsafe fn maxima(_values: &[Self::Value], _rows: usize, _steps: usize, _maxima: &mut [u8]) {}

    /// One panel of weights times a block of rows.
    ///
    /// # Safety
    /// The CPU has the instruction set. The lengths in `block` and `panel` fit together, as [`multiply`] makes them. At `out` begin as
    /// many rows as the block has, `stride` apart, with room for a whole panel each.
    unsafe fn panel<F: Finish>(block: &Block<'_, Self::Value>, panel: &Panel<'_>, finish: &F, out: *mut F::Output, stride: usize);

    /// The same for two neighbouring panels; only for kernels with pairs.
    ///
    /// # Safety
    /// As [`panel`](Kernel::panel), with room for both panels in each row.
    unsafe fn pair<F: Finish>(
        _block: &Block<'_, Self::Value>,
        _panels: &[Panel<'_>; 2],
        _finish: &F,
        _out: *mut F::Output,
        _stride: usize,
    ) {
        unreachable!("a kernel without pairs");
    }

    /// The same for a block of one row, as in each step of a recurrent layer: a call takes as long as the products, so this may be
    /// inlined.
    ///
    /// # Safety
    /// As [`panel`](Kernel::panel), of one row.
    #[inline(always)]
    unsafe fn row<F: Finish>(block: &Block<'_, Self::Value>, panel: &Panel<'_>, finish: &F, out: *mut F::Output) {
        // SAFETY: by the contract.
        unsafe { Self::panel(block, panel, finish, out, 0) }
    }
}

/// Packed rows.
#[derive(Clone, Copy)]
pub(crate) struct Block<'a, V> {
    /// Tiles one after the other.
    pub(crate) values: &'a [V],
    /// Sum of each row; empty if no weight has a zero point.
    pub(crate) sums: &'a [i32],
    /// Largest value of each step of a tile, `steps` of them for each row of which the tile's first ones count; for kernels with
    /// limits.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "only VPMADDUBSW saturates"))]
    pub(crate) maxima: &'a [u8],
    /// Of the first row among all.
    pub(crate) first: usize,
    pub(crate) rows: usize,
    /// Depth in steps.
    pub(crate) steps: usize,
}

/// The weights of some neighbouring outputs.
#[derive(Clone, Copy)]
pub(crate) struct Panel<'a> {
    pub(crate) weights: &'a [i8],
    /// Empty, or one for each output that there is.
    pub(crate) zero_points: &'a [i32],
    /// Whether two weights that one 16-bit sum holds are both -128.
    #[cfg_attr(not(target_arch = "aarch64"), expect(dead_code, reason = "only SMLAL2 sums in 16 bits"))]
    pub(crate) extreme: bool,
    /// Sum of each output's weights, zero points not subtracted.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "only AVX2 shifts the activations"))]
    pub(crate) sums: &'a [i32],
    /// For each step, the largest unsigned value with which no sum of two products saturates; for kernels with limits.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "only VPMADDUBSW saturates"))]
    pub(crate) limits: &'a [u8],
    /// First output.
    pub(crate) column: usize,
}

impl<V> Block<'_, V> {
    /// Calls `tile(start, size)` for each tile of a block of `rows` rows.
    #[inline(always)]
    fn tiles(rows: usize, full: usize, mut tile: impl FnMut(usize, usize)) {
        let mut start = 0;
        while start < rows {
            let size = if rows - start >= full { full } else { 1 << (rows - start).min(8).ilog2() };
            tile(start, size);
            start += size;
        }
    }
}

/// `out[row][output] = finish(sum over the depth of rows * (weights - zero point) + bias)` for all rows and a range of outputs.
///
/// `out` holds, for each row, `outputs.len()` elements, the rows `stride` elements apart; what lies between is left alone.
/// Neither thread nor allocation is used (but for the growth of `scratch`): divide the rows, or for few rows the outputs.
///
/// # Panics
/// If the depths differ, if `outputs` does not start at a multiple of [`PANEL`] or leaves the weights, if `out` is too short,
/// or if `finish` has too few values.
pub fn multiply<F: Finish>(
    weights: &Weights,
    outputs: Range<usize>,
    rows: &impl Rows,
    finish: &F,
    out: &mut [F::Output],
    stride: usize,
    scratch: &mut Scratch,
) {
    assert_eq!(rows.depth(), weights.depth(), "linear: rows as deep as the weights");
    assert!(
        outputs.start.is_multiple_of(PANEL) && outputs.end <= weights.outputs(),
        "linear: no outputs {outputs:?} in {}",
        weights.outputs()
    );
    // Asked once, for what follows relies on it.
    let count = rows.count();
    finish.check(count, weights.outputs());
    if count == 0 || outputs.is_empty() {
        return;
    }
    assert!(stride >= outputs.len() && out.len() >= (count - 1) * stride + outputs.len(), "linear: the target is too short");
    with_kernel(weights.set(), Product { weights, outputs, rows, count, finish, out, stride, scratch });
}

/// The arguments of [`multiply`].
struct Product<'a, R, F: Finish> {
    weights: &'a Weights,
    outputs: Range<usize>,
    rows: &'a R,
    count: usize,
    finish: &'a F,
    out: &'a mut [F::Output],
    stride: usize,
    scratch: &'a mut Scratch,
}

impl<R: Rows, F: Finish> Visit for Product<'_, R, F> {
    type Output = ();

    fn visit<K: Kernel>(self) {
        let Product { weights, outputs, rows, count: total, finish, out, stride, scratch } = self;
        let steps = weights.depth().div_ceil(K::STEP);
        let row_bytes = steps * K::STEP * size_of::<K::Value>();
        let largest = row_bytes.max(outputs.len() * size_of::<F::Output>());
        let most = (BLOCK_BYTES / largest.max(1)).max(BLOCK_ROWS).next_multiple_of(K::ROWS);
        let mut first = 0;
        while first < total {
            let count = most.min(total - first);
            let (block, spill) = scratch.pack::<K, F::Output>(rows, first, count, steps, weights.has_zero_points());
            let mut target = Target { first: outputs.start, out: &mut out[first * stride..], stride, spill };
            // SAFETY: `Weights` are packed for a set that this CPU has, by the same constants as the rows. `multiply` has checked that
            // `out` holds each row; the spill has room for a panel of these rows.
            unsafe {
                if count == 1 {
                    target.fill::<K>(weights, outputs.end, |panel, out, _| K::row(&block, panel, finish, out));
                } else {
                    if K::PAIRS {
                        target.pairs::<K>(weights, outputs.end, |panels, out| K::pair(&block, panels, finish, out, stride));
                    }
                    target.fill::<K>(weights, outputs.end, |panel, out, stride| K::panel(&block, panel, finish, out, stride));
                }
            }
            // While the cache holds them.
            let results = &mut out[first * stride..][..(count - 1) * stride + outputs.len()];
            if stride == outputs.len() {
                finish.complete(weights.set(), results);
            } else {
                results.chunks_mut(stride).for_each(|row| finish.complete(weights.set(), &mut row[..outputs.len()]));
            }
            first += count;
        }
    }
}

/// Where the results of a block of rows go.
struct Target<'a, T> {
    /// The first output.
    first: usize,
    /// A row's outputs, then, `stride` from its beginning, the next row's.
    out: &'a mut [T],
    stride: usize,
    /// Room for a panel of these rows, of which not all is wanted.
    spill: &'a mut [T],
}

impl<T: Copy> Target<'_, T> {
    /// Calls `kernel` with each two panels of weights up to output `end`, and where their results go; at most one panel is left.
    #[inline(always)]
    fn pairs<K: Kernel>(&mut self, weights: &Weights, end: usize, kernel: impl Fn(&[Panel<'_>; 2], *mut T)) {
        while end - self.first >= 2 * K::COLUMNS {
            kernel(&[self.first, self.first + K::COLUMNS].map(|column| weights.panel::<K>(column)), self.out.as_mut_ptr());
            self.first += 2 * K::COLUMNS;
            self.out = &mut std::mem::take(&mut self.out)[2 * K::COLUMNS..];
        }
    }

    /// Calls `kernel` with each panel of weights up to output `end`, and where its results go.
    #[inline(always)]
    fn fill<K: Kernel>(self, weights: &Weights, end: usize, kernel: impl Fn(&Panel<'_>, *mut T, usize)) {
        let Target { first, out, stride, spill } = self;
        let mut column = first;
        // No iterator: for few rows what it keeps takes as long as the products.
        while column < end {
            let (panel, width) = (weights.panel::<K>(column), K::COLUMNS.min(end - column));
            let out = &mut out[column - first..];
            if width == K::COLUMNS {
                kernel(&panel, out.as_mut_ptr(), stride);
            } else {
                kernel(&panel, spill.as_mut_ptr(), K::COLUMNS);
                for (out, spilt) in out.chunks_mut(stride).zip(spill.chunks_exact(K::COLUMNS)) {
                    if width == K::COLUMNS / 2 {
                        // No call, since the length is known when compiled.
                        out[..K::COLUMNS / 2].copy_from_slice(&spilt[..K::COLUMNS / 2]);
                    } else {
                        out[..width].copy_from_slice(&spilt[..width]);
                    }
                }
            }
            column += K::COLUMNS;
        }
    }
}

/// What is done with the kernel of an instruction set.
pub(crate) trait Visit {
    type Output;

    fn visit<K: Kernel>(self) -> Self::Output;
}

/// Calls `visitor` with the kernel for `set`: the CPU has its instructions, since it has the set.
pub(crate) fn with_kernel<V: Visit>(set: InstructionSet, visitor: V) -> V::Output {
    match set.0 {
        Kind::Scalar => visitor.visit::<scalar::Scalar>(),
        #[cfg(target_arch = "aarch64")]
        Kind::Neon(Products::Widening) => visitor.visit::<neon::Neon>(),
        #[cfg(target_arch = "aarch64")]
        Kind::Neon(Products::Dot) => visitor.visit::<dot::Dot>(),
        #[cfg(target_arch = "aarch64")]
        Kind::Neon(Products::Matrix) => visitor.visit::<matrix::Matrix>(),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2(Products::Pairs) => visitor.visit::<avx2::Avx2>(),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2(Products::Dot) => visitor.visit::<vnni::Vnni>(),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2(Products::Wide) => visitor.visit::<wide::Wide>(),
    }
}
