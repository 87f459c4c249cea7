//! Convolution against its definition, on every instruction set, bit for bit.

use super::*;
use crate::linear::{Raw, Requantize};
use proptest::prelude::*;

fn bytes(length: usize, seed: u64) -> Vec<i8> {
    let mut state = seed;
    let step = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as i8
    };
    std::iter::repeat_with(step).take(length).collect()
}

/// The sums by the definition of ONNX ConvInteger.
fn by_definition(geometry: &Geometry, input: &[i8], zero_point: i8, weights: &[i8], outputs: usize, zero_points: &[i8]) -> Vec<i32> {
    let Geometry { input: [height, width], channels, kernel, strides, dilations, pads, groups } = *geometry;
    let ([rows, columns], depth) = (geometry.output(), channels / groups);
    let mut sums = Vec::new();
    for picture in input.chunks(height * width * channels) {
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
            for output in 0..outputs {
                let weight_zero = if zero_points.is_empty() { 0 } else { zero_points[output % zero_points.len()] };
                let mut sum = 0;
                for (tap_y, tap_x) in (0..kernel[0]).flat_map(|y| (0..kernel[1]).map(move |x| (y, x))) {
                    let y = (row * strides[0] + tap_y * dilations[0]) as isize - pads[0] as isize;
                    let x = (column * strides[1] + tap_x * dilations[1]) as isize - pads[1] as isize;
                    if y < 0 || x < 0 || y >= height as isize || x >= width as isize {
                        continue;
                    }
                    for channel in 0..depth {
                        let at = (y as usize * width + x as usize) * channels + output / (outputs / groups) * depth + channel;
                        let weight = weights[((output * kernel[0] + tap_y) * kernel[1] + tap_x) * depth + channel];
                        sum += (i32::from(picture[at]) - i32::from(zero_point)) * (i32::from(weight) - i32::from(weight_zero));
                    }
                }
                sums.push(sum);
            }
        }
    }
    sums
}

fn check(geometry: Geometry, outputs: usize, batch: usize, zero_points: usize, seed: u64) {
    let depth = geometry.kernel[0] * geometry.kernel[1] * geometry.channels / geometry.groups;
    let weights = bytes(outputs * depth, seed);
    let input = bytes(batch * geometry.input[0] * geometry.input[1] * geometry.channels, seed + 1);
    let (zero_point, zero_points) = (bytes(1, seed + 2)[0], bytes(zero_points, seed + 3));
    let expected = by_definition(&geometry, &input, zero_point, &weights, outputs, &zero_points);
    let pixels = batch * geometry.pixels();
    let mut scratch = Scratch::new();
    for set in InstructionSet::available() {
        let convolution = Convolution::pack(set, geometry, &weights, outputs, &zero_points);
        let bias: Vec<i32> = convolution.sums().iter().map(|sum| -sum * i32::from(zero_point)).collect();
        for range in [0..pixels, pixels / 3..pixels, 0..pixels / 2] {
            let mut sums = vec![0; range.len() * outputs];
            convolution.run(&input, zero_point, range.clone(), &Raw { bias: &bias }, &mut sums, &mut scratch);
            assert!(sums == expected[range.start * outputs..range.end * outputs], "{set}: {range:?} of {geometry:?}");
        }
        let multiplier: Vec<f32> = (0..outputs).map(|output| 1e-3 * (1 + output) as f32).collect();
        let finish = Requantize { bias: &bias, multiplier: &multiplier, zero_point: -5, low: -90, high: 127 };
        let mut results = vec![0; pixels * outputs];
        convolution.run(&input, zero_point, 0..pixels, &finish, &mut results, &mut scratch);
        for (index, (&result, &sum)) in results.iter().zip(&expected).enumerate() {
            assert_eq!(result, finish.one(0, index % outputs, sum), "{set}: {geometry:?}");
        }
    }
}

fn pair(range: Range<usize>) -> impl Strategy<Value = [usize; 2]> {
    [range.clone(), range]
}

proptest! {
    #[test]
    fn every_instruction_set_convolves_exactly(
        input in pair(1..9),
        (channels, part, groups) in (1usize..20, 1usize..20, prop_oneof![3 => Just(1usize), 1 => 2usize..4]),
        kernel in pair(1..5),
        strides in pair(1..4),
        dilations in pair(1..3),
        pads in [0usize..4, 0usize..4, 0usize..4, 0usize..4],
        batch in 1usize..3,
        zero_points in 0usize..3,
        seed: u64,
    ) {
        let geometry = Geometry { input, channels: channels * groups, kernel, strides, dilations, pads, groups };
        let outputs = part * groups;
        check(geometry, outputs, batch, [0, 1, outputs][zero_points], seed % (1 << 60));
    }
}

#[test]
fn taps_that_fill_whole_steps_are_packed_as_well() {
    for (kernel, pads) in [([1, 1], [0; 4]), ([3, 3], [1; 4]), ([1, 7], [0, 3, 0, 3])] {
        for (channels, groups, dilation) in [(16, 1, 1), (32, 2, 1), (48, 1, 2)] {
            let geometry = Geometry { input: [7, 9], channels, kernel, strides: [1, 1], dilations: [dilation, dilation], pads, groups };
            check(geometry, 20, 2, 1, 7);
        }
    }
}

#[test]
fn a_kernel_larger_than_its_padded_input_gives_nothing() {
    let geometry = Geometry { input: [2, 5], channels: 1, kernel: [3, 3], strides: [1, 1], dilations: [1, 1], pads: [0; 4], groups: 1 };
    assert_eq!(geometry.output(), [0, 3]);
    Convolution::pack(InstructionSet::best(), geometry, &[1; 9], 1, &[]).run(
        &[0; 10],
        0,
        0..0,
        &Raw { bias: &[] },
        &mut [],
        &mut Scratch::new(),
    );
}

#[test]
#[should_panic(expected = "convolution: channels and outputs in whole groups")]
fn a_group_that_is_cut_in_two_is_refused() {
    let geometry = Geometry { input: [2, 2], channels: 3, kernel: [1, 1], strides: [1, 1], dilations: [1, 1], pads: [0; 4], groups: 2 };
    Convolution::pack(InstructionSet::best(), geometry, &[], 2, &[]);
}
