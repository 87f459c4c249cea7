//! `manifest.toml`: what a model is, what it takes and gives, and how its task reads payloads and writes answers.

use hearth_api::ModelName;
use hearth_api::tensor::TensorMetadata;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The manifest of one version of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name of the model.
    pub name: ModelName,
    /// Version: letters, digits, dots, hyphens; names the folder it is stored in.
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
    /// SHA-256 of every file of the model but the manifest, in hexadecimal, by relative path.
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
    /// `grey` or `rgb`.
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
    /// Dark is high: 255 - pixel.
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
/// `hop`; the answer is that of the window with the highest score.
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
    /// `top-1` (share right), `mean-error` (share of full scale) or `auc`.
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
}

/// An input to try a model with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// The file, relative to the manifest; its ending tells the content type.
    pub file: String,
    /// What is right: a label, a number, `normal` or `anomalous`.
    pub truth: String,
}
