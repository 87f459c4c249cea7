//! Products of float rows with weights of 4 or 8 bits that have a scale for each block of the depth (`com.microsoft`
//! MatMulNBits): the rows are quantized to `i8` by the same blocks, each block's products are summed exactly, and the blocks'
//! sums are added up as floats. 4-bit weights stay packed in memory: loops of `direct` unpack them in registers; for the kernels of
//! `linear`, which many rows may be better served by, a panel at a time is widened.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), expect(dead_code, reason = "the loops are for vector instructions"))]
mod direct;
#[cfg(target_arch = "aarch64")]
mod neon;
mod rows;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod wide;

pub use rows::QuantizedRows;

use crate::InstructionSet;
use crate::linear::{
    self, Accumulate, Activation, Aligned, Block, Kernel, Line, Matrix, PANEL, Panel, Visit, pack_tiles, view, with_kernel,
};
use direct::{Blocks, Tiles};
use std::ops::Range;

/// Rows that are multiplied at a time: the panels of weights are widened once for them.
const BLOCK_ROWS: usize = 96;

/// Weights packed once at load.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    set: InstructionSet,
    outputs: usize,
    depth: usize,
    block: usize,
    bytes: Bytes,
    /// See [`Panel::limits`]: of each step; empty for 4-bit weights, whose kernel with limits is not used.
    limits: Vec<u8>,
    /// See [`Panel::extreme`].
    extreme: bool,
    /// For each panel, each block and each output of the panel, as what follows.
    scales: Vec<f32>,
    /// Empty if all are 0. Of 16 bits, which the loops widen in one step.
    zero_points: Vec<i16>,
    sums: Vec<i16>,
}

/// Weights in the order of `linear`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Bytes {
    /// Of 32 neighbours, the first 16 in the lower halves, each 8 more than it is.
    Four(Vec<u8>),
    Eight(Aligned),
}

/// Weights as MatMulNBits has them: each is `(q - zero point) * scale`, `q` unsigned.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Of a weight: 4 or 8.
    pub bits: u32,
    /// Columns of the product.
    pub outputs: usize,
    /// Values of a row; the last block may reach beyond it.
    pub depth: usize,
    /// Values that share a scale.
    pub block: usize,
    /// `[output][block][byte]`, of 4 bits two a byte, the lower half first.
    pub weights: &'a [u8],
    /// `[output][block]`.
    pub scales: &'a [f32],
    /// `[output][block]`, of 4 bits two a byte, each output beginning a byte; empty if all are half of the range.
    pub zero_points: &'a [u8],
}

/// Memory for one thread's [`multiply`], kept from call to call.
#[derive(Debug, Default)]
pub struct Scratch {
    values: Vec<Line>,
    weights: Vec<Line>,
    maxima: Vec<u8>,
    totals: Vec<f32>,
    line: Vec<i8>,
}

impl Weights {
    /// Packs weights for `set`.
    ///
    /// # Panics
    /// If `bits` is neither 4 nor 8, `block` not a power of two from 16 to 256, or a slice of another length.
    pub fn pack(set: InstructionSet, source: &Source<'_>) -> Weights {
        let Source { bits, outputs, depth, block, weights, scales, zero_points } = *source;
        assert!(bits == 4 || bits == 8, "int4: weights of 4 or 8 bits, not {bits}");
        assert!(block.is_power_of_two() && (16..=256).contains(&block), "int4: blocks of 16 to 256, not {block}");
        let blocks = depth.div_ceil(block);
        let per_byte = 8 / bits as usize;
        let zero_row = blocks.div_ceil(per_byte);
        assert_eq!(weights.len(), outputs * blocks * block / per_byte, "int4: weights are outputs x blocks");
        assert_eq!(scales.len(), outputs * blocks, "int4: a scale for each block");
        assert!(zero_points.is_empty() || zero_points.len() == outputs * zero_row, "int4: a zero point for each block, or none");
        let half = 1i16 << (bits - 1);
        let unpack = |bytes: &[u8], index: usize| match bits {
            4 => i16::from(bytes[index / 2] >> (4 * (index % 2)) & 15) - half,
            _ => i16::from(bytes[index]) - half,
        };
        let rows = |output: usize| &weights[output * blocks * block / per_byte..];
        let plain: Vec<i8> = (0..outputs)
            .flat_map(|output| (0..blocks * block).map(move |at| (output, at)))
            .map(|(output, at)| unpack(rows(output), at) as i8)
            .collect();
        let zero_point = |output: usize, block: usize| match zero_points {
            [] => 0,
            zero_points => unpack(&zero_points[output * zero_row..], block),
        };
        let columns = with_kernel(set, Columns);
        // One for each panel, block and output of the panel, those beyond the last output 0.
        let arrange = |value: &dyn Fn(usize, usize) -> f32| -> Vec<f32> {
            let index = (0..outputs.div_ceil(columns)).flat_map(|panel| (0..blocks).map(move |block| (panel, block)));
            index
                .flat_map(|(panel, block)| (0..columns).map(move |column| (panel * columns + column, block)))
                .map(|(output, block)| if output < outputs { value(output, block) } else { 0.0 })
                .collect()
        };
        let sum = |output: usize, index: usize| {
            plain[(output * blocks + index) * block..][..block].iter().map(|&weight| i32::from(weight)).sum::<i32>()
        };
        let sums = arrange(&|output, block| sum(output, block) as f32).into_iter().map(|sum| sum as i16).collect();
        let mut zero_points: Vec<i16> =
            arrange(&|output, block| zero_point(output, block).into()).into_iter().map(|zero| zero as i16).collect();
        if zero_points.iter().all(|&zero_point| zero_point == 0) {
            zero_points = Vec::new();
        }
        let scales = arrange(&|output, block| scales[output * blocks + block]);
        let (packed, limits, extreme) = linear::Weights::pack(set, &plain, outputs, blocks * block, &[]).into_parts();
        let (bytes, limits) = match bits {
            4 => {
                let pairs = packed
                    .as_chunks::<32>()
                    .0
                    .iter()
                    .flat_map(|chunk| (0..16).map(|at| (chunk[at] + 8) as u8 | ((chunk[at + 16] + 8) as u8) << 4));
                (Bytes::Four(pairs.collect()), Vec::new())
            }
            _ => (Bytes::Eight(packed), limits),
        };
        Weights { set, outputs, depth, block, bytes, limits, extreme, scales, zero_points, sums }
    }

    /// Columns of the product.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Values of a row.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Values that share a scale.
    pub fn block(&self) -> usize {
        self.block
    }

    /// Memory that the weights take.
    pub fn bytes(&self) -> usize {
        let weights = match &self.bytes {
            Bytes::Four(bytes) => bytes.len(),
            Bytes::Eight(bytes) => bytes.len(),
        };
        weights + self.limits.len() + 4 * self.scales.len() + 2 * (self.zero_points.len() + self.sums.len())
    }
}

/// The kernel's number of columns.
struct Columns;

impl Visit for Columns {
    type Output = usize;

    fn visit<K: Kernel>(self) -> usize {
        K::COLUMNS
    }
}

/// `out[row][output] = bias + sum over the blocks of (exact sum of the block) * (row's scale * weights' scale)`, added to the bias
/// in order, each operation rounded to `f32`, but that the addition is fused with its product on 64-bit ARM. `bias` is empty or one an
/// output; `out` as in [`linear::multiply`].
///
/// # Panics
/// If the rows have another depth or block than the weights, if `rows` leaves them, if `outputs` does not start at a multiple of
/// [`PANEL`] or leaves the weights, or if `bias` or `out` is too short.
#[allow(clippy::too_many_arguments, reason = "those of linear::multiply, and a range of rows")]
pub fn multiply(
    weights: &Weights,
    outputs: Range<usize>,
    rows: &QuantizedRows,
    range: Range<usize>,
    bias: &[f32],
    out: &mut [f32],
    stride: usize,
    scratch: &mut Scratch,
) {
    assert_eq!(
        (rows.depth(), rows.block()),
        (weights.depth, weights.block),
        "int4: rows quantized as deep and by the blocks of the weights"
    );
    assert!(range.start <= range.end && range.end <= rows.count(), "int4: no rows {range:?} in {}", rows.count());
    assert!(outputs.start.is_multiple_of(PANEL) && outputs.end <= weights.outputs, "int4: no outputs {outputs:?} in {}", weights.outputs);
    assert!(bias.is_empty() || bias.len() == weights.outputs, "int4: {} biases for {} outputs", bias.len(), weights.outputs);
    if range.is_empty() || outputs.is_empty() {
        return;
    }
    assert!(stride >= outputs.len() && out.len() >= (range.len() - 1) * stride + outputs.len(), "int4: the target is too short");
    with_kernel(weights.set, Product { weights, outputs, rows, range, bias, out, stride, scratch });
}

/// The arguments of [`multiply`].
struct Product<'a> {
    weights: &'a Weights,
    outputs: Range<usize>,
    rows: &'a QuantizedRows,
    range: Range<usize>,
    bias: &'a [f32],
    out: &'a mut [f32],
    stride: usize,
    scratch: &'a mut Scratch,
}

impl Visit for Product<'_> {
    type Output = ();

    fn visit<K: Kernel>(mut self) {
        let direct = direct::for_rows(self.weights, self.range.len());
        let mut first = self.range.start;
        while first < self.range.end {
            let count = BLOCK_ROWS.min(self.range.end - first);
            if direct.is_none() {
                self.pack::<K>(first, count);
            }
            for column in self.outputs.clone().step_by(K::COLUMNS) {
                self.panel::<K>(first, count, column, direct);
            }
            first += count;
        }
    }
}

impl Product<'_> {
    /// Packs each block of some rows by itself.
    fn pack<K: Kernel>(&mut self, first: usize, count: usize) {
        let Scratch { values, maxima, line, .. } = &mut *self.scratch;
        let (block, blocks) = (self.rows.block(), self.rows.blocks());
        let steps = block / K::STEP;
        let values: &mut [K::Value] = view(values, count * blocks * block);
        maxima.resize(if K::LIMITS { count * blocks * steps } else { 0 }, 0);
        for (index, values) in values.chunks_exact_mut(count * block).enumerate() {
            let rows = Matrix::new(&self.rows.values()[index * block..], self.rows.count(), block, blocks * block);
            pack_tiles::<K>(&rows, first, count, steps, values, line);
            if K::LIMITS {
                // SAFETY: the CPU has the kernel's instruction set, as the weights are packed for it.
                unsafe { K::maxima(values, count, steps, &mut maxima[index * count * steps..][..count * steps]) };
            }
        }
    }

    /// Multiplies rows, packed unless it is done directly, by one panel of weights.
    fn panel<K: Kernel>(&mut self, first: usize, count: usize, column: usize, direct: Option<Tiles>) {
        let width = K::COLUMNS.min(self.outputs.end - column);
        let start = (first - self.range.start) * self.stride + (column - self.outputs.start);
        // The totals of a whole panel are in place.
        let (target, stride) = if width == K::COLUMNS {
            (&mut self.out[start..], self.stride)
        } else {
            self.scratch.totals.resize(count * K::COLUMNS, 0.0);
            (self.scratch.totals.as_mut_slice(), K::COLUMNS)
        };
        let mut biases = [0.0; PANEL];
        if let Some(bias) = self.bias.get(column..column + width) {
            biases[..width].copy_from_slice(bias);
        }
        // No call for each row, since the length is known when compiled.
        target.chunks_mut(stride).take(count).for_each(|row| row[..K::COLUMNS].copy_from_slice(&biases[..K::COLUMNS]));
        let target = target.as_mut_ptr();
        // SAFETY: at `target` are as many rows, as long as a panel is wide, as the lines above have seen to; a direct loop is for the
        // weights and their instruction set, which the CPU has.
        unsafe {
            match direct {
                Some(direct) => direct(&Blocks::of(self.weights, self.rows, column, K::COLUMNS), first..first + count, target, stride),
                None => self.blocks::<K>(first, count, column, target, stride),
            }
        }
        if width < K::COLUMNS {
            for (out, totals) in self.out[start..].chunks_mut(self.stride).zip(self.scratch.totals.chunks_exact(K::COLUMNS)) {
                out[..width].copy_from_slice(&totals[..width]);
            }
        }
    }

    /// Adds the products of packed rows with one panel of weights, block by block, to the totals at `target`.
    ///
    /// # Safety
    /// At `target` are `count` rows, as long as a panel is wide, `stride` apart.
    unsafe fn blocks<K: Kernel>(&mut self, first: usize, count: usize, column: usize, target: *mut f32, stride: usize) {
        let Scratch { values, weights, maxima, .. } = &mut *self.scratch;
        let (block, blocks) = (self.rows.block(), self.rows.blocks());
        let (steps, panel) = (block / K::STEP, column / K::COLUMNS);
        let values: &[K::Value] = view(values, count * blocks * block);
        let panel_bytes = blocks * block * K::COLUMNS;
        let packed: &[i8] = match &self.weights.bytes {
            Bytes::Eight(packed) => &packed[panel * panel_bytes..][..panel_bytes],
            Bytes::Four(packed) => {
                let wide = view(weights, panel_bytes);
                widen(&packed[panel * panel_bytes / 2..][..panel_bytes / 2], wide);
                wide
            }
        };
        let limits = if K::LIMITS { &self.weights.limits[panel * blocks * steps..][..blocks * steps] } else { &[] };
        for index in 0..blocks {
            let at = (panel * blocks + index) * K::COLUMNS;
            let mut zero_points = [0; PANEL];
            let zero_points = match self.weights.zero_points.get(at..at + K::COLUMNS) {
                Some(words) => {
                    zero_points.iter_mut().zip(words).for_each(|(wide, &word)| *wide = word.into());
                    &zero_points[..K::COLUMNS]
                }
                None => &[],
            };
            let mut sums = [0; PANEL];
            // For what the kernel's activations are more than they are.
            if K::Value::OFFSET != 0 {
                sums.iter_mut().zip(&self.weights.sums[at..at + K::COLUMNS]).for_each(|(wide, &sum)| *wide = sum.into());
            }
            let rows = Block {
                values: &values[index * count * block..][..count * block],
                sums: if zero_points.is_empty() { &[] } else { &self.rows.sums(index)[first..first + count] },
                maxima: maxima.get(index * count * steps..(index + 1) * count * steps).unwrap_or_default(),
                first: 0,
                rows: count,
                steps,
            };
            let weights = Panel {
                weights: &packed[index * block * K::COLUMNS..][..block * K::COLUMNS],
                zero_points,
                extreme: self.weights.extreme,
                sums: &sums[..K::COLUMNS],
                limits: if K::LIMITS { &limits[index * steps..][..steps] } else { &[] },
                column: 0,
            };
            let scales = (&self.weights.scales[at..at + K::COLUMNS], &self.rows.scales(index)[first..first + count]);
            // SAFETY: rows and weights are packed for the kernel, whose instruction set the CPU has; the target is by the contract.
            unsafe { K::panel(&rows, &weights, &Accumulate::new(scales.0, scales.1, target, stride), target, stride) };
        }
    }
}

/// Unpacks [`Bytes::Four`].
fn widen(packed: &[u8], wide: &mut [i8]) {
    for (packed, wide) in packed.as_chunks::<16>().0.iter().zip(wide.as_chunks_mut::<32>().0) {
        for (at, byte) in packed.iter().enumerate() {
            wide[at] = (byte & 15) as i8 - 8;
            wide[at + 16] = (byte >> 4) as i8 - 8;
        }
    }
}
