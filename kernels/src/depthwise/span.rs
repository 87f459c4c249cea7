//! Lines of windows that lie on the input with all their taps, for the sizes of kernel whose vector code need not look for each.

#[cfg(target_arch = "x86_64")]
use super::avx2;
#[cfg(target_arch = "aarch64")]
use super::neon;
use super::weights::{Packed, Weights};
use crate::linear::Requantize;
use crate::{InstructionSet, Windows};
use std::ops::Range;

/// The windows of one row that lie on the input, for the sizes of kernel that have code of their own; gives those done.
pub(super) fn spans<'a>(
    weights: &Weights,
    windows: &Windows,
    source: impl Fn(usize) -> &'a [i8],
    inner: Range<usize>,
    finish: &Requantize<'_>,
    out: &mut [i8],
) -> Range<usize> {
    match windows.kernel {
        _ if inner.is_empty() || weights.set == InstructionSet::SCALAR => 0..0,
        [3, 3] => span::<3>(weights, windows, source, inner, finish, out),
        [5, 5] => span::<5>(weights, windows, source, inner, finish, out),
        _ => 0..0,
    }
}

/// [`spans`] for a kernel of `SIDE x SIDE`, an odd number.
fn span<'a, const SIDE: usize>(
    weights: &Weights,
    windows: &Windows,
    source: impl Fn(usize) -> &'a [i8],
    inner: Range<usize>,
    finish: &Requantize<'_>,
    out: &mut [i8],
) -> Range<usize> {
    let channels = weights.channels;
    let first = (inner.start * windows.strides[1] - windows.pads_begin[1]) * channels;
    let line = Line {
        rows: std::array::from_fn(|tap| &source(tap)[first..]),
        pixel: windows.strides[1] * channels,
        tap: windows.dilations[1] * channels,
        channels,
    };
    let out = &mut out[inner.start * channels..inner.end * channels];
    let reach = (inner.len() - 1) * line.pixel + (SIDE - 1) * line.tap + channels;
    assert!(line.rows.iter().all(|row: &&[i8]| row.len() >= reach), "depthwise: windows that reach beyond the input");
    match &weights.packed {
        #[cfg(target_arch = "aarch64")]
        // SAFETY: a set other than the scalar one has NEON here; the windows lie on the input.
        Packed::Bytes(packed) => unsafe { neon::span::<_, SIDE>(packed, &line, finish, out) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        Packed::Words(packed) => unsafe { neon::span::<_, SIDE>(packed, &line, finish, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: such weights are packed only for a set with AVX2; the windows lie on the input.
        Packed::Pairs(packed) => unsafe { avx2::span::<SIDE>(packed, &line, finish, out) },
        #[cfg(not(target_arch = "aarch64"))]
        Packed::Words(_) => unreachable!("words are the scalar code's"),
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
}
