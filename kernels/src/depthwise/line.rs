//! Lines of windows for the vector code: those that lie on the input from left to right, and those at its edges one by one.

#[cfg(target_arch = "x86_64")]
use super::avx2;
#[cfg(target_arch = "aarch64")]
use super::neon;
use super::weights::{Packed, Weights, block_starts};
use super::{Finish, LANES};
use crate::Windows;
use std::ops::Range;

/// Windows at regular distances.
pub(super) struct Line<'a, F: Finish> {
    /// Size of the kernel, and bytes between the taps of a row, if these are the same for all.
    pub(super) regular: Option<([usize; 2], usize)>,
    /// How many.
    pub(super) windows: usize,
    /// Bytes of input from a window to the next.
    pub(super) pixel: usize,
    /// Results that each window has.
    pub(super) channels: usize,
    /// Results from a window to the next: fewer than it has, if a later one overwrites the rest.
    pub(super) advance: usize,
    pub(super) finish: F,
    /// For each block of channels.
    pub(super) parameters: &'a [F::Parameters],
}

/// What the vector code needs, found once for all rows.
pub(super) struct Vectors<'a, F: Finish> {
    weights: &'a Weights,
    finish: F,
    /// Of the blocks of a pixel.
    single: Vec<F::Parameters>,
    /// Of the blocks of several.
    repeated: Vec<F::Parameters>,
}

impl<'a, F: Finish> Vectors<'a, F> {
    pub(super) fn new(weights: &'a Weights, finish: &F) -> Self {
        let parameters = |packed: &Packed, pixels: usize| match packed {
            Packed::Plain(_) => Vec::new(),
            // SAFETY: other weights are packed only for a set with the vector code's instructions.
            _ => block_starts(weights.channels * pixels).map(|start| unsafe { finish.parameters(start, weights.channels) }).collect(),
        };
        let single = parameters(&weights.packed, 1);
        let repeated = weights.repeated.as_ref().map(|(pixels, packed)| parameters(packed, *pixels)).unwrap_or_default();
        Vectors { weights, finish: *finish, single, repeated }
    }

    /// The output at one position, from the input at each tap; at least [`LANES`] channels.
    pub(super) fn pixel(&self, taps: &[&[i8]], out: &mut [F::Output]) {
        let channels = self.weights.channels;
        let line =
            Line::<F> { regular: None, windows: 1, pixel: 0, channels, advance: channels, finish: self.finish, parameters: &self.single };
        run(&self.weights.packed, taps, &line, out);
    }

    /// The windows of row `row` that lie on the input from left to right: gives those done. Taps above or below the input are on
    /// `padding`, a row of the input.
    pub(super) fn inner<'b>(
        &self,
        windows: &Windows,
        input: &'b [i8],
        padding: &'b [i8],
        row: usize,
        taps: &mut Vec<&'b [i8]>,
        out: &mut [F::Output],
    ) -> Range<usize> {
        let Weights { channels, ref packed, ref repeated, .. } = *self.weights;
        let inner = windows.inner(1);
        if inner.is_empty() || matches!((packed, repeated), (Packed::Plain(_), None)) {
            return 0..0;
        }
        taps.clear();
        for tap in 0..windows.kernel[0] {
            let source = match windows.position(0, row, tap) {
                Some(row) => &input[row * padding.len()..][..padding.len()],
                None => padding,
            };
            let left = inner.start * windows.strides[1] - windows.pads_begin[1];
            taps.extend((0..windows.kernel[1]).map(|tap| &source[(left + tap * windows.dilations[1]) * channels..]));
        }
        let line = Line::<F> {
            regular: Some((windows.kernel, windows.dilations[1] * channels)),
            windows: inner.len(),
            pixel: windows.strides[1] * channels,
            channels,
            advance: channels,
            finish: self.finish,
            parameters: &self.single,
        };
        let out = &mut out[inner.start * channels..];
        match repeated {
            Some((pixels, repeated)) if windows.strides[1] == 1 && inner.len() >= *pixels => {
                let several = pixels * channels;
                let line = Line { pixel: several, channels: several, advance: several, parameters: &self.repeated, ..line };
                run(repeated, taps, &Line { windows: inner.len() / pixels, ..line }, out);
                // The last ones, some of them once more.
                if !inner.len().is_multiple_of(*pixels) {
                    let skipped = (inner.len() - pixels) * channels;
                    taps.iter_mut().for_each(|tap| *tap = &tap[skipped..]);
                    run(repeated, taps, &Line { windows: 1, ..line }, &mut out[skipped..]);
                }
                inner
            }
            // A block is more than a pixel: what is too much is overwritten, but at the end of a row.
            Some((_, repeated)) if channels < LANES => {
                let fit = |length: usize, step: usize| length.checked_sub(LANES).map_or(0, |left| left / step + 1);
                let readable = taps.iter().map(|tap| fit(tap.len(), line.pixel)).min().unwrap_or(0);
                let count = inner.len().min(readable).min(fit(out.len(), channels));
                run(repeated, taps, &Line { windows: count, channels: LANES, parameters: &self.repeated, ..line }, out);
                inner.start..inner.start + count
            }
            _ => {
                run(packed, taps, &line, out);
                inner
            }
        }
    }
}

/// Computes a line, of which `taps` are the input from each tap of the first window on.
fn run<F: Finish>(packed: &Packed, taps: &[&[i8]], line: &Line<'_, F>, out: &mut [F::Output]) {
    let Some(last) = line.windows.checked_sub(1) else { return };
    let reach = last * line.pixel + line.channels;
    assert!(taps.iter().all(|tap| tap.len() >= reach), "depthwise: windows that reach beyond the input");
    assert!(out.len() >= last * line.advance + line.channels, "depthwise: windows that reach beyond the output");
    assert!(line.channels >= LANES && line.parameters.len() >= line.channels.div_ceil(LANES), "depthwise: parameters for each block");
    match packed {
        Packed::Plain(_) => unreachable!("lines are the vector code's"),
        #[cfg(target_arch = "aarch64")]
        // SAFETY: such weights are packed only for a set with NEON; the windows lie on the input, their results on the output.
        Packed::Bytes(packed) => unsafe { neon::line(packed, taps, line, out) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        Packed::Words(packed) => unsafe { neon::line(packed, taps, line, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: such weights are packed only for a set with AVX2; the windows lie on the input, their results on the output.
        Packed::Pairs(packed) => unsafe { avx2::line(packed, taps, line, out) },
    }
}
