//! The products with SMMLA (Cortex-A710 and later): 2 rows x 8 deep times 2 outputs x 8 deep.

use super::neon::Outputs;
use super::{Block, Finish, Kernel, Panel};
use std::arch::{aarch64::*, asm};
use std::array;

pub(super) struct Matrix;

/// 8 rows x 8 outputs: 16 registers are sums, each of 2 x 2.
impl Kernel for Matrix {
    type Value = i8;
    const ROWS: usize = 8;
    const COLUMNS: usize = 8;
    const STEP: usize = 8;
    const RUN: usize = 8;

    #[target_feature(enable = "neon,i8mm")]
    unsafe fn panel<F: Finish>(block: &Block<'_, i8>, panel: &Panel<'_>, finish: &F, out: *mut F::Output, stride: usize) {
        let outputs = Outputs::of(panel, finish);
        let mut row = 0;
        // SAFETY: by the contract of the trait.
        unsafe {
            while block.rows - row >= 8 {
                tile::<4, 2, F>(*block, *panel, &outputs, row, *finish, out, stride);
                row += 8;
            }
            if block.rows - row >= 4 {
                tile::<2, 2, F>(*block, *panel, &outputs, row, *finish, out, stride);
                row += 4;
            }
            if block.rows - row >= 2 {
                tile::<1, 2, F>(*block, *panel, &outputs, row, *finish, out, stride);
                row += 2;
            }
            if block.rows > row {
                tile::<1, 1, F>(*block, *panel, &outputs, row, *finish, out, stride);
            }
        }
    }
}

/// `P` times `R` rows from `first` on; `R` is 2, or 1 for a single row.
///
/// # Safety
/// As [`Kernel::panel`]; the rows are in the block.
#[inline]
#[target_feature(enable = "neon,i8mm")]
unsafe fn tile<const P: usize, const R: usize, F: Finish>(
    block: Block<'_, i8>,
    panel: Panel<'_>,
    outputs: &Outputs<F, 2>,
    first: usize,
    finish: F,
    out: *mut F::Output,
    stride: usize,
) {
    const STEP: usize = Matrix::STEP;
    debug_assert!((first + P * R) * block.steps * STEP <= block.values.len());
    debug_assert_eq!(panel.weights.len(), block.steps * STEP * Matrix::COLUMNS);
    // A sum holds two outputs of a row, then of the next.
    let mut sums = [[vdupq_n_s32(0); 4]; P];
    for (pair, sums) in sums.iter_mut().enumerate() {
        let [[a, b]]: [[int32x4_t; 2]; 1] = outputs.start(&block, first + pair * R);
        let [[c, d]]: [[int32x4_t; 2]; 1] = outputs.start(&block, first + pair * R + R - 1);
        *sums = [zip_low(a, c), zip_high(a, c), zip_low(b, d), zip_high(b, d)];
    }
    // SAFETY: the tile is in the block.
    let mut value = unsafe { block.values.as_ptr().add(first * block.steps * STEP) };
    let mut weight = panel.weights.as_ptr();
    for _ in 0..block.steps {
        // SAFETY: a step has this many values and weights.
        unsafe {
            let values: [int8x16_t; P] = array::from_fn(|pair| match R {
                1 => vcombine_s8(vld1_s8(value), vdup_n_s8(0)),
                _ => vld1q_s8(value.add(pair * 2 * STEP)),
            });
            let weights: [int8x16_t; 4] = array::from_fn(|pair| vld1q_s8(weight.add(pair * 16)));
            for (sums, &values) in sums.iter_mut().zip(&values) {
                for (sums, &weights) in sums.iter_mut().zip(&weights) {
                    *sums = smmla(*sums, values, weights);
                }
            }
            value = value.add(P * R * STEP);
            weight = weight.add(STEP * Matrix::COLUMNS);
        }
    }
    for (pair, sums) in sums.into_iter().enumerate() {
        for (row, sums) in by_row(sums).into_iter().take(R).enumerate() {
            let row = first + pair * R + row;
            let results = finish.finish(outputs.columns, [block.first + row; 2], sums);
            // SAFETY: the row has room for as many results as the vector holds.
            unsafe { out.add(row * stride).cast::<F::Results>().write_unaligned(results) };
        }
    }
}

/// The sums of each of two rows with eight outputs.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn by_row([a, b, c, d]: [int32x4_t; 4]) -> [[int32x4_t; 2]; 2] {
    [[zip_low(a, b), zip_low(c, d)], [zip_high(a, b), zip_high(c, d)]]
}

/// The lower halves of two vectors.
#[inline]
#[target_feature(enable = "neon")]
fn zip_low(a: int32x4_t, b: int32x4_t) -> int32x4_t {
    vreinterpretq_s32_s64(vzip1q_s64(vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b)))
}

/// The upper halves.
#[inline]
#[target_feature(enable = "neon")]
fn zip_high(a: int32x4_t, b: int32x4_t) -> int32x4_t {
    vreinterpretq_s32_s64(vzip2q_s64(vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b)))
}

/// Adds the products of two rows with two outputs, eight deep: `vmmlaq_s32`, which is not stable yet.
#[inline]
#[target_feature(enable = "neon,i8mm")]
pub(crate) fn smmla(mut sums: int32x4_t, values: int8x16_t, weights: int8x16_t) -> int32x4_t {
    // SAFETY: registers only; the instruction is there by the target feature.
    unsafe {
        asm!(
            "smmla {sums:v}.4s, {values:v}.16b, {weights:v}.16b",
            sums = inout(vreg) sums,
            values = in(vreg) values,
            weights = in(vreg) weights,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}
