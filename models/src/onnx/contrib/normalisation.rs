//! Layer normalisation of sums: of two tensors, and of the embeddings of a text.

use super::parts::Parts;
use crate::onnx::integers::nodes::Attributes as _;
use tract_onnx::pb::tensor_proto::DataType;

/// The sum of two tensors, and maybe a bias, and what normalises it.
pub(super) fn skip_normalization(parts: &mut Parts<'_>, operator: &str) -> Option<()> {
    if parts.output(1).is_some() || parts.output(2).is_some() {
        return None;
    }
    let simple = operator == "SimplifiedLayerNormalization";
    let (beta, bias) = if simple { (None, parts.input(3)) } else { (parts.input(3), parts.input(4)) };
    let mut sum = parts.add("Add", &[parts.input(0)?, parts.input(1)?]);
    if let Some(bias) = bias {
        sum = parts.add("Add", &[&sum, bias]);
    }
    if let Some(name) = parts.output(3) {
        parts.ends_as(name)?;
        sum = name.into();
    }
    normalise(parts, operator, &sum, [Some(parts.input(2)?), beta]);
    parts.ends()
}

fn normalise(parts: &mut Parts<'_>, operator: &str, x: &str, scale_and_bias: [Option<&str>; 2]) {
    let inputs: Vec<&str> = [x].into_iter().chain(scale_and_bias.into_iter().flatten()).collect();
    let epsilon = parts.old.float("epsilon").unwrap_or(1e-12);
    parts.add_with(operator, &inputs, |node| node.with_int("axis", -1).with_float("epsilon", epsilon));
}

/// The embeddings of words, places and segments of a text, and what normalises their sum; `QUANTIZED`, the five tables are of integers,
/// and their scales and zero points are inputs, too.
pub(super) fn embed_layer_normalization<const QUANTIZED: bool>(parts: &mut Parts<'_>) -> Option<()> {
    let ids = parts.input(0)?;
    if let Some(lengths) = parts.output(1) {
        // How many tokens of each text the mask leaves.
        let mask = parts.cast(parts.input(7)?, DataType::Float);
        let counts = parts.add_with("Einsum", &[&mask], |node| node.with_text("equation", "bt->b"));
        parts.cast(&counts, DataType::Int32);
        parts.ends_as(lengths)?;
    }
    // What was taken from the table of this number.
    let real = |parts: &mut Parts<'_>, table: usize, taken: &str| {
        if !QUANTIZED {
            return Some(taken.to_owned());
        }
        let (scale, zero_point) = (parts.input(8 + table)?, parts.input(13 + table)?);
        Some(parts.add("DequantizeLinear", &[taken, scale, zero_point]))
    };
    let words = parts.add("Gather", &[parts.input(2)?, ids]);
    let words = real(parts, 0, &words)?;
    let places = match parts.input(8).filter(|_| !QUANTIZED) {
        Some(places) => parts.add("Gather", &[parts.input(3)?, places]),
        None => {
            let (zero, one, two) = (parts.integers(&[0]), parts.integers(&[1]), parts.integers(&[2]));
            let shape = parts.add("Shape", &[ids]);
            let length = parts.add("Slice", &[&shape, &one, &two, &zero]);
            parts.add("Slice", &[parts.input(3)?, &zero, &length, &zero])
        }
    };
    let places = real(parts, 1, &places)?;
    let mut sum = parts.add("Add", &[&words, &places]);
    if let (Some(segments), Some(table)) = (parts.input(1), parts.input(4)) {
        let segments = parts.add("Gather", &[table, segments]);
        let segments = real(parts, 2, &segments)?;
        sum = parts.add("Add", &[&sum, &segments]);
    }
    if let Some(name) = parts.output(2) {
        parts.ends_as(name)?;
        sum = name.into();
    }
    let scale = real(parts, 3, parts.input(5)?)?;
    let bias = parts.input(6).map_or(Some(None), |bias| real(parts, 4, bias).map(Some))?;
    normalise(parts, "LayerNormalization", &sum, [Some(&scale), bias.as_deref()]);
    parts.ends()
}
