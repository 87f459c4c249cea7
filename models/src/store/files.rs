//! Writing so that a crash leaves the old or the new, never half of it.

use super::StoreError;
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// An error of the disk's, with where and what.
pub(super) fn disk(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_path_buf();
    move |source| StoreError::Disk { path, what, source }
}

/// What a folder holds.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let list = fs::read_dir(folder).and_then(|entries| entries.map(|e| e.map(|e| e.path())).collect());
    list.map_err(disk(folder, "listing"))
}

/// Replaces a file by new content.
pub(super) fn replace(file: &Path, content: &[u8]) -> Result<(), StoreError> {
    let fresh = fresh(file);
    let write = || {
        let mut out = File::create(&fresh)?;
        out.write_all(content)?;
        out.sync_all()?;
        fs::rename(&fresh, file)?;
        file.parent().map_or(Ok(()), sync)
    };
    write().map_err(disk(file, "writing"))
}

/// Where a new file or link waits until it is whole: beside the old one, and hidden, so that it is nobody's version.
fn fresh(file: &Path) -> PathBuf {
    let mut name = OsString::from(".new-");
    name.push(file.file_name().unwrap_or_default());
    file.with_file_name(name)
}

/// Makes a link point to `target`, in one step.
pub(super) fn relink(link: &Path, target: &str) -> Result<(), StoreError> {
    let fresh = fresh(link);
    let change = || {
        match fs::remove_file(&fresh) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        std::os::unix::fs::symlink(target, &fresh)?;
        fs::rename(&fresh, link)?;
        link.parent().map_or(Ok(()), sync)
    };
    change().map_err(disk(link, "activating"))
}

/// A folder of an install under way, locked; it goes when this is dropped, and may be swept when the process has died.
pub(super) struct Staging {
    folder: TempDir,
    _lock: File,
}

impl Staging {
    /// Makes one. The store is locked meanwhile, so that nobody sweeps it before it is locked itself.
    pub(super) fn new(root: &Path, prefix: &str) -> Result<Staging, StoreError> {
        let make = || {
            let folder = tempfile::Builder::new().prefix(prefix).tempdir_in(root)?;
            let lock = File::open(folder.path())?;
            lock.lock()?;
            Ok(Staging { folder, _lock: lock })
        };
        make().map_err(disk(root, "staging an install"))
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Gives the folder its place; nothing is left to sweep.
    pub(super) fn become_folder(self, target: &Path) -> io::Result<()> {
        fs::rename(self.folder.path(), target)?;
        let _ = self.folder.keep();
        Ok(())
    }
}

/// Whether nobody has a staging folder locked any more. The store is locked meanwhile.
pub(super) fn abandoned(staging: &Path) -> Result<bool, StoreError> {
    let attempt = File::open(staging).map(|folder| folder.try_lock());
    match attempt.map_err(disk(staging, "looking at an install"))? {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(disk(staging, "looking at an install")(error)),
    }
}

/// Makes sure that what was renamed into a folder is on the disk.
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
