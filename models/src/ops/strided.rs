//! Every so-manieth index of an axis (ONNX Slice with steps), in the place of tract's Downsample: its declutter moves that up over what
//! made the tensor, and fails on a Reshape, in which the axis does not exist.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::Downsample;
use tract_onnx::tract_core::ops::array::StridedSlice;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Strided(Downsample);

/// Replaces tract's operator, all over a graph, once its Slices are taken apart.
pub(crate) fn replace(model: &mut TypedModel) -> TractResult<()> {
    let slices: Vec<usize> = model.nodes().iter().filter(|node| node.op_is::<StridedSlice>()).map(|node| node.id).collect();
    for id in slices {
        let node = model.node(id);
        // One whose steps are not known yet stays.
        if let Ok(Some(parts)) = node.op.declutter(model, node) {
            parts.apply(model)?;
        }
    }
    for node in model.nodes_mut() {
        let strided = node.op_as::<Downsample>().filter(|op| op.stride != 1).cloned().map(Strided);
        if let Some(strided) = strided {
            node.op = Box::new(strided);
        }
    }
    Ok(())
}

impl Op for Strided {
    fn name(&self) -> StaticName {
        "Strided".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Strided {
    op_out_of_plan!();

    fn eval(&self, context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        self.0.eval(context, inputs)
    }
}

impl TypedOp for Strided {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        self.0.output_facts(inputs)
    }

    as_op!();
}
