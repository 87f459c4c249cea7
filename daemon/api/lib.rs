//! The wire contract of hearthd: what a request, a reply and a fault are, and what the topics and bus names are called.
//! No I/O. The daemon, its control program and Rust clients share it; other languages read `contract/`.

pub mod chat;
pub mod dbus;
mod fault;
pub mod graph;
pub mod history;
mod model;
mod reply;
mod request;
pub mod tensor;
pub mod topics;

pub use fault::{Fault, FaultBody, FaultKind, Limit, Whose};
pub use model::{ModelInfo, ModelState, Point, Size};
pub use reply::{Anomaly, Answer, Detection, Embeddings, ImageSize, Label, Reading, Reply, Timings};
pub use request::{ContentType, ModelName, Payload, Priority, Request, RequestId};

/// Version of the contract: the major part changes when an old client would break.
pub const CONTRACT_VERSION: &str = "1.2";
