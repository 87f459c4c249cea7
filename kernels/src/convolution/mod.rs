//! Integer convolution, channels last, dense and in groups: the taps of an output pixel are a row for `linear`, gathered when
//! its block is packed, so that no picture of patches is ever made. A convolution in one dimension has height 1. Not the place of
//! depthwise convolution, whose groups are too small for a matrix product.

#[cfg(test)]
mod tests;

use crate::linear::{Finish, Matrix, Rows, Scratch, Sink, Weights, multiply};
use crate::{InstructionSet, Windows};
use std::mem;
use std::ops::Range;

/// What the weights of a convolution say about it; how the kernel moves over a picture is said by [`Windows`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Channels of the input, all groups together.
    pub channels: usize,
    /// Channels of the result, all groups together.
    pub outputs: usize,
    /// Taps: height and width.
    pub kernel: [usize; 2],
    /// Into which the channels and the outputs are divided.
    pub groups: usize,
}

impl Shape {
    /// Products in a sum: the taps of a group.
    pub(crate) fn depth(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.channels / self.groups
    }

    /// # Panics
    /// If a size is 0, or if channels or outputs are not whole groups.
    pub(crate) fn check(&self) {
        let Shape { channels, outputs, kernel, groups } = *self;
        assert!(channels.min(outputs).min(kernel[0]).min(kernel[1]).min(groups) > 0, "convolution: no size of 0 in {self:?}");
        assert!(channels.is_multiple_of(groups) && outputs.is_multiple_of(groups), "convolution: channels and outputs in whole groups");
    }

    /// Checks what a convolution is given: the length of a batch of pictures, some pixels of the output, counted over all of them, and
    /// the length of what they are written to.
    ///
    /// # Panics
    /// If the windows have another kernel, if the input is not whole pictures, or has not these pixels, or `out` not as many values.
    pub(crate) fn check_run(&self, windows: &Windows, input: usize, pixels: &Range<usize>, out: usize) {
        assert_eq!(windows.kernel, self.kernel, "convolution: windows as large as the kernel");
        let picture = windows.input[0] * windows.input[1] * self.channels;
        assert!(input.is_multiple_of(picture), "convolution: the input is whole pictures");
        let most = input / picture * windows.count();
        assert!(pixels.start <= pixels.end && pixels.end <= most, "convolution: no pixels {pixels:?} in {most}");
        assert_eq!(out, pixels.len() * self.outputs, "convolution: an output has as many values as its pixels");
    }
}

/// The weights of a convolution, packed once for pictures of any size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Convolution {
    shape: Shape,
    groups: Vec<Weights>,
    sums: Vec<i32>,
}

impl Convolution {
    /// Packs `weights[output][kernel height][kernel width][channels of a group]` for `set`; `zero_points` as for
    /// [`Weights::pack`].
    ///
    /// # Panics
    /// If a size is 0, if channels or outputs are not whole groups, or if there are not as many weights or zero points as that
    /// takes.
    pub fn pack(set: InstructionSet, shape: Shape, weights: &[i8], zero_points: &[i8]) -> Convolution {
        shape.check();
        let Shape { outputs, groups, .. } = shape;
        assert!([0, 1, outputs].contains(&zero_points.len()), "convolution: {} zero points for {outputs} outputs", zero_points.len());
        let (depth, part) = (shape.depth(), outputs / groups);
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
        Convolution { shape, groups, sums }
    }

    /// What it was packed as.
    pub fn shape(&self) -> &Shape {
        &self.shape
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
    /// If the windows have another kernel, if the input is not whole pictures, or has not these pixels, or `out` not as many values;
    /// and as [`multiply`].
    #[expect(clippy::too_many_arguments, reason = "the operands of one operation, each used once")]
    pub fn run<F: Finish>(
        &self,
        windows: &Windows,
        input: &[i8],
        zero_point: i8,
        pixels: Range<usize>,
        finish: &F,
        out: &mut [F::Output],
        scratch: &mut Scratch,
    ) {
        let Shape { channels, outputs, kernel, groups } = self.shape;
        self.shape.check_run(windows, input.len(), &pixels, out.len());
        if out.is_empty() {
            return;
        }
        let (depth, part) = (channels / groups, outputs / groups);
        if windows.are_pixels() && groups == 1 {
            let rows = Matrix::new(&input[pixels.start * channels..], pixels.len(), channels, channels);
            return multiply(&self.groups[0], 0..part, &rows, finish, out, part, scratch);
        }
        // Neighbouring taps are neighbouring memory.
        let joined = kernel[1] == 1 || windows.dilations[1] == 1 && groups == 1;
        let inner = [0, 1].map(|axis| if joined { windows.inner(axis) } else { 0..0 });
        let mut padding = mem::take(&mut scratch.padding);
        padding.clear();
        padding.resize(kernel[1] * depth, zero_point);
        for (group, weights) in self.groups.iter().enumerate() {
            let outputs = group * part..(group + 1) * part;
            let rows = Patches {
                windows,
                input,
                padding: &padding,
                first: pixels.start,
                count: pixels.len(),
                channels,
                channel: group * depth,
                depth,
                joined,
                inner: inner.clone(),
            };
            multiply(weights, 0..part, &rows, &finish.outputs(outputs.clone()), &mut out[outputs.start..], self.shape.outputs, scratch);
        }
        scratch.padding = padding;
    }
}

/// The taps of one group for each output pixel of a range.
struct Patches<'a> {
    windows: &'a Windows,
    input: &'a [i8],
    /// A row of taps outside the picture.
    padding: &'a [i8],
    first: usize,
    count: usize,
    /// Of a pixel of the input.
    channels: usize,
    /// First channel of the group, and channels of it.
    channel: usize,
    depth: usize,
    /// Whether the taps of a row are one piece.
    joined: bool,
    /// The windows that lie on the picture with all their taps, if these are pieces.
    inner: [Range<usize>; 2],
}

impl Rows for Patches<'_> {
    fn count(&self) -> usize {
        self.count
    }

    fn depth(&self) -> usize {
        self.windows.taps() * self.depth
    }

    fn granularity(&self) -> usize {
        self.depth
    }

    #[inline(always)]
    fn visit(&self, rows: Range<usize>, sink: &mut impl Sink) {
        let Windows { input: [height, width], output: [lines, columns], kernel, strides, dilations, pads_begin, .. } = *self.windows;
        let row_bytes = width * self.channels;
        let pixel = self.first + rows.start;
        let (mut picture, pixel) = (pixel / (lines * columns), pixel % (lines * columns));
        let (mut line, mut column) = (pixel / columns, pixel % columns);
        let Patches { inner, joined, .. } = self;
        let mut left = rows.len();
        while left > 0 {
            // As many as lie in one line, and on the picture if the first one does.
            let within = inner[0].contains(&line) && inner[1].contains(&column);
            let run = left.min(if within { inner[1].end - column } else { 1 });
            if within {
                let (top, left) = (line * strides[0] - pads_begin[0], column * strides[1] - pads_begin[1]);
                let source = &self.input[(picture * height + top) * row_bytes + left * self.channels + self.channel..];
                for index in 0..run {
                    sink.pieces(&source[index * strides[1] * self.channels..], self.padding.len(), dilations[0] * row_bytes, kernel[0]);
                    sink.end();
                }
            } else {
                self.edge(&self.input[picture * height * row_bytes..][..height * row_bytes], line, column, *joined, sink);
                sink.end();
            }
            left -= run;
            column += run;
            if column == columns {
                (line, column) = (line + 1, 0);
                if line == lines {
                    (picture, line) = (picture + 1, 0);
                }
            }
        }
    }
}

impl Patches<'_> {
    /// The taps of a pixel some of which may lie outside the picture.
    #[inline(never)]
    fn edge(&self, picture: &[i8], line: usize, column: usize, joined: bool, sink: &mut impl Sink) {
        let Patches { channels, channel, depth, .. } = *self;
        let Windows { input: [height, width], kernel, strides, dilations, pads_begin, .. } = *self.windows;
        // Of the first tap; above or left of the picture they wrap, and are beyond its end then.
        let top = (line * strides[0]).wrapping_sub(pads_begin[0]);
        let left = (column * strides[1]).wrapping_sub(pads_begin[1]);
        for tap in 0..kernel[0] {
            let y = top.wrapping_add(tap * dilations[0]);
            if y >= height {
                sink.piece(self.padding);
                continue;
            }
            let line = &picture[y * width * channels..][..width * channels];
            if joined {
                // At most three pieces.
                let before = if left < width { 0 } else { left.wrapping_neg().min(kernel[1]) };
                let start = left.wrapping_add(before);
                let inside = width.saturating_sub(start).min(kernel[1] - before);
                if before > 0 {
                    sink.piece(&self.padding[..before * depth]);
                }
                if inside > 0 {
                    sink.piece(&line[start * channels + channel..][..inside * depth]);
                }
                if before + inside < kernel[1] {
                    sink.piece(&self.padding[(before + inside) * depth..]);
                }
                continue;
            }
            for tap in 0..kernel[1] {
                let x = left.wrapping_add(tap * dilations[1]);
                sink.piece(if x < width { &line[x * channels + channel..][..depth] } else { &self.padding[..depth] });
            }
        }
    }
}
