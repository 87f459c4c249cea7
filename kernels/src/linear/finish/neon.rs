//! Sums finished for NEON: 8 at a time, from one row or, in halves, from two.

use super::{Accumulate, Float, Raw, Requantize, lanes};
use std::arch::aarch64::*;

/// The vector code of a [`Finish`](super::Finish). NEON is in every CPU that Rust's aarch64 targets run on.
pub(in crate::linear) trait Neon {
    /// What 4 neighbouring outputs need.
    type Columns: Copy;
    /// 8 results, as they lie in memory.
    type Results: Copy;

    fn columns(&self, output: usize) -> Self::Columns;

    /// Finishes twice 4 outputs, each of a row of its own.
    fn finish(&self, columns: [Self::Columns; 2], rows: [usize; 2], sums: [int32x4_t; 2]) -> Self::Results;
}

impl Neon for Requantize<'_> {
    type Columns = float32x4_t;
    type Results = int8x8_t;

    #[inline(always)]
    fn columns(&self, output: usize) -> float32x4_t {
        floats(lanes(self.multiplier, output, 1.0))
    }

    #[inline(always)]
    fn finish(&self, multiplier: [float32x4_t; 2], _rows: [usize; 2], sums: [int32x4_t; 2]) -> int8x8_t {
        // SAFETY: NEON is there. Each step saturates, the conversion too.
        unsafe {
            let [low, high] = [0, 1].map(|half| vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(sums[half]), multiplier[half])));
            let steps = vqaddq_s16(vqmovn_high_s32(vqmovn_s32(low), high), vdupq_n_s16(self.zero_point.into()));
            vmin_s8(vmax_s8(vqmovn_s16(steps), vdup_n_s8(self.low)), vdup_n_s8(self.high))
        }
    }
}

impl Neon for Float<'_> {
    type Columns = [float32x4_t; 2];
    type Results = [float32x4_t; 2];

    #[inline(always)]
    fn columns(&self, output: usize) -> [float32x4_t; 2] {
        [floats(lanes(self.scale, output, 1.0)), floats(lanes(self.bias, output, 0.0))]
    }

    #[inline(always)]
    fn finish(&self, columns: [[float32x4_t; 2]; 2], rows: [usize; 2], sums: [int32x4_t; 2]) -> [float32x4_t; 2] {
        [0, 1].map(|half| {
            let [scale, bias] = columns[half];
            // SAFETY: NEON is there.
            unsafe { vaddq_f32(vmulq_f32(vcvtq_f32_s32(sums[half]), vmulq_n_f32(scale, self.row_scale(rows[half]))), bias) }
        })
    }
}

impl Neon for Accumulate<'_> {
    type Columns = (float32x4_t, usize);
    type Results = [float32x4_t; 2];

    #[inline(always)]
    fn columns(&self, output: usize) -> (float32x4_t, usize) {
        (floats(lanes(self.scale, output, 0.0)), output)
    }

    #[inline(always)]
    fn finish(&self, columns: [(float32x4_t, usize); 2], rows: [usize; 2], sums: [int32x4_t; 2]) -> [float32x4_t; 2] {
        [0, 1].map(|half| {
            let (scale, output) = columns[half];
            // SAFETY: NEON is there; the totals and the row's scale are by the contract of `new`.
            unsafe {
                let scale = vmulq_n_f32(scale, *self.row_scale.get_unchecked(rows[half]));
                vfmaq_f32(vld1q_f32(self.total(rows[half], output)), vcvtq_f32_s32(sums[half]), scale)
            }
        })
    }
}

impl Neon for Raw<'_> {
    type Columns = ();
    type Results = [int32x4_t; 2];

    #[inline(always)]
    fn columns(&self, _output: usize) {}

    #[inline(always)]
    fn finish(&self, _columns: [(); 2], _rows: [usize; 2], sums: [int32x4_t; 2]) -> [int32x4_t; 2] {
        sums
    }
}

#[inline(always)]
fn floats(values: [f32; 4]) -> float32x4_t {
    // SAFETY: 4 floats.
    unsafe { vld1q_f32(values.as_ptr()) }
}
