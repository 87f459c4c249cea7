//! The engine: the only owner of models and compute threads. Drives the scheduler's actions.
//!
//! ```text
//! doors -> handle -> inbox -> step loop { scheduler -> step -> Model::infer } -> deliver
//!                                 models <-> loader     measure (when idle and cool)
//! ```

mod catalog;
mod conversations;
mod flight;
mod handle;
mod inbox;
mod loader;
mod measure;
mod memory;
mod models;
mod points;
mod step;
mod step_loop;

pub use handle::{Deliver, Ending, Engine, ModelStats, Pace, Piece, Snapshot, StartError, Stats, Stream, Submission};

#[cfg(test)]
mod tests;
