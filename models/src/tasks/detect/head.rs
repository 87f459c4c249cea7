//! Which outputs hold what: told by the manifest's head and the graph's names and shapes, when a model is loaded.

use crate::manifest::{Coordinates, Detect, Head};
use hearth_api::tensor::{Datatype, TensorMetadata};

/// What the outputs hold; numbers count outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outputs {
    /// [1, boxes, 5 + labels]: centre, size, objectness, scores.
    Yolov5,
    /// [1, 4 + labels, boxes]: centre, size, scores.
    Yolov8,
    /// [1, boxes, 4 + labels], the same.
    Yolov8Transposed,
    /// [1, boxes, 6]: edges, score, class.
    Yolov10,
    /// Boxes [(1,) boxes, 4], and scores [(1,) boxes, classes] of all classes.
    SsdScores { boxes: usize, scores: usize, form: Corners },
    /// Boxes [(1,) boxes, 4], the score and the class of each [(1,) boxes], and where there is one, how many of them count.
    SsdClasses { boxes: usize, scores: usize, classes: usize, count: Option<usize>, form: Corners },
}

/// How SSD writes a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Corners {
    /// Left, top, right, bottom.
    LeftFirst,
    /// Top, left, bottom, right: TensorFlow.
    TopFirst,
}

impl Outputs {
    /// Whether boxes of one thing may overlap, for the graph has not suppressed them.
    pub(super) fn overlap(self) -> bool {
        !matches!(self, Outputs::Yolov10 | Outputs::SsdClasses { .. })
    }

    /// What the coordinates count: as the manifest says, or as is usual.
    pub(super) fn coordinates(self, task: &Detect) -> Coordinates {
        let usual = match self {
            Outputs::SsdScores { form: Corners::TopFirst, .. } | Outputs::SsdClasses { form: Corners::TopFirst, .. } => {
                Coordinates::Normalised
            }
            _ => Coordinates::Pixels,
        };
        task.coordinates.unwrap_or(usual)
    }
}

/// What the outputs hold by the manifest's head, or, where that is `auto`, by what they look like; else what is wrong.
pub(super) fn find(task: &Detect, outputs: &[TensorMetadata]) -> Result<Outputs, String> {
    if let Some(odd) = outputs.iter().find(|output| matches!(output.datatype, Datatype::Bytes | Datatype::Bool)) {
        return Err(format!("output {:?} is {:?}, not numbers", odd.name, odd.datatype));
    }
    let first = outputs.first().ok_or("the graph has no output")?;
    match task.head {
        Head::Ssd => ssd(task, outputs),
        Head::Yolov5 | Head::Yolov8 | Head::Yolov10 => {
            let fitting = YOLO.iter().filter(|yolo| yolo.head == task.head).find(|yolo| yolo.fits(task, first, true));
            fitting.map(|yolo| yolo.outputs).ok_or_else(|| misfit(task, task.head, first))
        }
        Head::Auto if roles(outputs).is_ok() => ssd(task, outputs),
        Head::Auto => {
            let fitting: Vec<&Yolo> = YOLO.iter().filter(|yolo| yolo.fits(task, first, false)).collect();
            match fitting.as_slice() {
                [one] => Ok(one.outputs),
                [] => {
                    let needs: Vec<String> = [Head::Yolov8, Head::Yolov5, Head::Yolov10].map(|head| needs(task, head)).into();
                    Err(format!("{}; no head fits: {}", describe(task, first), needs.join(", ")))
                }
                several => {
                    let names: Vec<&str> = several.iter().map(|yolo| name(yolo.head)).collect();
                    Err(format!("{}; that may be {}: name one as task.head", describe(task, first), names.join(" or ")))
                }
            }
        }
    }
}

/// A form that the one output of a YOLO has.
struct Yolo {
    head: Head,
    outputs: Outputs,
    /// Which dimension counts the values of a box.
    axis: usize,
}

/// The standard form before the transposed one, for a shape that is both.
const YOLO: [Yolo; 4] = [
    Yolo { head: Head::Yolov8, outputs: Outputs::Yolov8, axis: 1 },
    Yolo { head: Head::Yolov8, outputs: Outputs::Yolov8Transposed, axis: 2 },
    Yolo { head: Head::Yolov5, outputs: Outputs::Yolov5, axis: 2 },
    Yolo { head: Head::Yolov10, outputs: Outputs::Yolov10, axis: 2 },
];

impl Yolo {
    /// Whether an output has this form; `open` lets a dimension that is not known be what it should be.
    fn fits(&self, task: &Detect, output: &TensorMetadata, open: bool) -> bool {
        let wanted = values(self.head, task);
        output.shape.len() == 3 && (output.shape[self.axis] == wanted as i64 || open && output.shape[self.axis] < 0)
    }
}

/// Values of a box.
fn values(head: Head, task: &Detect) -> usize {
    match head {
        Head::Yolov5 => 5 + task.labels.len(),
        Head::Yolov10 => 6,
        _ => 4 + task.labels.len(),
    }
}

fn name(head: Head) -> &'static str {
    match head {
        Head::Auto => "auto",
        Head::Yolov5 => "yolov5",
        Head::Yolov8 => "yolov8",
        Head::Yolov10 => "yolov10",
        Head::Ssd => "ssd",
    }
}

fn needs(task: &Detect, head: Head) -> String {
    let form = match head {
        Head::Yolov5 => "[batch, boxes, 5 + labels]",
        Head::Yolov10 => "[batch, boxes, 6]",
        _ => "[batch, 4 + labels, boxes]",
    };
    format!(
        "{} needs {form}, here {}",
        name(head),
        form.replace("5 + labels", &values(head, task).to_string()).replace("4 + labels", &values(head, task).to_string())
    )
}

fn describe(task: &Detect, output: &TensorMetadata) -> String {
    let count = task.labels.len();
    format!(
        "output {:?} has {:?}, and there {} {count} label{}",
        output.name,
        output.shape,
        if count == 1 { "is" } else { "are" },
        if count == 1 { "" } else { "s" }
    )
}

/// Why an output is not what a head needs, with the number of labels that it would be right for.
fn misfit(task: &Detect, head: Head, output: &TensorMetadata) -> String {
    let mut wrong = format!("{}; {}", describe(task, output), needs(task, head));
    let before = values(head, task) - task.labels.len();
    // Of a box's values and the boxes, the boxes are many more.
    let fewest = output.shape.get(1..).unwrap_or_default().iter().filter(|d| **d > 0).min();
    if let (Head::Yolov5 | Head::Yolov8, 3, Some(labels)) =
        (head, output.shape.len(), fewest.and_then(|d| usize::try_from(*d).ok()?.checked_sub(before)).filter(|n| *n > 0))
    {
        wrong.push_str(&format!(" (it has room for {labels} label{})", if labels == 1 { "" } else { "s" }));
    }
    wrong
}

/// What an output of an SSD holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Boxes,
    Scores,
    Classes,
    Count,
}

/// Which outputs hold what.
struct Roles {
    boxes: usize,
    scores: usize,
    classes: Option<usize>,
    count: Option<usize>,
    form: Corners,
}

fn ssd(task: &Detect, outputs: &[TensorMetadata]) -> Result<Outputs, String> {
    let Roles { boxes, scores, classes, count, form } = roles(outputs)?;
    let port = |index: usize| format!("{:?} {:?}", outputs[index].name, outputs[index].shape);
    let rank = outputs[boxes].shape.len();
    let is = |index: usize, rank: usize, last: Option<usize>| {
        let shape = &outputs[index].shape;
        shape.len() == rank && last.is_none_or(|last| shape.last().is_some_and(|d| *d < 0 || *d == last as i64))
    };
    if !(2..=3).contains(&rank) || !is(boxes, rank, Some(4)) {
        return Err(format!("the boxes of an ssd are [batch, boxes, 4] or [boxes, 4], not {}", port(boxes)));
    }
    let Some(classes) = classes else {
        if !is(scores, rank, Some(task.classes())) {
            let background = if task.background { "1 background + " } else { "" };
            return Err(format!(
                "without an output of classes, the scores of an ssd are [batch, boxes, {background}{} labels], not {}",
                task.labels.len(),
                port(scores)
            ));
        }
        return Ok(Outputs::SsdScores { boxes, scores, form });
    };
    match [scores, classes].into_iter().find(|index| !is(*index, rank - 1, None)) {
        Some(odd) => Err(format!("beside boxes {} there is one score and one class a box, not {}", port(boxes), port(odd))),
        None => Ok(Outputs::SsdClasses { boxes, scores, classes, count, form }),
    }
}

/// Tells the outputs of an SSD apart: TensorFlow's by their whole names (it gives raw ones beside them), others by a word in
/// their names, or where that says nothing by their shapes and types.
fn roles(outputs: &[TensorMetadata]) -> Result<Roles, String> {
    let tensorflow = outputs.iter().any(|output| output.name.starts_with("detection_boxes"));
    let role = |output: &TensorMetadata| {
        if tensorflow { by_whole_name(&output.name) } else { by_word(&output.name).or_else(|| by_shape(output)) }
    };
    let find = |wanted: Role| -> Result<Option<usize>, String> {
        let have: Vec<usize> = (0..outputs.len()).filter(|index| role(&outputs[*index]) == Some(wanted)).collect();
        match have.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(*one)),
            [one, other, ..] => {
                Err(format!("outputs {:?} and {:?} both look like an ssd's {wanted:?}", outputs[*one].name, outputs[*other].name))
            }
        }
    };
    let names = || outputs.iter().map(|output| format!("{:?} {:?}", output.name, output.shape)).collect::<Vec<_>>().join(", ");
    let needed = |role: Role, found: Option<usize>| {
        found.ok_or_else(|| format!("an ssd has an output of {role:?}; the graph has {}: call them boxes, scores and classes", names()))
    };
    Ok(Roles {
        boxes: needed(Role::Boxes, find(Role::Boxes)?)?,
        scores: needed(Role::Scores, find(Role::Scores)?)?,
        classes: find(Role::Classes)?,
        count: find(Role::Count)?,
        form: if tensorflow { Corners::TopFirst } else { Corners::LeftFirst },
    })
}

fn by_whole_name(name: &str) -> Option<Role> {
    // As `detection_boxes:0`.
    match name.split(':').next()? {
        "detection_boxes" => Some(Role::Boxes),
        "detection_scores" => Some(Role::Scores),
        "detection_classes" => Some(Role::Classes),
        "num_detections" => Some(Role::Count),
        _ => None,
    }
}

fn by_word(name: &str) -> Option<Role> {
    let name = name.to_ascii_lowercase();
    let words = [("num", Role::Count), ("box", Role::Boxes), ("score", Role::Scores), ("label", Role::Classes), ("class", Role::Classes)];
    words.into_iter().find(|(word, _)| name.contains(word)).map(|(_, role)| role)
}

fn by_shape(output: &TensorMetadata) -> Option<Role> {
    let float = matches!(output.datatype, Datatype::Fp16 | Datatype::Fp32 | Datatype::Fp64);
    match output.shape.as_slice() {
        [_, 4] | [_, _, 4] if float => Some(Role::Boxes),
        [_] | [_, _] if !float => Some(Role::Classes),
        [_] | [_, _] => Some(Role::Scores),
        _ => None,
    }
}
