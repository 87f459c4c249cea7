//! What the manager does with the store: install, remove, activate, roll back; one at a time, off the threads that answer.

use super::Door;
use super::payload::Incoming;
use hearth_api::{Fault, ModelName};
use hearth_models::{Installed, Source, Store, StoreError};
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// Files that a model may have.
const MOST_FILES: usize = 4096;

/// Name and version of a model.
pub(super) type Named = (String, String);

/// Installs a model from files that were sent; `hint` names a model that comes without a manifest.
pub(super) async fn install(door: &Arc<Door>, hint: String, files: Vec<(String, Incoming)>) -> Result<Named, Fault> {
    let hint = if hint.is_empty() { None } else { Some(ModelName::new(hint)?) };
    let staged = plan(hint.as_ref(), files)?;
    change(door, move |store, door| {
        // Beside the store, so that large files do not pass through a file system in memory.
        let folder = tempfile::Builder::new().prefix(".incoming-").tempdir_in(&door.models.directory).map_err(|e| unwritten(&e))?;
        let source = stage(folder.path(), staged)?;
        let installed = store.install(&source, &crate::checker(&door.models)).map_err(refused)?;
        Ok(named(&installed))
    })
    .await
}

/// Removes a version, or all of them.
pub(super) async fn remove(door: &Arc<Door>, model: String, version: String) -> Result<(), Fault> {
    let model = known(door, &model)?;
    change(door, move |store, _| store.remove(&model, Some(version.as_str()).filter(|v| !v.is_empty())).map_err(refused)).await
}

/// Lets another installed version serve.
pub(super) async fn activate(door: &Arc<Door>, model: String, version: String) -> Result<(), Fault> {
    let model = known(door, &model)?;
    change(door, move |store, _| store.activate(&model, &version).map_err(refused)).await
}

/// Lets the version serve that did before; returns it.
pub(super) async fn roll_back(door: &Arc<Door>, model: String) -> Result<String, Fault> {
    let model = known(door, &model)?;
    change(door, move |store, _| {
        store.roll_back(&model).map_err(refused)?;
        let installed = store.list().map_err(refused)?.into_iter().find(|installed| installed.name == model);
        installed.map(|installed| named(&installed).1).ok_or_else(|| Fault::internal(format!("{model} has left the store")))
    })
    .await
}

/// Does something to the store, then has the engine look at it.
async fn change<T: Send + 'static>(
    door: &Arc<Door>,
    act: impl FnOnce(&Store, &Door) -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    let _turn = door.administration.lock().await;
    let owned = door.clone();
    let acted = tokio::task::spawn_blocking(move || {
        let store = Store::open(&owned.models.directory).map_err(refused)?;
        act(&store, &owned)
    });
    let result = acted.await.map_err(|error| Fault::internal(format!("the store was not changed: {error}")))?;
    door.engine.rescan().await;
    result
}

fn known(door: &Door, model: &str) -> Result<ModelName, Fault> {
    let name = ModelName::new(model)?;
    let snapshot = door.snapshot.borrow();
    if snapshot.models.iter().any(|m| m.name == name) {
        return Ok(name);
    }
    Err(Fault::unknown_model(&name, snapshot.models.iter().map(|m| &m.name)))
}

fn named(installed: &Installed) -> Named {
    (installed.name.to_string(), installed.version.clone())
}

/// The store's words are for the caller: what is wrong with a model, or with the folder it is kept in.
fn refused(error: StoreError) -> Fault {
    Fault::bad_request(error.to_string())
}

fn unwritten(error: &io::Error) -> Fault {
    Fault::internal(format!("the files cannot be written beside the store: {error}"))
}

/// Files to be written, and what is to be installed of them.
struct Staged {
    files: Vec<(PathBuf, Incoming)>,
    /// The only file, where it is a model without a manifest.
    single: Option<PathBuf>,
}

/// Checks the names before anything is written.
fn plan(hint: Option<&ModelName>, files: Vec<(String, Incoming)>) -> Result<Staged, Fault> {
    if files.is_empty() || files.len() > MOST_FILES {
        return Err(Fault::bad_request(format!(
            "{} files are no model: 1 to {MOST_FILES}, manifest.toml among them, or one .onnx",
            files.len()
        ))
        .with_limit("files", MOST_FILES as u64));
    }
    let mut seen = BTreeSet::new();
    let mut planned = Vec::with_capacity(files.len());
    for (name, content) in files {
        let path = PathBuf::from(&name);
        let plain = !name.is_empty() && path.components().all(|c| matches!(c, Component::Normal(_))) && path.as_os_str().len() <= 255;
        if !plain || !seen.insert(path.clone()) {
            let shown: String = name.chars().take(64).collect();
            return Err(Fault::bad_request(format!("{shown:?} is no file of a model: each has a relative path of its own, without '..'")));
        }
        if let Incoming::Other(signature) = &content {
            return Err(Fault::bad_request(format!("{name:?} is a variant of {signature}; a file is ay or h")));
        }
        planned.push((path, content));
    }
    let manifest = planned.iter().any(|(path, _)| path == Path::new("manifest.toml"));
    let single = match planned.as_mut_slice() {
        _ if manifest => None,
        [(path, _)] if path.extension().is_some_and(|e| e == "onnx") => {
            // A model without a manifest is called as its file is.
            if let Some(hint) = hint {
                *path = PathBuf::from(format!("{hint}.onnx"));
            }
            Some(path.clone())
        }
        _ => return Err(Fault::bad_request("manifest.toml is missing; only a single .onnx file needs none")),
    };
    Ok(Staged { files: planned, single })
}

fn stage(folder: &Path, staged: Staged) -> Result<Source, Fault> {
    for (path, content) in staged.files {
        let target = folder.join(&path);
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent).map_err(|e| unwritten(&e))?;
        }
        match content {
            Incoming::Inline(bytes) => std::fs::write(&target, bytes).map_err(|e| unwritten(&e))?,
            Incoming::File(fd) => copy(File::from(fd), &path, &target)?,
            Incoming::Other(_) => {}
        }
    }
    Ok(match staged.single {
        Some(file) => Source::File(folder.join(file)),
        None => Source::Folder(folder.to_owned()),
    })
}

/// Copies a regular file, from its beginning: a pipe could keep us waiting for ever.
fn copy(mut from: File, name: &Path, to: &Path) -> Result<(), Fault> {
    let unreadable = |error: io::Error| Fault::bad_request(format!("{} cannot be read: {error}", name.display()));
    let metadata = from.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(Fault::bad_request(format!("{} is no regular file", name.display())));
    }
    io::Seek::rewind(&mut from).map_err(unreadable)?;
    let mut target = File::create(to).map_err(|e| unwritten(&e))?;
    // No more than it had: one that grows while it is read would not end.
    io::copy(&mut io::Read::take(from, metadata.len()), &mut target).map_err(|e| unwritten(&e))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> (String, Incoming) {
        (name.to_owned(), Incoming::Inline(b"x".to_vec()))
    }

    #[test]
    fn only_files_of_a_model_are_written_and_only_below_its_folder() {
        for bad in ["../x", "/etc/passwd", "", ".", "a/../b", "a//../../b"] {
            let fault = plan(None, vec![file("manifest.toml"), file(bad)]).err().unwrap();
            assert!(fault.message.contains("relative path"), "{bad}: {}", fault.message);
        }
        assert!(plan(None, vec![file("manifest.toml"), file("manifest.toml")]).is_err());
        assert!(plan(None, Vec::new()).is_err());
        assert!(plan(None, vec![file("a.onnx"), file("b.onnx")]).err().unwrap().message.contains("manifest.toml is missing"));
        assert!(plan(None, vec![file("manifest.toml"), file("samples/a.png")]).unwrap().single.is_none());
    }

    #[test]
    fn a_single_file_is_called_as_its_sender_says() {
        let hint = ModelName::new("mine").unwrap();
        assert_eq!(plan(Some(&hint), vec![file("model.onnx")]).unwrap().single, Some("mine.onnx".into()));
        assert_eq!(plan(None, vec![file("model.onnx")]).unwrap().single, Some("model.onnx".into()));
    }

    #[test]
    fn what_is_no_regular_file_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let (pipe, _end) = rustix::pipe::pipe().unwrap();
        let staged = plan(None, vec![("model.onnx".into(), Incoming::File(pipe))]).unwrap();
        assert!(stage(folder.path(), staged).err().unwrap().message.contains("no regular file"));
    }
}
