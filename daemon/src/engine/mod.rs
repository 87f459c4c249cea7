//! The engine: the only owner of models and compute threads. Drives the scheduler's actions.

mod handle;

pub use handle::{Engine, Outcome, Snapshot, Stats, Submission};
