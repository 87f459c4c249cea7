//! From model files on disk to runnable tract graphs, and from payloads to tensors and back.

mod error;
pub mod manifest;

pub use error::LoadError;
