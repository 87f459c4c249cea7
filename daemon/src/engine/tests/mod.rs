//! The engine with real models: small ONNX graphs through the whole of it, but the doors.

mod endings;
mod kit;
mod lifetimes;
mod poison;
