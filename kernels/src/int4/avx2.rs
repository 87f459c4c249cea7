//! Rows times blocks of 4-bit weights with AVX2: VPMADDUBSW, whose unsigned operands are the weights.

use super::direct::{Blocks, Direct};
use std::arch::x86_64::*;
use std::array;

/// For panels of [`crate::linear`]'s kernel of the same name.
pub(super) struct Avx2;

impl Direct for Avx2 {
    #[target_feature(enable = "avx2")]
    unsafe fn tile<const FOUR: bool, const R: usize>(blocks: &Blocks<'_>, first: usize, totals: *mut f32, stride: usize) {
        const { assert!(FOUR, "weights of eight bits would saturate") };
        // SAFETY: by the contract: what is read and written is blocks of rows and weights, one after the other, and totals.
        unsafe {
            let (mut value, mut weight) = (blocks.values::<R>(first), blocks.weights);
            let mut sum: [[__m256; 2]; R] =
                array::from_fn(|row| array::from_fn(|half| _mm256_loadu_ps(totals.add(row * stride + 8 * half))));
            for index in 0..blocks.count() {
                let mut sums = [[_mm256_setzero_si256(); 2]; R];
                let mut left = blocks.block / 4;
                while left > 0 {
                    // Eight sums of four products, each half of them in a lane of its own, fit 16 bits: 15 * 127 * 16.
                    let quads = left.min(8);
                    let mut short = [[_mm256_setzero_si256(); 2]; R];
                    for _ in 0..quads {
                        let weights = [unpack(weight), unpack(weight.add(16))];
                        weight = weight.add(32);
                        for (short, value) in short.iter_mut().zip(&mut value) {
                            let four = _mm256_set1_epi32(value.cast::<i32>().read_unaligned());
                            *value = value.add(4);
                            for (short, weights) in short.iter_mut().zip(weights) {
                                *short = _mm256_add_epi16(*short, _mm256_maddubs_epi16(weights, four));
                            }
                        }
                    }
                    for (sums, short) in sums.iter_mut().zip(short) {
                        for (sums, short) in sums.iter_mut().zip(short) {
                            *sums = _mm256_add_epi32(*sums, _mm256_madd_epi16(short, _mm256_set1_epi16(1)));
                        }
                    }
                    left -= quads;
                }
                for half in 0..2 {
                    let at = (index * 2 + half) * 8;
                    let scales = _mm256_loadu_ps(blocks.scales.as_ptr().add(at));
                    // A weight is 8 more than it stands for, see `Bytes`.
                    let mut zero_points = _mm256_set1_epi32(8);
                    if !blocks.zero_points.is_empty() {
                        let words = _mm_loadu_si128(blocks.zero_points.as_ptr().add(at).cast());
                        zero_points = _mm256_add_epi32(zero_points, _mm256_cvtepi16_epi32(words));
                    }
                    for row in 0..R {
                        let (row_sum, row_scale) = blocks.rows.sum_and_scale(index * blocks.rows.count() + first + row);
                        let offset = _mm256_mullo_epi32(zero_points, _mm256_set1_epi32(row_sum));
                        let product = _mm256_mul_ps(
                            _mm256_cvtepi32_ps(_mm256_sub_epi32(sums[row][half], offset)),
                            _mm256_mul_ps(scales, _mm256_set1_ps(row_scale)),
                        );
                        sum[row][half] = _mm256_add_ps(sum[row][half], product);
                    }
                }
            }
            for (row, sum) in sum.into_iter().enumerate() {
                for (half, sum) in sum.into_iter().enumerate() {
                    _mm256_storeu_ps(totals.add(row * stride + 8 * half), sum);
                }
            }
        }
    }
}

/// 32 weights, from 0 to 15.
///
/// # Safety
/// There are 16 bytes.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn unpack(weights: *const u8) -> __m256i {
    // SAFETY: by the contract.
    let twice = _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(weights.cast()) });
    let halves = _mm256_srlv_epi32(twice, _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4));
    _mm256_and_si256(halves, _mm256_set1_epi8(15))
}
