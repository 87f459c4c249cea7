//! What the tests share: a real broker, a real bus, a real daemon, small models, a virtual board.

pub mod board;
pub mod broker;
pub mod bus;
pub mod client;
pub mod daemon;
pub mod gate;
pub mod onnx;
