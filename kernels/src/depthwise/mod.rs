//! Depthwise convolution of `i8`, channels last: each channel has its own kernel of any size, stride and dilation. Sums are exact.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod line;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
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

/// How sums are finished: [`Requantize`], or [`Float`] without row scales; an output is a channel.
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
    finish.check(0, channels);

    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    let vectors = line::Vectors::new(weights, finish);
    let mut taps = Vec::with_capacity(weights.taps);
    for (row, out) in rows.zip(out.chunks_exact_mut(out_width * channels)) {
        let (picture, row) = (row / out_height, row % out_height);
        let input = &input[picture * height * stride..][..height * stride];
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        let done = vectors.inner(windows, input, padding, row, &mut taps, out);
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
            let out = &mut out[column * channels..][..channels];
            match &weights.packed {
                Packed::Plain(packed) => scalar::pixel(packed, &taps, finish, out),
                #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
                _ => vectors.pixel(&taps, out),
            }
        }
        finish.complete(weights.set, out);
    }
}

#[cfg(test)]
mod tests;
