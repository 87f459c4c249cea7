//! Convolution in `f32`, channels last, dense and in groups: the taps of some output pixels are gathered to rows of a product, a block of
//! them at a time, so that no picture of patches is ever made. A convolution in one dimension has height 1. Not the place of depthwise
//! convolution, whose groups are too small for a matrix product.
//!
//! A result is the product's: one chain of multiply-adds from the bias on, over the taps in order, padding included.

use super::{Finish, Matrix, ROWS, Weights, limit, multiply};
use crate::convolution::Shape;
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

    /// What it was packed as.
    pub fn shape(&self) -> &Shape {
        &self.shape
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
        let Shape { channels, outputs, kernel, groups } = self.shape;
        assert_eq!(windows.kernel, kernel, "convolution: windows as large as the kernel");
        let picture = windows.input[0] * windows.input[1] * channels;
        assert!(input.len().is_multiple_of(picture), "convolution: the input is whole pictures");
        let most = input.len() / picture * windows.count();
        assert!(pixels.start <= pixels.end && pixels.end <= most, "convolution: no pixels {pixels:?} in {most}");
        assert_eq!(out.len(), pixels.len() * outputs, "convolution: an output has as many values as its pixels");
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
            limit(self.groups[0].set(), limits, out);
        }
    }

    /// Puts the taps of some pixels into `rows`, those of one group.
    fn gather(&self, windows: &Windows, input: &[f32], pixels: Range<usize>, group: usize, rows: &mut Vec<f32>) {
        let Windows { input: [height, width], output: [lines, columns], kernel, strides, dilations, pads_begin, .. } = *windows;
        let channels = self.shape.channels;
        let of_group = channels / self.shape.groups;
        // Neighbouring taps are neighbouring memory.
        let joined = dilations[1] == 1 && self.shape.groups == 1;
        rows.clear();
        for pixel in pixels {
            let (picture, pixel) = (pixel / (lines * columns), pixel % (lines * columns));
            let (line, column) = (pixel / columns, pixel % columns);
            let picture = &input[picture * height * width * channels..][..height * width * channels];
            // Above or left of the picture these wrap, and are beyond its end then.
            let top = (line * strides[0]).wrapping_sub(pads_begin[0]);
            let left = (column * strides[1]).wrapping_sub(pads_begin[1]);
            for tap in 0..kernel[0] {
                let y = top.wrapping_add(tap * dilations[0]);
                if y >= height {
                    rows.resize(rows.len() + kernel[1] * of_group, 0.0);
                    continue;
                }
                let line = &picture[y * width * channels..][..width * channels];
                if joined {
                    let before = if left < width { 0 } else { left.wrapping_neg().min(kernel[1]) };
                    let start = left.wrapping_add(before);
                    let inside = width.saturating_sub(start).min(kernel[1] - before);
                    rows.resize(rows.len() + before * channels, 0.0);
                    if inside > 0 {
                        rows.extend_from_slice(&line[start * channels..][..inside * channels]);
                    }
                    rows.resize(rows.len() + (kernel[1] - before - inside) * channels, 0.0);
                    continue;
                }
                for tap in 0..kernel[1] {
                    let x = left.wrapping_add(tap * dilations[1]);
                    match line.get(x.wrapping_mul(channels).wrapping_add(group * of_group)..).filter(|_| x < width) {
                        Some(taps) => rows.extend_from_slice(&taps[..of_group]),
                        None => rows.resize(rows.len() + of_group, 0.0),
                    }
                }
            }
        }
    }
}
