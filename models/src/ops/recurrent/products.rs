//! The products of an LSTM's or GRU's gates: of all steps with the input's weights at once, of one step with the state's.

use hearth_kernels::recurrent::add_integer_products;
use hearth_kernels::{InstructionSet, float, linear, quant};
use std::ops::Range;

/// The steps of a batch as they lie in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steps {
    pub(super) count: usize,
    pub(super) batch: usize,
    /// Whether an item's steps are neighbours, not a step's items.
    pub(super) batch_first: bool,
}

impl Steps {
    /// Where an item has a step.
    pub(super) fn row(&self, step: usize, item: usize) -> usize {
        if self.batch_first { item * self.count + step } else { step * self.batch + item }
    }

    /// From an item to the next.
    pub(super) fn item_stride(&self) -> usize {
        if self.batch_first { self.count } else { 1 }
    }

    /// From a step to the next.
    fn step_stride(&self) -> usize {
        if self.batch_first { 1 } else { self.batch }
    }
}

/// Products of the input.
#[derive(Debug)]
pub(super) enum Input {
    Float(float::Weights),
    Integer(Integer),
}

/// The input, as the products take it.
pub(super) enum Prepared<'a> {
    Float(&'a [f32]),
    /// Each item on a grid of its own, its steps neighbours.
    Integer(Vec<i8>, Vec<quant::Grid>),
}

impl Input {
    pub(super) fn outputs(&self) -> usize {
        match self {
            Input::Float(weights) => weights.outputs(),
            Input::Integer(integer) => integer.weights.outputs(),
        }
    }

    pub(super) fn depth(&self) -> usize {
        match self {
            Input::Float(weights) => weights.depth(),
            Input::Integer(integer) => integer.weights.depth(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Input::Float(weights) => weights.bytes(),
            Input::Integer(integer) => integer.bytes(),
        }
    }

    /// Quantizes each item on the grid that covers all of its steps.
    pub(super) fn prepare<'a>(&self, x: &'a [f32], steps: Steps) -> Prepared<'a> {
        let (Input::Integer(_), depth) = (self, self.depth()) else { return Prepared::Float(x) };
        let size = steps.count * depth;
        let (mut integers, mut item_values) = (vec![0; steps.batch * size], Vec::new());
        let grids = integers.chunks_exact_mut(size.max(1)).enumerate().map(|(item, integers)| {
            if steps.step_stride() == 1 {
                return quant::dynamic_quantize(&x[item * size..][..size], integers);
            }
            item_values.clear();
            (0..steps.count).for_each(|step| item_values.extend_from_slice(&x[steps.row(step, item) * depth..][..depth]));
            quant::dynamic_quantize(&item_values, integers)
        });
        let grids = grids.collect();
        Prepared::Integer(integers, grids)
    }

    /// The sums of some steps' gates: `gates` holds a row for each step and item, as `part` tells.
    pub(super) fn multiply(
        &self,
        x: &Prepared<'_>,
        steps: Steps,
        some: Range<usize>,
        bias: &[f32],
        gates: &mut [f32],
        scratch: &mut linear::Scratch,
    ) {
        let (outputs, depth) = (self.outputs(), self.depth());
        let part = Steps { count: some.len(), ..steps };
        match (self, x) {
            (Input::Float(weights), Prepared::Float(x)) => {
                let finish = float::Finish { bias, ..float::Finish::default() };
                // Runs of rows that are neighbours both here and there.
                let (runs, rows) = if steps.batch_first { (steps.batch, some.len()) } else { (1, some.len() * steps.batch) };
                for run in 0..runs {
                    let matrix = float::Matrix::new(&x[steps.row(some.start, run) * depth..], rows, depth, depth);
                    float::multiply(weights, 0..outputs, &matrix, &finish, &mut gates[part.row(0, run) * outputs..], outputs);
                }
            }
            (Input::Integer(integer), Prepared::Integer(x, grids)) => {
                for (item, grid) in grids.iter().enumerate() {
                    let item_steps = &x[(item * steps.count + some.start) * depth..][..some.len() * depth];
                    let matrix = linear::Matrix::new(item_steps, some.len(), depth, depth);
                    let offset: Vec<i32> = integer.weights.sums().iter().map(|sum| sum.wrapping_mul(-grid.zero_point())).collect();
                    let finish = linear::Float { offset: &offset, scale: &integer.scale, row_scale: &vec![grid.scale(); some.len()], bias };
                    let (gates, stride) = (&mut gates[part.row(0, item) * outputs..], part.step_stride() * outputs);
                    linear::multiply(&integer.weights, 0..outputs, &matrix, &finish, gates, stride, scratch);
                }
            }
            _ => unreachable!("an input that these products prepared"),
        }
    }
}

/// Products with integer weights.
#[derive(Debug)]
pub(super) struct Integer {
    pub(super) weights: linear::Weights,
    /// One for each output.
    pub(super) scale: Vec<f32>,
}

impl Integer {
    pub(super) fn bytes(&self) -> usize {
        self.weights.bytes() + size_of_val(self.scale.as_slice())
    }
}

/// Products of the state.
#[derive(Debug)]
pub(super) enum State {
    Float(float::Weights),
    Integer(Integer),
}

/// Memory of products with integers.
#[derive(Default)]
pub(super) struct Memory {
    integers: Vec<i8>,
    grids: Vec<(f32, i32)>,
    sums: Vec<i32>,
    pub(super) scratch: linear::Scratch,
}

impl State {
    pub(super) fn outputs(&self) -> usize {
        match self {
            State::Float(weights) => weights.outputs(),
            State::Integer(integer) => integer.weights.outputs(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            State::Float(weights) => weights.bytes(),
            State::Integer(integer) => integer.bytes(),
        }
    }

    /// Adds the products of the states of all items to the rows of their gates, `stride` apart.
    pub(super) fn add(&self, set: InstructionSet, states: &[f32], batch: usize, gates: &mut [f32], stride: usize, memory: &mut Memory) {
        let outputs = self.outputs();
        match self {
            State::Float(weights) => {
                let finish = float::Finish { accumulate: true, ..float::Finish::default() };
                let matrix = float::Matrix::new(states, batch, weights.depth(), weights.depth());
                float::multiply(weights, 0..outputs, &matrix, &finish, gates, stride);
            }
            State::Integer(Integer { weights, scale }) => {
                let Memory { integers, grids, sums, scratch } = memory;
                let depth = weights.depth();
                integers.resize(states.len(), 0);
                sums.resize(batch * outputs, 0);
                grids.clear();
                grids.extend(states.chunks_exact(depth.max(1)).zip(integers.chunks_exact_mut(depth.max(1))).map(|(state, integers)| {
                    let grid = quant::dynamic_quantize::<i8>(state, integers);
                    (grid.scale(), grid.zero_point())
                }));
                let matrix = linear::Matrix::new(integers, batch, depth, depth);
                linear::multiply(weights, 0..outputs, &matrix, &linear::Raw { bias: &[] }, sums, outputs, scratch);
                for ((gates, sums), grid) in gates.chunks_mut(stride).zip(sums.chunks_exact(outputs.max(1))).zip(grids) {
                    add_integer_products(set, sums, weights.sums(), scale, *grid, &mut gates[..outputs]);
                }
            }
        }
    }
}
