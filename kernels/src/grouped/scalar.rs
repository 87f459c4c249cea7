//! Products with codes in plain loops: the reference.

use super::PANEL;
use super::layout::{Codes, Layout};
use super::panel::Panel;
use crate::int4::QuantizedRows;
use std::ops::Range;

/// What a code stands for: of depth `at` of a group, of an output.
fn number(codes: Codes, bytes: &[u8], at: usize, output: usize) -> i8 {
    let byte = |quad: usize| bytes[(quad * PANEL + output) * 4 + at % 4];
    match codes.table() {
        None => byte(at / 4) as i8,
        Some(table) => table[usize::from(byte(at / 4 % 4) >> (at / 16 * 4) & 15)],
    }
}

/// Writes one row of a panel as floats.
pub(super) fn row(panel: &Panel<'_>, output: usize, out: &mut [f32]) {
    let Layout::Grouped { codes, group, scales, .. } = panel.layout else { unreachable!("floats are plain") };
    for (values, out) in panel.groups().zip(out.chunks_mut(group)) {
        let (scale, minimum) = values.scale_and_minimum(scales, output);
        for (at, out) in out.iter_mut().enumerate() {
            let product = f32::from(number(codes, values.codes, at, output)) * scale;
            *out = if values.minima.is_empty() { product } else { product - minimum };
        }
    }
}

/// Adds the products of rows with a panel to `totals`, 16 a row.
pub(super) fn panel(panel: &Panel<'_>, rows: &QuantizedRows, range: Range<usize>, totals: &mut [[f32; PANEL]]) {
    let Layout::Grouped { codes, group, scales, .. } = panel.layout else { unreachable!("floats are plain") };
    let width = rows.blocks() * group;
    for (index, values) in panel.groups().take(rows.blocks()).enumerate() {
        for (row, totals) in range.clone().zip(&mut *totals) {
            let x = &rows.values()[row * width + index * group..][..group];
            let (row_scale, row_sum) = (rows.scales(index)[row], rows.sums(index)[row]);
            for (output, total) in totals.iter_mut().enumerate() {
                let sum: i32 = x.iter().enumerate().map(|(at, x)| i32::from(*x) * i32::from(number(codes, values.codes, at, output))).sum();
                let (scale, minimum) = values.scale_and_minimum(scales, output);
                *total = (sum as f32).mul_add(scale * row_scale, *total);
                if !values.minima.is_empty() {
                    *total = (row_sum as f32).mul_add(-(minimum * row_scale), *total);
                }
            }
        }
    }
}
