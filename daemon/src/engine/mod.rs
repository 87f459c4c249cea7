//! The engine: the only owner of models and compute threads. Drives the scheduler's actions.

mod handle;

pub use handle::{Ending, Engine, Snapshot, StartError, Stats, Submission};
