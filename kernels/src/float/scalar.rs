//! The products in plain Rust: the reference for the other kernels, and what 32-bit ARM runs. Multiply-adds are not fused.

use super::{Block, Kernel, Panels};
use std::array;

pub(super) struct Scalar;

/// 4 rows x 4 outputs: the sums and what they come from fit the 32 registers of a VFP.
impl Kernel for Scalar {
    const ROWS: usize = 4;
    const COLUMNS: usize = 4;

    unsafe fn panels(block: &Block, out: *mut f32, stride: usize) {
        for panel in 0..block.panel_count {
            let mut row = 0;
            while row < block.count {
                // SAFETY: by the contract of the trait.
                row += unsafe {
                    match block.count - row {
                        4.. => tile::<4>(block, row, panel, out, stride),
                        2.. => tile::<2>(block, row, panel, out, stride),
                        _ => tile::<1>(block, row, panel, out, stride),
                    }
                };
            }
        }
    }
}

/// `R` rows from `row` on; how many they are.
///
/// # Safety
/// As [`Kernel::panels`]; the rows and the panel are in the block.
unsafe fn tile<const R: usize>(block: &Block, row: usize, panel: usize, out: *mut f32, stride: usize) -> usize {
    const COLUMNS: usize = Scalar::COLUMNS;
    let Panels { weights, stride: panel_stride } = block.panels;
    // SAFETY: the block has these weights, biases and rows, `out` room for the results.
    unsafe {
        let weights = std::slice::from_raw_parts(weights.add(panel * panel_stride).cast::<[f32; COLUMNS]>(), block.depth);
        let rows: [&[f32]; R] = array::from_fn(|r| std::slice::from_raw_parts(block.rows.add((row + r) * block.row_stride), block.depth));
        let out: [*mut [f32; COLUMNS]; R] = array::from_fn(|r| out.add((row + r) * stride + panel * COLUMNS).cast());
        let bias = block.bias.map(|bias| *bias.add(panel * COLUMNS).cast::<[f32; COLUMNS]>());
        let mut sums: [[f32; COLUMNS]; R] = array::from_fn(|r| match (bias, block.accumulate) {
            (None, false) => [0.0; COLUMNS],
            (None, true) => *out[r],
            (Some(bias), false) => bias,
            (Some(bias), true) => array::from_fn(|column| (*out[r])[column] + bias[column]),
        });
        for (index, weights) in weights.iter().enumerate() {
            for (sums, row) in sums.iter_mut().zip(&rows) {
                let value = row[index];
                *sums = array::from_fn(|column| sums[column] + value * weights[column]);
            }
        }
        out.iter().zip(sums).for_each(|(out, sums)| out.write(sums));
    }
    R
}
