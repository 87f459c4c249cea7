//! The functions that ONNX gives gates.

use crate::InstructionSet;
use crate::pointwise::{Activation, activate_on};

/// A function of a gate, as ONNX names them, with its parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Function {
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `max(x, 0)`.
    Relu,
    /// `alpha * x + beta`.
    Affine {
        /// See there.
        alpha: f32,
        /// See there.
        beta: f32,
    },
    /// `x`, or `alpha * x` below 0.
    LeakyRelu {
        /// See there.
        alpha: f32,
    },
    /// `x`, or 0 below `alpha`.
    ThresholdedRelu {
        /// See there.
        alpha: f32,
    },
    /// `alpha * tanh(beta * x)`.
    ScaledTanh {
        /// See there.
        alpha: f32,
        /// See there.
        beta: f32,
    },
    /// `min(max(alpha * x + beta, 0), 1)`.
    HardSigmoid {
        /// See there.
        alpha: f32,
        /// See there.
        beta: f32,
    },
    /// `x`, or `alpha * (exp(x) - 1)` below 0.
    Elu {
        /// See there.
        alpha: f32,
    },
    /// `x / (1 + |x|)`.
    Softsign,
    /// `ln(1 + exp(x))`.
    Softplus,
}

impl Function {
    /// Applies it to each value.
    pub(super) fn apply(self, set: InstructionSet, values: &mut [f32]) {
        match self {
            Function::Sigmoid => activate_on(set, Activation::Sigmoid, values),
            Function::Tanh => activate_on(set, Activation::Tanh, values),
            Function::Relu => activate_on(set, Activation::Relu, values),
            Function::Affine { alpha, beta } => each(values, |x| alpha * x + beta),
            Function::LeakyRelu { alpha } => each(values, |x| if x < 0.0 { alpha * x } else { x }),
            Function::ThresholdedRelu { alpha } => each(values, |x| if x < alpha { 0.0 } else { x }),
            Function::ScaledTanh { alpha, beta } => {
                each(values, |x| beta * x);
                activate_on(set, Activation::Tanh, values);
                each(values, |x| alpha * x);
            }
            Function::HardSigmoid { alpha, beta } => each(values, |x| {
                let x = alpha * x + beta;
                let low = if x < 0.0 { 0.0 } else { x };
                if low > 1.0 { 1.0 } else { low }
            }),
            Function::Elu { alpha } => each(values, |x| if x < 0.0 { alpha * x.exp_m1() } else { x }),
            Function::Softsign => each(values, |x| x / (1.0 + x.abs())),
            // Without a power that leaves the range.
            Function::Softplus => each(values, |x| if x > 0.0 { x + (-x).exp().ln_1p() } else { x.exp().ln_1p() }),
        }
    }
}

fn each(values: &mut [f32], function: impl Fn(f32) -> f32) {
    values.iter_mut().for_each(|value| *value = function(*value));
}
