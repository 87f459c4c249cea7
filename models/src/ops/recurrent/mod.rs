//! LSTM and GRU as single operators: all steps, directions and items of a batch, weights packed for this CPU and held in the
//! operator. `onnx::recurrent` makes the nodes. tract's own scan over a body is slower, and needs the batch to be a number.

mod cell;
mod layer;
mod parse;
mod products;
#[cfg(test)]
mod tests;

use layer::Layer;
use tract_onnx::Onnx;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_hir::internal::*;

/// A layer in a graph, its weights shared by all plans.
#[derive(Debug, Clone)]
pub(crate) struct Recurrent(Arc<Layer>);

impl Recurrent {
    /// Where its weights are, and how many bytes they take.
    pub(crate) fn weights(&self) -> (usize, u64) {
        (Arc::as_ptr(&self.0).addr(), self.0.bytes())
    }
}

impl PartialEq for Recurrent {
    fn eq(&self, other: &Recurrent) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Recurrent {}

impl Op for Recurrent {
    fn name(&self) -> StaticName {
        self.0.name().into()
    }

    op_as_typed_op!();
}

impl EvalOp for Recurrent {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let inputs: TVec<&Tensor> = inputs.iter().map(|input| &**input).collect();
        Ok(self.0.run(&inputs)?.into_iter().map(IntoTValue::into_tvalue).collect())
    }
}

impl TypedOp for Recurrent {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(self.0.shapes(inputs[0].shape.dims())?.into_iter().map(|shape| DatumType::F32.fact(shape)).collect())
    }
}

/// The same in a graph whose shapes are not known yet.
impl Expansion for Recurrent {
    fn name(&self) -> StaticName {
        self.0.name().into()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(self.0.outputs())
    }

    fn rules<'r, 'p: 'r, 's: 'r>(&'s self, s: &mut Solver<'r>, inputs: &'p [TensorProxy], outputs: &'p [TensorProxy]) -> InferenceResult {
        check_input_arity(inputs, self.0.inputs())?;
        check_output_arity(outputs, self.0.outputs())?;
        s.equals(&inputs[0].datum_type, DatumType::F32)?;
        outputs.iter().try_for_each(|output| s.equals(&output.datum_type, DatumType::F32))?;
        s.given(&inputs[0].shape, move |s, shape| {
            outputs.iter().zip(self.0.shapes(&shape)?).try_for_each(|(output, shape)| s.equals(&output.shape, shape))
        })
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, self.clone(), inputs)
    }
}

/// Lets tract read the nodes.
pub(super) fn register(onnx: &mut Onnx) {
    for operator in ["hearth.Lstm", "hearth.Gru"] {
        onnx.op_register
            .insert(operator, |_: &ParsingContext, node: &NodeProto| Ok((expand(Recurrent(Arc::new(parse::layer(node)?))), vec![])));
    }
}
