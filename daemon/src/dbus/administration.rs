//! What the manager does with the store: install, remove, activate, roll back; one at a time, off the threads that answer.

use super::Door;
use super::payload::Incoming;
use hearth_api::{Fault, ModelName};
use hearth_models::{Progress, Source, Store};
use std::fs::File;
use std::io::{Seek, Write};
use std::sync::Arc;

/// Installs a model from files that were sent, and lets it serve; an empty `name` leaves it the one it has. Gives name and
/// version. `progress` is told how far it is, on another thread.
pub(super) async fn install(
    door: &Arc<Door>,
    name: String,
    files: Vec<(String, Incoming)>,
    mut progress: impl FnMut(Progress) + Send + 'static,
) -> Result<(String, String), Fault> {
    let name = if name.is_empty() { None } else { Some(ModelName::new(name)?) };
    let files = files.into_iter().map(|(file, content)| opened(content, &file).map(|content| (file, content)));
    let files = files.collect::<Result<Vec<(String, File)>, Fault>>()?;
    let models = door.models.clone();
    change(door, move |store| {
        let check = crate::checker(&models).map_err(|error| Fault::internal(format!("the check of a model cannot be run: {error}")))?;
        Ok(store.install_watched(&Source::Files { name, files }, &check, &mut progress)?)
    })
    .await
    .map(|installed| (installed.name.into(), installed.version))
}

/// Removes a version that does not serve, or all where it is empty.
pub(super) async fn remove(door: &Arc<Door>, model: String, version: String) -> Result<(), Fault> {
    let model = ModelName::new(model)?;
    change(door, move |store| Ok(store.remove(&model, Some(version.as_str()).filter(|version| !version.is_empty()))?)).await
}

/// Lets another installed version serve.
pub(super) async fn activate(door: &Arc<Door>, model: String, version: String) -> Result<(), Fault> {
    let model = ModelName::new(model)?;
    change(door, move |store| Ok(store.activate(&model, &version)?)).await
}

/// Lets the version serve again that did before; gives it.
pub(super) async fn roll_back(door: &Arc<Door>, model: String) -> Result<String, Fault> {
    let model = ModelName::new(model)?;
    change(door, move |store| Ok(store.roll_back(&model)?)).await
}

/// Does something to the store, then has the engine look at it.
async fn change<T: Send + 'static>(door: &Arc<Door>, act: impl FnOnce(&Store) -> Result<T, Fault> + Send + 'static) -> Result<T, Fault> {
    // Opening a store sweeps the staging folders in it: nobody else may be installing meanwhile.
    let _turn = door.administration.lock().await;
    let directory = door.models.directory.clone();
    let acted = tokio::task::spawn_blocking(move || act(&Store::open(&directory)?));
    let result = acted.await.map_err(|error| Fault::internal(format!("the store was not changed: {error}")))?;
    door.engine.rescan().await;
    result
}

/// A file that was sent, at its beginning.
fn opened(content: Incoming, name: &str) -> Result<File, Fault> {
    let unreadable = |error: std::io::Error| Fault::bad_request(format!("{name:?} cannot be read: {error}"));
    let mut file = match content {
        Incoming::Inline(bytes) => {
            let memory = rustix::fs::memfd_create("hearthd-file", rustix::fs::MemfdFlags::CLOEXEC);
            let mut file = File::from(memory.map_err(|error| Fault::internal(format!("no memory for {name:?}: {error}")))?);
            file.write_all(&bytes).map_err(|error| Fault::internal(format!("no memory for {name:?}: {error}")))?;
            file
        }
        Incoming::File(fd) => File::from(fd),
        Incoming::Other(signature) => return Err(Fault::bad_request(format!("{name:?} is a variant of {signature}; a file is ay or h"))),
    };
    // A pipe could keep us waiting for ever.
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(Fault::bad_request(format!("{name:?} is no regular file")));
    }
    file.rewind().map_err(unreadable)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_file_is_read_from_its_beginning_however_it_was_sent() {
        let mut half_read = tempfile::tempfile().unwrap();
        half_read.write_all(b"model").unwrap();
        for content in [Incoming::Inline(b"model".to_vec()), Incoming::File(half_read.into())] {
            let mut bytes = String::new();
            opened(content, "model.onnx").unwrap().read_to_string(&mut bytes).unwrap();
            assert_eq!(bytes, "model");
        }
    }

    #[test]
    fn what_is_no_regular_file_is_not_waited_for() {
        let (pipe, _end) = rustix::pipe::pipe().unwrap();
        assert!(opened(Incoming::File(pipe), "model.onnx").unwrap_err().message.contains("no regular file"));
        assert!(opened(Incoming::Other("s".into()), "model.onnx").unwrap_err().message.contains("ay or h"));
    }
}
