//! `detect`: outputs of a detector become boxes in the picture's own pixels.

mod candidates;
mod head;
mod suppress;

use super::Decoded;
use super::placement::Placement;
use crate::manifest::{Detect, Image, Layout};
use candidates::Candidate;
use head::Outputs;
use hearth_api::tensor::{Tensor, TensorMetadata};
use hearth_api::{Answer, Detection, Fault, ImageSize};

/// Turns outputs into boxes, for one model.
#[derive(Debug)]
pub(super) struct Detector {
    task: Detect,
    outputs: Outputs,
    /// The input that takes the picture.
    input: String,
    layout: Layout,
}

impl Detector {
    /// The detector of a model with these inputs and outputs; else what is wrong with them.
    pub(super) fn new(
        task: &Detect,
        image: Option<&Image>,
        inputs: &[TensorMetadata],
        outputs: &[TensorMetadata],
    ) -> Result<Detector, String> {
        let input = inputs.first().ok_or("the graph has no input")?;
        let layout = image.map(|image| image.layout).or_else(|| layout(&input.shape)).ok_or_else(|| {
            format!(
                "input {:?} has shape {:?}: a detector takes [batch, channels, height, width] or [batch, height, width, channels]",
                input.name, input.shape
            )
        })?;
        Ok(Detector { task: task.clone(), outputs: head::find(task, outputs)?, input: input.name.clone(), layout })
    }

    /// The boxes in one picture, the surest first; of equal scores in the order of labels, then of the output.
    pub(super) fn encode(&self, decoded: &Decoded, outputs: &[Tensor]) -> Result<Answer, Fault> {
        let (width, height) = self.input_size(decoded)?;
        let placement = decoded.placement.unwrap_or_else(|| Placement::itself(width, height));
        let mut candidates = candidates::read(&self.outputs, &self.task, outputs, (width as f32, height as f32))?;
        // What lies in the border of a letterbox, or has no size, is not in the picture.
        candidates.retain(|candidate| edges(candidate, &placement).is_some());
        candidates.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.class.cmp(&b.class)).then(a.place.cmp(&b.place)));
        if self.outputs.overlap() {
            suppress::suppress(&mut candidates, self.task.iou, self.task.max);
        }
        candidates.truncate(self.task.max);
        let boxes = candidates.iter().filter_map(|candidate| self.detection(candidate, &placement)).collect();
        Ok(Answer::Boxes { boxes, image: ImageSize { width: placement.x.length as u32, height: placement.y.length as u32 } })
    }

    fn detection(&self, candidate: &Candidate, placement: &Placement) -> Option<Detection> {
        let [left, top, right, bottom] = edges(candidate, placement)?;
        Some(Detection {
            label: self.task.labels.get(candidate.class)?.clone(),
            score: candidate.score,
            x: left as f32,
            y: top as f32,
            width: (right - left) as f32,
            height: (bottom - top) as f32,
        })
    }

    /// Width and height of the input that a request gave.
    fn input_size(&self, decoded: &Decoded) -> Result<(usize, usize), Fault> {
        let tensor = decoded.inputs.iter().find(|tensor| tensor.name == self.input);
        let size = match (tensor.map(|tensor| tensor.shape.as_slice()), self.layout) {
            (Some([.., height, width]), Layout::Nchw) | (Some([.., height, width, _]), Layout::Nhwc) => Some((*width, *height)),
            _ => None,
        };
        size.ok_or_else(|| Fault::internal("the input of a detector has no width and height"))
    }
}

/// A candidate's edges in the picture, in hundredths of a pixel as answers have them: left, top, right, bottom; none where
/// nothing of it is in the picture.
fn edges(candidate: &Candidate, placement: &Placement) -> Option<[f64; 4]> {
    let hundredths = |value: f64| (value * 100.0).round() / 100.0;
    let [left, top, right, bottom] = candidate.edges.map(f64::from);
    let (left, right) = (hundredths(placement.x.back(left)), hundredths(placement.x.back(right)));
    let (top, bottom) = (hundredths(placement.y.back(top)), hundredths(placement.y.back(bottom)));
    // Not so of NaN.
    (left < right && top < bottom).then_some([left, top, right, bottom])
}

/// The order of a picture's dimensions, told by where the channels are: 1, 3 or 4 of them.
fn layout(shape: &[i64]) -> Option<Layout> {
    let channels = |dimension: &i64| matches!(dimension, 1 | 3 | 4);
    match shape {
        [_, channel, _, _] | [channel, _, _] if channels(channel) => Some(Layout::Nchw),
        [_, _, _, channel] | [_, _, channel] if channels(channel) => Some(Layout::Nhwc),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
