//! The products with NEON: the same code on every ARM CPU of 64 bits.

use super::{Block, Kernel};
use std::arch::{aarch64::*, asm};
use std::array;

pub(super) struct Neon;

/// 8 rows x 8 outputs: 16 of 32 registers are sums, 8 hold four steps of the rows.
impl Kernel for Neon {
    const ROWS: usize = 8;
    const COLUMNS: usize = 8;

    #[target_feature(enable = "neon")]
    unsafe fn panels(block: &Block, out: *mut f32, stride: usize) {
        let mut panel = 0;
        // SAFETY: by the contract of the trait.
        unsafe {
            while panel < block.panel_count {
                // Enough sums for both units to have one that does not wait.
                match (block.count, block.panel_count - panel) {
                    (1, 4..) => panel += tile::<1, 4>(block, 0, panel, out, stride).1,
                    (2, 2..) => panel += tile::<2, 2>(block, 0, panel, out, stride).1,
                    (3, 2..) => panel += tile::<3, 2>(block, 0, panel, out, stride).1,
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
#[target_feature(enable = "neon")]
unsafe fn rows(block: &Block, panel: usize, out: *mut f32, stride: usize) -> usize {
    let mut row = 0;
    while row < block.count {
        // SAFETY: by the contract.
        let (done, _) = unsafe {
            match block.count - row {
                1 => tile::<1, 1>(block, row, panel, out, stride),
                2 => tile::<2, 1>(block, row, panel, out, stride),
                3 => tile::<3, 1>(block, row, panel, out, stride),
                4 => tile::<4, 1>(block, row, panel, out, stride),
                // Not 8 and then 1 or 2, which would wait.
                5 | 9 | 10 => tile::<5, 1>(block, row, panel, out, stride),
                6 => tile::<6, 1>(block, row, panel, out, stride),
                7 => tile::<7, 1>(block, row, panel, out, stride),
                _ => tile::<8, 1>(block, row, panel, out, stride),
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
#[target_feature(enable = "neon")]
unsafe fn tile<const R: usize, const P: usize>(block: &Block, row: usize, panel: usize, out: *mut f32, stride: usize) -> (usize, usize) {
    const COLUMNS: usize = Neon::COLUMNS;
    // SAFETY: the block has these rows, weights and biases, `out` room for the results.
    unsafe {
        let rows: [*const f32; R] = array::from_fn(|r| by_itself(block.rows.add((row + r) * block.row_stride)));
        let mut weights: [*const f32; P] = array::from_fn(|p| block.panels.weights.add((panel + p) * block.panels.stride));
        let out = |r: usize, p: usize, half: usize| out.add((row + r) * stride + (panel + p) * COLUMNS + 4 * half);
        let bias = block.bias.map(|bias| bias.add(panel * COLUMNS));
        let mut sums = [[[vdupq_n_f32(0.0); 2]; P]; R];
        for (r, sums) in sums.iter_mut().enumerate() {
            for (p, sums) in sums.iter_mut().enumerate() {
                for (half, sum) in sums.iter_mut().enumerate() {
                    *sum = match (bias.map(|bias| vld1q_f32(bias.add(p * COLUMNS + 4 * half))), block.accumulate) {
                        (None, false) => vdupq_n_f32(0.0),
                        (None, true) => vld1q_f32(out(r, p, half)),
                        (Some(bias), false) => bias,
                        (Some(bias), true) => vaddq_f32(vld1q_f32(out(r, p, half)), bias),
                    };
                }
            }
        }
        // Rows are read at one index, so that there is one to count on.
        let mut index = 0;
        for _ in 0..block.depth / 4 {
            let values: [float32x4_t; R] = array::from_fn(|r| vld1q_f32(rows[r].add(index)));
            products::<0, R, P>(&mut sums, &values, &weights);
            products::<1, R, P>(&mut sums, &values, &weights);
            products::<2, R, P>(&mut sums, &values, &weights);
            products::<3, R, P>(&mut sums, &values, &weights);
            index += 4;
            weights = weights.map(|weights| weights.add(4 * COLUMNS));
        }
        while index < block.depth {
            let values: [float32x4_t; R] = array::from_fn(|r| vld1q_dup_f32(rows[r].add(index)));
            products::<0, R, P>(&mut sums, &values, &weights);
            index += 1;
            weights = weights.map(|weights| weights.add(COLUMNS));
        }
        for (r, sums) in sums.iter().enumerate() {
            for (p, sums) in sums.iter().enumerate() {
                vst1q_f32(out(r, p, 0), sums[0]);
                vst1q_f32(out(r, p, 1), sums[1]);
            }
        }
    }
    (R, P)
}

/// A pointer that the compiler does not compute from its neighbours: it would add their distance to each of them in every turn.
#[inline(always)]
fn by_itself(mut pointer: *const f32) -> *const f32 {
    // SAFETY: no instruction.
    unsafe { asm!("/* {pointer} */", pointer = inout(reg) pointer, options(pure, readonly, nostack, preserves_flags)) };
    pointer
}

/// Adds the products of the `STEP`th of four steps along the depth.
///
/// # Safety
/// The panels have it.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn products<const STEP: i32, const R: usize, const P: usize>(
    sums: &mut [[[float32x4_t; 2]; P]; R],
    values: &[float32x4_t; R],
    weights: &[*const f32; P],
) {
    for (p, weights) in weights.iter().enumerate() {
        // SAFETY: by the contract.
        let weights = unsafe {
            let weights = weights.add(STEP as usize * Neon::COLUMNS);
            [vld1q_f32(weights), vld1q_f32(weights.add(4))]
        };
        for (sums, &value) in sums.iter_mut().zip(values) {
            for (sum, &weights) in sums[p].iter_mut().zip(&weights) {
                *sum = vfmaq_laneq_f32::<STEP>(*sum, weights, value);
            }
        }
    }
}
