//! The pointwise kernels in portable code: the reference, written so that compilers vectorise the loops.

use super::{Product, Sum};
use crate::quant::scalar::saturate;

/// Replaces each byte by the table's.
pub(super) fn lookup(table: &[u8; 256], values: &mut [u8]) {
    for value in values {
        *value = table[usize::from(*value)];
    }
}

/// See [`Sum`]; all of one length.
pub(super) fn add(a: &[i8], b: &[i8], sum: &Sum, out: &mut [i8]) {
    let (offset, [multiplier_a, multiplier_b]) = (f32::from(sum.offset), sum.multipliers);
    for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
        let [a, b] = [a, b].map(|value| f32::from(value) - offset);
        *out = saturate(a.mul_add(multiplier_a, b.mul_add(multiplier_b, sum.start)), sum.target);
    }
}

/// See [`Product`]; all of one length.
pub(super) fn multiply(a: &[i8], b: &[i8], product: &Product, out: &mut [i8]) {
    let [zero_a, zero_b] = product.zero_points.map(i32::from);
    for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
        let exact = (i32::from(a) - zero_a) * (i32::from(b) - zero_b);
        *out = saturate(exact as f32 * product.multiplier, product.target);
    }
}
