//! How rows get into tiles: in whole steps straight away, in small pieces by way of lines.

use super::rows::Activation;
use super::{Block, Kernel, Rows};

/// Where [`Rows`] go, piece by piece.
pub trait Sink {
    /// The next values of a row.
    fn piece(&mut self, piece: &[i8]);

    /// The next `count` pieces of a row, of `length` values each, `stride` apart in `source`.
    fn pieces(&mut self, source: &[i8], length: usize, stride: usize, count: usize);

    /// After the last piece of a row.
    fn end(&mut self);
}

/// Fills the tiles of `values`; `lines` is for rows that come in small pieces.
#[inline]
pub(crate) fn pack_tiles<K: Kernel>(
    rows: &impl Rows,
    first: usize,
    count: usize,
    steps: usize,
    values: &mut [K::Value],
    lines: &mut Vec<i8>,
) {
    // The kernels' steps, known when compiled.
    match K::STEP {
        8 => pack_steps::<K, 8>(rows, first, count, steps, values, lines),
        16 => pack_steps::<K, 16>(rows, first, count, steps, values, lines),
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
    lines: &mut Vec<i8>,
) {
    let whole = rows.granularity() == rows.depth() || rows.granularity().is_multiple_of(STEP);
    // With room for a word after the depth, and for one after each piece.
    let pitch = steps * STEP + WORD;
    if !whole {
        lines.resize(K::ROWS * pitch, 0);
    }
    Block::<K::Value>::tiles(count, K::ROWS, |start, size| {
        let tile = values[start * steps * STEP..][..size * steps * STEP].as_chunks_mut().0;
        let range = first + start..first + start + size;
        if whole {
            rows.visit(range, &mut Steps::<K::Value, STEP> { tile, rows: size, row: 0, at: 0 });
        } else {
            rows.visit(range, &mut Lines { lines, pitch, start: 0, at: 0 });
            // After all of them, when the overlapping words have left the store buffer; a full tile in an unrolled loop.
            if size == K::ROWS {
                interleave(lines, pitch, K::ROWS, tile);
            } else {
                interleave(lines, pitch, size, tile);
            }
        }
    });
}

/// Moves `rows` lines into a tile.
#[inline(always)]
fn interleave<V: Activation, const STEP: usize>(lines: &[i8], pitch: usize, rows: usize, tile: &mut [[V; STEP]]) {
    let steps = tile.len() / rows;
    assert!(lines.len() >= (rows - 1) * pitch + steps * STEP, "linear: lines hold the tile's rows");
    for (index, step) in tile.chunks_exact_mut(rows).enumerate() {
        for (row, step) in step.iter_mut().enumerate() {
            // SAFETY: the last value of the last row's last step is what was asserted.
            *step = V::pack(unsafe { *lines.as_ptr().add(row * pitch + index * STEP).cast::<[i8; STEP]>() });
        }
    }
}

/// A tile that takes pieces of whole steps, but for the last one of a row, which zeros fill up.
struct Steps<'a, V, const STEP: usize> {
    tile: &'a mut [[V; STEP]],
    /// Rows of the tile: so many steps is a step of the same row from the next.
    rows: usize,
    row: usize,
    /// The next step.
    at: usize,
}

impl<V: Activation, const STEP: usize> Sink for Steps<'_, V, STEP> {
    #[inline]
    fn piece(&mut self, piece: &[i8]) {
        let (steps, rest) = piece.as_chunks::<STEP>();
        let end = self.at + steps.len() * self.rows;
        assert!(end < self.tile.len() + self.rows, "linear: a piece fits its row");
        // Not in `self`, where each step would wait for the one before to be stored.
        let (tile, rows, mut at) = (self.tile.as_mut_ptr(), self.rows, self.at);
        let mut put = |step: &[i8; STEP]| {
            // SAFETY: once for each step, so at most `end - rows`, which is less than the length.
            unsafe { *tile.add(at) = V::pack(*step) };
            at += rows;
        };
        let (fours, singles) = steps.as_chunks::<4>();
        fours.iter().for_each(|four| four.iter().for_each(&mut put));
        singles.iter().for_each(put);
        self.at = end;
        if !rest.is_empty() {
            let mut step = [0; STEP];
            copy(rest, &mut step[..rest.len()]);
            self.tile[end] = V::pack(step);
            self.at += self.rows;
        }
    }

    #[inline]
    fn pieces(&mut self, source: &[i8], length: usize, stride: usize, count: usize) {
        let end = self.at + count * (length / STEP) * self.rows;
        // Saturating: whatever sizes come, nothing is read elsewhere.
        let read = count.saturating_sub(1).saturating_mul(stride).saturating_add(length);
        if !length.is_multiple_of(STEP) || source.len() < read || end >= self.tile.len() + self.rows {
            return (0..count).for_each(|index| self.piece(&source[index * stride..][..length]));
        }
        let (tile, rows) = (self.tile.as_mut_ptr(), self.rows);
        let (mut at, mut piece) = (self.at, source.as_ptr());
        for _ in 0..count {
            let mut steps = piece.cast::<[i8; STEP]>();
            piece = piece.wrapping_add(stride);
            // SAFETY: `read` is where the last piece ends; the last of `at` is `end - rows`, which is less than the length.
            unsafe {
                for _ in 0..length / STEP / 2 {
                    let two = [steps.read(), steps.add(1).read()].map(V::pack);
                    *tile.add(at) = two[0];
                    *tile.add(at + rows) = two[1];
                    (steps, at) = (steps.add(2), at + 2 * rows);
                }
                if !(length / STEP).is_multiple_of(2) {
                    *tile.add(at) = V::pack(steps.read());
                    at += rows;
                }
            }
        }
        self.at = end;
    }

    #[inline]
    fn end(&mut self) {
        self.row += 1;
        self.at = self.row;
    }
}

/// What pieces are copied by.
const WORD: usize = 16;

/// Rows one after the other, `pitch` apart, a word of zeros after each.
struct Lines<'a> {
    lines: &'a mut [i8],
    pitch: usize,
    /// Of the row.
    start: usize,
    /// The next value.
    at: usize,
}

impl Sink for Lines<'_> {
    #[inline(never)]
    fn piece(&mut self, piece: &[i8]) {
        copy(piece, &mut self.lines[self.at..][..piece.len()]);
        self.at += piece.len();
    }

    #[inline]
    fn pieces(&mut self, source: &[i8], length: usize, stride: usize, count: usize) {
        match length.div_ceil(WORD) {
            1 => self.words::<1>(source, length, stride, count),
            2 => self.words::<2>(source, length, stride, count),
            _ => (0..count).for_each(|index| self.piece(&source[index * stride..][..length])),
        }
    }

    #[inline]
    fn end(&mut self) {
        self.lines[self.at..][..WORD].fill(0);
        self.start += self.pitch;
        self.at = self.start;
    }
}

impl Lines<'_> {
    /// Copies pieces by `N` words each, of which the last one overlaps the next piece, or what follows the row.
    #[inline(always)]
    fn words<const N: usize>(&mut self, source: &[i8], length: usize, stride: usize, count: usize) {
        // Saturating: whatever sizes come, nothing is read or written elsewhere.
        let [read, written] = [stride, length].map(|step| count.saturating_sub(1).saturating_mul(step).saturating_add(N * WORD));
        if source.len() < read || self.lines.len() - self.at < written {
            return (0..count).for_each(|index| self.piece(&source[index * stride..][..length]));
        }
        let (mut from, mut to) = (source.as_ptr(), self.lines[self.at..].as_mut_ptr());
        for _ in 0..count {
            // SAFETY: `read` and `written` are where the words of the last piece end.
            unsafe { to.cast::<[[i8; WORD]; N]>().write(from.cast::<[[i8; WORD]; N]>().read()) };
            (from, to) = (from.wrapping_add(stride), to.wrapping_add(length));
        }
        self.at += count * length;
    }
}

/// Copies a few bytes to a slice as long: overlapping words rather than a call of `memcpy`.
#[inline]
fn copy(from: &[i8], to: &mut [i8]) {
    #[inline(always)]
    fn words<const N: usize>(from: &[i8], to: &mut [i8]) {
        for (from, to) in from.as_chunks::<N>().0.iter().zip(to.as_chunks_mut::<N>().0) {
            *to = *from;
        }
        if let (Some(from), Some(to)) = (from.last_chunk::<N>(), to.last_chunk_mut::<N>()) {
            *to = *from;
        }
    }
    match from.len() {
        32.. => to.copy_from_slice(from),
        16.. => words::<16>(from, to),
        8.. => words::<8>(from, to),
        4.. => words::<4>(from, to),
        2.. => words::<2>(from, to),
        _ => to.copy_from_slice(from),
    }
}
