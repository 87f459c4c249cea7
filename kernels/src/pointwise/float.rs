//! Activations, softmax and layer normalisation in `f32`. One code for all instruction sets, compiled once for each, with fused
//! multiply-add where the set has it. So the last bits differ between CPUs; all are within the stated bounds.

use crate::InstructionSet;
use crate::loops::{self, Loop};

/// Partial sums that are kept side by side, whatever the width of the vectors.
const LANES: usize = 16;

/// Columns whose softmax is computed at once: with the rows of a usual depth, within the first-level cache.
const STRIP: usize = 32;

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
    loops::run(set, Activate { activation, values });
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
    loops::run(set, Softmax { values, depth });
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
    loops::run(set, SoftmaxColumns { values, depth, inner });
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
    loops::run(set, Normalise { values, norm, out });
}

fn check_rows(what: &str, length: usize, depth: usize) {
    assert!(depth > 0 && length.is_multiple_of(depth), "{what}: {length} values are not whole rows of {depth}");
}

pub(super) fn check_blocks(what: &str, length: usize, depth: usize, inner: usize) {
    let whole = depth.checked_mul(inner).is_some_and(|block| block > 0 && length.is_multiple_of(block));
    assert!(whole, "{what}: {length} values are not whole blocks of {depth} x {inner}");
}

/// `a * b + c`, rounded once if `FUSED`.
#[inline(always)]
pub(crate) fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// [`activate`] as a loop.
struct Activate<'a> {
    activation: Activation,
    values: &'a mut [f32],
}

impl Loop for Activate<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Activate { activation, values } = self;
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

/// `x * (1/2 + x P(x^2) / Q(x^2))`: the quotient fits the distribution function of the normal distribution less a half, with errors
/// of at most 2e-8 between -5.5 and 5.5, beyond which it changes by no more.
#[inline(always)]
#[expect(clippy::manual_clamp, reason = "each of the two is one instruction, which the comparisons of `clamp` are not")]
fn gelu<const FUSED: bool>(x: f32) -> f32 {
    const FURTHEST: f32 = 5.5;
    const ABOVE: [f32; 6] = [-2.231_784_9e-8, 3.325_514e-6, 1.765_728_4e-4, 4.545_903_4e-3, 3.648_502_3e-2, 3.989_42e-1];
    const BELOW: [f32; 4] = [1.864_733_9e-3, 2.942_009_4e-2, 2.581_176_1e-1, 1.0];
    let held = if cfg!(target_arch = "aarch64") {
        // One instruction each, where the comparisons below are two. The product at the end is NaN where `x` is.
        x.max(-FURTHEST).min(FURTHEST)
    } else {
        let held = if x < -FURTHEST { -FURTHEST } else { x };
        if held > FURTHEST { FURTHEST } else { held }
    };
    let square = held * held;
    let above = polynomial::<FUSED>(square, 1.119_079e-10, &ABOVE);
    let below = polynomial::<FUSED>(square, 6.456_11e-5, &BELOW);
    x * (held * above / below + 0.5)
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

/// [`softmax`] as a loop.
struct Softmax<'a> {
    values: &'a mut [f32],
    depth: usize,
}

impl Loop for Softmax<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        for row in self.values.chunks_exact_mut(self.depth) {
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
}

/// [`softmax_columns`] as a loop: in strips of [`STRIP`] columns, a known number when compiled, and what is left.
struct SoftmaxColumns<'a> {
    values: &'a mut [f32],
    depth: usize,
    inner: usize,
}

impl Loop for SoftmaxColumns<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let SoftmaxColumns { values, depth, inner } = self;
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

/// [`layer_normalise`] as a loop.
struct Normalise<'a> {
    values: &'a [f32],
    norm: &'a LayerNorm<'a>,
    out: &'a mut [f32],
}

impl Loop for Normalise<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Normalise { values, norm, out } = self;
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
