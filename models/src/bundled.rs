//! The models that come with the program: small, real, our own. `models/bundled` has the scripts that trained them.

use crate::manifest::{FILE_NAME, Manifest};
use include_dir::{Dir, include_dir};
use std::io;
use std::path::Path;

static BUNDLED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/bundled");

/// A bundled model.
#[derive(Debug)]
pub struct Bundled {
    folder: &'static Dir<'static>,
    manifest: Manifest,
}

/// Every bundled model, by name.
pub fn all() -> Vec<Bundled> {
    let of = |folder: &'static Dir<'static>| {
        let text = folder.get_file(folder.path().join(FILE_NAME))?.contents_utf8()?;
        Some(Bundled { folder, manifest: toml::from_str(text).expect("a bundled manifest is tested") })
    };
    let mut models: Vec<Bundled> = BUNDLED.dirs().filter_map(of).collect();
    models.sort_by(|a, b| a.manifest.name.cmp(&b.manifest.name));
    models
}

impl Bundled {
    /// Its manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// One of its files, by its path relative to the manifest.
    pub fn file(&self, name: &str) -> Option<&'static [u8]> {
        Some(self.folder.get_file(self.folder.path().join(name))?.contents())
    }

    /// Writes the manifest and the files it names into a folder, which is made.
    pub fn write_to(&self, folder: &Path) -> io::Result<()> {
        let named = self.manifest.samples.iter().map(|s| &s.file).chain([&self.manifest.file]);
        for name in named.map(String::as_str).chain([FILE_NAME]) {
            let content = self.file(name).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{name} is not bundled")))?;
            let to = folder.join(name);
            to.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            std::fs::write(to, content)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_bundled_model_is_whole() {
        let models = super::all();
        assert!(!models.is_empty());
        for model in models {
            let folder = tempfile::tempdir().unwrap();
            model.write_to(folder.path()).unwrap();
            let manifest = crate::manifest::Manifest::read(folder.path()).unwrap();
            manifest.verify(folder.path()).unwrap();
            assert!(manifest.accuracy.is_some() && manifest.samples.len() >= 10, "{}", manifest.name);
        }
    }
}
