//! Boxes over the confidence, read from outputs of every head: class, score, and edges in pixels of the input. Suppresses nothing.
//!
//! Most boxes of a detector are sure of nothing: scores are looked at first, in the order in which they lie in memory.

use super::head::{Corners, Outputs};
use crate::manifest::{Coordinates, Detect};
use crate::tasks::answer::numbers;
use hearth_api::Fault;
use hearth_api::tensor::Tensor;

/// The highest that rounding in small types makes of a score of 1; what is higher was no probability.
const HIGHEST_SCORE: f32 = 1.05;

/// A box that may be one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    /// Which label.
    pub(super) class: usize,
    /// From the confidence to 1.
    pub(super) score: f32,
    /// Which box of the output.
    pub(super) place: usize,
    /// Left, top, right, bottom, in pixels of the input; all finite.
    pub(super) edges: [f32; 4],
}

/// The candidates in the outputs for one row, an input of `size` (width, height). Boxes with a score or an edge that is no number
/// are none.
pub(super) fn read(form: &Outputs, task: &Detect, outputs: &[Tensor], size: (f32, f32)) -> Result<Vec<Candidate>, Fault> {
    let unit = match form.coordinates(task) {
        Coordinates::Pixels => [1.0; 4],
        Coordinates::Normalised => [size.0, size.1, size.0, size.1],
    };
    let mut taken = Taken { task, unit, candidates: Vec::new() };
    match *form {
        Outputs::Yolov8 => {
            let (data, [values, boxes]) = matrix(output(outputs, 0)?)?;
            taken.classes(values, 4)?;
            let scores = best_of_rows(&data[4 * boxes..], boxes);
            for (place, (score, class)) in scores.into_iter().enumerate() {
                taken.take(class, score, place, || centred([0, 1, 2, 3].map(|value| data[value * boxes + place])))?;
            }
        }
        Outputs::Yolov8Transposed => {
            let (data, [_, values]) = matrix(output(outputs, 0)?)?;
            taken.classes(values, 4)?;
            for (place, row) in data.chunks_exact(values).enumerate() {
                let (score, class) = best(&row[4..]);
                taken.take(class, score, place, || centred([row[0], row[1], row[2], row[3]]))?;
            }
        }
        Outputs::Yolov5 => {
            let (data, [_, values]) = matrix(output(outputs, 0)?)?;
            taken.classes(values, 5)?;
            for (place, row) in data.chunks_exact(values).enumerate().filter(|(_, row)| row[4] >= task.confidence) {
                let (score, class) = best(&row[5..]);
                taken.take(class, score * row[4], place, || centred([row[0], row[1], row[2], row[3]]))?;
            }
        }
        Outputs::Yolov10 => {
            let (data, [_, values]) = matrix(output(outputs, 0)?)?;
            if values != 6 {
                return Err(Fault::model_failed(format!("the model gave {values} values a box; yolov10 has 6")));
            }
            for (place, row) in data.as_chunks::<6>().0.iter().enumerate() {
                taken.take_numbered(row[5], row[4], place, || [row[0], row[1], row[2], row[3]])?;
            }
        }
        Outputs::SsdScores { boxes, scores, form } => {
            let edges = boxes_of(output(outputs, boxes)?, form)?;
            let (data, [rows, classes]) = matrix(output(outputs, scores)?)?;
            let first = usize::from(task.background);
            taken.classes(classes, first)?;
            same("scores", rows, edges.len())?;
            for (place, row) in data.chunks_exact(classes).enumerate() {
                let (score, class) = best(&row[first..]);
                taken.take(class, score, place, || edges[place])?;
            }
        }
        Outputs::SsdClasses { boxes, scores, classes, count, form } => {
            let edges = boxes_of(output(outputs, boxes)?, form)?;
            let (scores, classes): (Vec<f32>, Vec<f32>) = (numbers(output(outputs, scores)?)?, numbers(output(outputs, classes)?)?);
            same("scores", scores.len(), edges.len())?;
            same("classes", classes.len(), edges.len())?;
            let count = match count {
                // What is negative or no number counts none.
                Some(count) => numbers::<f32>(output(outputs, count)?)?.first().map_or(0, |count| *count as usize),
                None => edges.len(),
            };
            for (place, ((score, class), edges)) in scores.iter().zip(classes).zip(&edges).enumerate().take(count) {
                taken.take_numbered(class, *score, place, || *edges)?;
            }
        }
    }
    Ok(taken.candidates)
}

/// Takes what is sure enough.
struct Taken<'t> {
    task: &'t Detect,
    /// Pixels in a unit of each edge.
    unit: [f32; 4],
    candidates: Vec<Candidate>,
}

impl Taken<'_> {
    /// Whether a box has a score for each label, after `before` other values.
    fn classes(&self, values: usize, before: usize) -> Result<(), Fault> {
        let labels = self.task.labels.len();
        if values == before + labels {
            return Ok(());
        }
        Err(Fault::model_failed(format!("the model gave {values} values a box; with {labels} labels it is {}", before + labels)))
    }

    /// Not so of NaN.
    fn is_sure(&self, score: f32) -> bool {
        score >= self.task.confidence && score.is_finite()
    }

    /// Takes a box of a label.
    fn take(&mut self, class: usize, score: f32, place: usize, edges: impl FnOnce() -> [f32; 4]) -> Result<(), Fault> {
        if !self.is_sure(score) {
            return Ok(());
        }
        if score > HIGHEST_SCORE {
            let mend = "export the head with its sigmoid or softmax";
            return Err(Fault::model_failed(format!("the model gave a score of {score}, which is no share of one: {mend}")));
        }
        let mut edges = edges();
        edges.iter_mut().zip(self.unit).for_each(|(edge, unit)| *edge *= unit);
        if edges.iter().all(|edge| edge.is_finite()) {
            self.candidates.push(Candidate { class, score: score.min(1.0), place, edges });
        }
        Ok(())
    }

    /// Takes a box of a class by its number, which is one less where class 0 is the background.
    fn take_numbered(&mut self, number: f32, score: f32, place: usize, edges: impl FnOnce() -> [f32; 4]) -> Result<(), Fault> {
        if !self.is_sure(score) || self.task.background && number == 0.0 {
            return Ok(());
        }
        let class = number - if self.task.background { 1.0 } else { 0.0 };
        let labels = self.task.labels.len();
        if !(0.0..labels as f32).contains(&class) {
            let mend =
                if self.task.background { "name them all" } else { "name them all, or say `background = true` where class 0 is none" };
            return Err(Fault::model_failed(format!("the model found class {number}, and there are {labels} labels: {mend}")));
        }
        self.take(class as usize, score, place, edges)
    }
}

fn output(outputs: &[Tensor], index: usize) -> Result<&Tensor, Fault> {
    outputs.get(index).ok_or_else(|| Fault::model_failed(format!("the model gave {} outputs", outputs.len())))
}

/// The elements of an output of one row, and its last two dimensions, whose product they are.
fn matrix(tensor: &Tensor) -> Result<(Vec<f32>, [usize; 2]), Fault> {
    let data: Vec<f32> = numbers(tensor)?;
    match tensor.shape.as_slice() {
        [rows, columns] | [1, rows, columns] if rows.checked_mul(*columns) == Some(data.len()) => Ok((data, [*rows, *columns])),
        shape => {
            Err(Fault::model_failed(format!("output {:?} has shape {shape:?}, which is no list of boxes for one picture", tensor.name)))
        }
    }
}

/// The boxes of an SSD, the left edge first.
fn boxes_of(tensor: &Tensor, form: Corners) -> Result<Vec<[f32; 4]>, Fault> {
    let (data, [_, values]) = matrix(tensor)?;
    same("values", values, 4)?;
    let boxes = data.as_chunks().0;
    Ok(match form {
        Corners::LeftFirst => boxes.to_vec(),
        Corners::TopFirst => boxes.iter().map(|[top, left, bottom, right]| [*left, *top, *right, *bottom]).collect(),
    })
}

fn same(what: &str, have: usize, want: usize) -> Result<(), Fault> {
    if have == want { Ok(()) } else { Err(Fault::model_failed(format!("the model gave {have} {what}, not {want}"))) }
}

/// The edges of a box by its centre and size.
fn centred([x, y, width, height]: [f32; 4]) -> [f32; 4] {
    [x - width / 2.0, y - height / 2.0, x + width / 2.0, y + height / 2.0]
}

/// The highest score and its class, the first of equal ones; what is no number is passed over.
fn best(scores: &[f32]) -> (f32, usize) {
    let higher = |best: (f32, usize), (class, score): (usize, &f32)| if *score > best.0 { (*score, class) } else { best };
    scores.iter().enumerate().fold((f32::NEG_INFINITY, 0), higher)
}

/// The same for each of `boxes`, where a row of `data` holds the scores of one class: the rows are passed over once, each in order.
fn best_of_rows(data: &[f32], boxes: usize) -> Vec<(f32, usize)> {
    let mut best = vec![f32::NEG_INFINITY; boxes];
    let mut classes = vec![0u32; boxes];
    for (class, row) in data.chunks_exact(boxes.max(1)).enumerate() {
        for ((best, at), score) in best.iter_mut().zip(&mut classes).zip(row) {
            let higher = *score > *best;
            *best = if higher { *score } else { *best };
            *at = if higher { class as u32 } else { *at };
        }
    }
    best.into_iter().zip(classes).map(|(score, class)| (score, class as usize)).collect()
}
