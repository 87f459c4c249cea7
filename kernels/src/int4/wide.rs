//! Rows times blocks of 4-bit weights with AVX512-VNNI: the 16 outputs of a panel are one register, whose weights are the unsigned
//! operands of VPDPBUSD.

#![expect(clippy::needless_range_loop, reason = "numbers of registers, in several arrays at once")]

use super::direct::{Blocks, Direct};
use std::arch::x86_64::*;
use std::array;

/// For panels of [`crate::linear`]'s kernel of the same name.
pub(super) struct Wide;

impl Direct for Wide {
    const ROWS: usize = 8;

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn tile<const FOUR: bool, const R: usize>(blocks: &Blocks<'_>, first: usize, totals: *mut f32, stride: usize) {
        const { assert!(FOUR, "weights of eight bits are those of `linear`") };
        // SAFETY: by the contract: what is read and written is blocks of rows and weights, one after the other, and totals.
        unsafe {
            let (mut value, mut weight) = (blocks.values::<R>(first), blocks.weights);
            let mut total: [__m512; R] = array::from_fn(|row| _mm512_loadu_ps(totals.add(row * stride)));
            for index in 0..blocks.count() {
                // A weight is 8 more than it stands for, see `Bytes`. What that makes is subtracted by VPDPWSSD: the lower halves of its
                // operands are the numbers, which fit 16 bits (127 * 256 at most), the upper ones of the first are 0.
                let mut zero_points = _mm512_set1_epi32(-8);
                if !blocks.zero_points.is_empty() {
                    let words = _mm256_loadu_si256(blocks.zero_points.as_ptr().add(16 * index).cast());
                    zero_points = _mm512_sub_epi32(zero_points, _mm512_cvtepi16_epi32(words));
                }
                let zero_points = _mm512_and_si512(zero_points, _mm512_set1_epi32(0xffff));
                // Two for each row, which take turns.
                let mut sums = [[_mm512_setzero_si512(); 2]; R];
                let mut scales = [_mm512_setzero_ps(); R];
                let scale = _mm512_loadu_ps(blocks.scales.as_ptr().add(16 * index));
                for row in 0..R {
                    let (row_sum, row_scale) = blocks.rows.sum_and_scale(index * blocks.rows.count() + first + row);
                    sums[row][0] = _mm512_dpwssd_epi32(sums[row][0], zero_points, _mm512_set1_epi32(row_sum));
                    scales[row] = _mm512_mul_ps(scale, _mm512_set1_ps(row_scale));
                }
                for _ in 0..blocks.block / 8 {
                    for quad in 0..2 {
                        let weights = unpack(weight);
                        weight = weight.add(32);
                        for row in 0..R {
                            let four = _mm512_set1_epi32(value[row].add(4 * quad).cast::<i32>().read_unaligned());
                            sums[row][quad] = _mm512_dpbusd_epi32(sums[row][quad], weights, four);
                        }
                    }
                    for value in &mut value {
                        *value = value.add(8);
                    }
                }
                for row in 0..R {
                    let sum = _mm512_cvtepi32_ps(_mm512_add_epi32(sums[row][0], sums[row][1]));
                    total[row] = _mm512_add_ps(total[row], _mm512_mul_ps(sum, scales[row]));
                }
            }
            for (row, total) in total.iter().enumerate() {
                _mm512_storeu_ps(totals.add(row * stride), *total);
            }
        }
    }
}

/// 64 weights, from 0 to 15: of 16 outputs four.
///
/// # Safety
/// There are 32 bytes.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn unpack(weights: *const u8) -> __m512i {
    // SAFETY: by the contract.
    let halves = _mm512_castsi256_si512(unsafe { _mm256_loadu_si256(weights.cast()) });
    let twice = _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 1, 0, 1, 2, 3, 2, 3), halves);
    let codes = _mm512_srlv_epi32(twice, _mm512_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4, 0, 0, 0, 0, 4, 4, 4, 4));
    _mm512_and_si512(codes, _mm512_set1_epi8(15))
}
