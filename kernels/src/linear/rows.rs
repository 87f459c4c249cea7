//! Where the rows of a product come from, and the scratch memory into which they are packed.

use super::{Block, Kernel};

/// Rows of activations, each handed over in one or more pieces.
pub trait Rows: Sync {
    /// Number of rows.
    fn count(&self) -> usize;

    /// Values of a row.
    fn depth(&self) -> usize;

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
        let sums = &mut self.sums;
        Block::<K::Value>::tiles(count, K::ROWS, |start, size| {
            let tile = &mut values[start * steps * K::STEP..][..size * steps * K::STEP];
            for row in 0..size {
                let (mut at, mut sum) = (0, 0i32);
                rows.visit(first + start + row, |piece| {
                    pack_piece::<K>(piece, at, &mut tile[row * K::STEP..], size);
                    at += piece.len();
                    if with_sums {
                        sum += piece.iter().map(|&value| i32::from(value)).sum::<i32>();
                    }
                });
                if with_sums {
                    sums.push(sum);
                }
            }
        });
        let block = Block { values, sums, first, rows: count, steps };
        (block, view(&mut self.spill, count * K::COLUMNS))
    }
}

/// Writes `piece`, which starts `at` values into its row, into a tile of `size` rows that begins with that row.
#[inline(always)]
fn pack_piece<K: Kernel>(mut piece: &[i8], at: usize, tile: &mut [K::Value], size: usize) {
    let stride = size * K::STEP;
    let mut start = at / K::STEP * stride;
    let inside = at % K::STEP;
    if inside != 0 {
        let (head, rest) = piece.split_at(piece.len().min(K::STEP - inside));
        copy(head, &mut tile[start + inside..]);
        piece = rest;
        start += stride;
    }
    let (chunks, tail) = piece.as_chunks::<16>();
    const { assert!(K::STEP == 16 || K::STEP == 8) };
    for chunk in chunks {
        for part in chunk.chunks_exact(K::STEP) {
            copy(part, &mut tile[start..start + K::STEP]);
            start += stride;
        }
    }
    for part in tail.chunks(K::STEP) {
        copy(part, &mut tile[start..start + part.len()]);
        start += stride;
    }
}

#[inline(always)]
fn copy<V: Copy + From<i8>>(from: &[i8], to: &mut [V]) {
    for (from, to) in from.iter().zip(to) {
        *to = V::from(*from);
    }
}
