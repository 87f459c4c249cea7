//! QuantizeLinear: f32 to integers, exactly as ONNX says: `saturate(round half to even(x / scale) + zero point)`.

use super::computed_grid::OnComputedGrid;
use super::grid::{self, Along, Grid};
use hearth_kernels::quant;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_hir::internal::*;

/// One element, for the 16-bit grids that have no kernel.
fn quantize(x: f32, scale: f32, zero: i32, low: i32, high: i32) -> i32 {
    // In f32 the sum is exact wherever it does not saturate.
    ((x / scale).round_ties_even() + zero as f32).clamp(low as f32, high as f32) as i32
}

/// The typed operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Quantize(pub(crate) Grid);

impl Op for Quantize {
    fn name(&self) -> StaticName {
        "Quantize".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Quantize {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let x = input.try_as_plain_ram()?.as_slice::<f32>()?;
        let mut output = Tensor::zero_dt(self.0.integer, input.shape())?;
        macro_rules! fill {
            ($t:ty, |$source:ident, $scale:ident, $zero:ident, $target:ident| $quantize:expr) => {{
                let mut plain = output.try_as_plain_ram_mut()?;
                let y = plain.as_slice_mut::<$t>()?;
                self.0.runs(input.shape(), |range, $scale, zero| {
                    // Of the type of the integers, by the rules of the operator.
                    let ($source, $target, $zero) = (&x[range.clone()], &mut y[range], zero as $t);
                    $quantize
                })?;
            }};
        }
        macro_rules! fill_16 {
            ($t:ty) => {
                fill!($t, |source, scale, zero, target| for (x, y) in source.iter().zip(target) {
                    *y = quantize(*x, scale, zero.into(), self.0.low, self.0.high) as $t;
                })
            };
        }
        match self.0.integer {
            DatumType::U8 => fill!(u8, |source, scale, zero, target| quant::quantize(source, quant::Grid::new(scale, zero), target)),
            DatumType::I8 => fill!(i8, |source, scale, zero, target| quant::quantize(source, quant::Grid::new(scale, zero), target)),
            DatumType::U16 => fill_16!(u16),
            DatumType::I16 => fill_16!(i16),
            other => bail!("QuantizeLinear to {other:?}"),
        }
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for Quantize {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(self.0.integer.fact(inputs[0].shape.clone())))
    }

    fn axes_mapping(&self, inputs: &[&TypedFact], outputs: &[&TypedFact]) -> TractResult<AxesMapping> {
        AxesMapping::natural(inputs, outputs)
    }
}

/// Builds the operator from its node.
pub(crate) fn quantize_linear(_: &ParsingContext, node: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let integer = match node.get_attr_opt::<DatumType>("output_dtype") {
        Ok(Some(datum_type)) => datum_type,
        _ => DatumType::U8,
    };
    Ok((expand(QuantizeLinear { along: Along::of(node)?, has_zero: grid::has_zero(node), integer }), vec![]))
}

#[derive(Debug, Clone)]
struct QuantizeLinear {
    along: Along,
    has_zero: bool,
    /// Type of the output where no zero point tells it.
    integer: DatumType,
}

impl Expansion for QuantizeLinear {
    fn name(&self) -> StaticName {
        "QuantizeLinear".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(&'s self, s: &mut Solver<'r>, inputs: &'p [TensorProxy], outputs: &'p [TensorProxy]) -> InferenceResult {
        check_input_arity(inputs, 2 + usize::from(self.has_zero))?;
        check_output_arity(outputs, 1)?;
        s.equals(&inputs[0].datum_type, f32::datum_type())?;
        s.equals(&inputs[1].datum_type, f32::datum_type())?;
        if self.has_zero {
            s.equals(&outputs[0].datum_type, &inputs[2].datum_type)?;
        } else {
            s.equals(&outputs[0].datum_type, self.integer)?;
        }
        s.equals(&inputs[0].shape, &outputs[0].shape)
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let integer = if self.has_zero { model.outlet_fact(inputs[2])?.datum_type } else { self.integer };
        let rank = model.outlet_fact(inputs[0])?.rank();
        match grid::constants(model, inputs)? {
            Some((scale, zero)) => {
                let op = Quantize(Grid::new(&scale, zero.as_deref(), integer, self.along, rank)?);
                super::wire(prefix, model, op, inputs[0])
            }
            None => model.wire_node(prefix, OnComputedGrid { quantizes: true, along: self.along, integer }, inputs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_go_to_even_and_the_rest_saturates() {
        let q = |x| quantize(x, 0.5, 3, 0, 255);
        assert_eq!([0.25, 0.75, -0.25, -0.75].map(q), [3, 5, 3, 1]);
        assert_eq!([f32::MAX, f32::MIN, 1e9, -1e9].map(q), [255, 0, 255, 0]);
        // 16777217 is no f32: large values must not lose the zero point before they saturate.
        assert_eq!(quantize(-8_388_609.0, 1.0, 127, -128, 127), -128);
    }
}
