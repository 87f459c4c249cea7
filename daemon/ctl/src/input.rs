//! From a file to a payload.

use anyhow::Context;
use hearth_api::tensor::TensorMetadata;
use hearth_api::{ContentType, Payload};
use std::path::Path;

/// Reads a file; what it is follows from `content_type`, else from its ending, else from its first bytes.
pub fn read(file: &Path, content_type: Option<&str>) -> anyhow::Result<Payload> {
    let bytes = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let ending = file.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    let content_type = match (content_type, ending.as_str()) {
        (Some(text), _) => ContentType::parse(text)?,
        (None, "jpg" | "jpeg") => ContentType::Jpeg,
        (None, "png") => ContentType::Png,
        (None, "wav") => ContentType::Wav,
        (None, "json") => ContentType::Json,
        (None, "txt") => ContentType::Text,
        (None, _) => ContentType::sniff(&bytes)?,
    };
    Ok(Payload { content_type, bytes: bytes.into() })
}

/// One text as it is, or a list of several.
pub fn texts(texts: &[String]) -> Payload {
    match texts {
        [text] => Payload { content_type: ContentType::Text, bytes: text.clone().into() },
        texts => Payload { content_type: ContentType::Json, bytes: serde_json::json!({ "text": texts }).to_string().into() },
    }
}

/// A request of zeros that fits these inputs, with 1 for each dimension that may vary; a mask that hid everything would leave
/// nothing to answer, so it is 1.
pub fn zeros(inputs: &[TensorMetadata]) -> Payload {
    let inputs: Vec<serde_json::Value> = inputs
        .iter()
        .map(|input| {
            let shape: Vec<i64> = input.shape.iter().map(|d| (*d).max(1)).collect();
            let elements = shape.iter().product::<i64>().unsigned_abs() as usize;
            let zero = match input.datatype {
                hearth_api::tensor::Datatype::Bool => serde_json::json!(false),
                _ => serde_json::json!(u8::from(input.name == "attention_mask")),
            };
            serde_json::json!({"name": input.name, "datatype": input.datatype, "shape": shape, "data": vec![zero; elements]})
        })
        .collect();
    Payload { content_type: ContentType::Json, bytes: serde_json::json!({"inputs": inputs}).to_string().into() }
}
