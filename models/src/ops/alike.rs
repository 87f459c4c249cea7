//! Sums, differences and products of two float tensors of one shape. Where tract cannot tell from open sizes that two shapes are equal,
//! it calls a function for each element, which takes a tenth of an encoder's time.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Add,
    Subtract,
    Multiply,
}

/// tract's operator, but for operands that turn out to be alike.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Alike {
    kind: Kind,
    any: TypedBinOp,
}

/// Replaces tract's operators, all over an optimised graph.
pub(crate) fn replace(model: &mut TypedModel) {
    for node in model.nodes_mut() {
        let Some(any) = node.op_as::<TypedBinOp>().filter(|_| node.outputs[0].fact.datum_type == DatumType::F32) else { continue };
        let kind = match any.0.name() {
            "Add" => Kind::Add,
            "Sub" => Kind::Subtract,
            "Mul" => Kind::Multiply,
            _ => continue,
        };
        node.op = Box::new(Alike { kind, any: any.clone() });
    }
}

impl Op for Alike {
    fn name(&self) -> StaticName {
        self.any.name()
    }

    op_as_typed_op!();
}

impl EvalOp for Alike {
    op_out_of_plan!();

    fn eval(&self, context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        if inputs[0].shape() != inputs[1].shape() || inputs.iter().any(|input| input.datum_type() != DatumType::F32) {
            return self.any.eval(context, inputs);
        }
        let (a, b) = args_2!(inputs);
        // In place, unless someone else still reads the first.
        let mut a = a.into_tensor();
        let mut plain = a.try_as_plain_ram_mut()?;
        let pairs = plain.as_slice_mut::<f32>()?.iter_mut().zip(b.try_as_plain_ram()?.as_slice::<f32>()?);
        match self.kind {
            Kind::Add => pairs.for_each(|(a, b)| *a += b),
            Kind::Subtract => pairs.for_each(|(a, b)| *a -= b),
            Kind::Multiply => pairs.for_each(|(a, b)| *a *= b),
        }
        Ok(tvec!(a.into_tvalue()))
    }
}

impl TypedOp for Alike {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        self.any.output_facts(inputs)
    }

    as_op!();
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::tract_core::ops::binary::BinMiniOp;
    use tract_onnx::tract_core::ops::math::{Add, Mul, Sub};

    #[test]
    fn operands_of_one_shape_and_of_others_give_what_tract_gives() {
        let a = tensor2(&[[1.0f32, 2.0], [3.0, 5.0]]);
        for b in [tensor2(&[[0.5f32, -2.0], [4.0, 0.25]]), tensor2(&[[0.5f32], [4.0]])] {
            let operators: [(Kind, Box<dyn BinMiniOp>); 3] =
                [(Kind::Add, Box::new(Add)), (Kind::Subtract, Box::new(Sub)), (Kind::Multiply, Box::new(Mul))];
            for (kind, operator) in operators {
                let any = TypedBinOp(operator, None);
                let operands = || tvec!(a.clone().into_tvalue(), b.clone().into_tvalue());
                let expected = any.eval(&EvalContext::out_of_plan(), operands()).unwrap();
                let found = Alike { kind, any }.eval(&EvalContext::out_of_plan(), operands()).unwrap();
                assert_eq!(found[0], expected[0], "{kind:?}");
            }
        }
    }
}
