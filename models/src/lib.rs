//! From model files on disk to runnable tract graphs, and from payloads to tensors and back.

pub mod boxes;
pub mod bundled;
pub mod check;
pub mod decoder;
mod error;
pub mod gguf;
pub mod language;
pub mod manifest;
mod model;
pub mod network;
mod onnx;
mod ops;
mod panics;
mod store;
mod tasks;
pub mod text;

pub use error::LoadError;
pub use model::Model;
pub use network::Network;
pub use store::{Installed, Progress, Source, Stage, Store, StoreError};
pub use tasks::{Codec, Decoded, Tokens};
