//! Configuration: fragments on disk, merged, then validated into `Settings`.

mod fragments;
mod reload;
mod settings;
mod validate;

pub use fragments::{Fragment, read};
pub use reload::Changes;
pub use settings::*;
pub use validate::settings;

use std::path::PathBuf;

/// Where the configuration is unless the command line says otherwise.
pub const DEFAULT_FILE: &str = "/etc/hearth/hearthd.toml";

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file could not be read.
    #[error("{} cannot be read: {source}", file.display())]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not TOML, or has a key that does not exist, or a value of the wrong type.
    #[error("{}: {source}", file.display())]
    Syntax {
        /// Which.
        file: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A value is out of bounds.
    #[error("{key} = {value}: {reason}")]
    Value {
        /// The key, with its section.
        key: &'static str,
        /// The value found.
        value: String,
        /// What would be right.
        reason: String,
    },
}
