//! Pools of `f32`.

use super::each_window;
use crate::loops::{self, Loop};
use crate::{InstructionSet, Windows};
use std::ops::Range;

/// The largest values in rows `rows` of the output, `output width x channels` each, counted over a batch of pictures one after the other:
/// ONNX MaxPool. Padding never counts, nor does what is no number; a window on nothing else gives negative infinity.
///
/// # Panics
/// If a length does not fit the windows.
pub fn max_float(windows: &Windows, channels: usize, input: &[f32], rows: Range<usize>, out: &mut [f32]) {
    max_float_on(InstructionSet::best(), windows, channels, input, rows, out);
}

/// [`max_float`] with a given instruction set.
pub fn max_float_on(set: InstructionSet, windows: &Windows, channels: usize, input: &[f32], rows: Range<usize>, out: &mut [f32]) {
    loops::run(set, Max(Pool { windows, channels, input, rows, out }));
}

/// The means in rows `rows` of the output, `output width x channels` each, counted over a batch of pictures one after the other: ONNX
/// AveragePool and, with a window as large as the input, GlobalAveragePool. Padding counts, as zeros, if asked for. The sum of a window is
/// taken in order, rounded at each step.
///
/// # Panics
/// If a length does not fit the windows.
pub fn average_float(windows: &Windows, channels: usize, input: &[f32], count_padding: bool, rows: Range<usize>, out: &mut [f32]) {
    average_float_on(InstructionSet::best(), windows, channels, input, count_padding, rows, out);
}

/// [`average_float`] with a given instruction set.
pub fn average_float_on(
    set: InstructionSet,
    windows: &Windows,
    channels: usize,
    input: &[f32],
    count_padding: bool,
    rows: Range<usize>,
    out: &mut [f32],
) {
    loops::run(set, Mean { pool: Pool { windows, channels, input, rows, out }, count_padding });
}

struct Pool<'a> {
    windows: &'a Windows,
    channels: usize,
    input: &'a [f32],
    rows: Range<usize>,
    out: &'a mut [f32],
}

impl Pool<'_> {
    #[inline(always)]
    fn each(self, kernel: impl FnMut(&[&[f32]], usize, &mut [f32])) {
        each_window(self.windows, self.channels, self.input, self.rows, self.out, kernel);
    }
}

struct Max<'a>(Pool<'a>);

impl Loop for Max<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        self.0.each(|taps, _, out| {
            out.fill(f32::NEG_INFINITY);
            for tap in taps {
                for (out, &value) in out.iter_mut().zip(*tap) {
                    *out = if value > *out { value } else { *out };
                }
            }
        });
    }
}

struct Mean<'a> {
    pool: Pool<'a>,
    count_padding: bool,
}

impl Loop for Mean<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        self.pool.each(|taps, padded_taps, out| {
            out.fill(0.0);
            for tap in taps {
                for (out, value) in out.iter_mut().zip(*tap) {
                    *out += value;
                }
            }
            let count = if self.count_padding { padded_taps } else { taps.len() };
            let share = 1.0 / count.max(1) as f32;
            out.iter_mut().for_each(|out| *out *= share);
        });
    }
}
