//! A layer: its directions, and how ONNX lays out what goes in and comes out.

use super::cell::{Buffers, Cell, Direction, States};
use super::products::Steps;
use std::cell::RefCell;
use tract_onnx::tract_core::internal::*;

/// An input besides the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extra {
    /// How many steps each item has.
    SequenceLengths,
    /// Where the output's state starts.
    InitialHidden,
    /// Where the cell's state starts.
    InitialCell,
}

/// What a layer gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    /// The output after each step, `Y`.
    Every,
    /// After the last step, `Y_h`.
    LastHidden,
    /// The cell after the last step, `Y_c`.
    LastCell,
}

/// A layer of one or two directions.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) directions: Vec<Direction>,
    pub(super) units: usize,
    /// Whether the batch is the first dimension of everything (`layout` 1): `[batch, steps, ...]`, `[batch, directions, units]`; else
    /// `[steps, batch, ...]`, `[directions, batch, units]`.
    pub(super) batch_first: bool,
    /// The inputs after the steps, in this order.
    pub(super) extras: Vec<Extra>,
    pub(super) outputs: Vec<Output>,
}

impl Layer {
    pub(super) fn name(&self) -> &'static str {
        match self.directions[0].cell {
            Cell::Lstm { .. } => "Lstm",
            Cell::Gru { .. } => "Gru",
        }
    }

    pub(super) fn inputs(&self) -> usize {
        1 + self.extras.len()
    }

    pub(super) fn outputs(&self) -> usize {
        self.outputs.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.directions.iter().map(Direction::bytes).sum::<usize>() as u64
    }

    /// The shapes of the outputs for steps of a shape.
    pub(super) fn shapes<D: DimLike>(&self, steps: &[D]) -> TractResult<TVec<TVec<D>>> {
        let [first, second, depth] = steps else { bail!("steps of rank {}, not 3", steps.len()) };
        let wanted = self.directions[0].input.depth();
        ensure!(depth.to_usize().map_or(true, |depth| depth == wanted), "steps of depth {depth:?}, not {wanted}");
        let [directions, units]: [D; 2] = [self.directions.len().into(), self.units.into()];
        let shape = |output: &Output| match (output, self.batch_first) {
            (Output::Every, false) => tvec![first.clone(), directions.clone(), second.clone(), units.clone()],
            (Output::Every, true) => tvec![first.clone(), second.clone(), directions.clone(), units.clone()],
            (_, false) => tvec![directions.clone(), second.clone(), units.clone()],
            (_, true) => tvec![first.clone(), directions.clone(), units.clone()],
        };
        Ok(self.outputs.iter().map(shape).collect())
    }

    pub(super) fn run(&self, inputs: &[&Tensor]) -> TractResult<TVec<Tensor>> {
        let shapes = self.shapes(inputs[0].shape())?;
        let &[first, second, _] = inputs[0].shape() else { bail!("steps of rank {}, not 3", inputs[0].rank()) };
        let (count, batch) = if self.batch_first { (second, first) } else { (first, second) };
        let steps = Steps { count, batch, batch_first: self.batch_first };
        let x = inputs[0].try_as_plain_ram()?.as_slice::<f32>()?;
        let given = |extra| self.extras.iter().position(|e| *e == extra).map(|index| inputs[index + 1]);
        let lengths = given(Extra::SequenceLengths).map(|tensor| lengths(tensor, steps)).transpose()?;
        let [hidden, cell] = [Extra::InitialHidden, Extra::InitialCell].map(|extra| {
            given(extra).map(|tensor| -> TractResult<&[f32]> {
                let wanted = self.directions.len() * batch * self.units;
                ensure!(tensor.volume() == wanted, "an initial state of shape {:?}, not {wanted} elements", tensor.shape());
                tensor.try_as_plain_ram()?.as_slice::<f32>()
            })
        });
        let (hidden, cell) = (hidden.transpose()?, cell.transpose()?);
        let mut outputs = shapes.iter().map(|shape| Tensor::zero::<f32>(shape)).collect::<TractResult<TVec<_>>>()?;
        with_buffers(|buffers, states| {
            for (number, direction) in self.directions.iter().enumerate() {
                self.load(hidden, number, batch, &mut states.hidden);
                self.load(cell, number, batch, &mut states.cell);
                let mut every = match self.outputs.iter().position(|output| *output == Output::Every) {
                    Some(index) => Some(outputs[index].try_as_plain_ram_mut()?),
                    None => None,
                };
                let mut every = every.as_mut().map(|every| every.as_slice_mut::<f32>()).transpose()?;
                let is_active = |step: usize, item: usize| lengths.as_ref().is_none_or(|lengths| step < lengths[item]);
                direction.run(x, steps, &is_active, states, buffers, |step, item, state| {
                    if let Some(every) = &mut every {
                        let row = if self.batch_first {
                            steps.row(step, item) * self.directions.len() + number
                        } else {
                            (step * self.directions.len() + number) * batch + item
                        };
                        every[row * self.units..][..self.units].copy_from_slice(state);
                    }
                });
                for (output, tensor) in self.outputs.iter().zip(&mut outputs) {
                    let last = match output {
                        Output::Every => continue,
                        Output::LastHidden => &states.hidden,
                        Output::LastCell => &states.cell,
                    };
                    let mut plain = tensor.try_as_plain_ram_mut()?;
                    let target = plain.as_slice_mut::<f32>()?;
                    for (item, state) in last.chunks_exact(self.units).enumerate() {
                        target[self.state_row(number, item, batch) * self.units..][..self.units].copy_from_slice(state);
                    }
                }
            }
            Ok(outputs)
        })
    }

    /// Fills the states of all items of a direction, with zeros where they are not given.
    fn load(&self, given: Option<&[f32]>, direction: usize, batch: usize, states: &mut Vec<f32>) {
        states.clear();
        states.resize(batch * self.units, 0.0);
        if let Some(given) = given {
            for (item, state) in states.chunks_exact_mut(self.units).enumerate() {
                state.copy_from_slice(&given[self.state_row(direction, item, batch) * self.units..][..self.units]);
            }
        }
    }

    /// Where a tensor of states has an item's.
    fn state_row(&self, direction: usize, item: usize, batch: usize) -> usize {
        if self.batch_first { item * self.directions.len() + direction } else { direction * batch + item }
    }
}

/// How many steps each item has.
fn lengths(tensor: &Tensor, steps: Steps) -> TractResult<Vec<usize>> {
    let tensor = tensor.cast_to::<i64>()?;
    let lengths = tensor.try_as_plain_ram()?.as_slice::<i64>()?;
    ensure!(lengths.len() == steps.batch, "{} sequence lengths for a batch of {}", lengths.len(), steps.batch);
    let length = |length: &i64| usize::try_from(*length).ok().filter(|length| *length <= steps.count);
    lengths.iter().map(|l| length(l).with_context(|| format!("a sequence of length {l} in {} steps", steps.count))).collect()
}

fn with_buffers<T>(use_: impl FnOnce(&mut Buffers, &mut States) -> T) -> T {
    thread_local! {
        static MEMORY: RefCell<(Buffers, States)> = RefCell::default();
    }
    MEMORY.with_borrow_mut(|(buffers, states)| use_(buffers, states))
}
