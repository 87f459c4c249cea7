//! The pointwise kernels for NEON (64-bit ARM).

use super::{Product, Sum, scalar};
use crate::quant::neon::Saturate;
use std::arch::aarch64::*;

/// A table of 256 bytes in registers.
pub(crate) struct Table([uint8x16x4_t; 4]);

impl Table {
    #[inline]
    #[target_feature(enable = "neon")]
    pub(crate) fn new(table: &[u8; 256]) -> Table {
        let (quarters, _) = table.as_chunks::<64>();
        // SAFETY: each quarter is an array of 64 bytes.
        Table(std::array::from_fn(|quarter| unsafe { vld1q_u8_x4(quarters[quarter].as_ptr()) }))
    }

    /// The table's bytes for 16 indices.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(crate) fn at(&self, indices: uint8x16_t) -> uint8x16_t {
        // An index outside its quarter gives 0 from TBL and leaves the result alone in TBX.
        let quarter = vdupq_n_u8(64);
        let mut found = vqtbl4q_u8(self.0[0], indices);
        let mut indices = indices;
        for table in &self.0[1..] {
            indices = vsubq_u8(indices, quarter);
            found = vqtbx4q_u8(found, *table, indices);
        }
        found
    }
}

/// See [`scalar::lookup`].
#[target_feature(enable = "neon")]
pub(super) fn lookup(table: &[u8; 256], values: &mut [u8]) {
    let vectors = Table::new(table);
    // Two at a time: each TBX waits for the one before.
    let (blocks, left) = values.as_chunks_mut::<32>();
    for block in blocks {
        // SAFETY: an array of 32 bytes.
        unsafe {
            let uint8x16x2_t(first, second) = vld1q_u8_x2(block.as_ptr());
            vst1q_u8_x2(block.as_mut_ptr(), uint8x16x2_t(vectors.at(first), vectors.at(second)));
        }
    }
    scalar::lookup(table, left);
}

/// 16 values less their zero point.
#[inline]
#[target_feature(enable = "neon")]
fn centred(values: &[i8; 16], zero_point: int8x16_t) -> [int16x8_t; 2] {
    // SAFETY: an array of 16 bytes.
    let values = unsafe { vld1q_s8(values.as_ptr()) };
    [vsubl_s8(vget_low_s8(values), vget_low_s8(zero_point)), vsubl_high_s8(values, zero_point)]
}

/// See [`scalar::add`].
#[target_feature(enable = "neon")]
pub(super) fn add(a: &[i8], b: &[i8], sum: &Sum, out: &mut [i8]) {
    let (offset, start) = (vdupq_n_s8(sum.offset), vdupq_n_f32(sum.start));
    let [multiplier_a, multiplier_b] = sum.multipliers.map(|multiplier| vdupq_n_f32(multiplier));
    let saturate = Saturate::new(sum.target);
    let floats = |[low, high]: [int16x8_t; 2]| {
        [vmovl_s16(vget_low_s16(low)), vmovl_high_s16(low), vmovl_s16(vget_low_s16(high)), vmovl_high_s16(high)]
            .map(|values| vcvtq_f32_s32(values))
    };
    let ((a, a_left), (b, b_left), (out, out_left)) = (a.as_chunks::<16>(), b.as_chunks::<16>(), out.as_chunks_mut::<16>());
    for ((a, b), out) in a.iter().zip(b).zip(out) {
        let (a, b) = (floats(centred(a, offset)), floats(centred(b, offset)));
        let sums = std::array::from_fn(|quarter| vfmaq_f32(vfmaq_f32(start, b[quarter], multiplier_b), a[quarter], multiplier_a));
        // SAFETY: an array of 16 bytes.
        unsafe { vst1q_s8(out.as_mut_ptr(), saturate.bytes(sums)) };
    }
    scalar::add(a_left, b_left, sum, out_left);
}

/// See [`scalar::multiply`].
#[target_feature(enable = "neon")]
pub(super) fn multiply(a: &[i8], b: &[i8], product: &Product, out: &mut [i8]) {
    let [zero_a, zero_b] = product.zero_points.map(|zero_point| vdupq_n_s8(zero_point));
    let (multiplier, saturate) = (vdupq_n_f32(product.multiplier), Saturate::new(product.target));
    let ((a, a_left), (b, b_left), (out, out_left)) = (a.as_chunks::<16>(), b.as_chunks::<16>(), out.as_chunks_mut::<16>());
    for ((a, b), out) in a.iter().zip(b).zip(out) {
        let (a, b) = (centred(a, zero_a), centred(b, zero_b));
        let exact = [
            vmull_s16(vget_low_s16(a[0]), vget_low_s16(b[0])),
            vmull_high_s16(a[0], b[0]),
            vmull_s16(vget_low_s16(a[1]), vget_low_s16(b[1])),
            vmull_high_s16(a[1], b[1]),
        ];
        let products = exact.map(|exact| vmulq_f32(vcvtq_f32_s32(exact), multiplier));
        // SAFETY: an array of 16 bytes.
        unsafe { vst1q_s8(out.as_mut_ptr(), saturate.bytes(products)) };
    }
    scalar::multiply(a_left, b_left, product, out_left);
}
