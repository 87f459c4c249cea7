//! Versions: which one serves, and which is put aside.

use super::files::{self, disk};
use super::{ACTIVE, PREVIOUS, QUARANTINE, Store, StoreError};
use crate::manifest::{self, Manifest};
use hearth_api::ModelName;
use std::fs;
use std::path::Path;

impl Store {
    /// Versions of a model, the oldest install first.
    pub(super) fn versions(&self, name: &ModelName) -> Result<Vec<String>, StoreError> {
        let folder = self.folder(name);
        if !folder.is_dir() {
            return Err(StoreError::UnknownModel(name.clone()));
        }
        let mut versions = Vec::new();
        for entry in files::entries(&folder)? {
            let version = entry.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
            // What has gone meanwhile is no version.
            if manifest::is_version(&version) && fs::symlink_metadata(&entry).is_ok_and(|data| data.is_dir()) {
                // The manifest is written once, at the install.
                let when = fs::metadata(entry.join(manifest::FILE_NAME)).and_then(|m| m.modified()).unwrap_or(std::time::UNIX_EPOCH);
                versions.push((when, version));
            }
        }
        versions.sort();
        Ok(versions.into_iter().map(|(_, version)| version).collect())
    }

    /// What a link of a model names.
    pub(super) fn link(&self, name: &ModelName, link: &str) -> Option<String> {
        let target = fs::read_link(self.folder(name).join(link)).ok()?;
        // A link may have been made by hand.
        target.to_str().filter(|version| manifest::is_version(version)).map(str::to_owned)
    }

    fn known(&self, name: &ModelName, version: &str) -> Result<(), StoreError> {
        let installed = self.versions(name)?;
        if installed.iter().any(|v| v == version) {
            return Ok(());
        }
        Err(StoreError::UnknownVersion { name: name.clone(), version: version.to_owned(), installed })
    }

    /// Lets a version serve; lifts its quarantine.
    pub fn activate(&self, name: &ModelName, version: &str) -> Result<(), StoreError> {
        let _lock = self.lock()?;
        self.activate_locked(name, version)
    }

    fn activate_locked(&self, name: &ModelName, version: &str) -> Result<(), StoreError> {
        self.known(name, version)?;
        Manifest::read(&self.folder(name).join(version))?;
        let mark = self.folder(name).join(version).join(QUARANTINE);
        if mark.exists() {
            fs::remove_file(&mark).map_err(disk(&mark, "lifting a quarantine"))?;
        }
        self.switch(name, version)
    }

    fn switch(&self, name: &ModelName, version: &str) -> Result<(), StoreError> {
        let folder = self.folder(name);
        match self.link(name, ACTIVE) {
            Some(active) if active == version => Ok(()),
            Some(active) => {
                files::relink(&folder.join(PREVIOUS), &active)?;
                files::relink(&folder.join(ACTIVE), version)
            }
            None => files::relink(&folder.join(ACTIVE), version),
        }
    }

    /// Lets the version serve again that did before; gives its name.
    pub fn roll_back(&self, name: &ModelName) -> Result<String, StoreError> {
        let _lock = self.lock()?;
        self.versions(name)?;
        // A crash between the two links of a switch leaves both at one version.
        let previous = self.link(name, PREVIOUS).filter(|previous| self.link(name, ACTIVE).as_ref() != Some(previous));
        let previous = previous.ok_or_else(|| StoreError::NoPrevious(name.clone()))?;
        self.activate_locked(name, &previous)?;
        Ok(previous)
    }

    /// Removes a version that does not serve, or, without one, the whole model.
    pub fn remove(&self, name: &ModelName, version: Option<&str>) -> Result<(), StoreError> {
        let _lock = self.lock()?;
        let folder = self.folder(name);
        let versions = self.versions(name)?;
        let Some(version) = version.filter(|v| versions.len() > 1 || versions.first().is_none_or(|only| only != v)) else {
            return self.discard(&folder);
        };
        self.known(name, version)?;
        if self.link(name, ACTIVE).is_some_and(|active| active == version) {
            return Err(StoreError::Active { name: name.clone(), version: version.to_owned() });
        }
        if self.link(name, PREVIOUS).is_some_and(|previous| previous == version) {
            let link = folder.join(PREVIOUS);
            fs::remove_file(&link).map_err(disk(&link, "removing"))?;
        }
        self.discard(&folder.join(version))
    }

    /// Takes a folder out of sight in one step, then deletes it.
    pub(super) fn discard(&self, folder: &Path) -> Result<(), StoreError> {
        let bin = tempfile::Builder::new().prefix(super::STAGING).tempdir_in(&self.root).map_err(disk(&self.root, "removing"))?;
        fs::rename(folder, bin.path().join("removed")).map_err(disk(folder, "removing"))?;
        bin.close().map_err(disk(folder, "removing"))
    }

    /// Puts a version aside that killed the daemon too often; the one before serves again, where there is one.
    pub fn quarantine(&self, name: &ModelName, version: &str) -> Result<(), StoreError> {
        let _lock = self.lock()?;
        self.known(name, version)?;
        let folder = self.folder(name);
        files::replace(&folder.join(version).join(QUARANTINE), b"The daemon died three times while this version was at work.\n")?;
        if self.link(name, ACTIVE).is_none_or(|active| active != version) {
            return Ok(());
        }
        let before = self.link(name, PREVIOUS).filter(|v| v != version && !folder.join(v).join(QUARANTINE).exists());
        match before {
            Some(before) if Manifest::read(&folder.join(&before)).is_ok() => self.switch(name, &before),
            _ => Ok(()),
        }
    }
}
