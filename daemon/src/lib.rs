//! hearthd: a system service that runs open models on ARM boards and answers over MQTT and D-Bus.
//!
//! ```text
//! mqtt | dbus -> Request -> scheduler (admission, queues, batches) -> engine step -> Reply -> mqtt | dbus
//!                               ^ Budget from the governor
//! ```
//! `ARCHITECTURE.md` tells how the parts work together.

pub mod config;
pub mod dbus;
pub mod engine;
pub mod mqtt;
pub mod scheduler;
pub mod thermal;
pub mod logging;
