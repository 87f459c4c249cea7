//! What becomes of the sums of a product, as its node says: `i8` on a grid, or `f32`.

use super::{byte, table, words};
use crate::onnx::integers::nodes::{Attributes as _, to_floats};
use hearth_kernels::linear;
use hearth_kernels::pointwise::Lookup;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::internal::*;

#[derive(Debug)]
pub(super) enum Finish {
    Requantize { offset: Vec<i32>, multiplier: Vec<f32>, zero_point: i8, low: i8, high: i8, table: Option<Box<Lookup>> },
    Float { offset: Vec<i32>, scale: Vec<f32>, bias: Vec<f32> },
}

impl Finish {
    /// For a node with so many outputs.
    pub(super) fn new(node: &NodeProto, outputs: usize) -> TractResult<Finish> {
        let list = |name: &str| {
            let list = node.get(name).and_then(|a| a.t.as_ref()).and_then(to_floats);
            list.filter(|list| list.len() == outputs).with_context(|| format!("{} without {outputs} {name}", node.op_type))
        };
        let offset = words(node, "offset")?;
        ensure!(offset.len() == outputs, "{} without {outputs} offsets", node.op_type);
        Ok(if node.get("multiplier").is_some() {
            let (zero_point, low, high) = (byte(node, "zero_point")?, byte(node, "low")?, byte(node, "high")?);
            let table = if node.get("table").is_some() { Some(Box::new(table(node)?)) } else { None };
            Finish::Requantize { offset, multiplier: list("multiplier")?, zero_point, low, high, table }
        } else {
            Finish::Float { offset, scale: list("scale")?, bias: list("bias")? }
        })
    }

    pub(super) fn datum_type(&self) -> DatumType {
        match self {
            Finish::Requantize { .. } => DatumType::I8,
            Finish::Float { .. } => DatumType::F32,
        }
    }

    /// The kernels' form where the result is `i8`.
    pub(super) fn requantize(&self) -> Option<linear::Requantize<'_>> {
        match self {
            Finish::Requantize { offset, multiplier, zero_point, low, high, table } => Some(linear::Requantize {
                bias: offset,
                multiplier,
                zero_point: *zero_point,
                low: *low,
                high: *high,
                table: table.as_deref(),
            }),
            Finish::Float { .. } => None,
        }
    }

    /// The kernels' form where the result is `f32`.
    pub(super) fn float(&self) -> Option<linear::Float<'_>> {
        match self {
            Finish::Float { offset, scale, bias } => {
                Some(linear::Float { offset, scale, row_scale: &[], bias, limits: linear::Float::FREE })
            }
            Finish::Requantize { .. } => None,
        }
    }
}
