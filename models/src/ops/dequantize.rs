//! DequantizeLinear: integers to f32, exactly as ONNX says: `(x - zero point) * scale`. Behind a QuantizeLinear of the same grid
//! it becomes [`FakeQuantize`]; on weights it becomes a constant.

use super::computed_grid::OnComputedGrid;
use super::grid::{self, Along, Grid};
use super::{FakeQuantize, Quantize};
use hearth_kernels::quant;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_hir::internal::*;

/// The typed operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dequantize(pub(crate) Grid);

impl Op for Dequantize {
    fn name(&self) -> StaticName {
        "Dequantize".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Dequantize {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let mut output = Tensor::zero::<f32>(input.shape())?;
        let mut plain = output.try_as_plain_ram_mut()?;
        let y = plain.as_slice_mut::<f32>()?;
        macro_rules! fill {
            ($t:ty, |$source:ident, $scale:ident, $zero:ident, $target:ident| $dequantize:expr) => {{
                let x = input.try_as_plain_ram()?.as_slice::<$t>()?;
                self.0.runs(input.shape(), |range, $scale, $zero| {
                    let ($source, $target) = (&x[range.clone()], &mut y[range]);
                    $dequantize
                })?;
            }};
        }
        macro_rules! fill_wide {
            ($t:ty) => {
                fill!($t, |source, scale, zero, target| for (x, y) in source.iter().zip(target) {
                    *y = i32::from(*x).wrapping_sub(zero) as f32 * scale;
                })
            };
        }
        match self.0.integer {
            // The zero point is of the type of the integers, by the rules of the operator.
            DatumType::U8 => {
                fill!(u8, |source, scale, zero, target| quant::dequantize(source, quant::Grid::new(scale, zero as u8), target))
            }
            DatumType::I8 => {
                fill!(i8, |source, scale, zero, target| quant::dequantize(source, quant::Grid::new(scale, zero as i8), target))
            }
            DatumType::U16 => fill_wide!(u16),
            DatumType::I16 => fill_wide!(i16),
            DatumType::I32 => fill_wide!(i32),
            other => bail!("DequantizeLinear from {other:?}"),
        }
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for Dequantize {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(f32::fact(inputs[0].shape.clone())))
    }

    fn axes_mapping(&self, inputs: &[&TypedFact], outputs: &[&TypedFact]) -> TractResult<AxesMapping> {
        AxesMapping::natural(inputs, outputs)
    }

    fn declutter(&self, model: &TypedModel, node: &TypedNode) -> TractResult<Option<TypedModelPatch>> {
        let before = model.node(node.inputs[0].node);
        let Some(quantize) = before.op_as::<Quantize>() else { return Ok(None) };
        if quantize.0 != self.0 {
            return Ok(None);
        }
        let fake = FakeQuantize(self.0.clone());
        let source = before.inputs[0];
        let mut patch = TypedModelPatch::default();
        // Exporters put one DequantizeLinear for each reader behind a QuantizeLinear: one FakeQuantize serves them all.
        let twin = model.outlet_successors(source).iter().map(|inlet| inlet.node).find(|id| model.node(*id).op_as() == Some(&fake));
        let wire = match twin {
            Some(twin) => patch.tap_model(model, twin.into())?,
            None => {
                let source = patch.tap_model(model, source)?;
                patch.wire_node(&node.name, fake, &[source])?[0]
            }
        };
        patch.shunt_outside(model, node.id.into(), wire)?;
        Ok(Some(patch))
    }
}

/// Builds the operator from its node.
pub(crate) fn dequantize_linear(_: &ParsingContext, node: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    Ok((expand(DequantizeLinear { along: Along::of(node)?, has_zero: grid::has_zero(node) }), vec![]))
}

#[derive(Debug, Clone)]
struct DequantizeLinear {
    along: Along,
    has_zero: bool,
}

impl Expansion for DequantizeLinear {
    fn name(&self) -> StaticName {
        "DequantizeLinear".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(&'s self, s: &mut Solver<'r>, inputs: &'p [TensorProxy], outputs: &'p [TensorProxy]) -> InferenceResult {
        check_input_arity(inputs, 2 + usize::from(self.has_zero))?;
        check_output_arity(outputs, 1)?;
        s.equals(&inputs[1].datum_type, f32::datum_type())?;
        s.equals(&outputs[0].datum_type, f32::datum_type())?;
        if self.has_zero {
            s.equals(&inputs[0].datum_type, &inputs[2].datum_type)?;
        }
        s.equals(&inputs[0].shape, &outputs[0].shape)
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let fact = model.outlet_fact(inputs[0])?;
        match grid::constants(model, inputs)? {
            Some((scale, zero)) => {
                let op = Dequantize(Grid::new(&scale, zero.as_deref(), fact.datum_type, self.along, fact.rank())?);
                super::wire(prefix, model, op, inputs[0])
            }
            None => {
                let integer = fact.datum_type;
                model.wire_node(prefix, OnComputedGrid { quantizes: false, along: self.along, integer }, inputs)
            }
        }
    }
}
