//! Integer convolution, channels last, dense and in groups: the taps of an output pixel are a row for `linear`, gathered when
//! its block is packed, so that no picture of patches is ever made. A convolution in one dimension has height 1. Not the place of
//! depthwise convolution, whose groups are too small for a matrix product.

#[cfg(test)]
mod tests;

use crate::InstructionSet;
use crate::linear::{Finish, Matrix, Rows, Scratch, Weights, multiply};
use std::mem;
use std::ops::Range;

/// Sizes of a convolution; pairs are height and width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Of a picture.
    pub input: [usize; 2],
    /// Of the input, all groups together.
    pub channels: usize,
    /// Taps.
    pub kernel: [usize; 2],
    /// Input pixels from one output pixel to the next.
    pub strides: [usize; 2],
    /// Input pixels from one tap to the next.
    pub dilations: [usize; 2],
    /// Pixels of padding: top, left, bottom, right.
    pub pads: [usize; 4],
    /// Into which the channels and the outputs are divided.
    pub groups: usize,
}

impl Geometry {
    /// Height and width of the result: 0 where the padded input is smaller than the kernel.
    pub fn output(&self) -> [usize; 2] {
        [0, 1].map(|axis| {
            let reach = self.dilations[axis] * (self.kernel[axis] - 1) + 1;
            let padded = self.input[axis] + self.pads[axis] + self.pads[axis + 2];
            if padded < reach { 0 } else { (padded - reach) / self.strides[axis] + 1 }
        })
    }

    /// Output pixels of a picture.
    pub fn pixels(&self) -> usize {
        self.output()[0] * self.output()[1]
    }

    /// Whether an output pixel is made of the input pixel at the same place alone.
    fn is_pointwise(&self) -> bool {
        (self.kernel, self.strides, self.pads) == ([1, 1], [1, 1], [0; 4])
    }
}

/// The packed weights of a convolution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Convolution {
    geometry: Geometry,
    groups: Vec<Weights>,
    sums: Vec<i32>,
    outputs: usize,
}

impl Convolution {
    /// Packs `weights[output][kernel height][kernel width][channels of a group]` for `set`; `zero_points` as for
    /// [`Weights::pack`].
    ///
    /// # Panics
    /// If a kernel, stride, dilation or the number of groups is 0, if channels or outputs are not whole groups, or if there are
    /// not as many weights or zero points as that takes.
    pub fn pack(set: InstructionSet, geometry: Geometry, weights: &[i8], outputs: usize, zero_points: &[i8]) -> Convolution {
        let Geometry { kernel, strides, dilations, groups, channels, .. } = geometry;
        assert!(
            !kernel.contains(&0) && !strides.contains(&0) && !dilations.contains(&0) && groups > 0,
            "convolution: kernel, strides, dilations and groups of at least 1"
        );
        assert!(channels.is_multiple_of(groups) && outputs.is_multiple_of(groups), "convolution: channels and outputs in whole groups");
        assert!([0, 1, outputs].contains(&zero_points.len()), "convolution: {} zero points for {outputs} outputs", zero_points.len());
        let (depth, part) = (kernel[0] * kernel[1] * channels / groups, outputs / groups);
        assert_eq!(weights.len(), outputs * depth, "convolution: weights are outputs x kernel x channels of a group");
        let groups: Vec<Weights> = (0..groups)
            .map(|group| {
                let zero_points = if zero_points.len() == 1 {
                    zero_points
                } else {
                    zero_points.get(group * part..(group + 1) * part).unwrap_or_default()
                };
                Weights::pack(set, &weights[group * part * depth..(group + 1) * part * depth], part, depth, zero_points)
            })
            .collect();
        let sums = groups.iter().flat_map(Weights::sums).copied().collect();
        Convolution { geometry, groups, sums, outputs }
    }

    /// The sizes that it was packed for.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Channels of the result.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// As [`Weights::sums`], for all outputs.
    pub fn sums(&self) -> &[i32] {
        &self.sums
    }

    /// Memory that the weights take.
    pub fn bytes(&self) -> usize {
        self.groups.iter().map(Weights::bytes).sum()
    }

    /// Computes the output pixels `pixels`, counted over a batch of pictures one after the other, to
    /// `out[pixel of the range][output]`. `input[picture][row][column][channel]` is read as `zero_point` outside a picture; to
    /// subtract it from the rest is the bias's task, see [`sums`](Convolution::sums). Threads divide the pixels.
    ///
    /// # Panics
    /// If the input is not whole pictures, or has not these pixels, or `out` not as many values; and as [`multiply`].
    pub fn run<F: Finish>(
        &self,
        input: &[i8],
        zero_point: i8,
        pixels: Range<usize>,
        finish: &F,
        out: &mut [F::Output],
        scratch: &mut Scratch,
    ) {
        let Geometry { input: [height, width], kernel, channels, groups, .. } = self.geometry;
        let picture = height * width * channels;
        assert!(input.len().is_multiple_of(picture.max(1)), "convolution: the input is whole pictures");
        let most = input.len() / picture.max(1) * self.geometry.pixels();
        assert!(pixels.start <= pixels.end && pixels.end <= most, "convolution: no pixels {pixels:?} in {most}");
        assert_eq!(out.len(), pixels.len() * self.outputs, "convolution: an output has as many values as its pixels");
        if out.is_empty() {
            return;
        }
        let (depth, part) = (channels / groups, self.outputs / groups);
        if self.geometry.is_pointwise() && groups == 1 {
            let rows = Matrix::new(&input[pixels.start * channels..], pixels.len(), channels, channels);
            return multiply(&self.groups[0], 0..part, &rows, finish, out, part, scratch);
        }
        let mut padding = mem::take(&mut scratch.padding);
        padding.clear();
        padding.resize(kernel[1] * depth, zero_point);
        for (group, weights) in self.groups.iter().enumerate() {
            let outputs = group * part..(group + 1) * part;
            let rows = Patches {
                geometry: &self.geometry,
                input,
                padding: &padding,
                first: pixels.start,
                count: pixels.len(),
                channel: group * depth,
                columns: self.geometry.output()[1],
                pixels: self.geometry.pixels(),
            };
            multiply(weights, 0..part, &rows, &finish.outputs(outputs.clone()), &mut out[outputs.start..], self.outputs, scratch);
        }
        scratch.padding = padding;
    }
}

/// The taps of one group for each output pixel of a range.
struct Patches<'a> {
    geometry: &'a Geometry,
    input: &'a [i8],
    /// A row of taps outside the picture.
    padding: &'a [i8],
    first: usize,
    count: usize,
    /// First channel of the group.
    channel: usize,
    /// Width of the result, and pixels of one.
    columns: usize,
    pixels: usize,
}

impl Rows for Patches<'_> {
    fn count(&self) -> usize {
        self.count
    }

    fn depth(&self) -> usize {
        self.geometry.kernel[0] * self.padding.len()
    }

    fn granularity(&self) -> usize {
        self.padding.len() / self.geometry.kernel[1]
    }

    #[inline(always)]
    fn visit(&self, row: usize, mut piece: impl FnMut(&[i8])) {
        let Geometry { input: [height, width], channels, kernel, strides, dilations, pads, groups } = *self.geometry;
        let (columns, depth) = (self.columns, channels / groups);
        let pixel = self.first + row;
        let (picture, pixel) = (pixel / self.pixels, pixel % self.pixels);
        let picture = &self.input[picture * height * width * channels..][..height * width * channels];
        // Of the first tap; below the picture's start they wrap, and are beyond its end then.
        let top = (pixel / columns * strides[0]).wrapping_sub(pads[0]);
        let left = (pixel % columns * strides[1]).wrapping_sub(pads[1]);
        for tap in 0..kernel[0] {
            let y = top.wrapping_add(tap * dilations[0]);
            if y >= height {
                piece(self.padding);
                continue;
            }
            let line = &picture[y * width * channels..][..width * channels];
            if dilations[1] == 1 && groups == 1 {
                // Neighbouring taps are neighbouring memory: at most three pieces.
                let before = if left < width { 0 } else { left.wrapping_neg().min(kernel[1]) };
                let start = left.wrapping_add(before);
                let inside = width.saturating_sub(start).min(kernel[1] - before);
                if before > 0 {
                    piece(&self.padding[..before * depth]);
                }
                if inside > 0 {
                    piece(&line[start * depth..][..inside * depth]);
                }
                if before + inside < kernel[1] {
                    piece(&self.padding[(before + inside) * depth..]);
                }
                continue;
            }
            for tap in 0..kernel[1] {
                let x = left.wrapping_add(tap * dilations[1]);
                piece(if x < width { &line[x * channels + self.channel..][..depth] } else { &self.padding[..depth] });
            }
        }
    }
}
