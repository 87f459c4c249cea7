//! Pools for AVX2: 16 channels at once.

use super::{LANES, Mean};
use crate::depthwise::block_starts;
use crate::quant::avx2::Saturate;
use std::arch::x86_64::*;

/// Values that 16 bits can sum: `256 * -128` is their least.
const SHORT: usize = 256;

/// 16 channels of a tap.
///
/// # Safety
/// The tap has as many from `start` on.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn load(tap: &[i8], start: usize) -> __m128i {
    // SAFETY: by the contract.
    unsafe { _mm_loadu_si128(tap.as_ptr().add(start).cast()) }
}

/// # Safety
/// `out` has 16 channels from `start` on.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn store(out: &mut [i8], start: usize, values: __m128i) {
    // SAFETY: by the contract.
    unsafe { _mm_storeu_si128(out.as_mut_ptr().add(start).cast(), values) }
}

/// Blocks of 16 channels end within the channels, of which a tap and the output have the same number: both can be accessed there.
fn check(taps: &[&[i8]], out: &[i8]) {
    assert!(out.len() >= LANES && taps.iter().all(|tap| tap.len() == out.len()), "as many channels of input as of output, 16 at least");
}

/// See [`super::scalar::max`]; at least 16 channels.
#[target_feature(enable = "avx2")]
pub(super) fn max(taps: &[&[i8]], out: &mut [i8]) {
    check(taps, out);
    for start in block_starts(out.len()) {
        // SAFETY: see `check`.
        let largest = taps.iter().fold(_mm_set1_epi8(i8::MIN), |largest, tap| _mm_max_epi8(largest, unsafe { load(tap, start) }));
        // SAFETY: as above.
        unsafe { store(out, start, largest) };
    }
}

/// See [`super::scalar::mean`]; at least 16 channels.
#[target_feature(enable = "avx2")]
pub(super) fn mean(taps: &[&[i8]], mean: &Mean, out: &mut [i8]) {
    check(taps, out);
    let (multiplier, saturate) = (_mm256_set1_ps(mean.multiplier), Saturate::new(mean.target));
    for start in block_starts(out.len()) {
        let mut sums = [_mm256_set1_epi32(mean.offset); 2];
        for taps in taps.chunks(SHORT) {
            let mut short = _mm256_setzero_si256();
            for tap in taps {
                // SAFETY: see `check`.
                short = _mm256_add_epi16(short, _mm256_cvtepi8_epi16(unsafe { load(tap, start) }));
            }
            // Each word in the upper half of a double word, and down again with its sign: in the order of `Saturate::bytes`.
            let wide = [_mm256_unpacklo_epi16(short, short), _mm256_unpackhi_epi16(short, short)];
            sums = [0, 1].map(|half| _mm256_add_epi32(sums[half], _mm256_srai_epi32::<16>(wide[half])));
        }
        let bytes = saturate.bytes(sums.map(|sum| _mm256_mul_ps(_mm256_cvtepi32_ps(sum), multiplier)));
        // SAFETY: see `check`.
        unsafe { store(out, start, bytes) };
    }
}
