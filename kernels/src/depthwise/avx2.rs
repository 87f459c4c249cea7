//! Depthwise convolution for AVX2: 16 channels at once, two taps at a time.

use super::span::Line;
use super::weights::block_starts;
use super::{Finish, LANES};
use crate::linear::{self, Float, Requantize};
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

/// The vector code of a [`Finish`](super::Finish).
pub(super) trait Lanes: linear::Finish {
    /// What 16 neighbouring channels need.
    type Parameters: Copy;

    /// For the channels from `start` on; there are 16.
    ///
    /// # Safety
    /// The CPU has AVX2.
    unsafe fn parameters(&self, start: usize) -> Self::Parameters;

    /// Finishes the sums of 16 channels of a pixel.
    ///
    /// # Safety
    /// The CPU has AVX2; 16 results can be written to `out`.
    unsafe fn store(&self, columns: &Self::Parameters, pixel: usize, sums: [__m256i; 2], out: *mut Self::Output);
}

impl Lanes for Requantize<'_> {
    type Parameters = ([__m256; 2], Saturate);

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn parameters(&self, start: usize) -> Self::Parameters {
        (floats(self.multiplier, start), Saturate::new(Target { zero_point: self.zero_point, low: self.low, high: self.high }))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn store(&self, (multiplier, saturate): &Self::Parameters, _pixel: usize, sums: [__m256i; 2], out: *mut i8) {
        let values = [0, 1].map(|half| _mm256_mul_ps(_mm256_cvtepi32_ps(sums[half]), multiplier[half]));
        // SAFETY: by the contract.
        unsafe { _mm_storeu_si128(out.cast(), saturate.bytes(values)) };
    }
}

impl Lanes for Float<'_> {
    type Parameters = [[__m256; 2]; 2];

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn parameters(&self, start: usize) -> Self::Parameters {
        [floats(self.scale, start), floats(self.bias, start)]
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn store(&self, [scale, bias]: &Self::Parameters, pixel: usize, sums: [__m256i; 2], out: *mut f32) {
        let row_scale = _mm256_set1_ps(self.row_scale(pixel));
        for half in 0..2 {
            let product = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[half]), _mm256_mul_ps(row_scale, scale[half]));
            let out = out.wrapping_add(4 * half);
            // SAFETY: by the contract.
            unsafe { _mm256_storeu2_m128(out.add(8), out, _mm256_add_ps(product, bias[half])) };
        }
    }
}

/// The values for 16 channels, of a slice that is empty, holds one for all, or one for each, in the order of the sums.
#[inline]
#[target_feature(enable = "avx2")]
fn floats(values: &[f32], start: usize) -> [__m256; 2] {
    match values {
        [] => [_mm256_setzero_ps(); 2],
        &[one] => [_mm256_set1_ps(one); 2],
        each => {
            let each = &each[start..][..LANES];
            // SAFETY: four values are left from 0, 4, 8 and 12 of 16.
            [0, 4].map(|at| unsafe { _mm256_loadu2_m128(each.as_ptr().add(at + 8), each.as_ptr().add(at)) })
        }
    }
}

/// As [`floats`].
#[inline]
#[target_feature(enable = "avx2")]
fn integers(values: &[i32], start: usize) -> [__m256i; 2] {
    match values {
        [] => [_mm256_setzero_si256(); 2],
        &[one] => [_mm256_set1_epi32(one); 2],
        each => {
            let each = &each[start..][..LANES];
            // SAFETY: four values are left from 0, 4, 8 and 12 of 16.
            [0, 4].map(|at| unsafe { _mm256_loadu2_m128i(each.as_ptr().add(at + 8).cast(), each.as_ptr().add(at).cast()) })
        }
    }
}

/// See [`super::scalar::pixel`]; at least 16 channels.
#[target_feature(enable = "avx2")]
pub(super) fn pixel<F: Finish>(weights: &[i16], taps: &[&[i8]], finish: &F, pixel: usize, out: &mut [F::Output]) {
    assert!(out.len() >= LANES && taps.iter().all(|tap| tap.len() == out.len()), "as many channels of input as of output, 16 at least");
    for (start, weights) in block_starts(out.len()).zip(weights.chunks_exact(taps.len().div_ceil(2) * 2 * LANES)) {
        let mut sums = integers(finish.bias(), start);
        // SAFETY: a block ends within the channels, which each tap and the output has.
        unsafe {
            let parameters = finish.parameters(start);
            accumulate(&mut sums, taps.len(), |tap| taps.get_unchecked(tap).as_ptr().add(start), weights.as_ptr());
            finish.store(&parameters, pixel, sums, out.as_mut_ptr().add(start));
        }
    }
}

/// A line of windows, all on the input.
///
/// # Safety
/// The rows of `line` are long enough for as many windows as `out` has pixels.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn span<F: Finish, const SIDE: usize>(weights: &[i16], line: &Line<'_, SIDE>, finish: &F, out: &mut [F::Output]) {
    let (rows, step) = (line.rows.map(|row| row.as_ptr()), line.tap);
    for (start, weights) in block_starts(line.channels).zip(weights.chunks_exact((SIDE * SIDE).div_ceil(2) * 2 * LANES)) {
        let bias = integers(finish.bias(), start);
        // SAFETY: AVX2 by the target feature.
        let parameters = unsafe { finish.parameters(start) };
        for (window, out) in out.chunks_exact_mut(line.channels).enumerate() {
            let at = window * line.pixel + start;
            let mut sums = bias;
            // SAFETY: by the contract, and a block ends within the channels.
            unsafe {
                // Two rows at a time are a whole number of pairs.
                for row in (0..SIDE - 1).step_by(2) {
                    let input = |tap: usize| rows[row + tap / SIDE].add(at + tap % SIDE * step);
                    accumulate(&mut sums, 2 * SIDE, input, weights.as_ptr().add(row * SIDE * LANES));
                }
                let input = |tap: usize| rows[SIDE - 1].add(at + tap * step);
                accumulate(&mut sums, SIDE, input, weights.as_ptr().add((SIDE - 1) * SIDE * LANES));
                finish.store(&parameters, line.first + window, sums, out.as_mut_ptr().add(start));
            }
        }
    }
}
