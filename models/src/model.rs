//! A model: one version's manifest, and what runs: a network with the codec of its task, or a language model. Payloads in, answers out.

use crate::check;
use crate::error::LoadError;
use crate::language::LanguageModel;
use crate::manifest::{Manifest, Task};
use crate::network::{Arithmetic, Network};
use crate::panics::caught;
use crate::tasks::{Codec, Decoded};
use hearth_api::tensor::{Tensor, TensorMetadata};
use hearth_api::{Answer, Fault, Payload};
use hearth_kernels::Pool;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A loaded model.
pub struct Model {
    manifest: Manifest,
    body: Body,
}

/// What runs.
enum Body {
    Network(Box<(Codec, Network)>),
    Language(Box<LanguageModel>),
}

impl Model {
    /// Loads the version in `directory`: its `manifest.toml` and the files that names, computed as its check found right.
    pub fn load(directory: &Path) -> Result<Model, LoadError> {
        Model::load_with(directory, check::arithmetic(directory))
    }

    /// The same, with the arithmetic given.
    pub(crate) fn load_with(directory: &Path, arithmetic: Arithmetic) -> Result<Model, LoadError> {
        let manifest = Manifest::read(directory)?;
        if let Task::Chat(chat) = &manifest.task {
            let language = LanguageModel::load(directory, &manifest, chat)?;
            return Ok(Model { body: Body::Language(Box::new(language)), manifest });
        }
        let network = Network::load_with(&directory.join(&manifest.file), arithmetic)?;
        let path = directory.join("manifest.toml");
        agree(&path, "input", &manifest.inputs, network.inputs())?;
        agree(&path, "output", &manifest.outputs, network.outputs())?;
        let codec = Codec::load(directory, &manifest, network.inputs(), network.outputs())?;
        Ok(Model { manifest, body: Body::Network(Box::new((codec, network))) })
    }

    /// Its manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What it takes.
    pub fn inputs(&self) -> &[TensorMetadata] {
        self.network().map_or(&[], Network::inputs)
    }

    /// What it gives.
    pub fn outputs(&self) -> &[TensorMetadata] {
        self.network().map_or(&[], Network::outputs)
    }

    /// Memory it holds, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        match &self.body {
            Body::Network(body) => body.0.memory_bytes() + body.1.memory_bytes(),
            Body::Language(language) => language.memory_bytes(),
        }
    }

    /// The most requests in one batch.
    pub fn max_batch(&self) -> u32 {
        self.manifest.batch.max.max(1)
    }

    /// Its network; a language model has none.
    pub fn network(&self) -> Option<&Network> {
        match &self.body {
            Body::Network(body) => Some(&body.1),
            Body::Language(_) => None,
        }
    }

    /// The language model that it is, if it is one: its requests are conversations, which the engine takes further step by step.
    pub fn language(&self) -> Option<&LanguageModel> {
        match &self.body {
            Body::Network(_) => None,
            Body::Language(language) => Some(language),
        }
    }

    /// The longest node of a run so far: how long something urgent may have to wait for it.
    pub fn longest_node(&self) -> Duration {
        match &self.body {
            Body::Network(body) => body.1.longest_node(),
            Body::Language(language) => language.longest_node(),
        }
    }

    /// Answers a batch of payloads, each for itself: a bad payload, a row that the model cannot answer or a panic ends only the
    /// request it belongs to. `between` is called on the calling thread between two nodes, so that something more urgent gets
    /// its turn; a panic of its own passes through. A language model talks each conversation to its end.
    pub fn infer(&self, payloads: &[Payload], threads: usize, pool: &Arc<Pool>, between: &mut dyn FnMut()) -> Vec<Result<Answer, Fault>> {
        let (codec, network) = match &self.body {
            Body::Network(body) => (&body.0, &body.1),
            Body::Language(language) => return language.answer(payloads, threads, pool, between),
        };
        let decoded = decode_all(codec, payloads, threads, pool, between);
        let inputs = decoded.iter().filter_map(|d| d.as_ref().ok()).map(|d| d.inputs.clone()).collect();
        let mut outputs = network.run(inputs, threads, pool, between).into_iter();
        let encode = |decoded: Result<Decoded, Fault>| {
            let decoded = decoded?;
            let outputs = outputs.next().expect("the network answers every request").map_err(|fault| codec.explain(&decoded, fault))?;
            caught(|| codec.encode(&decoded, outputs)).unwrap_or_else(|reason| Err(Fault::model_failed(reason)))
        };
        decoded.into_iter().map(encode).collect()
    }

    /// The tensors of one payload; a language model makes none of it.
    pub(crate) fn decode(&self, payload: &Payload) -> Result<Vec<Tensor>, Fault> {
        match &self.body {
            Body::Network(body) => decode_one(&body.0, payload).map(|decoded| decoded.inputs),
            Body::Language(_) => Ok(Vec::new()),
        }
    }
}

fn decode_one(codec: &Codec, payload: &Payload) -> Result<Decoded, Fault> {
    caught(|| codec.decode(payload)).unwrap_or_else(|reason| Err(Fault::bad_request(format!("the payload cannot be read: {reason}"))))
}

fn decode_all(codec: &Codec, payloads: &[Payload], threads: usize, pool: &Pool, between: &mut dyn FnMut()) -> Vec<Result<Decoded, Fault>> {
    let threads = threads.clamp(1, pool.threads()).min(payloads.len().max(1));
    let slots: Vec<OnceLock<Result<Decoded, Fault>>> = payloads.iter().map(|_| OnceLock::new()).collect();
    let work = |thread: usize, between: &mut dyn FnMut()| {
        for (payload, slot) in payloads.iter().zip(&slots).skip(thread).step_by(threads) {
            // Each payload is decoded by one thread, once.
            let _ = slot.set(decode_one(codec, payload));
            between();
        }
    };
    pool.run_with(threads - 1, &|other| work(other + 1, &mut || ()), &mut || work(0, between));
    slots.into_iter().map(|slot| slot.into_inner().expect("the pool decoded every payload")).collect()
}

/// What a manifest says of its inputs or outputs, if anything, must be what the graph has.
fn agree(manifest: &Path, what: &str, said: &[TensorMetadata], have: &[TensorMetadata]) -> Result<(), LoadError> {
    if said.is_empty() {
        return Ok(());
    }
    let fits = |said: &TensorMetadata, have: &TensorMetadata| {
        said.name == have.name
            && said.datatype == have.datatype
            && said.shape.len() == have.shape.len()
            && said.shape.iter().zip(&have.shape).all(|(said, have)| *said < 0 || *have < 0 || said == have)
    };
    if said.len() == have.len() && said.iter().zip(have).all(|(said, have)| fits(said, have)) {
        return Ok(());
    }
    let describe = |ports: &[TensorMetadata]| {
        ports.iter().map(|p| format!("{} {:?} {:?}", p.name, p.datatype, p.shape)).collect::<Vec<_>>().join(", ")
    };
    let wrong = format!("its {what}s are {}, but the graph has {}", describe(said), describe(have));
    Err(LoadError::invalid(manifest, wrong, format!("correct them, or leave the {what}s out")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundled;
    use hearth_api::{ContentType, FaultKind};

    fn bundled(name: &str) -> (tempfile::TempDir, Model) {
        let folder = tempfile::tempdir().unwrap();
        let models = bundled::all();
        models.iter().find(|m| m.manifest().name.as_str() == name).unwrap().write_to(folder.path()).unwrap();
        let model = Model::load(folder.path()).unwrap();
        (folder, model)
    }

    fn samples(folder: &Path, model: &Model) -> Vec<Payload> {
        let read = |file: &str| std::fs::read(folder.join(file)).unwrap().into();
        model.manifest().samples.iter().map(|s| Payload { content_type: ContentType::Png, bytes: read(&s.file) }).collect()
    }

    fn best(answer: &Result<Answer, Fault>) -> &str {
        match answer {
            Ok(Answer::Labels { labels }) => &labels[0].label,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn digits_answers_its_samples() {
        let (folder, model) = bundled("digits");
        let payloads = samples(folder.path(), &model);
        let answers = model.infer(&payloads, 2, &Arc::new(Pool::new(2)), &mut || ());
        let right = answers.iter().zip(&model.manifest().samples).filter(|(answer, sample)| best(answer) == sample.truth).count();
        let promised = model.manifest().accuracy.as_ref().unwrap().promised;
        assert!(right as f64 >= promised * payloads.len() as f64, "{right} of {}", payloads.len());
        assert!(model.memory_bytes() > 0);
    }

    #[test]
    fn a_model_is_computed_as_its_check_found_right() {
        let (folder, model) = bundled("digits");
        assert_eq!(model.network().unwrap().arithmetic(), Arithmetic::Integers);
        std::fs::write(folder.path().join(check::REPORT), r#"{"arithmetic": "floats", "load_ms": 3}"#).unwrap();
        assert_eq!(Model::load(folder.path()).unwrap().network().unwrap().arithmetic(), Arithmetic::Floats);
    }

    #[test]
    fn a_bad_payload_ends_only_its_own_request() {
        let (folder, model) = bundled("digits");
        let mut payloads = samples(folder.path(), &model);
        payloads.truncate(4);
        let pool = Arc::new(Pool::new(2));
        let alone: Vec<String> =
            payloads.iter().map(|p| best(&model.infer(std::slice::from_ref(p), 1, &pool, &mut || ())[0]).into()).collect();
        let nan = Tensor::from_f32("image", vec![1, 1, 8, 8], &[f32::NAN; 64]).data;
        payloads.insert(1, Payload { content_type: ContentType::Png, bytes: "not a picture".into() });
        payloads.insert(3, Payload { content_type: ContentType::Binary { header_length: None }, bytes: nan });
        let mut answers = model.infer(&payloads, 2, &pool, &mut || ());
        for at in [3, 1] {
            assert_eq!(answers.remove(at).unwrap_err().kind, FaultKind::BadRequest);
        }
        assert_eq!(answers.iter().map(best).collect::<Vec<_>>(), alone);
    }

    #[test]
    fn something_urgent_gets_its_turn_between_payloads_and_nodes() {
        let (folder, model) = bundled("digits");
        let payloads = samples(folder.path(), &model);
        let mut turns = 0;
        model.infer(&payloads, 1, &Arc::new(Pool::new(1)), &mut || turns += 1);
        assert!(turns > payloads.len(), "{turns}");
    }

    #[test]
    fn a_step_may_run_inside_another() {
        let (folder, model) = bundled("digits");
        let payloads = samples(folder.path(), &model);
        let pool = Arc::new(Pool::new(2));
        let mut inner = None;
        let outer = model.infer(&payloads, 2, &pool, &mut || {
            inner.get_or_insert_with(|| model.infer(&payloads[..1], 2, &pool, &mut || ()));
        });
        assert_eq!(best(&inner.unwrap()[0]), best(&outer[0]));
    }

    #[test]
    fn a_manifest_that_does_not_fit_the_graph_is_refused() {
        let (folder, _) = bundled("digits");
        let file = folder.path().join("manifest.toml");
        let manifest = std::fs::read_to_string(&file).unwrap();
        for (from, to) in
            [("\"image\"", "\"picture\""), ("[-1, 1, 8, 8]", "[-1, 1, 9, 8]"), ("\"FP32\", shape = [-1, 10]", "\"INT8\", shape = [-1, 10]")]
        {
            assert!(manifest.contains(from));
            std::fs::write(&file, manifest.replace(from, to)).unwrap();
            let error = Model::load(folder.path()).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains("but the graph has"), "{error}");
        }
    }
}
