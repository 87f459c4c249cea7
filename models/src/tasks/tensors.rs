//! Open Inference Protocol v2 payloads, and bare tensors, for whatever a model takes.

use super::Decoded;
use hearth_api::tensor::{Datatype, InferRequest, Tensor, TensorMetadata, half_to_f32, volume};
use hearth_api::{ContentType, Fault, Payload};

/// Reads a JSON or binary payload for these inputs.
pub(super) fn decode(payload: &Payload, inputs: &[TensorMetadata], outputs: &[TensorMetadata]) -> Result<Decoded, Fault> {
    let request = match payload.content_type {
        ContentType::Binary { header_length: Some(length) } => InferRequest::from_binary(&payload.bytes, length)?,
        ContentType::Binary { header_length: None } => bare(payload, inputs)?,
        _ => InferRequest::from_json(&payload.bytes)?,
    };
    if let Some(name) = request.outputs.iter().find(|name| outputs.iter().all(|o| o.name != **name)) {
        let known: Vec<&str> = outputs.iter().map(|o| o.name.as_str()).collect();
        return Err(Fault::bad_request(format!("there is no output {name:?}; the model gives {}", known.join(", "))));
    }
    request.inputs.iter().try_for_each(finite)?;
    let inputs = request.inputs.into_iter().map(|tensor| with_batch(tensor, inputs)).collect();
    Ok(Decoded { inputs, wanted: request.outputs, placement: None })
}

/// Refuses what no measurement gives: a model would answer it with NaN, or with nonsense.
fn finite(tensor: &Tensor) -> Result<(), Fault> {
    let data = &tensor.data;
    let bad = match tensor.datatype {
        Datatype::Fp32 => data.as_chunks().0.iter().position(|b| !f32::from_le_bytes(*b).is_finite()),
        Datatype::Fp64 => data.as_chunks().0.iter().position(|b| !f64::from_le_bytes(*b).is_finite()),
        Datatype::Fp16 => data.as_chunks().0.iter().position(|b| !half_to_f32(u16::from_le_bytes(*b)).is_finite()),
        _ => None,
    };
    match bad {
        Some(at) => {
            Err(Fault::bad_request(format!("input {:?}: element {at} is NaN or infinite; every element must be a number", tensor.name)))
        }
        None => Ok(()),
    }
}

/// A tensor that lacks nothing but the batch is one row.
fn with_batch(mut tensor: Tensor, inputs: &[TensorMetadata]) -> Tensor {
    let Some(input) = inputs.iter().find(|i| i.name == tensor.name) else { return tensor };
    let takes_one = input.shape.first().is_some_and(|batch| *batch < 0 || *batch == 1);
    if takes_one && tensor.shape.len() + 1 == input.shape.len() {
        tensor.shape.insert(0, 1);
    }
    tensor
}

/// A payload that is the elements of the only input, without a header: little-endian, one row or several.
fn bare(payload: &Payload, inputs: &[TensorMetadata]) -> Result<InferRequest, Fault> {
    let header = "send the length of the JSON header (user property or option header_length) with application/octet-stream";
    let [input] = inputs else {
        return Err(Fault::bad_request(format!("the model has {} inputs, so their names are needed: {header}", inputs.len())));
    };
    let row = input
        .shape
        .split_first()
        .and_then(|(batch, row)| Some((*batch, row.iter().map(|d| usize::try_from(*d).ok()).collect::<Option<Vec<usize>>>()?)));
    let bytes = row.as_ref().and_then(|(_, row)| volume(row)?.checked_mul(input.datatype.size()?)).filter(|bytes| *bytes > 0);
    let (Some((batch, row)), Some(bytes)) = (row, bytes) else {
        return Err(Fault::bad_request(format!("input {:?} has no fixed size: {header}", input.name)));
    };
    let rows = payload.bytes.len() / bytes;
    if !payload.bytes.len().is_multiple_of(bytes) || (batch >= 0 && rows as i64 != batch) {
        return Err(Fault::bad_request(format!(
            "{} bytes are no tensor for input {:?} of {:?} {:?}, {bytes} bytes a row; or {header}",
            payload.bytes.len(),
            input.name,
            input.datatype,
            input.shape
        )));
    }
    let shape = [vec![rows], row].concat();
    let tensor = Tensor { name: input.name.clone(), datatype: input.datatype, shape, data: payload.bytes.clone() };
    Ok(InferRequest { id: None, inputs: vec![tensor], outputs: Vec::new() })
}
