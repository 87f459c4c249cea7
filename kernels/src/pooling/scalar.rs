//! Pools in portable code: the reference, written so that compilers vectorise over channels.

use super::{LANES, Mean};
use crate::quant::scalar::saturate;

/// The largest value of each channel.
pub(super) fn max(taps: &[&[i8]], out: &mut [i8]) {
    out.fill(i8::MIN);
    for tap in taps {
        for (out, &value) in out.iter_mut().zip(*tap) {
            *out = value.max(*out);
        }
    }
}

/// The mean of each channel.
pub(super) fn mean(taps: &[&[i8]], mean: &Mean, out: &mut [i8]) {
    for (block, out) in out.chunks_mut(LANES).enumerate() {
        let mut sums = [mean.offset; LANES];
        for tap in taps {
            for (sum, &value) in sums.iter_mut().zip(&tap[block * LANES..][..out.len()]) {
                *sum += i32::from(value);
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = saturate(sum as f32 * mean.multiplier, mean.target);
        }
    }
}
