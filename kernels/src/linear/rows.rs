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
    maxima: Vec<u8>,
    spill: Vec<Line>,
    /// A row put together from small pieces.
    row: Vec<i8>,
    /// What `convolution` reads outside the picture.
    pub(crate) padding: Vec<i8>,
}

/// A cache line, so that no packed vector straddles two.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Line(#[expect(dead_code, reason = "read as the values packed into it")] [i8; 64]);

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
    /// Packs values; zeros stand for whatever has zero weights.
    fn pack<const N: usize>(values: [i8; N]) -> [Self; N];

    /// The activation itself.
    fn signed(self) -> i32;
}

impl Activation for i8 {
    #[inline(always)]
    fn pack<const N: usize>(values: [i8; N]) -> [i8; N] {
        values
    }

    fn signed(self) -> i32 {
        self.into()
    }
}

impl Activation for u8 {
    #[inline(always)]
    fn pack<const N: usize>(values: [i8; N]) -> [u8; N] {
        values.map(|value| value as u8 ^ 0x80)
    }

    fn signed(self) -> i32 {
        i32::from(self) - 128
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
        pack_tiles::<K>(rows, first, count, steps, values, &mut self.row);
        self.sums.clear();
        if with_sums {
            Block::<K::Value>::tiles(count, K::ROWS, |start, size| {
                let tile = &values[start * steps * K::STEP..][..size * steps * K::STEP];
                self.sums.extend((0..size).map(|row| {
                    let steps = tile[row * K::STEP..].chunks(size * K::STEP);
                    steps.flat_map(|step| &step[..K::STEP]).map(|&value| value.signed()).sum::<i32>()
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

/// Fills the tiles of `values`; `line` is for rows that come in small pieces.
#[inline]
pub(crate) fn pack_tiles<K: Kernel>(
    rows: &impl Rows,
    first: usize,
    count: usize,
    steps: usize,
    values: &mut [K::Value],
    line: &mut Vec<i8>,
) {
    // The kernels' steps, known when compiled.
    match K::STEP {
        8 => pack_steps::<K, 8>(rows, first, count, steps, values, line),
        16 => pack_steps::<K, 16>(rows, first, count, steps, values, line),
        _ => unreachable!("steps of kernels"),
    }
}

#[inline(always)]
fn pack_steps<K: Kernel, const STEP: usize>(
    rows: &impl Rows,
    first: usize,
    count: usize,
    steps: usize,
    values: &mut [K::Value],
    line: &mut Vec<i8>,
) {
    let whole = rows.granularity() == rows.depth() || rows.granularity().is_multiple_of(STEP);
    line.clear();
    line.resize(steps * STEP, 0);
    Block::<K::Value>::tiles(count, K::ROWS, |start, size| {
        let tile = &mut values[start * steps * STEP..][..size * steps * STEP];
        for row in 0..size {
            let mut target = Target::<K::Value, STEP> { steps: tile[row * STEP..].as_chunks_mut().0, stride: size };
            if whole {
                rows.visit(first + start + row, |piece| target.write(piece));
            } else {
                let mut rest = &mut line[..];
                rows.visit(first + start + row, |piece| append(piece, &mut rest));
                target.write(line);
            }
        }
    });
}

/// Where a row goes in a tile: each of its steps is `stride` steps after the last one.
struct Target<'a, V, const STEP: usize> {
    steps: &'a mut [[V; STEP]],
    stride: usize,
}

impl<V: Activation, const STEP: usize> Target<'_, V, STEP> {
    /// Writes the next piece, of whole steps but for the last one, which zeros fill up. Not inlined: sources call it in many places.
    #[inline(never)]
    fn write(&mut self, piece: &[i8]) {
        let (steps, rest) = piece.as_chunks::<STEP>();
        let end = steps.len() * self.stride;
        assert!(end < self.steps.len() + self.stride, "linear: a piece fits its row");
        for (index, step) in steps.iter().enumerate() {
            // SAFETY: `index * stride` is at most `end - stride`, which is less than the length.
            unsafe { *self.steps.get_unchecked_mut(index * self.stride) = V::pack(*step) };
        }
        let left = std::mem::take(&mut self.steps);
        self.steps = left.get_mut(end..).unwrap_or_default();
        if !rest.is_empty() {
            let mut step = [0; STEP];
            append(rest, &mut &mut step[..]);
            self.steps[0] = V::pack(step);
        }
    }
}

/// Moves a few bytes to the start of `to`, which shrinks by them: overlapping words instead of a call of `memcpy`.
#[inline(never)]
fn append(from: &[i8], to: &mut &mut [i8]) {
    #[inline(always)]
    fn words<const N: usize>(from: &[i8], to: &mut [i8]) {
        for (from, to) in from.as_chunks::<N>().0.iter().zip(to.as_chunks_mut::<N>().0) {
            *to = *from;
        }
        if let (Some(from), Some(to)) = (from.last_chunk::<N>(), to.last_chunk_mut::<N>()) {
            *to = *from;
        }
    }
    let (target, rest) = std::mem::take(to).split_at_mut(from.len());
    *to = rest;
    match from.len() {
        16.. => words::<16>(from, target),
        8.. => words::<8>(from, target),
        4.. => words::<4>(from, target),
        2.. => words::<2>(from, target),
        _ => target.copy_from_slice(from),
    }
}
