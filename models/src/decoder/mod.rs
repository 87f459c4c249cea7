//! Decoder language models: what one is made of (`spec`, by `families`), its weights (`weights`), the graph that is made of both
//! (`graph`), and steps of it over a paged cache of keys and values. Tokens in, logits out; it knows no text.

mod describe;
mod families;
mod graph;
mod ops;
mod spec;
#[cfg(test)]
mod tests;
mod turn;
pub mod weights;

pub use hearth_kernels::decoder::kv::{Element, PAGE, Page};

use crate::onnx::reason;
use crate::panics::{aloud, caught};
use hearth_kernels::decoder::kv::{KvPool, KvShape, Values};
use hearth_kernels::decoder::rope::{Frequencies, Yarn};
use hearth_kernels::{InstructionSet, Pool};
pub use spec::DecoderSpec;
use spec::Scaling;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::TypedOp;
use tract_onnx::tract_core::plan::eval;
use turn::Turn;
pub use weights::Files;
use weights::Model;

/// How a decoder computes.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The kernels.
    pub set: InstructionSet,
    /// What keys and values are kept as.
    pub element: Element,
    /// Layers that are computed: all, or the first so many for a check.
    pub layers: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { set: InstructionSet::best(), element: Element::Half, layers: usize::MAX }
    }
}

/// The next tokens of one sequence.
#[derive(Debug)]
pub struct Piece<'a> {
    /// At least one.
    pub tokens: &'a [u32],
    /// Position of the first; what comes before it has been computed.
    pub start: usize,
    /// Pages for all tokens of the sequence, these too; nobody else holds those that are written to.
    pub pages: &'a Arc<Vec<Page>>,
    /// The logits that are wanted.
    pub logits: Logits,
}

/// Which logits of a piece are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logits {
    /// None: more of the prompt is to come.
    None,
    /// Those after its last token.
    Last,
    /// Those after each token.
    Each,
}

/// A decoder that runs.
pub struct Decoder {
    plan: Arc<TypedRunnableModel>,
    kv: Arc<KvPool>,
    frequencies: Frequencies,
    set: InstructionSet,
    vocabulary: usize,
    longest_node_ns: AtomicU64,
}

impl Decoder {
    /// A decoder with room for the keys and values of so many tokens.
    ///
    /// # Errors
    /// If a tensor is missing, has another shape than the specification says, or is none of the family's.
    pub fn new(weights: &mut Model<'_>, spec: &DecoderSpec, cache: usize, options: Options) -> Result<Decoder, String> {
        let layers = options.layers.min(spec.layers.len());
        let attention = &spec.layers[0].attention;
        let shape = KvShape {
            layers,
            kv_heads: attention.kv_heads,
            key_width: attention.key_width,
            values: Values::Apart(attention.value_width),
            pages: cache.div_ceil(PAGE),
            element: options.element,
        };
        let frequencies = frequencies(spec, weights)?;
        let built = caught(|| graph::build(spec, weights, layers)).map_err(|panic| format!("its graph cannot be built: {panic}"))?;
        let model = built.map_err(|e| e.root_cause().to_string())?;
        if layers == spec.layers.len() {
            weights.all_used().map_err(|e| e.to_string())?;
        }
        let plan = caught(|| TypedRunnableModel::new(model))?.map_err(|e| reason(&e))?;
        Ok(Decoder {
            plan,
            kv: Arc::new(KvPool::new(shape)),
            frequencies,
            set: options.set,
            vocabulary: spec.vocabulary,
            longest_node_ns: AtomicU64::new(0),
        })
    }

    /// Tokens that there are: the width of logits.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// All pages of the cache, for whoever keeps the books on them.
    pub fn take_pages(&self) -> Vec<Page> {
        std::iter::from_fn(|| self.kv.take()).collect()
    }

    /// Has a page that nobody else holds hold what another does.
    pub fn copy_page(&self, from: &Page, to: &Page) {
        self.kv.copy(from, to);
    }

    /// The longest node of a step so far.
    pub fn longest_node(&self) -> Duration {
        Duration::from_nanos(self.longest_node_ns.load(Ordering::Relaxed))
    }

    /// Computes the next tokens of some sequences; gives the logits that are wanted, `[rows][vocabulary]`, in the order of the tokens.
    /// `between` is called between two nodes, on the calling thread.
    pub fn run(&self, pieces: &[Piece<'_>], threads: usize, pool: &Arc<Pool>, between: &mut dyn FnMut()) -> Result<Vec<f32>, String> {
        let mut longest = Duration::ZERO;
        let logits = self.run_nodes(pieces, threads, pool, &mut |_, took| {
            longest = longest.max(took);
            aloud(&mut *between);
        });
        self.longest_node_ns.fetch_max(u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        logits
    }

    /// The same; `after` is told each operator and how long it took.
    fn run_nodes(
        &self,
        pieces: &[Piece<'_>],
        threads: usize,
        pool: &Arc<Pool>,
        after: &mut dyn FnMut(&dyn TypedOp, Duration),
    ) -> Result<Vec<f32>, String> {
        caught(|| {
            let tokens: Vec<i64> = pieces.iter().flat_map(|piece| piece.tokens).map(|token| i64::from(*token)).collect();
            let tokens = tensor1(&tokens).into_tvalue();
            let turn = Arc::new(Turn::new(pool, threads, self.set, &self.kv, &self.frequencies, pieces));
            let mut state = self.plan.spawn().map_err(|e| reason(&e))?;
            state.turn_state.shared.insert(turn);
            let outputs = state.run_plan_with_eval(tvec!(tokens), |context, op_state, node, inputs| {
                let start = Instant::now();
                let result = eval(context, op_state, node, inputs);
                after(node.op.as_ref(), start.elapsed());
                result
            });
            let outputs = outputs.map_err(|e| reason(&e))?;
            let logits = outputs[0].try_as_plain_ram().and_then(|plain| Ok(plain.as_slice::<f32>()?.to_vec()));
            logits.map_err(|e| reason(&e))
        })?
    }
}

/// The frequencies at which queries and keys turn: the same in every layer of the families that are known.
fn frequencies(spec: &DecoderSpec, weights: &mut Model<'_>) -> Result<Frequencies, String> {
    let rope = &spec.layers[0].attention.rope;
    let mut frequencies = Frequencies::new(rope.width, f64::from(rope.theta));
    if rope.factors {
        let factors = weights.vector("rope_freqs.weight", rope.width / 2).map_err(|e| e.to_string())?;
        if factors.iter().any(|factor| !(factor.is_finite() && *factor > 0.0)) {
            return Err("its rope_freqs.weight holds factors that are no positive numbers".into());
        }
        frequencies = frequencies.divided_by(&factors);
    }
    Ok(match rope.scaling {
        Scaling::None => frequencies,
        Scaling::Linear { factor } => frequencies.scaled(1.0 / f64::from(factor)),
        Scaling::Yarn { factor, original_context } => frequencies.with_yarn(&Yarn {
            frequency_scale: 1.0 / f64::from(factor),
            extrapolation: 1.0,
            attention_factor: 1.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            original_context,
        }),
    })
}
