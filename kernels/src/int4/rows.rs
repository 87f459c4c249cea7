//! Float rows quantized to `i8` by blocks of their depth.

use crate::InstructionSet;
use crate::loops::{self, Loop};

/// Adding 1.5 * 2^23 to a small float leaves its nearest integer, ties to even, in the lowest bits.
const ROUND: f32 = 12_582_912.0;

/// Rows of `i8` with a scale for each block: `round(value * (127 / largest))`, the scale `largest / 127`. Kept from call to call.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QuantizedRows {
    count: usize,
    depth: usize,
    block: usize,
    /// Blocks of a row.
    blocks: usize,
    /// Rows of whole blocks, zeros after the depth.
    values: Vec<i8>,
    /// For each block, of each row, as the sums.
    scales: Vec<f32>,
    sums: Vec<i32>,
}

impl QuantizedRows {
    /// None: to be filled by [`quantize`](QuantizedRows::quantize).
    pub fn new() -> QuantizedRows {
        QuantizedRows::default()
    }

    /// Quantizes `rows`, of `depth` floats each, in place of what was there. A block with a NaN or an infinity becomes NaN.
    ///
    /// # Panics
    /// If `rows` is not whole rows, or `block` is 0.
    pub fn quantize(&mut self, rows: &[f32], depth: usize, block: usize) {
        assert!(block > 0 && depth > 0 && rows.len().is_multiple_of(depth), "int4: whole rows of at least one value");
        let (count, blocks) = (rows.len() / depth, depth.div_ceil(block));
        (self.count, self.depth, self.block, self.blocks) = (count, depth, block, blocks);
        self.values.resize(count * blocks * block, 0);
        self.scales.resize(count * blocks, 0.0);
        self.sums.resize(count * blocks, 0);
        loops::run(InstructionSet::best(), Quantize { source: rows, rows: self });
    }

    /// Number of rows.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Values of a row.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Values that share a scale.
    pub fn block(&self) -> usize {
        self.block
    }

    pub(crate) fn blocks(&self) -> usize {
        self.blocks
    }

    pub(crate) fn values(&self) -> &[i8] {
        &self.values
    }

    /// Of block `index`, of each row.
    pub(crate) fn scales(&self, index: usize) -> &[f32] {
        &self.scales[index * self.count..][..self.count]
    }

    /// Of block `index`, of each row.
    pub(crate) fn sums(&self, index: usize) -> &[i32] {
        &self.sums[index * self.count..][..self.count]
    }

    /// Of one block of one row: the rows of a block are neighbours.
    ///
    /// # Safety
    /// `at` is less than blocks times rows.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    #[inline(always)]
    pub(crate) unsafe fn sum_and_scale(&self, at: usize) -> (i32, f32) {
        // SAFETY: by the contract.
        unsafe { (*self.sums.get_unchecked(at), *self.scales.get_unchecked(at)) }
    }

    /// Where the sums of a block of neighbouring rows lie.
    #[cfg(target_arch = "aarch64")]
    #[inline(always)]
    pub(crate) fn sums_at(&self, at: usize) -> *const i32 {
        self.sums.as_ptr().wrapping_add(at)
    }

    /// Where their scales lie.
    #[cfg(target_arch = "aarch64")]
    #[inline(always)]
    pub(crate) fn scales_at(&self, at: usize) -> *const f32 {
        self.scales.as_ptr().wrapping_add(at)
    }
}

/// Fills rows of known sizes.
struct Quantize<'a> {
    source: &'a [f32],
    rows: &'a mut QuantizedRows,
}

impl Loop for Quantize<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let QuantizedRows { count, depth, block, blocks, ref mut values, ref mut scales, ref mut sums } = *self.rows;
        let targets = values.chunks_exact_mut(blocks * block);
        for (row, (source, target)) in self.source.chunks_exact(depth).zip(targets).enumerate() {
            for (index, (source, target)) in source.chunks(block).zip(target.chunks_exact_mut(block)).enumerate() {
                (scales[index * count + row], sums[index * count + row]) = quantize(source, target);
            }
        }
    }
}

/// Quantizes one block, of which the row may end before its end; its scale, and the sum of its integers.
#[inline(always)]
fn quantize(source: &[f32], target: &mut [i8]) -> (f32, i32) {
    // As bits, positive floats are ordered as integers are, and a NaN is the largest: the comparison is exact in any order.
    let largest = f32::from_bits(source.iter().fold(0, |largest, value| largest.max(value.to_bits() & i32::MAX as u32)));
    let (target, rest) = target.split_at_mut(source.len());
    if !rest.is_empty() {
        rest.fill(0);
    }
    if largest == 0.0 {
        target.fill(0);
        return (0.0, 0);
    }
    if !largest.is_finite() {
        return (f32::NAN, 0);
    }
    // Of the smallest floats the quotient would be infinite. No product rounds to more than 127.
    let factor = (127.0 / largest).min(f32::MAX);
    let mut sum = 0;
    for (value, target) in source.iter().zip(target) {
        let step = (value * factor + ROUND).to_bits() as i32 - ROUND.to_bits() as i32;
        *target = step as i8;
        sum += step;
    }
    (largest / 127.0, sum)
}
