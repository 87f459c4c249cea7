//! What became of a model's graph: the operators of its file, and those that run instead.

use serde::{Deserialize, Serialize};

/// The graph of a model, as its file has it and as it runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    /// Operators of the file, the most frequent first.
    pub file: Vec<Operator>,
    /// Operators that run, the dearest first.
    pub runs: Vec<Running>,
}

/// Operators of one kind in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// ONNX's name, with the domain where it is not ONNX's own.
    pub name: String,
    /// How many there are.
    pub count: u32,
}

/// Operators of one kind that run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Running {
    /// Its name: our own, or tract's.
    pub name: String,
    /// Type of what it takes, such as `i8`.
    pub takes: String,
    /// Type of what it gives.
    pub gives: String,
    /// How many there are.
    pub count: u32,
    /// Memory that their weights take, in bytes.
    pub weight_bytes: u64,
    /// Their time in one inference at batch 1 on one thread, in microseconds, measured by the check.
    pub microseconds: f64,
}
