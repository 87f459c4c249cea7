//! The loader: a thread that does for the step loop what may take long: reading models from disk, freeing them, saving
//! measured points.

use super::inbox::{Command, Sender};
use hearth_api::{ContentType, Fault, ModelName, Payload, Point};
use hearth_models::{Model, Store};
use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;

/// A sample that is larger is not kept in memory to measure with.
const SAMPLE_BYTES: u64 = 1 << 20;

/// What a model of texts is measured with that brings no sample: of the length that most requests have.
const SENTENCE: &str = "The pump of the second line runs hot, and its bearing is louder than it was last week.";

/// What the loader is asked to do.
pub(super) enum Chore {
    /// Load a version of a model.
    Load(Wanted),
    /// Save what was measured of it.
    SavePoints { model: ModelName, version: String, points: Vec<Point> },
    /// Free a model that is not used any more.
    Free(Arc<Model>),
}

/// A version of a model to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) name: ModelName,
    pub(super) version: String,
    pub(super) directory: PathBuf,
}

/// The end of a load.
pub(super) struct Loaded {
    pub(super) wanted: Wanted,
    pub(super) result: Result<Fresh, Fault>,
}

/// A model fresh from disk.
pub(super) struct Fresh {
    pub(super) model: Arc<Model>,
    /// The points of an earlier run.
    pub(super) points: Vec<Point>,
    /// What to measure with.
    pub(super) sample: Option<Payload>,
}

/// Starts the loader. It ends when the returned sender is dropped.
pub(super) fn start(store: Arc<Store>, inbox: Sender) -> io::Result<(mpsc::Sender<Chore>, thread::JoinHandle<()>)> {
    let (sender, chores) = mpsc::channel();
    let thread = thread::Builder::new().name("hearth-loader".into()).spawn(move || {
        while let Ok(chore) = chores.recv() {
            match chore {
                Chore::Load(wanted) => {
                    let result = load(&store, &wanted);
                    // A step loop that is gone needs no model.
                    let _ = inbox.send(Command::Loaded(Loaded { wanted, result }));
                }
                Chore::SavePoints { model, version, points } => save_points(&store, &model, &version, &points),
                Chore::Free(model) => drop(model),
            }
        }
    })?;
    Ok((sender, thread))
}

fn load(store: &Store, wanted: &Wanted) -> Result<Fresh, Fault> {
    let model = catch_unwind(AssertUnwindSafe(|| Model::load(&wanted.directory)))
        .map_err(|panic| Fault::model_failed(format!("{} cannot be loaded: {}", wanted.name, panic_message(&*panic))))?
        .map_err(|error| Fault::model_failed(format!("{} cannot be loaded: {error}", wanted.name)))?;
    // Neither is needed to serve.
    let points = store.load_points(&wanted.name, &wanted.version).unwrap_or_default();
    let sample = sample(wanted, &model);
    Ok(Fresh { model: Arc::new(model), points, sample })
}

/// The first sample of the model, or a sentence where it takes texts, or zeros of the shape that it takes.
fn sample(wanted: &Wanted, model: &Model) -> Option<Payload> {
    // Conversations are not measured: each of their steps is another.
    model.network()?;
    for sample in &model.manifest().samples {
        if wanted.directory.join(&sample.file).metadata().is_ok_and(|m| m.len() <= SAMPLE_BYTES)
            && let Ok(payload) = hearth_models::check::payload(&wanted.directory, sample)
        {
            return Some(payload);
        }
    }
    match model.manifest().text {
        Some(_) => Some(Payload { content_type: ContentType::Text, bytes: SENTENCE.into() }),
        None => zeros(model),
    }
}

fn zeros(model: &Model) -> Option<Payload> {
    use hearth_api::tensor::{Tensor, to_binary, volume};
    let tensors = model.inputs().iter().map(|input| {
        let shape: Vec<usize> = input.shape.iter().map(|d| usize::try_from(*d).unwrap_or(1)).collect();
        let bytes = volume(&shape)?.checked_mul(input.datatype.size()?)?;
        (bytes as u64 <= SAMPLE_BYTES).then(|| Tensor {
            name: input.name.clone(),
            datatype: input.datatype,
            shape,
            data: vec![0; bytes].into(),
        })
    });
    let tensors: Vec<Tensor> = tensors.collect::<Option<_>>()?;
    // `to_binary` writes an answer; a request is the same but for the name of its tensors.
    let (bytes, header) = to_binary(serde_json::Map::new(), &tensors);
    let mut head: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&bytes[..header]).ok()?;
    let described = head.remove("outputs")?;
    head.insert("inputs".into(), described);
    let mut payload = serde_json::to_vec(&head).ok()?;
    let header_length = Some(payload.len());
    payload.extend(&bytes[header..]);
    Some(Payload { content_type: ContentType::Binary { header_length }, bytes: payload.into() })
}

/// Saves measured points; without them the next run measures again, so a failure is only logged.
pub(super) fn save_points(store: &Store, model: &ModelName, version: &str, points: &[Point]) {
    if let Err(error) = store.save_points(model, version, points) {
        tracing::warn!(%model, version, %error, "measured points cannot be saved");
    }
}

/// What a panic said.
pub(super) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it panicked without a word")
}
