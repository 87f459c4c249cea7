//! The products of a layer's gates: of the input at many steps at once, of the states of a batch at one step.

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
}

/// Weights of a layer, and how activations are multiplied with them.
#[derive(Debug)]
pub(super) enum Products {
    Float(float::Weights),
    Integer(Integer),
}

/// Integer weights, and a scale for each output.
#[derive(Debug)]
pub(super) struct Integer {
    pub(super) weights: linear::Weights,
    pub(super) scale: Vec<f32>,
}

/// The input, as the products take it.
pub(super) enum Prepared<'a> {
    Float(&'a [f32]),
    /// Each item on a grid of its own.
    Integer(Vec<i8>, Vec<quant::Grid>),
}

/// Memory of products with integers.
#[derive(Default)]
pub(super) struct Memory {
    integers: Vec<i8>,
    grids: Vec<quant::Grid>,
    sums: Vec<i32>,
    scratch: linear::Scratch,
}

impl Products {
    pub(super) fn outputs(&self) -> usize {
        match self {
            Products::Float(weights) => weights.outputs(),
            Products::Integer(integer) => integer.weights.outputs(),
        }
    }

    pub(super) fn depth(&self) -> usize {
        match self {
            Products::Float(weights) => weights.depth(),
            Products::Integer(integer) => integer.weights.depth(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Products::Float(weights) => weights.bytes(),
            Products::Integer(integer) => integer.weights.bytes() + size_of_val(integer.scale.as_slice()),
        }
    }

    /// Quantizes each item on the grid that covers all of its steps, if the weights are integers.
    pub(super) fn prepare<'a>(&self, x: &'a [f32], steps: Steps) -> Prepared<'a> {
        let Products::Integer(Integer { weights, .. }) = self else { return Prepared::Float(x) };
        let depth = weights.depth();
        let row = |step, item| steps.row(step, item) * depth..(steps.row(step, item) + 1) * depth;
        let mut integers = vec![0; x.len()];
        let grids = (0..steps.batch).map(|item| {
            let extents = (0..steps.count).map(|step| quant::extent(&x[row(step, item)]));
            let extent = extents.fold((0.0f32, 0.0f32), |all, extent| (all.0.min(extent.0), all.1.max(extent.1)));
            let grid = quant::Grid::covering_up_to(weights.quickest(), extent);
            (0..steps.count).for_each(|step| quant::quantize(&x[row(step, item)], grid, &mut integers[row(step, item)]));
            grid
        });
        let grids = grids.collect();
        Prepared::Integer(integers, grids)
    }

    /// The sums of the gates of `some` steps, from the bias on: `gates` holds a row for each of them and each item, in the order of `x`.
    pub(super) fn of_input(
        &self,
        x: &Prepared<'_>,
        steps: Steps,
        some: Range<usize>,
        bias: &[f32],
        gates: &mut [f32],
        memory: &mut Memory,
    ) {
        let (outputs, depth) = (self.outputs(), self.depth());
        // Runs of rows that are neighbours in the input: they are here, too.
        let (runs, rows) = if steps.batch_first { (steps.batch, some.len()) } else { (1, some.len() * steps.batch) };
        for (run, gates) in gates.chunks_exact_mut((rows * outputs).max(1)).enumerate().take(runs) {
            let first = steps.row(some.start, run) * depth;
            match (self, x) {
                (Products::Float(weights), Prepared::Float(x)) => {
                    let matrix = float::Matrix::new(&x[first..], rows, depth, depth);
                    float::multiply(weights, 0..outputs, &matrix, &float::Finish { bias, ..float::Finish::default() }, gates, outputs);
                }
                (Products::Integer(integer), Prepared::Integer(x, grids)) => {
                    gates.chunks_exact_mut(outputs.max(1)).for_each(|gates| gates.copy_from_slice(bias));
                    let grid = |row: usize| grids[if steps.batch_first { run } else { row % steps.batch }];
                    integer.add(&x[first..first + rows * depth], grid, gates, outputs, &mut memory.sums, &mut memory.scratch);
                }
                _ => unreachable!("an input that these products prepared"),
            }
        }
    }

    /// Adds the products of the states of all items to the rows of their gates, `stride` apart.
    pub(super) fn add_state(&self, states: &[f32], batch: usize, gates: &mut [f32], stride: usize, memory: &mut Memory) {
        match self {
            Products::Float(weights) => {
                let finish = float::Finish { accumulate: true, ..float::Finish::default() };
                let matrix = float::Matrix::new(states, batch, weights.depth(), weights.depth());
                float::multiply(weights, 0..weights.outputs(), &matrix, &finish, gates, stride);
            }
            Products::Integer(integer) => {
                let Memory { integers, grids, sums, scratch } = memory;
                let depth = integer.weights.depth().max(1);
                integers.resize(states.len(), 0);
                grids.clear();
                grids.extend(states.chunks_exact(depth).zip(integers.chunks_exact_mut(depth)).map(|(state, integers)| {
                    let grid = quant::Grid::covering_up_to(integer.weights.quickest(), quant::extent(state));
                    quant::quantize(state, grid, integers);
                    grid
                }));
                integer.add(integers, |row| grids[row], gates, stride, sums, scratch);
            }
        }
    }
}

impl Integer {
    /// Adds the products of rows, each on its grid, to `gates`.
    fn add(
        &self,
        rows: &[i8],
        grid: impl Fn(usize) -> quant::Grid,
        gates: &mut [f32],
        stride: usize,
        sums: &mut Vec<i32>,
        scratch: &mut linear::Scratch,
    ) {
        let (outputs, depth) = (self.weights.outputs(), self.weights.depth());
        let matrix = linear::Matrix::new(rows, rows.len() / depth.max(1), depth, depth);
        sums.resize(rows.len() / depth.max(1) * outputs, 0);
        linear::multiply(&self.weights, 0..outputs, &matrix, &linear::Raw { bias: &[] }, sums, outputs, scratch);
        for (row, (gates, sums)) in gates.chunks_mut(stride).zip(sums.chunks_exact(outputs.max(1))).enumerate() {
            let grid = (grid(row).scale(), grid(row).zero_point());
            add_integer_products(InstructionSet::best(), sums, self.weights.sums(), &self.scale, grid, &mut gates[..outputs]);
        }
    }
}
