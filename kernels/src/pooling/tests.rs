//! Pools against their definitions, on every instruction set.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn byte() -> impl Strategy<Value = i8> {
    prop_oneof![1 => Just(-128i8), 1 => Just(127i8), 3 => any::<i8>()]
}

/// Windows on a picture, its channels and values.
fn cases() -> impl Strategy<Value = (Geometry, usize, Vec<i8>)> {
    let shape =
        ([1usize..5, 1usize..5], [1usize..9, 1usize..9], [1usize..4, 1usize..4], [1usize..3, 1usize..3], [0usize..3, 0..3, 0..3, 0..3]);
    let geometry = shape
        .prop_filter("a window fits", |(kernel, input, _, dilations, pads)| {
            (0..2).all(|axis| (kernel[axis] - 1) * dilations[axis] < input[axis] + pads[axis] + pads[axis + 2])
        })
        .prop_map(|(kernel, input, strides, dilations, pads)| Geometry::new(input, kernel, strides, dilations, pads));
    (geometry, any::<bool>(), prop_oneof![1usize..16, 16usize..49]).prop_flat_map(|(geometry, up, channels)| {
        let geometry = if up { geometry.rounded_up() } else { geometry };
        (Just(geometry), Just(channels), vec(byte(), geometry.input[0] * geometry.input[1] * channels))
    })
}

/// The values of a window on the input, and how many it has with padding.
fn window(geometry: &Geometry, channels: usize, input: &[i8], at: usize) -> (Vec<i8>, usize) {
    let (row, column, channel) = (at / channels / geometry.output[1], at / channels % geometry.output[1], at % channels);
    let (mut values, mut padded) = (Vec::new(), 0);
    for tap in 0..geometry.taps() {
        let place = |axis: usize, window: usize, tap: usize| {
            (window * geometry.strides[axis] + tap * geometry.dilations[axis]) as isize - geometry.pads_begin[axis] as isize
        };
        let (y, x) = (place(0, row, tap / geometry.kernel[1]), place(1, column, tap % geometry.kernel[1]));
        let [height, width] = geometry.input.map(|size| size as isize);
        let [below, right] = geometry.pads_end.map(|pad| pad as isize);
        padded += usize::from(y < height + below && x < width + right);
        if (0..height).contains(&y) && (0..width).contains(&x) {
            values.push(input[(y * width + x) as usize * channels + channel]);
        }
    }
    (values, padded)
}

/// In bands of two rows.
fn banded(geometry: &Geometry, channels: usize, pool: impl Fn(Range<usize>, &mut [i8])) -> Vec<i8> {
    let row = geometry.output[1] * channels;
    let mut out = vec![0; geometry.output[0] * row];
    for (index, out) in out.chunks_mut(2 * row).enumerate() {
        pool(2 * index..2 * index + out.len() / row, out);
    }
    out
}

proptest! {
    #[test]
    fn every_instruction_set_finds_the_largest((geometry, channels, input) in cases()) {
        for set in InstructionSet::available() {
            let out = banded(&geometry, channels, |rows, out| max_on(set, &geometry, channels, &input, rows, out));
            for (at, &found) in out.iter().enumerate() {
                let (values, _) = window(&geometry, channels, &input, at);
                prop_assert_eq!(found, values.into_iter().max().unwrap_or(-128), "{}", set);
            }
        }
    }

    #[test]
    fn every_instruction_set_finds_the_mean(
        (geometry, channels, input) in cases(), zero_points in [byte(), byte()], multiplier in prop_oneof![1e-2f32..10.0, Just(1.0)],
        count_padding: bool, bounds in prop_oneof![Just((-128, 127)), Just((-3, 100))],
    ) {
        let target = Target { zero_point: zero_points[1], low: bounds.0, high: bounds.1 };
        let parameters = Average { zero_point: zero_points[0], multiplier, count_padding, target };
        for set in InstructionSet::available() {
            let out = banded(&geometry, channels, |rows, out| average_on(set, &geometry, channels, &input, &parameters, rows, out));
            for (at, &found) in out.iter().enumerate() {
                let (values, padded) = window(&geometry, channels, &input, at);
                let sum: i32 = values.iter().map(|&value| i32::from(value) - i32::from(zero_points[0])).sum();
                let count = if count_padding { padded } else { values.len() };
                let mean = (sum as f32 * (multiplier / count.max(1) as f32)).round_ties_even() + f32::from(target.zero_point);
                prop_assert_eq!(found, mean.clamp(target.low.into(), target.high.into()) as i8, "{}", set);
            }
        }
    }
}

#[test]
fn the_mean_of_a_large_picture_does_not_overflow() {
    for (value, expected) in [(-128, -100), (127, 99)] {
        let geometry = Geometry::new([40, 40], [40, 40], [1, 1], [1, 1], [0; 4]);
        let input = vec![value; 40 * 40 * 17];
        let parameters = Average { zero_point: 0, multiplier: 100.0 / 128.0, count_padding: false, target: Target::new(0) };
        for set in InstructionSet::available() {
            let mut out = [0; 17];
            average_on(set, &geometry, 17, &input, &parameters, 0..1, &mut out);
            assert_eq!(out, [expected; 17], "{set}");
        }
    }
}

#[test]
#[should_panic(expected = "pooling: an input of 4 x 4 x 3")]
fn an_input_of_another_size_is_refused() {
    let geometry = Geometry::new([4, 4], [2, 2], [2, 2], [1, 1], [0; 4]);
    max(&geometry, 3, &[0; 47], 0..2, &mut [0; 12]);
}
