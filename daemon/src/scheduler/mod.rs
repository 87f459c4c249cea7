//! The scheduler: admission, queues, batches, deadlines, fairness, de-duplication. Pure: events and the time go in,
//! actions come out; no clock, no threads, no model. The engine carries the actions out.

mod types;

pub use types::*;
