//! From model files on disk to runnable tract graphs, and from payloads to tensors and back.

pub mod manifest;
