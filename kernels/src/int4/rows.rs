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
        // Of small blocks the compiler is to know the size.
        match self.rows.block {
            16 => self.blocks_of(16),
            32 => self.blocks_of(32),
            64 => self.blocks_of(64),
            block => self.blocks_of(block),
        }
    }
}

impl Quantize<'_> {
    #[inline(always)]
    fn blocks_of(self, block: usize) {
        let QuantizedRows { count, depth, blocks, ref mut values, ref mut scales, ref mut sums, .. } = *self.rows;
        let targets = values.chunks_exact_mut(blocks * block);
        for (row, (source, target)) in self.source.chunks_exact(depth).zip(targets).enumerate() {
            let (mut sources, mut at) = (source.chunks_exact(block), row);
            for (source, target) in sources.by_ref().zip(target.chunks_exact_mut(block)) {
                (scales[at], sums[at]) = quantize(source, target);
                at += count;
            }
            let left = sources.remainder();
            if !left.is_empty() {
                let (target, rest) = target[depth - left.len()..].split_at_mut(left.len());
                (scales[at], sums[at]) = quantize(left, target);
                rest.fill(0);
            }
        }
    }
}

/// Blocks from this length on the compiler divides into lanes by itself, and better than it follows ours; of shorter ones what surrounds a
/// loop takes as long as the loop.
const LONG: usize = 128;

/// Quantizes one block; its scale, and the sum of its integers.
#[inline(always)]
fn quantize(source: &[f32], target: &mut [i8]) -> (f32, i32) {
    if source.len() < LONG { in_lanes(source, target) } else { in_a_loop(source, target) }
}

#[inline(always)]
fn in_a_loop(source: &[f32], target: &mut [i8]) -> (f32, i32) {
    let largest = f32::from_bits(source.iter().fold(0, |largest, value| largest.max(value.to_bits() & i32::MAX as u32)));
    if !largest.is_finite() {
        return (f32::NAN, 0);
    }
    let factor = (127.0 / largest).min(f32::MAX);
    let mut sum = 0u32;
    for (value, target) in source.iter().zip(target) {
        let bits = (value * factor + ROUND).to_bits();
        *target = bits as i8;
        sum = sum.wrapping_add(bits);
    }
    (largest / 127.0, sum.wrapping_sub(ROUND.to_bits().wrapping_mul(source.len() as u32)) as i32)
}

/// Values that are quantized side by side, whatever the width of the vectors.
const LANES: usize = 16;

/// Written as compilers make vectors of it on x86 and on ARM: forms that look the same became single values, at three times the time.
#[inline(always)]
fn in_lanes(source: &[f32], target: &mut [i8]) -> (f32, i32) {
    let ((blocks, left), (targets, target_left)) = (source.as_chunks::<LANES>(), target.as_chunks_mut::<LANES>());
    // As bits, positive floats are ordered as integers are, and a NaN is the largest: the comparison is exact in any order.
    let size = |value: &f32| value.to_bits() & i32::MAX as u32;
    let mut largest = [0; LANES];
    for block in blocks {
        largest.iter_mut().zip(block).for_each(|(largest, value)| *largest = size(value).max(*largest));
    }
    let largest = f32::from_bits(largest.into_iter().chain(left.iter().map(size)).fold(0, u32::max));
    if !largest.is_finite() {
        return (f32::NAN, 0);
    }
    // Of the smallest floats, and of zeros, the quotient would be infinite. No product rounds to more than 127.
    let factor = (127.0 / largest).min(f32::MAX);
    let rounded = |value: &f32| (value * factor + ROUND).to_bits();
    let mut sums = [0u32; LANES];
    for (block, target) in blocks.iter().zip(targets) {
        let bits = block.each_ref().map(rounded);
        sums.iter_mut().zip(bits).for_each(|(sum, bits)| *sum = sum.wrapping_add(bits));
        // The lowest byte of ROUND is 0.
        *target = bits.map(|bits| bits as i8);
    }
    let mut sum = sums.into_iter().fold(0, u32::wrapping_add);
    for (value, target) in left.iter().zip(target_left) {
        let bits = rounded(value);
        sum = sum.wrapping_add(bits);
        *target = bits as i8;
    }
    (largest / 127.0, sum.wrapping_sub(ROUND.to_bits().wrapping_mul(source.len() as u32)) as i32)
}
