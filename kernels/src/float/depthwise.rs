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

/// A tap of a line of windows: where its weights and the line of the picture that it lies on begin.
#[derive(Clone, Copy)]
struct Tap {
    weights: usize,
    line: usize,
    column: usize,
}

/// A tap of a window: where its weights, and what it lies on in the picture, begin.
#[derive(Clone, Copy)]
struct Place {
    weights: usize,
    values: usize,
}

impl Loop for Rows<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Rows { weights: Depthwise { channels, weights, bias, .. }, windows, input, rows, limits, out } = self;
        let channels = *channels;
        let ([height, line], [lines, columns]) = ([windows.input[0], windows.input[1] * channels], windows.output);
        let inner = windows.inner(1);
        let (mut taps, mut places) = (Vec::with_capacity(windows.taps()), Vec::with_capacity(windows.taps()));
        for (row, out) in rows.zip(out.chunks_exact_mut(columns * channels)) {
            let picture = &input[row / lines * height * line..][..height * line];
            taps.clear();
            for y in 0..windows.kernel[0] {
                let Some(at) = windows.position(0, row % lines, y) else { continue };
                let tap = |x: usize| Tap { weights: (y * windows.kernel[1] + x) * channels, line: at * line, column: x };
                taps.extend((0..windows.kernel[1]).map(tap));
            }
            let mut column = 0;
            while column < columns {
                places.clear();
                for tap in &taps {
                    if let Some(at) = windows.position(1, column, tap.column) {
                        places.push(Place { weights: tap.weights, values: tap.line + at * channels });
                    }
                }
                let window = Window { picture, places: &places, weights, bias, limits };
                let count = if inner.contains(&column) && inner.end - column >= PIXELS { PIXELS } else { 1 };
                let out = &mut out[column * channels..][..count * channels];
                // SAFETY: the taps lie on the picture, those of the other pixels of an inner column too, and there are weights for them.
                unsafe {
                    match count {
                        PIXELS => window.pixels::<FUSED, PIXELS>(windows.strides[1] * channels, out),
                        _ => window.pixels::<FUSED, 1>(0, out),
                    }
                }
                column += count;
            }
        }
    }
}

/// What a window lies on, and what it is multiplied by.
struct Window<'a> {
    picture: &'a [f32],
    places: &'a [Place],
    weights: &'a [f32],
    bias: &'a [f32],
    limits: [f32; 2],
}

impl Window<'_> {
    /// `P` pixels of a row of the output, whose windows lie `step` values apart, to `out[pixel][channel]`.
    ///
    /// # Safety
    /// All channels of all places are in the picture, those of the other windows too, and in the weights.
    #[inline(always)]
    unsafe fn pixels<const FUSED: bool, const P: usize>(&self, step: usize, out: &mut [f32]) {
        let channels = self.bias.len();
        let mut first = 0;
        while first + LANES <= channels {
            // SAFETY: by the contract.
            unsafe { self.block::<FUSED, P>(step, first, out) };
            first += LANES;
        }
        if first == channels {
            return;
        }
        if channels > LANES {
            // The last ones, some of them once more.
            // SAFETY: by the contract.
            return unsafe { self.block::<FUSED, P>(step, channels - LANES, out) };
        }
        for (pixel, channel) in (0..P).flat_map(|pixel| (0..channels).map(move |channel| (pixel, channel))) {
            let mut sum = self.bias[channel];
            for place in self.places {
                let value = self.picture[place.values + pixel * step + channel];
                sum = multiply_add::<FUSED>(value, self.weights[place.weights + channel], sum);
            }
            let out = &mut out[pixel * channels + channel];
            *out = sum;
            hold(self.limits, std::slice::from_mut(out));
        }
    }

    /// Their [`LANES`] channels from `first` on.
    ///
    /// # Safety
    /// As [`Window::pixels`], and there are these channels.
    #[inline(always)]
    unsafe fn block<const FUSED: bool, const P: usize>(&self, step: usize, first: usize, out: &mut [f32]) {
        let channels = self.bias.len();
        let bias: [f32; LANES] = self.bias[first..first + LANES].try_into().expect("whole lanes");
        let mut sums = [bias; P];
        let lanes = |values: &[f32], at: usize| -> [f32; LANES] {
            let lanes = values.as_ptr().wrapping_add(at).cast::<[f32; LANES]>();
            // SAFETY: the caller says that they are there.
            unsafe { lanes.read_unaligned() }
        };
        for place in self.places {
            let weights = lanes(self.weights, place.weights + first);
            for (p, sums) in sums.iter_mut().enumerate() {
                let values = lanes(self.picture, place.values + p * step + first);
                for ((sum, value), weight) in sums.iter_mut().zip(values).zip(weights) {
                    *sum = multiply_add::<FUSED>(value, weight, *sum);
                }
            }
        }
        for (p, sums) in sums.iter_mut().enumerate() {
            hold(self.limits, sums);
            out[p * channels + first..][..LANES].copy_from_slice(sums);
        }
    }
}
