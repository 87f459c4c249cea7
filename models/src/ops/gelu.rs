//! GELU by way of the error function, once tract has found it in a graph: its own takes twice as long.

use hearth_kernels::pointwise::{Activation, activate};
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::element_wise::{ElementWiseMiniOp, ElementWiseOp};
use tract_onnx::tract_core::ops::nn::gelu_exact::GeluExact;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Gelu;

impl ElementWiseMiniOp for Gelu {
    fn name(&self) -> String {
        "Gelu".into()
    }

    fn eval_in_place(&self, values: &mut Tensor, _: Option<DatumType>) -> TractResult<()> {
        activate(Activation::Gelu, values.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?);
        Ok(())
    }
}

/// Replaces tract's operators on `f32`, all over an optimised graph.
pub(crate) fn replace(model: &mut TypedModel) {
    for node in model.nodes_mut() {
        let is_gelu = node.op_as::<ElementWiseOp>().is_some_and(|op| op.0.is::<GeluExact>());
        if is_gelu && node.outputs[0].fact.datum_type == DatumType::F32 {
            node.op = Box::new(ElementWiseOp(Box::new(Gelu), None));
        }
    }
}
