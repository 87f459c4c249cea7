//! Element by element: sums and products of two tensors, and functions of one as a table.

use super::{Compute, byte, table};
use crate::onnx::integers::nodes::Attributes as _;
use hearth_kernels::pointwise;
use hearth_kernels::quant::Target;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::broadcast::multi_broadcast;
use tract_onnx::tract_core::internal::*;

/// Of two tensors.
#[derive(Debug)]
pub(super) enum Pairwise {
    Sum(pointwise::Sum),
    Product(pointwise::Product),
}

#[derive(Debug)]
pub(super) struct Table(pointwise::Lookup);

fn target(node: &NodeProto) -> TractResult<Target> {
    Ok(Target { zero_point: byte(node, "zero_point")?, low: byte(node, "low")?, high: byte(node, "high")? })
}

fn zero_points(node: &NodeProto) -> TractResult<[i8; 2]> {
    let list: Vec<i8> = node.ints("zero_points").into_iter().flatten().filter_map(|z| i8::try_from(*z).ok()).collect();
    list.try_into().ok().with_context(|| format!("{} without two zero points", node.op_type))
}

fn multipliers<const N: usize>(node: &NodeProto) -> TractResult<[f32; N]> {
    let list = node.get("multipliers").map(|a| a.floats.clone()).unwrap_or_default();
    list.try_into().ok().with_context(|| format!("{} without {N} multipliers", node.op_type))
}

impl Pairwise {
    pub(super) fn sum(node: &NodeProto) -> TractResult<Pairwise> {
        let unsigned = node.int("unsigned").unwrap_or(0) != 0;
        Ok(Pairwise::Sum(pointwise::Sum::new(zero_points(node)?, multipliers(node)?, target(node)?, unsigned)))
    }

    pub(super) fn product(node: &NodeProto) -> TractResult<Pairwise> {
        let [multiplier] = multipliers(node)?;
        Ok(Pairwise::Product(pointwise::Product { zero_points: zero_points(node)?, multiplier, target: target(node)? }))
    }
}

impl Table {
    pub(super) fn new(node: &NodeProto) -> TractResult<Table> {
        Ok(Table(table(node)?))
    }
}

/// Brings two operands to a form in which `b` is `a`'s size, or repeats within it; `swapped` where `a` is the file's second.
fn paired(inputs: &[&Tensor], shape: &[usize], compute: impl FnOnce(&[i8], &[i8], bool) -> TractResult<()>) -> TractResult<()> {
    let repeats = |small: &Tensor| {
        let rest: TVec<usize> = small.shape().iter().copied().skip_while(|d| *d == 1).collect();
        shape.ends_with(&rest)
    };
    let (a, b) = (inputs[0], inputs[1]);
    let slice = |tensor: &Tensor| -> TractResult<Vec<i8>> { Ok(tensor.try_as_plain_ram()?.as_slice::<i8>()?.to_vec()) };
    if a.shape() == shape && repeats(b) {
        return compute(a.try_as_plain_ram()?.as_slice()?, b.try_as_plain_ram()?.as_slice()?, false);
    }
    if b.shape() == shape && repeats(a) {
        return compute(b.try_as_plain_ram()?.as_slice()?, a.try_as_plain_ram()?.as_slice()?, true);
    }
    let (a, b) = (slice(&a.broadcast_to_shape(shape)?)?, slice(&b.broadcast_to_shape(shape)?)?);
    compute(&a, &b, false)
}

impl Compute for Pairwise {
    fn name(&self) -> &'static str {
        match self {
            Pairwise::Sum(_) => "Sum",
            Pairwise::Product(_) => "Product",
        }
    }

    fn inputs(&self) -> usize {
        2
    }

    fn output(&self, _: DatumType, shapes: &[&[TDim]]) -> TractResult<(DatumType, TVec<TDim>)> {
        Ok((DatumType::I8, multi_broadcast(shapes)?))
    }

    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()> {
        let shape: TVec<usize> = output.shape().into();
        let mut plain = output.try_as_plain_ram_mut()?;
        let out = plain.as_slice_mut::<i8>()?;
        paired(inputs, &shape, |a, b, swapped| {
            match *self {
                Pairwise::Sum(sum) => pointwise::add(a, b, &if swapped { sum.swapped() } else { sum }, out),
                Pairwise::Product(mut product) => {
                    if swapped {
                        product.zero_points.reverse();
                    }
                    pointwise::multiply(a, b, &product, out);
                }
            }
            Ok(())
        })
    }
}

impl Compute for Table {
    fn name(&self) -> &'static str {
        "Lookup"
    }

    fn output(&self, _: DatumType, shapes: &[&[TDim]]) -> TractResult<(DatumType, TVec<TDim>)> {
        Ok((DatumType::I8, shapes[0].into()))
    }

    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()> {
        let mut plain = output.try_as_plain_ram_mut()?;
        let out = plain.as_slice_mut::<i8>()?;
        out.copy_from_slice(inputs[0].try_as_plain_ram()?.as_slice::<i8>()?);
        self.0.apply(out);
        Ok(())
    }
}
