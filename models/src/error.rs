//! Why a model cannot be loaded: each error names the file, what is wrong with it and what would be right.

use std::path::{Path, PathBuf};

/// Why a model cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be read.
    #[error("{}: cannot be read: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that is made of others cannot be written.
    #[error("{}: cannot be written: {source}", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {wrong}; {mend}", file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        wrong: String,
        /// What would be right.
        mend: String,
    },
    /// A file is valid, but asks for something that hearthd does not do.
    #[error("{}: {what} is not supported; {mend}", file.display())]
    Unsupported {
        /// The file.
        file: PathBuf,
        /// What it asks for.
        what: String,
        /// What would be supported.
        mend: String,
    },
    /// The graph could not be made to run.
    #[error("{}: {stage} failed: {reason}", file.display())]
    Graph {
        /// The model file.
        file: PathBuf,
        /// What was being done.
        stage: &'static str,
        /// Why it failed.
        reason: String,
    },
}

impl LoadError {
    /// The file cannot be read.
    pub fn read(file: &Path, source: std::io::Error) -> LoadError {
        LoadError::Read { file: file.into(), source }
    }

    /// The file is not what it should be: what is wrong, and what would be right.
    pub fn invalid(file: &Path, wrong: impl Into<String>, mend: impl Into<String>) -> LoadError {
        LoadError::Invalid { file: file.into(), wrong: wrong.into(), mend: mend.into() }
    }

    /// The file asks for something that hearthd does not do.
    pub fn unsupported(file: &Path, what: impl Into<String>, mend: impl Into<String>) -> LoadError {
        LoadError::Unsupported { file: file.into(), what: what.into(), mend: mend.into() }
    }
}
