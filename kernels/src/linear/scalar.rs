//! The products in plain Rust: the reference for the other kernels, and what 32-bit ARM runs, vectorised by the compiler.

use super::finish::lanes;
use super::{Block, Finish, Kernel, Panel};
use std::array;

pub(super) struct Scalar;

impl Kernel for Scalar {
    type Value = i8;
    const ROWS: usize = 4;
    const COLUMNS: usize = 8;
    const STEP: usize = 16;
    const RUN: usize = 1;

    unsafe fn panel<F: Finish>(block: &Block<'_, i8>, panel: &Panel<'_>, finish: &F, out: *mut F::Output, stride: usize) {
        Block::<i8>::tiles(block.rows, Self::ROWS, |start, size| match size {
            // SAFETY: by the contract of the trait.
            4 => unsafe { tile::<4, F>(block, panel, start, finish, out, stride) },
            // SAFETY: as above.
            2 => unsafe { tile::<2, F>(block, panel, start, finish, out, stride) },
            // SAFETY: as above.
            _ => unsafe { tile::<1, F>(block, panel, start, finish, out, stride) },
        });
    }
}

/// `R` rows from `start` on.
///
/// # Safety
/// As [`Kernel::panel`]; the rows are in the block.
unsafe fn tile<const R: usize, F: Finish>(
    block: &Block<'_, i8>,
    panel: &Panel<'_>,
    start: usize,
    finish: &F,
    out: *mut F::Output,
    stride: usize,
) {
    const COLUMNS: usize = Scalar::COLUMNS;
    const STEP: usize = Scalar::STEP;
    let values = &block.values[start * block.steps * STEP..][..R * block.steps * STEP];
    let mut sums = [lanes::<COLUMNS, i32>(finish.bias(), panel.column, 0); R];
    for (values, weights) in values.chunks_exact(R * STEP).zip(panel.weights.chunks_exact(COLUMNS * STEP)) {
        for (step, weights) in weights.as_chunks::<COLUMNS>().0.iter().enumerate() {
            for (row, sums) in sums.iter_mut().enumerate() {
                let value = i16::from(values[row * STEP + step]);
                *sums = array::from_fn(|column| sums[column].wrapping_add(i32::from(value * i16::from(weights[column]))));
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        // SAFETY: the row has room for a whole panel.
        let out = unsafe { std::slice::from_raw_parts_mut(out.add((start + row) * stride), COLUMNS) };
        for (column, (out, sum)) in out.iter_mut().zip(sums).enumerate() {
            let zero = panel.zero_points.get(column).map_or(0, |zero_point| zero_point.wrapping_mul(block.sums[start + row]));
            *out = finish.one(block.first + start + row, panel.column + column, sum.wrapping_sub(zero));
        }
    }
}
