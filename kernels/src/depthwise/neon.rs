//! Depthwise convolution for NEON (64-bit ARM): 16 channels at once.

use super::span::Line;
use super::weights::block_starts;
use super::{LANES, Requantize, target};
use crate::quant::neon::Saturate;
use std::arch::aarch64::*;
use std::arch::asm;

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

/// What the sums of 16 channels begin and end with.
#[derive(Clone, Copy)]
struct Finish {
    bias: [int32x4_t; 4],
    multiplier: [float32x4_t; 4],
    saturate: Saturate,
}

impl Finish {
    /// For the channels from `start` on; there are 16.
    #[inline]
    #[target_feature(enable = "neon")]
    fn new(finish: &Requantize<'_>, start: usize) -> Finish {
        let bias = match finish.bias {
            [] => [vdupq_n_s32(0); 4],
            &[one] => [vdupq_n_s32(one); 4],
            each => {
                let each = &each[start..][..LANES];
                // SAFETY: four values are left from each `4 * quarter` of 16.
                std::array::from_fn(|quarter| unsafe { vld1q_s32(each.as_ptr().add(4 * quarter)) })
            }
        };
        let multiplier = match finish.multiplier {
            &[one] => [vdupq_n_f32(one); 4],
            each => {
                let each = &each[start..][..LANES];
                // SAFETY: as above.
                std::array::from_fn(|quarter| unsafe { vld1q_f32(each.as_ptr().add(4 * quarter)) })
            }
        };
        Finish { bias, multiplier, saturate: Saturate::new(target(finish)) }
    }

    /// # Safety
    /// 16 bytes can be written to `out`.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn store(&self, sums: [int32x4_t; 4], out: *mut i8) {
        let values = std::array::from_fn(|quarter| vmulq_f32(vcvtq_f32_s32(sums[quarter]), self.multiplier[quarter]));
        // SAFETY: by the contract.
        unsafe { vst1q_s8(out, self.saturate.bytes(values)) };
    }
}

/// See [`super::scalar::pixel`]; at least 16 channels.
#[target_feature(enable = "neon")]
pub(super) fn pixel<W: Weight>(weights: &[W], taps: &[&[i8]], finish: &Requantize<'_>, out: &mut [i8]) {
    assert!(out.len() >= LANES && taps.iter().all(|tap| tap.len() == out.len()), "as many channels of input as of output, 16 at least");
    for (start, weights) in block_starts(out.len()).zip(weights.chunks_exact(taps.len() * LANES)) {
        let finish = Finish::new(finish, start);
        let mut sums = finish.bias;
        // SAFETY: a block ends within the channels, which each tap and the output has.
        unsafe {
            W::accumulate(&mut sums, taps.len(), |tap| taps.get_unchecked(tap).as_ptr().add(start), weights.as_ptr());
            finish.store(sums, out.as_mut_ptr().add(start));
        }
    }
}

/// A line of windows, all on the input.
///
/// # Safety
/// The rows of `line` are long enough for as many windows as `out` has pixels.
#[target_feature(enable = "neon")]
pub(super) unsafe fn span<W: Weight, const SIDE: usize>(weights: &[W], line: &Line<'_, SIDE>, finish: &Requantize<'_>, out: &mut [i8]) {
    let (rows, step) = (line.rows.map(|row| row.as_ptr()), line.tap);
    for (start, weights) in block_starts(line.channels).zip(weights.chunks_exact(SIDE * SIDE * LANES)) {
        let finish = Finish::new(finish, start);
        for (window, out) in out.chunks_exact_mut(line.channels).enumerate() {
            let at = opaque(window * line.pixel + start);
            let weights = opaque_pointer(weights.as_ptr());
            let mut sums = finish.bias;
            // SAFETY: by the contract, and a block ends within the channels.
            unsafe {
                // Two rows at a time are a whole number of pairs.
                for row in (0..SIDE - 1).step_by(2) {
                    let input = |tap: usize| rows[row + tap / SIDE].add(at + tap % SIDE * step);
                    W::accumulate(&mut sums, 2 * SIDE, input, weights.add(row * SIDE * LANES));
                }
                let input = |tap: usize| rows[SIDE - 1].add(at + tap * step);
                W::accumulate(&mut sums, SIDE, input, weights.add((SIDE - 1) * SIDE * LANES));
                finish.store(sums, out.as_mut_ptr().add(start));
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
