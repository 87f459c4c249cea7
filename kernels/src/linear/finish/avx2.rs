//! Sums finished for AVX2: 16 outputs of a row.

use super::{Accumulate, Float, Raw, Requantize, lanes};
use std::arch::x86_64::*;

/// The vector code of a [`Finish`].
pub(in crate::linear) trait Avx2 {
    /// What 16 neighbouring outputs need.
    type Columns: Copy;
    /// 16 results, as they lie in memory.
    type Results: Copy;

    /// # Safety
    /// The CPU has AVX2.
    unsafe fn columns(&self, output: usize) -> Self::Columns;

    /// Finishes 16 outputs of `row`.
    ///
    /// # Safety
    /// The CPU has AVX2.
    unsafe fn finish(&self, columns: Self::Columns, row: usize, sums: [__m256i; 2]) -> Self::Results;

    /// The same for `row` and the next.
    ///
    /// # Safety
    /// The CPU has AVX2.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn finish_two(&self, columns: Self::Columns, row: usize, sums: [[__m256i; 2]; 2]) -> [Self::Results; 2] {
        // SAFETY: by the contract.
        unsafe { [self.finish(columns, row, sums[0]), self.finish(columns, row + 1, sums[1])] }
    }
}

impl Avx2 for Requantize<'_> {
    type Columns = [__m256; 2];
    type Results = __m128i;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn columns(&self, output: usize) -> [__m256; 2] {
        floats(lanes(self.multiplier, output, 1.0))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn finish(&self, multiplier: [__m256; 2], _row: usize, sums: [__m256i; 2]) -> Self::Results {
        let steps = _mm256_permute4x64_epi64::<0b11_01_10_00>(steps(self.zero_point, multiplier, sums));
        let bytes = _mm_packs_epi16(_mm256_castsi256_si128(steps), _mm256_extracti128_si256::<1>(steps));
        _mm_min_epi8(_mm_max_epi8(bytes, _mm_set1_epi8(self.low)), _mm_set1_epi8(self.high))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn finish_two(&self, multiplier: [__m256; 2], _row: usize, [one, two]: [[__m256i; 2]; 2]) -> [Self::Results; 2] {
        let bytes = _mm256_packs_epi16(steps(self.zero_point, multiplier, one), steps(self.zero_point, multiplier, two));
        let bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
        let bytes = _mm256_min_epi8(_mm256_max_epi8(bytes, _mm256_set1_epi8(self.low)), _mm256_set1_epi8(self.high));
        [_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes)]
    }
}

/// 16 results before they are narrowed: 0 to 3, 8 to 11, 4 to 7, 12 to 15.
#[inline]
#[target_feature(enable = "avx2")]
fn steps(zero_point: i8, multiplier: [__m256; 2], sums: [__m256i; 2]) -> __m256i {
    // What is too large must not become the lowest integer, as the conversion has it.
    let most = _mm256_set1_ps(32767.0);
    let [low, high] = [0, 1].map(|half| {
        let value = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[half]), multiplier[half]);
        _mm256_cvtps_epi32(_mm256_min_ps(value, most))
    });
    _mm256_adds_epi16(_mm256_packs_epi32(low, high), _mm256_set1_epi16(zero_point.into()))
}

impl Avx2 for Float<'_> {
    type Columns = [[__m256; 2]; 2];
    type Results = [__m256; 2];

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn columns(&self, output: usize) -> [[__m256; 2]; 2] {
        [floats(lanes(self.scale, output, 1.0)), floats(lanes(self.bias, output, 0.0))]
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn finish(&self, [scale, bias]: [[__m256; 2]; 2], row: usize, sums: [__m256i; 2]) -> Self::Results {
        let row_scale = _mm256_set1_ps(self.row_scale(row));
        [0, 1].map(|half| {
            let product = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[half]), _mm256_mul_ps(row_scale, scale[half]));
            _mm256_add_ps(product, bias[half])
        })
    }
}

impl Avx2 for Accumulate<'_> {
    type Columns = [__m256; 2];
    type Results = [__m256; 2];

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn columns(&self, output: usize) -> Self::Columns {
        floats(lanes(self.scale, output, 0.0))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn finish(&self, scale: [__m256; 2], row: usize, sums: [__m256i; 2]) -> Self::Results {
        let row_scale = _mm256_set1_ps(self.row_scale[row]);
        [0, 1].map(|half| {
            let product = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[half]), _mm256_mul_ps(row_scale, scale[half]));
            // SAFETY: by the contract of `new`.
            unsafe { _mm256_add_ps(_mm256_loadu_ps(self.total(row, 8 * half)), product) }
        })
    }
}

impl Avx2 for Raw<'_> {
    type Columns = ();
    type Results = [__m256i; 2];

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn columns(&self, _output: usize) {}

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn finish(&self, (): (), _row: usize, sums: [__m256i; 2]) -> Self::Results {
        sums
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn floats(values: [f32; 16]) -> [__m256; 2] {
    // SAFETY: 16 floats.
    unsafe { [_mm256_loadu_ps(values.as_ptr()), _mm256_loadu_ps(values[8..].as_ptr())] }
}
