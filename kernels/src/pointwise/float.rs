//! Activations, softmax and layer normalisation in `f32`. One code for all instruction sets, compiled once for each, with fused
//! multiply-add where the set has it. So the last bits differ between CPUs; all are within the stated bounds.

use crate::InstructionSet;
#[cfg(target_arch = "x86_64")]
use crate::cpu::Kind;

/// Partial sums that are kept side by side, whatever the width of the vectors.
const LANES: usize = 16;

/// Columns whose softmax is computed at once: with the rows of a usual depth, within the first-level cache.
const STRIP: usize = 32;

/// Whether the plain code may fuse: in NEON of 64-bit ARM it is an instruction, elsewhere a call.
pub(crate) const PLAIN_FUSED: bool = cfg!(target_arch = "aarch64");

/// An activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `max(x, 0)`, exactly.
    Relu,
    /// `1 / (1 + exp(-x))`, within 2e-7.
    Sigmoid,
    /// Hyperbolic tangent, within `4e-7 * |tanh(x)|`.
    Tanh,
    /// `x * sigmoid(x)`, within `2e-7 * max(1, |x|)`.
    Silu,
    /// `x * (1 + erf(x / sqrt(2))) / 2`, within `5e-7 * max(1, |x|)`.
    Gelu,
    /// GELU by way of `tanh(sqrt(2 / pi) * (x + 0.044715 x^3))`, within `2e-7 * max(1, |x|)`.
    GeluTanh,
}

/// Applies an activation to each value. NaN stays NaN.
pub fn activate(activation: Activation, values: &mut [f32]) {
    activate_on(InstructionSet::best(), activation, values);
}

/// [`activate`] with a given instruction set.
pub fn activate_on(set: InstructionSet, activation: Activation, values: &mut [f32]) {
    match set.0 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a `Kind::Avx2` exists only where AVX2 was detected, and FMA just was.
        Kind::Avx2(_) if std::arch::is_x86_feature_detected!("fma") => unsafe { avx2::activate(activation, values) },
        // NEON is in every CPU of 64-bit ARM, so that the compiler uses it here.
        _ => activate_each::<PLAIN_FUSED>(activation, values),
    }
}

/// Softmax of each row of `depth` values, within `1e-6` of each result: `exp(x - max) / sum`. What is so far under the row's
/// maximum that an `f32` does not hold it, such as a masked -infinity, becomes 0.
///
/// # Panics
/// If the values are not whole rows.
pub fn softmax(values: &mut [f32], depth: usize) {
    softmax_on(InstructionSet::best(), values, depth);
}

/// [`softmax`] with a given instruction set.
pub fn softmax_on(set: InstructionSet, values: &mut [f32], depth: usize) {
    check_rows("softmax", values.len(), depth);
    match set.0 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a `Kind::Avx2` exists only where AVX2 was detected, and FMA just was.
        Kind::Avx2(_) if std::arch::is_x86_feature_detected!("fma") => unsafe { avx2::softmax(values, depth) },
        _ => softmax_rows::<PLAIN_FUSED>(values, depth),
    }
}

/// [`softmax`] over an axis that is not the last: values of `outer x depth x inner`, over the depth for each of the others.
///
/// # Panics
/// If the values are not whole blocks of `depth x inner`.
pub fn softmax_columns(values: &mut [f32], depth: usize, inner: usize) {
    softmax_columns_on(InstructionSet::best(), values, depth, inner);
}

/// [`softmax_columns`] with a given instruction set.
pub fn softmax_columns_on(set: InstructionSet, values: &mut [f32], depth: usize, inner: usize) {
    check_blocks("softmax", values.len(), depth, inner);
    match set.0 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a `Kind::Avx2` exists only where AVX2 was detected, and FMA just was.
        Kind::Avx2(_) if std::arch::is_x86_feature_detected!("fma") => unsafe { avx2::softmax_columns(values, depth, inner) },
        _ => softmax_blocks::<PLAIN_FUSED>(values, depth, inner),
    }
}

/// The parameters of [`layer_normalise`].
#[derive(Debug, Clone, Copy)]
pub struct LayerNorm<'a> {
    /// One for each value of a row.
    pub scale: &'a [f32],
    /// Empty, or one for each value of a row.
    pub bias: &'a [f32],
    /// Added to the variance.
    pub epsilon: f32,
}

/// Normalises each row, as long as there are scales, to mean 0 and variance 1: ONNX LayerNormalization over the last axis,
/// `(x - mean) / sqrt(variance + epsilon) * scale + bias`. The mean is subtracted before squares are summed.
///
/// # Panics
/// If the values are not whole rows, `out` is not as long, or there are not as many biases as scales.
pub fn layer_normalise(values: &[f32], norm: &LayerNorm<'_>, out: &mut [f32]) {
    layer_normalise_on(InstructionSet::best(), values, norm, out);
}

/// [`layer_normalise`] with a given instruction set.
pub fn layer_normalise_on(set: InstructionSet, values: &[f32], norm: &LayerNorm<'_>, out: &mut [f32]) {
    let depth = norm.scale.len();
    check_rows("layer norm", values.len(), depth);
    assert_eq!(values.len(), out.len(), "layer norm: as many results as values");
    assert!([0, depth].contains(&norm.bias.len()), "layer norm: {} biases for rows of {depth}", norm.bias.len());
    match set.0 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a `Kind::Avx2` exists only where AVX2 was detected, and FMA just was.
        Kind::Avx2(_) if std::arch::is_x86_feature_detected!("fma") => unsafe { avx2::layer_normalise(values, norm, out) },
        _ => layer_normalise_rows::<PLAIN_FUSED>(values, norm, out),
    }
}

fn check_rows(what: &str, length: usize, depth: usize) {
    assert!(depth > 0 && length.is_multiple_of(depth), "{what}: {length} values are not whole rows of {depth}");
}

pub(super) fn check_blocks(what: &str, length: usize, depth: usize, inner: usize) {
    let whole = depth.checked_mul(inner).is_some_and(|block| block > 0 && length.is_multiple_of(block));
    assert!(whole, "{what}: {length} values are not whole blocks of {depth} x {inner}");
}

/// The same code with vectors of eight, and fused.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::*;

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn activate(activation: Activation, values: &mut [f32]) {
        activate_each::<true>(activation, values);
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn softmax(values: &mut [f32], depth: usize) {
        softmax_rows::<true>(values, depth);
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn softmax_columns(values: &mut [f32], depth: usize, inner: usize) {
        softmax_blocks::<true>(values, depth, inner);
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn layer_normalise(values: &[f32], norm: &LayerNorm<'_>, out: &mut [f32]) {
        layer_normalise_rows::<true>(values, norm, out);
    }
}

/// `a * b + c`, rounded once if `FUSED`.
#[inline(always)]
pub(crate) fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

#[inline(always)]
fn activate_each<const FUSED: bool>(activation: Activation, values: &mut [f32]) {
    match activation {
        // A comparison that NaN fails.
        Activation::Relu => map(values, |x| if x < 0.0 { 0.0 } else { x }),
        Activation::Sigmoid => map(values, sigmoid::<FUSED>),
        Activation::Tanh => map(values, tanh::<FUSED>),
        Activation::Silu => map(values, |x| x * sigmoid::<FUSED>(x)),
        Activation::Gelu => map(values, gelu::<FUSED>),
        Activation::GeluTanh => map(values, gelu_tanh::<FUSED>),
    }
}

#[inline(always)]
fn map(values: &mut [f32], function: impl Fn(f32) -> f32) {
    for value in values {
        *value = function(*value);
    }
}

#[inline(always)]
pub(crate) fn sigmoid<const FUSED: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FUSED>(-x))
}

/// (1 + tanh(u)) / 2 = sigmoid(2 u), and 2 * sqrt(2 / pi) = 1.595769.
#[inline(always)]
pub(crate) fn gelu_tanh<const FUSED: bool>(x: f32) -> f32 {
    x * sigmoid::<FUSED>(x * multiply_add::<FUSED>(0.071_354_82, x * x, 1.595_769))
}

/// Source of the approximation of erfc: Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26.
#[inline(always)]
fn gelu<const FUSED: bool>(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / multiply_add::<FUSED>(0.327_591_1, z, 1.0);
    let polynomial = polynomial::<FUSED>(t, 1.061_405_4, &[-1.453_152, 1.421_413_8, -0.284_496_72, 0.254_829_6]);
    let tail = 0.5 * (polynomial * t * exp::<FUSED>(-z * z));
    x * if x < 0.0 { tail } else { 1.0 - tail }
}

/// The value at `x` of the polynomial with these coefficients, in the order of falling powers (Horner's scheme).
#[inline(always)]
fn polynomial<const FUSED: bool>(x: f32, highest: f32, others: &[f32]) -> f32 {
    others.iter().fold(highest, |sum, &coefficient| multiply_add::<FUSED>(sum, x, coefficient))
}

/// `e^x` within 2 units of the last place; 0 below -87.3, where results are no normal numbers, and 2.2e38 from 88.3 on. NaN
/// stays NaN.
#[inline(always)]
pub(crate) fn exp<const FUSED: bool>(x: f32) -> f32 {
    const LOWEST: f32 = -87.3;
    const HIGHEST: f32 = 88.3;
    // Not `clamp`, which compilers do not make one instruction.
    let clamped = if x < LOWEST { LOWEST } else { x };
    let clamped = if clamped > HIGHEST { HIGHEST } else { clamped };
    let (scale, rest) = exp_parts::<FUSED>(clamped);
    if x < LOWEST { 0.0 } else { (rest + 1.0) * scale }
}

/// `e^x` as `(scale, rest)`: `scale * (1 + rest)`, the scale a power of two. For x that is neither below -87.3 nor above 88.3.
/// Source of the polynomial: Cephes, `expf.c`.
#[inline(always)]
fn exp_parts<const FUSED: bool>(x: f32) -> (f32, f32) {
    /// Adding 1.5 * 2^23 to a float under 2^22 leaves its nearest integer in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let rounded = multiply_add::<FUSED>(x, std::f32::consts::LOG2_E, ROUND);
    let power = rounded - ROUND;
    // ln 2 in two parts, of which the first has few digits: its products are exact.
    let rest = multiply_add::<FUSED>(power, -0.693_359_4, x);
    let rest = multiply_add::<FUSED>(power, 2.121_944_4e-4, rest);
    let curve = polynomial::<FUSED>(rest, 1.987_569_1e-4, &[1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5]);
    // 2^power, written into the exponent.
    let scale = f32::from_bits((rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127)) << 23);
    (scale, multiply_add::<FUSED>(curve * rest, rest, rest))
}

/// `(e^2x - 1) / (e^2x + 1)`.
#[inline(always)]
pub(crate) fn tanh<const FUSED: bool>(x: f32) -> f32 {
    let difference = exp_2x_less_1::<FUSED>(x);
    difference / (difference + 2.0)
}

/// `sigmoid(x) * tanh(y)`, with one division.
#[inline(always)]
pub(crate) fn sigmoid_times_tanh<const FUSED: bool>(x: f32, y: f32) -> f32 {
    let difference = exp_2x_less_1::<FUSED>(y);
    // The first factor is infinite where the result is 0.
    difference / ((1.0 + exp::<FUSED>(-x)) * (difference + 2.0))
}

/// `e^2x - 1` without cancellation: near 0 the scale is 1. From 10 on as at 10, where the hyperbolic tangent is 1 in `f32`.
#[inline(always)]
fn exp_2x_less_1<const FUSED: bool>(x: f32) -> f32 {
    const HIGHEST: f32 = 20.0;
    let doubled = 2.0 * x;
    let clamped = if doubled < -HIGHEST { -HIGHEST } else { doubled };
    let clamped = if clamped > HIGHEST { HIGHEST } else { clamped };
    let (scale, rest) = exp_parts::<FUSED>(clamped);
    multiply_add::<FUSED>(rest, scale, scale - 1.0)
}

#[inline(always)]
fn softmax_rows<const FUSED: bool>(values: &mut [f32], depth: usize) {
    for row in values.chunks_exact_mut(depth) {
        let largest = fold(row, f32::NEG_INFINITY, |value| value, |largest, value| if value > largest { value } else { largest });
        for value in &mut *row {
            *value = exp::<FUSED>(*value - largest);
        }
        let factor = 1.0 / fold(row, 0.0, |value| value, |sum, value| sum + value);
        for value in row {
            *value *= factor;
        }
    }
}

/// In strips of [`STRIP`] columns, a known number when compiled, and what is left.
#[inline(always)]
fn softmax_blocks<const FUSED: bool>(values: &mut [f32], depth: usize, inner: usize) {
    for block in values.chunks_exact_mut(depth * inner) {
        for start in (0..inner).step_by(STRIP) {
            let strip = &mut block[start..];
            if inner - start >= STRIP {
                softmax_strip::<FUSED>(strip, inner, STRIP);
            } else {
                softmax_strip::<FUSED>(strip, inner, inner - start);
            }
        }
    }
}

/// `width` columns; rows are `stride` apart.
#[inline(always)]
fn softmax_strip<const FUSED: bool>(values: &mut [f32], stride: usize, width: usize) {
    let mut largest = [f32::NEG_INFINITY; STRIP];
    for row in values.chunks(stride) {
        for (largest, &value) in largest.iter_mut().zip(&row[..width]) {
            *largest = if value > *largest { value } else { *largest };
        }
    }
    // Sums of LANES rows each are added up, which keeps roundings as few as `fold` does.
    let mut sums = [0.0; STRIP];
    for rows in values.chunks_mut(LANES * stride) {
        let mut parts = [0.0; STRIP];
        for row in rows.chunks_mut(stride) {
            for ((part, value), largest) in parts.iter_mut().zip(&mut row[..width]).zip(largest) {
                *value = exp::<FUSED>(*value - largest);
                *part += *value;
            }
        }
        for (sum, part) in sums.iter_mut().zip(parts) {
            *sum += part;
        }
    }
    let factors = sums.map(|sum| 1.0 / sum);
    for row in values.chunks_mut(stride) {
        for (value, factor) in row[..width].iter_mut().zip(factors) {
            *value *= factor;
        }
    }
}

#[inline(always)]
fn layer_normalise_rows<const FUSED: bool>(values: &[f32], norm: &LayerNorm<'_>, out: &mut [f32]) {
    let depth = norm.scale.len();
    for (row, out) in values.chunks_exact(depth).zip(out.chunks_exact_mut(depth)) {
        let mean = fold(row, 0.0, |value| value, |sum, value| sum + value) / depth as f32;
        for (out, &value) in out.iter_mut().zip(row) {
            *out = value - mean;
        }
        let variance = fold(out, 0.0, |value| value * value, |sum, square| sum + square) / depth as f32;
        let factor = 1.0 / (variance + norm.epsilon).sqrt();
        if norm.bias.is_empty() {
            for (out, &scale) in out.iter_mut().zip(norm.scale) {
                *out *= factor * scale;
            }
        } else {
            for ((out, &scale), &bias) in out.iter_mut().zip(norm.scale).zip(norm.bias) {
                *out = multiply_add::<FUSED>(*out, factor * scale, bias);
            }
        }
    }
}

/// Joins the images of all values: each of [`LANES`] neighbours into a partial result of its own, and these at the end.
#[inline(always)]
pub(crate) fn fold(values: &[f32], start: f32, image: impl Fn(f32) -> f32, join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut parts = [start; LANES];
    let (blocks, left) = values.as_chunks::<LANES>();
    for block in blocks {
        for (part, &value) in parts.iter_mut().zip(block) {
            *part = join(*part, image(value));
        }
    }
    for (part, &value) in parts.iter_mut().zip(left) {
        *part = join(*part, image(value));
    }
    parts.into_iter().fold(start, join)
}
