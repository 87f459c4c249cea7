//! Depthwise convolution in portable code: the reference, written so that compilers vectorise over channels.

use super::weights::block_starts;
use super::{LANES, Requantize, target};
use crate::quant::scalar::saturate;

/// The output at one position, from the input at each tap.
pub(super) fn pixel(weights: &[i16], taps: &[&[i8]], finish: &Requantize<'_>, out: &mut [i8]) {
    let target = target(finish);
    let (weights, _) = weights.as_chunks::<LANES>();
    for (start, weights) in block_starts(out.len()).zip(weights.chunks_exact(taps.len())) {
        let out = &mut out[start..];
        let out = if out.len() > LANES { &mut out[..LANES] } else { out };
        let mut sums: [i32; LANES] = lanes(finish.bias, start, 0);
        for (input, weights) in taps.iter().zip(weights) {
            let input = &input[start..][..out.len()];
            for ((sum, &input), &weight) in sums.iter_mut().zip(input).zip(weights) {
                *sum = sum.wrapping_add(i32::from(input) * i32::from(weight));
            }
        }
        let multipliers = lanes(finish.multiplier, start, 0.0);
        for ((out, sum), multiplier) in out.iter_mut().zip(sums).zip(multipliers) {
            *out = saturate(sum as f32 * multiplier, target);
        }
    }
}

/// The values for the channels from `start` on, of a slice that is empty, holds one for all, or one for each.
fn lanes<T: Copy>(values: &[T], start: usize, absent: T) -> [T; LANES] {
    match values {
        [] => [absent; LANES],
        &[one] => [one; LANES],
        each => {
            let each = &each[start..each.len().min(start + LANES)];
            let mut lanes = [absent; LANES];
            lanes[..each.len()].copy_from_slice(each);
            lanes
        }
    }
}
