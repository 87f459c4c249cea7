//! Depthwise convolution for AVX2: 16 channels at once, two taps at a time.

use super::weights::block_starts;
use super::{LANES, Line, Requantize, lanes};
use crate::quant::Target;
use crate::quant::avx2::Saturate;
use std::arch::x86_64::*;

/// Adds the products of 16 channels over some taps; the sums are in the order of [`Saturate::bytes`].
///
/// # Safety
/// `weights` holds `2 * LANES` for each two taps; 16 bytes can be read from `input(tap)`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn accumulate(sums: &mut [__m256i; 2], taps: usize, input: impl Fn(usize) -> *const i8, weights: *const i16) {
    // SAFETY: by the contract.
    let words = |tap| unsafe { _mm256_cvtepi8_epi16(_mm_loadu_si128(input(tap).cast())) };
    for pair in 0..taps.div_ceil(2) {
        let even = words(2 * pair);
        let odd = if 2 * pair + 1 < taps { words(2 * pair + 1) } else { _mm256_setzero_si256() };
        // SAFETY: by the contract.
        let weights = unsafe {
            let weights = weights.add(2 * LANES * pair);
            [_mm256_loadu_si256(weights.cast()), _mm256_loadu_si256(weights.add(LANES).cast())]
        };
        sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(_mm256_unpacklo_epi16(even, odd), weights[0]));
        sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(_mm256_unpackhi_epi16(even, odd), weights[1]));
    }
}

/// What the sums of 16 channels begin and end with.
#[derive(Clone, Copy)]
struct Finish {
    bias: [__m256i; 2],
    multiplier: [__m256; 2],
    saturate: Saturate,
}

impl Finish {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new(finish: &Requantize<'_>, start: usize) -> Finish {
        let (bias, multiplier) = (lanes(finish.bias, start, 0), lanes(finish.multiplier, start, 0.0));
        let load = |quarter: usize| {
            let (bias, multiplier): (*const i32, *const f32) = (bias[4 * quarter..].as_ptr(), multiplier[4 * quarter..].as_ptr());
            // SAFETY: four values are left from each `4 * quarter` of 16, and from 8 behind the first two.
            unsafe { (_mm256_loadu2_m128i(bias.add(8).cast(), bias.cast()), _mm256_loadu2_m128(multiplier.add(8), multiplier)) }
        };
        let [first, second] = [load(0), load(1)];
        Finish {
            bias: [first.0, second.0],
            multiplier: [first.1, second.1],
            saturate: Saturate::new(Target { zero_point: finish.zero_point, low: finish.low, high: finish.high }),
        }
    }

    /// # Safety
    /// 16 bytes can be written to `out`.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn store(&self, sums: [__m256i; 2], out: *mut i8) {
        let values = [0, 1].map(|half| _mm256_mul_ps(_mm256_cvtepi32_ps(sums[half]), self.multiplier[half]));
        // SAFETY: by the contract.
        unsafe { _mm_storeu_si128(out.cast(), self.saturate.bytes(values)) };
    }
}

/// See [`super::scalar::pixel`]; at least 16 channels.
#[target_feature(enable = "avx2")]
pub(super) fn pixel(weights: &[i16], taps: &[&[i8]], finish: &Requantize<'_>, out: &mut [i8]) {
    assert!(out.len() >= LANES && taps.iter().all(|tap| tap.len() == out.len()), "as many channels of input as of output, 16 at least");
    for (start, weights) in block_starts(out.len()).zip(weights.chunks_exact(taps.len().div_ceil(2) * 2 * LANES)) {
        let finish = Finish::new(finish, start);
        let mut sums = finish.bias;
        // SAFETY: a block ends within the channels, which each tap and the output has.
        unsafe {
            accumulate(&mut sums, taps.len(), |tap| taps.get_unchecked(tap).as_ptr().add(start), weights.as_ptr());
            finish.store(sums, out.as_mut_ptr().add(start));
        }
    }
}

/// A line of windows, all on the input.
///
/// # Safety
/// The rows of `line` are long enough for as many windows as `out` has pixels.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn span<const SIDE: usize, const TAPS: usize>(
    weights: &[i16],
    line: &Line<'_, SIDE>,
    finish: &Requantize<'_>,
    out: &mut [i8],
) {
    let (rows, pixel, tap_step) = (line.rows.map(|row| row.as_ptr()), line.pixel, line.tap);
    for (start, weights) in block_starts(line.channels).zip(weights.chunks_exact(TAPS.div_ceil(2) * 2 * LANES)) {
        let finish = Finish::new(finish, start);
        for (window, out) in out.chunks_exact_mut(line.channels).enumerate() {
            let mut sums = finish.bias;
            let at = window * pixel + start;
            // SAFETY: by the contract, and a block ends within the channels.
            unsafe {
                let input = |tap: usize| rows[tap / SIDE].add(at + tap % SIDE * tap_step);
                accumulate(&mut sums, TAPS, input, weights.as_ptr());
                finish.store(sums, out.as_mut_ptr().add(start));
            }
        }
    }
}
