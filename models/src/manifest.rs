//! `manifest.toml`: what a model is, what it takes and gives, and how its task reads payloads and writes answers.

use crate::LoadError;
use hearth_api::tensor::TensorMetadata;
use hearth_api::{Fault, ModelName};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Component, Path};

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

impl Manifest {
    /// Reads and checks `manifest.toml` of the model in `directory`. The files' digests are checked by `verify`.
    pub fn read(directory: &Path) -> Result<Manifest, LoadError> {
        let file = directory.join(FILE_NAME);
        let text = std::fs::read_to_string(&file).map_err(|e| LoadError::read(&file, e))?;
        let manifest: Manifest = toml::from_str(&text)
            .map_err(|e| LoadError::invalid(&file, e.to_string().trim_end().to_owned(), "models/bundled has complete examples"))?;
        manifest.check().map_err(|(wrong, mend)| LoadError::invalid(&file, wrong, mend))?;
        Ok(manifest)
    }

    /// The manifest of a bare ONNX file: its name from the file's, its version from its digest, tensors in and out.
    pub fn for_onnx_file(name: ModelName, file_name: &str, bytes: &[u8]) -> Manifest {
        let digest = hexadecimal(&Sha256::digest(bytes));
        Manifest {
            name,
            version: digest[..12].to_owned(),
            description: String::new(),
            licence: unknown(),
            origin: unknown(),
            training_data: unknown(),
            file: file_name.to_owned(),
            sha256: BTreeMap::from([(file_name.to_owned(), digest)]),
            inputs: Vec::new(),
            outputs: Vec::new(),
            batch: Batch::default(),
            task: Task::Tensor {},
            image: None,
            sound: None,
            accuracy: None,
            samples: Vec::new(),
        }
    }

    /// A model's name from a file's: `My Model.onnx` becomes `my-model`.
    pub fn name_from(file_name: &str) -> Result<ModelName, Fault> {
        let stem = Path::new(file_name).file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        let fitting = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c.to_ascii_lowercase() } else { '-' };
        let name: String = stem.chars().map(fitting).take(64).collect();
        ModelName::new(name.trim_start_matches(['.', '_', '-']))
    }

    /// Checks that every file named is there, inside the folder, and what its digest says.
    pub fn verify(&self, directory: &Path) -> Result<(), LoadError> {
        let named = self.samples.iter().map(|s| &s.file).chain(self.sha256.keys()).chain([&self.file]);
        for name in named {
            inside(directory, name)?;
        }
        for (name, wanted) in &self.sha256 {
            let file = directory.join(name);
            let found = digest(&file).map_err(|e| LoadError::read(&file, e))?;
            if !found.eq_ignore_ascii_case(wanted) {
                return Err(LoadError::invalid(
                    &file,
                    format!("its sha256 is {found}, the manifest says {wanted}"),
                    "the file was damaged or changed: get it again, or correct the manifest",
                ));
            }
        }
        Ok(())
    }

    /// What is wrong with the manifest itself, and what would be right.
    fn check(&self) -> Result<(), (String, &'static str)> {
        let ensure = |good: bool, wrong: &dyn Fn() -> String, mend| if good { Ok(()) } else { Err((wrong(), mend)) };
        ensure(is_version(&self.version), &|| format!("version = {:?} cannot name a folder", self.version), VERSION_FORM)?;
        for file in self.samples.iter().map(|s| &s.file).chain(self.sha256.keys()).chain([&self.file]) {
            ensure(
                is_relative(file),
                &|| format!("{file:?} is not inside the model's folder"),
                "name files relative to the manifest, without '..'",
            )?;
        }
        ensure((1..=4096).contains(&self.batch.max), &|| format!("batch.max = {}", self.batch.max), "it must be from 1 to 4096")?;
        let delay = self.batch.max_delay_ms;
        ensure((0.0..=10_000.0).contains(&delay), &|| format!("batch.max_delay_ms = {delay}"), "it must be from 0 to 10000")?;
        match &self.task {
            Task::Tensor {} => {}
            Task::Classify { labels, top, .. } => {
                ensure(!labels.is_empty(), &|| "task.labels is empty".into(), "name a label for each element of the output")?;
                ensure(*top > 0, &|| "task.top = 0".into(), "it must be at least 1")?;
            }
            Task::Regress { minimum, maximum, scale, offset, .. } => {
                let finite = [minimum, maximum, scale, offset].into_iter().all(|x| x.is_finite());
                ensure(
                    finite && minimum < maximum,
                    &|| format!("task.minimum = {minimum}, task.maximum = {maximum}"),
                    "both are numbers, the minimum below the maximum",
                )?;
            }
            Task::Anomaly { threshold, .. } => {
                ensure(threshold.is_finite(), &|| format!("task.threshold = {threshold}"), "it must be a finite number")?;
            }
        }
        ensure(self.image.is_none() || self.sound.is_none(), &|| "it has both [image] and [sound]".into(), "a model takes one of them")?;
        if let Some(image) = &self.image {
            let sides = 1..=8192;
            ensure(
                sides.contains(&image.width) && sides.contains(&image.height),
                &|| format!("image is {} x {}", image.width, image.height),
                "each side must be from 1 to 8192 pixels",
            )?;
            let channels = image.colour.channels();
            for (name, values) in [("mean", &image.mean), ("std", &image.std)] {
                let fits = values.is_empty() || values.len() == channels;
                ensure(
                    fits,
                    &|| format!("image.{name} has {} values for {channels} channels", values.len()),
                    "name one for each channel, or none",
                )?;
            }
            ensure(image.std.iter().all(|s| s.is_finite() && *s != 0.0), &|| format!("image.std = {:?}", image.std), "no value may be 0")?;
        }
        if let Some(sound) = &self.sound {
            ensure(
                (100..=384_000).contains(&sound.sample_rate),
                &|| format!("sound.sample_rate = {}", sound.sample_rate),
                "it must be from 100 to 384000 Hz",
            )?;
            ensure(
                (1..=1 << 24).contains(&sound.window),
                &|| format!("sound.window = {}", sound.window),
                "it must be from 1 to 16777216 samples",
            )?;
            ensure(sound.hop >= 1, &|| "sound.hop = 0".into(), "it must be at least 1")?;
        }
        Ok(())
    }
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

/// Name of a manifest's file.
pub const FILE_NAME: &str = "manifest.toml";
const VERSION_FORM: &str = "use 1 to 64 letters, digits, dots, plus signs and hyphens, a letter or digit first";

/// Whether a version can name a folder.
pub(crate) fn is_version(version: &str) -> bool {
    (1..=64).contains(&version.len())
        && version.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'+' | b'-' | b'_'))
        && version.as_bytes()[0].is_ascii_alphanumeric()
        && !matches!(version, "active" | "previous")
}

/// Whether a path stays below the folder it is relative to.
pub(crate) fn is_relative(path: &str) -> bool {
    !path.is_empty() && Path::new(path).components().all(|c| matches!(c, Component::Normal(_)))
}

/// Follows links: a file that leads out of the folder is refused.
fn inside(directory: &Path, name: &str) -> Result<(), LoadError> {
    let file = directory.join(name);
    let real = file.canonicalize().map_err(|e| LoadError::read(&file, e))?;
    let root = directory.canonicalize().map_err(|e| LoadError::read(directory, e))?;
    if real.starts_with(&root) && real.is_file() {
        return Ok(());
    }
    Err(LoadError::invalid(&file, "it leads out of the model's folder, or is no file", "put the file itself into the folder"))
}

/// SHA-256 of a file, in hexadecimal.
fn digest(file: &Path) -> std::io::Result<String> {
    let mut hasher = Sha256::new();
    std::io::copy(&mut std::fs::File::open(file)?, &mut hasher)?;
    Ok(hexadecimal(&hasher.finalize()))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
name = "parts"
version = "1.0.0"
file = "model.onnx"
[task]
kind = "classify"
labels = ["bolt", "nut"]
"#;

    fn read(change: impl Fn(&str) -> String) -> Result<Manifest, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE_NAME), change(WHOLE)).unwrap();
        Manifest::read(folder.path()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_short_manifest_is_enough() {
        let manifest = read(str::to_owned).unwrap();
        assert_eq!((manifest.batch.max, manifest.licence.as_str()), (16, "unknown"));
    }

    #[test]
    fn what_is_wrong_with_a_manifest_is_named() {
        for (from, to, says) in [
            ("1.0.0", "../1", "cannot name a folder"),
            ("model.onnx", "../model.onnx", "is not inside"),
            ("model.onnx", "/model.onnx", "is not inside"),
            ("[\"bolt\", \"nut\"]", "[]", "task.labels is empty"),
            ("classify", "klassify", "klassify"),
            ("file =", "fyle =", "fyle"),
            ("[task]", "[batch]\nmax = 0\n[task]", "batch.max = 0"),
            ("[task]", "[image]\nwidth = 0\nheight = 8\ncolour = \"grey\"\n[task]", "image is 0 x 8"),
            ("[task]", "[image]\nwidth = 8\nheight = 8\ncolour = \"grey\"\nmean = [1.0, 2.0]\n[task]", "2 values for 1 channels"),
        ] {
            let error = read(|whole| whole.replace(from, to)).unwrap_err();
            assert!(error.contains(says) && error.contains("manifest.toml"), "{error}");
        }
    }

    #[test]
    fn a_file_that_changed_or_leads_out_is_refused() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = folder.path().join("model.onnx");
        std::fs::write(&file, "abc").unwrap();
        let manifest = Manifest::for_onnx_file(ModelName::new("m").unwrap(), "model.onnx", b"abc");
        manifest.verify(folder.path()).unwrap();
        std::fs::write(&file, "abd").unwrap();
        assert!(manifest.verify(folder.path()).unwrap_err().to_string().contains("damaged or changed"));
        std::fs::write(outside.path().join("model.onnx"), "abc").unwrap();
        std::fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink(outside.path().join("model.onnx"), &file).unwrap();
        assert!(manifest.verify(folder.path()).unwrap_err().to_string().contains("leads out"));
    }

    #[test]
    fn a_name_is_made_of_a_file_name() {
        assert_eq!(Manifest::name_from("My Model (2).onnx").unwrap().as_str(), "my-model--2-");
        assert!(Manifest::name_from("...onnx").is_err());
    }
}
