//! Depthwise convolution of `i8`, channels last: each channel has its own kernel of any size, stride and dilation. Sums are exact.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod span;
mod weights;

pub use weights::Weights;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) use weights::block_starts;

use crate::Windows;
use crate::linear::{self, Float, Requantize};
#[cfg(target_arch = "x86_64")]
use avx2::Lanes as VectorLanes;
#[cfg(target_arch = "aarch64")]
use neon::Lanes as VectorLanes;
use std::ops::Range;
use weights::Packed;

/// Elsewhere there is no vector code.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
trait VectorLanes {}
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
impl<T> VectorLanes for T {}

/// Channels that are computed at once.
const LANES: usize = 16;

/// How sums are finished: [`Requantize`] or [`Float`], for which a row is a pixel of the range, an output a channel.
#[allow(private_bounds, reason = "the code of the two is this module's own")]
pub trait Finish: linear::Finish + scalar::Lanes + VectorLanes {}

impl Finish for Requantize<'_> {}
impl Finish for Float<'_> {}

/// Rows `rows` of the output, `output width x channels` values each, counted over a batch of pictures one after the other.
///
/// `input` is the whole batch, of pictures of `height x width x channels`; `padding` is a row of one filled with the zero point.
/// That zero point is folded into the bias: see [`Weights::sums`].
///
/// # Panics
/// If a length does not fit the windows and the weights.
pub fn depthwise<F: Finish>(
    weights: &Weights,
    windows: &Windows,
    input: &[i8],
    padding: &[i8],
    finish: &F,
    rows: Range<usize>,
    out: &mut [F::Output],
) {
    let channels = weights.channels;
    let ([height, width], [out_height, out_width]) = (windows.input, windows.output);
    let stride = width * channels;
    windows.check("depthwise", channels, input.len(), &rows, out.len());
    assert_eq!(windows.taps(), weights.taps, "depthwise: a weight for each tap");
    assert_eq!(padding.len(), stride, "depthwise: a row of padding of {width} x {channels}");
    finish.check(rows.len() * out_width, channels);

    let mut taps = Vec::with_capacity(weights.taps);
    for (index, (row, out)) in rows.zip(out.chunks_exact_mut(out_width * channels)).enumerate() {
        let first = index * out_width;
        let (picture, row) = (row / out_height, row % out_height);
        let input = &input[picture * height * stride..][..height * stride];
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        let done = span::spans(weights, windows, input, padding, row, finish, first, out);
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let done = 0..0;
        for column in (0..done.start).chain(done.end..out_width) {
            taps.clear();
            windows.window(row, column, |tap| {
                taps.push(match tap {
                    Some(pixel) => &input[pixel * channels..][..channels],
                    None => &padding[..channels],
                })
            });
            pixel(weights, &taps, finish, first + column, &mut out[column * channels..][..channels]);
        }
        finish.complete(weights.set, out);
    }
}

/// The output at one position, number `number` of the range, from the input at each tap.
fn pixel<F: Finish>(weights: &Weights, taps: &[&[i8]], finish: &F, number: usize, out: &mut [F::Output]) {
    match &weights.packed {
        Packed::Plain(packed) => scalar::pixel(packed, taps, finish, number, out),
        #[cfg(target_arch = "aarch64")]
        // SAFETY: such weights are packed only for a set with NEON.
        Packed::Bytes(packed) => unsafe { neon::pixel(packed, taps, finish, number, out) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        Packed::Words(packed) => unsafe { neon::pixel(packed, taps, finish, number, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: such weights are packed only for a set with AVX2.
        Packed::Pairs(packed) => unsafe { avx2::pixel(packed, taps, finish, number, out) },
    }
}

#[cfg(test)]
mod tests;
