//! The products with AVX512: the 16 outputs of a panel are one register.

use super::{Block, Kernel};
use std::arch::x86_64::*;
use std::array;

pub(super) struct Wide;

/// 8 rows x 2 panels: a value of a row is loaded once for two multiply-adds, of which a core begins two a cycle, as it does loads.
impl Kernel for Wide {
    const ROWS: usize = 8;
    const COLUMNS: usize = 16;

    #[target_feature(enable = "avx512f")]
    unsafe fn panels(block: &Block, out: *mut f32, stride: usize) {
        let mut panel = 0;
        // SAFETY: by the contract of the trait.
        unsafe {
            while panel < block.panel_count {
                // Enough sums for both units to have one that does not wait.
                panel += match (block.count, block.panel_count - panel) {
                    (1, 8..) => tile::<1, 8>(block, 0, panel, out, stride).1,
                    (1, 4..) => tile::<1, 4>(block, 0, panel, out, stride).1,
                    (2, 4..) => tile::<2, 4>(block, 0, panel, out, stride).1,
                    (3, 4..) => tile::<3, 4>(block, 0, panel, out, stride).1,
                    (_, 2..) => rows::<2>(block, panel, out, stride),
                    _ => rows::<1>(block, panel, out, stride),
                };
            }
        }
    }
}

/// All rows with `P` panels: how many panels.
///
/// # Safety
/// As [`Kernel::panels`]; the panels are in the block.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn rows<const P: usize>(block: &Block, panel: usize, out: *mut f32, stride: usize) -> usize {
    let mut row = 0;
    while row < block.count {
        // SAFETY: by the contract.
        let (done, _) = unsafe {
            match block.count - row {
                1 => tile::<1, P>(block, row, panel, out, stride),
                2 => tile::<2, P>(block, row, panel, out, stride),
                3 => tile::<3, P>(block, row, panel, out, stride),
                4 => tile::<4, P>(block, row, panel, out, stride),
                5 => tile::<5, P>(block, row, panel, out, stride),
                // Not 8 and then 1 to 3, which would wait.
                6 | 9..=11 => tile::<6, P>(block, row, panel, out, stride),
                7 => tile::<7, P>(block, row, panel, out, stride),
                _ => tile::<8, P>(block, row, panel, out, stride),
            }
        };
        row += done;
    }
    P
}

/// `R` rows from `row` on with `P` panels from `panel` on: how many of each.
///
/// # Safety
/// As [`Kernel::panels`]; the rows and panels are in the block.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn tile<const R: usize, const P: usize>(block: &Block, row: usize, panel: usize, out: *mut f32, stride: usize) -> (usize, usize) {
    const COLUMNS: usize = Wide::COLUMNS;
    // SAFETY: the block has these rows, weights and biases, `out` room for the results.
    unsafe {
        let rows: [*const f32; R] = array::from_fn(|r| block.rows.add((row + r) * block.row_stride));
        let weights: [*const f32; P] = array::from_fn(|p| block.panels.weights.add((panel + p) * block.panels.stride));
        let out = |r: usize, p: usize| out.add((row + r) * stride + (panel + p) * COLUMNS);
        let bias = block.bias.map(|bias| bias.add(panel * COLUMNS));
        let mut sums = [[_mm512_setzero_ps(); P]; R];
        for (r, sums) in sums.iter_mut().enumerate() {
            for (p, sum) in sums.iter_mut().enumerate() {
                if block.accumulate {
                    *sum = _mm512_loadu_ps(out(r, p));
                }
                if let Some(bias) = bias {
                    let bias = _mm512_loadu_ps(bias.add(p * COLUMNS));
                    *sum = if block.accumulate { _mm512_add_ps(*sum, bias) } else { bias };
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
            for (p, sum) in sums.iter().enumerate() {
                _mm512_storeu_ps(out(r, p), *sum);
            }
        }
    }
    (R, P)
}

/// Adds the products of one step along the depth.
///
/// # Safety
/// The rows and panels have it.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn products<const R: usize, const P: usize>(
    sums: &mut [[__m512; P]; R],
    rows: &[*const f32; R],
    weights: &[*const f32; P],
    index: usize,
) {
    // SAFETY: by the contract.
    unsafe {
        let mut panels = [_mm512_setzero_ps(); P];
        for (panel, weights) in panels.iter_mut().zip(weights) {
            *panel = _mm512_loadu_ps(weights.add(index * Wide::COLUMNS));
        }
        for (sums, row) in sums.iter_mut().zip(rows) {
            let value = _mm512_set1_ps(*row.add(index));
            for (sum, panel) in sums.iter_mut().zip(&panels) {
                *sum = _mm512_fmadd_ps(value, *panel, *sum);
            }
        }
    }
}
