//! Why the store could not do what it was asked.

use crate::LoadError;
use crate::check::Refusal;
use hearth_api::{Fault, ModelName};
use std::io;
use std::path::PathBuf;

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk would not.
    #[error("{}: {what} failed: {source}{}", path.display(), mend(source))]
    Disk {
        /// Where.
        path: PathBuf,
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The model is not what it should be.
    #[error(transparent)]
    Model(#[from] LoadError),
    /// The check refused it.
    #[error("the model was refused: {}", .0.reason)]
    Refused(Refusal),
    /// Another version of the same name and number is there, with other content.
    #[error("{name} {version} is installed already, with other content: give the new one another version")]
    Exists {
        /// The model.
        name: ModelName,
        /// The version.
        version: String,
    },
    /// No such model.
    #[error("no model is called {0}")]
    UnknownModel(ModelName),
    /// No such version.
    #[error("{name} has no version {version}; installed: {}", installed.join(", "))]
    UnknownVersion {
        /// The model.
        name: ModelName,
        /// The version asked for.
        version: String,
        /// What there is.
        installed: Vec<String>,
    },
    /// The active version serves.
    #[error("{name} {version} serves: activate another version first, or remove the whole model")]
    Active {
        /// The model.
        name: ModelName,
        /// The version.
        version: String,
    },
    /// Its check kept no word on its graph.
    #[error("the check of {name} {version} kept no word on its graph: `hearthctl model remove` it and `hearthctl model add` it again")]
    NotDescribed {
        /// The model.
        name: ModelName,
        /// The version.
        version: String,
    },
    /// There is no earlier version.
    #[error("{0} has no earlier version to go back to")]
    NoPrevious(ModelName),
    /// The source cannot be installed.
    #[error("{0}")]
    Source(String),
}

/// What would help, where that is plain.
fn mend(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; make room on the disk, or remove versions that are not needed",
        io::ErrorKind::PermissionDenied => "; the folder must be the daemon's own",
        io::ErrorKind::ReadOnlyFilesystem => "; the store must be on a disk that can be written (ReadWritePaths= in the unit)",
        _ => "",
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Fault {
        let message = error.to_string();
        match error {
            StoreError::Disk { .. } => Fault::internal(message),
            StoreError::UnknownModel(_) => Fault::new(hearth_api::FaultKind::UnknownModel, message),
            StoreError::Refused(_) => Fault::model_failed(message),
            _ => Fault::bad_request(message),
        }
    }
}
