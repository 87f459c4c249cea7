//! Rows times blocks of weights on NEON: SMULL and SMLAL2, SDOT, or SMMLA.

use super::QuantizedRows;
use super::direct::{Blocks, Direct};
use crate::linear::dot::sdot;
use crate::linear::matrix::{by_row, smmla};
use std::arch::aarch64::*;
use std::{array, ptr};

/// For panels of [`crate::linear`]'s kernels of the same names.
pub(super) struct Neon;
pub(super) struct Dot;
pub(super) struct Matrix;

/// Calls a tile with the number of values that share a scale, where that is 16 or 32, known when compiled: such short loops take as
/// long to begin and end as they run. 0 stands for any more.
macro_rules! by_block {
    ($tile:ident, $blocks:ident, $first:ident, $totals:ident, $stride:ident) => {
        match $blocks.block {
            16 => $tile::<FOUR, R, 16>($blocks, $first, $totals, $stride),
            32 => $tile::<FOUR, R, 32>($blocks, $first, $totals, $stride),
            _ => $tile::<FOUR, R, 0>($blocks, $first, $totals, $stride),
        }
    };
}

impl Direct for Neon {
    #[target_feature(enable = "neon")]
    unsafe fn tile<const FOUR: bool, const R: usize>(blocks: &Blocks<'_>, first: usize, totals: *mut f32, stride: usize) {
        // SAFETY: by the contract.
        unsafe { by_block!(neon_tile, blocks, first, totals, stride) }
    }
}

/// # Safety
/// As [`Direct::tile`]; `BLOCK` is as [`by_block`] says.
#[target_feature(enable = "neon")]
unsafe fn neon_tile<const FOUR: bool, const R: usize, const BLOCK: usize>(
    blocks: &Blocks<'_>,
    first: usize,
    totals: *mut f32,
    stride: usize,
) {
    // SAFETY: by the contract: what is read below is blocks of rows and weights, one after the other.
    unsafe {
        let (mut value, mut weight, mut scales) = (blocks.values::<R>(first), blocks.weights, Scales::of(blocks, first));
        let mut sum: [[float32x4_t; 1]; R] = load(totals, stride);
        let block = if BLOCK == 0 { blocks.block } else { BLOCK };
        for _ in 0..blocks.count() {
            let mut sums: [[int32x4_t; 1]; R] = scales.start::<FOUR, R, 1>();
            if !FOUR {
                let mut partial = [[vdupq_n_s32(0); 4]; R];
                for _ in 0..block / 16 {
                    let weights: [int8x16_t; 4] = unpack::<false, 4>(&mut weight);
                    for (partial, value) in partial.iter_mut().zip(&mut value) {
                        let values = next(value);
                        for (partial, &weights) in partial.iter_mut().zip(&weights) {
                            // Values are at least -127, so two products fit 16 bits.
                            *partial = vpadalq_s16(*partial, vmlal_high_s8(low_products(values, weights), values, weights));
                        }
                    }
                }
                for (sums, [a, b, c, d]) in sums.iter_mut().zip(partial) {
                    sums[0] = vaddq_s32(sums[0], vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d)));
                }
            } else if BLOCK == 16 {
                let weights: [int8x16_t; 4] = unpack::<true, 4>(&mut weight);
                for (sums, value) in sums.iter_mut().zip(&mut value) {
                    let values = next(value);
                    let products = array::from_fn(|output| vmlal_high_s8(low_products(values, weights[output]), values, weights[output]));
                    sums[0] = add_short(sums[0], products);
                }
            } else {
                for _ in 0..block / 32 {
                    let weights = [unpack::<true, 4>(&mut weight), unpack::<true, 4>(&mut weight)];
                    for (sums, value) in sums.iter_mut().zip(&mut value) {
                        let values = [next(value), next(value)];
                        let products = array::from_fn(|output| {
                            let first = vmlal_high_s8(low_products(values[0], weights[0][output]), values[0], weights[0][output]);
                            let both = vmlal_s8(first, vget_low_s8(values[1]), vget_low_s8(weights[1][output]));
                            vmlal_high_s8(both, values[1], weights[1][output])
                        });
                        sums[0] = add_short(sums[0], products);
                    }
                }
            }
            scales.add::<R, 1>(&mut sum, sums);
        }
        store(sum, totals, stride);
    }
}

impl Direct for Dot {
    #[target_feature(enable = "neon,dotprod")]
    unsafe fn tile<const FOUR: bool, const R: usize>(blocks: &Blocks<'_>, first: usize, totals: *mut f32, stride: usize) {
        // SAFETY: by the contract.
        unsafe { by_block!(dot_tile, blocks, first, totals, stride) }
    }
}

/// # Safety
/// As [`Direct::tile`]; `BLOCK` is as [`by_block`] says.
#[target_feature(enable = "neon,dotprod")]
unsafe fn dot_tile<const FOUR: bool, const R: usize, const BLOCK: usize>(
    blocks: &Blocks<'_>,
    first: usize,
    totals: *mut f32,
    stride: usize,
) {
    // SAFETY: as above.
    unsafe {
        let (mut value, mut weight, mut scales) = (blocks.values::<R>(first), blocks.weights, Scales::of(blocks, first));
        let mut sum: [[float32x4_t; 2]; R] = load(totals, stride);
        let block = if BLOCK == 0 { blocks.block } else { BLOCK };
        for _ in 0..blocks.count() {
            let mut sums: [[int32x4_t; 2]; R] = scales.start::<FOUR, R, 2>();
            if BLOCK == 16 {
                dot_step::<FOUR, R>(&mut sums, &mut value, &mut weight);
            } else {
                for _ in 0..block / 32 {
                    dot_step::<FOUR, R>(&mut sums, &mut value, &mut weight);
                    dot_step::<FOUR, R>(&mut sums, &mut value, &mut weight);
                }
            }
            scales.add::<R, 2>(&mut sum, sums);
        }
        store(sum, totals, stride);
    }
}

/// Adds the products of 16 values of each row.
///
/// # Safety
/// There are values and weights.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn dot_step<const FOUR: bool, const R: usize>(sums: &mut [[int32x4_t; 2]; R], value: &mut [*const i8; R], weight: &mut *const u8) {
    // SAFETY: by the contract.
    unsafe {
        let values = value.each_mut().map(|value| next(value));
        dot_products::<0, FOUR, R>(sums, &values, weight);
        dot_products::<1, FOUR, R>(sums, &values, weight);
        dot_products::<2, FOUR, R>(sums, &values, weight);
        dot_products::<3, FOUR, R>(sums, &values, weight);
    }
}

/// Adds the products of the `GROUP`th four of each row.
///
/// # Safety
/// There are weights.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn dot_products<const GROUP: usize, const FOUR: bool, const R: usize>(
    sums: &mut [[int32x4_t; 2]; R],
    values: &[int8x16_t; R],
    weight: &mut *const u8,
) {
    // SAFETY: by the contract.
    let weights: [int8x16_t; 2] = unsafe { unpack::<FOUR, 2>(weight) };
    for (sums, &values) in sums.iter_mut().zip(values) {
        for (sums, weights) in sums.iter_mut().zip(weights) {
            *sums = sdot::<GROUP>(*sums, weights, values);
        }
    }
}

impl Direct for Matrix {
    #[target_feature(enable = "neon,i8mm")]
    unsafe fn tile<const FOUR: bool, const R: usize>(blocks: &Blocks<'_>, first: usize, totals: *mut f32, stride: usize) {
        // SAFETY: as above.
        unsafe {
            let (mut value, mut weight, mut scales) = (blocks.values::<R>(first), blocks.weights, Scales::of(blocks, first));
            let mut sum: [[float32x4_t; 2]; R] = load(totals, stride);
            for _ in 0..blocks.count() {
                // Those of two rows together, or of the only one.
                let mut pairs = [[vdupq_n_s32(0); 4]; R];
                for _ in 0..blocks.block / 8 {
                    let weights: [int8x16_t; 4] = unpack::<FOUR, 4>(&mut weight);
                    for (sums, value) in pairs.iter_mut().zip(value.chunks_mut(2)) {
                        let eights = [vld1_s8(value[0]), vld1_s8(value[value.len() - 1])];
                        value.iter_mut().for_each(|value| *value = value.add(8));
                        for (sums, weights) in sums.iter_mut().zip(weights) {
                            *sums = smmla(*sums, vcombine_s8(eights[0], eights[1]), weights);
                        }
                    }
                }
                let start = scales.start::<FOUR, R, 2>();
                let sums = array::from_fn(|row| {
                    let sums = by_row(pairs[row / 2])[row % 2];
                    array::from_fn(|four| vaddq_s32(sums[four], start[row][four]))
                });
                scales.add::<R, 2>(&mut sum, sums);
            }
            store(sum, totals, stride);
        }
    }
}

/// The next 16 values of a row.
///
/// # Safety
/// They exist.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn next(value: &mut *const i8) -> int8x16_t {
    // SAFETY: by the contract.
    unsafe {
        let values = vld1q_s8(*value);
        *value = value.add(16);
        values
    }
}

/// The next `N` times 16 weights, from 0 to 15 if there are four bits of them.
///
/// # Safety
/// They exist.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn unpack<const FOUR: bool, const N: usize>(weight: &mut *const u8) -> [int8x16_t; N] {
    let start = *weight;
    let packed = if FOUR { N / 2 } else { N };
    // SAFETY: by the contract.
    unsafe {
        *weight = start.add(16 * packed);
        array::from_fn(|index| {
            let at = if FOUR { index / 2 } else { index };
            let bytes = vld1q_u8(start.add(16 * at));
            vreinterpretq_s8_u8(match (FOUR, index % 2) {
                (false, _) => bytes,
                (true, 0) => vandq_u8(bytes, vdupq_n_u8(15)),
                (true, _) => vshrq_n_u8::<4>(bytes),
            })
        })
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn low_products(values: int8x16_t, weights: int8x16_t) -> int16x8_t {
    vmull_s8(vget_low_s8(values), vget_low_s8(weights))
}

/// Adds sums of eight lanes for each of four outputs, of 32 products with 4-bit weights at most: 15 * 127 * 32 is over 16 bits, but
/// the half of it that a lane holds before the last addition is not.
#[inline]
#[target_feature(enable = "neon")]
fn add_short(sums: int32x4_t, [a, b, c, d]: [int16x8_t; 4]) -> int32x4_t {
    vpadalq_s16(sums, vpaddq_s16(vpaddq_s16(a, b), vpaddq_s16(c, d)))
}

/// # Safety
/// There are `R` rows at `totals`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load<const R: usize, const N: usize>(totals: *const f32, stride: usize) -> [[float32x4_t; N]; R] {
    // SAFETY: by the contract.
    array::from_fn(|row| array::from_fn(|four| unsafe { vld1q_f32(totals.add(row * stride + 4 * four)) }))
}

/// # Safety
/// There are `R` rows at `totals`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn store<const R: usize, const N: usize>(sums: [[float32x4_t; N]; R], totals: *mut f32, stride: usize) {
    for (row, sums) in sums.into_iter().enumerate() {
        for (four, sums) in sums.into_iter().enumerate() {
            // SAFETY: by the contract.
            unsafe { vst1q_f32(totals.add(row * stride + 4 * four), sums) };
        }
    }
}

/// The scales, zero points and sums of the next block.
struct Scales<'a> {
    weights: *const f32,
    /// Null if all are 0.
    zero_points: *const i16,
    rows: &'a QuantizedRows,
    /// Of the first row.
    at: usize,
}

impl Scales<'_> {
    #[inline(always)]
    fn of<'a>(blocks: &Blocks<'a>, first: usize) -> Scales<'a> {
        let zero_points = if blocks.zero_points.is_empty() { ptr::null() } else { blocks.zero_points.as_ptr() };
        Scales { weights: blocks.scales.as_ptr(), zero_points, rows: blocks.rows, at: first }
    }

    /// What the sums of a block start from: what its weights are more than they stand for, times each row's sum.
    ///
    /// # Safety
    /// There is another block, and there are the rows.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn start<const FOUR: bool, const R: usize, const N: usize>(&mut self) -> [[int32x4_t; N]; R] {
        // Of 4-bit weights, see `Bytes`.
        let mut zero_points = [vdupq_n_s32(if FOUR { -8 } else { 0 }); N];
        // SAFETY: by the contract.
        unsafe {
            if !self.zero_points.is_null() {
                for zero_points in &mut zero_points {
                    *zero_points = vsubw_s16(*zero_points, vld1_s16(self.zero_points));
                    self.zero_points = self.zero_points.add(4);
                }
            } else if !FOUR {
                return [zero_points; R];
            }
            let sums = self.rows.sums_at(self.at);
            if R == 4 {
                let sums = vld1q_s32(sums);
                return array::from_fn(|row| match row {
                    0 => zero_points.map(|zero| vmulq_laneq_s32::<0>(zero, sums)),
                    1 => zero_points.map(|zero| vmulq_laneq_s32::<1>(zero, sums)),
                    2 => zero_points.map(|zero| vmulq_laneq_s32::<2>(zero, sums)),
                    _ => zero_points.map(|zero| vmulq_laneq_s32::<3>(zero, sums)),
                });
            }
            array::from_fn(|row| zero_points.map(|zero| vmulq_n_s32(zero, *sums.add(row))))
        }
    }

    /// Adds the sums of a block to the totals, as [`super::multiply`] says.
    ///
    /// # Safety
    /// There is another block, and there are the rows.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn add<const R: usize, const N: usize>(&mut self, totals: &mut [[float32x4_t; N]; R], sums: [[int32x4_t; N]; R]) {
        // SAFETY: by the contract.
        unsafe {
            let weights: [float32x4_t; N] = array::from_fn(|four| vld1q_f32(self.weights.add(4 * four)));
            let rows = self.rows.scales_at(self.at);
            let scales: [[float32x4_t; N]; R] = if R == 4 {
                let rows = vld1q_f32(rows);
                array::from_fn(|row| match row {
                    0 => weights.map(|weights| vmulq_laneq_f32::<0>(weights, rows)),
                    1 => weights.map(|weights| vmulq_laneq_f32::<1>(weights, rows)),
                    2 => weights.map(|weights| vmulq_laneq_f32::<2>(weights, rows)),
                    _ => weights.map(|weights| vmulq_laneq_f32::<3>(weights, rows)),
                })
            } else {
                array::from_fn(|row| weights.map(|weights| vmulq_n_f32(weights, *rows.add(row))))
            };
            for ((totals, sums), scales) in totals.iter_mut().zip(sums).zip(scales) {
                for ((total, sum), scale) in totals.iter_mut().zip(sums).zip(scales) {
                    *total = vfmaq_f32(*total, vcvtq_f32_s32(sum), scale);
                }
            }
            self.weights = self.weights.add(4 * N);
        }
        self.at += self.rows.count();
    }
}
