//! One direction of a layer: what happens to the states of a batch at each step.

use super::products::{Memory, Products, Steps};
use hearth_kernels::recurrent::{Gru, Lstm};
use hearth_kernels::{InstructionSet, float};

/// Rows of gates that are computed at once: they stay in the cache until their steps use them up.
const ROWS: usize = 64;

/// One direction of a layer.
#[derive(Debug)]
pub(super) struct Direction {
    /// Whether it begins with the last step.
    pub(super) backward: bool,
    /// Products of the input, for all gates.
    pub(super) input: Products,
    /// What the gates start from.
    pub(super) bias: Vec<f32>,
    pub(super) cell: Cell,
}

/// What becomes of the sums of the gates.
#[derive(Debug)]
pub(super) enum Cell {
    Lstm { lstm: Lstm, state: Products },
    Gru { gru: Gru, gates: float::Weights, candidate: Candidate },
}

/// The state's part of a GRU's candidate.
#[derive(Debug)]
pub(super) enum Candidate {
    /// A product with the state that has been reset.
    AfterReset(float::Weights),
    /// A product with the state, and a bias of its own, reset after that.
    BeforeReset(float::Weights, Vec<f32>),
}

/// The states of a batch: a row of units for each item.
#[derive(Default)]
pub(super) struct States {
    pub(super) hidden: Vec<f32>,
    /// Of an LSTM.
    pub(super) cell: Vec<f32>,
}

/// Memory between the loops, one a thread.
#[derive(Default)]
pub(super) struct Buffers {
    gates: Vec<f32>,
    /// A GRU's second product.
    product: Vec<f32>,
    products: Memory,
}

impl Direction {
    pub(super) fn bytes(&self) -> usize {
        let cell = match &self.cell {
            Cell::Lstm { lstm, state } => state.bytes() + size_of_val(lstm.peepholes.as_slice()),
            Cell::Gru { gates, candidate: Candidate::AfterReset(weights), .. } => gates.bytes() + weights.bytes(),
            Cell::Gru { gates, candidate: Candidate::BeforeReset(weights, bias), .. } => {
                gates.bytes() + weights.bytes() + size_of_val(bias.as_slice())
            }
        };
        self.input.bytes() + size_of_val(self.bias.as_slice()) + cell
    }

    /// Makes all steps. An item that ends before a step keeps its state there; `emit` is told of the states of all others.
    pub(super) fn run(
        &self,
        x: &[f32],
        steps: Steps,
        is_active: &dyn Fn(usize, usize) -> bool,
        states: &mut States,
        buffers: &mut Buffers,
        mut emit: impl FnMut(usize, usize, &[f32]),
    ) {
        if steps.count == 0 || steps.batch == 0 {
            return;
        }
        let (width, units) = (self.input.outputs(), states.hidden.len() / steps.batch);
        let x = self.input.prepare(x, steps);
        let parts = (steps.count * steps.batch).div_ceil(ROWS).min(steps.count);
        for number in 0..parts {
            let number = if self.backward { parts - 1 - number } else { number };
            let part = steps.count * number / parts..steps.count * (number + 1) / parts;
            buffers.gates.resize(part.len() * steps.batch * width, 0.0);
            self.input.of_input(&x, steps, part.clone(), &self.bias, &mut buffers.gates, &mut buffers.products);
            let within = Steps { count: part.len(), ..steps };
            for index in 0..part.len() {
                let step = if self.backward { part.end - 1 - index } else { part.start + index };
                let first = within.row(step - part.start, 0) * width;
                let active = |item: usize| is_active(step, item);
                self.cell.step(states, units, steps.batch, first, within.item_stride() * width, &active, buffers);
                for (item, hidden) in states.hidden.chunks_exact(units.max(1)).enumerate().filter(|(item, _)| active(*item)) {
                    emit(step, item, hidden);
                }
            }
        }
    }
}

impl Cell {
    /// Makes a step with all active items of a batch; their gates begin at `first`, `stride` apart.
    #[expect(clippy::too_many_arguments, reason = "where the rows of a step are")]
    fn step(
        &self,
        states: &mut States,
        units: usize,
        batch: usize,
        first: usize,
        stride: usize,
        is_active: &dyn Fn(usize) -> bool,
        buffers: &mut Buffers,
    ) {
        let set = InstructionSet::best();
        let Buffers { gates, product, products } = buffers;
        let gates = &mut gates[first..];
        let States { hidden, cell } = states;
        let plain = float::Finish { accumulate: true, ..float::Finish::default() };
        let rows = |values| float::Matrix::new(values, batch, units, units);
        let at = |item: usize| item * units..(item + 1) * units;
        match self {
            Cell::Lstm { lstm, state } => {
                state.add_state(hidden, batch, gates, stride, products);
                for item in (0..batch).filter(|item| is_active(*item)) {
                    lstm.step(set, &mut gates[item * stride..][..4 * units], &mut cell[at(item)], &mut hidden[at(item)]);
                }
            }
            Cell::Gru { gru, gates: weights, candidate } => {
                float::multiply(weights, 0..2 * units, &rows(hidden), &plain, gates, stride);
                product.resize(batch * units, 0.0);
                match candidate {
                    Candidate::BeforeReset(weights, bias) => {
                        float::multiply(
                            weights,
                            0..units,
                            &rows(hidden),
                            &float::Finish { bias, ..float::Finish::default() },
                            product,
                            units,
                        );
                        for item in (0..batch).filter(|item| is_active(*item)) {
                            gru.step(set, &mut gates[item * stride..][..3 * units], &product[at(item)], &mut hidden[at(item)]);
                        }
                    }
                    Candidate::AfterReset(weights) => {
                        for item in 0..batch {
                            gru.reset(set, &mut gates[item * stride..][..2 * units], &hidden[at(item)], &mut product[at(item)]);
                        }
                        float::multiply(weights, 0..units, &rows(product), &plain, &mut gates[2 * units..], stride);
                        for item in (0..batch).filter(|item| is_active(*item)) {
                            let (update, rest) = gates[item * stride..][..3 * units].split_at_mut(units);
                            gru.finish(set, update, &mut rest[units..], &mut hidden[at(item)]);
                        }
                    }
                }
            }
        }
    }
}
