//! Pools of `i8` and `f32`, channels last: the largest or the mean value of each window, channel by channel. Not the thread pool, which is
//! [`Pool`](crate::Pool).

#[cfg(target_arch = "x86_64")]
mod avx2;
mod float;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

pub use float::{average_float, average_float_on, max_float, max_float_on};

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::cpu::Kind;
use crate::quant::Target;
use crate::{InstructionSet, Windows};
use std::ops::Range;

/// Channels that are computed at once.
const LANES: usize = 16;

/// How the values of a window become their mean: `sum(value - zero_point) * (multiplier / count)` in `f32`, the sum exact, and
/// then made an `i8` as `target` says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Average {
    /// The integer that stands for 0 in the input.
    pub zero_point: i8,
    /// Scale of the input over that of the result. Finite.
    pub multiplier: f32,
    /// Whether padding counts, as zeros (ONNX `count_include_pad`).
    pub count_padding: bool,
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

/// The means in rows `rows` of the output, `output width x channels` each, counted over a batch of pictures
/// one after the other: `com.microsoft` QLinearAveragePool and, with a window as large as the input, QLinearGlobalAveragePool.
///
/// # Panics
/// If a length does not fit the windows.
pub fn average(windows: &Windows, channels: usize, input: &[i8], average: &Average, rows: Range<usize>, out: &mut [i8]) {
    average_on(InstructionSet::best(), windows, channels, input, average, rows, out);
}

/// [`average`] with a given instruction set.
pub fn average_on(
    set: InstructionSet,
    windows: &Windows,
    channels: usize,
    input: &[i8],
    average: &Average,
    rows: Range<usize>,
    out: &mut [i8],
) {
    each_window(windows, channels, input, rows, out, |taps, padded_taps, out| {
        let count = if average.count_padding { padded_taps } else { taps.len() };
        let mean = Mean {
            offset: -(taps.len() as i32) * i32::from(average.zero_point),
            multiplier: average.multiplier / count.max(1) as f32,
            target: average.target,
        };
        match set.0 {
            #[cfg(target_arch = "aarch64")]
            // SAFETY: a `Kind::Neon` exists only where NEON was detected.
            Kind::Neon(_) if channels >= LANES => unsafe { neon::mean(taps, &mean, out) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a `Kind::Avx2` exists only where AVX2 was detected.
            Kind::Avx2(_) if channels >= LANES => unsafe { avx2::mean(taps, &mean, out) },
            _ => scalar::mean(taps, &mean, out),
        }
    });
}

/// What becomes of the sum of a window's values: `(sum + offset) * multiplier`.
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
    kernel: impl Fn(&[&[T]], usize, &mut [T]),
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
