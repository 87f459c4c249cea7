//! Depthwise convolution for AVX2: 16 channels at once, two taps at a time.

use super::line::Line;
use super::weights::{block_starts, cyclic};
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

    /// For the channels from `start` on, after the last of which comes the first.
    ///
    /// # Safety
    /// The CPU has AVX2.
    unsafe fn parameters(&self, start: usize, channels: usize) -> Self::Parameters;

    /// What the sums begin with.
    fn start(parameters: &Self::Parameters) -> [__m256i; 2];

    /// Finishes 16 sums.
    ///
    /// # Safety
    /// The CPU has AVX2; 16 results can be written to `out`.
    unsafe fn store(&self, parameters: &Self::Parameters, sums: [__m256i; 2], out: *mut Self::Output);
}

impl Lanes for Requantize<'_> {
    type Parameters = ([__m256i; 2], [__m256; 2]);

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn parameters(&self, start: usize, channels: usize) -> Self::Parameters {
        (integers(cyclic(self.bias, start, channels)), floats(cyclic(self.multiplier, start, channels)))
    }

    #[inline(always)]
    fn start(&(bias, _): &Self::Parameters) -> [__m256i; 2] {
        bias
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn store(&self, (_, multiplier): &Self::Parameters, sums: [__m256i; 2], out: *mut i8) {
        // The same for all windows, which the compiler sees.
        let saturate = Saturate::new(Target { zero_point: self.zero_point, low: self.low, high: self.high });
        let values = [0, 1].map(|half| _mm256_mul_ps(_mm256_cvtepi32_ps(sums[half]), multiplier[half]));
        // SAFETY: by the contract.
        unsafe { _mm_storeu_si128(out.cast(), saturate.bytes(values)) };
    }
}

impl Lanes for Float<'_> {
    type Parameters = ([__m256i; 2], [[__m256; 2]; 2]);

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn parameters(&self, start: usize, channels: usize) -> Self::Parameters {
        (integers(cyclic(self.offset, start, channels)), [self.scale, self.bias].map(|values| floats(cyclic(values, start, channels))))
    }

    #[inline(always)]
    fn start(&(offset, _): &Self::Parameters) -> [__m256i; 2] {
        offset
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn store(&self, (_, [scale, bias]): &Self::Parameters, sums: [__m256i; 2], out: *mut f32) {
        for half in 0..2 {
            let value = _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sums[half]), scale[half]), bias[half]);
            // SAFETY: by the contract.
            unsafe { _mm256_storeu2_m128(out.add(4 * half + 8), out.add(4 * half), value) };
        }
    }
}

/// In the order of the sums.
#[inline]
#[target_feature(enable = "avx2")]
fn floats(values: [f32; LANES]) -> [__m256; 2] {
    // SAFETY: four values are left from 0, 4, 8 and 12 of 16.
    [0, 4].map(|at| unsafe { _mm256_loadu2_m128(values.as_ptr().add(at + 8), values.as_ptr().add(at)) })
}

/// In the order of the sums.
#[inline]
#[target_feature(enable = "avx2")]
fn integers(values: [i32; LANES]) -> [__m256i; 2] {
    // SAFETY: four values are left from 0, 4, 8 and 12 of 16.
    [0, 4].map(|at| unsafe { _mm256_loadu2_m128i(values.as_ptr().add(at + 8).cast(), values.as_ptr().add(at).cast()) })
}

/// A line of windows.
///
/// # Safety
/// The taps are long enough for the windows, `out` for their results, and there are parameters for each block of channels.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn line<F: Finish>(weights: &[i16], taps: &[&[i8]], line: &Line<'_, F>, out: &mut [F::Output]) {
    // SAFETY: by the contract.
    unsafe {
        match line.regular {
            Some(([3, 3], step)) => rows::<F, 3, 3>(weights, taps, line, step, out),
            Some(([5, 5], step)) => rows::<F, 5, 5>(weights, taps, line, step, out),
            Some(([1, 3], step)) => rows::<F, 1, 3>(weights, taps, line, step, out),
            Some(([1, 5], step)) => rows::<F, 1, 5>(weights, taps, line, step, out),
            _ => any(weights, taps, line, out),
        }
    }
}

/// [`line`] of a kernel of `HEIGHT`, an odd number, times `WIDTH`, whose taps in a row are `step` apart.
///
/// # Safety
/// As [`line`].
#[target_feature(enable = "avx2")]
unsafe fn rows<F: Finish, const HEIGHT: usize, const WIDTH: usize>(
    weights: &[i16],
    taps: &[&[i8]],
    line: &Line<'_, F>,
    step: usize,
    out: &mut [F::Output],
) {
    let finish = line.finish;
    let rows: [*const i8; HEIGHT] = std::array::from_fn(|row| taps[row * WIDTH].as_ptr());
    let blocks = weights.chunks_exact((HEIGHT * WIDTH).div_ceil(2) * 2 * LANES);
    for ((start, weights), parameters) in block_starts(line.channels).zip(blocks).zip(line.parameters) {
        let parameters = *parameters;
        for window in 0..line.windows {
            let at = window * line.pixel + start;
            let mut sums = F::start(&parameters);
            // SAFETY: by the contract, and a block ends within the channels.
            unsafe {
                // Two rows at a time are a whole number of pairs.
                for row in (0..HEIGHT - 1).step_by(2) {
                    let input = |tap: usize| rows[row + tap / WIDTH].add(at + tap % WIDTH * step);
                    accumulate(&mut sums, 2 * WIDTH, input, weights.as_ptr().add(row * WIDTH * LANES));
                }
                let input = |tap: usize| rows[HEIGHT - 1].add(at + tap * step);
                accumulate(&mut sums, WIDTH, input, weights.as_ptr().add((HEIGHT - 1) * WIDTH * LANES));
                finish.store(&parameters, sums, out.as_mut_ptr().add(window * line.advance + start));
            }
        }
    }
}

/// [`line`] of any kernel.
///
/// # Safety
/// As [`line`].
#[target_feature(enable = "avx2")]
unsafe fn any<F: Finish>(weights: &[i16], taps: &[&[i8]], line: &Line<'_, F>, out: &mut [F::Output]) {
    let finish = line.finish;
    let blocks = weights.chunks_exact(taps.len().div_ceil(2) * 2 * LANES);
    for ((start, weights), parameters) in block_starts(line.channels).zip(blocks).zip(line.parameters) {
        for window in 0..line.windows {
            let at = window * line.pixel + start;
            let mut sums = F::start(parameters);
            // SAFETY: by the contract, and a block ends within the channels.
            unsafe {
                accumulate(&mut sums, taps.len(), |tap| taps.get_unchecked(tap).as_ptr().add(at), weights.as_ptr());
                finish.store(parameters, sums, out.as_mut_ptr().add(window * line.advance + start));
            }
        }
    }
}
