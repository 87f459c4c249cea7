//! The step of a GRU.

use super::{Function, Loop, clip, run};
use crate::InstructionSet;
use crate::pointwise::{multiply_add, sigmoid, tanh};

/// A GRU's gates, as ONNX defines them.
#[derive(Debug, Clone, PartialEq)]
pub struct Gru {
    /// Of the gates z and r; of the candidate.
    pub functions: [Function; 2],
    /// What the functions' arguments are held between.
    pub clip: Option<f32>,
}

impl Gru {
    /// Makes a step of one item whose candidate resets the product with the state (`linear_before_reset`). `gates` are the sums of the
    /// gates z and r and of the input's part of the candidate, one after the other; they are used up. `product` is the state's part
    /// of the candidate, its bias in it. `state` is replaced.
    ///
    /// # Panics
    /// If there are not three gates and one product for each unit of the state.
    pub fn step(&self, set: InstructionSet, gates: &mut [f32], product: &[f32], state: &mut [f32]) {
        let units = state.len();
        assert!(product.len() == units && gates.len() == 3 * units, "recurrent: three gates for each of {units} units");
        if self.is_usual() {
            return run(set, Usual { gates, product, state });
        }
        let (update, rest) = gates.split_at_mut(units);
        let (reset, candidate) = rest.split_at_mut(units);
        self.apply(set, 0, reset);
        for ((candidate, reset), product) in candidate.iter_mut().zip(reset).zip(product) {
            *candidate += *reset * product;
        }
        self.apply(set, 0, update);
        self.finish(set, update, candidate, state);
    }

    /// The first half of a step whose candidate takes a product with the reset state: the gates z and r become what they are, and
    /// `reset` the state times r.
    ///
    /// # Panics
    /// If there are not two gates for each unit of the state and of `reset`.
    pub fn reset(&self, set: InstructionSet, gates: &mut [f32], state: &[f32], reset: &mut [f32]) {
        let units = state.len();
        assert!(reset.len() == units && gates.len() == 2 * units, "recurrent: two gates for each of {units} units");
        self.apply(set, 0, gates);
        for ((reset, state), gate) in reset.iter_mut().zip(state).zip(&gates[units..]) {
            *reset = state * gate;
        }
    }

    /// The second half: `update` is the gate z, `candidate` the sum of the candidate, used up; `state` is replaced.
    ///
    /// # Panics
    /// If the slices differ in length.
    pub fn finish(&self, set: InstructionSet, update: &[f32], candidate: &mut [f32], state: &mut [f32]) {
        assert!(update.len() == state.len() && candidate.len() == state.len(), "recurrent: a gate for each of {} units", state.len());
        self.apply(set, 1, candidate);
        for ((state, update), candidate) in state.iter_mut().zip(update).zip(candidate) {
            *state = (1.0 - update) * *candidate + update * *state;
        }
    }

    fn is_usual(&self) -> bool {
        self.functions == [Function::Sigmoid, Function::Tanh] && self.clip.is_none()
    }

    fn apply(&self, set: InstructionSet, function: usize, gate: &mut [f32]) {
        clip(gate, self.clip);
        self.functions[function].apply(set, gate);
    }
}

/// The step of the GRU that frameworks have.
struct Usual<'a> {
    gates: &'a mut [f32],
    product: &'a [f32],
    state: &'a mut [f32],
}

impl Loop for Usual<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Usual { gates, product, state } = self;
        let (update, rest) = gates.split_at_mut(state.len());
        let (reset, candidate) = rest.split_at_mut(state.len());
        // Two loops: the chain of operations of one would be longer than what a CPU looks ahead.
        for ((candidate, reset), product) in candidate.iter_mut().zip(reset).zip(product) {
            *candidate = multiply_add::<FUSED>(sigmoid::<FUSED>(*reset), *product, *candidate);
        }
        for ((state, update), candidate) in state.iter_mut().zip(update).zip(candidate) {
            let candidate = tanh::<FUSED>(*candidate);
            // (1 - z) * candidate + z * state.
            *state = multiply_add::<FUSED>(sigmoid::<FUSED>(*update), *state - candidate, candidate);
        }
    }
}
