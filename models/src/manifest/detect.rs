//! What a manifest says of the task `detect`: labels, the head that the outputs are of, and which boxes go into an answer.

use super::rules::{Wrong, ensure};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// Boxes in an answer.
const BOXES: RangeInclusive<usize> = 1..=1000;

/// How boxes follow from the outputs.
///
/// They are answered in the picture's own pixels, whatever `fit` made of it; where tensors are sent, in the input's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detect {
    /// The labels, in the order of the classes.
    pub labels: Vec<String>,
    /// What the outputs are.
    #[serde(default)]
    pub head: Head,
    /// The least score of a box.
    #[serde(default = "quarter")]
    pub confidence: f32,
    /// Of two boxes of one label whose intersection over union exceeds this, the one with the higher score stays. Heads whose
    /// graph has done so already (`yolov10`, and `ssd` with an output of classes) are left as they are.
    #[serde(default = "usual_overlap")]
    pub iou: f32,
    /// The most boxes in an answer.
    #[serde(default = "hundred")]
    pub max: usize,
    /// Class 0 is the background: the labels begin at class 1 (TensorFlow's and torchvision's SSD).
    #[serde(default)]
    pub background: bool,
    /// What the coordinates count; left out, pixels, but for TensorFlow's `detection_boxes`, which are normalised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coordinates: Option<Coordinates>,
}

/// What the outputs of a detector are; `boxes` is how many it gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Head {
    /// Told by names and shapes of the outputs, where only one head has such.
    #[default]
    Auto,
    /// YOLOv5, v6, v7: [batch, boxes, 5 + labels], centre, width, height, objectness, scores.
    Yolov5,
    /// YOLOv8, v9, v11, v12: [batch, 4 + labels, boxes], centre, width, height, scores; or [batch, boxes, 4 + labels].
    Yolov8,
    /// YOLOv10 and other end-to-end exports: [batch, boxes, 6], left, top, right, bottom, score, class.
    Yolov10,
    /// Outputs of their own, told apart by their names: boxes [batch, boxes, 4] of left, top, right, bottom, and scores
    /// [batch, boxes, labels]; or scores [batch, boxes] and classes [batch, boxes]. The batch may be missing (torchvision).
    /// In TensorFlow's `detection_boxes` top comes before left, and bottom before right.
    Ssd,
}

/// What the coordinates of boxes count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Coordinates {
    /// Pixels of the input.
    Pixels,
    /// Shares of the input's width and height.
    Normalised,
}

fn quarter() -> f32 {
    0.25
}

fn usual_overlap() -> f32 {
    0.45
}

fn hundred() -> usize {
    100
}

impl Detect {
    /// How many classes the outputs have: the labels, and the background.
    pub(crate) fn classes(&self) -> usize {
        self.labels.len() + usize::from(self.background)
    }

    pub(super) fn check(&self) -> Result<(), Wrong> {
        ensure(!self.labels.is_empty(), || "task.labels is empty".into(), "name a label for each class of the outputs, in their order")?;
        for (name, share) in [("confidence", self.confidence), ("iou", self.iou)] {
            ensure((0.0..=1.0).contains(&share), || format!("task.{name} = {share}"), "it must be from 0 to 1")?;
        }
        ensure(BOXES.contains(&self.max), || format!("task.max = {}", self.max), "it must be from 1 to 1000")?;
        let heads = matches!(self.head, Head::Auto | Head::Ssd);
        ensure(heads || !self.background, || format!("task.background with the head {:?}", self.head), "only `ssd` has a background")
    }
}
