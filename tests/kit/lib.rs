//! What the tests share: a real bus, a real daemon, small models.

pub mod bus;
pub mod daemon;
pub mod onnx;
