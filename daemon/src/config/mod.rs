//! Configuration: fragments on disk, merged, then validated into `Settings`.

mod settings;

pub use settings::*;
