//! `manifest.toml`: what a model is, what it takes and gives, and how its task reads payloads and writes answers.
//!
//! A model is a folder with this file in it; a bare .onnx file is given one when it is installed, with the task `tensor`.
//! `name`, `version`, `file` and `task` must be there, the rest is as useful as it is true:
//!
//! ```
//! # let manifest = r##"
//! name = "parts"                # 1 to 64 of a-z, 0-9, dot, underscore and hyphen: how requests call it
//! version = "1.2.0"             # another one for each change: versions are kept side by side
//! description = "Bolt, nut or washer on the belt."
//! licence = "Apache-2.0"        # SPDX
//! origin = "Example GmbH, from mobilenet_v2"
//! training_data = "4,000 photographs of our own belt"
//! file = "model.onnx"
//! ## What the graph takes and gives; compared with it, and read from it where left out. -1 may vary, the batch is first.
//! inputs = [{ name = "image", datatype = "FP32", shape = [-1, 3, 224, 224] }]
//! outputs = [{ name = "logits", datatype = "FP32", shape = [-1, 3] }]
//!
//! [sha256]                      # of each file; left out, a damaged file is not noticed
//! "model.onnx" = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
//! "samples/bolt.jpg" = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
//!
//! [batch]
//! max = 16                      # the most requests in one batch
//! max_delay_ms = 5.0            # the longest a request may be made to wait for others
//!
//! [task]                        # one of
//! kind = "classify"             #   tensor: outputs go back as they are
//! labels = ["bolt", "nut", "washer"]
//! softmax = true                #   the output is logits, not probabilities
//! top = 3                       #   labels in an answer
//! ## kind = "regress"            #   value = output * scale + offset, kept from minimum to maximum
//! ## unit = "bar"
//! ## minimum = 0.0
//! ## maximum = 10.0
//! ## scale = 10.0
//! ## offset = 0.0
//! ## kind = "anomaly"            #   verdict `anomalous` from the threshold on
//! ## score = "output"            #   or reconstruction-error: mean squared difference of output and input
//! ## threshold = 0.5
//! ## kind = "detect"             #   boxes in the picture's own pixels, the surest first
//! ## labels = ["bolt", "nut", "washer"]
//! ## head = "auto"               #   what the outputs are: yolov5, yolov8, yolov10, ssd; auto: by their names and shapes
//! ## confidence = 0.25           #   the least score of a box
//! ## iou = 0.45                  #   of two boxes of a label that overlap more, the surer one stays
//! ## max = 100                   #   the most boxes in an answer
//! ## background = false          #   class 0 is the background, the labels begin at class 1
//! ## coordinates = "pixels"      #   of the input, or normalised: 1 is its width or height
//! ## kind = "embed"              #   a vector, of a text or of what else the model takes
//! ## pooling = "mean"            #   of tokens: mean, cls, last; none where the graph gives [batch, width]
//! ## normalise = true            #   to length 1
//! ## output = "last_hidden_state" # where the graph has several
//! ## kind = "chat"               #   a GGUF file: answers in words
//! ## context = 4096              #   the most tokens of a conversation; else as trained, 4096 at most, and what 256 MiB hold
//! ## cache = 16384               #   tokens kept of all conversations together; else four contexts, and what 256 MiB hold
//! ## max_tokens = 512            #   of an answer; else until the context is full
//! ## temperature = 0.7           #   where a request does not say; 0: always the likeliest token
//! ## top_p = 0.95
//! ## system = "You are brief."   #   where a conversation has no system message
//!
//! [image]                       # how JPEG and PNG become the input; without it the model takes tensors alone
//! width = 224
//! height = 224
//! colour = "rgb"                # grey (ITU-R BT.601 luma), rgb, bgr
//! fit = "crop"                  # stretch; crop: the middle; letterbox: all of it, the rest filled with grey 114
//! layout = "nchw"               # or nhwc
//! mean = [0.485, 0.456, 0.406]  # (pixel / 255 - mean) / std
//! std = [0.229, 0.224, 0.225]
//! invert = false                # dark is high
//!
//! ## [sound]                     # how WAV becomes the input
//! ## sample_rate = 12000         # other rates are resampled
//! ## window = 12000              # samples in a row; a shorter recording is refused
//! ## hop = 6000                  # samples from one row to the next; the row with the highest score answers
//! ## standardise = true          # each window less its mean, over its standard deviation
//!
//! ## [text]                      # how text/plain becomes input_ids, attention_mask and, where they are, token_type_ids, position_ids
//! ## tokenizer = "tokenizer.json" # as Hugging Face's tokenizers write it
//! ## max_tokens = 256            # longer texts are cut; else what the tokenizer says, or 512
//! ## prefix = "query: "          # before each text
//!
//! [accuracy]                    # measured on what the training never saw
//! metric = "top-1"              # mean-error: share of full scale; auc: of the score; map: of boxes, at IoU 0.5; exact-match: of texts
//! value = 0.983
//! promised = 0.97               # `hearthctl try` holds it to this
//! held_out = 800
//!
//! [[samples]]                   # run by the check before the model may serve
//! file = "samples/bolt.jpg"     # the ending tells the content type: json, jpg, png, wav or txt
//! truth = "bolt"                # a label, a number, `normal` or `anomalous`, or boxes as `label x y width height; ...`
//! # "##;
//! # let folder = tempfile::tempdir()?;
//! # std::fs::write(folder.path().join("manifest.toml"), manifest)?;
//! # std::fs::write(folder.path().join("model.onnx"), "abc")?;
//! # std::fs::create_dir(folder.path().join("samples"))?;
//! # std::fs::write(folder.path().join("samples/bolt.jpg"), "abc")?;
//! # let manifest = hearth_models::manifest::Manifest::read(folder.path())?;
//! # manifest.verify(folder.path())?;
//! # assert_eq!(manifest.image.expect("it has one").mean.len(), 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod chat;
mod detect;
mod files;
mod rules;
mod text;

pub use chat::Chat;
pub use detect::{Coordinates, Detect, Head};
pub(crate) use files::{digest, digest_of, is_relative};
pub(crate) use rules::{SAMPLE_RATES, TOKENS, is_version};
pub use text::{Embed, Pooling, Text};

use crate::LoadError;
use hearth_api::tensor::TensorMetadata;
use hearth_api::{Fault, ModelName};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

/// Name of a manifest's file.
pub const FILE_NAME: &str = "manifest.toml";
/// The most bytes of a manifest: room for ten thousand labels, and for as many files.
const MAX_BYTES: u64 = 4 << 20;

/// The manifest of one version of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name of the model.
    pub name: ModelName,
    /// Version: 1 to 64 letters, digits, dots, plus signs, underscores and hyphens, a letter or digit first; names the folder it is
    /// stored in.
    pub version: String,
    /// What it does, in a line.
    #[serde(default)]
    pub description: String,
    /// SPDX licence expression, or `unknown`.
    #[serde(default = "unknown")]
    pub licence: String,
    /// Who made it, from what.
    #[serde(default = "unknown")]
    pub origin: String,
    /// What it learned from.
    #[serde(default = "unknown")]
    pub training_data: String,
    /// The model file, relative to the manifest.
    pub file: String,
    /// SHA-256 of every file of the model but the manifest, in hexadecimal, by relative path. Empty: nothing is compared.
    #[serde(default)]
    pub sha256: BTreeMap<String, String>,
    /// What it takes. Empty: read from the graph.
    #[serde(default)]
    pub inputs: Vec<TensorMetadata>,
    /// What it gives. Empty: read from the graph.
    #[serde(default)]
    pub outputs: Vec<TensorMetadata>,
    /// How requests may be batched.
    #[serde(default)]
    pub batch: Batch,
    /// What to do with its outputs.
    pub task: Task,
    /// How a picture becomes its input; none where it takes no pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
    /// How a recording becomes its input; none where it takes no sound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sound: Option<Sound>,
    /// How a text becomes its inputs; none where it takes no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Text>,
    /// Measured accuracy on data the training never saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<Accuracy>,
    /// Inputs to try it with, and their truths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<Sample>,
}

fn unknown() -> String {
    "unknown".into()
}

/// How requests may be batched.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Batch {
    /// The most requests in one batch.
    pub max: u32,
    /// The longest a request may be made to wait for others to join, in milliseconds.
    pub max_delay_ms: f64,
}

impl Default for Batch {
    fn default() -> Batch {
        Batch { max: 16, max_delay_ms: 5.0 }
    }
}

/// What to do with the outputs of the graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Task {
    /// Outputs go back as they are (Open Inference Protocol v2).
    Tensor {},
    /// The first output holds a logit or probability for each label.
    Classify {
        /// The labels, in the order of the output.
        labels: Vec<String>,
        /// Whether the output is logits, to be normalised by softmax; else probabilities.
        #[serde(default = "yes")]
        softmax: bool,
        /// How many labels a reply carries, the likeliest first.
        #[serde(default = "three")]
        top: usize,
    },
    /// The first output holds one value: `value = output * scale + offset`, kept within the range.
    Regress {
        /// Unit of the value.
        unit: String,
        /// Least value.
        minimum: f64,
        /// Greatest value.
        maximum: f64,
        /// Factor from output to unit.
        #[serde(default = "one")]
        scale: f64,
        /// Value at output 0.
        #[serde(default)]
        offset: f64,
    },
    /// How unlike the normal the input is.
    Anomaly {
        /// How the score follows from the outputs.
        score: AnomalyScore,
        /// Score from which on the verdict is `anomalous`.
        threshold: f64,
    },
    /// The outputs hold boxes around what is in a picture.
    Detect(Detect),
    /// A vector for each row.
    Embed(Embed),
    /// Answers in words (a GGUF file).
    Chat(Chat),
}

fn yes() -> bool {
    true
}

fn three() -> usize {
    3
}

fn one() -> f64 {
    1.0
}

/// How an anomaly score follows from the outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnomalyScore {
    /// The first output is the score.
    Output,
    /// The mean squared difference of first output and first input (autoencoders).
    ReconstructionError,
}

/// How a picture becomes the first input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// `grey`, `rgb` or `bgr`. What is transparent shows white.
    pub colour: Colour,
    /// How a picture of another shape is fitted.
    #[serde(default)]
    pub fit: Fit,
    /// Order of the dimensions.
    #[serde(default)]
    pub layout: Layout,
    /// Subtracted, for each channel, from the pixel / 255.
    #[serde(default)]
    pub mean: Vec<f32>,
    /// Divisor, for each channel, after the mean.
    #[serde(default)]
    pub std: Vec<f32>,
    /// Dark is high: 255 - pixel, before mean and deviation.
    #[serde(default)]
    pub invert: bool,
}

/// Colour channels of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Colour {
    /// One channel, luma as in ITU-R BT.601.
    Grey,
    /// Three channels, red first.
    Rgb,
    /// Three channels, blue first.
    Bgr,
}

/// How a picture of another shape is fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// Each side scaled on its own.
    #[default]
    Stretch,
    /// Scaled to cover, the middle kept.
    Crop,
    /// Scaled to fit inside, the rest filled with grey 114.
    Letterbox,
}

/// Order of an image tensor's dimensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Batch, channel, row, column.
    #[default]
    Nchw,
    /// Batch, row, column, channel.
    Nhwc,
}

/// How a recording becomes the first input: mixed to one channel, resampled, cut into windows of `window` samples every
/// `hop`; the answer is that of the window with the highest score (of readings, the highest). A recording shorter than a window
/// is refused; what is left after the last whole window is not judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sound {
    /// Samples a second.
    pub sample_rate: u32,
    /// Samples in a window.
    pub window: usize,
    /// Samples from one window to the next.
    pub hop: usize,
    /// Each window less its mean, over its standard deviation.
    #[serde(default)]
    pub standardise: bool,
}

/// Measured accuracy on data the training never saw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accuracy {
    /// `top-1` (share right), `mean-error` (share of full scale), `auc`, `exact-match` or `map`.
    pub metric: Metric,
    /// The value measured.
    pub value: f64,
    /// The value promised: `try` and the tests hold the model to it.
    pub promised: f64,
    /// How many held-out inputs it was measured on.
    pub held_out: usize,
}

/// What an accuracy counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Share of inputs whose likeliest label is right.
    #[serde(rename = "top-1")]
    Top1,
    /// Mean absolute error as a share of full scale.
    MeanError,
    /// Area under the receiver operating characteristic of the score.
    Auc,
    /// Share of answers that are, to the letter, the right one.
    ExactMatch,
    /// Mean over the labels of the average precision of boxes, at an intersection over union of 0.5 (PASCAL VOC 2010).
    Map,
}

/// An input to try a model with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// The file, relative to the manifest; its ending tells the content type.
    pub file: String,
    /// What is right: a label, a number, `normal` or `anomalous`, or [boxes](crate::boxes::Truth).
    pub truth: String,
}

impl Manifest {
    /// Reads and checks `manifest.toml` of the model in `directory`. The files are looked at by `verify`.
    pub fn read(directory: &Path) -> Result<Manifest, LoadError> {
        let file = directory.join(FILE_NAME);
        let mut text = String::new();
        let read = std::fs::File::open(&file).and_then(|f| f.take(MAX_BYTES + 1).read_to_string(&mut text));
        if read.map_err(|e| LoadError::read(&file, e))? as u64 > MAX_BYTES {
            return Err(LoadError::invalid(&file, format!("it is longer than {MAX_BYTES} bytes"), "leave out what is no manifest"));
        }
        let manifest: Manifest = toml::from_str(&text)
            .map_err(|e| LoadError::invalid(&file, e.to_string().trim_end().to_owned(), "models/bundled has complete examples"))?;
        manifest.check().map_err(|(wrong, mend)| LoadError::invalid(&file, wrong, mend))?;
        Ok(manifest)
    }

    /// The manifest of a bare model file: its version from its digest; an ONNX file takes and gives tensors, a GGUF file chats.
    pub fn for_file(name: ModelName, file: &Path) -> Result<Manifest, LoadError> {
        let digest = digest(file).map_err(|e| LoadError::read(file, e))?;
        let file_name = file.file_name().and_then(|name| name.to_str());
        let file_name = file_name.ok_or_else(|| LoadError::invalid(file, "its name is not UTF-8", "give it another name"))?.to_owned();
        let version = digest[..12].to_owned();
        let task = if is_gguf(&file_name) { Task::Chat(Chat::default()) } else { Task::Tensor {} };
        Ok(Manifest { version, sha256: BTreeMap::from([(file_name.clone(), digest)]), task, ..Manifest::bare(name, file_name) })
    }

    /// The manifest of which nothing is known but name and file.
    pub(crate) fn bare(name: ModelName, file: String) -> Manifest {
        Manifest {
            name,
            version: String::new(),
            description: String::new(),
            licence: unknown(),
            origin: unknown(),
            training_data: unknown(),
            file,
            sha256: BTreeMap::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            batch: Batch::default(),
            task: Task::Tensor {},
            image: None,
            sound: None,
            text: None,
            accuracy: None,
            samples: Vec::new(),
        }
    }

    /// A model's name from a file's: `My Model.onnx` becomes `my-model`.
    pub fn name_from(file_name: &str) -> Result<ModelName, Fault> {
        let stem = Path::new(file_name).file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        let fitting = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c.to_ascii_lowercase() } else { '-' };
        let name: String = stem.chars().map(fitting).skip_while(|c| !c.is_ascii_alphanumeric()).take(64).collect();
        ModelName::new(name)
    }

    /// Every file it names: the model, its tokenizer and samples, and whatever else it has a digest of (external weights).
    pub fn files(&self) -> BTreeSet<&str> {
        let samples = self.samples.iter().map(|s| s.file.as_str());
        let tokenizer = self.text.iter().map(|t| t.tokenizer.as_str());
        samples.chain(tokenizer).chain(self.sha256.keys().map(String::as_str)).chain([self.file.as_str()]).collect()
    }
}

/// Whether a file is a GGUF by its name.
pub(crate) fn is_gguf(file_name: &str) -> bool {
    file_name.to_ascii_lowercase().ends_with(".gguf")
}

impl Colour {
    /// How many channels it has.
    pub fn channels(self) -> usize {
        match self {
            Colour::Grey => 1,
            Colour::Rgb | Colour::Bgr => 3,
        }
    }
}

#[cfg(test)]
mod tests;
