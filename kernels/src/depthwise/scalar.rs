//! Depthwise convolution in portable code: the reference, written so that compilers vectorise over channels.

use super::weights::block_starts;
use super::{Finish, LANES};
use crate::linear::{self, Float, Requantize, lanes};
use crate::quant::Target;
use crate::quant::scalar::saturate;

/// The portable code of a [`Finish`].
pub(super) trait Lanes: linear::Finish {
    /// Finishes the sums of the channels from `start` on.
    fn write(&self, start: usize, sums: &[i32; LANES], out: &mut [Self::Output]);
}

impl Lanes for Requantize<'_> {
    #[inline]
    fn write(&self, start: usize, sums: &[i32; LANES], out: &mut [i8]) {
        let target = Target { zero_point: self.zero_point, low: self.low, high: self.high };
        let multipliers: [f32; LANES] = lanes(self.multiplier, start, 0.0);
        for ((out, &sum), multiplier) in out.iter_mut().zip(sums).zip(multipliers) {
            *out = saturate(sum as f32 * multiplier, target);
        }
    }
}

impl Lanes for Float<'_> {
    #[inline]
    fn write(&self, start: usize, sums: &[i32; LANES], out: &mut [f32]) {
        let [scales, biases]: [[f32; LANES]; 2] = [lanes(self.scale, start, 0.0), lanes(self.bias, start, 0.0)];
        for (((out, &sum), scale), bias) in out.iter_mut().zip(sums).zip(scales).zip(biases) {
            *out = sum as f32 * scale + bias;
        }
    }
}

/// The output at one position, from the input at each tap.
pub(super) fn pixel<F: Finish>(weights: &[i16], taps: &[&[i8]], finish: &F, out: &mut [F::Output]) {
    let (weights, _) = weights.as_chunks::<LANES>();
    for (start, weights) in block_starts(out.len()).zip(weights.chunks_exact(taps.len())) {
        let out = &mut out[start..];
        let out = if out.len() > LANES { &mut out[..LANES] } else { out };
        let mut sums: [i32; LANES] = lanes(finish.bias(), start, 0);
        for (input, weights) in taps.iter().zip(weights) {
            let input = &input[start..][..out.len()];
            for ((sum, &input), &weight) in sums.iter_mut().zip(input).zip(weights) {
                *sum = sum.wrapping_add(i32::from(input) * i32::from(weight));
            }
        }
        finish.write(start, &sums, out);
    }
}
