//! A network: a graph that runs, in batches, interruptible between nodes. Tensors in, tensors out; it knows no task and no payload.
//!
//! **Batches.** The batch is the first dimension of every input, where the file leaves it open (symbolic or unknown) and every
//! output has it first, too, and where a trial at load shows that a row gives the same alone and among others. Then requests of
//! equal shapes are stacked. Else (the first dimension is a number, even one above 1; rows influence each other; the graph
//! measures its inputs to quantize them) each request runs by itself, with exactly the shape that the file declares.

mod cut;
mod elements;
mod plans;
mod ports;
mod run;
mod trial;
mod weights;

pub use trial::similarity;

use crate::error::LoadError;
use crate::onnx::{Port, Source};
use hearth_api::tensor::TensorMetadata;
use plans::Plans;
use ports::Ports;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::DimLike;

/// A graph that runs. Shared by reference; every run has its own state.
pub struct Network {
    ports: Ports,
    outputs: Vec<TensorMetadata>,
    plans: Plans,
    /// Whether requests may be stacked along the first dimension.
    batched: bool,
    /// What free dimensions other than the batch are in trials.
    free: usize,
    longest_node_ns: AtomicU64,
}

/// How a network runs batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Batching {
    /// One plan serves every batch size.
    Symbolic,
    /// A plan for each batch size, made when first used.
    BySize,
    /// Each request by itself.
    OneByOne,
}

/// Sizes tried for free dimensions that are not the batch (lengths of text, sides of pictures): many graphs refuse small ones.
const FREE_SIZES: [usize; 3] = [16, 64, 224];

impl Network {
    /// Reads an ONNX file, makes it run, and tries it at batch 1 and 3 with seeded inputs.
    pub fn load(file: &Path) -> Result<Network, LoadError> {
        Network::from_source(&Source::read(file)?)
    }

    pub(crate) fn from_source(source: &Source) -> Result<Network, LoadError> {
        let mut model = source.parse()?;
        let ports = Ports::declare(&mut model, source)?;
        let mut symbolic = Plans::symbolic(&model);
        // Dimensions that only the symbolic graph knows: told even when it does not run.
        let facts = symbolic.as_ref().ok().map(|(_, facts)| facts.clone());
        let stackable = ports.batch.is_some()
            && !source.mixes_rows
            && facts.as_ref().is_none_or(|facts| facts.iter().all(|fact| fact.first() == ports.batch_dim().as_ref()));
        let sizes = if ports.has_free() { &FREE_SIZES[..] } else { &FREE_SIZES[..1] };
        let mut failures = Vec::new();
        // A graph that stacks beats one that does not; one plan beats a plan for each size.
        let mut unstacked = None;
        for by_shape in [false, true] {
            for free in sizes.iter().copied() {
                let plans = match (by_shape, &mut symbolic) {
                    (true, _) => Plans::by_shape(model.clone()),
                    (false, Ok((plans, _))) => plans.clone(),
                    (false, Err(why)) => {
                        failures.push(std::mem::take(why));
                        break;
                    }
                };
                let mut network = Network {
                    outputs: metadata(&source.outputs, facts.as_deref(), &ports),
                    ports: ports.clone(),
                    plans,
                    batched: stackable,
                    free,
                    longest_node_ns: AtomicU64::new(0),
                };
                match network.try_out() {
                    Ok(()) if network.batched || !stackable => return Ok(network),
                    Ok(()) => {
                        unstacked.get_or_insert(network);
                        break;
                    }
                    Err(why) => failures.push(why),
                }
            }
            if unstacked.is_none() && by_shape {
                break;
            }
        }
        unstacked.ok_or_else(|| {
            failures.dedup();
            LoadError::Graph { file: source.file().into(), stage: "running the graph", reason: failures.pop().unwrap_or_default() }
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
            batched: self.batched,
            free: self.free,
            longest_node_ns: AtomicU64::new(0),
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
            (true, Plans::Symbolic(_)) => Batching::Symbolic,
            (true, Plans::ByShape(_)) => Batching::BySize,
        }
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

/// What the outputs are, from the symbolic graph where there is one, else as the file declares them.
fn metadata(declared: &[Port], facts: Option<&[TVec<TDim>]>, ports: &Ports) -> Vec<TensorMetadata> {
    let size = |size: Option<usize>| size.and_then(|s| i64::try_from(s).ok()).unwrap_or(-1);
    let describe = |(index, port): (usize, &Port)| {
        let shape = match (facts.and_then(|f| f.get(index)), &port.shape) {
            (Some(dims), _) => dims.iter().map(|d| d.to_usize().ok()).map(size).collect(),
            (None, Some(dims)) => dims.iter().copied().map(size).collect(),
            (None, None) => Vec::new(),
        };
        let mut metadata = TensorMetadata { name: port.name.clone(), datatype: port.datatype, shape };
        if let (Some(first), true) = (metadata.shape.first_mut(), ports.batch.is_some() && facts.is_none()) {
            *first = -1;
        }
        metadata
    };
    declared.iter().enumerate().map(describe).collect()
}

#[cfg(test)]
mod tests;
