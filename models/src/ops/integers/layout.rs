//! Where values lie: channels moved to the end and back, and pixels repeated.

use super::{Compute, pair, picture, sizes};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::internal::*;

/// Side of the squares in which a matrix is transposed: both sides of one stay in the cache.
const SQUARE: usize = 16;

/// `[batch, channels, ...]` to `[batch, ..., channels]`.
#[derive(Debug)]
pub(super) struct ChannelsLast;

/// `[batch, ..., channels]` to `[batch, channels, ...]`.
#[derive(Debug)]
pub(super) struct ChannelsFirst;

impl Compute for ChannelsLast {
    fn name(&self) -> &'static str {
        "ChannelsLast"
    }

    fn output(&self, datum_type: DatumType, shapes: &[&[TDim]]) -> TractResult<(DatumType, TVec<TDim>)> {
        let mut shape: TVec<TDim> = shapes[0].into();
        ensure!(shape.len() >= 2, "channels of a tensor of rank {}", shape.len());
        shape[1..].rotate_left(1);
        Ok((datum_type, shape))
    }

    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()> {
        let shape = inputs[0].shape();
        transpose(inputs[0], output, shape[0], shape[1], shape[2..].iter().product())
    }
}

impl Compute for ChannelsFirst {
    fn name(&self) -> &'static str {
        "ChannelsFirst"
    }

    fn output(&self, datum_type: DatumType, shapes: &[&[TDim]]) -> TractResult<(DatumType, TVec<TDim>)> {
        let mut shape: TVec<TDim> = shapes[0].into();
        ensure!(shape.len() >= 2, "channels of a tensor of rank {}", shape.len());
        shape[1..].rotate_right(1);
        Ok((datum_type, shape))
    }

    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()> {
        let [batch, inner @ .., channels] = inputs[0].shape() else { bail!("channels of a tensor of rank 1") };
        transpose(inputs[0], output, *batch, inner.iter().product(), *channels)
    }
}

/// Transposes `batch` matrices of `rows x columns`.
fn transpose(input: &Tensor, output: &mut Tensor, batch: usize, rows: usize, columns: usize) -> TractResult<()> {
    fn of<T: Datum + Copy>(input: &Tensor, output: &mut Tensor, batch: usize, rows: usize, columns: usize) -> TractResult<()> {
        let (x, mut plain) = (input.try_as_plain_ram()?, output.try_as_plain_ram_mut()?);
        let (x, y) = (x.as_slice::<T>()?, plain.as_slice_mut::<T>()?);
        if rows == 1 || columns == 1 {
            y.copy_from_slice(x);
            return Ok(());
        }
        let size = (rows * columns).max(1);
        for (x, y) in x.chunks_exact(size).zip(y.chunks_exact_mut(size)).take(batch) {
            transpose_matrix(x, [rows, columns], columns, y);
        }
        Ok(())
    }
    match input.datum_type() {
        DatumType::I8 => of::<i8>(input, output, batch, rows, columns),
        DatumType::F32 => of::<f32>(input, output, batch, rows, columns),
        other => bail!("channels of {other:?}"),
    }
}

/// Transposes a matrix of `rows x columns`, its rows `stride` apart.
pub(super) fn transpose_matrix<T: Copy>(x: &[T], [rows, columns]: [usize; 2], stride: usize, y: &mut [T]) {
    for row in (0..rows).step_by(SQUARE) {
        for column in (0..columns).step_by(SQUARE) {
            let wide = SQUARE.min(rows - row);
            for column in column..(column + SQUARE).min(columns) {
                let target = &mut y[column * rows + row..][..wide];
                for (target, source) in target.iter_mut().zip(x[row * stride + column..].iter().step_by(stride)) {
                    *target = *source;
                }
            }
        }
    }
}

/// Each pixel repeated downwards and sidewards: the nearest neighbour for whole scales.
#[derive(Debug)]
pub(super) struct Repeat([usize; 2]);

impl Repeat {
    pub(super) fn new(node: &NodeProto) -> TractResult<Repeat> {
        Ok(Repeat(pair(&sizes(node, "repeats"), 1)?))
    }

    fn of<T: Datum + Copy>(&self, input: &Tensor, output: &mut Tensor) -> TractResult<()> {
        let [_, _, width, channels] = picture(input.shape(), 1)?;
        let [down, aside] = self.0;
        let (x, mut plain) = (input.try_as_plain_ram()?, output.try_as_plain_ram_mut()?);
        let (x, y) = (x.as_slice::<T>()?, plain.as_slice_mut::<T>()?);
        let line = (width * channels).max(1);
        for (x, y) in x.chunks_exact(line).zip(y.chunks_exact_mut(line * aside * down)) {
            let (first, rest) = y.split_at_mut(line * aside);
            for (pixel, target) in x.chunks_exact(channels).zip(first.chunks_exact_mut(channels * aside)) {
                target.chunks_exact_mut(channels).for_each(|copy| copy.copy_from_slice(pixel));
            }
            rest.chunks_exact_mut(line * aside).for_each(|copy| copy.copy_from_slice(first));
        }
        Ok(())
    }
}

impl Compute for Repeat {
    fn name(&self) -> &'static str {
        "Repeat"
    }

    fn output(&self, datum_type: DatumType, shapes: &[&[TDim]]) -> TractResult<(DatumType, TVec<TDim>)> {
        let [n, h, w, c] = picture(shapes[0], 1.to_dim())?;
        ensure!(shapes[0].len() == 4, "pixels of rank {}", shapes[0].len());
        Ok((datum_type, tvec!(n, h * self.0[0], w * self.0[1], c)))
    }

    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()> {
        match inputs[0].datum_type() {
            DatumType::I8 => self.of::<i8>(inputs[0], output),
            DatumType::F32 => self.of::<f32>(inputs[0], output),
            other => bail!("pixels of {other:?}"),
        }
    }
}
