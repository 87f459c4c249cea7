//! The image kernels for NEON (64-bit ARM). The same integer sums as the scalar ones in another order, and the same float operations.

use super::scalar::{self, rounding};
use super::weights::{STEP, Weights};
use super::{FRACTION, LANES, Pattern};
use crate::pointwise::neon::Table;
use std::arch::aarch64::*;

/// Columns that [`blend_rows`] sums at once.
const BLOCK: usize = 16;

/// See [`scalar::blend_rows`].
#[target_feature(enable = "neon")]
pub(super) fn blend_rows(rows: &[u8], stride: usize, weights: &[i16], bits: u32, out: &mut [i16]) {
    assert!(out.len() <= stride && rows.len() >= weights.len() * stride, "rows shorter than their weights");
    let shift = vdupq_n_s32(-((bits - FRACTION) as i32));
    let half = vdupq_n_s32(1 << (bits - FRACTION - 1));
    let whole = out.len() / BLOCK * BLOCK;
    for column in (0..whole).step_by(BLOCK) {
        let mut sums = [half; 4];
        for (tap, &weight) in weights.iter().enumerate() {
            // SAFETY: `tap < weights.len()` and `column + BLOCK <= out.len() <= stride`, so 16 bytes are left in row `tap`.
            let pixels = unsafe { vld1q_u8(rows.as_ptr().add(tap * stride + column)) };
            let low = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(pixels)));
            let high = vreinterpretq_s16_u16(vmovl_high_u8(pixels));
            sums[0] = vmlal_n_s16(sums[0], vget_low_s16(low), weight);
            sums[1] = vmlal_high_n_s16(sums[1], low, weight);
            sums[2] = vmlal_n_s16(sums[2], vget_low_s16(high), weight);
            sums[3] = vmlal_high_n_s16(sums[3], high, weight);
        }
        // All fit 15 bits.
        let [a, b, c, d] = sums.map(|sum| vmovn_s32(vshlq_s32(sum, shift)));
        // SAFETY: `column + BLOCK <= out.len()`.
        unsafe {
            vst1q_s16(out.as_mut_ptr().add(column), vcombine_s16(a, b));
            vst1q_s16(out.as_mut_ptr().add(column + 8), vcombine_s16(c, d));
        }
    }
    if whole < out.len() {
        scalar::blend_rows(&rows[whole..], stride, weights, bits, &mut out[whole..]);
    }
}

/// See [`scalar::blend_columns`]; one channel.
#[target_feature(enable = "neon")]
pub(super) fn blend_columns_grey(row: &[i16], weights: &Weights, out: &mut [u8]) {
    let (shift, half) = rounding(weights);
    for (position, out) in out.iter_mut().enumerate() {
        let (start, weights) = weights.padded(position);
        let pixels = row[start..][..weights.len() * STEP].as_chunks::<STEP>().0;
        let mut sums = vdupq_n_s32(0);
        for (pixels, weights) in pixels.iter().zip(weights) {
            // SAFETY: both are arrays of 4 `i16`.
            let (pixels, weights) = unsafe { (vld1_s16(pixels.as_ptr()), vld1_s16(weights.as_ptr())) };
            sums = vmlal_s16(sums, pixels, weights);
        }
        *out = ((vaddvq_s32(sums) + half) >> shift) as u8;
    }
}

/// See [`scalar::blend_columns`]; three channels.
#[target_feature(enable = "neon")]
pub(super) fn blend_columns_rgb(row: &[i16], weights: &Weights, out: &mut [u8]) {
    let (shift, half) = rounding(weights);
    let (shift, half) = (vdupq_n_s32(-(shift as i32)), vdupq_n_s32(half));
    let (row, _) = row.as_chunks::<3>();
    let (out, _) = out.as_chunks_mut::<3>();
    for (position, out) in out.iter_mut().enumerate() {
        let (start, weights) = weights.padded(position);
        let pixels = row[start..][..weights.len() * STEP].as_chunks::<STEP>().0;
        let mut sums = half;
        for (pixels, weights) in pixels.iter().zip(weights) {
            let values = pixels.as_flattened().as_ptr();
            // SAFETY: `values` has 12 `i16`; the loads take 4 from the positions 0, 3, 6 and 8. `weights` has 4 `i16`.
            let (first, second, third, fourth, weights) = unsafe {
                (vld1_s16(values), vld1_s16(values.add(3)), vld1_s16(values.add(6)), vld1_s16(values.add(8)), vld1_s16(weights.as_ptr()))
            };
            // Red, green and blue are in the lanes 0 to 2; lane 3 gathers what nobody reads.
            sums = vmlal_lane_s16::<0>(sums, first, weights);
            sums = vmlal_lane_s16::<1>(sums, second, weights);
            sums = vmlal_lane_s16::<2>(sums, third, weights);
            sums = vmlal_lane_s16::<3>(sums, vext_s16::<1>(fourth, fourth), weights);
        }
        let bytes = vreinterpretq_u32_s32(vshlq_s32(sums, shift));
        *out = [vgetq_lane_u32::<0>(bytes) as u8, vgetq_lane_u32::<1>(bytes) as u8, vgetq_lane_u32::<2>(bytes) as u8];
    }
}

/// See [`scalar::normalise_interleaved`].
#[target_feature(enable = "neon")]
pub(super) fn normalise_interleaved<const CHANNELS: usize>(pixels: &[u8], pattern: &Pattern, out: &mut [f32]) {
    let load = |values: &[f32], vector: usize| {
        let values: &[f32] = &values[vector * LANES..][..LANES];
        // SAFETY: a slice of 8 floats.
        unsafe { float32x4x2_t(vld1q_f32(values.as_ptr()), vld1q_f32(values.as_ptr().add(4))) }
    };
    let scales: [float32x4x2_t; CHANNELS] = std::array::from_fn(|vector| load(&pattern.scale, vector));
    let offsets: [float32x4x2_t; CHANNELS] = std::array::from_fn(|vector| load(&pattern.offset, vector));
    let (blocks, _) = pixels.as_chunks::<LANES>().0.as_chunks::<CHANNELS>();
    let (outs, _) = out.as_chunks_mut::<LANES>().0.as_chunks_mut::<CHANNELS>();
    for (block, out) in blocks.iter().zip(outs) {
        for vector in 0..CHANNELS {
            // SAFETY: an array of 8 bytes.
            let values = vmovl_u8(unsafe { vld1_u8(block[vector].as_ptr()) });
            let (low, high) = (vcvtq_f32_u32(vmovl_u16(vget_low_u16(values))), vcvtq_f32_u32(vmovl_high_u16(values)));
            let low = vaddq_f32(vmulq_f32(low, scales[vector].0), offsets[vector].0);
            let high = vaddq_f32(vmulq_f32(high, scales[vector].1), offsets[vector].1);
            // SAFETY: an array of 8 floats.
            unsafe {
                vst1q_f32(out[vector].as_mut_ptr(), low);
                vst1q_f32(out[vector].as_mut_ptr().add(4), high);
            }
        }
    }
    let done = blocks.len() * CHANNELS * LANES;
    scalar::normalise_interleaved(&pixels[done..], pattern, &mut out[done..]);
}

/// See [`scalar::normalise_planar`]; three channels, all pixels.
#[target_feature(enable = "neon")]
pub(super) fn normalise_planar_rgb(pixels: &[u8], scale: &[f32], offset: &[f32], out: &mut [f32]) {
    let plane = pixels.len() / 3;
    let (blocks, _) = pixels.as_chunks::<48>();
    {
        let (first, rest) = out.split_at_mut(plane);
        let (second, third) = rest.split_at_mut(plane);
        let planes = [first.as_chunks_mut::<16>().0, second.as_chunks_mut::<16>().0, third.as_chunks_mut::<16>().0];
        for (index, block) in blocks.iter().enumerate() {
            // SAFETY: 48 bytes are 16 pixels of 3 channels.
            let uint8x16x3_t(red, green, blue) = unsafe { vld3q_u8(block.as_ptr()) };
            for (channel, values) in [red, green, blue].into_iter().enumerate() {
                let (scale, offset) = (vdupq_n_f32(scale[channel]), vdupq_n_f32(offset[channel]));
                let (low, high) = (vmovl_u8(vget_low_u8(values)), vmovl_high_u8(values));
                let quarters = [vmovl_u16(vget_low_u16(low)), vmovl_high_u16(low), vmovl_u16(vget_low_u16(high)), vmovl_high_u16(high)];
                let out = planes[channel][index].as_mut_ptr();
                for (quarter, values) in quarters.into_iter().enumerate() {
                    let values = vaddq_f32(vmulq_f32(vcvtq_f32_u32(values), scale), offset);
                    // SAFETY: `out` has 16 floats, of which 4 are left from `quarter * 4`.
                    unsafe { vst1q_f32(out.add(quarter * 4), values) };
                }
            }
        }
    }
    scalar::normalise_planar(pixels, scale, offset, out, blocks.len() * 16..plane);
}

/// See [`scalar::map_interleaved`]; three channels.
#[target_feature(enable = "neon")]
pub(super) fn map_interleaved_rgb(pixels: &[u8], tables: &[[u8; 256]; 3], out: &mut [u8]) {
    let [red, green, blue] = [0, 1, 2].map(|channel| Table::new(&tables[channel]));
    let ((blocks, pixels_left), (outs, out_left)) = (pixels.as_chunks::<48>(), out.as_chunks_mut::<48>());
    for (block, out) in blocks.iter().zip(outs) {
        // SAFETY: 48 bytes are 16 pixels of 3 channels.
        unsafe {
            let uint8x16x3_t(r, g, b) = vld3q_u8(block.as_ptr());
            vst3q_u8(out.as_mut_ptr(), uint8x16x3_t(red.at(r), green.at(g), blue.at(b)));
        }
    }
    scalar::map_interleaved(pixels_left, tables, out_left);
}

/// Three interleaved channels to planes; gives the number of pixels done, all but the last few.
#[target_feature(enable = "neon")]
pub(super) fn split_rgb(pixels: &[u8], planes: [&mut [u8]; 3]) -> usize {
    let (blocks, _) = pixels.as_chunks::<48>();
    let [red, green, blue] = planes.map(|plane| plane.as_chunks_mut::<16>().0);
    for (((block, red), green), blue) in blocks.iter().zip(red).zip(green).zip(blue) {
        // SAFETY: 48 bytes are 16 pixels of 3 channels, and the others arrays of 16 bytes.
        unsafe {
            let uint8x16x3_t(r, g, b) = vld3q_u8(block.as_ptr());
            vst1q_u8(red.as_mut_ptr(), r);
            vst1q_u8(green.as_mut_ptr(), g);
            vst1q_u8(blue.as_mut_ptr(), b);
        }
    }
    blocks.len() * 16
}
