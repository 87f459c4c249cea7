//! Products of rows as they lie with a panel of weights as it lies, all blocks in one loop: neither packed rows nor widened weights
//! pass through memory. For few rows, and wherever else this is faster than the kernels of `linear`.

use super::{Bytes, QuantizedRows, Weights};
use crate::cpu::Kind;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::cpu::Products;
#[cfg(target_arch = "aarch64")]
use crate::int4::neon;
use std::array;
use std::ops::Range;

/// A panel of weights, and the rows.
pub(super) struct Blocks<'a> {
    /// Of the panel: block by block in the order of `linear`, see [`Bytes`].
    pub(super) weights: *const u8,
    /// For each block and output.
    pub(super) scales: &'a [f32],
    /// As the scales, or empty.
    pub(super) zero_points: &'a [i16],
    /// Values that share a scale.
    pub(super) block: usize,
    pub(super) rows: &'a QuantizedRows,
}

impl<'a> Blocks<'a> {
    /// Those of the panel that begins with output `column`.
    pub(super) fn of(weights: &'a Weights, rows: &'a QuantizedRows, column: usize, columns: usize) -> Blocks<'a> {
        let (length, block) = (rows.blocks() * columns, weights.block);
        let start = column / columns * length;
        Blocks {
            weights: match &weights.bytes {
                Bytes::Four(bytes) => bytes[start * block / 2..][..length * block / 2].as_ptr(),
                Bytes::Eight(bytes) => bytes[start * block..][..length * block].as_ptr().cast(),
            },
            scales: &weights.scales[start..][..length],
            zero_points: weights.zero_points.get(start..start + length).unwrap_or_default(),
            block,
            rows,
        }
    }

    /// Blocks of a row.
    #[inline(always)]
    pub(super) fn count(&self) -> usize {
        self.rows.blocks()
    }

    /// Where `R` rows begin.
    #[inline(always)]
    pub(super) fn values<const R: usize>(&self, first: usize) -> [*const i8; R] {
        let depth = self.count() * self.block;
        let rows = &self.rows.values()[first * depth..(first + R) * depth];
        array::from_fn(|row| rows.as_ptr().wrapping_add(row * depth))
    }
}

/// The loop of one instruction set.
pub(super) trait Direct {
    /// Rows of the largest tile: 4 or 8.
    const ROWS: usize = 4;

    /// Adds the products of `R` rows from `first` on to their totals, which lie at `totals`, `stride` apart.
    ///
    /// # Safety
    /// The CPU has the instructions. The weights are packed for them, of four bits if `FOUR`, else of eight, the rows quantized by
    /// the same blocks. At `totals` are as many rows, as long as the panel is wide.
    unsafe fn tile<const FOUR: bool, const R: usize>(blocks: &Blocks<'_>, first: usize, totals: *mut f32, stride: usize);
}

/// Adds the products of some rows to their totals.
///
/// # Safety
/// As [`Direct::tile`].
pub(super) type Tiles = unsafe fn(&Blocks<'_>, Range<usize>, *mut f32, usize);

/// The loop for such weights and so many rows, if there is one that is faster than the kernels of `linear`.
#[cfg_attr(not(target_arch = "aarch64"), expect(unused_variables, reason = "only there the number of rows decides"))]
pub(super) fn for_rows(weights: &Weights, count: usize) -> Option<Tiles> {
    let four = matches!(weights.bytes, Bytes::Four(_));
    match weights.set.0 {
        Kind::Scalar => None,
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2(Products::Wide) => four.then_some(tiles::<super::wide::Wide, true> as Tiles),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2(_) => four.then_some(tiles::<super::avx2::Avx2, true> as Tiles),
        #[cfg(target_arch = "aarch64")]
        Kind::Neon(products) => match (products, four, count) {
            (Products::Widening, true, _) => Some(tiles::<neon::Neon, true>),
            (Products::Widening, false, ..=4) => Some(tiles::<neon::Neon, false>),
            (Products::Dot, true, _) => Some(tiles::<neon::Dot, true>),
            (Products::Dot, false, ..=4) => Some(tiles::<neon::Dot, false>),
            (Products::Matrix, true, ..=4) => Some(tiles::<neon::Matrix, true>),
            (Products::Matrix, false, ..=4) => Some(tiles::<neon::Matrix, false>),
            _ => None,
        },
    }
}

/// # Safety
/// As [`Direct::tile`].
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
unsafe fn tiles<D: Direct, const FOUR: bool>(blocks: &Blocks<'_>, rows: Range<usize>, totals: *mut f32, stride: usize) {
    let (mut first, mut totals) = (rows.start, totals);
    while first < rows.end {
        let count = 1 << (rows.end - first).min(D::ROWS).ilog2();
        // SAFETY: by the contract; there are so many rows left.
        unsafe {
            match count {
                8 => D::tile::<FOUR, 8>(blocks, first, totals, stride),
                4 => D::tile::<FOUR, 4>(blocks, first, totals, stride),
                2 => D::tile::<FOUR, 2>(blocks, first, totals, stride),
                _ => D::tile::<FOUR, 1>(blocks, first, totals, stride),
            }
        }
        (first, totals) = (first + count, totals.wrapping_add(count * stride));
    }
}
