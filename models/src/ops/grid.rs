//! The grid of a quantized tensor: scales and zero points, for the whole tensor or along one axis, and the range of its integers.

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

/// `real = (integer - zero point) * scale`, with the integer between `low` and `high`.
/// Source: ONNX operators QuantizeLinear and DequantizeLinear, versions 10 to 21.
#[derive(Debug, Clone)]
pub(crate) struct Grid {
    /// One scale, or one for each index along the axis.
    pub(crate) scales: Arc<[f32]>,
    /// As many zero points.
    pub(crate) zeros: Arc<[i32]>,
    /// The axis; `None` where one scale serves the whole tensor.
    pub(crate) axis: Option<usize>,
    /// Type of the integers.
    pub(crate) integer: DatumType,
    /// Least integer.
    pub(crate) low: i32,
    /// Greatest integer.
    pub(crate) high: i32,
}

impl PartialEq for Grid {
    fn eq(&self, other: &Grid) -> bool {
        let bits = |grid: &Grid| grid.scales.iter().map(|s| s.to_bits()).collect::<Vec<_>>();
        self.integer == other.integer && self.axis == other.axis && self.zeros == other.zeros && bits(self) == bits(other)
    }
}

impl Eq for Grid {}

impl Grid {
    /// The grid that a node's constant scale and zero point describe, for a tensor of this rank.
    pub(crate) fn new(scale: &Tensor, zero: Option<&Tensor>, integer: DatumType, axis: i64, rank: usize) -> TractResult<Grid> {
        let scales = scale.try_as_plain_ram()?.as_slice::<f32>()?.to_vec();
        let zeros = match zero {
            Some(zero) => zero.cast_to::<i32>()?.try_as_plain_ram()?.as_slice::<i32>()?.to_vec(),
            None => vec![0; scales.len()],
        };
        ensure!(zeros.len() == scales.len(), "{} scales but {} zero points", scales.len(), zeros.len());
        ensure!(scale.rank() <= 1, "scales of rank {} (blocks): only one scale, or one for each index of an axis", scale.rank());
        let axis = if scales.len() == 1 {
            None
        } else {
            let from_front = if axis < 0 { axis + rank as i64 } else { axis };
            Some(
                usize::try_from(from_front)
                    .ok()
                    .filter(|a| *a < rank)
                    .with_context(|| format!("axis {axis} of a tensor of rank {rank}"))?,
            )
        };
        let (low, high) = match integer {
            DatumType::U8 => (0, 255),
            DatumType::I8 => (-128, 127),
            DatumType::U16 => (0, 65_535),
            DatumType::I16 => (-32_768, 32_767),
            DatumType::I32 => (i32::MIN, i32::MAX),
            other => bail!("quantization to {other:?}: only 8 and 16 bit integers, and i32 to dequantize"),
        };
        Ok(Grid { scales: scales.into(), zeros: zeros.into(), axis, integer, low, high })
    }

    /// Calls `f` with the range of each run of elements that share a scale, with that scale and zero point.
    pub(crate) fn runs(&self, shape: &[usize], mut f: impl FnMut(std::ops::Range<usize>, f32, i32)) -> TractResult<()> {
        let volume: usize = shape.iter().product();
        let Some(axis) = self.axis else {
            f(0..volume, self.scales[0], self.zeros[0]);
            return Ok(());
        };
        ensure!(shape.get(axis) == Some(&self.scales.len()), "{} scales along axis {axis} of shape {shape:?}", self.scales.len());
        let run: usize = shape[axis + 1..].iter().product();
        for (index, start) in (0..volume).step_by(run.max(1)).enumerate() {
            let channel = index % self.scales.len();
            f(start..start + run, self.scales[channel], self.zeros[channel]);
        }
        Ok(())
    }
}

/// The axis attribute, and a refusal of what is not served.
pub(crate) fn axis(node: &NodeProto) -> TractResult<i64> {
    let block = node.get_attr_opt::<i64>("block_size")?.unwrap_or(0);
    ensure!(block == 0, "{} with blocks of {block}: only per tensor or per axis", node.op_type);
    Ok(node.get_attr_opt("axis")?.unwrap_or(1))
}

/// Whether a node has a zero point; an optional input may be present with an empty name.
pub(crate) fn has_zero(node: &NodeProto) -> bool {
    node.input.get(2).is_some_and(|name| !name.is_empty())
}

/// The constant behind an input.
pub(crate) fn constant(model: &TypedModel, outlet: OutletId, what: &str) -> TractResult<Arc<Tensor>> {
    model
        .outlet_fact(outlet)?
        .konst
        .clone()
        .with_context(|| format!("the {what} is computed by the graph; only a constant one is supported"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_follow_the_axis() {
        let grid = Grid::new(&tensor1(&[1f32, 2.]), Some(&tensor1(&[3u8, 4])), DatumType::U8, -2, 3).unwrap();
        let mut seen = vec![];
        grid.runs(&[2, 2, 3], |range, scale, zero| seen.push((range, scale, zero))).unwrap();
        assert_eq!(seen, [(0..3, 1., 3), (3..6, 2., 4), (6..9, 1., 3), (9..12, 2., 4)]);
        assert!(grid.runs(&[2, 3, 3], |_, _, _| ()).is_err());
    }
}
