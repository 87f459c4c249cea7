//! Convolution in `f32` with filters of 3 x 3 taps that move by one pixel, after Winograd (Lavin and Gray 2016): squares of results are made
//! at once, from products of transformed inputs and filters, a matrix product for each place of the transformed square. A result takes
//! 2.25 times fewer products in squares of 2 x 2, four times fewer in those of 4 x 4; the weights take 1.8 and 4 times the memory.
//!
//! A result is the same whatever is computed beside it. It is made of sums over all that its square reads: with `u = 2^-24` and `x` the
//! largest magnitude there, it is within `(2 channels + 40) u * k * x * (sum over the channels of the largest |weight|)` of the exact one,
//! `k` being 81 in squares of 2 x 2 and 2304 in those of 4 x 4. On noise the error is far less: about that of
//! [`Convolution`](super::Convolution) in squares of 2 x 2, five times as much in those of 4 x 4, `2e-6` of a result.

use super::{Finish, Matrix, Weights, multiply};
use crate::convolution::Shape;
use crate::loops::{self, Loop, hold};
use crate::{InstructionSet, Windows};
use std::ops::Range;

/// Taps along a side of a filter.
const TAPS: usize = 3;

/// Channels that are transformed at once.
const LANES: usize = 16;
type Lanes = [f32; LANES];

/// Values between the transforms that are held at once: within the last level of cache of a small board.
const HELD: usize = 256 * 1024;

/// Squares at once, about: enough for one pass over the weights, and at most some blocks of the product.
const SQUARES: Range<usize> = 24..120;

/// Filters of so many channels times outputs at most take squares of 4 x 4, and those of so many 2 x 2. With more the memory is not worth it:
/// pictures are small where channels are many, and the weights themselves are what is waited for.
const LARGE_SQUARES: usize = 64 * 64;
const SMALL_SQUARES: usize = 256 * 256;

/// The weights of a convolution, transformed and packed once for pictures of any size.
#[derive(Debug, Clone)]
pub struct Winograd {
    channels: usize,
    outputs: usize,
    /// Results along the side of a square: 2 or 4.
    side: usize,
    /// For each place of a transformed square.
    places: Vec<Weights>,
    bias: Vec<f32>,
}

impl Winograd {
    /// Whether a convolution can be computed so, and that is worth the memory. The windows have to move by one pixel, undilated.
    pub fn pays(shape: &Shape) -> bool {
        let Shape { channels, outputs, kernel, groups } = *shape;
        kernel == [TAPS; 2] && groups == 1 && channels.min(outputs) >= LANES && channels * outputs <= SMALL_SQUARES
    }

    /// Packs `weights[output][kernel height][kernel width][channel]` for `set`, with a bias for each output, or none.
    ///
    /// # Panics
    /// If this does not [pay](Winograd::pays), or if there are not as many weights or biases as the shape takes.
    pub fn pack(set: InstructionSet, shape: Shape, weights: &[f32], bias: &[f32]) -> Winograd {
        assert!(Winograd::pays(&shape), "winograd: nothing for {shape:?}");
        Winograd::in_squares(set, shape, weights, bias, if shape.channels * shape.outputs <= LARGE_SQUARES { 4 } else { 2 })
    }

    /// [`Winograd::pack`] for squares with `side` results along a side.
    pub(super) fn in_squares(set: InstructionSet, shape: Shape, weights: &[f32], bias: &[f32], side: usize) -> Winograd {
        let Shape { channels, outputs, .. } = shape;
        assert_eq!(weights.len(), outputs * shape.depth(), "winograd: weights are outputs x kernel x channels");
        assert!([0, outputs].contains(&bias.len()), "winograd: {} biases for {outputs} outputs", bias.len());
        let bias = if bias.is_empty() { vec![0.0; outputs] } else { bias.to_vec() };
        let rows: &[[f64; TAPS]] = match side {
            2 => &[[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]],
            _ => {
                const A: f64 = 1.0 / 6.0;
                const B: f64 = 1.0 / 24.0;
                &[[0.25, 0.0, 0.0], [-A, -A, -A], [-A, A, -A], [B, 2.0 * B, 4.0 * B], [B, -2.0 * B, 4.0 * B], [0.0, 0.0, 1.0]]
            }
        };
        let place = |down: &[f64; TAPS], aside: &[f64; TAPS]| {
            let factors: [f64; TAPS * TAPS] = std::array::from_fn(|tap| down[tap / TAPS] * aside[tap % TAPS]);
            let filters = weights.chunks_exact(TAPS * TAPS * channels);
            let of_filter = |filter: &[f32], channel: usize| -> f32 {
                factors.iter().enumerate().map(|(tap, factor)| factor * f64::from(filter[tap * channels + channel])).sum::<f64>() as f32
            };
            let values: Vec<f32> = filters.flat_map(|filter| (0..channels).map(move |channel| of_filter(filter, channel))).collect();
            Weights::pack(set, &values, outputs, channels)
        };
        let places = rows.iter().flat_map(|down| rows.iter().map(move |aside| place(down, aside))).collect();
        Winograd { channels, outputs, side, places, bias }
    }

    /// Memory that the weights take.
    pub fn bytes(&self) -> usize {
        self.places.iter().map(Weights::bytes).sum()
    }

    /// Computes `out[picture][row][column][output]`, held within `limits`, of a batch of pictures `input[picture][row][column][channel]`,
    /// which are read as 0 outside.
    ///
    /// # Panics
    /// If the windows do not move by one pixel, undilated, with 3 x 3 taps, if the input is not whole pictures, or `out` not their results.
    pub fn run(&self, windows: &Windows, input: &[f32], limits: [f32; 2], out: &mut [f32], scratch: &mut Vec<f32>) {
        let Winograd { channels, outputs, side, .. } = *self;
        assert_eq!(
            (windows.kernel, windows.strides, windows.dilations),
            ([TAPS; 2], [1; 2], [1; 2]),
            "winograd: windows of 3 x 3, each pixel"
        );
        let picture = windows.input[0] * windows.input[1] * channels;
        assert!(input.len().is_multiple_of(picture), "winograd: the input is whole pictures");
        let pictures = input.len() / picture;
        assert_eq!(out.len(), pictures * windows.count() * outputs, "winograd: an output has as many values as its pixels");
        let squares = pictures * windows.output[0].div_ceil(side) * windows.output[1].div_ceil(side);
        let most = (HELD / (self.places.len() * (channels + outputs))).clamp(SQUARES.start, SQUARES.end);
        // Blocks of about the same size: a small last one would read all the weights for little.
        let block = squares.div_ceil((squares / most).max(1)).max(1);
        let set = self.places[0].set();
        for start in (0..squares).step_by(block) {
            let count = block.min(squares - start);
            scratch.resize(self.places.len() * count * (channels + outputs), 0.0);
            let (taps, products) = scratch.split_at_mut(self.places.len() * count * channels);
            let squares = start..start + count;
            match side {
                2 => loops::run(set, Taps::<4> { windows, channels, squares: squares.clone(), input, taps }),
                _ => loops::run(set, Taps::<6> { windows, channels, squares: squares.clone(), input, taps }),
            }
            let (of_taps, of_products) = (taps.chunks_exact(count * channels), products.chunks_exact_mut(count * outputs));
            for ((weights, taps), products) in self.places.iter().zip(of_taps).zip(of_products) {
                multiply(weights, 0..outputs, &Matrix::new(taps, count, channels, channels), &Finish::default(), products, outputs);
            }
            let bias = self.bias.as_slice();
            match side {
                2 => loops::run(set, Results::<4, 2> { windows, bias, limits, squares, products, out }),
                _ => loops::run(set, Results::<6, 4> { windows, bias, limits, squares, products, out }),
            }
        }
    }
}

/// Where a square lies: its picture, and its first line and column of results.
fn place_of(windows: &Windows, side: usize, square: usize) -> (usize, [usize; 2]) {
    let [down, across] = windows.output.map(|size| size.div_ceil(side));
    (square / (down * across), [square / across % down * side, square % across * side])
}

/// Where the [`LANES`] begin that `length` values are taken in, the last ones once more where they are not whole.
fn lanes(length: usize) -> impl Iterator<Item = usize> {
    (0..length).step_by(LANES).map(move |start| start.min(length - LANES))
}

#[inline(always)]
fn load(values: &[f32], at: usize) -> Lanes {
    values[at..at + LANES].try_into().expect("whole lanes")
}

/// A row of columns.
#[inline(always)]
fn row_of<const ROWS: usize, const COLUMNS: usize>(columns: &[[Lanes; ROWS]; COLUMNS], row: usize) -> [Lanes; COLUMNS] {
    let mut out = [[0.0; LANES]; COLUMNS];
    out.iter_mut().zip(columns).for_each(|(value, column)| *value = column[row]);
    out
}

/// `f` of the values lane by lane.
#[inline(always)]
fn each<const N: usize>(values: [&Lanes; N], f: impl Fn([f32; N]) -> f32) -> Lanes {
    let mut out = [0.0; LANES];
    for (lane, out) in out.iter_mut().enumerate() {
        let mut at = [0.0; N];
        at.iter_mut().zip(values).for_each(|(at, value)| *at = value[lane]);
        *out = f(at);
    }
    out
}

/// The squares of the input, `SIDE` pixels wide, transformed to `taps[place][square][channel]`.
struct Taps<'a, const SIDE: usize> {
    windows: &'a Windows,
    channels: usize,
    squares: Range<usize>,
    input: &'a [f32],
    taps: &'a mut [f32],
}

impl<const SIDE: usize> Loop for Taps<'_, SIDE> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Taps { windows, channels, squares, input, taps } = self;
        let [height, width] = windows.input;
        let count = squares.len();
        let nothing = [0.0; LANES];
        for (index, square) in squares.enumerate() {
            let (picture, first) = place_of(windows, SIDE + 1 - TAPS, square);
            let picture = &input[picture * height * width * channels..][..height * width * channels];
            // Where a pixel of the square begins in the picture, if it lies there.
            let [rows, columns] = [0, 1].map(|axis| {
                let place =
                    |pixel: usize| (first[axis] + pixel).checked_sub(windows.pads_begin[axis]).filter(|at| *at < windows.input[axis]);
                std::array::from_fn::<_, SIDE, _>(place)
            });
            for channel in lanes(channels) {
                let mut half = [[nothing; SIDE]; SIDE];
                for (column, half) in columns.iter().zip(&mut half) {
                    let mut pixels = [nothing; SIDE];
                    for (row, pixel) in rows.iter().zip(&mut pixels) {
                        if let (Some(row), Some(column)) = (row, column) {
                            *pixel = load(picture, (row * width + column) * channels + channel);
                        }
                    }
                    *half = of_taps(&pixels);
                }
                for row in 0..SIDE {
                    for (column, values) in of_taps(&row_of(&half, row)).iter().enumerate() {
                        taps[((row * SIDE + column) * count + index) * channels + channel..][..LANES].copy_from_slice(values);
                    }
                }
            }
        }
    }
}

/// The transform of a line of the input.
#[inline(always)]
fn of_taps<const SIDE: usize>(d: &[Lanes; SIDE]) -> [Lanes; SIDE] {
    let mut out = [[0.0; LANES]; SIDE];
    if SIDE == 4 {
        out[0] = each([&d[0], &d[2]], |[a, b]| a - b);
        out[1] = each([&d[1], &d[2]], |[a, b]| a + b);
        out[2] = each([&d[2], &d[1]], |[a, b]| a - b);
        out[3] = each([&d[1], &d[3]], |[a, b]| a - b);
        return out;
    }
    let outer = |a: &Lanes, b: &Lanes, c: &Lanes| each([a, b, c], |[a, b, c]| 4.0 * a - 5.0 * b + c);
    let (even, odd) = (each([&d[4], &d[2]], |[a, b]| a - 4.0 * b), each([&d[3], &d[1]], |[a, b]| a - 4.0 * b));
    let (near, far) = (each([&d[4], &d[2]], |[a, b]| a - b), each([&d[3], &d[1]], |[a, b]| 2.0 * (a - b)));
    out[0] = outer(&d[0], &d[2], &d[4]);
    out[1] = each([&even, &odd], |[a, b]| a + b);
    out[2] = each([&even, &odd], |[a, b]| a - b);
    out[3] = each([&near, &far], |[a, b]| a + b);
    out[4] = each([&near, &far], |[a, b]| a - b);
    out[5] = outer(&d[1], &d[3], &d[5]);
    out
}

/// The products `[place][square][output]` transformed to results, `RESULTS` pixels wide.
struct Results<'a, const SIDE: usize, const RESULTS: usize> {
    windows: &'a Windows,
    bias: &'a [f32],
    limits: [f32; 2],
    squares: Range<usize>,
    products: &'a [f32],
    out: &'a mut [f32],
}

impl<const SIDE: usize, const RESULTS: usize> Loop for Results<'_, SIDE, RESULTS> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Results { windows, bias, limits, squares, products, out } = self;
        let ([lines, columns], outputs, count) = (windows.output, bias.len(), squares.len());
        for (index, square) in squares.enumerate() {
            let (picture, [line, column]) = place_of(windows, RESULTS, square);
            let (high, wide) = (RESULTS.min(lines - line), RESULTS.min(columns - column));
            for output in lanes(outputs) {
                let bias = load(bias, output);
                let mut half = [[[0.0; LANES]; RESULTS]; SIDE];
                for (column, half) in half.iter_mut().enumerate() {
                    let place = |row: usize| load(products, ((row * SIDE + column) * count + index) * outputs + output);
                    let mut values = [[0.0; LANES]; SIDE];
                    values.iter_mut().enumerate().for_each(|(row, value)| *value = place(row));
                    *half = of_products(&values);
                }
                for row in 0..high {
                    let results: [Lanes; RESULTS] = of_products(&row_of(&half, row));
                    let first = (picture * lines + line + row) * columns + column;
                    for (pixel, result) in results.iter().take(wide).enumerate() {
                        let target = &mut out[(first + pixel) * outputs + output..][..LANES];
                        target.copy_from_slice(&each([result, &bias], |[a, b]| a + b));
                        hold(limits, target);
                    }
                }
            }
        }
    }
}

/// The transform of a line of products.
#[inline(always)]
fn of_products<const SIDE: usize, const RESULTS: usize>(m: &[Lanes; SIDE]) -> [Lanes; RESULTS] {
    let mut out = [[0.0; LANES]; RESULTS];
    if SIDE == 4 {
        out[0] = each([&m[0], &m[1], &m[2]], |[a, b, c]| a + b + c);
        out[1] = each([&m[1], &m[2], &m[3]], |[a, b, c]| a - b - c);
        return out;
    }
    let (sum, difference) = (each([&m[1], &m[2]], |[a, b]| a + b), each([&m[1], &m[2]], |[a, b]| a - b));
    let (far_sum, far_difference) = (each([&m[3], &m[4]], |[a, b]| a + b), each([&m[3], &m[4]], |[a, b]| a - b));
    out[0] = each([&m[0], &sum, &far_sum], |[a, b, c]| a + b + c);
    out[1] = each([&difference, &far_difference], |[a, b]| a + 2.0 * b);
    out[2] = each([&sum, &far_sum], |[a, b]| a + 4.0 * b);
    out[3] = each([&difference, &far_difference, &m[5]], |[a, b, c]| a + 8.0 * b + c);
    out
}
