//! The products with base NEON (Cortex-A53, A72): SMULL and SMLAL2 leave sums of two products in 16 bits, SADALP adds them up.
//! Also what the other NEON kernels share.

use super::finish::lanes;
use super::{Block, Finish, Kernel, Panel};
use std::{arch::aarch64::*, array, mem};

pub(super) struct Neon;

/// 4 rows x 4 outputs: each of 16 registers holds four partial sums of one result, over different depths.
impl Kernel for Neon {
    type Value = i8;
    const ROWS: usize = 4;
    const COLUMNS: usize = 4;
    const STEP: usize = 16;
    const RUN: usize = 16;

    #[inline(always)]
    unsafe fn panel<F: Finish>(block: &Block<'_, i8>, panel: &Panel<'_>, finish: &F, out: *mut F::Output, stride: usize) {
        // SAFETY: by the contract of the trait.
        unsafe {
            if panel.extreme {
                tiles::<true, F>(block, panel, finish, out, stride);
            } else {
                tiles::<false, F>(block, panel, finish, out, stride);
            }
        }
    }

    #[inline(always)]
    unsafe fn row<F: Finish>(block: &Block<'_, i8>, panel: &Panel<'_>, finish: &F, out: *mut F::Output) {
        let outputs = Outputs::of(panel, finish);
        // SAFETY: by the contract.
        unsafe {
            if panel.extreme {
                tile::<true, 1, F>(*block, *panel, &outputs, 0, *finish, out, 0);
            } else {
                tile::<false, 1, F>(*block, *panel, &outputs, 0, *finish, out, 0);
            }
        }
    }
}

/// # Safety
/// As [`Kernel::panel`].
#[inline(never)]
#[target_feature(enable = "neon")]
unsafe fn tiles<const EXTREME: bool, F: Finish>(block: &Block<'_, i8>, panel: &Panel<'_>, finish: &F, out: *mut F::Output, stride: usize) {
    let (block, panel, finish) = (*block, *panel, *finish);
    let outputs = Outputs::of(&panel, &finish);
    let mut row = 0;
    // SAFETY: by the contract.
    unsafe {
        while block.rows - row >= 4 {
            tile::<EXTREME, 4, F>(block, panel, &outputs, row, finish, out, stride);
            row += 4;
        }
        if block.rows - row >= 2 {
            tile::<EXTREME, 2, F>(block, panel, &outputs, row, finish, out, stride);
            row += 2;
        }
        if block.rows > row {
            tile::<EXTREME, 1, F>(block, panel, &outputs, row, finish, out, stride);
        }
    }
}

/// `R` rows from `first` on.
///
/// # Safety
/// As [`Kernel::panel`]; the rows are in the block.
#[inline(always)]
unsafe fn tile<const EXTREME: bool, const R: usize, F: Finish>(
    block: Block<'_, i8>,
    panel: Panel<'_>,
    outputs: &Outputs<F, 1>,
    first: usize,
    finish: F,
    out: *mut F::Output,
    stride: usize,
) {
    const STEP: usize = Neon::STEP;
    const COLUMNS: usize = Neon::COLUMNS;
    debug_assert!((first + R) * block.steps * STEP <= block.values.len());
    debug_assert_eq!(panel.weights.len(), block.steps * STEP * COLUMNS);
    // SAFETY: the tile is in the block, a step has this many values and weights, and NEON is in every CPU of 64-bit ARM.
    let partial = unsafe {
        let mut partial = [[vdupq_n_s32(0); COLUMNS]; R];
        let mut value = block.values.as_ptr().add(first * block.steps * STEP);
        let mut weight = panel.weights.as_ptr();
        for _ in 0..block.steps {
            let values: [int8x16_t; R] = array::from_fn(|row| vld1q_s8(value.add(row * STEP)));
            let weights: [int8x16_t; COLUMNS] = array::from_fn(|column| vld1q_s8(weight.add(column * STEP)));
            for (partial, &values) in partial.iter_mut().zip(&values) {
                for (partial, &weights) in partial.iter_mut().zip(&weights) {
                    *partial = add_products::<EXTREME>(*partial, values, weights);
                }
            }
            value = value.add(R * STEP);
            weight = weight.add(COLUMNS * STEP);
        }
        partial
    };
    let mut sums: [[int32x4_t; 1]; R] = outputs.start(&block, first);
    for (sums, &[a, b, c, d]) in sums.iter_mut().zip(&partial) {
        // SAFETY: as above.
        sums[0] = unsafe { vaddq_s32(sums[0], vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d))) };
    }
    let columns = [outputs.columns[0]; 2];
    for (pair, sums) in sums.chunks(2).enumerate() {
        let row = first + pair * 2;
        let last = row + sums.len() - 1;
        let results = finish.finish(columns, [block.first + row, block.first + last], [sums[0][0], sums[sums.len() - 1][0]]);
        // SAFETY: the vector holds 4 results a row, for which the rows have room.
        unsafe {
            let halves: [[F::Output; 4]; 2] = mem::transmute_copy(&results);
            out.add(row * stride).cast::<[F::Output; 4]>().write(halves[0]);
            if last != row {
                out.add(last * stride).cast::<[F::Output; 4]>().write(halves[1]);
            }
        }
    }
}

/// Adds 16 products to four partial sums. Only -128 * -128 twice in a row does not fit 16 bits: where the weights hold that
/// (`EXTREME`), each product is added by itself.
#[inline]
#[target_feature(enable = "neon")]
fn add_products<const EXTREME: bool>(sums: int32x4_t, values: int8x16_t, weights: int8x16_t) -> int32x4_t {
    let low = vmull_s8(vget_low_s8(values), vget_low_s8(weights));
    if EXTREME {
        vpadalq_s16(vpadalq_s16(sums, low), vmull_high_s8(values, weights))
    } else {
        vpadalq_s16(sums, vmlal_high_s8(low, values, weights))
    }
}

/// What `4 * N` neighbouring outputs of a panel need, loaded once a panel.
pub(super) struct Outputs<F: Finish, const N: usize> {
    bias: [int32x4_t; N],
    zero_points: [int32x4_t; N],
    pub(super) columns: [F::Columns; N],
}

impl<F: Finish, const N: usize> Outputs<F, N> {
    #[inline(always)]
    pub(super) fn of(panel: &Panel<'_>, finish: &F) -> Outputs<F, N> {
        Outputs {
            bias: array::from_fn(|four| integers(lanes(finish.bias(), panel.column + 4 * four, 0))),
            zero_points: array::from_fn(|four| integers(lanes(panel.zero_points, 4 * four, 0))),
            columns: array::from_fn(|four| finish.columns(panel.column + 4 * four)),
        }
    }

    /// What the sums of `R` rows from `first` on start from: the bias, and what the zero points of the weights demand.
    #[inline(always)]
    pub(super) fn start<const R: usize>(&self, block: &Block<'_, i8>, first: usize) -> [[int32x4_t; N]; R] {
        let mut start = [self.bias; R];
        if !block.sums.is_empty() {
            for (start, &sum) in start.iter_mut().zip(&block.sums[first..first + R]) {
                for (start, &zero_points) in start.iter_mut().zip(&self.zero_points) {
                    // SAFETY: NEON is in every CPU that Rust's aarch64 targets run on.
                    *start = unsafe { vmlsq_n_s32(*start, zero_points, sum) };
                }
            }
        }
        start
    }
}

#[inline(always)]
fn integers(values: [i32; 4]) -> int32x4_t {
    // SAFETY: 4 integers.
    unsafe { vld1q_s32(values.as_ptr()) }
}
