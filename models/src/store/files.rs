//! Writing so that a crash leaves the old or the new, never half of it.

use super::StoreError;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

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
    let fresh = file.with_extension("new");
    let write = || {
        let mut out = File::create(&fresh)?;
        out.write_all(content)?;
        out.sync_all()?;
        fs::rename(&fresh, file)
    };
    write().map_err(disk(file, "writing"))
}

/// Makes a link point to `target`, in one step.
pub(super) fn relink(link: &Path, target: &str) -> Result<(), StoreError> {
    let fresh = link.with_extension("new");
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

/// Makes sure that what was renamed into a folder is on the disk.
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
