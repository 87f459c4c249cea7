//! QuantizeLinear and DequantizeLinear of one grid in one step: f32 in, the nearest point of the grid out.

use super::Grid;
use hearth_kernels::quant;
use tract_onnx::tract_core::internal::*;

/// The typed operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FakeQuantize(pub(crate) Grid);

impl Op for FakeQuantize {
    fn name(&self) -> StaticName {
        "FakeQuantize".into()
    }

    op_as_typed_op!();
}

impl EvalOp for FakeQuantize {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        // In place, unless someone else still reads the input.
        let mut tensor = args_1!(inputs).into_tensor();
        let shape: TVec<usize> = tensor.shape().into();
        let mut plain = tensor.try_as_plain_ram_mut()?;
        let x = plain.as_slice_mut::<f32>()?;
        self.0.runs(&shape, |range, scale, zero| {
            quant::fake_quantize(&mut x[range], quant::Grid::with_range(scale, zero, self.0.low, self.0.high));
        })?;
        Ok(tvec!(tensor.into_tvalue()))
    }
}

impl TypedOp for FakeQuantize {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].without_value()))
    }

    fn axes_mapping(&self, inputs: &[&TypedFact], outputs: &[&TypedFact]) -> TractResult<AxesMapping> {
        AxesMapping::natural(inputs, outputs)
    }

    fn change_axes(&self, model: &TypedModel, node: &TypedNode, _: InOut, change: &AxisOp) -> TractResult<Option<AxisChangeConsequence>> {
        // One scale for all elements: their order does not matter.
        Ok(self.0.axis.is_none().then(|| AxisChangeConsequence::new(model, node, None, change)))
    }
}
