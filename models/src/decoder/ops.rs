//! The operators of a decoder's graph. Each computes one tensor of rows, one a token; what a step's tokens belong to, and the cache of
//! keys and values, they find in the [`Turn`] beside the graph.

use super::turn::Turn;
use hearth_kernels::decoder::attention::{self, Attention as Shape};
use hearth_kernels::decoder::gate::{Gate, gate_halves};
use hearth_kernels::decoder::norm::{RmsNorm as Norm, rms_normalise, rms_normalise_in_place};
use hearth_kernels::decoder::residual;
use hearth_kernels::decoder::rope::{Heads, rotate};
use hearth_kernels::grouped::{self, Weights};
use std::fmt;
use tract_onnx::tract_core::internal::*;

/// What an operator does.
pub(super) trait Compute: fmt::Debug + Send + Sync + 'static {
    /// Its name in graphs.
    fn name(&self) -> &'static str;

    /// Width of its rows, from that of its first input's.
    fn width(&self, input: usize) -> usize;

    /// Whether its rows are those alone after which a token is chosen.
    fn selects(&self) -> bool {
        false
    }

    /// Its rows.
    fn run(&self, turn: &Turn, inputs: TVec<TValue>) -> TractResult<Tensor>;

    /// Memory that its weights take.
    fn bytes(&self) -> u64 {
        0
    }
}

/// An operator in the graph.
#[derive(Debug, Clone)]
pub(super) struct Decode(pub(super) Arc<dyn Compute>);

impl PartialEq for Decode {
    fn eq(&self, other: &Decode) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Decode {}

impl Op for Decode {
    fn name(&self) -> StaticName {
        self.0.name().into()
    }

    op_as_typed_op!();
}

impl EvalOp for Decode {
    not_out_of_plan!();

    fn eval(&self, context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let turn = context.shared.and_then(|shared| shared.get::<Arc<Turn>>()).context("a decoder runs in a turn")?;
        Ok(tvec!(self.0.run(turn, inputs)?.into_tvalue()))
    }
}

impl TypedOp for Decode {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let rows = if self.0.selects() { selected(inputs[0]) } else { inputs[0].shape[0].clone() };
        let width = inputs[0].shape.dims().get(1).map_or(Ok(1), TDim::to_usize)?;
        Ok(tvec!(f32::fact([rows, self.0.width(width).to_dim()])))
    }
}

/// The number of rows after which a token is chosen: a symbol of its own.
fn selected(fact: &TypedFact) -> TDim {
    fact.shape[0].symbols().into_iter().next().and_then(|symbol| symbol.scope()).map_or(1.to_dim(), |scope| scope.sym("S").to_dim())
}

/// Rows of floats.
fn floats(tensor: &Tensor) -> TractResult<&[f32]> {
    tensor.try_as_plain_ram()?.as_slice::<f32>()
}

/// Rows of zeros.
fn rows(count: usize, width: usize) -> TractResult<Tensor> {
    Tensor::zero::<f32>(&[count, width])
}

/// Cuts rows for the threads: calls `f` with the first row of each part and its target.
fn by_rows(turn: &Turn, out: &mut [f32], width: usize, f: &(dyn Fn(usize, &mut [f32]) + Sync)) {
    let count = out.len() / width.max(1);
    let part = count.div_ceil(turn.threads).max(1);
    turn.in_parts(out, part * width, &|index, out| f(index * part, out));
}

/// Embeddings of tokens: rows of a matrix.
#[derive(Debug)]
pub(super) struct Embed(pub(super) Arc<Weights>);

impl Compute for Embed {
    fn name(&self) -> &'static str {
        "Embed"
    }

    fn width(&self, _: usize) -> usize {
        self.0.depth()
    }

    fn run(&self, _: &Turn, inputs: TVec<TValue>) -> TractResult<Tensor> {
        let tokens = inputs[0].try_as_plain_ram()?.as_slice::<i64>()?;
        let mut out = rows(tokens.len(), self.0.depth())?;
        let mut plain = out.try_as_plain_ram_mut()?;
        for (token, row) in tokens.iter().zip(plain.as_slice_mut::<f32>()?.chunks_exact_mut(self.0.depth())) {
            self.0.row(usize::try_from(*token)?, row);
        }
        Ok(out)
    }
}

/// RMS norm of each row.
#[derive(Debug)]
pub(super) struct RmsNorm {
    pub(super) weights: Vec<f32>,
    pub(super) epsilon: f32,
}

impl RmsNorm {
    fn kernel(&self) -> Norm<'_> {
        Norm { weights: &self.weights, epsilon: self.epsilon }
    }
}

impl Compute for RmsNorm {
    fn name(&self) -> &'static str {
        "RmsNorm"
    }

    fn width(&self, input: usize) -> usize {
        input
    }

    fn run(&self, turn: &Turn, inputs: TVec<TValue>) -> TractResult<Tensor> {
        let x = floats(&inputs[0])?;
        let width = self.weights.len();
        let mut out = rows(x.len() / width, width)?;
        let mut plain = out.try_as_plain_ram_mut()?;
        by_rows(turn, plain.as_slice_mut::<f32>()?, width, &|first, out| {
            rms_normalise(turn.set, &x[first * width..][..out.len()], &self.kernel(), out);
        });
        Ok(out)
    }
}

/// Rows times matrices, their products side by side; added to the second input where there is one.
#[derive(Debug)]
pub(super) struct Linear {
    pub(super) parts: Vec<(Arc<Weights>, Vec<f32>)>,
    /// For what it is the head.
    pub(super) name: &'static str,
}

impl Compute for Linear {
    fn name(&self) -> &'static str {
        self.name
    }

    fn width(&self, _: usize) -> usize {
        self.parts.iter().map(|(weights, _)| weights.outputs()).sum()
    }

    fn run(&self, turn: &Turn, mut inputs: TVec<TValue>) -> TractResult<Tensor> {
        let x = inputs[0].clone();
        let x = floats(&x)?;
        let depth = self.parts[0].0.depth();
        let count = x.len() / depth;
        let width = self.width(depth);
        let (mut out, accumulate) = match inputs.len() {
            1 => (rows(count, width)?, false),
            // The residual stream is nobody else's any more: its memory is taken.
            _ => (inputs.remove(1).into_tensor(), true),
        };
        let mut plain = out.try_as_plain_ram_mut()?;
        let out_rows = plain.as_slice_mut::<f32>()?;
        let parts: Vec<grouped::Part<'_>> = self.parts.iter().map(|(weights, bias)| grouped::Part { weights, bias }).collect();
        turn.with_scratch(|scratch| {
            grouped::multiply_side_by_side(turn.set, &turn.pool, turn.threads, &parts, x, accumulate, out_rows, scratch)
        });
        Ok(out)
    }

    fn bytes(&self) -> u64 {
        self.parts.iter().map(|(weights, bias)| (weights.bytes() + 4 * bias.len()) as u64).sum()
    }
}

/// The second row added to the first.
#[derive(Debug)]
pub(super) struct Add;

impl Compute for Add {
    fn name(&self) -> &'static str {
        "Add"
    }

    fn width(&self, input: usize) -> usize {
        input
    }

    fn run(&self, turn: &Turn, mut inputs: TVec<TValue>) -> TractResult<Tensor> {
        let mut out = inputs.remove(0).into_tensor();
        residual::add(turn.set, out.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?, floats(&inputs[0])?);
        Ok(out)
    }
}

/// Gates times values, which lie side by side.
#[derive(Debug)]
pub(super) struct Gated;

impl Compute for Gated {
    fn name(&self) -> &'static str {
        "Gate"
    }

    fn width(&self, input: usize) -> usize {
        input / 2
    }

    fn run(&self, turn: &Turn, inputs: TVec<TValue>) -> TractResult<Tensor> {
        let x = floats(&inputs[0])?;
        let width = inputs[0].shape()[1] / 2;
        let mut out = rows(inputs[0].shape()[0], width)?;
        let mut plain = out.try_as_plain_ram_mut()?;
        by_rows(turn, plain.as_slice_mut::<f32>()?, width, &|first, out| {
            gate_halves(turn.set, Gate::Silu, &x[2 * first * width..][..2 * out.len()], width, out);
        });
        Ok(out)
    }
}

/// Attention over a layer's cached keys and values, those of the step's own tokens among them.
#[derive(Debug)]
pub(super) struct Attention {
    pub(super) layer: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) key_width: usize,
    pub(super) value_width: usize,
    pub(super) pairs: hearth_kernels::decoder::rope::Pairs,
    /// Norms of queries and of keys.
    pub(super) norms: Option<(RmsNorm, RmsNorm)>,
    pub(super) scale: f32,
}

impl Attention {
    /// Takes queries or keys out of rows, normalises and turns them.
    fn heads_of(&self, turn: &Turn, x: &[f32], width: usize, start: usize, heads: usize, norm: Option<&RmsNorm>) -> Vec<f32> {
        let own = heads * self.key_width;
        let mut values: Vec<f32> = x.chunks_exact(width).flat_map(|row| &row[start..start + own]).copied().collect();
        if let Some(norm) = norm {
            rms_normalise_in_place(turn.set, &mut values, &norm.kernel());
        }
        let heads = Heads { count: heads, width: self.key_width, offset: 0, pairs: self.pairs };
        rotate(turn.set, &mut values, &heads, &turn.angles);
        values
    }
}

impl Compute for Attention {
    fn name(&self) -> &'static str {
        "Attention"
    }

    fn width(&self, _: usize) -> usize {
        self.heads * self.value_width
    }

    fn run(&self, turn: &Turn, inputs: TVec<TValue>) -> TractResult<Tensor> {
        let x = floats(&inputs[0])?;
        let (count, width) = (inputs[0].shape()[0], inputs[0].shape()[1]);
        let (q, k) = (self.heads * self.key_width, self.kv_heads * self.key_width);
        let queries = self.heads_of(turn, x, width, 0, self.heads, self.norms.as_ref().map(|norms| &norms.0));
        let keys = self.heads_of(turn, x, width, q, self.kv_heads, self.norms.as_ref().map(|norms| &norms.1));
        let values: Vec<f32> = x.chunks_exact(width).flat_map(|row| &row[q + k..]).copied().collect();
        turn.kv.write(turn.set, self.layer, &turn.sequences(), &keys, &values);
        let mut out = rows(count, self.heads * self.value_width)?;
        let mut plain = out.try_as_plain_ram_mut()?;
        let shape = Shape { heads: self.heads, scale: self.scale, window: 0, softcap: 0.0, sinks: &[] };
        let out_rows = plain.as_slice_mut::<f32>()?;
        attention::attend(
            turn.set,
            &turn.pool,
            turn.threads,
            &turn.kv,
            self.layer,
            &shape,
            &turn.sequences(),
            &queries,
            out_rows,
            &turn.attention,
        );
        Ok(out)
    }
}

/// The rows after which a token is chosen.
#[derive(Debug)]
pub(super) struct Select;

impl Compute for Select {
    fn name(&self) -> &'static str {
        "Select"
    }

    fn width(&self, input: usize) -> usize {
        input
    }

    fn selects(&self) -> bool {
        true
    }

    fn run(&self, turn: &Turn, inputs: TVec<TValue>) -> TractResult<Tensor> {
        let x = floats(&inputs[0])?;
        let width = inputs[0].shape()[1];
        let mut out = rows(turn.selected.len(), width)?;
        let mut plain = out.try_as_plain_ram_mut()?;
        for (row, out) in turn.selected.iter().zip(plain.as_slice_mut::<f32>()?.chunks_exact_mut(width)) {
            out.copy_from_slice(&x[row * width..][..width]);
        }
        Ok(out)
    }
}
