//! The pointwise kernels for AVX2.

use super::{Product, Sum, scalar};
use crate::quant::avx2::Saturate;
use std::arch::x86_64::*;

/// See [`scalar::lookup`].
#[target_feature(enable = "avx2")]
pub(super) fn lookup(table: &[u8; 256], values: &mut [u8]) {
    let (rows, _) = table.as_chunks::<16>();
    let mut halves = [_mm256_setzero_si256(); 16];
    for (row, half) in rows.iter().zip(&mut halves) {
        // SAFETY: an array of 16 bytes.
        *half = _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(row.as_ptr().cast()) });
    }
    let (blocks, left) = values.as_chunks_mut::<32>();
    for block in blocks {
        // SAFETY: an array of 32 bytes.
        let indices = unsafe { _mm256_loadu_si256(block.as_ptr().cast()) };
        // The lower half of an index selects within each row, the bits of the upper half between two rows at a time.
        let column = _mm256_and_si256(indices, _mm256_set1_epi8(15));
        let bits = [_mm256_slli_epi16::<3>(indices), _mm256_slli_epi16::<2>(indices), _mm256_slli_epi16::<1>(indices), indices];
        let mut found = halves;
        for row in &mut found {
            *row = _mm256_shuffle_epi8(*row, column);
        }
        for (round, bit) in bits.into_iter().enumerate() {
            for pair in 0..8 >> round {
                found[pair] = _mm256_blendv_epi8(found[2 * pair], found[2 * pair + 1], bit);
            }
        }
        // SAFETY: an array of 32 bytes.
        unsafe { _mm256_storeu_si256(block.as_mut_ptr().cast(), found[0]) };
    }
    scalar::lookup(table, left);
}

/// 16 values less their zero point.
#[inline]
#[target_feature(enable = "avx2")]
fn centred(values: &[i8; 16], zero_point: __m256i) -> __m256i {
    // SAFETY: an array of 16 bytes.
    _mm256_sub_epi16(_mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(values.as_ptr().cast()) }), zero_point)
}

/// See [`scalar::add`].
#[target_feature(enable = "avx2,fma")]
pub(super) fn add(a: &[i8], b: &[i8], sum: &Sum, out: &mut [i8]) {
    let (offset, start) = (_mm256_set1_epi16(sum.offset.into()), _mm256_set1_ps(sum.start));
    let [multiplier_a, multiplier_b] = sum.multipliers.map(|multiplier| _mm256_set1_ps(multiplier));
    let saturate = Saturate::new(sum.target);
    let floats = |values: __m256i| {
        // Each word in the upper half of a double word, and down again with its sign: in the order of `Saturate::bytes`.
        [_mm256_unpacklo_epi16(values, values), _mm256_unpackhi_epi16(values, values)]
            .map(|values| _mm256_cvtepi32_ps(_mm256_srai_epi32::<16>(values)))
    };
    let ((a, a_left), (b, b_left), (out, out_left)) = (a.as_chunks::<16>(), b.as_chunks::<16>(), out.as_chunks_mut::<16>());
    for ((a, b), out) in a.iter().zip(b).zip(out) {
        let (a, b) = (floats(centred(a, offset)), floats(centred(b, offset)));
        let sums = std::array::from_fn(|half| _mm256_fmadd_ps(a[half], multiplier_a, _mm256_fmadd_ps(b[half], multiplier_b, start)));
        // SAFETY: an array of 16 bytes.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), saturate.bytes(sums)) };
    }
    scalar::add(a_left, b_left, sum, out_left);
}

/// See [`scalar::multiply`].
#[target_feature(enable = "avx2")]
pub(super) fn multiply(a: &[i8], b: &[i8], product: &Product, out: &mut [i8]) {
    let [zero_a, zero_b] = product.zero_points.map(|zero_point| _mm256_set1_epi16(zero_point.into()));
    let (multiplier, saturate) = (_mm256_set1_ps(product.multiplier), Saturate::new(product.target));
    let ((a, a_left), (b, b_left), (out, out_left)) = (a.as_chunks::<16>(), b.as_chunks::<16>(), out.as_chunks_mut::<16>());
    for ((a, b), out) in a.iter().zip(b).zip(out) {
        let (a, b) = (centred(a, zero_a), centred(b, zero_b));
        let (low, high) = (_mm256_mullo_epi16(a, b), _mm256_mulhi_epi16(a, b));
        let exact = [_mm256_unpacklo_epi16(low, high), _mm256_unpackhi_epi16(low, high)];
        let products = exact.map(|exact| _mm256_mul_ps(_mm256_cvtepi32_ps(exact), multiplier));
        // SAFETY: an array of 16 bytes.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), saturate.bytes(products)) };
    }
    scalar::multiply(a_left, b_left, product, out_left);
}
