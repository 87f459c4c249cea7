//! QuantizeLinear and DequantizeLinear whose scale or zero point the graph computes, or its caller gives.

use super::grid::{Along, Grid};
use super::{Dequantize, Quantize};
use tract_onnx::tract_core::internal::*;

/// The typed operator: of a tensor, its scales, and its zero points if there are any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OnComputedGrid {
    /// To integers, or from them.
    pub(crate) quantizes: bool,
    pub(crate) along: Along,
    /// Type of the integers.
    pub(crate) integer: DatumType,
}

impl Op for OnComputedGrid {
    fn name(&self) -> StaticName {
        if self.quantizes { "QuantizeComputed".into() } else { "DequantizeComputed".into() }
    }

    op_as_typed_op!();
}

impl EvalOp for OnComputedGrid {
    op_out_of_plan!();

    fn eval(&self, context: &EvalContext, mut inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let zero = if inputs.len() > 2 { inputs.pop() } else { None };
        let (x, scale) = args_2!(inputs);
        let grid = Grid::new(&scale, zero.as_deref(), self.integer, self.along, x.rank())?;
        if self.quantizes { Quantize(grid).eval(context, tvec!(x)) } else { Dequantize(grid).eval(context, tvec!(x)) }
    }
}

impl TypedOp for OnComputedGrid {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let datum_type = if self.quantizes { self.integer } else { DatumType::F32 };
        Ok(tvec!(datum_type.fact(inputs[0].shape.clone())))
    }
}
