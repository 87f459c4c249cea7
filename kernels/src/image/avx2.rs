//! The image kernels for AVX2. The same integer sums as the scalar ones in another order, and the same float operations.

use super::scalar::{self, rounding};
use super::weights::{STEP, Weights};
use super::{FRACTION, LANES, Pattern};
use std::arch::x86_64::*;

/// Columns that [`blend_rows`] sums at once.
const BLOCK: usize = 16;

/// See [`scalar::blend_rows`].
#[target_feature(enable = "avx2")]
pub(super) fn blend_rows(rows: &[u8], stride: usize, weights: &[i16], bits: u32, out: &mut [i16]) {
    let taps = weights.len();
    assert!(out.len() <= stride && rows.len() >= taps * stride, "rows shorter than their weights");
    let shift = _mm_cvtsi32_si128((bits - FRACTION) as i32);
    let half = _mm256_set1_epi32(1 << (bits - FRACTION - 1));
    let whole = out.len() / BLOCK * BLOCK;
    for column in (0..whole).step_by(BLOCK) {
        let pixels = |tap: usize| {
            // SAFETY: `tap < taps` and `column + BLOCK <= out.len() <= stride`, so 16 bytes are left in row `tap`.
            _mm256_cvtepu8_epi16(unsafe { _mm_loadu_si128(rows.as_ptr().add(tap * stride + column).cast()) })
        };
        let (mut low, mut high) = (half, half);
        // Two rows at a time: their pixels side by side, a multiply-add sums each pair.
        let mut add = |first: __m256i, second: __m256i, pair: i32| {
            let pair = _mm256_set1_epi32(pair);
            low = _mm256_add_epi32(low, _mm256_madd_epi16(_mm256_unpacklo_epi16(first, second), pair));
            high = _mm256_add_epi32(high, _mm256_madd_epi16(_mm256_unpackhi_epi16(first, second), pair));
        };
        let (pairs, last) = weights.as_chunks::<2>();
        for (index, &[first, second]) in pairs.iter().enumerate() {
            add(pixels(2 * index), pixels(2 * index + 1), i32::from(first) | i32::from(second) << 16);
        }
        if let &[last] = last {
            add(pixels(taps - 1), _mm256_setzero_si256(), i32::from(last));
        }
        // Unpacking left the columns 0-3, 8-11 and 4-7, 12-15; packing puts them back in order. All fit 15 bits.
        let sums = _mm256_packs_epi32(_mm256_sra_epi32(low, shift), _mm256_sra_epi32(high, shift));
        // SAFETY: `column + BLOCK <= out.len()`.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().add(column).cast(), sums) };
    }
    if whole < out.len() {
        scalar::blend_rows(&rows[whole..], stride, weights, bits, &mut out[whole..]);
    }
}

/// See [`scalar::blend_columns`]; one channel.
#[target_feature(enable = "avx2")]
pub(super) fn blend_columns_grey(row: &[i16], weights: &Weights, out: &mut [u8]) {
    let (shift, half) = rounding(weights);
    for (position, out) in out.iter_mut().enumerate() {
        let (start, weights) = weights.padded(position);
        let pixels = row[start..][..weights.len() * STEP].as_chunks::<STEP>().0;
        let ((pixels, pixels_left), (weights, weights_left)) = (pixels.as_chunks::<2>(), weights.as_chunks::<2>());
        let mut sums = _mm_setzero_si128();
        for (pixels, weights) in pixels.iter().zip(weights) {
            // SAFETY: both are 2 x 4 `i16`.
            let (pixels, weights) = unsafe { (_mm_loadu_si128(pixels.as_ptr().cast()), _mm_loadu_si128(weights.as_ptr().cast())) };
            sums = _mm_add_epi32(sums, _mm_madd_epi16(pixels, weights));
        }
        for (pixels, weights) in pixels_left.iter().zip(weights_left) {
            // SAFETY: both are 4 `i16`.
            let (pixels, weights) = unsafe { (_mm_loadl_epi64(pixels.as_ptr().cast()), _mm_loadl_epi64(weights.as_ptr().cast())) };
            sums = _mm_add_epi32(sums, _mm_madd_epi16(pixels, weights));
        }
        sums = _mm_add_epi32(sums, _mm_shuffle_epi32::<0b01_00_11_10>(sums));
        sums = _mm_add_epi32(sums, _mm_shuffle_epi32::<0b10_11_00_01>(sums));
        *out = ((_mm_cvtsi128_si32(sums) + half) >> shift) as u8;
    }
}

/// See [`scalar::blend_columns`]; three channels.
#[target_feature(enable = "avx2")]
pub(super) fn blend_columns_rgb(row: &[i16], weights: &Weights, out: &mut [u8]) {
    let (shift, half) = rounding(weights);
    let (shift, half) = (_mm_cvtsi32_si128(shift as i32), _mm_set1_epi32(half));
    let (row, _) = row.as_chunks::<3>();
    let (out, _) = out.as_chunks_mut::<3>();
    // Of the 8 values at pixel 0: red, green, blue of pixels 0 and 1 side by side. Of those that end with pixel 3: pixels 2 and 3.
    #[rustfmt::skip]
    let pairs = _mm256_setr_epi8(
        0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11, -1, -1, -1, -1,
        4, 5, 10, 11, 6, 7, 12, 13, 8, 9, 14, 15, -1, -1, -1, -1,
    );
    let lanes = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
    for (position, out) in out.iter_mut().enumerate() {
        let (start, weights) = weights.padded(position);
        let pixels = row[start..][..weights.len() * STEP].as_chunks::<STEP>().0;
        let mut sums = _mm256_setzero_si256();
        for (pixels, weights) in pixels.iter().zip(weights) {
            let values = pixels.as_flattened().as_ptr();
            // SAFETY: `values` has 12 `i16`: 8 from the first, and 8 from the fifth.
            let values = unsafe { _mm256_loadu2_m128i(values.add(4).cast(), values.cast()) };
            // SAFETY: `weights` has 4 `i16`, 8 bytes.
            let weights = _mm256_castsi128_si256(unsafe { _mm_loadl_epi64(weights.as_ptr().cast()) });
            let weights = _mm256_permutevar8x32_epi32(weights, lanes);
            sums = _mm256_add_epi32(sums, _mm256_madd_epi16(_mm256_shuffle_epi8(values, pairs), weights));
        }
        let sums = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
        let sums = _mm_sra_epi32(_mm_add_epi32(sums, half), shift);
        let bytes = _mm_cvtsi128_si32(_mm_packus_epi16(_mm_packs_epi32(sums, sums), sums));
        let [red, green, blue, _] = bytes.to_le_bytes();
        *out = [red, green, blue];
    }
}

/// See [`scalar::normalise_interleaved`].
#[target_feature(enable = "avx2")]
pub(super) fn normalise_interleaved<const CHANNELS: usize>(pixels: &[u8], pattern: &Pattern, out: &mut [f32]) {
    let load = |values: &[f32], vector: usize| {
        let values: &[f32] = &values[vector * LANES..][..LANES];
        // SAFETY: a slice of 8 floats.
        unsafe { _mm256_loadu_ps(values.as_ptr()) }
    };
    let scales: [__m256; CHANNELS] = std::array::from_fn(|vector| load(&pattern.scale, vector));
    let offsets: [__m256; CHANNELS] = std::array::from_fn(|vector| load(&pattern.offset, vector));
    let (blocks, _) = pixels.as_chunks::<LANES>().0.as_chunks::<CHANNELS>();
    let (outs, _) = out.as_chunks_mut::<LANES>().0.as_chunks_mut::<CHANNELS>();
    for (block, out) in blocks.iter().zip(outs) {
        for vector in 0..CHANNELS {
            // SAFETY: arrays of 8 bytes and of 8 floats.
            unsafe {
                let values = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(block[vector].as_ptr().cast())));
                let values = _mm256_add_ps(_mm256_mul_ps(values, scales[vector]), offsets[vector]);
                _mm256_storeu_ps(out[vector].as_mut_ptr(), values);
            }
        }
    }
    let done = blocks.len() * CHANNELS * LANES;
    scalar::normalise_interleaved(&pixels[done..], pattern, &mut out[done..]);
}

/// See [`scalar::normalise_planar`]; three channels, all pixels.
#[target_feature(enable = "avx2")]
pub(super) fn normalise_planar_rgb(pixels: &[u8], scale: &[f32], offset: &[f32], out: &mut [f32]) {
    let plane = pixels.len() / 3;
    let (blocks, _) = pixels.as_chunks::<48>();
    {
        let (first, rest) = out.split_at_mut(plane);
        let (second, third) = rest.split_at_mut(plane);
        let planes = [first.as_chunks_mut::<16>().0, second.as_chunks_mut::<16>().0, third.as_chunks_mut::<16>().0];
        for (index, block) in blocks.iter().enumerate() {
            for (channel, values) in split_block(block).into_iter().enumerate() {
                let (scale, offset) = (_mm256_set1_ps(scale[channel]), _mm256_set1_ps(offset[channel]));
                let finish =
                    |values: __m128i| _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(values)), scale), offset);
                let out = planes[channel][index].as_mut_ptr();
                // SAFETY: `out` has 16 floats.
                unsafe {
                    _mm256_storeu_ps(out, finish(values));
                    _mm256_storeu_ps(out.add(8), finish(_mm_unpackhi_epi64(values, values)));
                }
            }
        }
    }
    scalar::normalise_planar(pixels, scale, offset, out, blocks.len() * 16..plane);
}

/// The three channels of 16 interleaved pixels.
#[inline]
#[target_feature(enable = "avx2")]
fn split_block(block: &[u8; 48]) -> [__m128i; 3] {
    // SAFETY: 48 bytes are three vectors.
    let [a, b, c] = [0, 16, 32].map(|at| unsafe { _mm_loadu_si128(block.as_ptr().add(at).cast()) });
    let pick = |from_a: __m128i, from_b: __m128i, from_c: __m128i| {
        let halves = _mm_or_si128(_mm_shuffle_epi8(a, from_a), _mm_shuffle_epi8(b, from_b));
        _mm_or_si128(halves, _mm_shuffle_epi8(c, from_c))
    };
    [
        pick(
            _mm_setr_epi8(0, 3, 6, 9, 12, 15, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1),
            _mm_setr_epi8(-1, -1, -1, -1, -1, -1, 2, 5, 8, 11, 14, -1, -1, -1, -1, -1),
            _mm_setr_epi8(-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 1, 4, 7, 10, 13),
        ),
        pick(
            _mm_setr_epi8(1, 4, 7, 10, 13, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1),
            _mm_setr_epi8(-1, -1, -1, -1, -1, 0, 3, 6, 9, 12, 15, -1, -1, -1, -1, -1),
            _mm_setr_epi8(-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 2, 5, 8, 11, 14),
        ),
        pick(
            _mm_setr_epi8(2, 5, 8, 11, 14, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1),
            _mm_setr_epi8(-1, -1, -1, -1, -1, 1, 4, 7, 10, 13, -1, -1, -1, -1, -1, -1),
            _mm_setr_epi8(-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 3, 6, 9, 12, 15),
        ),
    ]
}

/// Three interleaved channels to planes; gives the number of pixels done, all but the last few.
#[target_feature(enable = "avx2")]
pub(super) fn split_rgb(pixels: &[u8], planes: [&mut [u8]; 3]) -> usize {
    let (blocks, _) = pixels.as_chunks::<48>();
    let [red, green, blue] = planes.map(|plane| plane.as_chunks_mut::<16>().0);
    for (((block, red), green), blue) in blocks.iter().zip(red).zip(green).zip(blue) {
        for (values, out) in split_block(block).into_iter().zip([red, green, blue]) {
            // SAFETY: an array of 16 bytes.
            unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), values) };
        }
    }
    blocks.len() * 16
}
