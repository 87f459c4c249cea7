//! The products with base NEON (Cortex-A53, A72): SMULL and SMLAL2 leave sums of two products in 16 bits, SADALP adds them up.
//! Also what the other NEON kernels share.

use super::finish::lanes;
use super::{Block, Finish, Kernel, Panel, write};
use std::arch::aarch64::*;

pub(super) struct Neon;

/// 4 rows x 4 outputs: each of 16 registers holds four partial sums of one result, over different depths.
impl Kernel for Neon {
    type Value = i8;
    const ROWS: usize = 4;
    const COLUMNS: usize = 4;
    const STEP: usize = 16;
    const RUN: usize = 16;

    #[target_feature(enable = "neon")]
    unsafe fn panel<F: Finish>(block: &Block<'_, i8>, panel: &Panel<'_>, finish: &F, out: &mut [F::Output]) {
        // SAFETY: by the contract of the trait.
        unsafe {
            if panel.extreme {
                tiles::<true, F>(block, panel, finish, out);
            } else {
                tiles::<false, F>(block, panel, finish, out);
            }
        }
    }
}

/// # Safety
/// As [`Kernel::panel`].
#[inline]
#[target_feature(enable = "neon")]
unsafe fn tiles<const EXTREME: bool, F: Finish>(block: &Block<'_, i8>, panel: &Panel<'_>, finish: &F, out: &mut [F::Output]) {
    let mut row = 0;
    // SAFETY: by the contract.
    unsafe {
        while block.rows - row >= 4 {
            tile::<EXTREME, 4, F>(block, panel, row, finish, out);
            row += 4;
        }
        if block.rows - row >= 2 {
            tile::<EXTREME, 2, F>(block, panel, row, finish, out);
            row += 2;
        }
        if block.rows > row {
            tile::<EXTREME, 1, F>(block, panel, row, finish, out);
        }
    }
}

/// `R` rows from `first` on.
///
/// # Safety
/// As [`Kernel::panel`]; the rows are in the block.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn tile<const EXTREME: bool, const R: usize, F: Finish>(
    block: &Block<'_, i8>,
    panel: &Panel<'_>,
    first: usize,
    finish: &F,
    out: &mut [F::Output],
) {
    const STEP: usize = Neon::STEP;
    const COLUMNS: usize = Neon::COLUMNS;
    let values = &block.values[first * block.steps * STEP..][..R * block.steps * STEP];
    debug_assert_eq!(panel.weights.len(), block.steps * STEP * COLUMNS);
    let mut partial = [[vdupq_n_s32(0); COLUMNS]; R];
    let (mut value, mut weight) = (values.as_ptr(), panel.weights.as_ptr());
    for _ in 0..block.steps {
        // SAFETY: a step has this many values and weights.
        unsafe {
            let values: [int8x16_t; R] = std::array::from_fn(|row| vld1q_s8(value.add(row * STEP)));
            let weights: [int8x16_t; COLUMNS] = std::array::from_fn(|column| vld1q_s8(weight.add(column * STEP)));
            for (partial, &values) in partial.iter_mut().zip(&values) {
                for (partial, &weights) in partial.iter_mut().zip(&weights) {
                    *partial = add_products::<EXTREME>(*partial, values, weights);
                }
            }
            value = value.add(R * STEP);
            weight = weight.add(COLUMNS * STEP);
        }
    }
    let sums: [int32x4_t; R] = std::array::from_fn(|row| {
        let [a, b, c, d] = partial[row];
        vaddq_s32(vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d)), start(block, panel, finish, first + row, 0))
    });
    let columns = [finish.columns(panel.column); 2];
    for (pair, sums) in sums.chunks(2).enumerate() {
        let row = first + pair * 2;
        let last = row + sums.len() - 1;
        let results = finish.finish(columns, [block.first + row, block.first + last], [sums[0], sums[sums.len() - 1]]);
        let mut buffer = [F::Output::default(); 8];
        write::<8, _, _>(results, &mut buffer);
        for (row, results) in (row..=last).zip(buffer.as_chunks::<4>().0) {
            let out = &mut out[row * panel.stride..][..panel.width];
            match out.first_chunk_mut::<4>() {
                Some(out) => *out = *results,
                None => out.copy_from_slice(&results[..out.len()]),
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

/// What four sums from output `column` of the panel on start from, in row `row` of the block: the bias, and what the zero points
/// of the weights demand.
#[inline(always)]
pub(super) fn start<F: Finish>(block: &Block<'_, i8>, panel: &Panel<'_>, finish: &F, row: usize, column: usize) -> int32x4_t {
    let bias: [i32; 4] = lanes(finish.bias(), panel.column + column, 0);
    // SAFETY: NEON is in every CPU that Rust's aarch64 targets run on; 4 integers each.
    unsafe {
        let bias = vld1q_s32(bias.as_ptr());
        if panel.zero_points.is_empty() {
            return bias;
        }
        let zero_points: [i32; 4] = lanes(panel.zero_points, column, 0);
        vmlsq_n_s32(bias, vld1q_s32(zero_points.as_ptr()), block.sums[row])
    }
}

/// Writes 8 results, or as many as the panel has, to row `row` of the block.
#[inline(always)]
pub(super) fn write_row<V: Copy, T: Copy + Default>(results: V, row: usize, panel: &Panel<'_>, out: &mut [T]) {
    write::<8, _, _>(results, &mut out[row * panel.stride..][..panel.width]);
}
