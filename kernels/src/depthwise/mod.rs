//! Depthwise convolution of `i8`, channels last: each channel has its own kernel of any size, stride and dilation. Sums are exact.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
mod weights;

pub use weights::Weights;
pub(crate) use weights::block_starts;

use crate::linear::Requantize;
use crate::quant::Target;
use crate::{InstructionSet, Windows};
use std::ops::Range;
use weights::Packed;

/// Channels that are computed at once.
const LANES: usize = 16;

/// Rows `rows` of the output, `output width x channels` values each, counted over a batch of pictures one after the other.
///
/// `input` is the whole batch, of pictures of `height x width x channels`; `padding` is a row of one filled with the zero point.
/// That zero point is folded into the bias: see [`Weights::sums`].
///
/// # Panics
/// If a length does not fit the windows and the weights.
pub fn depthwise(
    weights: &Weights,
    windows: &Windows,
    input: &[i8],
    padding: &[i8],
    finish: &Requantize<'_>,
    rows: Range<usize>,
    out: &mut [i8],
) {
    let channels = weights.channels;
    let ([height, width], [out_height, out_width]) = (windows.input, windows.output);
    let stride = width * channels;
    windows.check("depthwise", channels, input.len(), &rows, out.len());
    assert_eq!(windows.taps(), weights.taps, "depthwise: a weight for each tap");
    assert_eq!(padding.len(), stride, "depthwise: a row of padding of {width} x {channels}");
    assert!([0, 1, channels].contains(&finish.bias.len()), "depthwise: {} biases for {channels} channels", finish.bias.len());
    assert!([1, channels].contains(&finish.multiplier.len()), "depthwise: {} multipliers for {channels} channels", finish.multiplier.len());

    let inner = windows.inner(1);
    let mut taps = Vec::with_capacity(weights.taps);
    for (row, out) in rows.zip(out.chunks_exact_mut(out_width * channels)) {
        let (picture, row) = (row / out_height, row % out_height);
        let input = &input[picture * height * stride..][..height * stride];
        let source = |tap: usize| match windows.position(0, row, tap) {
            Some(row) => &input[row * stride..][..stride],
            None => padding,
        };
        let done = spans(weights, windows, source, inner.clone(), finish, out);
        for column in (0..done.start).chain(done.end..out_width) {
            taps.clear();
            windows.window(row, column, |tap| {
                taps.push(match tap {
                    Some(pixel) => &input[pixel * channels..][..channels],
                    None => &padding[..channels],
                })
            });
            pixel(weights, &taps, finish, &mut out[column * channels..][..channels]);
        }
    }
}

/// The output at one position, from the input at each tap.
fn pixel(weights: &Weights, taps: &[&[i8]], finish: &Requantize<'_>, out: &mut [i8]) {
    match &weights.packed {
        #[cfg(target_arch = "aarch64")]
        // SAFETY: such weights are packed only for a set with NEON.
        Packed::Bytes(packed) => unsafe { neon::pixel(packed, taps, finish, out) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: the set is not scalar, so this CPU has NEON.
        Packed::Words(packed) if weights.set != InstructionSet::SCALAR => unsafe { neon::pixel(packed, taps, finish, out) },
        Packed::Words(packed) => scalar::pixel(packed, taps, finish, out),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: such weights are packed only for a set with AVX2.
        Packed::Pairs(packed) => unsafe { avx2::pixel(packed, taps, finish, out) },
    }
}

/// The windows of one row that lie on the input, for the sizes of kernel that have code of their own; gives those done.
fn spans<'a>(
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
#[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code, reason = "vector code reads it"))]
struct Line<'a, const SIDE: usize> {
    /// For each row of the kernel, the input from the first window's first tap on.
    rows: [&'a [i8]; SIDE],
    /// Bytes between neighbouring windows.
    pixel: usize,
    /// Bytes between neighbouring taps.
    tap: usize,
    channels: usize,
}

fn target(finish: &Requantize<'_>) -> Target {
    Target { zero_point: finish.zero_point, low: finish.low, high: finish.high }
}

#[cfg(test)]
mod tests;
