//! From outputs to an answer, but for boxes.

use super::{Decoded, embed};
use crate::manifest::{AnomalyScore, Task};
use hearth_api::tensor::{Datatype, Tensor, TensorMetadata, half_to_f32};
use hearth_api::{Anomaly, Answer, Fault, Label, Reading};

/// Whether a task can be done with these inputs and outputs; else what is wrong. `detect` looks for itself.
pub(super) fn fits(task: &Task, inputs: &[TensorMetadata], outputs: &[TensorMetadata]) -> Result<(), String> {
    let first = outputs.first().ok_or("the graph has no output")?;
    let row: Option<i64> = first.shape.get(1..).unwrap_or_default().iter().map(|d| (*d >= 0).then_some(*d)).product();
    if matches!(task, Task::Tensor {} | Task::Detect(_) | Task::Embed(_)) {
        return Ok(());
    }
    if first.datatype == Datatype::Bytes || first.datatype == Datatype::Bool {
        return Err(format!("output {:?} is {:?}, not numbers", first.name, first.datatype));
    }
    match (task, row) {
        (Task::Classify { labels, .. }, Some(row)) if row != labels.len() as i64 => {
            Err(format!("it has {} labels, but output {:?} has {row} elements a row", labels.len(), first.name))
        }
        (Task::Regress { .. } | Task::Anomaly { score: AnomalyScore::Output, .. }, Some(row)) if row != 1 => {
            Err(format!("output {:?} has {row} elements a row, not one", first.name))
        }
        (Task::Anomaly { score: AnomalyScore::ReconstructionError, .. }, _) if inputs.len() != 1 => {
            Err(format!("a reconstruction has one input, the graph has {}", inputs.len()))
        }
        _ => Ok(()),
    }
}

/// The answer of a task. Of several rows (windows of a recording, rows of a tensor) the one with the highest score speaks.
pub(super) fn encode(task: &Task, decoded: &Decoded, mut outputs: Vec<Tensor>) -> Result<Answer, Fault> {
    if matches!(task, Task::Tensor {}) {
        if !decoded.wanted.is_empty() {
            outputs.retain(|o| decoded.wanted.contains(&o.name));
        }
        return Ok(Answer::Outputs { outputs });
    }
    if let Task::Embed(embed) = task {
        return embed::encode(embed, decoded, &outputs);
    }
    let first = outputs.first().ok_or_else(|| Fault::model_failed("the model gave no output"))?;
    let values: Vec<f64> = numbers(first)?;
    let rows = first.shape.first().copied().unwrap_or(1).max(1);
    let width = values.len() / rows;
    if width == 0 {
        return Err(Fault::model_failed(format!("output {:?} is empty", first.name)));
    }
    let highest = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::NEG_INFINITY, f64::max);
    match task {
        Task::Tensor {} | Task::Detect(_) | Task::Embed(_) | Task::Chat(_) => unreachable!("answered above or elsewhere"),
        Task::Classify { labels, softmax, top } => {
            let scores = values.chunks_exact(width).map(|row| if *softmax { normalised(row) } else { row.to_vec() });
            let best =
                scores.max_by(|a, b| highest(&mut a.iter().copied()).total_cmp(&highest(&mut b.iter().copied()))).unwrap_or_default();
            if best.len() != labels.len() {
                return Err(Fault::model_failed(format!("the model gave {} scores for {} labels", best.len(), labels.len())));
            }
            let mut ranked: Vec<(f64, &String)> = best.into_iter().zip(labels).collect();
            ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
            let labels = ranked.into_iter().take(*top).map(|(score, label)| Label { label: label.clone(), score: score as f32 }).collect();
            Ok(Answer::Labels { labels })
        }
        Task::Regress { unit, minimum, maximum, scale, offset } => {
            let value = highest(&mut values.iter().copied()) * scale + offset;
            Ok(Answer::Reading { reading: Reading { value: value.clamp(*minimum, *maximum), unit: unit.clone() } })
        }
        Task::Anomaly { score, threshold } => {
            let score = match score {
                AnomalyScore::Output => highest(&mut values.iter().copied()),
                AnomalyScore::ReconstructionError => {
                    let given: Vec<f64> =
                        numbers(decoded.inputs.first().ok_or_else(|| Fault::internal("a decoded request has no input"))?)?;
                    if given.len() != values.len() {
                        return Err(Fault::model_failed(format!("the model gave {} values for {}", values.len(), given.len())));
                    }
                    let error = |(a, b): (&[f64], &[f64])| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / a.len() as f64;
                    highest(&mut given.chunks_exact(width).zip(values.chunks_exact(width)).map(error))
                }
            };
            let verdict = if score >= *threshold { "anomalous" } else { "normal" };
            Ok(Answer::Anomaly { anomaly: Anomaly { score, threshold: *threshold, verdict: verdict.into() } })
        }
    }
}

/// Softmax, from the largest down so that nothing overflows.
fn normalised(logits: &[f64]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = logits.iter().map(|x| (x - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|p| p / sum).collect()
}

/// What elements are read as.
pub(super) trait Number {
    fn from_f64(value: f64) -> Self;
}

impl Number for f64 {
    fn from_f64(value: f64) -> f64 {
        value
    }
}

impl Number for f32 {
    fn from_f64(value: f64) -> f32 {
        value as f32
    }
}

/// The elements of a tensor of numbers.
pub(super) fn numbers<N: Number>(tensor: &Tensor) -> Result<Vec<N>, Fault> {
    let data = &tensor.data;
    macro_rules! elements {
        ($t:ty) => {
            data.as_chunks().0.iter().map(|b| N::from_f64(<$t>::from_le_bytes(*b) as f64)).collect()
        };
    }
    Ok(match tensor.datatype {
        Datatype::Uint8 => elements!(u8),
        Datatype::Uint16 => elements!(u16),
        Datatype::Uint32 => elements!(u32),
        Datatype::Uint64 => elements!(u64),
        Datatype::Int8 => elements!(i8),
        Datatype::Int16 => elements!(i16),
        Datatype::Int32 => elements!(i32),
        Datatype::Int64 => elements!(i64),
        Datatype::Fp32 => elements!(f32),
        Datatype::Fp64 => elements!(f64),
        Datatype::Fp16 => data.as_chunks().0.iter().map(|b| N::from_f64(half_to_f32(u16::from_le_bytes(*b)).into())).collect(),
        Datatype::Bool | Datatype::Bytes => {
            return Err(Fault::model_failed(format!("{:?} is {:?}, not numbers", tensor.name, tensor.datatype)));
        }
    })
}
