//! Sums of products of rows that were each quantized on a grid of their own, made floats after the product.

use crate::InstructionSet;
use crate::loops::{self, Loop, hold};

/// What the outputs of a product bring to that.
#[derive(Debug, Clone, Copy)]
pub struct Dynamic<'a> {
    /// For each output, the sum of its weights.
    pub weight_sums: &'a [i32],
    /// For each output.
    pub scale: &'a [f32],
    /// For each output.
    pub bias: &'a [f32],
    /// Between which results are held.
    pub limits: [f32; 2],
}

impl Dynamic<'_> {
    /// `out = (sum - weight sum * zero_point) * (scale * step) + bias` of whole rows of one grid, whose scale is `step`.
    ///
    /// # Panics
    /// If there are not as many sums as results, or not a value for each output.
    pub fn finish(&self, sums: &[i32], zero_point: i32, step: f32, out: &mut [f32]) {
        let outputs = self.weight_sums.len();
        assert!(sums.len() == out.len() && out.len().is_multiple_of(outputs.max(1)), "dynamic: whole rows of sums and results");
        assert!([self.scale.len(), self.bias.len()] == [outputs; 2], "dynamic: a scale and a bias for each output");
        loops::run(InstructionSet::best(), Rows { outputs: self, sums, zero_point, step, out });
    }
}

struct Rows<'a> {
    outputs: &'a Dynamic<'a>,
    sums: &'a [i32],
    zero_point: i32,
    step: f32,
    out: &'a mut [f32],
}

impl Loop for Rows<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Rows { outputs: Dynamic { weight_sums, scale, bias, limits }, sums, zero_point, step, out } = self;
        let count = weight_sums.len().max(1);
        for (out, sums) in out.chunks_exact_mut(count).zip(sums.chunks_exact(count)) {
            for ((((out, sum), weights), scale), bias) in out.iter_mut().zip(sums).zip(*weight_sums).zip(*scale).zip(*bias) {
                *out = sum.wrapping_sub(weights.wrapping_mul(zero_point)) as f32 * (scale * step) + bias;
            }
            hold(*limits, out);
        }
    }
}
