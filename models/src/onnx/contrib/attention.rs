//! Attention whose questions, keys and values are made by one product.

use super::parts::Parts;
use super::products::IntegerProduct;
use super::rank::rank;
use crate::onnx::integers::nodes::{Attributes as _, constant};
use tract_onnx::pb::TensorProto;
use tract_onnx::pb::tensor_proto::DataType;

pub(super) fn attention(parts: &mut Parts<'_>) -> Option<()> {
    let (x, weights) = (parts.input(0)?, parts.view.input(parts.old, 1)?);
    let bias = parts.input(2).map(|bias| parts.view.constant(bias)).map_or(Some(None), |bias| bias.map(Some))?;
    if [4, 6, 7].into_iter().any(|index| parts.input(index).is_some()) || parts.is_set("do_rotary") {
        return None;
    }
    let projected = |parts: &mut Parts<'_>, columns: [usize; 3]| {
        let weights = parts.constant(some_columns(weights, columns)?);
        let product = parts.add("MatMul", &[x, &weights]);
        let Some(bias) = bias else { return Some(product) };
        let bias = parts.constant(some_columns(bias, columns)?);
        Some(parts.add("Add", &[&product, &bias]))
    };
    heads(parts, weights, [3, 5], projected)
}

pub(super) fn quantized_attention(parts: &mut Parts<'_>) -> Option<()> {
    let (x, weights) = (parts.input(0)?, parts.view.input(parts.old, 1)?);
    let bias = parts.input(2).map(|bias| parts.view.constant(bias)).map_or(Some(None), |bias| bias.map(Some))?;
    let (scale, weight_scale, zero) = (parts.input(3)?, parts.view.input(parts.old, 4)?, parts.input(6));
    let weight_zero = parts.input(7).map(|zero| parts.view.constant(zero)).map_or(Some(None), |zero| zero.map(Some))?;
    if parts.input(8).is_some() || parts.is_set("do_rotary") {
        return None;
    }
    let projected = |parts: &mut Parts<'_>, columns: [usize; 3]| {
        let mut own = |tensor: &TensorProto| Some(parts.constant(some_columns(tensor, columns)?));
        let (weights, weight_scale) = (own(weights)?, own(weight_scale)?);
        let weight_zero = weight_zero.map_or(Some(None), |zero| own(zero).map(Some))?;
        let bias = bias.map_or(Some(None), |bias| own(bias).map(Some))?;
        let product = IntegerProduct {
            operands: [x, &weights],
            scales: [scale, &weight_scale],
            zero_points: [zero, weight_zero.as_deref()],
            bias: bias.as_deref(),
        };
        Some(product.add_to(parts))
    };
    heads(parts, weights, [5, usize::MAX], projected)
}

/// Of a constant whose last axis counts `columns[2]`, those from `columns[0]` up to `columns[1]`; all of one number.
fn some_columns(tensor: &TensorProto, [start, end, all]: [usize; 3]) -> Option<TensorProto> {
    let count = tensor.dims.iter().product::<i64>();
    if count == 1 {
        return Some(tensor.clone());
    }
    let width = tensor.raw_data.len().checked_div(usize::try_from(count).ok()?)?;
    if tensor.dims.last() != Some(&(all as i64)) || width == 0 {
        return None;
    }
    let mut dims = tensor.dims.clone();
    *dims.last_mut()? = (end - start) as i64;
    let raw_data = tensor.raw_data.chunks_exact(all * width).flat_map(|row| &row[start * width..end * width]).copied().collect();
    Some(TensorProto { dims, raw_data, ..tensor.clone() })
}

/// Attention of the heads to whose questions, keys and values the columns of `weights` are made by `projected`; where a mask and what is
/// added to the products are among the inputs.
fn heads(
    parts: &mut Parts<'_>,
    weights: &TensorProto,
    [mask, added]: [usize; 2],
    projected: impl Fn(&mut Parts<'_>, [usize; 3]) -> Option<String>,
) -> Option<()> {
    if parts.output(1).is_some() || parts.is_set("unidirectional") {
        return None;
    }
    let all = usize::try_from(*weights.dims.last()?).ok()?;
    let count = usize::try_from(parts.old.int("num_heads")?).ok().filter(|count| *count > 0)?;
    let sizes = match parts.old.ints("qkv_hidden_sizes") {
        Some(&[query, key, value]) => [query, key, value].map(|size| usize::try_from(size).unwrap_or(0)),
        Some(_) => return None,
        None => [all / 3; 3],
    };
    let whole = sizes.iter().all(|size| (1..=all).contains(size) && size % count == 0) && sizes.iter().sum::<usize>() == all;
    if !whole || sizes[0] != sizes[1] {
        return None;
    }
    let mut start = 0;
    let mut made = Vec::new();
    // Keys are turned for the product.
    for (size, perm) in sizes.into_iter().zip([[0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]]) {
        let flat = projected(parts, [start, start + size, all])?;
        start += size;
        let split = parts.reshaped(&flat, &[0, 0, count as i64, (size / count) as i64]);
        made.push(parts.transposed(&split, &perm));
    }
    let products = parts.add("MatMul", &[&made[0], &made[1]]);
    let scale = parts.old.float("scale").filter(|scale| *scale != 0.0).unwrap_or(1.0 / ((sizes[0] / count) as f32).sqrt());
    let scale = parts.float(scale);
    let mut scores = parts.add("Mul", &[&products, &scale]);
    if let Some(mask) = parts.input(mask) {
        let mask = unmasked(parts, mask)?;
        let (one, filter) = (parts.float(1.0), parts.float(parts.old.float("mask_filter_value").unwrap_or(-10_000.0)));
        let masked = parts.add("Sub", &[&one, &mask]);
        let masked = parts.add("Mul", &[&masked, &filter]);
        scores = parts.add("Add", &[&scores, &masked]);
    }
    if let Some(added) = parts.input(added) {
        scores = parts.add("Add", &[&scores, added]);
    }
    let shares = parts.add_with("Softmax", &[&scores], |node| node.with_int("axis", -1));
    let mixed = parts.add("MatMul", &[&shares, &made[2]]);
    let mixed = parts.transposed(&mixed, &[0, 2, 1, 3]);
    parts.reshaped(&mixed, &[0, 0, sizes[2] as i64]);
    parts.ends()
}

/// 1 where a token counts and 0 where not, as `[batch, 1, 1, tokens]` of floats: from a mask of that, or from the lengths of texts.
fn unmasked(parts: &mut Parts<'_>, mask: &str) -> Option<String> {
    let mask = match rank(parts.view, mask)? {
        2 => parts.cast(mask, DataType::Float),
        1 => {
            let [zero, one] = [0i64, 1].map(|value| parts.constant(constant("", DataType::Int64, &[], value.to_le_bytes().into())));
            let shape = parts.add("Shape", &[parts.input(0)?]);
            let tokens = parts.add("Gather", &[&shape, &one]);
            let places = parts.add("Range", &[&zero, &tokens, &one]);
            let lengths = parts.cast(mask, DataType::Int64);
            let lengths = parts.reshaped(&lengths, &[-1, 1]);
            let counts = parts.add("Less", &[&places, &lengths]);
            parts.cast(&counts, DataType::Float)
        }
        _ => return None,
    };
    Some(parts.reshaped(&mask, &[0, 1, 1, -1]))
}
