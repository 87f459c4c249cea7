//! The quantization kernels in portable code: the reference, written so that compilers vectorise the loops.

use super::{Grid, Target};

/// Adding 1.5 * 2^23 to a float under 2^22 leaves its nearest integer, ties to even, in the lowest bits. Unlike
/// `round_ties_even` this is one instruction on every CPU, 32-bit ARM and plain x86-64 among them.
const ROUND: f32 = 12_582_912.0;

/// Steps from the zero point: `clamp(round(value / scale))`. The bounds are integers, so clamping first changes nothing.
#[inline(always)]
fn steps(value: f32, scale: f32, (lowest, highest): (f32, f32)) -> i32 {
    let steps = value / scale;
    round_within(steps, lowest, highest)
}

/// `value` rounded and clamped to bounds, which are integers of few bits; a NaN becomes the lowest.
#[inline(always)]
fn round_within(value: f32, lowest: f32, highest: f32) -> i32 {
    // Not `clamp`, because of NaN.
    let value = if value > lowest { value } else { lowest };
    let value = if value < highest { value } else { highest };
    (value + ROUND).to_bits() as i32 - ROUND.to_bits() as i32
}

/// See [`Target`].
#[inline(always)]
pub(crate) fn saturate(value: f32, target: Target) -> i8 {
    let zero_point = i32::from(target.zero_point);
    let [lowest, highest] = [target.low, target.high].map(|bound| (i32::from(bound) - zero_point) as f32);
    (round_within(value, lowest, highest) + zero_point) as i8
}

/// See [`super::quantize`]; `target` holds the low byte of each integer.
pub(super) fn quantize(source: &[f32], grid: Grid, target: &mut [u8]) {
    let bounds = grid.bounds();
    for (&value, target) in source.iter().zip(target) {
        *target = (steps(value, grid.scale, bounds) + grid.zero_point) as u8;
    }
}

/// See [`super::dequantize`]; `source` holds `i8` if `SIGNED`.
pub(super) fn dequantize<const SIGNED: bool>(source: &[u8], grid: Grid, target: &mut [f32]) {
    for (&bits, target) in source.iter().zip(target) {
        let value = if SIGNED { i32::from(bits as i8) } else { i32::from(bits) };
        *target = (value - grid.zero_point) as f32 * grid.scale;
    }
}

/// See [`super::fake_quantize`].
pub(super) fn fake_quantize(values: &mut [f32], grid: Grid) {
    let bounds = grid.bounds();
    for value in values {
        *value = steps(*value, grid.scale, bounds) as f32 * grid.scale;
    }
}

/// See [`super::extent`].
pub(super) fn extent(values: &[f32]) -> (f32, f32) {
    // A NaN is neither less nor greater.
    let (mut lowest, mut highest) = ([0.0; 8], [0.0; 8]);
    for values in values.chunks(8) {
        for ((&value, lowest), highest) in values.iter().zip(&mut lowest).zip(&mut highest) {
            *lowest = if value < *lowest { value } else { *lowest };
            *highest = if value > *highest { value } else { *highest };
        }
    }
    (lowest.into_iter().fold(0.0, f32::min), highest.into_iter().fold(0.0, f32::max))
}
