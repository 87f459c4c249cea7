//! The quantization kernels for NEON (64-bit ARM): the float operations of the scalar ones, four at a time.

use super::{Grid, Target, scalar};
use std::arch::aarch64::*;

/// Values at a time: two vectors of four.
const LANES: usize = 8;

/// The parameters of a grid in vectors.
struct Vectors {
    scale: float32x4_t,
    lowest: float32x4_t,
    highest: float32x4_t,
    zero_point: int32x4_t,
}

impl Vectors {
    #[inline]
    #[target_feature(enable = "neon")]
    fn new(grid: Grid) -> Vectors {
        let (lowest, highest) = grid.bounds();
        Vectors {
            scale: vdupq_n_f32(grid.scale),
            lowest: vdupq_n_f32(lowest),
            highest: vdupq_n_f32(highest),
            zero_point: vdupq_n_s32(grid.zero_point),
        }
    }

    /// See `scalar::steps`.
    #[inline]
    #[target_feature(enable = "neon")]
    fn steps(&self, values: float32x4_t) -> int32x4_t {
        // Of a NaN and a number, FMAXNM gives the number; FCVTNS rounds half to even.
        let steps = vmaxnmq_f32(vdivq_f32(values, self.scale), self.lowest);
        vcvtnq_s32_f32(vminnmq_f32(steps, self.highest))
    }
}

/// [`scalar::saturate`] for 16 values.
#[derive(Clone, Copy)]
pub(crate) struct Saturate {
    zero_point: int16x8_t,
    low: int8x16_t,
    high: int8x16_t,
}

impl Saturate {
    #[inline]
    #[target_feature(enable = "neon")]
    pub(crate) fn new(target: Target) -> Saturate {
        Saturate { zero_point: vdupq_n_s16(target.zero_point.into()), low: vdupq_n_s8(target.low), high: vdupq_n_s8(target.high) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    pub(crate) fn bytes(&self, values: [float32x4_t; 4]) -> int8x16_t {
        // Each narrowing saturates, so that the clamp at the end finds what it would have found at first.
        let [a, b, c, d] = values.map(|values| vcvtnq_s32_f32(values));
        let low = vqaddq_s16(vqmovn_high_s32(vqmovn_s32(a), b), self.zero_point);
        let high = vqaddq_s16(vqmovn_high_s32(vqmovn_s32(c), d), self.zero_point);
        vminq_s8(vmaxq_s8(vqmovn_high_s16(vqmovn_s16(low), high), self.low), self.high)
    }
}

/// See [`scalar::quantize`].
#[target_feature(enable = "neon")]
pub(super) fn quantize(source: &[f32], grid: Grid, target: &mut [u8]) {
    let vectors = Vectors::new(grid);
    let ((blocks, source_left), (targets, target_left)) = (source.as_chunks::<LANES>(), target.as_chunks_mut::<LANES>());
    for (block, target) in blocks.iter().zip(targets) {
        // SAFETY: an array of 8 floats.
        let (low, high) = unsafe { (vld1q_f32(block.as_ptr()), vld1q_f32(block.as_ptr().add(4))) };
        let [low, high] = [low, high].map(|values| vmovn_s32(vaddq_s32(vectors.steps(values), vectors.zero_point)));
        // SAFETY: an array of 8 bytes.
        unsafe { vst1_u8(target.as_mut_ptr(), vreinterpret_u8_s8(vmovn_s16(vcombine_s16(low, high)))) };
    }
    scalar::quantize(source_left, grid, target_left);
}

/// See [`scalar::dequantize`].
#[target_feature(enable = "neon")]
pub(super) fn dequantize<const SIGNED: bool>(source: &[u8], grid: Grid, target: &mut [f32]) {
    let vectors = Vectors::new(grid);
    let ((blocks, source_left), (targets, target_left)) = (source.as_chunks::<LANES>(), target.as_chunks_mut::<LANES>());
    for (block, target) in blocks.iter().zip(targets) {
        // SAFETY: an array of 8 bytes.
        let bits = unsafe { vld1_u8(block.as_ptr()) };
        let values = if SIGNED { vmovl_s8(vreinterpret_s8_u8(bits)) } else { vreinterpretq_s16_u16(vmovl_u8(bits)) };
        let halves = [vmovl_s16(vget_low_s16(values)), vmovl_high_s16(values)];
        for (half, values) in halves.into_iter().enumerate() {
            let values = vmulq_f32(vcvtq_f32_s32(vsubq_s32(values, vectors.zero_point)), vectors.scale);
            // SAFETY: an array of 8 floats, of which 4 are left from `half * 4`.
            unsafe { vst1q_f32(target.as_mut_ptr().add(half * 4), values) };
        }
    }
    scalar::dequantize::<SIGNED>(source_left, grid, target_left);
}

/// See [`scalar::fake_quantize`].
#[target_feature(enable = "neon")]
pub(super) fn fake_quantize(values: &mut [f32], grid: Grid) {
    let vectors = Vectors::new(grid);
    let (blocks, left) = values.as_chunks_mut::<LANES>();
    for block in blocks {
        for half in 0..2 {
            // SAFETY: an array of 8 floats, of which 4 are left from `half * 4`.
            unsafe {
                let at = block.as_mut_ptr().add(half * 4);
                vst1q_f32(at, vmulq_f32(vcvtq_f32_s32(vectors.steps(vld1q_f32(at))), vectors.scale));
            }
        }
    }
    scalar::fake_quantize(left, grid);
}

/// See [`scalar::extent`].
#[target_feature(enable = "neon")]
pub(super) fn extent(values: &[f32]) -> (f32, f32) {
    let (blocks, left) = values.as_chunks::<LANES>();
    let (mut lowest, mut highest) = ([vdupq_n_f32(0.0); 2], [vdupq_n_f32(0.0); 2]);
    for block in blocks {
        for half in 0..2 {
            // SAFETY: an array of 8 floats, of which 4 are left from `half * 4`.
            let values = unsafe { vld1q_f32(block.as_ptr().add(half * 4)) };
            // Of a NaN and a number, these give the number.
            lowest[half] = vminnmq_f32(lowest[half], values);
            highest[half] = vmaxnmq_f32(highest[half], values);
        }
    }
    let (lowest, highest) = (vminnmvq_f32(vminnmq_f32(lowest[0], lowest[1])), vmaxnmvq_f32(vmaxnmq_f32(highest[0], highest[1])));
    let left = scalar::extent(left);
    (lowest.min(left.0), highest.max(left.1))
}
