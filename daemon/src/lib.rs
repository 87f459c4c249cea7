//! hearthd: a system service that runs open models on ARM boards and answers over MQTT and D-Bus.
//!
//! ```text
//! mqtt | dbus -> Request -> scheduler (admission, queues, batches) -> engine step -> Reply -> mqtt | dbus
//!                               ^ Budget from the governor
//! ```
//! `ARCHITECTURE.md` tells how the parts work together.

mod check;
mod chunks;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod dbus;
pub mod engine;
mod logging;
pub mod mqtt;
pub mod scheduler;
mod service;
pub mod standalone;
pub mod thermal;
mod trial;

pub(crate) use check::checker;
