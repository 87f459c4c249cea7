//! Pools for NEON (64-bit ARM): 16 channels at once.

use super::{LANES, Mean};
use crate::depthwise::block_starts;
use crate::quant::neon::Saturate;
use std::arch::aarch64::*;

/// Values that 16 bits can sum: `256 * -128` is their least.
const SHORT: usize = 256;

/// 16 channels of a tap.
///
/// # Safety
/// The tap has as many from `start` on.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load(tap: &[i8], start: usize) -> int8x16_t {
    // SAFETY: by the contract.
    unsafe { vld1q_s8(tap.as_ptr().add(start)) }
}

/// # Safety
/// `out` has 16 channels from `start` on.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn store(out: &mut [i8], start: usize, values: int8x16_t) {
    // SAFETY: by the contract.
    unsafe { vst1q_s8(out.as_mut_ptr().add(start), values) }
}

/// Blocks of 16 channels end within the channels, of which a tap and the output have the same number: both can be accessed there.
fn check(taps: &[&[i8]], out: &[i8]) {
    assert!(out.len() >= LANES && taps.iter().all(|tap| tap.len() == out.len()), "as many channels of input as of output, 16 at least");
}

/// See [`super::scalar::max`]; at least 16 channels.
#[target_feature(enable = "neon")]
pub(super) fn max(taps: &[&[i8]], out: &mut [i8]) {
    check(taps, out);
    for start in block_starts(out.len()) {
        // SAFETY: see `check`.
        let largest = taps.iter().fold(vdupq_n_s8(i8::MIN), |largest, tap| vmaxq_s8(largest, unsafe { load(tap, start) }));
        // SAFETY: as above.
        unsafe { store(out, start, largest) };
    }
}

/// See [`super::scalar::mean`]; at least 16 channels.
#[target_feature(enable = "neon")]
pub(super) fn mean(taps: &[&[i8]], mean: &Mean, out: &mut [i8]) {
    check(taps, out);
    let (multiplier, saturate) = (vdupq_n_f32(mean.multiplier), Saturate::new(mean.target));
    for start in block_starts(out.len()) {
        let mut sums = [vdupq_n_s32(mean.offset); 4];
        for taps in taps.chunks(SHORT) {
            let mut short = [vdupq_n_s16(0); 2];
            for tap in taps {
                // SAFETY: see `check`.
                let values = unsafe { load(tap, start) };
                short = [vaddw_s8(short[0], vget_low_s8(values)), vaddw_high_s8(short[1], values)];
            }
            sums = [
                vaddw_s16(sums[0], vget_low_s16(short[0])),
                vaddw_high_s16(sums[1], short[0]),
                vaddw_s16(sums[2], vget_low_s16(short[1])),
                vaddw_high_s16(sums[3], short[1]),
            ];
        }
        let bytes = saturate.bytes(sums.map(|sum| vmulq_f32(vcvtq_f32_s32(sum), multiplier)));
        // SAFETY: see `check`.
        unsafe { store(out, start, bytes) };
    }
}
