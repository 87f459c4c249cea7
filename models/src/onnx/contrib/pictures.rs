//! Convolutions with what follows them, and operators on pictures with their channels last.

use super::parts::Parts;
use super::products::activation;
use super::rank::rank;
use crate::onnx::integers::nodes::Attributes as _;
use tract_onnx::pb::NodeProto;

/// The attribute that says so.
pub(super) const CHANNELS_LAST: &str = "channels_last";

/// The attributes of a convolution that belong to what follows it.
const ACTIVATION: [&str; 2] = ["activation", "activation_params"];

pub(super) fn fused_conv(parts: &mut Parts<'_>) -> Option<()> {
    let operands: Vec<&str> = (0..3).map_while(|index| parts.input(index)).collect();
    let attributes = parts.attributes(&ACTIVATION);
    let mut result = parts.add_with("Conv", &operands, |node| NodeProto { attribute: attributes, ..node });
    if let Some(sum) = parts.input(3) {
        result = parts.add("Add", &[&result, sum]);
    }
    let parameters = parts.old.get("activation_params").map(|a| a.floats.clone()).unwrap_or_default();
    activation(parts, &result, &parameters)?;
    parts.ends()
}

/// The axes of pictures with their channels last, in the order of those with channels first; and back.
fn perms(rank: i64) -> [Vec<i64>; 2] {
    let first = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
    let last = [0].into_iter().chain(2..rank).chain([1]).collect();
    [first, last]
}

pub(super) fn nhwc_max_pool(parts: &mut Parts<'_>) -> Option<()> {
    let [first, last] = perms(2 + parts.old.ints("kernel_shape")?.len() as i64);
    let x = parts.transposed(parts.input(0)?, &first);
    let attributes = parts.attributes(&[]);
    let pooled = parts.add_with("MaxPool", &[&x], |node| NodeProto { attribute: attributes, ..node });
    parts.transposed(&pooled, &last);
    parts.ends()
}

/// A QLinear operator on pictures with their channels last.
pub(super) fn channels_first(parts: &mut Parts<'_>) -> Option<()> {
    let rank = match parts.old.op_type.as_str() {
        "QLinearConv" => parts.view.input(parts.old, 3)?.dims.len(),
        "QLinearAveragePool" => 2 + parts.old.ints("kernel_shape")?.len(),
        // A pool over whole pictures does not tell of how many axes they are.
        _ => rank(parts.view, parts.input(0)?).unwrap_or(4),
    };
    let [first, last] = perms(rank as i64);
    let x = parts.transposed(parts.input(0)?, &first);
    let mut inputs: Vec<&str> = parts.old.input.iter().map(String::as_str).collect();
    inputs[0] = &x;
    let attributes = parts.attributes(&[CHANNELS_LAST]);
    let made = parts.add_with(&parts.old.op_type, &inputs, |node| NodeProto { attribute: attributes, ..node });
    parts.transposed(&made, &last);
    parts.ends()
}
