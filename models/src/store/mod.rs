//! The store: installed models on disk, several versions of each, one of them active.
//!
//! ```text
//! <root>/<name>/<version>/  manifest.toml, the files, check.json, points.json, and `quarantine` where it is put aside
//! <root>/<name>/active      a link to the version that serves, changed by an atomic rename
//! <root>/<name>/previous    a link to the one that served before
//! <root>/.staging-*         installs under way, each locked by who installs; when the store is opened, those of the dead are swept
//! <root>/.lock              held while a version comes, goes or is switched; not while one is copied or checked
//! ```
//!
//! Several processes may use one store at a time. A process that reads needs no lock: what it sees is whole, old or new.

mod error;
mod files;
mod huggingface;
mod install;
mod versions;

pub use error::StoreError;
pub use install::{Progress, Source, Stage};

use crate::manifest::Manifest;
use files::disk;
use hearth_api::graph::Graph;
use hearth_api::{ModelName, Point, Size};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

const ACTIVE: &str = "active";
const PREVIOUS: &str = "previous";
const POINTS: &str = "points.json";
const QUARANTINE: &str = "quarantine";
const STAGING: &str = ".staging-";
const LOCK: &str = ".lock";

/// Installed models below a folder.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
}

/// A model as it is installed.
#[derive(Debug, Clone, PartialEq)]
pub struct Installed {
    /// Its name.
    pub name: ModelName,
    /// The active version.
    pub version: String,
    /// Every version, the oldest install first.
    pub versions: Vec<String>,
    /// Folder of the active version.
    pub directory: PathBuf,
    /// Manifest of the active version.
    pub manifest: Manifest,
    /// How large the active version is.
    pub size: Size,
    /// The active version is put aside: it killed the daemon too often.
    pub quarantined: bool,
}

impl Store {
    /// Opens the store, which is made if it is not there, and sweeps what a crashed install left.
    pub fn open(root: &Path) -> Result<Store, StoreError> {
        fs::create_dir_all(root).map_err(disk(root, "making the store"))?;
        let store = Store { root: root.to_path_buf() };
        let _lock = store.lock()?;
        for entry in files::entries(root)? {
            if entry.file_name().is_some_and(|n| n.to_string_lossy().starts_with(STAGING)) && files::abandoned(&entry)? {
                fs::remove_dir_all(&entry).map_err(disk(&entry, "sweeping a crashed install"))?;
            }
        }
        Ok(store)
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Every model with an active version, by name. One that was damaged by hand is left out, with a word in the log.
    pub fn list(&self) -> Result<Vec<Installed>, StoreError> {
        let folders = files::entries(&self.root)?.into_iter().filter(|f| f.is_dir());
        let names = folders.filter_map(|f| ModelName::new(f.file_name()?.to_str()?).ok());
        let mut models: Vec<Installed> = names
            .filter_map(|name| {
                self.installed(&name).inspect_err(|error| tracing::error!(model = %name, "left out of the store: {error}")).ok()
            })
            .collect();
        models.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(models)
    }

    /// One model.
    pub fn installed(&self, name: &ModelName) -> Result<Installed, StoreError> {
        let versions = self.versions(name)?;
        let version = self.link(name, ACTIVE).filter(|v| versions.contains(v));
        let version = version
            .ok_or_else(|| StoreError::Source(format!("no version of {name} is active: hearthctl model activate {name} VERSION")))?;
        let directory = self.folder(name).join(&version);
        let manifest = Manifest::read(&directory)?;
        if manifest.name != *name || manifest.version != version {
            let says = format!("its manifest says {} {}", manifest.name, manifest.version);
            return Err(crate::LoadError::invalid(&directory, says, "install the model again, rather than move its folder").into());
        }
        let quarantined = directory.join(QUARANTINE).exists();
        let size = crate::check::size(&directory, &manifest);
        Ok(Installed { name: name.clone(), version, versions, directory, manifest, size, quarantined })
    }

    /// Measured points of a version; none where nothing was measured on this board.
    pub fn load_points(&self, name: &ModelName, version: &str) -> Result<Vec<Point>, StoreError> {
        let file = self.folder(name).join(version).join(POINTS);
        let text = fs::read(&file).map_err(disk(&file, "reading"))?;
        serde_json::from_slice(&text).map_err(|e| disk(&file, "reading")(e.into()))
    }

    /// Keeps the measured points of a version.
    pub fn save_points(&self, name: &ModelName, version: &str, points: &[Point]) -> Result<(), StoreError> {
        let json = serde_json::to_vec_pretty(points).expect("points are plain data");
        files::replace(&self.folder(name).join(version).join(POINTS), &json)
    }

    /// What the check of a version found of its graph.
    pub fn graph(&self, name: &ModelName, version: &str) -> Result<Graph, StoreError> {
        let graph = crate::check::graph(&self.folder(name).join(version));
        graph.ok_or_else(|| StoreError::NotDescribed { name: name.clone(), version: version.into() })
    }

    fn folder(&self, name: &ModelName) -> PathBuf {
        self.root.join(name.as_str())
    }

    /// Held while the store changes, by this process or another.
    fn lock(&self) -> Result<File, StoreError> {
        let file = self.root.join(LOCK);
        let lock = File::options().create(true).truncate(false).write(true).open(&file).map_err(disk(&file, "locking the store"))?;
        lock.lock().map_err(disk(&file, "locking the store"))?;
        Ok(lock)
    }
}

#[cfg(test)]
mod tests;
