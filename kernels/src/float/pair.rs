//! Products of two activations, such as those of attention: the right side is packed as it comes, a block of a panel at a time.

use super::{DEPTH, Finish, Kernel, Matrix, Panels, Target, Visit, check_finish, for_each_part, reaches, with_kernel};
use crate::InstructionSet;
use crate::linear::{Line, view};
use std::array;
use std::ops::Range;

/// The right side of a product of two activations.
#[derive(Debug, Clone, Copy)]
pub struct Right<'a> {
    values: &'a [f32],
    columns: usize,
    depth: usize,
    stride: usize,
    /// Whether the depth runs along memory.
    transposed: bool,
}

impl<'a> Right<'a> {
    /// `[depth][columns]`: rows of `columns` values, `stride` apart.
    ///
    /// # Panics
    /// If `values` is too short for them.
    pub fn new(values: &'a [f32], depth: usize, columns: usize, stride: usize) -> Right<'a> {
        assert!(reaches(values.len(), depth, columns, stride), "float: the right side is too short");
        Right { values, columns, depth, stride, transposed: false }
    }

    /// `[columns][depth]`: columns of `depth` values, `stride` apart, such as the keys that queries are multiplied with.
    ///
    /// # Panics
    /// If `values` is too short for them.
    pub fn transposed(values: &'a [f32], depth: usize, columns: usize, stride: usize) -> Right<'a> {
        assert!(reaches(values.len(), columns, depth, stride), "float: the right side is too short");
        Right { values, columns, depth, stride, transposed: true }
    }

    /// Fills `[depth][COLUMNS]` with the columns from `first` on, `width` of them; what is beyond keeps whatever it holds.
    fn pack<const COLUMNS: usize>(&self, first: usize, width: usize, depth: Range<usize>, packed: &mut [f32]) {
        let rows = &mut packed.as_chunks_mut::<COLUMNS>().0[..depth.len()];
        if self.transposed {
            for column in (0..width).step_by(4) {
                let source = |column: usize| &self.values[(first + column) * self.stride..][depth.clone()];
                if column + 4 <= width {
                    transpose(array::from_fn(|four| source(column + four)), column, rows);
                } else {
                    for column in column..width {
                        rows.iter_mut().zip(source(column)).for_each(|(row, value)| row[column] = *value);
                    }
                }
            }
        } else {
            for (row, depth) in rows.iter_mut().zip(depth) {
                let source = &self.values[depth * self.stride + first..];
                match source.first_chunk() {
                    // No call, since the length is known when compiled.
                    Some(whole) if width == COLUMNS => *row = *whole,
                    _ => row[..width].copy_from_slice(&source[..width]),
                }
            }
        }
    }
}

/// Writes four columns side by side, four values of each at a time.
#[inline(always)]
fn transpose<const COLUMNS: usize>(columns: [&[f32]; 4], at: usize, rows: &mut [[f32; COLUMNS]]) {
    let [(a, a_rest), (b, b_rest), (c, c_rest), (d, d_rest)] = columns.map(|column| column.as_chunks::<4>());
    let (fours, rest) = rows.as_chunks_mut::<4>();
    for ((((rows, a), b), c), d) in fours.iter_mut().zip(a).zip(b).zip(c).zip(d) {
        for (index, row) in rows.iter_mut().enumerate() {
            row[at..at + 4].copy_from_slice(&[a[index], b[index], c[index], d[index]]);
        }
    }
    for ((((row, a), b), c), d) in rest.iter_mut().zip(a_rest).zip(b_rest).zip(c_rest).zip(d_rest) {
        row[at..at + 4].copy_from_slice(&[*a, *b, *c, *d]);
    }
}

/// Memory for a packed block of the right side: one a thread, kept from call to call. 16 KiB.
#[derive(Debug, Default)]
pub struct Scratch(Vec<Line>);

impl Scratch {
    /// Empty: it grows when used.
    pub fn new() -> Scratch {
        Scratch::default()
    }
}

/// `out[row][column] = bias + sum over the depth of rows * right`, as [`multiply`](super::multiply) does it, with `set`.
///
/// Heads of an attention that lie interleaved, `[sequence][heads * width]`, are multiplied where they are: each head is a product
/// of its own, of slices that begin at `head * width`, with rows `heads * width` apart.
///
/// # Panics
/// If the depths differ, if `out` is too short, or if there is not one bias for each column.
pub fn multiply_pair(
    set: InstructionSet,
    rows: &Matrix<'_>,
    right: &Right<'_>,
    finish: &Finish<'_>,
    out: &mut [f32],
    stride: usize,
    scratch: &mut Scratch,
) {
    assert_eq!(rows.depth, right.depth, "float: rows as deep as the right side");
    check_finish(finish, right.columns);
    let target = Target::new(out, rows.count, right.columns, stride);
    if rows.count > 0 {
        with_kernel(set, Pair { rows, right, finish, target, scratch });
    }
}

/// The arguments of [`multiply_pair`].
struct Pair<'a> {
    rows: &'a Matrix<'a>,
    right: &'a Right<'a>,
    finish: &'a Finish<'a>,
    target: Target<'a>,
    scratch: &'a mut Scratch,
}

impl Visit for Pair<'_> {
    type Output = ();

    fn visit<K: Kernel>(self) {
        let Pair { rows, right, finish, mut target, scratch } = self;
        let packed = view::<f32>(&mut scratch.0, DEPTH.min(rows.depth) * K::COLUMNS);
        for column in (0..right.columns).step_by(K::COLUMNS) {
            let width = K::COLUMNS.min(right.columns - column);
            for_each_part(rows, finish, DEPTH, |part| {
                match K::COLUMNS {
                    4 => right.pack::<4>(column, width, part.depth.clone(), packed),
                    8 => right.pack::<8>(column, width, part.depth.clone(), packed),
                    16 => right.pack::<16>(column, width, part.depth.clone(), packed),
                    _ => unreachable!("panels of kernels"),
                }
                let panels = Panels { weights: packed.as_ptr(), stride: 0 };
                // SAFETY: the CPU has the set, and a whole panel is packed.
                unsafe { target.add::<K>(part, 0..rows.count, column, panels, width) };
            });
        }
    }
}
