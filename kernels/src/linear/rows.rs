//! Where the rows of a product come from, and the scratch memory into which `pack` copies them.

use super::pack::pack_tiles;
use super::{Block, Kernel, Sink};
use std::ops::{Deref, DerefMut, Range};

/// Rows of activations, each handed over in one or more pieces.
pub trait Rows: Sync {
    /// Number of rows.
    fn count(&self) -> usize;

    /// Values of a row.
    fn depth(&self) -> usize;

    /// What the length of each piece of a row is a multiple of; the depth, if rows come whole.
    fn granularity(&self) -> usize;

    /// Hands some rows to `sink`, one after the other.
    fn visit(&self, rows: Range<usize>, sink: &mut impl Sink);
}

/// Rows that lie in memory at a regular distance.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    values: &'a [i8],
    count: usize,
    depth: usize,
    stride: usize,
}

impl<'a> Matrix<'a> {
    /// `count` rows of `depth` values, `stride` apart.
    ///
    /// # Panics
    /// If `values` is too short for them.
    pub fn new(values: &'a [i8], count: usize, depth: usize, stride: usize) -> Matrix<'a> {
        assert!(count == 0 || values.len() >= (count - 1) * stride + depth, "linear: the matrix is too short");
        Matrix { values, count, depth, stride }
    }
}

impl Rows for Matrix<'_> {
    fn count(&self) -> usize {
        self.count
    }

    fn depth(&self) -> usize {
        self.depth
    }

    fn granularity(&self) -> usize {
        self.depth
    }

    #[inline(always)]
    fn visit(&self, rows: Range<usize>, sink: &mut impl Sink) {
        for row in rows {
            sink.piece(&self.values[row * self.stride..][..self.depth]);
            sink.end();
        }
    }
}

/// Memory for packed rows: one a thread, kept from call to call. Grows to what the largest product needs, a few dozen KiB.
#[derive(Debug, Default)]
pub struct Scratch {
    rows: Vec<Line>,
    sums: Vec<i32>,
    maxima: Vec<u8>,
    spill: Vec<Line>,
    /// A tile's rows put together from small pieces.
    lines: Vec<i8>,
    /// What `convolution` reads outside the picture.
    pub(crate) padding: Vec<i8>,
}

/// A cache line, so that no packed vector straddles two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(align(64))]
pub(crate) struct Line([i8; 64]);

/// Bytes that begin with a cache line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Aligned {
    lines: Vec<Line>,
    length: usize,
}

impl Aligned {
    /// So many zeros.
    pub(crate) fn zeros(length: usize) -> Aligned {
        Aligned { lines: vec![Line([0; 64]); length.div_ceil(size_of::<Line>())], length }
    }
}

impl Deref for Aligned {
    type Target = [i8];

    fn deref(&self) -> &[i8] {
        // SAFETY: the lines are initialised memory of at least this many bytes.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.length) }
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [i8] {
        view(&mut self.lines, self.length)
    }
}

/// The first `length` values of `lines`, which grow to hold them.
pub(crate) fn view<T: Value>(lines: &mut Vec<Line>, length: usize) -> &mut [T] {
    let count = (length * size_of::<T>()).div_ceil(size_of::<Line>());
    if lines.len() < count {
        lines.resize(count, Line([0; 64]));
    }
    // SAFETY: the lines are initialised memory of this many values, aligned for any, and any bits are a value.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), length) }
}

/// What scratch memory may hold.
///
/// # Safety
/// Any bits are a value; aligned to 64 bytes at most.
pub unsafe trait Value: Copy {}

// SAFETY: an integer.
unsafe impl Value for i8 {}
// SAFETY: an integer.
unsafe impl Value for u8 {}
// SAFETY: an integer.
unsafe impl Value for i32 {}
// SAFETY: a float.
unsafe impl Value for f32 {}

/// What activations are packed as.
pub(crate) trait Activation: Value {
    /// How much more than the activation it is.
    const OFFSET: i32;

    /// Packs values; zeros stand for whatever has zero weights.
    fn pack<const N: usize>(values: [i8; N]) -> [Self; N];

    /// The activation itself.
    fn signed(self) -> i32;
}

impl Activation for i8 {
    const OFFSET: i32 = 0;

    #[inline(always)]
    fn pack<const N: usize>(values: [i8; N]) -> [i8; N] {
        values
    }

    fn signed(self) -> i32 {
        self.into()
    }
}

impl Activation for u8 {
    const OFFSET: i32 = 128;

    #[inline(always)]
    fn pack<const N: usize>(values: [i8; N]) -> [u8; N] {
        values.map(|value| value as u8 ^ 0x80)
    }

    fn signed(self) -> i32 {
        i32::from(self) - Self::OFFSET
    }
}

impl Scratch {
    /// Empty: it grows when used.
    pub fn new() -> Scratch {
        Scratch::default()
    }

    /// Packs `count` rows from `first` on in tiles of `[steps][rows of the tile][STEP]`, zeros after the depth. Second: room for a
    /// panel of their results.
    #[inline]
    pub(super) fn pack<K: Kernel, T: Value>(
        &mut self,
        rows: &impl Rows,
        first: usize,
        count: usize,
        steps: usize,
        with_sums: bool,
    ) -> (Block<'_, K::Value>, &mut [T]) {
        let values: &mut [K::Value] = view(&mut self.rows, count * steps * K::STEP);
        pack_tiles::<K>(rows, first, count, steps, values, &mut self.lines);
        self.sums.clear();
        if with_sums {
            Block::<K::Value>::tiles(count, K::ROWS, |start, size| {
                let tile = &values[start * steps * K::STEP..][..size * steps * K::STEP];
                self.sums.extend((0..size).map(|row| {
                    let steps = tile[row * K::STEP..].chunks(size * K::STEP);
                    // Sums of a known length, for the compiler to vectorise.
                    steps.map(|step| step[..K::STEP].iter().map(|value| value.signed()).sum::<i32>()).sum::<i32>()
                }));
            });
        }
        if K::LIMITS {
            self.maxima.resize(count * steps, 0);
            // SAFETY: the CPU has the kernel's instruction set, as weights are packed for it.
            unsafe { K::maxima(values, count, steps, &mut self.maxima) };
        }
        let block = Block { values, sums: &self.sums, maxima: &self.maxima, first, rows: count, steps };
        (block, view(&mut self.spill, count * K::COLUMNS))
    }
}
