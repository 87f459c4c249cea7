//! The products with AVX2 and FMA.

use super::{Block, Kernel};
use std::arch::x86_64::*;
use std::array;

pub(super) struct Fma;

/// 6 rows x 16 outputs: 12 of 16 registers are sums.
impl Kernel for Fma {
    const ROWS: usize = 6;
    const COLUMNS: usize = 16;

    #[target_feature(enable = "avx2,fma")]
    unsafe fn panels(block: &Block, out: *mut f32, stride: usize) {
        let mut panel = 0;
        // SAFETY: by the contract of the trait.
        unsafe {
            while panel < block.panel_count {
                // Enough sums for both units to have one that does not wait.
                match (block.count, block.panel_count - panel) {
                    (1, 4..) => panel += tile::<1, 4>(block, 0, panel, out, stride).1,
                    (2 | 3, 2..) => {
                        panel += if block.count == 2 {
                            tile::<2, 2>(block, 0, panel, out, stride).1
                        } else {
                            tile::<3, 2>(block, 0, panel, out, stride).1
                        }
                    }
                    _ => panel += rows(block, panel, out, stride),
                }
            }
        }
    }
}

/// All rows with one panel.
///
/// # Safety
/// As [`Kernel::panels`]; the panel is in the block.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn rows(block: &Block, panel: usize, out: *mut f32, stride: usize) -> usize {
    let mut row = 0;
    while row < block.count {
        // SAFETY: by the contract.
        let (done, _) = unsafe {
            match block.count - row {
                1 => tile::<1, 1>(block, row, panel, out, stride),
                2 => tile::<2, 1>(block, row, panel, out, stride),
                3 => tile::<3, 1>(block, row, panel, out, stride),
                // Not 6 and then 1 or 2, which would wait.
                4 | 7 | 8 => tile::<4, 1>(block, row, panel, out, stride),
                5 => tile::<5, 1>(block, row, panel, out, stride),
                _ => tile::<6, 1>(block, row, panel, out, stride),
            }
        };
        row += done;
    }
    1
}

/// `R` rows from `row` on with `P` panels from `panel` on: how many of each.
///
/// # Safety
/// As [`Kernel::panels`]; the rows and panels are in the block.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn tile<const R: usize, const P: usize>(block: &Block, row: usize, panel: usize, out: *mut f32, stride: usize) -> (usize, usize) {
    const COLUMNS: usize = Fma::COLUMNS;
    // SAFETY: the block has these rows, weights and biases, `out` room for the results.
    unsafe {
        let rows: [*const f32; R] = array::from_fn(|r| block.rows.add((row + r) * block.row_stride));
        let weights: [*const f32; P] = array::from_fn(|p| block.panels.weights.add((panel + p) * block.panels.stride));
        let out = |r: usize, p: usize, half: usize| out.add((row + r) * stride + (panel + p) * COLUMNS + 8 * half);
        let bias = block.bias.map(|bias| bias.add(panel * COLUMNS));
        let mut sums = [[[_mm256_setzero_ps(); 2]; P]; R];
        for (r, sums) in sums.iter_mut().enumerate() {
            for (p, sums) in sums.iter_mut().enumerate() {
                for (half, sum) in sums.iter_mut().enumerate() {
                    *sum = match (bias.map(|bias| _mm256_loadu_ps(bias.add(p * COLUMNS + 8 * half))), block.accumulate) {
                        (None, false) => _mm256_setzero_ps(),
                        (None, true) => _mm256_loadu_ps(out(r, p, half)),
                        (Some(bias), false) => bias,
                        (Some(bias), true) => _mm256_add_ps(_mm256_loadu_ps(out(r, p, half)), bias),
                    };
                }
            }
        }
        let mut index = 0;
        while index + 4 <= block.depth {
            for step in index..index + 4 {
                products(&mut sums, &rows, &weights, step);
            }
            index += 4;
        }
        while index < block.depth {
            products(&mut sums, &rows, &weights, index);
            index += 1;
        }
        for (r, sums) in sums.iter().enumerate() {
            for (p, sums) in sums.iter().enumerate() {
                _mm256_storeu_ps(out(r, p, 0), sums[0]);
                _mm256_storeu_ps(out(r, p, 1), sums[1]);
            }
        }
    }
    (R, P)
}

/// Adds the products of one step along the depth.
///
/// # Safety
/// The rows and panels have it.
#[inline(always)]
unsafe fn products<const R: usize, const P: usize>(
    sums: &mut [[[__m256; 2]; P]; R],
    rows: &[*const f32; R],
    weights: &[*const f32; P],
    index: usize,
) {
    // SAFETY: by the contract; the instructions are there by the caller's target feature.
    unsafe {
        for (p, weights) in weights.iter().enumerate() {
            let weights = weights.add(index * Fma::COLUMNS);
            let weights = [_mm256_loadu_ps(weights), _mm256_loadu_ps(weights.add(8))];
            for (sums, row) in sums.iter_mut().zip(rows) {
                let value = _mm256_broadcast_ss(&*row.add(index));
                sums[p] = [_mm256_fmadd_ps(value, weights[0], sums[p][0]), _mm256_fmadd_ps(value, weights[1], sums[p][1])];
            }
        }
    }
}
