//! Installing: staged inside the store, verified, checked, synced, renamed. Whatever goes wrong on the way leaves nothing.

use super::files::{disk, sync};
use super::{Installed, STAGING, Store, StoreError};
use crate::check::Refusal;
use crate::manifest::{self, Manifest};
use hearth_api::ModelName;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Where a model comes from.
#[derive(Debug)]
pub enum Source {
    /// A folder with a manifest, or a single .onnx file.
    Folder(PathBuf),
    /// Open files with their names relative to the model's folder; `name` for a single .onnx that shall not be called as its
    /// file is.
    Files {
        /// The name wished for.
        name: Option<ModelName>,
        /// Names and files.
        files: Vec<(String, File)>,
    },
}

/// Most files a model may have.
const MAX_FILES: usize = 4096;

impl Store {
    /// Installs a version and lets it serve, after `check` has looked at it in its staging folder. Installing what is
    /// there already changes nothing but which version serves.
    pub fn install(&self, source: &Source, check: &dyn Fn(&Path) -> Result<(), Refusal>) -> Result<Installed, StoreError> {
        let staging = tempfile::Builder::new().prefix(STAGING).tempdir_in(self.root()).map_err(disk(self.root(), "staging an install"))?;
        let manifest = fill(staging.path(), source)?;
        manifest.verify(staging.path())?;
        let target = self.folder(&manifest.name).join(&manifest.version);
        if !self.same(&target, &manifest)? {
            check(staging.path()).map_err(StoreError::Refused)?;
            let _lock = self.lock()?;
            let folder = self.folder(&manifest.name);
            let commit = || {
                sync_all(staging.path())?;
                fs::create_dir_all(&folder)?;
                fs::rename(staging.path(), &target)?;
                sync(&folder)?;
                sync(self.root())
            };
            commit().map_err(disk(&target, "installing"))?;
            // Renamed away: there is nothing left to sweep.
            let _ = staging.keep();
        }
        self.activate(&manifest.name, &manifest.version)?;
        self.installed(&manifest.name)
    }

    /// Whether this very model is at `target`; something else there is an error.
    fn same(&self, target: &Path, manifest: &Manifest) -> Result<bool, StoreError> {
        if !target.exists() {
            return Ok(false);
        }
        let there = Manifest::read(target)?;
        if there == *manifest && there.verify(target).is_ok() {
            return Ok(true);
        }
        Err(StoreError::Exists { name: manifest.name.clone(), version: manifest.version.clone() })
    }
}

/// Brings the files into the staging folder, and the manifest that is not among them.
fn fill(staging: &Path, source: &Source) -> Result<Manifest, StoreError> {
    let mut wished = None;
    let names = match source {
        Source::Folder(path) if path.is_file() => {
            let name = path
                .file_name()
                .and_then(|n| n.to_str())
                .ok_or_else(|| StoreError::Source(format!("{} has no name in UTF-8", path.display())))?;
            copy(&mut File::open(path).map_err(disk(path, "reading"))?, &staging.join(name))?;
            vec![name.to_owned()]
        }
        Source::Folder(path) => copy_folder(path, staging)?,
        Source::Files { name, files } => {
            wished.clone_from(name);
            if files.len() > MAX_FILES {
                return Err(StoreError::Source(format!("{} files are too many for a model; at most {MAX_FILES}", files.len())));
            }
            for (name, file) in files {
                if !manifest::is_relative(name) {
                    return Err(StoreError::Source(format!("{name:?} is not inside the model's folder: names are relative, without '..'")));
                }
                copy(&mut &*file, &staging.join(name))?;
            }
            files.iter().map(|(name, _)| name.clone()).collect()
        }
    };
    if names.iter().any(|n| n == manifest::FILE_NAME) {
        let manifest = Manifest::read(staging)?;
        return match wished {
            Some(name) if name != manifest.name => {
                Err(StoreError::Source(format!("the manifest calls the model {}, not {name}", manifest.name)))
            }
            _ => Ok(manifest),
        };
    }
    let [file] = names.as_slice() else {
        return Err(StoreError::Source("a model is a folder with a manifest.toml, or a single .onnx file".into()));
    };
    if !file.to_ascii_lowercase().ends_with(".onnx") {
        return Err(StoreError::Source(format!("{file} is neither an .onnx file nor a folder with a manifest.toml")));
    }
    let path = staging.join(file);
    let bytes = fs::read(&path).map_err(disk(&path, "reading"))?;
    let name = wished.map_or_else(|| Manifest::name_from(file), Ok).map_err(|f| StoreError::Source(f.message))?;
    let manifest = Manifest::for_onnx_file(name, file, &bytes);
    let text = toml::to_string_pretty(&manifest).map_err(|e| StoreError::Source(e.to_string()))?;
    super::files::replace(&staging.join(manifest::FILE_NAME), text.as_bytes())?;
    Ok(manifest)
}

fn copy(from: &mut dyn Read, to: &Path) -> Result<(), StoreError> {
    let mut copy = || {
        to.parent().map_or(Ok(()), fs::create_dir_all)?;
        io::copy(from, &mut File::create_new(to)?)
    };
    copy().map(|_| ()).map_err(disk(to, "copying"))
}

/// Copies a folder; links are followed only to files, and `verify` holds them to the folder they end up in.
fn copy_folder(from: &Path, to: &Path) -> Result<Vec<String>, StoreError> {
    let mut names = Vec::new();
    let mut folders = vec![from.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in super::files::entries(&folder)? {
            let name = entry.strip_prefix(from).ok().and_then(Path::to_str);
            let name = name.ok_or_else(|| StoreError::Source(format!("{} has no name in UTF-8", entry.display())))?.to_owned();
            let kind = fs::symlink_metadata(&entry).map_err(disk(&entry, "reading"))?.file_type();
            if kind.is_dir() {
                folders.push(entry);
                continue;
            }
            let leads_out = kind.is_symlink() && !within(&entry, from);
            if leads_out {
                return Err(StoreError::Source(format!("{} leads out of the model's folder: put the file itself there", entry.display())));
            }
            copy(&mut File::open(&entry).map_err(disk(&entry, "reading"))?, &to.join(&name))?;
            names.push(name);
            if names.len() > MAX_FILES {
                return Err(StoreError::Source(format!("{} has more than {MAX_FILES} files", from.display())));
            }
        }
    }
    Ok(names)
}

fn within(path: &Path, folder: &Path) -> bool {
    let (path, folder) = (path.canonicalize(), folder.canonicalize());
    path.is_ok_and(|path| folder.is_ok_and(|folder| path.starts_with(folder)))
}

fn sync_all(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { sync_all(&entry.path())? } else { File::open(entry.path())?.sync_all()? }
    }
    sync(folder)
}
