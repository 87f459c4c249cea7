//! The files that a manifest names: inside the model's folder, and as their digests say.

use super::Manifest;
use crate::LoadError;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io;
use std::path::{Component, Path};

impl Manifest {
    /// Checks that every file named is there, inside the folder, and what its digest says.
    pub fn verify(&self, directory: &Path) -> Result<(), LoadError> {
        for name in self.files() {
            inside(directory, name)?;
        }
        for (name, wanted) in &self.sha256 {
            let file = directory.join(name);
            let found = digest(&file).map_err(|e| LoadError::read(&file, e))?;
            if !found.eq_ignore_ascii_case(wanted) {
                return Err(LoadError::invalid(
                    &file,
                    format!("its sha256 is {found}, the manifest says {wanted}"),
                    "the file was damaged or changed: get it again, or correct the manifest",
                ));
            }
        }
        Ok(())
    }
}

/// Whether a path stays below the folder it is relative to.
pub(crate) fn is_relative(path: &str) -> bool {
    !path.is_empty() && Path::new(path).components().all(|c| matches!(c, Component::Normal(_)))
}

/// Follows links: a file that leads out of the folder is refused.
fn inside(directory: &Path, name: &str) -> Result<(), LoadError> {
    let file = directory.join(name);
    let real = file.canonicalize().map_err(|e| LoadError::read(&file, e))?;
    let root = directory.canonicalize().map_err(|e| LoadError::read(directory, e))?;
    if real.starts_with(&root) && real.is_file() {
        return Ok(());
    }
    Err(LoadError::invalid(&file, "it leads out of the model's folder, or is no file", "put the file itself into the folder"))
}

/// SHA-256 of a file, in hexadecimal.
pub(crate) fn digest(file: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut File::open(file)?, &mut hasher)?;
    Ok(hexadecimal(hasher))
}

/// SHA-256 of bytes, in hexadecimal.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    hexadecimal(Sha256::new().chain_update(bytes))
}

fn hexadecimal(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|b| format!("{b:02x}")).collect()
}
