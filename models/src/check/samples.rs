//! The samples of a manifest: read, and their answers held against their truths.

use super::Wrong;
use crate::boxes::{Truth, all_right, written};
use crate::manifest::{Manifest, Sample, Task};
use hearth_api::{Answer, ContentType, Payload};
use std::path::Path;

/// Share of full scale by which a reading may be off where the manifest promises nothing.
const READING_TOLERANCE: f64 = 0.05;

/// A sample as a payload; its ending tells the content type.
pub fn payload(directory: &Path, sample: &Sample) -> Result<Payload, String> {
    let path = directory.join(&sample.file);
    let bytes = std::fs::read(&path).map_err(|e| format!("sample {}: cannot be read: {e}", sample.file))?;
    let content_type = match path.extension().and_then(|e| e.to_str()).unwrap_or_default() {
        "json" => ContentType::Json,
        "jpg" | "jpeg" => ContentType::Jpeg,
        "png" => ContentType::Png,
        "wav" => ContentType::Wav,
        "txt" => ContentType::Text,
        ending => return Err(format!("sample {}: no content type ends in {ending:?}; json, jpg, png, wav and txt do", sample.file)),
    };
    Ok(Payload { content_type, bytes: bytes.into() })
}

/// Whether an answer is what a sample's truth says.
pub(super) fn judge(manifest: &Manifest, sample: &Sample, answer: &Answer) -> Result<(), Wrong> {
    let (right, got) = match (answer, &manifest.task) {
        (Answer::Labels { labels }, _) => {
            let best = labels.first().map(|l| l.label.as_str()).unwrap_or_default();
            (best == sample.truth, best.to_owned())
        }
        (Answer::Reading { reading }, Task::Regress { minimum, maximum, .. }) => {
            // A mean error is promised; a single reading may be three times as far off.
            let tolerance = manifest.accuracy.as_ref().map_or(READING_TOLERANCE, |a| 3.0 * a.promised) * (maximum - minimum);
            let right = sample.truth.parse::<f64>().is_ok_and(|truth| (truth - reading.value).abs() <= tolerance);
            (right, format!("{} {}", reading.value, reading.unit))
        }
        (Answer::Anomaly { anomaly }, _) => (anomaly.verdict == sample.truth, format!("{} ({})", anomaly.verdict, anomaly.score)),
        (Answer::Boxes { boxes, .. }, _) => {
            let right = Truth::read_all(&sample.truth).is_some_and(|truths| all_right(boxes, &truths));
            (right, written(boxes))
        }
        (Answer::Chat(chat), _) => {
            let said = chat.choices.first().map(|choice| choice.message.content.trim()).unwrap_or_default();
            (said == sample.truth.trim(), said.to_owned())
        }
        (Answer::Reading { .. } | Answer::Outputs { .. } | Answer::Embedding { .. } | Answer::Embeddings(_), _) => return Ok(()),
    };
    if right { Ok(()) } else { Err(Wrong { file: sample.file.clone(), truth: sample.truth.clone(), got }) }
}
