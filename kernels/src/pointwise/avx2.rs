//! The pointwise kernels for AVX2.

use super::scalar;
use std::arch::x86_64::*;

/// See [`scalar::lookup`].
#[target_feature(enable = "avx2")]
pub(super) fn lookup(table: &[u8; 256], values: &mut [u8]) {
    let (rows, _) = table.as_chunks::<16>();
    // SAFETY: each row is an array of 16 bytes.
    let rows: [__m256i; 16] = std::array::from_fn(|row| unsafe { _mm256_broadcastsi128_si256(_mm_loadu_si128(rows[row].as_ptr().cast())) });
    let (blocks, left) = values.as_chunks_mut::<32>();
    for block in blocks {
        // SAFETY: an array of 32 bytes.
        let indices = unsafe { _mm256_loadu_si256(block.as_ptr().cast()) };
        // The lower half of an index selects within each row, the bits of the upper half between two rows at a time.
        let column = _mm256_and_si256(indices, _mm256_set1_epi8(15));
        let bits = [_mm256_slli_epi16::<3>(indices), _mm256_slli_epi16::<2>(indices), _mm256_slli_epi16::<1>(indices), indices];
        let mut found = rows.map(|row| _mm256_shuffle_epi8(row, column));
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
