//! The convolutions against their definition in `f64`, within the stated bound, on every instruction set, whatever is computed at once.

use super::{Convolution, Depthwise, Winograd};
use crate::convolution::Shape;
use crate::{InstructionSet, Windows};
use proptest::prelude::*;

/// A convolution with all that belongs to it.
#[derive(Debug, Clone)]
struct Case {
    shape: Shape,
    windows: Windows,
    batch: usize,
    input: Vec<f32>,
    /// `[output][kernel height][kernel width][channels of a group]`
    weights: Vec<f32>,
    bias: Vec<f32>,
    limits: [f32; 2],
}

fn noise(length: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f32 / (1u32 << 30) as f32 - 1.0
    };
    (0..length).map(|_| next()).collect()
}

impl Case {
    /// The exact result of an output pixel, unlimited, and the sum of the magnitudes in it.
    fn exact(&self, picture: usize, [line, column]: [usize; 2], output: usize) -> (f64, f64) {
        let Shape { channels, outputs, kernel, groups } = self.shape;
        let (of_group, group) = (channels / groups, output / (outputs / groups));
        let [height, width] = self.windows.input();
        let start = f64::from(self.bias.get(output).copied().unwrap_or(0.0));
        let (mut sum, mut size) = (start, start.abs());
        for (y, x) in (0..kernel[0]).flat_map(|y| (0..kernel[1]).map(move |x| (y, x))) {
            let (Some(row), Some(at)) = (self.windows.position(0, line, y), self.windows.position(1, column, x)) else { continue };
            for channel in 0..of_group {
                let value = self.input[((picture * height + row) * width + at) * channels + group * of_group + channel];
                let weight = self.weights[((output * kernel[0] + y) * kernel[1] + x) * of_group + channel];
                sum += f64::from(value) * f64::from(weight);
                size += (f64::from(value) * f64::from(weight)).abs();
            }
        }
        (sum, size)
    }

    fn check(&self, what: &str, out: &[f32]) -> Result<(), TestCaseError> {
        let [lines, columns] = self.windows.output();
        let outputs = self.shape.outputs;
        let bound = (2.0 * self.shape.depth() as f64 + 2.0) * 2f64.powi(-24);
        for (index, value) in out.iter().enumerate() {
            let (pixel, output) = (index / outputs, index % outputs);
            let (exact, size) = self.exact(pixel / (lines * columns), [pixel / columns % lines, pixel % columns], output);
            let exact = exact.clamp(self.limits[0].into(), self.limits[1].into());
            let off = (f64::from(*value) - exact).abs();
            prop_assert!(off <= bound * size, "{what}: {value} for {exact} at {index}");
        }
        Ok(())
    }
}

fn case(depthwise: bool) -> impl Strategy<Value = Case> {
    let sizes = (1usize..3, [1usize..12, 1usize..12], [1usize..5, 1usize..5], [1usize..4, 1usize..4], [1usize..3, 1usize..3]);
    let channels = (1usize..5, if depthwise { 1usize..70 } else { 1usize..6 }, if depthwise { 1usize..2 } else { 1usize..25 });
    (sizes, [0usize..3, 0usize..3, 0usize..3, 0usize..3], channels, any::<u64>(), 0u8..3).prop_filter_map(
        "windows on the picture",
        move |((batch, input, kernel, strides, dilations), pads, (groups, part, outs), seed, limited)| {
            let fits = |axis: usize| (kernel[axis] - 1) * dilations[axis] < input[axis] + pads[axis] + pads[axis + 2];
            let (groups, channels, outputs) = if depthwise { (part, part, part) } else { (groups, groups * part, groups * outs) };
            let shape = Shape { channels, outputs, kernel, groups };
            (fits(0) && fits(1)).then(|| Case {
                shape,
                windows: Windows::new(input, kernel, strides, dilations, pads),
                batch,
                input: noise(batch * input[0] * input[1] * channels, seed),
                weights: noise(outputs * shape.depth(), seed ^ 1),
                bias: noise(if seed.is_multiple_of(2) { outputs } else { 0 }, seed ^ 2),
                limits: [[f32::NEG_INFINITY, f32::INFINITY], [0.0, f32::INFINITY], [-0.5, 0.75]][usize::from(limited)],
            })
        },
    )
}

proptest! {
    #[test]
    fn every_instruction_set_convolves(case in case(false), cut in 0.0f64..1.0) {
        let pixels = case.batch * case.windows.count();
        let outputs = case.shape.outputs;
        for set in InstructionSet::available() {
            let convolution = Convolution::pack(set, case.shape, &case.weights, &case.bias);
            let mut whole = vec![f32::NAN; pixels * outputs];
            let mut scratch = Vec::new();
            convolution.run(&case.windows, &case.input, 0..pixels, case.limits, &mut whole, &mut scratch);
            case.check(&format!("{set:?}"), &whole)?;
            // In two parts: the same bits.
            let cut = (pixels as f64 * cut) as usize;
            let mut parts = vec![f32::NAN; pixels * outputs];
            let (first, second) = parts.split_at_mut(cut * outputs);
            convolution.run(&case.windows, &case.input, 0..cut, case.limits, first, &mut scratch);
            convolution.run(&case.windows, &case.input, cut..pixels, case.limits, second, &mut scratch);
            prop_assert_eq!(parts, whole);
        }
    }

    #[test]
    fn every_instruction_set_convolves_channel_by_channel(case in case(true), cut in 0.0f64..1.0) {
        let (channels, taps) = (case.shape.channels, case.windows.taps());
        let by_tap: Vec<f32> = (0..taps * channels).map(|i| case.weights[i % channels * taps + i / channels]).collect();
        let [lines, columns] = case.windows.output();
        let rows = case.batch * lines;
        for set in InstructionSet::available() {
            let weights = Depthwise::pack(set, channels, &by_tap, &case.bias);
            let mut whole = vec![f32::NAN; rows * columns * channels];
            weights.run(&case.windows, &case.input, 0..rows, case.limits, &mut whole);
            case.check(&format!("{set:?}"), &whole)?;
            let cut = (rows as f64 * cut) as usize;
            let mut parts = vec![f32::NAN; whole.len()];
            let (first, second) = parts.split_at_mut(cut * columns * channels);
            weights.run(&case.windows, &case.input, 0..cut, case.limits, first);
            weights.run(&case.windows, &case.input, cut..rows, case.limits, second);
            prop_assert_eq!(parts, whole);
        }
    }
}

/// Convolutions of 3 x 3 taps that move by one pixel.
fn each_pixel() -> impl Strategy<Value = Case> {
    let pads = [0usize..3, 0usize..3, 0usize..3, 0usize..3];
    let sizes = (1usize..3, [1usize..14, 1usize..14], pads, [16usize..40, 16usize..40]);
    (sizes, any::<u64>(), 0u8..3).prop_filter_map("windows on the picture", |((batch, input, pads, [channels, outputs]), seed, limited)| {
        let fits = |axis: usize| input[axis] + pads[axis] + pads[axis + 2] >= 3;
        let shape = Shape { channels, outputs, kernel: [3; 2], groups: 1 };
        (fits(0) && fits(1)).then(|| Case {
            shape,
            windows: Windows::new(input, [3; 2], [1; 2], [1; 2], pads),
            batch,
            input: noise(batch * input[0] * input[1] * channels, seed),
            weights: noise(outputs * shape.depth(), seed ^ 1),
            bias: noise(if seed.is_multiple_of(2) { outputs } else { 0 }, seed ^ 2),
            limits: [[f32::NEG_INFINITY, f32::INFINITY], [0.0, f32::INFINITY], [-0.5, 0.75]][usize::from(limited)],
        })
    })
}

impl Case {
    /// Holds results in squares against their bound; how far they are off, and how large the exact ones are, in the mean of squares.
    fn check_squares(&self, what: &str, out: &[f32], amplified: f64) -> Result<[f64; 2], TestCaseError> {
        let ([lines, columns], Shape { channels, outputs, .. }) = (self.windows.output(), self.shape);
        let largest = |values: &mut dyn Iterator<Item = f32>| values.fold(0.0, |most: f32, value| most.max(value.abs()));
        let input = largest(&mut self.input.iter().copied());
        let weights: Vec<f64> = (0..outputs)
            .map(|output| {
                let filter = &self.weights[output * 9 * channels..][..9 * channels];
                (0..channels).map(|channel| f64::from(largest(&mut filter.iter().skip(channel).step_by(channels).copied()))).sum()
            })
            .collect();
        let (mut off_squares, mut squares) = (0.0, 0.0);
        for (index, value) in out.iter().enumerate() {
            let (pixel, output) = (index / outputs, index % outputs);
            let (exact, _) = self.exact(pixel / (lines * columns), [pixel / columns % lines, pixel % columns], output);
            let exact = exact.clamp(self.limits[0].into(), self.limits[1].into());
            let off = (f64::from(*value) - exact).abs();
            let bound = (2 * channels + 40) as f64 * 2f64.powi(-24) * amplified * f64::from(input) * weights[output];
            prop_assert!(off <= bound, "{what}: {value} for {exact} at {index}");
            (off_squares, squares) = (off_squares + off * off, squares + exact * exact);
        }
        Ok([off_squares, squares].map(|sum: f64| (sum / out.len() as f64).sqrt()))
    }
}

proptest! {
    #[test]
    fn every_instruction_set_convolves_in_squares(case in each_pixel()) {
        let picture = case.input.len() / case.batch;
        for (set, (side, amplified, noise)) in InstructionSet::available().into_iter().flat_map(|set| [(set, (2, 81.0, 1e-6)), (set, (4, 2304.0, 1e-5))]) {
            let weights = Winograd::in_squares(set, case.shape, &case.weights, &case.bias, side);
            let mut whole = vec![f32::NAN; case.batch * case.windows.count() * case.shape.outputs];
            let mut scratch = Vec::new();
            weights.run(&case.windows, &case.input, case.limits, &mut whole, &mut scratch);
            let [off, size] = case.check_squares(&format!("{set}, {side}"), &whole, amplified)?;
            prop_assert!(off <= noise * size.max(1.0), "{set}, {side}: {off} off, of {size}");
            // Each picture alone: the same bits.
            let mut alone = vec![f32::NAN; whole.len()];
            for (input, alone) in case.input.chunks_exact(picture).zip(alone.chunks_exact_mut(whole.len() / case.batch)) {
                weights.run(&case.windows, input, case.limits, alone, &mut scratch);
            }
            prop_assert_eq!(alone, whole);
        }
    }
}

#[test]
fn what_is_no_number_stays_so() {
    let windows = Windows::new([1, 1], [1, 1], [1, 1], [1, 1], [0; 4]);
    let shape = Shape { channels: 1, outputs: 1, kernel: [1, 1], groups: 1 };
    let mut out = [0.0];
    for set in InstructionSet::available() {
        Convolution::pack(set, shape, &[1.0], &[]).run(&windows, &[f32::NAN], 0..1, [0.0, 6.0], &mut out, &mut Vec::new());
        assert!(out[0].is_nan());
    }
}
