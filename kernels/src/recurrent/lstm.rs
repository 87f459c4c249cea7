//! The step of an LSTM.

use super::{Function, Loop, clip, run};
use crate::InstructionSet;
use crate::pointwise::{sigmoid, sigmoid_times_tanh};

/// An LSTM's gates, as ONNX defines them.
#[derive(Debug, Clone, PartialEq)]
pub struct Lstm {
    /// Of the gates i, o and f; of the gate c; of the cell on its way to the output.
    pub functions: [Function; 3],
    /// Empty, or the weights of the cell in the gates i, o and f, for each unit.
    pub peepholes: Vec<f32>,
    /// What the functions' arguments are held between, that of the cell's excepted.
    pub clip: Option<f32>,
    /// Whether the gate f is `1 - i`.
    pub input_forget: bool,
}

impl Lstm {
    /// Makes a step of one item. `gates` are the sums of the gates i, o, f and c, one after the other; they are used up. `cell` and
    /// `output` are the state, replaced.
    ///
    /// # Panics
    /// If there are not four gates for each unit of the cell and the output, or other than no or three peepholes.
    pub fn step(&self, set: InstructionSet, gates: &mut [f32], cell: &mut [f32], output: &mut [f32]) {
        let units = output.len();
        assert!(cell.len() == units && gates.len() == 4 * units, "recurrent: four gates for each of {units} units");
        assert!([0, 3 * units].contains(&self.peepholes.len()), "recurrent: no peepholes, or three for each of {units} units");
        let usual = self.functions == [Function::Sigmoid, Function::Tanh, Function::Tanh];
        if usual && self.peepholes.is_empty() && self.clip.is_none() && !self.input_forget {
            run(set, Usual { gates, cell, output });
        } else {
            self.any_step(set, gates, cell, output);
        }
    }

    fn any_step(&self, set: InstructionSet, gates: &mut [f32], cell: &mut [f32], output: &mut [f32]) {
        let units = output.len();
        let [of_gates, of_input, of_cell] = self.functions;
        let (input, rest) = gates.split_at_mut(units);
        let (out, rest) = rest.split_at_mut(units);
        let (forget, candidate) = rest.split_at_mut(units);
        let peepholes = |gate: usize| self.peepholes.get(gate * units..(gate + 1) * units).unwrap_or_default();
        add_product(input, peepholes(0), cell);
        add_product(forget, peepholes(2), cell);
        for (gate, function) in [(&mut *input, of_gates), (&mut *forget, of_gates), (&mut *candidate, of_input)] {
            clip(gate, self.clip);
            function.apply(set, gate);
        }
        if self.input_forget {
            forget.iter_mut().zip(&*input).for_each(|(forget, input)| *forget = 1.0 - input);
        }
        for (((cell, forget), input), candidate) in cell.iter_mut().zip(forget).zip(input).zip(candidate) {
            *cell = *forget * *cell + *input * *candidate;
        }
        add_product(out, peepholes(1), cell);
        clip(out, self.clip);
        of_gates.apply(set, out);
        output.copy_from_slice(cell);
        of_cell.apply(set, output);
        output.iter_mut().zip(out).for_each(|(output, gate)| *output *= *gate);
    }
}

/// `gate += peephole * cell`.
fn add_product(gate: &mut [f32], peepholes: &[f32], cell: &[f32]) {
    for ((gate, peephole), cell) in gate.iter_mut().zip(peepholes).zip(cell) {
        *gate += peephole * cell;
    }
}

/// The step of the LSTM that frameworks have.
struct Usual<'a> {
    gates: &'a [f32],
    cell: &'a mut [f32],
    output: &'a mut [f32],
}

impl Loop for Usual<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Usual { gates, cell, output } = self;
        let units = output.len();
        let (input, rest) = gates.split_at(units);
        let (out, rest) = rest.split_at(units);
        let (forget, candidate) = rest.split_at(units);
        // Two loops: the chain of operations of one would be longer than what a CPU looks ahead.
        for (((cell, input), forget), candidate) in cell.iter_mut().zip(input).zip(forget).zip(candidate) {
            *cell = sigmoid::<FUSED>(*forget) * *cell + sigmoid_times_tanh::<FUSED>(*input, *candidate);
        }
        for ((output, cell), out) in output.iter_mut().zip(cell).zip(out) {
            *output = sigmoid_times_tanh::<FUSED>(*out, *cell);
        }
    }
}
