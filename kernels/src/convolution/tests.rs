//! Convolution against its definition, on every instruction set, bit for bit.

use super::*;
use crate::linear::{Raw, Requantize};
use crate::pointwise::Lookup;
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
fn by_definition(shape: Shape, windows: &Windows, input: &[i8], zero_point: i8, weights: &[i8], zero_points: &[i8]) -> Vec<i32> {
    let (Shape { channels, outputs, kernel, groups }, [height, width]) = (shape, windows.input());
    let ([rows, columns], depth) = (windows.output(), channels / groups);
    let mut sums = Vec::new();
    for picture in input.chunks(height * width * channels) {
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
            for output in 0..outputs {
                let weight_zero = if zero_points.is_empty() { 0 } else { zero_points[output % zero_points.len()] };
                let mut sum = 0;
                for (tap_y, tap_x) in (0..kernel[0]).flat_map(|y| (0..kernel[1]).map(move |x| (y, x))) {
                    let (Some(y), Some(x)) = (windows.position(0, row, tap_y), windows.position(1, column, tap_x)) else { continue };
                    for channel in 0..depth {
                        let at = (y * width + x) * channels + output / (outputs / groups) * depth + channel;
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

fn check(shape: Shape, sizes: &[Windows], batch: usize, zero_points: usize, seed: u64) {
    let Shape { channels, outputs, .. } = shape;
    let weights = bytes(outputs * shape.depth(), seed);
    let (zero_point, zero_points) = (bytes(1, seed + 2)[0], bytes(zero_points, seed + 3));
    let table = Lookup::new(|value| value.wrapping_mul(37) ^ 0x55);
    let mut scratch = Scratch::new();
    for set in InstructionSet::available() {
        let convolution = Convolution::pack(set, shape, &weights, &zero_points);
        let bias: Vec<i32> = convolution.sums().iter().map(|sum| -sum * i32::from(zero_point)).collect();
        let multiplier: Vec<f32> = (0..outputs).map(|output| 1e-3 * (1 + output) as f32).collect();
        let finish = Requantize { bias: &bias, multiplier: &multiplier, zero_point: -5, low: -90, high: 127, table: Some(&table) };
        for windows in sizes {
            let input = bytes(batch * windows.input()[0] * windows.input()[1] * channels, seed + 1);
            let expected = by_definition(shape, windows, &input, zero_point, &weights, &zero_points);
            let pixels = batch * windows.count();
            for range in [0..pixels, pixels / 3..pixels, 0..pixels / 2] {
                let mut sums = vec![0; range.len() * outputs];
                convolution.run(windows, &input, zero_point, range.clone(), &Raw { bias: &bias }, &mut sums, &mut scratch);
                assert!(sums == expected[range.start * outputs..range.end * outputs], "{set}: {range:?} of {shape:?} on {windows:?}");
            }
            let mut results = vec![0; pixels * outputs];
            convolution.run(windows, &input, zero_point, 0..pixels, &finish, &mut results, &mut scratch);
            for (index, (&result, &sum)) in results.iter().zip(&expected).enumerate() {
                let mut expected = [finish.one(0, index % outputs, sum)];
                table.apply(&mut expected);
                assert_eq!(result, expected[0], "{set}: {shape:?} on {windows:?}");
            }
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
        prop_assume!((0..2).all(|axis| (kernel[axis] - 1) * dilations[axis] < input[axis] + pads[axis] + pads[axis + 2]));
        let shape = Shape { channels: channels * groups, outputs: part * groups, kernel, groups };
        let windows = Windows::new(input, kernel, strides, dilations, pads);
        let wider = Windows::new([input[0], input[1] + 5], kernel, strides, dilations, pads);
        check(shape, &[windows, wider], batch, [0, 1, part * groups][zero_points], seed % (1 << 60));
    }
}

#[test]
fn taps_that_fill_whole_steps_are_packed_as_well() {
    for (kernel, pads) in [([1, 1], [0; 4]), ([3, 3], [1; 4]), ([1, 7], [0, 3, 0, 3])] {
        for (channels, groups, dilation) in [(16, 1, 1), (32, 2, 1), (48, 1, 2)] {
            let windows = Windows::new([7, 13], kernel, [1, 1], [dilation, dilation], pads);
            check(Shape { channels, outputs: 20, kernel, groups }, &[windows], 2, 1, 7);
        }
    }
}

#[test]
fn a_pointwise_kernel_with_padding_is_not_a_plain_product() {
    for pads in [[1, 1, 1, 1], [0, 0, 1, 2]] {
        check(Shape { channels: 5, outputs: 3, kernel: [1, 1], groups: 1 }, &[Windows::new([3, 4], [1, 1], [1, 1], [1, 1], pads)], 2, 1, 9);
    }
}

#[test]
#[should_panic(expected = "convolution: windows as large as the kernel")]
fn windows_of_another_kernel_are_refused() {
    let convolution = Convolution::pack(InstructionSet::best(), Shape { channels: 1, outputs: 1, kernel: [3, 1], groups: 1 }, &[1; 3], &[]);
    let windows = Windows::new([3, 3], [1, 3], [1, 1], [1, 1], [0; 4]);
    convolution.run(&windows, &[0; 9], 0, 0..1, &Raw { bias: &[] }, &mut [0], &mut Scratch::new());
}

#[test]
#[should_panic(expected = "convolution: channels and outputs in whole groups")]
fn a_group_that_is_cut_in_two_is_refused() {
    Convolution::pack(InstructionSet::best(), Shape { channels: 3, outputs: 2, kernel: [1, 1], groups: 2 }, &[], &[]);
}
