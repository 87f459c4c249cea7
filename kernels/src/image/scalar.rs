//! The image kernels in portable code: the reference, written so that compilers vectorise the inner loops.

use super::weights::Weights;
use super::{FRACTION, Pattern};
use std::ops::Range;

/// Columns that are summed at once: enough to keep vector registers busy, few enough to stay in them.
const BLOCK: usize = 16;

/// One row of the picture at the target's height: for each column the weighted sum of `weights.len()` source rows, `stride`
/// bytes apart, as a fixed-point number with [`FRACTION`] digits after the point. `rows` starts at the first source row.
pub(super) fn blend_rows(rows: &[u8], stride: usize, weights: &[i16], bits: u32, out: &mut [i16]) {
    let shift = bits - FRACTION;
    let half = 1 << (shift - 1);
    for (block, out) in out.chunks_mut(BLOCK).enumerate() {
        let mut sums = [half; BLOCK];
        for (row, &weight) in rows.chunks(stride).zip(weights) {
            let row = &row[block * BLOCK..][..out.len()];
            if let Ok(row) = <&[u8; BLOCK]>::try_from(row) {
                for (sum, &pixel) in sums.iter_mut().zip(row) {
                    *sum += i32::from(pixel) * i32::from(weight);
                }
            } else {
                for (sum, &pixel) in sums.iter_mut().zip(row) {
                    *sum += i32::from(pixel) * i32::from(weight);
                }
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = (sum >> shift) as i16;
        }
    }
}

/// One row of the target: for each position the weighted sum of the pixels of `row` (`channels` interleaved fixed-point numbers
/// with [`FRACTION`] digits after the point).
pub(super) fn blend_columns(row: &[i16], weights: &Weights, channels: usize, out: &mut [u8]) {
    match channels {
        1 => blend_columns_of::<1>(row, weights, out),
        3 => blend_columns_of::<3>(row, weights, out),
        4 => blend_columns_of::<4>(row, weights, out),
        _ => {
            let (shift, half) = rounding(weights);
            for (position, out) in out.chunks_exact_mut(channels).enumerate() {
                let (start, weights) = weights.at(position);
                for (channel, out) in out.iter_mut().enumerate() {
                    let pixels = row[start * channels + channel..].iter().step_by(channels);
                    let sum = pixels.zip(weights).fold(half, |sum, (&pixel, &weight)| sum + i32::from(pixel) * i32::from(weight));
                    *out = (sum >> shift) as u8;
                }
            }
        }
    }
}

fn blend_columns_of<const CHANNELS: usize>(row: &[i16], weights: &Weights, out: &mut [u8]) {
    let (shift, half) = rounding(weights);
    let (pixels, _) = row.as_chunks::<CHANNELS>();
    let (out, _) = out.as_chunks_mut::<CHANNELS>();
    for (position, out) in out.iter_mut().enumerate() {
        let (start, weights) = weights.at(position);
        let mut sums = [half; CHANNELS];
        for (pixel, &weight) in pixels[start..].iter().zip(weights) {
            for (sum, &value) in sums.iter_mut().zip(pixel) {
                *sum += i32::from(value) * i32::from(weight);
            }
        }
        *out = sums.map(|sum| (sum >> shift) as u8);
    }
}

/// How sums of fixed-point pixels become bytes: the shift, and what is added before it to round to nearest.
pub(super) fn rounding(weights: &Weights) -> (u32, i32) {
    let shift = weights.bits + FRACTION;
    (shift, 1 << (shift - 1))
}

/// `out[i] = pixels[i] * scale[i % channels] + offset[i % channels]`.
pub(super) fn normalise_interleaved(pixels: &[u8], pattern: &Pattern, out: &mut [f32]) {
    let period = pattern.scale.len();
    for (pixels, out) in pixels.chunks(period).zip(out.chunks_mut(period)) {
        for (((out, &pixel), &scale), &offset) in out.iter_mut().zip(pixels).zip(&pattern.scale).zip(&pattern.offset) {
            *out = f32::from(pixel) * scale + offset;
        }
    }
}

/// Pixels `range` of a planar picture: `out[c * pixels + p] = pixels[p * channels + c] * scale[c] + offset[c]`.
pub(super) fn normalise_planar(pixels: &[u8], scale: &[f32], offset: &[f32], out: &mut [f32], range: Range<usize>) {
    let channels = scale.len();
    let plane = out.len() / channels;
    for channel in 0..channels {
        let (scale, offset) = (scale[channel], offset[channel]);
        let out = &mut out[channel * plane..][range.clone()];
        for (out, pixel) in out.iter_mut().zip(pixels[range.start * channels..].chunks_exact(channels)) {
            *out = f32::from(pixel[channel]) * scale + offset;
        }
    }
}

/// `out[i] = tables[i % channels][pixels[i]]`.
pub(super) fn map_interleaved(pixels: &[u8], tables: &[[u8; 256]], out: &mut [u8]) {
    if let Ok(tables) = <&[_; 3]>::try_from(tables) {
        let ((pixels, _), (out, _)) = (pixels.as_chunks::<3>(), out.as_chunks_mut::<3>());
        for (pixel, out) in pixels.iter().zip(out) {
            *out = [0, 1, 2].map(|channel| tables[channel][usize::from(pixel[channel])]);
        }
        return;
    }
    for (pixel, out) in pixels.chunks_exact(tables.len()).zip(out.chunks_exact_mut(tables.len())) {
        for ((out, &value), table) in out.iter_mut().zip(pixel).zip(tables) {
            *out = table[usize::from(value)];
        }
    }
}

/// Pixels `range` of a planar picture: `out[c * pixels + p] = pixels[p * channels + c]`.
pub(super) fn split(pixels: &[u8], channels: usize, out: &mut [u8], range: Range<usize>) {
    let plane = out.len() / channels;
    for channel in 0..channels {
        let out = &mut out[channel * plane..][range.clone()];
        for (out, pixel) in out.iter_mut().zip(pixels[range.start * channels..].chunks_exact(channels)) {
            *out = pixel[channel];
        }
    }
}
