//! Replies: the answer of a task, and how it came about.

use crate::tensor::Tensor;
use crate::{ModelName, RequestId};
use serde::{Deserialize, Serialize};

/// The answer to a request, as JSON. A caller that sent binary v2 gets binary v2 back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The request's id.
    pub id: RequestId,
    /// The model that answered.
    pub model: ModelName,
    /// Its version.
    pub model_version: String,
    /// What it says.
    #[serde(flatten)]
    pub answer: Answer,
    /// Where the time went.
    pub timings: Timings,
    /// How many requests rode in the same batch, this one included.
    pub batch: u32,
    /// How many threads computed it.
    pub threads: u32,
    /// Empty, or `high-operating-temperature` (the words of power-profiles-daemon) while heat costs speed.
    pub performance_degraded: String,
}

/// Where the time of a request went, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Timings {
    /// Waiting for the model's turn.
    pub queued_us: u64,
    /// Waiting, on purpose, for others to join the batch.
    pub batched_us: u64,
    /// Decoding, inference and encoding.
    pub computed_us: u64,
}

/// What a task says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Answer {
    /// `classify`
    Labels {
        /// The likeliest labels, best first.
        labels: Vec<Label>,
    },
    /// `regress`
    Reading {
        /// The value read.
        reading: Reading,
    },
    /// `anomaly`
    Anomaly {
        /// How unlike the normal it is.
        anomaly: Anomaly,
    },
    /// `tensor`: Open Inference Protocol v2.
    Outputs {
        /// The outputs asked for, or all.
        outputs: Vec<Tensor>,
    },
}

/// A label and how sure the model is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Label {
    /// The label.
    pub label: String,
    /// Its share of one.
    pub score: f32,
}

/// A value that was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// The value, in `unit`.
    pub value: f64,
    /// Its unit.
    pub unit: String,
}

/// How unlike the normal something is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Anomaly {
    /// The higher the stranger.
    pub score: f64,
    /// The score from which on the verdict is `anomalous`.
    pub threshold: f64,
    /// `normal` or `anomalous`.
    pub verdict: String,
}
