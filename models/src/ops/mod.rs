//! Operators of our own in tract graphs. tract's QuantizeLinear and DequantizeLinear are kept out: its declutter takes what lies
//! between them for pointwise, which makes attention silently wrong.

pub(crate) mod alike;
mod branch;
mod computed_grid;
mod dequantize;
mod fake_quantize;
pub(crate) mod gelu;
mod grid;
pub(crate) mod integers;
mod quantize;
pub(crate) mod recurrent;
pub(crate) mod strided;

use dequantize::Dequantize;
use fake_quantize::FakeQuantize;
use grid::Grid;
use quantize::Quantize;

use tract_onnx::Onnx;
use tract_onnx::tract_core::internal::*;

/// Puts our operators in the place of tract's.
pub(crate) fn register(onnx: &mut Onnx) {
    onnx.op_register.insert("If", branch::read);
    onnx.op_register.insert("QuantizeLinear", quantize::quantize_linear);
    onnx.op_register.insert("DequantizeLinear", dequantize::dequantize_linear);
    integers::register(onnx);
    recurrent::register(onnx);
}

/// Wires a pointwise operator; on a constant input, whatever its size, it becomes a constant.
fn wire(name: &str, model: &mut TypedModel, op: impl TypedOp, input: OutletId) -> TractResult<TVec<OutletId>> {
    if let Some(constant) = model.outlet_fact(input)?.konst.clone() {
        let value = op.eval(&EvalContext::out_of_plan(), tvec!(constant.into_tvalue()))?.remove(0);
        return Ok(tvec!(model.add_const(name, value.into_arc_tensor())?));
    }
    model.wire_node(name, op, &[input])
}
