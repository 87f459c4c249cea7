//! Pools for NEON (64-bit ARM): 16 channels at once.

use super::{LANES, Mean};
use crate::depthwise::block_starts;
use crate::quant::neon::Saturate;
use std::arch::aarch64::*;

/// Values that 16 bits can sum: `256 * -128` is their least.
const SHORT: usize = 256;

/// 16 channels of a tap.
#[inline]
#[target_feature(enable = "neon")]
fn load(tap: &[i8], start: usize) -> int8x16_t {
    let values = &tap[start..][..LANES];
    // SAFETY: a slice of 16 bytes.
    unsafe { vld1q_s8(values.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
fn store(out: &mut [i8], start: usize, values: int8x16_t) {
    let out = &mut out[start..][..LANES];
    // SAFETY: a slice of 16 bytes.
    unsafe { vst1q_s8(out.as_mut_ptr(), values) };
}

/// See [`super::scalar::max`]; at least 16 channels.
#[target_feature(enable = "neon")]
pub(super) fn max(taps: &[&[i8]], out: &mut [i8]) {
    for start in block_starts(out.len()) {
        let largest = taps.iter().fold(vdupq_n_s8(i8::MIN), |largest, tap| vmaxq_s8(largest, load(tap, start)));
        store(out, start, largest);
    }
}

/// See [`super::scalar::mean`]; at least 16 channels.
#[target_feature(enable = "neon")]
pub(super) fn mean(taps: &[&[i8]], mean: &Mean, out: &mut [i8]) {
    let (multiplier, saturate) = (vdupq_n_f32(mean.multiplier), Saturate::new(mean.target));
    for start in block_starts(out.len()) {
        let mut sums = [vdupq_n_s32(mean.offset); 4];
        for taps in taps.chunks(SHORT) {
            let mut short = [vdupq_n_s16(0); 2];
            for tap in taps {
                let values = load(tap, start);
                short = [vaddw_s8(short[0], vget_low_s8(values)), vaddw_high_s8(short[1], values)];
            }
            sums = [
                vaddw_s16(sums[0], vget_low_s16(short[0])),
                vaddw_high_s16(sums[1], short[0]),
                vaddw_s16(sums[2], vget_low_s16(short[1])),
                vaddw_high_s16(sums[3], short[1]),
            ];
        }
        store(out, start, saturate.bytes(sums.map(|sum| vmulq_f32(vcvtq_f32_s32(sum), multiplier))));
    }
}
