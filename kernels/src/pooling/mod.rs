//! Pools of `i8` and `f32`, channels last: the largest or the mean value of each window, channel by channel. Not the thread pool, which is
//! [`Pool`](crate::Pool).

mod average;
#[cfg(target_arch = "x86_64")]
mod avx2;
mod float;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

pub use average::{Average, average, average_on};
pub use float::{average_float, average_float_on, max_float, max_float_on};

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::cpu::Kind;
use crate::quant::Target;
use crate::{InstructionSet, Windows};
use std::ops::Range;

/// Channels that are computed at once.
const LANES: usize = 16;

/// How the values of a whole picture become their mean: `sum(value - zero_point) * (multiplier / count)` in `f32`, the sum exact, and
/// then made an `i8` as `target` says: onnxruntime's QLinearGlobalAveragePool.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PictureAverage {
    /// The integer that stands for 0 in the input.
    pub zero_point: i8,
    /// Scale of the input over that of the result. Finite.
    pub multiplier: f32,
    /// What the mean becomes.
    pub target: Target,
}

/// The largest values in rows `rows` of the output, `output width x channels` each, counted over a batch of pictures
/// one after the other: ONNX MaxPool. Padding never
/// counts; a window on nothing else gives -128.
///
/// # Panics
/// If a length does not fit the windows.
pub fn max(windows: &Windows, channels: usize, input: &[i8], rows: Range<usize>, out: &mut [i8]) {
    max_on(InstructionSet::best(), windows, channels, input, rows, out);
}

/// [`max`] with a given instruction set.
pub fn max_on(set: InstructionSet, windows: &Windows, channels: usize, input: &[i8], rows: Range<usize>, out: &mut [i8]) {
    each_window(windows, channels, input, rows, out, |taps, _, out| match set.0 {
        #[cfg(target_arch = "aarch64")]
        // SAFETY: a `Kind::Neon` exists only where NEON was detected.
        Kind::Neon(_) if channels >= LANES => unsafe { neon::max(taps, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a `Kind::Avx2` exists only where AVX2 was detected.
        Kind::Avx2(_) if channels >= LANES => unsafe { avx2::max(taps, out) },
        _ => scalar::max(taps, out),
    });
}

/// The means of whole pictures, `pixels x channels` each, one after the other; `channels` results each: `com.microsoft`
/// QLinearGlobalAveragePool.
///
/// # Panics
/// If the input is not as many pictures, of a pixel or more, as the results are.
pub fn average_pictures(channels: usize, input: &[i8], average: &PictureAverage, out: &mut [i8]) {
    average_pictures_on(InstructionSet::best(), channels, input, average, out);
}

/// [`average_pictures`] with a given instruction set.
pub fn average_pictures_on(set: InstructionSet, channels: usize, input: &[i8], average: &PictureAverage, out: &mut [i8]) {
    if out.is_empty() {
        return;
    }
    assert!(
        out.len().is_multiple_of(channels) && !input.is_empty() && input.len().is_multiple_of(out.len()),
        "pooling: {} values are not pictures of {channels} channels for {} means",
        input.len(),
        out.len()
    );
    let pixels = input.len() / out.len();
    let mean = Mean {
        offset: -(pixels as i32) * i32::from(average.zero_point),
        multiplier: average.multiplier / pixels as f32,
        target: average.target,
    };
    for (picture, out) in input.chunks_exact(pixels * channels).zip(out.chunks_exact_mut(channels)) {
        let taps: Vec<&[i8]> = picture.chunks_exact(channels).collect();
        match set.0 {
            #[cfg(target_arch = "aarch64")]
            // SAFETY: a `Kind::Neon` exists only where NEON was detected.
            Kind::Neon(_) if channels >= LANES => unsafe { neon::mean(&taps, &mean, out) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a `Kind::Avx2` exists only where AVX2 was detected.
            Kind::Avx2(_) if channels >= LANES => unsafe { avx2::mean(&taps, &mean, out) },
            _ => scalar::mean(&taps, &mean, out),
        }
    }
}

/// What becomes of the sum of a picture's values: `(sum + offset) * multiplier`.
struct Mean {
    offset: i32,
    multiplier: f32,
    target: Target,
}

/// Calls `kernel` with the input at the taps of each window that lie on it, the number with those on padding, and its output.
#[inline(always)]
fn each_window<T>(
    windows: &Windows,
    channels: usize,
    input: &[T],
    rows: Range<usize>,
    out: &mut [T],
    mut kernel: impl FnMut(&[&[T]], usize, &mut [T]),
) {
    let ([height, width], [out_height, out_width]) = (windows.input, windows.output);
    windows.check("pooling", channels, input.len(), &rows, out.len());
    let mut taps = Vec::with_capacity(windows.taps());
    for (row, out) in rows.zip(out.chunks_exact_mut(out_width * channels)) {
        let (picture, row) = (row / out_height, row % out_height);
        let input = &input[picture * height * width * channels..];
        for (column, out) in out.chunks_exact_mut(channels).enumerate() {
            taps.clear();
            windows.window(row, column, |tap| {
                if let Some(pixel) = tap {
                    taps.push(&input[pixel * channels..][..channels]);
                }
            });
            kernel(&taps, windows.padded_taps(row, column), out);
        }
    }
}

#[cfg(test)]
mod tests;
