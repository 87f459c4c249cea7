//! Products of matrices with what is before and after them.

use super::parts::Parts;
use super::rank::rank;
use crate::onnx::integers::nodes::{Attributes as _, node};
use tract_onnx::pb::NodeProto;
use tract_onnx::pb::tensor_proto::DataType;

/// A product of integers made real: activations and weights, with scales and maybe zero points, and a bias.
pub(super) struct IntegerProduct<'a> {
    pub(super) operands: [&'a str; 2],
    pub(super) scales: [&'a str; 2],
    pub(super) zero_points: [Option<&'a str>; 2],
    pub(super) bias: Option<&'a str>,
}

impl IntegerProduct<'_> {
    pub(super) fn add_to(&self, parts: &mut Parts<'_>) -> String {
        let zero_points = self.zero_points.map(Option::unwrap_or_default);
        let sums = parts.add("MatMulInteger", &[self.operands[0], self.operands[1], zero_points[0], zero_points[1]]);
        let sums = parts.cast(&sums, DataType::Float);
        let scale = parts.add("Mul", &self.scales);
        let product = parts.add("Mul", &[&sums, &scale]);
        match self.bias {
            Some(bias) => parts.add("Add", &[&product, bias]),
            None => product,
        }
    }
}

pub(super) fn dynamic_quantize_mat_mul(parts: &mut Parts<'_>) -> Option<()> {
    let (x, weights, scale) = (parts.input(0)?, parts.input(1)?, parts.input(2)?);
    let [integers, own_scale, own_zero] = ["integers", "scale", "zero_point"].map(|what| format!("{}/{what}", parts.old.output[0]));
    parts.nodes.push(node("DynamicQuantizeLinear", &[x], &[&integers, &own_scale, &own_zero]));
    let product = IntegerProduct {
        operands: [&integers, weights],
        scales: [&own_scale, scale],
        zero_points: [Some(&own_zero), parts.input(3)],
        bias: parts.input(4),
    };
    product.add_to(parts);
    parts.ends()
}

pub(super) fn mat_mul_integer_to_float(parts: &mut Parts<'_>) -> Option<()> {
    let product = IntegerProduct {
        operands: [parts.input(0)?, parts.input(1)?],
        scales: [parts.input(2)?, parts.input(3)?],
        zero_points: [parts.input(4), parts.input(5)],
        bias: parts.input(6),
    };
    product.add_to(parts);
    parts.ends()
}

pub(super) fn fused_mat_mul(parts: &mut Parts<'_>) -> Option<()> {
    if parts.is_set("transBatchA") || parts.is_set("transBatchB") {
        return None;
    }
    let mut operands = [parts.input(0)?.to_owned(), parts.input(1)?.to_owned()];
    for (operand, transposed) in operands.iter_mut().zip(["transA", "transB"]) {
        // One of rank 1 stays.
        if parts.is_set(transposed) {
            let rank = rank(parts.view, operand)? as i64;
            if rank > 1 {
                let perm: Vec<i64> = (0..rank - 2).chain([rank - 1, rank - 2]).collect();
                *operand = parts.transposed(operand, &perm);
            }
        }
    }
    let product = parts.add("MatMul", &[&operands[0], &operands[1]]);
    let alpha = parts.old.float("alpha").unwrap_or(1.0);
    if alpha != 1.0 {
        let alpha = parts.float(alpha);
        parts.add("Mul", &[&product, &alpha]);
    }
    parts.ends()
}

pub(super) fn fused_gemm(parts: &mut Parts<'_>) -> Option<()> {
    let operands: Vec<&str> = (0..3).map_while(|index| parts.input(index)).collect();
    let named = ["activation_alpha", "activation_beta", "activation_gamma"];
    let attributes = parts.attributes(&[&["activation"], &named[..]].concat());
    let result = parts.add_with("Gemm", &operands, |node| NodeProto { attribute: attributes, ..node });
    let parameters: Vec<f32> = named.iter().map_while(|name| parts.old.float(name)).collect();
    activation(parts, &result, &parameters)?;
    parts.ends()
}

/// Adds what the attribute `activation` names.
pub(super) fn activation(parts: &mut Parts<'_>, input: &str, parameters: &[f32]) -> Option<()> {
    match (parts.old.text("activation").unwrap_or_default(), parameters) {
        (plain @ ("Relu" | "Sigmoid" | "Tanh"), _) => _ = parts.add(plain, &[input]),
        ("LeakyRelu", [alpha, ..]) => _ = parts.add_with("LeakyRelu", &[input], |node| node.with_float("alpha", *alpha)),
        ("HardSigmoid", [alpha, beta, ..]) => {
            parts.add_with("HardSigmoid", &[input], |node| node.with_float("alpha", *alpha).with_float("beta", *beta));
        }
        ("Clip", [low, high, ..]) => {
            let (low, high) = (parts.float(*low), parts.float(*high));
            parts.add("Clip", &[input, &low, &high]);
        }
        ("", _) => {}
        _ => return None,
    }
    Some(())
}
