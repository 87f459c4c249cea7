//! The check of a model before the daemon meets it: a child process, bounded in memory and time, builds the graph, runs it at batch
//! 1 and 3 on seeded inputs and on the manifest's samples, and compares every output with the same file run without any
//! optimisation. A model whose graph panics, loops, overflows memory or answers differently is refused, with the reason.
//!
//! The parent ([`run`]) starts `<program> check-model <directory> <memory bytes> <CPU seconds>`; both of hearthd's programs hand
//! these arguments to [`child`].

mod compare;
mod process;
mod samples;

pub use process::{child, run};
pub use samples::payload;

use crate::manifest::Manifest;
use crate::network::{Arithmetic, Batching};
use hearth_api::Size;
use hearth_api::graph::Graph;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

/// What a check may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Address space of the child, in bytes.
    pub memory_bytes: u64,
    /// CPU time; whole seconds, rounded up.
    pub cpu: Duration,
    /// Time by the clock: more, for a busy board lets a check wait.
    pub clock: Duration,
}

impl Default for Limits {
    /// 2 GiB, two minutes, ten by the clock.
    fn default() -> Limits {
        Limits { memory_bytes: 2 << 30, cpu: Duration::from_secs(120), clock: Duration::from_secs(600) }
    }
}

/// Why a model is refused, for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{reason}")]
pub struct Refusal {
    /// What is wrong with it.
    pub reason: String,
}

/// Where the report is kept, beside the model.
pub const REPORT: &str = "check.json";

/// Of a report, what is read again; reports of older versions have less.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Kept {
    arithmetic: Arithmetic,
    graph: Option<Graph>,
    memory_bytes: Option<u64>,
    size: Option<Size>,
}

impl Kept {
    fn of(directory: &Path) -> Kept {
        let report = std::fs::read(directory.join(REPORT)).unwrap_or_default();
        serde_json::from_slice(&report).unwrap_or_default()
    }
}

/// The arithmetic that the check of the version in `directory` found right; without a report the usual one.
pub(crate) fn arithmetic(directory: &Path) -> Arithmetic {
    Kept::of(directory).arithmetic
}

/// The memory that the version in `directory` was found to take by its check.
pub fn memory_bytes(directory: &Path) -> Option<u64> {
    Kept::of(directory).memory_bytes
}

/// How large the version in `directory` is.
pub(crate) fn size(directory: &Path, manifest: &Manifest) -> Size {
    let file_bytes = || directory.join(&manifest.file).metadata().map_or(0, |data| data.len());
    Kept::of(directory).size.unwrap_or_else(|| Size { file_bytes: file_bytes(), ..Size::default() })
}

/// What the check of the version in `directory` found of its graph.
pub(crate) fn graph(directory: &Path) -> Option<Graph> {
    Kept::of(directory).graph
}

/// What a check found; kept as [`REPORT`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What the model's quantized parts are computed in.
    #[serde(default)]
    pub arithmetic: Arithmetic,
    /// How the model runs batches.
    pub batching: Batching,
    /// The most rows that it runs at once.
    pub rows_at_once: u32,
    /// How large it is on disk; told of language models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// Memory that its weights take, in bytes.
    pub memory_bytes: u64,
    /// How long it took to load, in milliseconds.
    pub load_ms: u64,
    /// The longest node, in microseconds.
    pub longest_node_us: u64,
    /// What became of its graph.
    #[serde(default)]
    pub graph: Graph,
    /// Its answers against those of the unoptimised graph.
    pub comparisons: Vec<Comparison>,
    /// Its answers against the truths of its samples.
    pub samples: Samples,
}

/// Answers of a model compared with those of its unoptimised graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// `seeded`, or the file of a sample.
    pub input: String,
    /// Requests in the batch.
    pub batch: u32,
    /// The least cosine similarity of an output.
    pub cosine: f64,
}

/// How the samples of a manifest were answered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Samples {
    /// Answered as their truth says.
    pub right: u32,
    /// Answered otherwise: file, truth, and what was answered.
    pub wrong: Vec<Wrong>,
}

/// A sample that was not answered as its truth says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Wrong {
    /// The sample's file.
    pub file: String,
    /// Its truth.
    pub truth: String,
    /// What was answered.
    pub got: String,
}

#[cfg(test)]
mod tests;
