//! Pools against their definitions, on every instruction set.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn byte() -> impl Strategy<Value = i8> {
    prop_oneof![1 => Just(-128i8), 1 => Just(127i8), 3 => any::<i8>()]
}

/// Windows on pictures, their channels and values.
fn cases() -> impl Strategy<Value = (Windows, usize, Vec<i8>)> {
    let shape =
        ([1usize..5, 1usize..5], [1usize..9, 1usize..9], [1usize..4, 1usize..4], [1usize..3, 1usize..3], [0usize..3, 0..3, 0..3, 0..3]);
    let windows = shape
        .prop_filter("a window fits", |(kernel, input, _, dilations, pads)| {
            (0..2).all(|axis| (kernel[axis] - 1) * dilations[axis] < input[axis] + pads[axis] + pads[axis + 2])
        })
        .prop_map(|(kernel, input, strides, dilations, pads)| Windows::new(input, kernel, strides, dilations, pads));
    (windows, any::<bool>(), prop_oneof![1usize..16, 16usize..49]).prop_flat_map(|(windows, up, channels)| {
        let windows = if up { windows.rounded_up() } else { windows };
        let picture = windows.input[0] * windows.input[1] * channels;
        (Just(windows), Just(channels), (1usize..3).prop_flat_map(move |pictures| vec(byte(), pictures * picture)))
    })
}

/// The values of a window on the input, and how many it has with padding.
fn window<T: Copy>(windows: &Windows, channels: usize, input: &[T], at: usize) -> (Vec<T>, usize) {
    let (row, column, channel) = (at / channels / windows.output[1], at / channels % windows.output[1], at % channels);
    let input = &input[row / windows.output[0] * windows.input[0] * windows.input[1] * channels..];
    let row = row % windows.output[0];
    let (mut values, mut padded) = (Vec::new(), 0);
    for tap in 0..windows.taps() {
        let place = |axis: usize, window: usize, tap: usize| {
            (window * windows.strides[axis] + tap * windows.dilations[axis]) as isize - windows.pads_begin[axis] as isize
        };
        let (y, x) = (place(0, row, tap / windows.kernel[1]), place(1, column, tap % windows.kernel[1]));
        let [height, width] = windows.input.map(|size| size as isize);
        let [below, right] = windows.pads_end.map(|pad| pad as isize);
        padded += usize::from(y < height + below && x < width + right);
        if (0..height).contains(&y) && (0..width).contains(&x) {
            values.push(input[(y * width + x) as usize * channels + channel]);
        }
    }
    (values, padded)
}

/// In bands of two rows.
fn banded<T: Clone + Default>(windows: &Windows, channels: usize, input: &[T], pool: impl Fn(Range<usize>, &mut [T])) -> Vec<T> {
    let row = windows.output[1] * channels;
    let mut out = vec![T::default(); input.len() / (windows.input[0] * windows.input[1] * channels) * windows.output[0] * row];
    for (index, out) in out.chunks_mut(2 * row).enumerate() {
        pool(2 * index..2 * index + out.len() / row, out);
    }
    out
}

proptest! {
    #[test]
    fn every_instruction_set_finds_the_largest((windows, channels, input) in cases()) {
        for set in InstructionSet::available() {
            let out = banded(&windows, channels, &input, |rows, out| max_on(set, &windows, channels, &input, rows, out));
            for (at, &found) in out.iter().enumerate() {
                let (values, _) = window(&windows, channels, &input, at);
                prop_assert_eq!(found, values.into_iter().max().unwrap_or(-128), "{}", set);
            }
        }
    }

    #[test]
    fn every_instruction_set_finds_the_mean(
        (windows, channels, input) in cases(), zero_points in [byte(), byte()],
        scales in prop_oneof![[1e-2f32..1.0, 1e-2f32..1.0], (1e-2f32..1.0).prop_map(|scale| [scale; 2])],
        count_padding: bool, unsigned: bool, bounds in prop_oneof![Just((-128, 127)), Just((-3, 100))],
    ) {
        let target = Target { zero_point: zero_points[1], low: bounds.0, high: bounds.1 };
        let parameters = Average::new(zero_points[0], scales, count_padding, target, unsigned);
        let offset = if unsigned { 128.0 } else { 0.0 };
        for set in InstructionSet::available() {
            let out = banded(&windows, channels, &input, |rows, out| average_on(set, &windows, channels, &input, &parameters, rows, out));
            for (at, &found) in out.iter().enumerate() {
                let (values, padded) = window(&windows, channels, &input, at);
                let sum = values.iter().fold(0.0, |sum, &value| sum + (f32::from(value) - f32::from(zero_points[0])) * scales[0]);
                let count = if count_padding { padded } else { values.len() };
                let mean = sum / count.max(1) as f32 / scales[1] + (f32::from(target.zero_point) + offset);
                let mean = mean.round_ties_even() - offset;
                prop_assert_eq!(found, mean.clamp(target.low.into(), target.high.into()) as i8, "{}", set);
            }
        }
    }

    #[test]
    fn every_instruction_set_finds_the_mean_of_a_picture(
        (channels, pixels, input) in (1usize..49, 1usize..12, 1usize..3).prop_flat_map(|(channels, pixels, pictures)| {
            (Just(channels), Just(pixels), vec(byte(), pictures * pixels * channels))
        }),
        zero_points in [byte(), byte()], multiplier in prop_oneof![1e-2f32..10.0, Just(1.0)],
        bounds in prop_oneof![Just((-128, 127)), Just((-3, 100))],
    ) {
        let target = Target { zero_point: zero_points[1], low: bounds.0, high: bounds.1 };
        let parameters = PictureAverage { zero_point: zero_points[0], multiplier, target };
        for set in InstructionSet::available() {
            let mut out = vec![0; input.len() / pixels];
            average_pictures_on(set, channels, &input, &parameters, &mut out);
            for (at, &found) in out.iter().enumerate() {
                let (picture, channel) = (at / channels, at % channels);
                let values = (0..pixels).map(|pixel| input[(picture * pixels + pixel) * channels + channel]);
                let sum: i32 = values.map(|value| i32::from(value) - i32::from(zero_points[0])).sum();
                let mean = (sum as f32 * (multiplier / pixels as f32)).round_ties_even() + f32::from(target.zero_point);
                prop_assert_eq!(found, mean.clamp(target.low.into(), target.high.into()) as i8, "{}", set);
            }
        }
    }

    #[test]
    fn every_instruction_set_pools_floats((windows, channels, input) in cases(), count_padding: bool) {
        let input: Vec<f32> = input.iter().map(|value| f32::from(*value) / 16.0).collect();
        for set in InstructionSet::available() {
            let largest = banded(&windows, channels, &input, |rows, out| max_float_on(set, &windows, channels, &input, rows, out));
            let means = banded(&windows, channels, &input, |rows, out| {
                average_float_on(set, &windows, channels, &input, count_padding, rows, out);
            });
            for (at, (&largest, &mean)) in largest.iter().zip(&means).enumerate() {
                let (values, padded) = window(&windows, channels, &input, at);
                prop_assert_eq!(largest, values.iter().copied().fold(f32::NEG_INFINITY, f32::max), "{}", set);
                // The sums are exact.
                let count = if count_padding { padded } else { values.len() }.max(1) as f32;
                let exact = values.iter().sum::<f32>() / count;
                prop_assert!((mean - exact).abs() <= exact.abs() * 2.0 * f32::EPSILON, "{}: {} for {}", set, mean, exact);
            }
        }
    }
}

#[test]
fn the_mean_of_a_large_picture_does_not_overflow() {
    for (value, expected) in [(-128, -100), (127, 99)] {
        let input = vec![value; 40 * 40 * 17];
        let parameters = PictureAverage { zero_point: 0, multiplier: 100.0 / 128.0, target: Target::new(0) };
        for set in InstructionSet::available() {
            let mut out = [0; 17];
            average_pictures_on(set, 17, &input, &parameters, &mut out);
            assert_eq!(out, [expected; 17], "{set}");
        }
    }
}

#[test]
#[should_panic(expected = "pooling: 47 values are not pictures of 4 x 4 x 3")]
fn an_input_of_another_size_is_refused() {
    let windows = Windows::new([4, 4], [2, 2], [2, 2], [1, 1], [0; 4]);
    max(&windows, 3, &[0; 47], 0..2, &mut [0; 12]);
}
