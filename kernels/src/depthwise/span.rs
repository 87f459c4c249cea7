//! Lines of windows that lie on the input with all their taps, for the sizes of kernel whose vector code need not look for each.

use super::Finish;
#[cfg(target_arch = "x86_64")]
use super::avx2;
#[cfg(target_arch = "aarch64")]
use super::neon;
use super::weights::{Packed, Weights};
use crate::Windows;
use std::ops::Range;

/// The windows of row `row` that lie on the input from left to right, for the sizes of kernel that have code of their own; gives
/// those done. Rows of taps above or below the input are on `padding`; `first` is the row's first pixel.
#[expect(clippy::too_many_arguments, reason = "a part of `depthwise`, and what that has found out")]
pub(super) fn spans<F: Finish>(
    weights: &Weights,
    windows: &Windows,
    input: &[i8],
    padding: &[i8],
    row: usize,
    finish: &F,
    first: usize,
    out: &mut [F::Output],
) -> Range<usize> {
    let source = |tap: usize| match windows.position(0, row, tap) {
        Some(row) => &input[row * padding.len()..][..padding.len()],
        None => padding,
    };
    match windows.kernel {
        [3, 3] => span::<F, 3>(weights, windows, std::array::from_fn(source), finish, first, out),
        [5, 5] => span::<F, 5>(weights, windows, std::array::from_fn(source), finish, first, out),
        _ => 0..0,
    }
}

/// [`spans`] for a kernel of `SIDE x SIDE`, an odd number, whose rows of taps lie on `rows`.
fn span<F: Finish, const SIDE: usize>(
    weights: &Weights,
    windows: &Windows,
    rows: [&[i8]; SIDE],
    finish: &F,
    first: usize,
    out: &mut [F::Output],
) -> Range<usize> {
    let (channels, inner) = (weights.channels, windows.inner(1));
    if inner.is_empty() {
        return 0..0;
    }
    let start = (inner.start * windows.strides[1] - windows.pads_begin[1]) * channels;
    let line = Line {
        rows: rows.map(|row| &row[start..]),
        pixel: windows.strides[1] * channels,
        tap: windows.dilations[1] * channels,
        channels,
        first: first + inner.start,
    };
    let reach = (inner.len() - 1) * line.pixel + (SIDE - 1) * line.tap + channels;
    assert!(line.rows.iter().all(|row| row.len() >= reach), "depthwise: windows that reach beyond the input");
    let out = &mut out[inner.start * channels..inner.end * channels];
    match &weights.packed {
        // The scalar code takes each window alone.
        Packed::Plain(_) => return 0..0,
        #[cfg(target_arch = "aarch64")]
        // SAFETY: such weights are packed only for a set with NEON; the windows lie on the input.
        Packed::Bytes(packed) => unsafe { neon::span(packed, &line, finish, out) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        Packed::Words(packed) => unsafe { neon::span(packed, &line, finish, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: such weights are packed only for a set with AVX2; the windows lie on the input.
        Packed::Pairs(packed) => unsafe { avx2::span(packed, &line, finish, out) },
    }
    inner
}

/// The input under a line of windows.
pub(super) struct Line<'a, const SIDE: usize> {
    /// For each row of the kernel, the input from the first window's first tap on.
    pub(super) rows: [&'a [i8]; SIDE],
    /// Bytes between neighbouring windows.
    pub(super) pixel: usize,
    /// Bytes between neighbouring taps.
    pub(super) tap: usize,
    pub(super) channels: usize,
    /// Number of the first window's pixel.
    pub(super) first: usize,
}
