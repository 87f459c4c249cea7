//! From the states of tokens, or from what the graph has pooled itself, to vectors.

use super::Decoded;
use crate::manifest::{Embed, Pooling};
use hearth_api::tensor::{Datatype, Tensor, TensorMetadata, half_to_f32};
use hearth_api::{Answer, Embeddings, Fault};

/// Output that is a vector for each text, by convention.
const POOLED: &str = "sentence_embedding";
/// Outputs that are the states of tokens, by convention.
const STATES: [&str; 2] = ["last_hidden_state", "token_embeddings"];
/// Input that tells tokens from padding.
const MASK: &str = "attention_mask";

/// The task with its output and pooling found among these outputs; else what is wrong.
pub(super) fn resolve(embed: &Embed, outputs: &[TensorMetadata]) -> Result<Embed, String> {
    let named = |name: &str| outputs.iter().find(|output| output.name == name);
    let list = || outputs.iter().map(|o| format!("{:?} {:?}", o.name, o.shape)).collect::<Vec<_>>().join(", ");
    let pools = !matches!(embed.pooling, None | Some(Pooling::None));
    let found = match &embed.output {
        Some(name) => Some(named(name).ok_or_else(|| format!("task.output = {name:?}, but the graph gives {}", list()))?),
        None if pools => STATES.iter().find_map(|name| named(name)),
        None => named(POOLED),
    };
    let output = match (found, outputs) {
        (Some(output), _) => output,
        (None, [only]) => only,
        _ => return Err(format!("task.output does not say which of the outputs is meant: {}", list())),
    };
    let shown = format!("output {:?} is {:?} {:?}", output.name, output.datatype, output.shape);
    if !matches!(output.datatype, Datatype::Fp16 | Datatype::Fp32 | Datatype::Fp64) {
        return Err(format!("{shown}, not floats"));
    }
    let pooling = match (embed.pooling, output.shape.len()) {
        (None | Some(Pooling::None), 2) => Pooling::None,
        (Some(pooling), 3) if pools => pooling,
        (None, 3) => {
            return Err(format!(
                "{shown}, a state for each token, and task.pooling is not said: mean, cls or last, as the model was trained"
            ));
        }
        (Some(pooling), _) if pools => {
            return Err(format!(
                "{shown}, and task.pooling = {:?} needs [batch, tokens, width]; what is [batch, width] is pooled already: none",
                pooling.as_str()
            ));
        }
        _ => return Err(format!("{shown}; a vector for each row is [batch, width], and with a pooling of tokens [batch, tokens, width]")),
    };
    Ok(Embed { pooling: Some(pooling), output: Some(output.name.clone()), ..embed.clone() })
}

/// The vectors of a request, by a task that is resolved.
pub(super) fn encode(embed: &Embed, decoded: &Decoded, outputs: &[Tensor]) -> Result<Answer, Fault> {
    let output = outputs.iter().find(|output| Some(&output.name) == embed.output.as_ref());
    let output = output.ok_or_else(|| Fault::model_failed("the model did not give the output of its vectors"))?;
    let states = floats(output)?;
    let pooled = matches!(embed.pooling, None | Some(Pooling::None));
    let (rows, length, width) = match (output.shape.as_slice(), pooled) {
        ([rows, width], true) => (*rows, 1, *width),
        ([rows, length, width], false) => (*rows, *length, *width),
        (shape, _) => return Err(Fault::model_failed(format!("output {:?} came as {shape:?}", output.name))),
    };
    if rows * length * width == 0 {
        return Err(Fault::model_failed(format!("output {:?} is empty", output.name)));
    }
    let seen = if pooled { None } else { mask(&decoded.inputs, rows, length)? };
    let vector = |(row, states): (usize, &[f32])| {
        let seen = seen.as_ref().map(|seen| &seen[row * length..(row + 1) * length]);
        let mut vector = pool(embed.pooling.unwrap_or(Pooling::None), states, width, seen)
            .ok_or_else(|| Fault::bad_request(format!("row {row} of {MASK:?} has no 1: there is nothing to pool")))?;
        if embed.normalise {
            normalise(&mut vector);
        }
        Ok(vector.into_iter().map(|x| x as f32).collect())
    };
    let mut vectors = states.chunks_exact(length * width).enumerate().map(vector).collect::<Result<Vec<Vec<f32>>, Fault>>()?;
    let tokens = Some(&decoded.tokens).filter(|tokens| tokens.len() == rows);
    if let ([embedding], true) = (vectors.as_mut_slice(), decoded.alone) {
        let (tokens, truncated) = tokens.map(|tokens| (tokens[0].count, tokens[0].truncated)).unzip();
        return Ok(Answer::Embedding { embedding: std::mem::take(embedding), tokens, truncated });
    }
    let (tokens, truncated) = tokens.map(|all| all.iter().map(|t| (t.count, t.truncated)).unzip()).unzip();
    Ok(Answer::Embeddings(Box::new(Embeddings { embeddings: vectors, tokens, truncated })))
}

/// The vector of one row of states, of `width` each; none where no token is seen.
fn pool(pooling: Pooling, states: &[f32], width: usize, seen: Option<&[bool]>) -> Option<Vec<f64>> {
    let mut tokens = states.chunks_exact(width).enumerate().filter(|(at, _)| seen.is_none_or(|seen| seen[*at])).map(|(_, state)| state);
    let single = |state: &[f32]| state.iter().map(|x| f64::from(*x)).collect();
    match pooling {
        Pooling::Mean => {
            let (mut sum, mut count) = (vec![0.0; width], 0);
            for state in tokens {
                sum.iter_mut().zip(state).for_each(|(sum, x)| *sum += f64::from(*x));
                count += 1;
            }
            (count > 0).then(|| sum.into_iter().map(|x| x / f64::from(count)).collect())
        }
        Pooling::Cls => tokens.next().map(single),
        Pooling::Last => tokens.next_back().map(single),
        Pooling::None => Some(single(states)),
    }
}

/// To length 1; a vector of zeros stays one.
fn normalise(vector: &mut [f64]) {
    let length = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x /= length);
    }
}

/// Which tokens are no padding, row by row; none where the graph takes no mask.
fn mask(inputs: &[Tensor], rows: usize, length: usize) -> Result<Option<Vec<bool>>, Fault> {
    let Some(mask) = inputs.iter().find(|input| input.name == MASK) else { return Ok(None) };
    let size = mask.datatype.size().unwrap_or(1);
    let seen: Vec<bool> = mask.data.chunks_exact(size).map(|element| element.iter().any(|byte| *byte != 0)).collect();
    if seen.len() != rows * length {
        return Err(Fault::model_failed(format!("the model gave {rows} x {length} states for a mask of shape {:?}", mask.shape)));
    }
    Ok(Some(seen))
}

fn floats(tensor: &Tensor) -> Result<Vec<f32>, Fault> {
    let data = &tensor.data;
    Ok(match tensor.datatype {
        Datatype::Fp32 => data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Datatype::Fp16 => data.as_chunks().0.iter().map(|b| half_to_f32(u16::from_le_bytes(*b))).collect(),
        Datatype::Fp64 => data.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
        other => return Err(Fault::model_failed(format!("output {:?} is {other:?}, not floats", tensor.name))),
    })
}

#[cfg(test)]
mod tests;
