//! Depthwise convolution in `f32`, channels last: each channel has its own kernel of any size, stride and dilation.
//!
//! A result is one chain of multiply-adds from the bias on, over the taps in order, those outside the picture left out.

use crate::loops::{self, Loop, hold};
use crate::pointwise::multiply_add;
use crate::{InstructionSet, Windows};
use std::ops::Range;

/// Channels, and pixels, that are computed at once: as many sums as the registers hold.
const LANES: usize = 16;
const PIXELS: usize = 4;

/// The weights of a depthwise convolution, for pictures of any size.
#[derive(Debug, Clone)]
pub struct Depthwise {
    set: InstructionSet,
    channels: usize,
    /// `[tap][channel]`
    weights: Vec<f32>,
    bias: Vec<f32>,
}

impl Depthwise {
    /// `weights[tap][channel]`, with a bias for each channel, or none.
    ///
    /// # Panics
    /// If there are no channels, or weights or biases that are not whole rows of them.
    pub fn pack(set: InstructionSet, channels: usize, weights: &[f32], bias: &[f32]) -> Depthwise {
        assert!(channels > 0 && weights.len().is_multiple_of(channels), "depthwise: weights are taps x channels");
        assert!([0, channels].contains(&bias.len()), "depthwise: {} biases for {channels} channels", bias.len());
        let bias = if bias.is_empty() { vec![0.0; channels] } else { bias.to_vec() };
        Depthwise { set, channels, weights: weights.to_vec(), bias }
    }

    /// Memory that the weights take.
    pub fn bytes(&self) -> usize {
        (self.weights.len() + self.bias.len()) * size_of::<f32>()
    }

    /// Rows `rows` of the output, `output width x channels` values each, counted over a batch of pictures one after the other, held within
    /// `limits`. `input` is the whole batch, of pictures of `height x width x channels`, and is read as 0 outside a picture.
    ///
    /// # Panics
    /// If a length does not fit the windows and the weights.
    pub fn run(&self, windows: &Windows, input: &[f32], rows: Range<usize>, limits: [f32; 2], out: &mut [f32]) {
        windows.check("depthwise", self.channels, input.len(), &rows, out.len());
        assert_eq!(windows.taps() * self.bias.len(), self.weights.len(), "depthwise: a weight for each tap");
        loops::run(self.set, Rows { weights: self, windows, input, rows, limits, out });
    }
}

struct Rows<'a> {
    weights: &'a Depthwise,
    windows: &'a Windows,
    input: &'a [f32],
    rows: Range<usize>,
    limits: [f32; 2],
    out: &'a mut [f32],
}

/// A tap of a line of windows: its weights, and the line of the input that it lies on.
#[derive(Clone, Copy)]
struct Tap<'a> {
    weights: &'a [f32],
    line: &'a [f32],
    column: usize,
}

impl Loop for Rows<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Rows { weights: Depthwise { channels, weights, bias, .. }, windows, input, rows, limits, out } = self;
        let channels = *channels;
        let ([height, line], [lines, columns]) = ([windows.input[0], windows.input[1] * channels], windows.output);
        let inner = windows.inner(1);
        let mut taps = Vec::with_capacity(windows.taps());
        for (row, out) in rows.zip(out.chunks_exact_mut(columns * channels)) {
            let picture = &input[row / lines * height * line..][..height * line];
            taps.clear();
            for y in 0..windows.kernel[0] {
                let Some(at) = windows.position(0, row % lines, y) else { continue };
                taps.extend((0..windows.kernel[1]).map(|x| Tap {
                    weights: &weights[(y * windows.kernel[1] + x) * channels..][..channels],
                    line: &picture[at * line..][..line],
                    column: x,
                }));
            }
            let mut column = 0;
            while column < columns {
                if inner.contains(&column) && inner.end - column >= PIXELS {
                    pixels::<FUSED, PIXELS>(windows, &taps, channels, bias, column, out);
                    column += PIXELS;
                } else {
                    pixels::<FUSED, 1>(windows, &taps, channels, bias, column, out);
                    column += 1;
                }
            }
            hold(limits, out);
        }
    }
}

/// `P` neighbouring pixels of a row of the output, which have all taps on the same columns of the picture, or are one.
#[inline(always)]
fn pixels<const FUSED: bool, const P: usize>(
    windows: &Windows,
    taps: &[Tap<'_>],
    channels: usize,
    bias: &[f32],
    column: usize,
    out: &mut [f32],
) {
    let mut first = 0;
    while first + LANES <= channels {
        block::<FUSED, P>(windows, taps, channels, first, bias, column, out);
        first += LANES;
    }
    if first == channels {
        return;
    }
    if channels > LANES {
        // The last ones, some of them once more.
        return block::<FUSED, P>(windows, taps, channels, channels - LANES, bias, column, out);
    }
    for (pixel, channel) in (0..P).flat_map(|pixel| (0..channels).map(move |channel| (pixel, channel))) {
        let mut sum = bias[channel];
        for tap in taps {
            if let Some(at) = windows.position(1, column + pixel, tap.column) {
                sum = multiply_add::<FUSED>(tap.line[at * channels + channel], tap.weights[channel], sum);
            }
        }
        out[(column + pixel) * channels + channel] = sum;
    }
}

/// Their [`LANES`] channels from `first` on.
#[inline(always)]
fn block<const FUSED: bool, const P: usize>(
    windows: &Windows,
    taps: &[Tap<'_>],
    channels: usize,
    first: usize,
    bias: &[f32],
    column: usize,
    out: &mut [f32],
) {
    let lanes = |values: &[f32], at: usize| -> [f32; LANES] { values[at..at + LANES].try_into().expect("whole lanes") };
    let mut sums = [lanes(bias, first); P];
    for tap in taps {
        let Some(at) = windows.position(1, column, tap.column) else { continue };
        let weights = lanes(tap.weights, first);
        for (p, sums) in sums.iter_mut().enumerate() {
            let values = lanes(tap.line, (at + p * windows.strides[1]) * channels + first);
            for ((sum, value), weight) in sums.iter_mut().zip(values).zip(weights) {
                *sum = multiply_add::<FUSED>(value, weight, *sum);
            }
        }
    }
    for (p, sums) in sums.iter().enumerate() {
        out[(column + p) * channels + first..][..LANES].copy_from_slice(sums);
    }
}
