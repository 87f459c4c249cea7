//! Depthwise convolution for NEON (64-bit ARM): 16 channels at once.

use super::span::Line;
use super::weights::block_starts;
use super::{Finish, LANES};
use crate::linear::{self, Float, Requantize};
use crate::quant::Target;
use crate::quant::neon::Saturate;
use std::arch::aarch64::*;
use std::arch::asm;
use std::array;

/// Weights as they are packed, and the products that fit them.
pub(super) trait Weight: Copy {
    /// Adds the products of 16 channels over some taps.
    ///
    /// # Safety
    /// `weights` holds [`LANES`] for each tap; 16 bytes can be read from `input(tap)`.
    unsafe fn accumulate(sums: &mut [int32x4_t; 4], taps: usize, input: impl Fn(usize) -> *const i8, weights: *const Self);
}

/// Two products at a time are summed in 16 bits: half the multiplications of the wide ones.
impl Weight for i8 {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn accumulate(sums: &mut [int32x4_t; 4], taps: usize, input: impl Fn(usize) -> *const i8, weights: *const i8) {
        let mut tap = 0;
        while tap < taps {
            // SAFETY: by the contract, as `tap < taps`.
            let (values, weight) = unsafe { (vld1q_s8(input(tap)), vld1q_s8(weights.add(tap * LANES))) };
            let mut low = vmull_s8(vget_low_s8(values), vget_low_s8(weight));
            let mut high = vmull_high_s8(values, weight);
            if tap + 1 < taps {
                // SAFETY: by the contract.
                let (values, weight) = unsafe { (vld1q_s8(input(tap + 1)), vld1q_s8(weights.add((tap + 1) * LANES))) };
                low = vmlal_s8(low, vget_low_s8(values), vget_low_s8(weight));
                high = vmlal_high_s8(high, values, weight);
            }
            sums[0] = vaddw_s16(sums[0], vget_low_s16(low));
            sums[1] = vaddw_high_s16(sums[1], low);
            sums[2] = vaddw_s16(sums[2], vget_low_s16(high));
            sums[3] = vaddw_high_s16(sums[3], high);
            tap += 2;
        }
    }
}

impl Weight for i16 {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn accumulate(sums: &mut [int32x4_t; 4], taps: usize, input: impl Fn(usize) -> *const i8, weights: *const i16) {
        for tap in 0..taps {
            // SAFETY: by the contract.
            let (values, weights) = unsafe {
                let weights = weights.add(tap * LANES);
                (vld1q_s8(input(tap)), [vld1q_s16(weights), vld1q_s16(weights.add(8))])
            };
            let (low, high) = (vmovl_s8(vget_low_s8(values)), vmovl_high_s8(values));
            sums[0] = vmlal_s16(sums[0], vget_low_s16(low), vget_low_s16(weights[0]));
            sums[1] = vmlal_high_s16(sums[1], low, weights[0]);
            sums[2] = vmlal_s16(sums[2], vget_low_s16(high), vget_low_s16(weights[1]));
            sums[3] = vmlal_high_s16(sums[3], high, weights[1]);
        }
    }
}

/// The vector code of a [`Finish`](super::Finish). NEON is in every CPU that Rust's aarch64 targets run on.
pub(super) trait Lanes: linear::Finish {
    /// What 16 neighbouring channels need.
    type Parameters: Copy;

    /// For the channels from `start` on; there are 16.
    fn parameters(&self, start: usize) -> Self::Parameters;

    /// Finishes the sums of 16 channels of a pixel.
    ///
    /// # Safety
    /// 16 results can be written to `out`.
    unsafe fn store(&self, columns: &Self::Parameters, pixel: usize, sums: [int32x4_t; 4], out: *mut Self::Output);
}

impl Lanes for Requantize<'_> {
    type Parameters = ([float32x4_t; 4], Saturate);

    #[inline(always)]
    fn parameters(&self, start: usize) -> Self::Parameters {
        let target = Target { zero_point: self.zero_point, low: self.low, high: self.high };
        // SAFETY: NEON is there.
        (floats(self.multiplier, start), unsafe { Saturate::new(target) })
    }

    #[inline(always)]
    unsafe fn store(&self, (multiplier, saturate): &Self::Parameters, _pixel: usize, sums: [int32x4_t; 4], out: *mut i8) {
        // SAFETY: NEON is there; the rest by the contract.
        unsafe {
            let values = array::from_fn(|quarter| vmulq_f32(vcvtq_f32_s32(sums[quarter]), multiplier[quarter]));
            vst1q_s8(out, saturate.bytes(values));
        }
    }
}

impl Lanes for Float<'_> {
    type Parameters = [[float32x4_t; 4]; 2];

    #[inline(always)]
    fn parameters(&self, start: usize) -> Self::Parameters {
        [floats(self.scale, start), floats(self.bias, start)]
    }

    #[inline(always)]
    unsafe fn store(&self, [scale, bias]: &Self::Parameters, pixel: usize, sums: [int32x4_t; 4], out: *mut f32) {
        let row_scale = self.row_scale(pixel);
        for (quarter, sums) in sums.into_iter().enumerate() {
            // SAFETY: NEON is there; the rest by the contract.
            unsafe {
                let product = vmulq_f32(vcvtq_f32_s32(sums), vmulq_n_f32(scale[quarter], row_scale));
                vst1q_f32(out.add(4 * quarter), vaddq_f32(product, bias[quarter]));
            }
        }
    }
}

/// The values for 16 channels, of a slice that is empty, holds one for all, or one for each.
#[inline(always)]
fn floats(values: &[f32], start: usize) -> [float32x4_t; 4] {
    let values: [f32; LANES] = linear::lanes(values, start, 0.0);
    // SAFETY: four values are left from each `4 * quarter` of 16.
    array::from_fn(|quarter| unsafe { vld1q_f32(values.as_ptr().add(4 * quarter)) })
}

/// As [`floats`].
#[inline(always)]
fn integers(values: &[i32], start: usize) -> [int32x4_t; 4] {
    let values: [i32; LANES] = linear::lanes(values, start, 0);
    // SAFETY: four values are left from each `4 * quarter` of 16.
    array::from_fn(|quarter| unsafe { vld1q_s32(values.as_ptr().add(4 * quarter)) })
}

/// See [`super::scalar::pixel`]; at least 16 channels.
#[target_feature(enable = "neon")]
pub(super) fn pixel<W: Weight, F: Finish>(weights: &[W], taps: &[&[i8]], finish: &F, pixel: usize, out: &mut [F::Output]) {
    assert!(out.len() >= LANES && taps.iter().all(|tap| tap.len() == out.len()), "as many channels of input as of output, 16 at least");
    for (start, weights) in block_starts(out.len()).zip(weights.chunks_exact(taps.len() * LANES)) {
        let (mut sums, parameters) = (integers(finish.bias(), start), finish.parameters(start));
        // SAFETY: a block ends within the channels, which each tap and the output has.
        unsafe {
            W::accumulate(&mut sums, taps.len(), |tap| taps.get_unchecked(tap).as_ptr().add(start), weights.as_ptr());
            finish.store(&parameters, pixel, sums, out.as_mut_ptr().add(start));
        }
    }
}

/// A line of windows, all on the input.
///
/// # Safety
/// The rows of `line` are long enough for as many windows as `out` has pixels.
#[target_feature(enable = "neon")]
pub(super) unsafe fn span<W: Weight, F: Finish, const SIDE: usize>(
    weights: &[W],
    line: &Line<'_, SIDE>,
    finish: &F,
    out: &mut [F::Output],
) {
    let (rows, step) = (line.rows.map(|row| row.as_ptr()), line.tap);
    for (start, weights) in block_starts(line.channels).zip(weights.chunks_exact(SIDE * SIDE * LANES)) {
        let (bias, parameters) = (integers(finish.bias(), start), finish.parameters(start));
        for (window, out) in out.chunks_exact_mut(line.channels).enumerate() {
            let at = opaque(window * line.pixel + start);
            let weights = opaque_pointer(weights.as_ptr());
            let mut sums = bias;
            // SAFETY: by the contract, and a block ends within the channels.
            unsafe {
                // Two rows at a time are a whole number of pairs.
                for row in (0..SIDE - 1).step_by(2) {
                    let input = |tap: usize| rows[row + tap / SIDE].add(at + tap % SIDE * step);
                    W::accumulate(&mut sums, 2 * SIDE, input, weights.add(row * SIDE * LANES));
                }
                let input = |tap: usize| rows[SIDE - 1].add(at + tap * step);
                W::accumulate(&mut sums, SIDE, input, weights.add((SIDE - 1) * SIDE * LANES));
                finish.store(&parameters, line.first + window, sums, out.as_mut_ptr().add(start));
            }
        }
    }
}

/// The same number, of which the compiler knows nothing: else it keeps a pointer for each tap, and increments them all.
#[inline(always)]
fn opaque(mut value: usize) -> usize {
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {0} */", inout(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// The same for weights: else their upper halves are taken out before the loop, and SMULL2 is no more.
#[inline(always)]
fn opaque_pointer<T>(mut pointer: *const T) -> *const T {
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {0} */", inout(reg) pointer, options(readonly, nostack, preserves_flags)) };
    pointer
}
