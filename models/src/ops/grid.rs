//! The grid of a quantized tensor: scales and zero points, for the whole tensor, along one axis, or for blocks along one, and the
//! range of its integers.

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

/// `real = (integer - zero point) * scale`, with the integer between `low` and `high`.
/// Source: ONNX operators QuantizeLinear and DequantizeLinear, versions 10 to 21.
#[derive(Debug, Clone)]
pub(crate) struct Grid {
    /// One scale, or one for each index along the axis, or, with blocks, one for each block at each place of the other axes.
    pub(crate) scales: Arc<[f32]>,
    /// As many zero points.
    pub(crate) zeros: Arc<[i32]>,
    /// The axis; `None` where one scale serves the whole tensor.
    pub(crate) axis: Option<usize>,
    /// Neighbours along the axis that share a scale; 0 without blocks.
    block: usize,
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
        self.integer == other.integer
            && self.axis == other.axis
            && self.block == other.block
            && self.zeros == other.zeros
            && bits(self) == bits(other)
    }
}

impl Eq for Grid {}

impl Grid {
    /// The grid that a scale and a zero point describe, for a tensor of this rank.
    pub(crate) fn new(scale: &Tensor, zero: Option<&Tensor>, integer: DatumType, along: Along, rank: usize) -> TractResult<Grid> {
        let scales = scale.try_as_plain_ram()?.as_slice::<f32>()?.to_vec();
        let zeros = match zero {
            Some(zero) => zero.cast_to::<i32>()?.try_as_plain_ram()?.as_slice::<i32>()?.to_vec(),
            None => vec![0; scales.len()],
        };
        ensure!(zeros.len() == scales.len(), "{} scales but {} zero points", scales.len(), zeros.len());
        let Along { axis, block } = along;
        ensure!(block > 0 || scale.rank() <= 1, "scales of rank {} without block_size", scale.rank());
        ensure!(block == 0 || scale.rank() == rank, "blocks of {block} with scales of rank {} for a tensor of rank {rank}", scale.rank());
        let axis = if scales.len() == 1 && block == 0 {
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
        Ok(Grid { scales: scales.into(), zeros: zeros.into(), axis, block, integer, low, high })
    }

    /// [`runs`](Grid::runs) for scales of blocks: those of a shape that is this one but for the axis.
    fn blocks(&self, shape: &[usize], axis: usize, mut f: impl FnMut(std::ops::Range<usize>, f32, i32)) -> TractResult<()> {
        let (size, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
        let (outer, count) = (shape[..axis].iter().product::<usize>(), size.div_ceil(self.block));
        ensure!(
            self.scales.len() == outer * count * inner,
            "{} scales for blocks of {} along axis {axis} of {shape:?}",
            self.scales.len(),
            self.block
        );
        for (index, start) in (0..outer * size * inner).step_by(inner.max(1)).enumerate() {
            let scales = (index / size * count + index % size / self.block) * inner;
            for at in 0..inner {
                f(start + at..start + at + 1, self.scales[scales + at], self.zeros[scales + at]);
            }
        }
        Ok(())
    }

    /// Calls `f` with the range of each run of elements that share a scale, with that scale and zero point.
    pub(crate) fn runs(&self, shape: &[usize], mut f: impl FnMut(std::ops::Range<usize>, f32, i32)) -> TractResult<()> {
        let volume: usize = shape.iter().product();
        let Some(axis) = self.axis else {
            f(0..volume, self.scales[0], self.zeros[0]);
            return Ok(());
        };
        if self.block > 0 {
            return self.blocks(shape, axis, f);
        }
        ensure!(shape.get(axis) == Some(&self.scales.len()), "{} scales along axis {axis} of shape {shape:?}", self.scales.len());
        let run: usize = shape[axis + 1..].iter().product();
        for (index, start) in (0..volume).step_by(run.max(1)).enumerate() {
            let channel = index % self.scales.len();
            f(start..start + run, self.scales[channel], self.zeros[channel]);
        }
        Ok(())
    }
}

/// Along what scales differ: attributes of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Along {
    /// Counted from the end where it is negative.
    pub(crate) axis: i64,
    /// Neighbours that share a scale; 0 without blocks.
    pub(crate) block: usize,
}

impl Along {
    pub(crate) fn of(node: &NodeProto) -> TractResult<Along> {
        let block = node.get_attr_opt::<i64>("block_size")?.unwrap_or(0);
        let block = usize::try_from(block).ok().with_context(|| format!("{} with blocks of {block}", node.op_type))?;
        Ok(Along { axis: node.get_attr_opt("axis")?.unwrap_or(1), block })
    }
}

/// Whether a node has a zero point; an optional input may be present with an empty name.
pub(crate) fn has_zero(node: &NodeProto) -> bool {
    node.input.get(2).is_some_and(|name| !name.is_empty())
}

/// A scale, and a zero point where there is one.
type Constants = (Arc<Tensor>, Option<Arc<Tensor>>);

/// The constants behind the scale and the zero point of a node, if they are known before the graph runs.
pub(crate) fn constants(model: &TypedModel, inputs: &[OutletId]) -> TractResult<Option<Constants>> {
    let constants = inputs[1..].iter().map(|outlet| Ok(model.outlet_fact(*outlet)?.konst.clone())).collect::<TractResult<Vec<_>>>()?;
    Ok(match constants.as_slice() {
        [Some(scale)] => Some((scale.clone(), None)),
        [Some(scale), Some(zero)] => Some((scale.clone(), Some(zero.clone()))),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_follow_the_axis() {
        let grid = Grid::new(&tensor1(&[1f32, 2.]), Some(&tensor1(&[3u8, 4])), DatumType::U8, Along { axis: -2, block: 0 }, 3).unwrap();
        let mut seen = vec![];
        grid.runs(&[2, 2, 3], |range, scale, zero| seen.push((range, scale, zero))).unwrap();
        assert_eq!(seen, [(0..3, 1., 3), (3..6, 2., 4), (6..9, 1., 3), (9..12, 2., 4)]);
        assert!(grid.runs(&[2, 3, 3], |_, _, _| ()).is_err());
    }

    #[test]
    fn blocks_may_be_cut_short() {
        let scales = tensor2(&[[1f32, 2.], [3., 4.]]);
        let mut seen = vec![];
        let grid = Grid::new(&scales, None, DatumType::I8, Along { axis: 1, block: 2 }, 2).unwrap();
        grid.runs(&[2, 3], |range, scale, _| seen.push((range.start, scale))).unwrap();
        assert_eq!(seen, [(0, 1.), (1, 1.), (2, 2.), (3, 3.), (4, 3.), (5, 4.)]);
        let mut seen = vec![];
        let grid = Grid::new(&scales, None, DatumType::I8, Along { axis: 0, block: 2 }, 2).unwrap();
        grid.runs(&[3, 2], |range, scale, _| seen.push((range.start, scale))).unwrap();
        assert_eq!(seen, [(0, 1.), (1, 2.), (2, 1.), (3, 2.), (4, 3.), (5, 4.)]);
    }
}
