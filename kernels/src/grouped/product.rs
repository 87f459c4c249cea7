//! Products of rows with several matrices side by side, on several threads.

use super::layout::Layout;
use super::{PANEL, Weights, plain, scalar};
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::cpu::{Kind, Products};
use crate::int4::QuantizedRows;
use crate::{InstructionSet, Pool};
use std::ops::Range;

/// Rows that are multiplied by a panel at a time: they stay in the caches while the panels pass.
const BLOCK_ROWS: usize = 64;
/// Panels that a thread takes at a time, at least.
const TASK_PANELS: usize = 4;

/// A matrix of several that are multiplied side by side.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// Its weights.
    pub weights: &'a Weights,
    /// Added to each output; empty for none.
    pub bias: &'a [f32],
}

/// Memory that products use, kept from call to call: rows quantized by groups of 32 and of 16.
#[derive(Debug, Default)]
pub struct Scratch {
    wide: QuantizedRows,
    narrow: QuantizedRows,
}

/// Where tasks write, each to columns of its own.
struct Target(*mut f32);

// SAFETY: tasks write to columns of their own, and nobody else has the target while they do.
unsafe impl Sync for Target {}

/// `out[row] = [x[row] * part, for each part, side by side] + biases`, or that added to what is there (`accumulate`), on at most
/// `threads` threads of `pool`. Rows are as deep as the parts, and `out` as wide as their outputs together.
///
/// With weights in groups, rows are quantized to `i8` by these groups, and an output is the same bits on every instruction set; with
/// floats within the bound of `f32`. In both cases it does not depend on the other rows, the other parts, or the threads.
///
/// # Panics
/// If the parts are not equally deep, `x` is not whole rows, or `out` or a bias is of another length.
#[expect(clippy::too_many_arguments, reason = "who computes, what with, and where to")]
pub fn multiply_side_by_side(
    set: InstructionSet,
    pool: &Pool,
    threads: usize,
    parts: &[Part<'_>],
    x: &[f32],
    accumulate: bool,
    out: &mut [f32],
    scratch: &mut Scratch,
) {
    let Some(depth) = parts.first().map(|part| part.weights.depth()) else { return };
    let width: usize = parts.iter().map(|part| part.weights.outputs()).sum();
    assert!(depth > 0 && x.len().is_multiple_of(depth), "grouped: rows of {depth} values");
    let count = x.len() / depth;
    assert_eq!(out.len(), count * width, "grouped: {width} outputs for each row");
    for part in parts {
        assert_eq!(part.weights.depth(), depth, "grouped: parts of the same depth");
        assert!(part.bias.is_empty() || part.bias.len() == part.weights.outputs(), "grouped: a bias for each output, or none");
    }
    let has = |wanted: usize| parts.iter().any(|part| matches!(part.weights.layout(), Layout::Grouped { group, .. } if group == wanted));
    if has(32) {
        scratch.wide.quantize(x, depth, 32);
    }
    if has(16) {
        scratch.narrow.quantize(x, depth, 16);
    }
    let rows = Rows { x, depth, count, wide: &scratch.wide, narrow: &scratch.narrow };
    let panels = |part: &Part<'_>| part.weights.outputs().div_ceil(PANEL);
    let all: usize = parts.iter().map(panels).sum();
    // A few tasks for each thread, so that one that is held up does not hold up all.
    let size = if threads <= 1 { all } else { all.div_ceil(4 * threads).max(TASK_PANELS) };
    let tasks: Vec<(usize, usize)> =
        parts.iter().enumerate().flat_map(|(part, of)| (0..panels(of)).step_by(size.max(1)).map(move |panel| (part, panel))).collect();
    let starts: Vec<usize> = parts.iter().scan(0, |start, part| Some(std::mem::replace(start, *start + part.weights.outputs()))).collect();
    let target = Target(out.as_mut_ptr());
    let work = |task: usize| {
        let target = &target;
        let (part, first) = tasks[task];
        let Part { weights, bias } = parts[part];
        for block in (0..count).step_by(BLOCK_ROWS) {
            let range = block..count.min(block + BLOCK_ROWS);
            let mut totals = [[0.0; PANEL]; BLOCK_ROWS];
            for panel in first..panels(&parts[part]).min(first + size) {
                let totals = &mut totals[..range.len()];
                totals.fill([0.0; PANEL]);
                rows.multiply(set, weights, panel, range.clone(), totals);
                let column = panel * PANEL;
                let wide = PANEL.min(weights.outputs() - column);
                for (row, totals) in range.clone().zip(totals) {
                    // SAFETY: the row and these columns are inside the target, and are this task's alone.
                    let out = unsafe { std::slice::from_raw_parts_mut(target.0.add(row * width + starts[part] + column), wide) };
                    if !bias.is_empty() {
                        totals.iter_mut().zip(&bias[column..]).for_each(|(total, bias)| *total += bias);
                    }
                    if accumulate {
                        out.iter_mut().zip(&*totals).for_each(|(out, total)| *out += total);
                    } else {
                        out.copy_from_slice(&totals[..wide]);
                    }
                }
            }
        }
    };
    pool.share(threads, tasks.len(), &work);
}

/// Rows as they are, and as they were quantized.
struct Rows<'a> {
    x: &'a [f32],
    depth: usize,
    count: usize,
    wide: &'a QuantizedRows,
    narrow: &'a QuantizedRows,
}

impl Rows<'_> {
    /// Adds the products of some rows with a panel to `totals`.
    fn multiply(&self, set: InstructionSet, weights: &Weights, panel: usize, range: Range<usize>, totals: &mut [[f32; PANEL]]) {
        debug_assert!(range.end <= self.count);
        let panel = weights.panel(panel);
        let (rows, element) = match weights.layout() {
            Layout::Grouped { group: 16, .. } => (self.narrow, None),
            Layout::Grouped { .. } => (self.wide, None),
            Layout::Plain(element) => (self.wide, Some(element)),
        };
        if let Some(element) = element {
            let x = &self.x[range.start * self.depth..range.end * self.depth];
            return plain::panel(set, element, panel.bytes, x, self.depth, totals);
        }
        match set.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(products) if std::arch::is_x86_feature_detected!("fma") && std::arch::is_x86_feature_detected!("f16c") => {
                // SAFETY: a `Kind::Avx2` exists only where AVX2 and how it multiplies were detected, and the others just were.
                unsafe {
                    match products {
                        Products::Pairs => super::avx2::panel(&panel, rows, range, totals),
                        Products::Dot => super::vnni::panel(&panel, rows, range, totals),
                        Products::Wide => super::wide::panel(&panel, rows, range, totals),
                    }
                }
            }
            #[cfg(target_arch = "aarch64")]
            // SAFETY: a `Kind::Neon` exists only where NEON and how it multiplies were detected; what has SMMLA has SDOT.
            Kind::Neon(products) => unsafe {
                match products {
                    Products::Widening => super::neon::widening(&panel, rows, range, totals),
                    Products::Dot | Products::Matrix => super::neon::dot(&panel, rows, range, totals),
                }
            },
            _ => scalar::panel(&panel, rows, range, totals),
        }
    }
}
