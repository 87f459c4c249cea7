//! From model files on disk to runnable tract graphs, and from payloads to tensors and back.

mod error;
pub mod manifest;
pub mod network;
mod onnx;
mod ops;
mod panics;

pub use error::LoadError;
pub use network::Network;
