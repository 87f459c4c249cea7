//! The products with SDOT (Cortex-A55, A76 and later): four to a lane, one of the rows' groups of four with four outputs.

use super::neon::Outputs;
use super::{Block, Finish, Kernel, Panel};
use std::arch::{aarch64::*, asm};
use std::array;

pub(super) struct Dot;

/// 8 rows x 8 outputs: 16 registers are sums, 8 hold a step of the rows.
impl Kernel for Dot {
    type Value = i8;
    const ROWS: usize = 8;
    const COLUMNS: usize = 8;
    const STEP: usize = 16;
    const RUN: usize = 4;

    #[target_feature(enable = "neon,dotprod")]
    unsafe fn panel<F: Finish>(block: &Block<'_, i8>, panel: &Panel<'_>, finish: &F, out: *mut F::Output, stride: usize) {
        let outputs = Outputs::of(panel, finish);
        let mut row = 0;
        // SAFETY: by the contract of the trait.
        unsafe {
            while block.rows - row >= 8 {
                tile::<8, F>(*block, *panel, &outputs, row, *finish, out, stride);
                row += 8;
            }
            if block.rows - row >= 4 {
                tile::<4, F>(*block, *panel, &outputs, row, *finish, out, stride);
                row += 4;
            }
            if block.rows - row >= 2 {
                tile::<2, F>(*block, *panel, &outputs, row, *finish, out, stride);
                row += 2;
            }
            if block.rows > row {
                tile::<1, F>(*block, *panel, &outputs, row, *finish, out, stride);
            }
        }
    }
}

/// `R` rows from `first` on.
///
/// # Safety
/// As [`Kernel::panel`]; the rows are in the block.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn tile<const R: usize, F: Finish>(
    block: Block<'_, i8>,
    panel: Panel<'_>,
    outputs: &Outputs<F, 2>,
    first: usize,
    finish: F,
    out: *mut F::Output,
    stride: usize,
) {
    const STEP: usize = Dot::STEP;
    debug_assert!((first + R) * block.steps * STEP <= block.values.len());
    debug_assert_eq!(panel.weights.len(), block.steps * STEP * Dot::COLUMNS);
    let mut sums: [[int32x4_t; 2]; R] = outputs.start(&block, first);
    // SAFETY: the tile is in the block.
    let mut value = unsafe { block.values.as_ptr().add(first * block.steps * STEP) };
    let mut weight = panel.weights.as_ptr();
    for _ in 0..block.steps {
        // SAFETY: a step has this many values and weights.
        unsafe {
            let values: [int8x16_t; R] = array::from_fn(|row| vld1q_s8(value.add(row * STEP)));
            products::<0, R>(&mut sums, &values, weight);
            products::<1, R>(&mut sums, &values, weight.add(32));
            products::<2, R>(&mut sums, &values, weight.add(64));
            products::<3, R>(&mut sums, &values, weight.add(96));
            value = value.add(R * STEP);
            weight = weight.add(STEP * Dot::COLUMNS);
        }
    }
    for (row, sums) in sums.into_iter().enumerate() {
        let results = finish.finish(outputs.columns, [block.first + first + row; 2], sums);
        // SAFETY: the row has room for as many results as the vector holds.
        unsafe { out.add((first + row) * stride).cast::<F::Results>().write_unaligned(results) };
    }
}

/// Adds the products of the `GROUP`th four of each row.
///
/// # Safety
/// There are 32 weights.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn products<const GROUP: usize, const R: usize>(sums: &mut [[int32x4_t; 2]; R], values: &[int8x16_t; R], weights: *const i8) {
    // SAFETY: by the contract.
    let weights = unsafe { [vld1q_s8(weights), vld1q_s8(weights.add(16))] };
    for (sums, &values) in sums.iter_mut().zip(values) {
        for half in 0..2 {
            sums[half] = sdot::<GROUP>(sums[half], weights[half], values);
        }
    }
}

/// `sums[lane] += weights[4 * lane..][..4] . values[4 * GROUP..][..4]`: `vdotq_laneq_s32`, which is not stable yet.
#[inline]
#[target_feature(enable = "neon,dotprod")]
pub(crate) fn sdot<const GROUP: usize>(mut sums: int32x4_t, weights: int8x16_t, values: int8x16_t) -> int32x4_t {
    // SAFETY: registers only; the instruction is there by the target feature.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {weights:v}.16b, {values:v}.4b[{group}]",
            sums = inout(vreg) sums,
            weights = in(vreg) weights,
            values = in(vreg) values,
            group = const GROUP,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}
