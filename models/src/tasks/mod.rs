//! Tasks: payloads become the inputs of a network, its outputs become answers, as the manifest says.

mod answer;
mod detect;
mod embed;
mod picture;
mod placement;
mod sound;
mod tensors;
mod text;
mod wav;

pub use text::Tokens;

use crate::LoadError;
use crate::manifest::{Colour, FILE_NAME, Layout, Manifest, Task};
use hearth_api::tensor::{Datatype, Tensor, TensorMetadata, f32_to_half};
use hearth_api::{Answer, ContentType, Fault, Payload};
use placement::Placement;
use std::path::Path;

/// Turns payloads into inputs and outputs into answers, for one model.
#[derive(Debug)]
pub struct Codec {
    task: Task,
    /// Of the task `detect`.
    detector: Option<detect::Detector>,
    source: Source,
    inputs: Vec<TensorMetadata>,
    outputs: Vec<TensorMetadata>,
}

/// What else than tensors a model takes.
#[derive(Debug)]
enum Source {
    Tensors,
    Picture(picture::Picture),
    Sound(sound::Sound),
    Text(Box<text::Text>),
}

/// A payload, read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Decoded {
    /// Inputs of one request, in the order they came; several rows where a recording has several windows.
    pub inputs: Vec<Tensor>,
    /// Names of the outputs asked for; empty for all.
    pub wanted: Vec<String>,
    /// Of texts: what became of each.
    pub tokens: Vec<Tokens>,
    /// One text, picture or recording, not a list of them.
    pub alone: bool,
    /// Where in the input the picture lies, if it was one.
    placement: Option<Placement>,
}

impl Codec {
    /// The codec of the model in `directory`, with this manifest and these inputs and outputs.
    pub fn load(directory: &Path, manifest: &Manifest, inputs: &[TensorMetadata], outputs: &[TensorMetadata]) -> Result<Codec, LoadError> {
        let wrong = |what: String, mend: &str| LoadError::invalid(Path::new(FILE_NAME), what, mend);
        let source = match (&manifest.image, &manifest.sound, inputs) {
            (None, None, _) => match &manifest.text {
                Some(text) => Source::Text(Box::new(text::Text::load(directory, text, inputs)?)),
                None => Source::Tensors,
            },
            (Some(image), _, [input]) => Source::Picture(picture::Picture::new(image, input).map_err(|w| wrong(w, "correct [image]"))?),
            (_, Some(sound), [input]) => Source::Sound(sound::Sound::new(sound, input).map_err(|w| wrong(w, "correct [sound]"))?),
            _ => {
                let what = format!("it takes pictures or sound, but the graph has {} inputs", inputs.len());
                return Err(wrong(what, "such a model has one input; serve this one with tensors"));
            }
        };
        answer::fits(&manifest.task, inputs, outputs).map_err(|w| wrong(w, "correct [task]"))?;
        let detector = match &manifest.task {
            Task::Detect(task) => Some(detect::Detector::new(task, manifest.image.as_ref(), inputs, outputs)),
            _ => None,
        };
        let detector = detector.transpose().map_err(|w| wrong(w, "correct [task]"))?;
        let task = match &manifest.task {
            Task::Embed(embed) => Task::Embed(embed::resolve(embed, outputs).map_err(|w| wrong(w, "correct [task]"))?),
            task => task.clone(),
        };
        Ok(Codec { task, detector, source, inputs: inputs.to_vec(), outputs: outputs.to_vec() })
    }

    /// Memory that it holds, in bytes; nothing worth counting but a tokenizer.
    pub fn memory_bytes(&self) -> u64 {
        match &self.source {
            Source::Text(text) => text.memory_bytes(),
            Source::Tensors | Source::Picture(_) | Source::Sound(_) => 0,
        }
    }

    /// Reads a payload. What is wrong with it is a `bad-request` or `too-large` that says what would be right.
    pub fn decode(&self, payload: &Payload) -> Result<Decoded, Fault> {
        if payload.bytes.is_empty() {
            return Err(Fault::bad_request(format!("the payload is empty; this model takes {}", self.takes())));
        }
        begins_as_said(payload)?;
        let single = |input, placement| Ok(Decoded { inputs: vec![input], alone: true, placement, ..Decoded::default() });
        if let Source::Text(text) = &self.source
            && let Some(decoded) = text.decode(payload)?
        {
            self.one_row(&decoded)?;
            return Ok(decoded);
        }
        match (payload.content_type, &self.source) {
            (ContentType::Json | ContentType::Binary { .. }, _) => {
                let decoded = tensors::decode(payload, &self.inputs, &self.outputs)?;
                self.one_row(&decoded)?;
                Ok(decoded)
            }
            (ContentType::Jpeg | ContentType::Png, Source::Picture(picture)) => {
                let (input, placement) = picture.decode(payload)?;
                single(input, Some(placement))
            }
            (ContentType::Wav, Source::Sound(sound)) => single(sound.decode(&payload.bytes)?, None),
            (other, _) => Err(Fault::bad_request(format!("this model does not take {}; it takes {}", other.as_str(), self.takes()))),
        }
    }

    /// A fault of the network on this payload, with what may be behind it.
    pub fn explain(&self, decoded: &Decoded, fault: Fault) -> Fault {
        match &self.source {
            Source::Text(text) => text.explain(decoded, fault),
            Source::Tensors | Source::Picture(_) | Source::Sound(_) => fault,
        }
    }

    /// Turns the outputs for a payload into its answer.
    pub fn encode(&self, decoded: &Decoded, outputs: Vec<Tensor>) -> Result<Answer, Fault> {
        match &self.detector {
            Some(detector) => detector.encode(decoded, &outputs),
            None => answer::encode(&self.task, decoded, outputs),
        }
    }

    /// Classes, readings and boxes are of one input: of several rows only one could be answered, and nobody would know which. The
    /// windows of a recording are several rows of one input.
    fn one_row(&self, decoded: &Decoded) -> Result<(), Fault> {
        let single =
            matches!(self.task, Task::Classify { .. } | Task::Regress { .. } | Task::Detect(_)) && !matches!(self.source, Source::Sound(_));
        let rows = |tensor: &Tensor| {
            let input = self.inputs.iter().find(|input| input.name == tensor.name)?;
            (input.shape.first() == Some(&-1)).then_some(*tensor.shape.first()?)
        };
        match decoded.inputs.iter().find_map(|tensor| Some((tensor, rows(tensor).filter(|rows| *rows > 1)?))) {
            Some((tensor, rows)) if single => Err(Fault::bad_request(format!(
                "input {:?} has {rows} rows, and this model gives one answer a request: send a request for each row; they share a batch",
                tensor.name
            ))),
            _ => Ok(()),
        }
    }

    fn takes(&self) -> String {
        let own = match &self.source {
            Source::Tensors => "",
            Source::Picture(_) => "image/jpeg, image/png, ",
            Source::Sound(_) => "audio/wav, ",
            Source::Text(_) => "text/plain, {\"text\": ...} as application/json, ",
        };
        format!("{own}application/json and application/octet-stream (Open Inference Protocol v2)")
    }
}

/// Refuses a payload that begins like something else than it is said to be.
fn begins_as_said(payload: &Payload) -> Result<(), Fault> {
    let said = payload.content_type;
    match (said, ContentType::sniff(&payload.bytes)) {
        (ContentType::Binary { .. } | ContentType::Text, _) => Ok(()),
        (_, Ok(found)) if found == said => Ok(()),
        (_, Ok(found)) => Err(Fault::bad_request(format!("the payload is said to be {} but is {}", said.as_str(), found.as_str()))),
        // What is no JSON says so itself, with the place.
        (ContentType::Json, Err(_)) => Ok(()),
        (_, Err(_)) => Err(Fault::bad_request(format!("the payload is no {}: it does not begin like one", said.as_str()))),
    }
}

/// The shape of `rows` rows of `elements` each in this input: its own where that is fixed, else `usual` after the batch.
fn shape_of(input: &TensorMetadata, elements: usize, usual: &[usize]) -> Result<Vec<usize>, String> {
    let describe = || format!("input {:?} has shape {:?}, which does not hold {elements} elements a row", input.name, input.shape);
    let Some(row) = input.shape.get(1..) else { return Err(describe()) };
    if row.iter().all(|d| *d >= 0) {
        let fixed: Vec<usize> = row.iter().map(|d| d.unsigned_abs() as usize).collect();
        return if fixed.iter().product::<usize>() == elements { Ok(fixed) } else { Err(describe()) };
    }
    let fits = row.len() == usual.len() && row.iter().zip(usual).all(|(d, u)| *d < 0 || *d == *u as i64);
    if fits { Ok(usual.to_vec()) } else { Err(describe()) }
}

/// A tensor of floats in the type that an input has.
fn floats(input: &TensorMetadata, shape: Vec<usize>, elements: &[f32]) -> Tensor {
    let mut tensor = Tensor::from_f32(input.name.clone(), shape, elements);
    match input.datatype {
        Datatype::Fp16 => {
            tensor.datatype = Datatype::Fp16;
            tensor.data = elements.iter().flat_map(|x| f32_to_half(*x).to_le_bytes()).collect::<Vec<u8>>().into();
        }
        Datatype::Fp64 => {
            tensor.datatype = Datatype::Fp64;
            tensor.data = elements.iter().flat_map(|x| f64::from(*x).to_le_bytes()).collect::<Vec<u8>>().into();
        }
        _ => {}
    }
    tensor
}

fn is_float(datatype: Datatype) -> bool {
    matches!(datatype, Datatype::Fp16 | Datatype::Fp32 | Datatype::Fp64)
}

/// Dimensions of a picture's row.
fn picture_shape(layout: Layout, colour: Colour, width: usize, height: usize) -> [usize; 3] {
    match layout {
        Layout::Nchw => [colour.channels(), height, width],
        Layout::Nhwc => [height, width, colour.channels()],
    }
}

#[cfg(test)]
mod tests;
