//! One step of a network: requests checked, stacked, cut, run on the pool, and their outputs put together again.

use super::Network;
use super::cut::{self, Piece};
use super::elements::{datum_type, finite, stack, unstack};
use crate::onnx::reason;
use crate::panics::{aloud, caught};
use bytes::{Bytes, BytesMut};
use hearth_api::Fault;
use hearth_api::tensor::Tensor;
use hearth_kernels::Pool;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tract_onnx::prelude::{TValue, TVec, TractResult, tvec};
use tract_onnx::tract_core::plan::eval;

/// Work of this time is worth a thread, ps: to wake one, which spins for a while when it is done, takes some hundredths of that.
const WORTH_A_THREAD: u64 = 500_000_000;

/// The outputs of a piece, or why it has none.
type Outcome = Result<Vec<Output>, String>;

/// An output of a piece: its shape and its elements as the protocol has them.
struct Output {
    shape: Vec<usize>,
    data: Bytes,
}

impl Network {
    /// Runs requests, and gives for each its outputs or why there are none.
    ///
    /// A request is one tensor for each input, of one or more rows. Those of equal shapes are stacked along the batch; the stack
    /// is cut for at most `threads` threads, fewer where the work is not worth waking them, that run side by side on `pool`, each
    /// one piece after the other. `between` is called between two nodes on the calling thread. A bad request ends alone; where a piece fails, its requests run again one by one to find the culprit.
    pub fn run(
        &self,
        requests: Vec<Vec<Tensor>>,
        threads: usize,
        pool: &Pool,
        between: &mut dyn FnMut(),
    ) -> Vec<Result<Vec<Tensor>, Fault>> {
        let checked: Vec<Result<Vec<Tensor>, Fault>> = requests.into_iter().map(|tensors| self.ports.check(tensors)).collect();
        let mut results: Vec<Option<Result<Vec<Tensor>, Fault>>> = checked.iter().map(|c| c.as_ref().err().cloned().map(Err)).collect();
        for stack in self.stacks(&checked) {
            let tensors: Vec<&[Tensor]> = stack.iter().map(|index| checked[*index].as_deref().unwrap_or_default()).collect();
            let outcomes = self.run_stack(&tensors, threads, pool, between);
            for ((index, tensors), mut outcome) in stack.iter().zip(&tensors).zip(outcomes) {
                if outcome.is_err() && stack.len() > 1 && self.batched {
                    outcome = self.run_stack(&[tensors], threads, pool, between).remove(0);
                }
                results[*index] = Some(outcome.and_then(only_finite).map_err(Fault::model_failed));
            }
        }
        results.into_iter().map(|result| result.expect("every checked request is in one stack")).collect()
    }

    /// Groups good requests that can be stacked: all but the first dimension equal.
    fn stacks(&self, checked: &[Result<Vec<Tensor>, Fault>]) -> Vec<Vec<usize>> {
        let mut stacks: Vec<(Vec<&[usize]>, Vec<usize>)> = Vec::new();
        for (index, tensors) in checked.iter().enumerate() {
            let Ok(tensors) = tensors else { continue };
            let key: Vec<&[usize]> = if self.batched { tensors.iter().map(|t| &t.shape[1..]).collect() } else { Vec::new() };
            match stacks.iter_mut().find(|(other, _)| *other == key) {
                Some((_, members)) => members.push(index),
                None => stacks.push((key, vec![index])),
            }
        }
        stacks.into_iter().map(|(_, members)| members).collect()
    }

    /// Runs checked requests that stack, without another try for any; outputs may be NaN.
    pub(super) fn run_stack(
        &self,
        requests: &[&[Tensor]],
        threads: usize,
        pool: &Pool,
        between: &mut dyn FnMut(),
    ) -> Vec<Result<Vec<Tensor>, String>> {
        let bytes: usize = requests.iter().copied().flatten().map(|tensor| tensor.data.len()).sum();
        let threads = threads.clamp(1, pool.threads()).min(self.pace.threads(bytes));
        let rows: Vec<usize> = requests.iter().map(|tensors| if self.batched { tensors[0].shape[0] } else { 1 }).collect();
        // Requests that do not stack are rows that never share a piece.
        let work: Vec<Vec<Piece>> =
            if self.batched { cut::cut(&rows, threads, self.largest, self.plans.sizes_cost()) } else { cut::cut(&rows, threads, 1, false) };
        let outcomes: Vec<Vec<OnceLock<Outcome>>> = work.iter().map(|pieces| pieces.iter().map(|_| OnceLock::new()).collect()).collect();
        let run_thread = |thread: usize, between: &mut dyn FnMut()| {
            for (piece, slot) in work[thread].iter().zip(&outcomes[thread]) {
                // Each piece is run by one thread, once.
                let _ = slot.set(self.run_piece(requests, piece, between));
            }
        };
        let start = Instant::now();
        pool.run_with(work.len() - 1, &|other| run_thread(other + 1, &mut || ()), &mut || run_thread(0, between));
        self.pace.took(start.elapsed() * u32::try_from(work.len()).unwrap_or(1), bytes);
        let pieces = work.iter().flatten().zip(outcomes.iter().flatten());
        let pieces: Vec<(&Piece, &Outcome)> =
            pieces.map(|(piece, outcome)| (piece, outcome.get().expect("the pool ran every piece"))).collect();
        (0..requests.len()).map(|request| self.gather(request, &pieces)).collect()
    }

    fn run_piece(&self, requests: &[&[Tensor]], piece: &Piece, between: &mut dyn FnMut()) -> Outcome {
        caught(|| -> Result<Vec<Output>, String> {
            let inputs = self.stack_inputs(requests, piece).map_err(|e| reason(&e))?;
            let shapes: Vec<TVec<usize>> = inputs.iter().map(|t| t.shape().into()).collect();
            let plan = self.plans.plan(&shapes)?;
            let mut longest = Duration::ZERO;
            let outputs = plan.spawn().and_then(|mut state| {
                state.run_plan_with_eval(inputs, |context, op_state, node, inputs| {
                    let start = Instant::now();
                    let result = eval(context, op_state, node, inputs);
                    longest = longest.max(start.elapsed());
                    aloud(&mut *between);
                    result
                })
            });
            self.longest_node_ns.fetch_max(u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
            let outputs = outputs.map_err(|e| reason(&e))?;
            outputs.iter().enumerate().map(|(index, value)| self.take_output(index, value)).collect()
        })?
    }

    pub(super) fn stack_inputs(&self, requests: &[&[Tensor]], piece: &Piece) -> TractResult<TVec<TValue>> {
        let mut inputs = tvec!();
        for (index, (port, datum_type)) in self.ports.inputs.iter().zip(&self.ports.types).enumerate() {
            let mut shape = requests[piece[0].request][index].shape.clone();
            if self.batched {
                shape[0] = piece.iter().map(|part| part.rows.len()).sum();
            }
            let parts = piece.iter().map(|part| {
                let tensor = &requests[part.request][index];
                if !self.batched {
                    return &tensor.data[..];
                }
                let row = tensor.data.len() / tensor.shape[0];
                &tensor.data[part.rows.start * row..part.rows.end * row]
            });
            inputs.push(stack(*datum_type, &shape, port.datatype, parts)?.into());
        }
        Ok(inputs)
    }

    fn take_output(&self, index: usize, value: &TValue) -> Result<Output, String> {
        let datatype = self.outputs[index].datatype;
        let wanted = datum_type(datatype).ok_or("text comes out, which is not served")?;
        let have = value.datum_type();
        let shape = value.shape().to_vec();
        // tract counts in symbolic dimensions where ONNX has int64, and marks integers with their grid.
        let cast = if have.unquantized() == wanted { None } else { Some(value.cast_to_dt(wanted).map_err(|e| reason(&e))?) };
        let data = unstack(cast.as_deref().unwrap_or(value).as_bytes(), datatype);
        Ok(Output { shape, data })
    }

    /// Puts a request's outputs together from the pieces it was in.
    fn gather(&self, request: usize, pieces: &[(&Piece, &Outcome)]) -> Result<Vec<Tensor>, String> {
        let mut outputs: Vec<(Vec<usize>, BytesMut)> = Vec::new();
        for (piece, outcome) in pieces {
            let total: usize = piece.iter().map(|part| part.rows.len()).sum();
            let mut before = 0;
            for part in piece.iter() {
                let rows = before..before + part.rows.len();
                before = rows.end;
                if part.request != request {
                    continue;
                }
                let made = outcome.as_ref().map_err(Clone::clone)?;
                for (index, output) in made.iter().enumerate() {
                    let slice = if self.batched {
                        if output.shape.first() != Some(&total) {
                            let (name, shape) = (&self.outputs[index].name, &output.shape);
                            return Err(format!(
                                "output {name:?} has shape {shape:?} for a batch of {total}: its first dimension is not the batch"
                            ));
                        }
                        let row = output.data.len() / total;
                        output.data.slice(rows.start * row..rows.end * row)
                    } else {
                        output.data.clone()
                    };
                    match outputs.get_mut(index) {
                        Some((shape, data)) => {
                            shape[0] += rows.len();
                            data.extend_from_slice(&slice);
                        }
                        None => {
                            let mut shape = output.shape.clone();
                            if self.batched {
                                shape[0] = rows.len();
                            }
                            outputs.push((shape, BytesMut::from(slice)));
                        }
                    }
                }
            }
        }
        let named = self.outputs.iter().zip(outputs).map(|(metadata, (shape, data))| Tensor {
            name: metadata.name.clone(),
            datatype: metadata.datatype,
            shape,
            data: data.freeze(),
        });
        Ok(named.collect())
    }
}

/// How long a byte of input takes on one thread.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// A running mean, ps; 0 before the first run.
    a_byte: AtomicU64,
}

impl Pace {
    /// The threads that work on so many bytes is worth.
    fn threads(&self, bytes: usize) -> usize {
        match self.a_byte.load(Ordering::Relaxed) {
            0 => usize::MAX,
            a_byte => usize::try_from(a_byte.saturating_mul(bytes as u64) / WORTH_A_THREAD).unwrap_or(usize::MAX).max(1),
        }
    }

    /// So many bytes took this time of all threads.
    fn took(&self, time: Duration, bytes: usize) {
        let a_byte = u64::try_from(time.as_nanos() * 1000 / bytes.max(1) as u128).unwrap_or(u64::MAX / 4).max(1);
        // Runs side by side may each overwrite what the other made of it: either is near enough.
        let mean = match self.a_byte.load(Ordering::Relaxed) {
            0 => a_byte,
            before => before - before / 4 + a_byte / 4,
        };
        self.a_byte.store(mean, Ordering::Relaxed);
    }
}

fn only_finite(outputs: Vec<Tensor>) -> Result<Vec<Tensor>, String> {
    match outputs.iter().find(|tensor| !finite(&tensor.data, tensor.datatype)) {
        Some(tensor) => Err(format!("output {:?} holds NaN or infinity on this input", tensor.name)),
        None => Ok(outputs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_woken_for_what_is_worth_it() {
        let pace = Pace::default();
        assert_eq!(pace.threads(1000), usize::MAX, "nothing known yet");
        (0..40).for_each(|_| pace.took(Duration::from_micros(400), 1000));
        assert_eq!([1, 1000, 2000, 2600, 5100].map(|bytes| pace.threads(bytes)), [1, 1, 1, 2, 4]);
        (0..40).for_each(|_| pace.took(Duration::from_millis(40), 1000));
        assert_eq!(pace.threads(1000), 79, "what takes longer now");
        pace.took(Duration::ZERO, 0);
        pace.took(Duration::from_secs(1 << 40), 1);
        assert!(pace.threads(1 << 40) > 0);
    }
}
