//! The gated activations between a feed-forward network's two products: a function of the gate times the other half.

use crate::InstructionSet;
use crate::loops::{Loop, run};
use crate::pointwise::{gelu_tanh, sigmoid};

/// What becomes of a gate `g` and the value beside it, `u` (Shazeer 2020, "GLU Variants Improve Transformer").
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Gate {
    /// SwiGLU: `silu(g) * u`, within `3e-7 * max(1, |g|) * |u|`.
    Silu,
    /// GeGLU with GELU by way of the hyperbolic tangent: `gelu(g) * u`, within `3e-7 * max(1, |g|) * |u|`.
    GeluTanh,
    /// That of gpt-oss: `g * sigmoid(alpha * g) * (u + 1)`, `g` held under `limit`, `u` between `-limit` and `limit`; within
    /// `5e-7 * max(1, |g|) * (1 + |u|)`.
    Clamped {
        /// What the gate is multiplied by within the sigmoid.
        alpha: f32,
        /// The largest gate and value.
        limit: f32,
    },
}

/// Replaces each gate by the product with the value beside it. NaN stays NaN.
///
/// # Panics
/// If `gates` and `values` differ in length.
pub fn gate(set: InstructionSet, gate: Gate, gates: &mut [f32], values: &[f32]) {
    struct InPlace<'a>(&'a mut [f32], &'a [f32]);
    impl Pairs for InPlace<'_> {
        #[inline(always)]
        fn map(self, function: impl Fn(f32, f32) -> f32) {
            for (gate, &value) in self.0.iter_mut().zip(self.1) {
                *gate = function(*gate, value);
            }
        }
    }
    assert_eq!(gates.len(), values.len(), "gate: a value for each gate");
    run(set, Gated(gate, InPlace(gates, values)));
}

/// [`gate`] of rows that hold `width` gates and then as many values, as one fused product gives them. `out` gets rows of `width`.
///
/// # Panics
/// If `fused` is not whole rows, or `out` is not half as long.
pub fn gate_halves(set: InstructionSet, gate: Gate, fused: &[f32], width: usize, out: &mut [f32]) {
    struct Halves<'a>(&'a [f32], usize, &'a mut [f32]);
    impl Pairs for Halves<'_> {
        #[inline(always)]
        fn map(self, function: impl Fn(f32, f32) -> f32) {
            let Halves(fused, width, out) = self;
            for (row, out) in fused.chunks_exact(2 * width).zip(out.chunks_exact_mut(width)) {
                let (gates, values) = row.split_at(width);
                for ((out, &gate), &value) in out.iter_mut().zip(gates).zip(values) {
                    *out = function(gate, value);
                }
            }
        }
    }
    assert!(width > 0 && fused.len().is_multiple_of(2 * width), "gate: {} values are not whole rows of 2 x {width}", fused.len());
    assert_eq!(2 * out.len(), fused.len(), "gate: a result for each gate");
    run(set, Gated(gate, Halves(fused, width, out)));
}

/// Gates and values, and where results go.
trait Pairs {
    fn map(self, function: impl Fn(f32, f32) -> f32);
}

struct Gated<P>(Gate, P);

impl<P: Pairs> Loop for Gated<P> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Gated(gate, pairs) = self;
        match gate {
            Gate::Silu => pairs.map(|gate, value| gate * sigmoid::<FUSED>(gate) * value),
            Gate::GeluTanh => pairs.map(|gate, value| gelu_tanh::<FUSED>(gate) * value),
            Gate::Clamped { alpha, limit } => pairs.map(|gate, value| {
                // Comparisons that NaN fails.
                let gate = if gate > limit { limit } else { gate };
                let value = if value > limit { limit } else { value };
                let value = if value < -limit { -limit } else { value };
                gate * sigmoid::<FUSED>(alpha * gate) * (value + 1.0)
            }),
        }
    }
}
