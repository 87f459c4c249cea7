//! Where what was learnt of the board is kept across restarts: one small file of JSON in the state directory.

use super::Learnt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// A file that is larger was not written by us.
const MOST_BYTES: u64 = 64 * 1024;

/// The file.
#[derive(Debug)]
pub(super) struct LearntFile {
    file: PathBuf,
    /// That it cannot be written was said.
    complained: AtomicBool,
}

impl LearntFile {
    /// The file in this folder.
    pub(super) fn beside(folder: &Path) -> LearntFile {
        LearntFile { file: folder.join("thermal.json"), complained: AtomicBool::new(false) }
    }

    /// What was learnt before; none if nothing was, or if it cannot be used.
    pub(super) fn read(&self) -> Option<Learnt> {
        let mut text = String::new();
        let read = std::fs::File::open(&self.file).and_then(|file| file.take(MOST_BYTES).read_to_string(&mut text));
        let unusable = |error: &dyn std::fmt::Display| {
            tracing::warn!("{} cannot be used, the board's heat is learnt anew: {error}", self.file.display());
        };
        match read {
            Ok(_) => serde_json::from_str(&text).map_err(|error| unusable(&error)).ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                unusable(&error);
                None
            }
        }
    }

    /// Replaces it as a whole. What cannot be written is said once; the board is then learnt anew after a restart.
    pub(super) fn write(&self, learnt: &Learnt) {
        if let Err(error) = self.replace(learnt)
            && !self.complained.swap(true, Ordering::Relaxed)
        {
            tracing::warn!("what was learnt of the board's heat cannot be kept in {}: {error}", self.file.display());
        }
    }

    fn replace(&self, learnt: &Learnt) -> io::Result<()> {
        let folder = self.file.parent().unwrap_or(Path::new("."));
        let mut new = tempfile::NamedTempFile::new_in(folder)?;
        new.write_all(&serde_json::to_vec(learnt)?)?;
        // A power cut leaves the old file or the new one.
        new.as_file().sync_data()?;
        new.persist(&self.file)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learnt_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = LearntFile::beside(folder.path());
        assert!(file.read().is_none());
        file.write(&Learnt::default());
        assert_eq!(file.read(), Some(Learnt::default()));
        // One file, no rubbish beside it.
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        std::fs::write(folder.path().join("thermal.json"), "{\"version\": ").unwrap();
        assert!(file.read().is_none());
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_no_reason_to_fail() {
        let file = LearntFile::beside(Path::new("/nonexistent"));
        file.write(&Learnt::default());
        assert!(file.complained.load(Ordering::Relaxed) && file.read().is_none());
    }
}
