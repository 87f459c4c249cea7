//! Element by element: sums and products of two `i8` tensors on grids of their own, and functions of one byte as tables; in `f32`
//! the activations, and with them the softmax and the normalisation of rows.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod float;
pub(crate) mod lookup;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
mod scalar;

pub use float::{
    Activation, LayerNorm, activate, activate_on, layer_normalise, layer_normalise_on, softmax, softmax_columns, softmax_columns_on,
    softmax_on,
};
pub(crate) use float::{exp, fold, gelu_tanh, multiply_add, sigmoid, sigmoid_times_tanh, tanh};
pub use lookup::Lookup;

use crate::InstructionSet;
use crate::cpu::Kind;
use crate::quant::Target;
use std::borrow::Cow;

/// A shorter operand is repeated up to so many values, for vectors to have something to do.
const REPEATED: usize = 256;

/// How two operands are added: `a * multipliers[0] + (b * multipliers[1] + start)` in `f32`, each product rounded together with what is
/// added to it, and then made an `i8` as `target` says. `a` and `b` are `offset` more than the `i8` are: what they were in the file. So
/// sums that lie half way between two integers, of which there are many, go where they go in onnxruntime's QLinearAdd.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sum {
    /// What is subtracted from the `i8`: -128 or 0.
    offset: i8,
    multipliers: [f32; 2],
    start: f32,
    target: Target,
}

impl Sum {
    /// Of operands with these zero points, their scales over that of the result as `multipliers` (a negative one subtracts; finite);
    /// `unsigned` if all three were `u8` before they became `i8`.
    pub fn new(zero_points: [i8; 2], multipliers: [f32; 2], target: Target, unsigned: bool) -> Sum {
        let offset = if unsigned { 128.0 } else { 0.0 };
        let [a, b] = zero_points.map(|zero_point| f32::from(zero_point) + offset);
        let start = f32::from(target.zero_point) + offset - multipliers[0].mul_add(a, multipliers[1] * b);
        let offset = if unsigned { i8::MIN } else { 0 };
        Sum { offset, multipliers, start, target: Target { zero_point: offset, ..target } }
    }

    /// That of the operands the other way round.
    pub fn swapped(self) -> Sum {
        let [a, b] = self.multipliers;
        Sum { multipliers: [b, a], ..self }
    }

    /// That of `a` and one `b`, which goes into what the sum starts from, as it does there: it is not looked at again.
    pub fn with_constant(self, b: i8) -> Sum {
        let [multiplier, by] = self.multipliers;
        let start = self.start + (f32::from(b) - f32::from(self.offset)) * by;
        Sum { multipliers: [multiplier, 0.0], start, ..self }
    }
}

/// How two operands are multiplied: `((a - zero_points[0]) * (b - zero_points[1])) * multiplier`, the product of integers exact and
/// that with the multiplier in `f32`, and then made an `i8` as `target` says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Product {
    /// The integers that stand for 0.
    pub zero_points: [i8; 2],
    /// The product of the operands' scales over that of the result. Finite.
    pub multiplier: f32,
    /// What the product becomes.
    pub target: Target,
}

/// Adds (or subtracts) two tensors. `b` may be shorter and is then repeated: one value for all, or one for each channel.
///
/// # Panics
/// If `a` and `out` differ in length, or are no multiple of `b`.
pub fn add(a: &[i8], b: &[i8], sum: &Sum, out: &mut [i8]) {
    add_on(InstructionSet::best(), a, b, sum, out);
}

/// [`add`] with a given instruction set.
pub fn add_on(set: InstructionSet, a: &[i8], b: &[i8], sum: &Sum, out: &mut [i8]) {
    pairwise(set, a, b, out, |a, b, out| match set.0 {
        Kind::Scalar => scalar::add(a, b, sum, out),
        #[cfg(target_arch = "aarch64")]
        // SAFETY: a `Kind::Neon` exists only where NEON was detected.
        Kind::Neon(_) => unsafe { neon::add(a, b, sum, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a `Kind::Avx2` exists only where AVX2 was detected, and FMA just was.
        Kind::Avx2(_) if std::arch::is_x86_feature_detected!("fma") => unsafe { avx2::add(a, b, sum, out) },
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2(_) => scalar::add(a, b, sum, out),
    });
}

/// Multiplies two tensors; lengths and panics as for [`add`].
pub fn multiply(a: &[i8], b: &[i8], product: &Product, out: &mut [i8]) {
    multiply_on(InstructionSet::best(), a, b, product, out);
}

/// [`multiply`] with a given instruction set.
pub fn multiply_on(set: InstructionSet, a: &[i8], b: &[i8], product: &Product, out: &mut [i8]) {
    pairwise(set, a, b, out, |a, b, out| match set.0 {
        Kind::Scalar => scalar::multiply(a, b, product, out),
        #[cfg(target_arch = "aarch64")]
        // SAFETY: a `Kind::Neon` exists only where NEON was detected.
        Kind::Neon(_) => unsafe { neon::multiply(a, b, product, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a `Kind::Avx2` exists only where AVX2 was detected.
        Kind::Avx2(_) => unsafe { avx2::multiply(a, b, product, out) },
    });
}

/// Calls `kernel` with operands of one length.
fn pairwise(set: InstructionSet, a: &[i8], b: &[i8], out: &mut [i8], kernel: impl Fn(&[i8], &[i8], &mut [i8])) {
    assert_eq!(a.len(), out.len(), "pointwise: as many results as values");
    if a.is_empty() {
        return;
    }
    assert!(!b.is_empty() && a.len().is_multiple_of(b.len()), "pointwise: {} values are no multiple of {}", a.len(), b.len());
    if let &[b] = b {
        let all: [i8; 256] = std::array::from_fn(|bits| bits as u8 as i8);
        let mut results = [0; 256];
        kernel(&all, &[b; 256], &mut results);
        out.copy_from_slice(a);
        return Lookup::new(|value| results[usize::from(value as u8)]).apply_on(set, out);
    }
    let b = if b.len() < REPEATED && b.len() < a.len() { Cow::Owned(b.repeat(REPEATED.div_ceil(b.len()))) } else { Cow::Borrowed(b) };
    for (a, out) in a.chunks(b.len()).zip(out.chunks_mut(b.len())) {
        kernel(a, &b[..a.len()], out);
    }
}

#[cfg(test)]
mod float_tests;
#[cfg(test)]
mod tests;
