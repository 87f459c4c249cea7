//! The products with AVX2: VPMADDWD on 16-bit operands, which never saturates. VPMADDUBSW would take one instruction less, and
//! be wrong for weights that are large.

use super::finish::lanes;
use super::{Block, Finish, Kernel, Panel};
use std::arch::x86_64::*;

pub(super) struct Avx2;

/// 6 rows x 16 outputs: 12 of 16 registers are sums.
impl Kernel for Avx2 {
    type Value = i16;
    const ROWS: usize = 6;
    const COLUMNS: usize = 16;
    const STEP: usize = 16;
    const RUN: usize = 2;

    #[target_feature(enable = "avx2")]
    unsafe fn panel<F: Finish>(block: &Block<'_, i16>, panel: &Panel<'_>, finish: &F, out: *mut F::Output, stride: usize) {
        let mut start = 0;
        // SAFETY: by the contract of the trait.
        unsafe {
            let outputs = Outputs::of(panel, finish);
            while block.rows - start >= 6 {
                tile::<6, F>(*block, *panel, &outputs, start, *finish, out, stride);
                start += 6;
            }
            if block.rows - start >= 4 {
                tile::<4, F>(*block, *panel, &outputs, start, *finish, out, stride);
                start += 4;
            }
            if block.rows - start >= 2 {
                tile::<2, F>(*block, *panel, &outputs, start, *finish, out, stride);
                start += 2;
            }
            if block.rows > start {
                tile::<1, F>(*block, *panel, &outputs, start, *finish, out, stride);
            }
        }
    }
}

/// What the outputs of a panel need, loaded once a panel.
struct Outputs<F: Finish> {
    bias: [__m256i; 2],
    zero_points: [__m256i; 2],
    columns: F::Columns,
}

impl<F: Finish> Outputs<F> {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn of(panel: &Panel<'_>, finish: &F) -> Outputs<F> {
        Outputs {
            bias: integers(lanes(finish.bias(), panel.column, 0)),
            zero_points: integers(lanes(panel.zero_points, 0, 0)),
            // SAFETY: AVX2 by the target feature.
            columns: unsafe { finish.columns(panel.column) },
        }
    }
}

/// `R` rows from `start` on.
///
/// # Safety
/// As [`Kernel::panel`]; the rows are in the block.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn tile<const R: usize, F: Finish>(
    block: Block<'_, i16>,
    panel: Panel<'_>,
    outputs: &Outputs<F>,
    start: usize,
    finish: F,
    out: *mut F::Output,
    stride: usize,
) {
    const STEP: usize = Avx2::STEP;
    const COLUMNS: usize = Avx2::COLUMNS;
    debug_assert!((start + R) * block.steps * STEP <= block.values.len());
    debug_assert_eq!(panel.weights.len(), block.steps * STEP * COLUMNS);
    let mut sums = [outputs.bias; R];
    if !block.sums.is_empty() {
        for (sums, &row_sum) in sums.iter_mut().zip(&block.sums[start..start + R]) {
            for (sums, &zero_points) in sums.iter_mut().zip(&outputs.zero_points) {
                *sums = _mm256_sub_epi32(*sums, _mm256_mullo_epi32(zero_points, _mm256_set1_epi32(row_sum)));
            }
        }
    }
    // SAFETY: the tile is in the block.
    let mut value = unsafe { block.values.as_ptr().add(start * block.steps * STEP) };
    let mut weight = panel.weights.as_ptr();
    for _ in 0..block.steps {
        for pair in 0..STEP / 2 {
            // SAFETY: a step has this many values and weights.
            unsafe {
                let weights: [__m256i; 2] =
                    [0, 16].map(|half| _mm256_cvtepi8_epi16(_mm_loadu_si128(weight.add(pair * 2 * COLUMNS + half).cast())));
                for (row, sums) in sums.iter_mut().enumerate() {
                    let two = _mm256_set1_epi32(value.add(row * STEP + pair * 2).cast::<i32>().read_unaligned());
                    for half in 0..2 {
                        sums[half] = _mm256_add_epi32(sums[half], _mm256_madd_epi16(two, weights[half]));
                    }
                }
            }
        }
        // SAFETY: at most one beyond the last.
        unsafe {
            value = value.add(R * STEP);
            weight = weight.add(STEP * COLUMNS);
        }
    }
    for (row, sums) in sums.into_iter().enumerate() {
        // SAFETY: AVX2 by the contract.
        let results = unsafe { finish.finish(outputs.columns, block.first + start + row, sums) };
        // SAFETY: the row has room for as many results as the vector holds.
        unsafe { out.add((start + row) * stride).cast::<F::Results>().write_unaligned(results) };
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn integers(values: [i32; 16]) -> [__m256i; 2] {
    // SAFETY: 16 integers.
    unsafe { [_mm256_loadu_si256(values.as_ptr().cast()), _mm256_loadu_si256(values[8..].as_ptr().cast())] }
}
