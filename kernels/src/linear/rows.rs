//! Where the rows of a product come from, and the scratch memory into which they are packed.

use super::{Block, Kernel};

/// Rows of activations, each handed over in one or more pieces.
pub trait Rows: Sync {
    /// Number of rows.
    fn count(&self) -> usize;

    /// Values of a row.
    fn depth(&self) -> usize;

    /// What the length of each piece of a row is a multiple of; the depth, if rows come whole.
    fn granularity(&self) -> usize;

    /// Calls `piece` with the parts of row `row` in order; their lengths add up to the depth.
    fn visit(&self, row: usize, piece: impl FnMut(&[i8]));
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
    fn visit(&self, row: usize, mut piece: impl FnMut(&[i8])) {
        piece(&self.values[row * self.stride..][..self.depth]);
    }
}

/// Memory for packed rows: one a thread, kept from call to call. Grows to what the largest product needs, a few dozen KiB.
#[derive(Debug, Default)]
pub struct Scratch {
    rows: Vec<Line>,
    sums: Vec<i32>,
    spill: Vec<Line>,
    /// A row put together from small pieces.
    row: Vec<i8>,
    /// What `convolution` reads outside the picture.
    pub(crate) padding: Vec<i8>,
}

/// A cache line, so that no packed vector straddles two.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "read as the values packed into it")] [i8; 64]);

/// The first `length` values of `lines`, which grow to hold them.
fn view<T: Value>(lines: &mut Vec<Line>, length: usize) -> &mut [T] {
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
unsafe impl Value for i16 {}
// SAFETY: an integer.
unsafe impl Value for i32 {}
// SAFETY: a float.
unsafe impl Value for f32 {}

impl Scratch {
    /// Empty: it grows when used.
    pub fn new() -> Scratch {
        Scratch::default()
    }

    /// Packs `count` rows from `first` on in tiles of `[steps][rows of the tile][STEP]`. What follows the depth in the last step
    /// is any value: its weights are zero. Second: room for a panel of their results.
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
        self.sums.clear();
        let (sums, depth) = (&mut self.sums, rows.depth());
        let whole = rows.granularity() == depth || rows.granularity().is_multiple_of(K::STEP);
        self.row.resize(if whole { 0 } else { depth }, 0);
        Block::<K::Value>::tiles(count, K::ROWS, |start, size| {
            let tile = &mut values[start * steps * K::STEP..][..size * steps * K::STEP];
            for row in 0..size {
                let (target, mut at, mut sum) = (&mut tile[row * K::STEP..], 0, 0);
                let mut pack = |piece: &[i8], at: usize| {
                    pack_piece::<K>(piece, &mut target[at * size..], size * K::STEP);
                    if with_sums {
                        sum += piece.iter().map(|&value| i32::from(value)).sum::<i32>();
                    }
                };
                rows.visit(first + start + row, |piece| {
                    if whole {
                        pack(piece, at);
                    } else {
                        copy_bytes(piece, &mut self.row[at..at + piece.len()]);
                    }
                    at += piece.len();
                });
                if !whole {
                    pack(&self.row, 0);
                }
                if with_sums {
                    sums.push(sum);
                }
            }
        });
        let block = Block { values, sums, first, rows: count, steps };
        (block, view(&mut self.spill, count * K::COLUMNS))
    }
}

/// Writes `piece` to a tile whose steps of one row are `stride` values apart.
#[inline(always)]
fn pack_piece<K: Kernel>(piece: &[i8], tile: &mut [K::Value], stride: usize) {
    const { assert!(16 % K::STEP == 0) };
    let (chunks, tail) = piece.as_chunks::<16>();
    let mut start = 0;
    for chunk in chunks {
        for part in chunk.chunks_exact(K::STEP) {
            widen(part, &mut tile[start..start + K::STEP]);
            start += stride;
        }
    }
    for part in tail.chunks(K::STEP) {
        widen(part, &mut tile[start..start + part.len()]);
        start += stride;
    }
}

#[inline(always)]
fn widen<V: Copy + From<i8>>(from: &[i8], to: &mut [V]) {
    for (from, to) in from.iter().zip(to) {
        *to = V::from(*from);
    }
}

/// `copy_from_slice` for a few bytes, in overlapping words instead of a call.
#[inline(always)]
fn copy_bytes(from: &[i8], to: &mut [i8]) {
    #[inline(always)]
    fn words<const N: usize>(from: &[i8], to: &mut [i8]) {
        let (blocks, _) = from.as_chunks::<N>();
        for (from, to) in blocks.iter().zip(to.as_chunks_mut::<N>().0) {
            *to = *from;
        }
        if let (Some(from), Some(to)) = (from.last_chunk::<N>(), to.last_chunk_mut::<N>()) {
            *to = *from;
        }
    }
    match from.len() {
        16.. => words::<16>(from, to),
        8.. => words::<8>(from, to),
        4.. => words::<4>(from, to),
        _ => words::<1>(from, to),
    }
}
