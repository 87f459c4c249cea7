//! What a manifest may say: each rule names the field, what it holds and what would be right.

use super::{Batch, Image, Manifest, Sample, Sound, Task, Text, is_gguf, is_relative};
use crate::boxes::Truth;
use hearth_api::tensor::TensorMetadata;
use std::ops::RangeInclusive;

/// Sample rates that recordings and models may have, in Hz: accelerometers on a slow bus to ultrasound.
pub(crate) const SAMPLE_RATES: RangeInclusive<u32> = 100..=384_000;
/// Sides of a picture that a model takes, in pixels.
const SIDES: RangeInclusive<u32> = 1..=8192;
/// Samples in a window.
const WINDOWS: RangeInclusive<usize> = 1..=1 << 24;
/// Tokens of a text.
pub(crate) const TOKENS: RangeInclusive<usize> = 1..=1 << 14;
/// Bytes of what is put before each text.
const MAX_PREFIX: usize = 1024;
const VERSION_FORM: &str = "use 1 to 64 letters, digits, dots, plus signs, underscores and hyphens, a letter or digit first";

/// What is wrong, and what would be right.
pub(super) type Wrong = (String, &'static str);

pub(super) fn ensure(good: bool, wrong: impl FnOnce() -> String, mend: &'static str) -> Result<(), Wrong> {
    if good { Ok(()) } else { Err((wrong(), mend)) }
}

impl Manifest {
    /// What is wrong with the manifest itself, and what would be right.
    pub(super) fn check(&self) -> Result<(), Wrong> {
        ensure(is_version(&self.version), || format!("version = {:?} cannot name a folder", self.version), VERSION_FORM)?;
        for file in self.files() {
            let wrong = || format!("{file:?} is not inside the model's folder");
            ensure(is_relative(file), wrong, "name files relative to the manifest, without '..'")?;
        }
        self.check_digests()?;
        ports("inputs", &self.inputs)?;
        ports("outputs", &self.outputs)?;
        batch(&self.batch)?;
        task(&self.task)?;
        let chats = matches!(self.task, Task::Chat(_));
        let wrong = || format!("the task of {:?} is {}chat", self.file, if chats { "" } else { "not " });
        ensure(chats == is_gguf(&self.file), wrong, "a .gguf file has the task chat, and nothing else has")?;
        let sources = [self.image.is_some(), self.sound.is_some(), self.text.is_some()];
        let several = || "it has more than one of [image], [sound] and [text]".into();
        ensure(sources.into_iter().filter(|there| *there).count() < 2, several, "a model takes one of them")?;
        self.image.as_ref().map_or(Ok(()), image)?;
        self.sound.as_ref().map_or(Ok(()), sound)?;
        self.text.as_ref().map_or(Ok(()), text)?;
        if let Some(accuracy) = &self.accuracy {
            let finite = accuracy.value.is_finite() && accuracy.promised.is_finite();
            let wrong = || format!("accuracy.value = {}, accuracy.promised = {}", accuracy.value, accuracy.promised);
            ensure(finite, wrong, "both are finite numbers")?;
        }
        self.samples.iter().try_for_each(|s| sample(&self.task, s))
    }

    fn check_digests(&self) -> Result<(), Wrong> {
        let missing = self.files().into_iter().find(|file| !self.sha256.is_empty() && !self.sha256.contains_key(*file));
        ensure(
            missing.is_none(),
            || format!("sha256 has no {:?}", missing.unwrap_or_default()),
            "give the digest of every file, or of none",
        )?;
        for (file, digest) in &self.sha256 {
            let good = digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit());
            ensure(good, || format!("sha256.{file:?} = {digest:?}"), "it must be 64 hexadecimal digits, as sha256sum prints them")?;
        }
        Ok(())
    }
}

/// Whether a version can name a folder.
pub(crate) fn is_version(version: &str) -> bool {
    (1..=64).contains(&version.len())
        && version.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'+' | b'-' | b'_'))
        && version.as_bytes()[0].is_ascii_alphanumeric()
        && !matches!(version, "active" | "previous")
}

fn ports(what: &str, ports: &[TensorMetadata]) -> Result<(), Wrong> {
    ports.iter().try_for_each(|port| {
        let wrong = || format!("{what} {:?} has shape {:?}", port.name, port.shape);
        ensure(port.shape.iter().all(|d| *d == -1 || *d > 0), wrong, "a dimension is at least 1, or -1 where it may vary")
    })
}

fn batch(batch: &Batch) -> Result<(), Wrong> {
    ensure((1..=4096).contains(&batch.max), || format!("batch.max = {}", batch.max), "it must be from 1 to 4096")?;
    let delay = batch.max_delay_ms;
    ensure((0.0..=10_000.0).contains(&delay), || format!("batch.max_delay_ms = {delay}"), "it must be from 0 to 10000")
}

fn task(task: &Task) -> Result<(), Wrong> {
    match task {
        Task::Tensor {} => Ok(()),
        Task::Classify { labels, top, .. } => {
            ensure(!labels.is_empty(), || "task.labels is empty".into(), "name a label for each element of the output")?;
            ensure(*top > 0, || "task.top = 0".into(), "it must be at least 1")
        }
        Task::Regress { minimum, maximum, scale, offset, .. } => {
            let range = minimum.is_finite() && maximum.is_finite() && minimum < maximum;
            let wrong = || format!("task.minimum = {minimum}, task.maximum = {maximum}");
            ensure(range, wrong, "both are finite numbers, the minimum below the maximum")?;
            ensure(scale.is_finite() && *scale != 0.0, || format!("task.scale = {scale}"), "it must be a finite number other than 0")?;
            ensure(offset.is_finite(), || format!("task.offset = {offset}"), "it must be a finite number")
        }
        Task::Anomaly { threshold, .. } => {
            ensure(threshold.is_finite(), || format!("task.threshold = {threshold}"), "it must be a finite number")
        }
        Task::Detect(detect) => detect.check(),
        // What it asks of the graph is looked at with the graph.
        Task::Embed(_) => Ok(()),
        Task::Chat(chat) => chat.check(),
    }
}

fn image(image: &Image) -> Result<(), Wrong> {
    let sides = SIDES.contains(&image.width) && SIDES.contains(&image.height);
    ensure(sides, || format!("image is {} x {}", image.width, image.height), "each side must be from 1 to 8192 pixels")?;
    let channels = image.colour.channels();
    for (name, values) in [("mean", &image.mean), ("std", &image.std)] {
        let wrong = || format!("image.{name} has {} values for {channels} channels", values.len());
        ensure(values.is_empty() || values.len() == channels, wrong, "name one for each channel, or none")?;
        ensure(values.iter().all(|v| v.is_finite()), || format!("image.{name} = {values:?}"), "each must be a finite number")?;
    }
    ensure(image.std.iter().all(|s| *s > 0.0), || format!("image.std = {:?}", image.std), "each must be above 0")
}

fn sound(sound: &Sound) -> Result<(), Wrong> {
    let rate = sound.sample_rate;
    ensure(SAMPLE_RATES.contains(&rate), || format!("sound.sample_rate = {rate}"), "it must be from 100 to 384000 Hz")?;
    ensure(WINDOWS.contains(&sound.window), || format!("sound.window = {}", sound.window), "it must be from 1 to 16777216 samples")?;
    ensure(sound.hop >= 1, || "sound.hop = 0".into(), "it must be at least 1")
}

fn text(text: &Text) -> Result<(), Wrong> {
    let tokens = text.max_tokens.unwrap_or(*TOKENS.start());
    ensure(TOKENS.contains(&tokens), || format!("text.max_tokens = {tokens}"), "it must be from 1 to 16384")?;
    let prefix = text.prefix.len();
    ensure(prefix <= MAX_PREFIX, || format!("text.prefix has {prefix} bytes"), "it may have 1024")
}

fn sample(task: &Task, sample: &Sample) -> Result<(), Wrong> {
    let (right, mend) = match task {
        Task::Tensor {} | Task::Embed(_) | Task::Chat(_) => (true, ""),
        Task::Classify { labels, .. } => (labels.contains(&sample.truth), "it must be one of the labels"),
        Task::Regress { .. } => (sample.truth.parse::<f64>().is_ok_and(f64::is_finite), "it must be a number"),
        Task::Anomaly { .. } => (matches!(sample.truth.as_str(), "normal" | "anomalous"), "it must be `normal` or `anomalous`"),
        Task::Detect(detect) => {
            let known = |truths: Vec<Truth>| truths.iter().all(|truth| detect.labels.contains(&truth.label));
            (Truth::read_all(&sample.truth).is_some_and(known), "it must be `label x y width height` for each box, with semicolons between")
        }
    };
    ensure(right, || format!("the truth of {:?} is {:?}", sample.file, sample.truth), mend)
}
