//! Installing: staged inside the store, verified, checked, synced, renamed. Whatever goes wrong on the way leaves nothing.

use super::files::{Staging, disk, sync};
use super::{Installed, STAGING, Store, StoreError, huggingface};
use crate::check::Refusal;
use crate::decoder::weights;
use crate::manifest::{self, Manifest, Task};
use hearth_api::ModelName;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Where a model comes from.
#[derive(Debug)]
pub enum Source {
    /// A folder with a manifest, or as Hugging Face has it, or a single .onnx or .gguf file.
    Folder(PathBuf),
    /// Open files with their names relative to the model's folder; `name` for what has no manifest: a single .onnx that shall
    /// not be called as its file is, or a folder as Hugging Face has it.
    Files {
        /// The name wished for.
        name: Option<ModelName>,
        /// Names and files.
        files: Vec<(String, File)>,
    },
}

/// How far an install is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// Bytes done.
    pub done: u64,
    /// Bytes in all; 0 where that is not known.
    pub total: u64,
}

/// The stages of an install, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Files come into the store.
    Copying,
    /// They are held against the manifest's digests.
    Verifying,
    /// A language model's weights are laid out for the kernels.
    Repacking,
    /// The model is tried out.
    Checking,
}

impl Stage {
    /// The stage as it is written on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Copying => "copying",
            Stage::Verifying => "verifying",
            Stage::Repacking => "repacking",
            Stage::Checking => "checking",
        }
    }
}

/// Most files a model may have.
const MAX_FILES: usize = 4096;
/// Copied between two reports of progress.
const STRIDE: u64 = 16 << 20;

impl Store {
    /// Installs a version and lets it serve, after `check` has looked at it in its staging folder; what `check` writes there
    /// stays. Installing what is there already changes nothing but which version serves; what is there but damaged is replaced.
    pub fn install(&self, source: &Source, check: &dyn Fn(&Path) -> Result<(), Refusal>) -> Result<Installed, StoreError> {
        self.install_watched(source, check, &mut |_| ())
    }

    /// The same, for one who watches.
    pub fn install_watched(
        &self,
        source: &Source,
        check: &dyn Fn(&Path) -> Result<(), Refusal>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Installed, StoreError> {
        let begun = |stage| Progress { stage, done: 0, total: 0 };
        let staging = {
            let _lock = self.lock()?;
            Staging::new(self.root(), STAGING)?
        };
        let manifest = fill(staging.path(), source, &mut |done, total| progress(Progress { stage: Stage::Copying, done, total }))?;
        progress(begun(Stage::Verifying));
        manifest.verify(staging.path())?;
        if look(&self.folder(&manifest.name).join(&manifest.version), &manifest, staging.path())? != Place::Taken {
            if matches!(manifest.task, Task::Chat(_)) {
                let repacked = &mut |done, total| progress(Progress { stage: Stage::Repacking, done, total });
                weights::repack(&staging.path().join(&manifest.file), repacked)?;
            }
            progress(begun(Stage::Checking));
            check(staging.path()).map_err(StoreError::Refused)?;
            self.commit(&manifest, staging)?;
        }
        self.activate(&manifest.name, &manifest.version)?;
        self.installed(&manifest.name)
    }

    /// Gives a checked version its place. Another install of the same version may have been faster.
    fn commit(&self, manifest: &Manifest, staging: Staging) -> Result<(), StoreError> {
        let folder = self.folder(&manifest.name);
        let target = folder.join(&manifest.version);
        sync_all(staging.path()).map_err(disk(&target, "installing"))?;
        let _lock = self.lock()?;
        match look(&target, manifest, staging.path())? {
            Place::Taken => return Ok(()),
            Place::Damaged => self.discard(&target)?,
            Place::Free => {}
        }
        let place = || {
            fs::create_dir_all(&folder)?;
            staging.become_folder(&target)?;
            sync(&folder)?;
            sync(self.root())
        };
        place().map_err(disk(&target, "installing"))
    }
}

/// What is at the place of a version to install.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Free,
    /// By this very version.
    Taken,
    /// By what cannot be read, or is not what its own digests say.
    Damaged,
}

/// Looks at the place of a version; a sound version with other content there is an error.
fn look(target: &Path, manifest: &Manifest, staging: &Path) -> Result<Place, StoreError> {
    if !target.exists() {
        return Ok(Place::Free);
    }
    let Ok(there) = Manifest::read(target).and_then(|there| there.verify(target).map(|()| there)) else { return Ok(Place::Damaged) };
    // Both are what their digests say; without digests the files themselves are compared.
    let equal = |name: &&str| match (manifest::digest(&target.join(name)), manifest::digest(&staging.join(name))) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    };
    if there == *manifest && (!manifest.sha256.is_empty() || manifest.files().iter().all(equal)) {
        return Ok(Place::Taken);
    }
    Err(StoreError::Exists { name: manifest.name.clone(), version: manifest.version.clone() })
}

/// Brings the files into the staging folder, and the manifest that is not among them.
fn fill(staging: &Path, source: &Source, progress: &mut dyn FnMut(u64, u64)) -> Result<Manifest, StoreError> {
    let mut wished = None;
    let names = match source {
        Source::Folder(path) if path.is_file() => {
            let name = path.file_name().and_then(|n| n.to_str());
            let name = name.ok_or_else(|| StoreError::Source(format!("{} has no name in UTF-8", path.display())))?;
            copy(&File::open(path).map_err(disk(path, "reading"))?, name, staging, progress)?;
            vec![name.to_owned()]
        }
        Source::Folder(path) => copy_folder(path, staging, progress)?,
        Source::Files { name, files } => {
            wished.clone_from(name);
            if files.len() > MAX_FILES {
                return Err(StoreError::Source(format!("{} files are too many for a model; at most {MAX_FILES}", files.len())));
            }
            for (name, file) in files {
                if !manifest::is_relative(name) {
                    return Err(StoreError::Source(format!("{name:?} is not inside the model's folder: names are relative, without '..'")));
                }
                copy(file, name, staging, progress)?;
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
    if huggingface::is_one(&names) {
        let name = match (wished, source) {
            (Some(name), _) => name,
            (None, Source::Folder(path)) => folder_name(path)?,
            (None, Source::Files { .. }) => {
                return Err(StoreError::Source("a folder without a manifest.toml needs a name for its model".into()));
            }
        };
        return huggingface::adopt(staging, &names, name);
    }
    let [file] = names.as_slice() else {
        return Err(StoreError::Source("a model is a folder with a manifest.toml, or a single .onnx or .gguf file".into()));
    };
    if !file.to_ascii_lowercase().ends_with(".onnx") && !manifest::is_gguf(file) {
        return Err(StoreError::Source(format!("{file} is neither an .onnx or .gguf file nor a folder with a manifest.toml")));
    }
    let path = staging.join(file);
    let name = wished.map_or_else(|| Manifest::name_from(file), Ok).map_err(|f| StoreError::Source(f.message))?;
    let manifest = Manifest::for_file(name, &path)?;
    let text = toml::to_string_pretty(&manifest).map_err(|e| StoreError::Source(e.to_string()))?;
    super::files::replace(&staging.join(manifest::FILE_NAME), text.as_bytes())?;
    Ok(manifest)
}

/// A model's name from that of its folder.
fn folder_name(folder: &Path) -> Result<ModelName, StoreError> {
    let real = folder.canonicalize().map_err(disk(folder, "reading"))?;
    let name = real.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    // What follows the last dot is no ending: all-MiniLM-L6-v2.1 is called that.
    Manifest::name_from(&format!("{name}.onnx")).map_err(|f| StoreError::Source(f.message))
}

/// Copies a regular file, as long as it is now; anything else could be read for ever.
fn copy(from: &File, name: &str, staging: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<(), StoreError> {
    let to = staging.join(name);
    let data = from.metadata().map_err(disk(&to, "copying"))?;
    if !data.is_file() {
        return Err(StoreError::Source(format!("{name:?} is no regular file: a model has files alone")));
    }
    let mut copy = || {
        to.parent().map_or(Ok(()), fs::create_dir_all)?;
        let (mut file, mut done) = (File::create_new(&to)?, 0);
        while done < data.len() {
            let copied = io::copy(&mut from.take(STRIDE.min(data.len() - done)), &mut file)?;
            if copied == 0 {
                // It became shorter meanwhile.
                break;
            }
            done += copied;
            progress(done, data.len());
        }
        Ok(())
    };
    copy().map_err(disk(&to, "copying"))
}

/// Copies a folder without what is hidden in it. Links are followed to files inside it alone.
fn copy_folder(from: &Path, to: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Vec<String>, StoreError> {
    let mut names = Vec::new();
    let mut folders = vec![from.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in super::files::entries(&folder)? {
            let name = entry.strip_prefix(from).ok().and_then(Path::to_str);
            let name = name.ok_or_else(|| StoreError::Source(format!("{} has no name in UTF-8", entry.display())))?.to_owned();
            if entry.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b".")) {
                continue;
            }
            let kind = fs::symlink_metadata(&entry).map_err(disk(&entry, "reading"))?.file_type();
            if kind.is_dir() {
                folders.push(entry);
                continue;
            }
            if kind.is_symlink() && !within(&entry, from) {
                let mend = "put the file itself there";
                return Err(StoreError::Source(format!("{} leads out of the model's folder: {mend}", entry.display())));
            }
            // Looked at before it is opened: opening a pipe waits for its other end.
            if !fs::metadata(&entry).map_err(disk(&entry, "reading"))?.is_file() {
                return Err(StoreError::Source(format!("{} is no regular file: a model has files alone", entry.display())));
            }
            copy(&File::open(&entry).map_err(disk(&entry, "reading"))?, &name, to, progress)?;
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
