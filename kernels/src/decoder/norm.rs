//! RMS normalisation of rows: of a layer's activations, or of each head of the queries and keys.

use crate::InstructionSet;
use crate::loops::{Loop, run};
use crate::pointwise::fold;

/// The parameters of an RMS normalisation (Zhang and Sennrich, 2019): `x / sqrt(mean(x^2) + epsilon) * weight`.
#[derive(Debug, Clone, Copy)]
pub struct RmsNorm<'a> {
    /// One for each value of a row. Where a family defines `1 + weight`, the 1 is in it, as in GGUF.
    pub weights: &'a [f32],
    /// Added to the mean of squares.
    pub epsilon: f32,
}

/// Normalises each row, as long as there are weights. A result is within `(width / 16 + 24) * 2^-24` of the exact one, relatively,
/// and depends on its row alone.
///
/// # Panics
/// If the values are not whole rows, or `out` is not as long.
pub fn rms_normalise(set: InstructionSet, values: &[f32], norm: &RmsNorm<'_>, out: &mut [f32]) {
    struct Apart<'a>(&'a [f32], &'a RmsNorm<'a>, &'a mut [f32]);
    impl Loop for Apart<'_> {
        #[inline(always)]
        fn run<const FUSED: bool>(self) {
            let Apart(values, norm, out) = self;
            let width = norm.weights.len();
            for (row, out) in values.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
                let factor = norm.factor(row);
                for ((out, value), weight) in out.iter_mut().zip(row).zip(norm.weights) {
                    *out = value * factor * weight;
                }
            }
        }
    }
    norm.check(values.len());
    assert_eq!(values.len(), out.len(), "RMS norm: as many results as values");
    run(set, Apart(values, norm, out));
}

/// [`rms_normalise`] of values that are replaced. With as many weights as a head is wide, it normalises each head of the queries or
/// keys.
///
/// # Panics
/// If the values are not whole rows.
pub fn rms_normalise_in_place(set: InstructionSet, values: &mut [f32], norm: &RmsNorm<'_>) {
    struct InPlace<'a>(&'a mut [f32], &'a RmsNorm<'a>);
    impl Loop for InPlace<'_> {
        #[inline(always)]
        fn run<const FUSED: bool>(self) {
            let InPlace(values, norm) = self;
            for row in values.chunks_exact_mut(norm.weights.len()) {
                let factor = norm.factor(row);
                for (value, weight) in row.iter_mut().zip(norm.weights) {
                    *value = *value * factor * weight;
                }
            }
        }
    }
    norm.check(values.len());
    run(set, InPlace(values, norm));
}

impl RmsNorm<'_> {
    fn check(&self, length: usize) {
        let width = self.weights.len();
        assert!(width > 0 && length.is_multiple_of(width), "RMS norm: {length} values are not whole rows of {width}");
    }

    #[inline(always)]
    fn factor(&self, row: &[f32]) -> f32 {
        let squares = fold(row, 0.0, |value| value * value, |sum, square| sum + square);
        1.0 / (squares / row.len() as f32 + self.epsilon).sqrt()
    }
}
