//! What the governor promises, on a board of two stages in virtual time.

mod board;
mod choosing;
mod faults;
mod learning;
