//! Convolution in `f32`, channels last, dense and in groups: the taps of some output pixels are gathered to rows of a product, a block of
//! them at a time, so that no picture of patches is ever made. A convolution in one dimension has height 1. Not the place of depthwise
//! convolution, whose groups are too small for a matrix product.
//!
//! A result is the product's: one chain of multiply-adds from the bias on, over the taps in order, padding included.

use super::{Finish, Matrix, ROWS, Weights, multiply};
use crate::convolution::Shape;
use crate::loops::{self, Loop, hold};
use crate::{InstructionSet, Windows};
use std::ops::Range;

/// Values that are gathered at once: within the last level of cache of a small board, for as many rows to one pass over the weights as
/// that allows.
const GATHERED: usize = 64 * 1024;

/// The weights of a convolution, packed once for pictures of any size.
#[derive(Debug, Clone)]
pub struct Convolution {
    shape: Shape,
    groups: Vec<Weights>,
    bias: Vec<f32>,
}

impl Convolution {
    /// Packs `weights[output][kernel height][kernel width][channels of a group]` for `set`, with a bias for each output, or none.
    ///
    /// # Panics
    /// If a size is 0, if channels or outputs are not whole groups, or if there are not as many weights or biases as that takes.
    pub fn pack(set: InstructionSet, shape: Shape, weights: &[f32], bias: &[f32]) -> Convolution {
        shape.check();
        let (depth, part) = (shape.depth(), shape.outputs / shape.groups);
        assert_eq!(weights.len(), shape.outputs * depth, "convolution: weights are outputs x kernel x channels of a group");
        assert!([0, shape.outputs].contains(&bias.len()), "convolution: {} biases for {} outputs", bias.len(), shape.outputs);
        let groups = weights.chunks_exact(part * depth).map(|weights| Weights::pack(set, weights, part, depth)).collect();
        Convolution { shape, groups, bias: bias.to_vec() }
    }

    /// Memory that the weights take.
    pub fn bytes(&self) -> usize {
        self.groups.iter().map(Weights::bytes).sum()
    }

    /// Computes the output pixels `pixels`, counted over a batch of pictures one after the other, to `out[pixel of the range][output]`,
    /// held within `limits`. `input[picture][row][column][channel]` is read as 0 outside a picture. Threads divide the pixels.
    ///
    /// # Panics
    /// If the windows have another kernel, if the input is not whole pictures, or has not these pixels, or `out` not as many values.
    pub fn run(&self, windows: &Windows, input: &[f32], pixels: Range<usize>, limits: [f32; 2], out: &mut [f32], scratch: &mut Vec<f32>) {
        let Shape { channels, outputs, groups, .. } = self.shape;
        self.shape.check_run(windows, input.len(), &pixels, out.len());
        let (depth, part) = (self.shape.depth(), outputs / groups);
        let block = if windows.are_pixels() { ROWS } else { (GATHERED / depth).clamp(8, ROWS) };
        let bias = |group: usize| if self.bias.is_empty() { &[][..] } else { &self.bias[group * part..(group + 1) * part] };
        for start in pixels.clone().step_by(block) {
            let count = block.min(pixels.end - start);
            let out = &mut out[(start - pixels.start) * outputs..][..count * outputs];
            for (group, weights) in self.groups.iter().enumerate() {
                let rows = if windows.are_pixels() {
                    Matrix::new(&input[start * channels + group * depth..], count, depth, channels)
                } else {
                    self.gather(windows, input, start..start + count, group, scratch);
                    Matrix::new(scratch, count, depth, depth)
                };
                let finish = Finish { bias: bias(group), accumulate: false };
                multiply(weights, 0..part, &rows, &finish, &mut out[group * part..], outputs);
            }
            // While the cache holds them.
            loops::run(self.groups[0].set(), Hold { limits, out });
        }
    }

    /// Puts the taps of some pixels into `rows`, those of one group.
    fn gather(&self, windows: &Windows, input: &[f32], pixels: Range<usize>, group: usize, rows: &mut Vec<f32>) {
        let Windows { input: [height, width], output: [_, columns], kernel, strides, dilations, pads_begin, .. } = *windows;
        let channels = self.shape.channels;
        let of_group = channels / self.shape.groups;
        // Where neighbouring taps are neighbouring memory, the windows that lie on the picture with all their taps.
        let joined = dilations[1] == 1 && self.shape.groups == 1;
        let inner = [0, 1].map(|axis| if joined { windows.inner(axis) } else { 0..0 });
        rows.clear();
        for pixel in pixels {
            let (picture, pixel) = (pixel / windows.count(), pixel % windows.count());
            let (line, column) = (pixel / columns, pixel % columns);
            let picture = &input[picture * height * width * channels..][..height * width * channels];
            if inner[0].contains(&line) && inner[1].contains(&column) {
                let (top, left) = (line * strides[0] - pads_begin[0], column * strides[1] - pads_begin[1]);
                for tap in 0..kernel[0] {
                    let first = (top + tap * dilations[0]) * width + left;
                    rows.extend_from_slice(&picture[first * channels..][..kernel[1] * channels]);
                }
                continue;
            }
            windows.window(line, column, |tap| match tap {
                Some(at) => rows.extend_from_slice(&picture[at * channels + group * of_group..][..of_group]),
                None => rows.resize(rows.len() + of_group, 0.0),
            });
        }
    }
}

struct Hold<'a> {
    limits: [f32; 2],
    out: &'a mut [f32],
}

impl Loop for Hold<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        hold(self.limits, self.out);
    }
}
