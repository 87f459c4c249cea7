//! A network: a graph that runs, in batches, interruptible between nodes. Tensors in, tensors out; it knows no task and no payload.
//!
//! **Batches.** The batch is the first dimension of every input, where the file leaves it open (symbolic or unknown) and a trial
//! at load shows that every output has it first, too, and that a row gives the same alone and among others. Then the rows of
//! requests of equal shapes are stacked, as many as a trial shows to pay. Else (the first dimension is a number, even one above
//! 1; rows influence each other; the graph measures its inputs to quantize them) each request runs by itself, with exactly the
//! shape that the file declares.
//!
//! **Plans.** A graph whose only open dimension is the batch gets a plan for each size of a stack: tract's plans for a symbolic
//! batch were 1.1 to 20 times slower (elementwise operators on a symbolic axis take a generic path). Where other dimensions are
//! open as well, one symbolic plan serves all, if tract can run it; else there is a plan for each combination of shapes.

mod cut;
mod describe;
mod elements;
mod plans;
mod ports;
mod run;
mod trial;
mod weights;

pub use trial::similarity;

use crate::error::LoadError;
use crate::onnx::Source;
use hearth_api::tensor::TensorMetadata;
use hearth_kernels::memory;
use plans::Plans;
use ports::{Open, Ports};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tract_onnx::prelude::InferenceModel;

/// A graph that runs. Shared by reference; every run has its own state.
pub struct Network {
    ports: Ports,
    outputs: Vec<TensorMetadata>,
    plans: Plans,
    /// Whether requests may be stacked along the first dimension.
    batched: bool,
    arithmetic: Arithmetic,
    /// The most rows that are worth running at once.
    largest: usize,
    /// What open dimensions other than the batch are in trials.
    open: Open,
    longest_node_ns: AtomicU64,
    pace: run::Pace,
    /// The last field: it is dropped after what it returns to the system.
    _memory: Returned,
}

/// When it is dropped, memory that was freed goes back to the system.
struct Returned;

impl Drop for Returned {
    fn drop(&mut self) {
        memory::release_freed();
    }
}

/// How a network runs batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Batching {
    /// One plan serves every size.
    Symbolic,
    /// A plan for each size.
    BySize,
    /// Each request by itself.
    OneByOne,
}

/// What a network computes its quantized parts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arithmetic {
    /// Integers, where the graph has any that can be.
    #[default]
    Integers,
    /// Floats on the grids of the integers, as ONNX defines them: for a graph whose answers change too much otherwise.
    Floats,
}

/// Sizes tried for open dimensions other than the batch (lengths of text, sides of pictures, samples): many graphs refuse small ones, and
/// some take one alone of what only their other inputs have.
const SIZES: [Open; 7] = {
    const fn open(first: usize, others: usize) -> Open {
        Open { first, others }
    }
    [open(16, 16), open(64, 64), open(224, 224), open(16, 1), open(64, 1), open(224, 1), open(512, 1)]
};

impl Network {
    /// Reads an ONNX file, makes it run, and tries it with seeded inputs.
    pub fn load(file: &Path) -> Result<Network, LoadError> {
        Network::load_with(file, Arithmetic::default())
    }

    /// The same, with the arithmetic given.
    pub fn load_with(file: &Path, arithmetic: Arithmetic) -> Result<Network, LoadError> {
        let source = Source::read(file)?;
        let network = Network::from_source(&source, arithmetic)?;
        // The file, and what the graph was on its way, are several times what it is now.
        drop(source);
        memory::release_freed();
        memory::keep_freed();
        Ok(network)
    }

    pub(crate) fn from_source(source: &Source, arithmetic: Arithmetic) -> Result<Network, LoadError> {
        let integers = if arithmetic == Arithmetic::Integers { source.parse_integers() } else { None };
        if let Some(parsed) = integers {
            match parsed.and_then(|(model, mixes_rows)| Network::try_model(source, model, mixes_rows)) {
                Ok(network) => return Ok(Network { arithmetic, ..network }),
                Err(error) => tracing::warn!(%error, "not computed on integers"),
            }
        }
        if let Some(parsed) = source.parse_floats() {
            match parsed.and_then(|model| Network::try_model(source, model, source.mixes_rows)) {
                Ok(network) => return Ok(network),
                Err(error) => tracing::warn!(%error, "computed as tract does"),
            }
        }
        Network::try_model(source, source.parse()?, source.mixes_rows)
    }

    /// What its quantized parts are computed in; floats, too, where it has none.
    pub fn arithmetic(&self) -> Arithmetic {
        self.arithmetic
    }

    /// A network of this graph, tried out.
    pub(crate) fn try_model(source: &Source, mut model: InferenceModel, mixes_rows: bool) -> Result<Network, LoadError> {
        let ports = Ports::declare(&mut model, source)?;
        let stackable = ports.batch.is_some() && !mixes_rows;
        let mut failures = Vec::new();
        let mut candidates = Vec::new();
        if ports.has_free() {
            match Plans::symbolic(&model) {
                Ok(plans) => candidates.push(plans),
                Err(why) => failures.push(why),
            }
        }
        candidates.push(Plans::by_shape(model));
        let sizes = if ports.has_free() { &SIZES[..] } else { &SIZES[..1] };
        // The first that stacks; where none does, the first that runs.
        let mut unstacked = None;
        for (plans, open) in candidates.iter().flat_map(|plans| sizes.iter().map(move |open| (plans, *open))) {
            if open.others == 1 && unstacked.is_some() {
                // They are for graphs of which nothing ran.
                continue;
            }
            let mut network = Network {
                outputs: plans.declare(&source.outputs),
                ports: ports.clone(),
                plans: plans.clone(),
                batched: stackable,
                arithmetic: Arithmetic::Floats,
                largest: 1,
                open,
                longest_node_ns: AtomicU64::new(0),
                pace: run::Pace::default(),
                _memory: Returned,
            };
            match network.try_out() {
                Ok(()) if network.batched || !stackable => return Ok(network),
                Ok(()) => {
                    unstacked.get_or_insert(network);
                }
                Err(why) => failures.push(why),
            }
        }
        unstacked.ok_or_else(|| {
            failures.dedup();
            LoadError::Graph { file: source.file().into(), stage: "running the graph", reason: failures.join("; and ") }
        })
    }

    /// The same graph as tract reads it, neither decluttered nor optimised, quantizing and dequantizing as ONNX says: what a
    /// network is compared with. Slow.
    pub(crate) fn reference(&self, source: &Source) -> Result<Network, LoadError> {
        let mut model = source.parse()?;
        let ports = Ports::declare(&mut model, source)?;
        Ok(Network {
            ports,
            outputs: self.outputs.clone(),
            plans: Plans::plain(model),
            // As the file has it, rows of a batch may change each other's grids, which our own operators keep apart.
            batched: self.batched && !source.mixes_rows,
            arithmetic: Arithmetic::Floats,
            largest: cut::MAX_ROWS,
            open: self.open,
            longest_node_ns: AtomicU64::new(0),
            pace: run::Pace::default(),
            _memory: Returned,
        })
    }

    /// What it takes; -1 is a dimension that may vary, the first being the batch.
    pub fn inputs(&self) -> &[TensorMetadata] {
        &self.ports.inputs
    }

    /// What it gives.
    pub fn outputs(&self) -> &[TensorMetadata] {
        &self.outputs
    }

    /// How it runs batches.
    pub fn batching(&self) -> Batching {
        match (self.batched, &self.plans) {
            (false, _) => Batching::OneByOne,
            (true, Plans::Symbolic(..)) => Batching::Symbolic,
            (true, Plans::ByShape(_)) => Batching::BySize,
        }
    }

    /// The most rows that it runs at once: more did not pay in the trial at load.
    pub fn rows_at_once(&self) -> u32 {
        u32::try_from(self.largest).unwrap_or(u32::MAX)
    }

    /// Memory it holds: weights in every form they are kept in, each counted once. Working memory of a run comes on top.
    pub fn memory_bytes(&self) -> u64 {
        self.plans.memory_bytes()
    }

    /// The longest node of a run so far: how long something urgent may have to wait for it.
    pub fn longest_node(&self) -> Duration {
        Duration::from_nanos(self.longest_node_ns.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests;
