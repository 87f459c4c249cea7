//! What the scheduler promises, in virtual time.

mod admission;
mod batches;
mod board;
mod conversations;
mod order;
mod properties;
