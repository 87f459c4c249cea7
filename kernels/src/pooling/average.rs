//! The mean of windows of `i8`.

use super::each_window;
use crate::loops::{self, Loop};
use crate::quant::{Target, scalar::saturate};
use crate::{InstructionSet, Windows};
use std::ops::Range;

/// How the values of a window become their mean: as onnxruntime's QLinearAveragePool does it, each step rounded to `f32`. The values on
/// their grid, `(value - zero_point) * scale`, are added up in order and divided by their number; that over the result's scale and with
/// its zero point is rounded. The means of few values often lie half way between two integers, and so go where they go there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Average {
    zero_point: i8,
    scales: [f32; 2],
    count_padding: bool,
    start: f32,
    target: Target,
}

impl Average {
    /// Of values with this zero point; `scales` are theirs and the result's. Padding counts, as zeros, if asked for (ONNX
    /// `count_include_pad`). `unsigned` if both were `u8` before they became `i8`.
    pub fn new(zero_point: i8, scales: [f32; 2], count_padding: bool, target: Target, unsigned: bool) -> Average {
        let offset = if unsigned { i8::MIN } else { 0 };
        let start = f32::from(target.zero_point) - f32::from(offset);
        Average { zero_point, scales, count_padding, start, target: Target { zero_point: offset, ..target } }
    }
}

/// The means in rows `rows` of the output, `output width x channels` each, counted over a batch of pictures
/// one after the other: `com.microsoft` QLinearAveragePool.
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
    loops::run(set, Means { windows, channels, input, average, rows, out });
}

struct Means<'a> {
    windows: &'a Windows,
    channels: usize,
    input: &'a [i8],
    average: &'a Average,
    rows: Range<usize>,
    out: &'a mut [i8],
}

impl Loop for Means<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Average { zero_point, scales: [scale, target_scale], count_padding, start, target } = *self.average;
        let mut sums = vec![0.0; self.channels];
        each_window(self.windows, self.channels, self.input, self.rows, self.out, |taps, padded_taps, out| {
            sums.fill(0.0);
            for tap in taps {
                for (sum, &value) in sums.iter_mut().zip(*tap) {
                    *sum += (i32::from(value) - i32::from(zero_point)) as f32 * scale;
                }
            }
            let count = if count_padding { padded_taps } else { taps.len() }.max(1) as f32;
            for (out, sum) in out.iter_mut().zip(&sums) {
                *out = saturate(sum / count / target_scale + start, target);
            }
        });
    }
}
