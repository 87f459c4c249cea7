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
pub(crate) use float::{PLAIN_FUSED, exp, fold, gelu_tanh, multiply_add, sigmoid, sigmoid_times_tanh, tanh};
pub use lookup::Lookup;

use crate::InstructionSet;
use crate::cpu::Kind;
use crate::quant::Target;
use std::borrow::Cow;

/// A shorter operand is repeated up to so many values, for vectors to have something to do.
const REPEATED: usize = 256;

/// How two operands are added: `(a - zero_points[0]) * multipliers[0] + (b - zero_points[1]) * multipliers[1]` in `f32`, each
/// operation rounded, and then made an `i8` as `target` says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sum {
    /// The integers that stand for 0.
    pub zero_points: [i8; 2],
    /// The scales of the operands over that of the result; a negative one subtracts. Finite.
    pub multipliers: [f32; 2],
    /// What the sum becomes.
    pub target: Target,
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
        // SAFETY: a `Kind::Avx2` exists only where AVX2 was detected.
        Kind::Avx2(_) => unsafe { avx2::add(a, b, sum, out) },
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
