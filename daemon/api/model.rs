//! What the daemon tells about its models.

use crate::ModelName;
use crate::tensor::TensorMetadata;
use serde::{Deserialize, Serialize};

/// State of an installed model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelState {
    /// Installed, not in memory; the first request loads it.
    Available,
    /// On its way into memory.
    Loading,
    /// Serves.
    Ready,
    /// Could not be loaded; `reason` says why.
    Failed,
    /// Killed the daemon three times; not used until it is activated again.
    Quarantined,
}

impl ModelState {
    /// The state as it is written on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            ModelState::Available => "available",
            ModelState::Loading => "loading",
            ModelState::Ready => "ready",
            ModelState::Failed => "failed",
            ModelState::Quarantined => "quarantined",
        }
    }
}

/// One measured way to run a model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Requests in the batch.
    pub batch: u32,
    /// Threads: `threads` sub-batches, each on one thread.
    pub threads: u32,
    /// Time of the whole step, in microseconds.
    pub latency_us: u64,
    /// CPU time an item, in microseconds.
    pub cpu_us_per_item: u64,
}

/// How large a model is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Size {
    /// Its file, in bytes.
    pub file_bytes: u64,
    /// A language model's weights as they are kept for the kernels, beside the file, in bytes; else 0.
    pub packed_bytes: u64,
    /// A language model's weights; else 0.
    pub weights: u64,
    /// Bits that one of these takes in the file; else 0.
    pub bits_per_weight: f64,
}

/// What the retained model topic, the bus and `hearthctl models` say of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Its name.
    pub name: ModelName,
    /// The active version.
    pub version: String,
    /// Every installed version, oldest first.
    pub versions: Vec<String>,
    /// What it does, in a line.
    pub description: String,
    /// `classify`, `regress`, `anomaly`, `detect`, `embed`, `chat` or `tensor`.
    pub task: String,
    /// SPDX licence expression.
    pub licence: String,
    /// Where it comes from.
    pub origin: String,
    /// Its state.
    pub state: ModelState,
    /// Why it is in that state, where that needs saying; else empty.
    pub reason: String,
    /// Kept in memory.
    pub pinned: bool,
    /// What it takes (Open Inference Protocol v2 metadata).
    pub inputs: Vec<TensorMetadata>,
    /// What it gives.
    pub outputs: Vec<TensorMetadata>,
    /// How large it is on disk.
    pub size: Size,
    /// Memory it holds while it is ready, in bytes; 0 while it is not known.
    pub memory_bytes: u64,
    /// The longest node seen, in microseconds: how long something urgent may have to wait for it.
    pub longest_node_us: u64,
    /// Measured operating points.
    pub points: Vec<Point>,
}
