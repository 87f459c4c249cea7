//! Depthwise convolution for NEON (64-bit ARM): 16 channels at once.

use super::line::Line;
use super::weights::{block_starts, cyclic};
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

/// The vector code of a [`Finish`](super::Finish).
pub(super) trait Lanes: linear::Finish {
    /// What 16 neighbouring channels need.
    type Parameters: Copy;

    /// For the channels from `start` on, after the last of which comes the first.
    ///
    /// # Safety
    /// The CPU has NEON, as all have that Rust's aarch64 targets run on.
    unsafe fn parameters(&self, start: usize, channels: usize) -> Self::Parameters;

    /// What the sums begin with.
    fn start(parameters: &Self::Parameters) -> [int32x4_t; 4];

    /// Finishes 16 sums.
    ///
    /// # Safety
    /// As above; 16 results can be written to `out`.
    unsafe fn store(&self, parameters: &Self::Parameters, sums: [int32x4_t; 4], out: *mut Self::Output);
}

impl Lanes for Requantize<'_> {
    type Parameters = ([int32x4_t; 4], [float32x4_t; 4]);

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn parameters(&self, start: usize, channels: usize) -> Self::Parameters {
        (integers(cyclic(self.bias, start, channels)), floats(cyclic(self.multiplier, start, channels)))
    }

    #[inline(always)]
    fn start(&(bias, _): &Self::Parameters) -> [int32x4_t; 4] {
        bias
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn store(&self, (_, multiplier): &Self::Parameters, sums: [int32x4_t; 4], out: *mut i8) {
        // The same for all windows, which the compiler sees.
        let saturate = Saturate::new(Target { zero_point: self.zero_point, low: self.low, high: self.high });
        let values = array::from_fn(|quarter| vmulq_f32(vcvtq_f32_s32(sums[quarter]), multiplier[quarter]));
        // SAFETY: by the contract.
        unsafe { vst1q_s8(out, saturate.bytes(values)) };
    }
}

impl Lanes for Float<'_> {
    type Parameters = ([int32x4_t; 4], [[float32x4_t; 4]; 2]);

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn parameters(&self, start: usize, channels: usize) -> Self::Parameters {
        (integers(cyclic(self.offset, start, channels)), [self.scale, self.bias].map(|values| floats(cyclic(values, start, channels))))
    }

    #[inline(always)]
    fn start(&(offset, _): &Self::Parameters) -> [int32x4_t; 4] {
        offset
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn store(&self, (_, [scale, bias]): &Self::Parameters, sums: [int32x4_t; 4], out: *mut f32) {
        for quarter in 0..4 {
            let value = vaddq_f32(vmulq_f32(vcvtq_f32_s32(sums[quarter]), scale[quarter]), bias[quarter]);
            // SAFETY: by the contract.
            unsafe { vst1q_f32(out.add(4 * quarter), value) };
        }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn floats(values: [f32; LANES]) -> [float32x4_t; 4] {
    // SAFETY: four values are left from each `4 * quarter` of 16.
    array::from_fn(|quarter| unsafe { vld1q_f32(values.as_ptr().add(4 * quarter)) })
}

#[inline]
#[target_feature(enable = "neon")]
fn integers(values: [i32; LANES]) -> [int32x4_t; 4] {
    // SAFETY: four values are left from each `4 * quarter` of 16.
    array::from_fn(|quarter| unsafe { vld1q_s32(values.as_ptr().add(4 * quarter)) })
}

/// A line of windows.
///
/// # Safety
/// The taps are long enough for the windows, `out` for their results, and there are parameters for each block of channels.
#[target_feature(enable = "neon")]
pub(super) unsafe fn line<W: Weight, F: Finish>(weights: &[W], taps: &[&[i8]], line: &Line<'_, F>, out: &mut [F::Output]) {
    // SAFETY: by the contract.
    unsafe {
        match line.regular {
            Some(([3, 3], step)) => rows::<W, F, 3, 3>(weights, taps, line, step, out),
            Some(([5, 5], step)) => rows::<W, F, 5, 5>(weights, taps, line, step, out),
            Some(([1, 3], step)) => rows::<W, F, 1, 3>(weights, taps, line, step, out),
            Some(([1, 5], step)) => rows::<W, F, 1, 5>(weights, taps, line, step, out),
            _ => any(weights, taps, line, out),
        }
    }
}

/// [`line`] of a kernel of `HEIGHT`, an odd number, times `WIDTH`, whose taps in a row are `step` apart.
///
/// # Safety
/// As [`line`].
#[target_feature(enable = "neon")]
unsafe fn rows<W: Weight, F: Finish, const HEIGHT: usize, const WIDTH: usize>(
    weights: &[W],
    taps: &[&[i8]],
    line: &Line<'_, F>,
    step: usize,
    out: &mut [F::Output],
) {
    let finish = line.finish;
    let rows: [*const i8; HEIGHT] = array::from_fn(|row| taps[row * WIDTH].as_ptr());
    let blocks = weights.chunks_exact(HEIGHT * WIDTH * LANES);
    for ((start, weights), parameters) in block_starts(line.channels).zip(blocks).zip(line.parameters) {
        let parameters = *parameters;
        for window in 0..line.windows {
            let at = opaque(window * line.pixel + start);
            let weights = opaque_pointer(weights.as_ptr());
            let mut sums = F::start(&parameters);
            // SAFETY: by the contract, and a block ends within the channels.
            unsafe {
                // Two rows at a time are a whole number of pairs.
                for row in (0..HEIGHT - 1).step_by(2) {
                    let input = |tap: usize| rows[row + tap / WIDTH].add(at + tap % WIDTH * step);
                    W::accumulate(&mut sums, 2 * WIDTH, input, weights.add(row * WIDTH * LANES));
                }
                let input = |tap: usize| rows[HEIGHT - 1].add(at + tap * step);
                W::accumulate(&mut sums, WIDTH, input, weights.add((HEIGHT - 1) * WIDTH * LANES));
                finish.store(&parameters, sums, out.as_mut_ptr().add(window * line.advance + start));
            }
        }
    }
}

/// [`line`] of any kernel.
///
/// # Safety
/// As [`line`].
#[target_feature(enable = "neon")]
unsafe fn any<W: Weight, F: Finish>(weights: &[W], taps: &[&[i8]], line: &Line<'_, F>, out: &mut [F::Output]) {
    let finish = line.finish;
    let blocks = weights.chunks_exact(taps.len() * LANES);
    for ((start, weights), parameters) in block_starts(line.channels).zip(blocks).zip(line.parameters) {
        for window in 0..line.windows {
            let at = window * line.pixel + start;
            let mut sums = F::start(parameters);
            // SAFETY: by the contract, and a block ends within the channels.
            unsafe {
                W::accumulate(&mut sums, taps.len(), |tap| taps.get_unchecked(tap).as_ptr().add(at), weights.as_ptr());
                finish.store(parameters, sums, out.as_mut_ptr().add(window * line.advance + start));
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
