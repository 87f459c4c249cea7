//! Depthwise convolution against its definition, on every instruction set.

use super::*;
use crate::InstructionSet;
use crate::pointwise::Lookup;
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Debug, Clone)]
struct Case {
    windows: Windows,
    channels: usize,
    input: Vec<i8>,
    input_zero_point: i8,
    weights: Vec<i8>,
    weight_zero_points: Vec<i8>,
    bias: Vec<i32>,
    multiplier: Vec<f32>,
    zero_point: i8,
    bounds: (i8, i8),
    /// Of floats.
    float_bias: Vec<f32>,
}

/// Mostly the extremes, where sums overflow what is too narrow.
fn byte() -> impl Strategy<Value = i8> {
    prop_oneof![2 => Just(-128i8), 1 => Just(127i8), 3 => any::<i8>()]
}

fn none_one_or_each(channels: usize) -> impl Strategy<Value = Vec<i8>> {
    prop_oneof![2 => Just(vec![]), 1 => vec(byte(), 1), 1 => vec(byte(), channels)]
}

fn cases() -> impl Strategy<Value = Case> {
    let kernel = prop_oneof![3 => Just([3, 3]), 1 => Just([5, 5]), 2 => [1usize..4, 1usize..8]];
    let width = prop_oneof![2 => 1usize..9, 1 => 9usize..40];
    let shape = (
        kernel,
        (1usize..9, width).prop_map(|(height, width)| [height, width]),
        [1usize..3, 1usize..3],
        [1usize..3, 1usize..3],
        [0usize..3, 0..3, 0..3, 0..3],
    );
    let windows = shape
        .prop_filter("a window fits", |(kernel, input, _, dilations, pads)| {
            (0..2).all(|axis| (kernel[axis] - 1) * dilations[axis] < input[axis] + pads[axis] + pads[axis + 2])
        })
        .prop_map(|(kernel, input, strides, dilations, pads)| Windows::new(input, kernel, strides, dilations, pads));
    (windows, prop_oneof![1usize..16, 16usize..49]).prop_flat_map(|(windows, channels)| {
        // Of 7 bits: as most are, and as the narrow products want.
        let weight = prop_oneof![Just(-128..=127i8), Just(-127..=127i8)];
        let weights = weight.prop_flat_map(move |range| vec(range, windows.taps() * channels));
        (
            (1usize..3).prop_flat_map(move |pictures| vec(byte(), pictures * windows.input[0] * windows.input[1] * channels)),
            byte(),
            prop_oneof![weights, vec(byte(), windows.taps() * channels)],
            none_one_or_each(channels),
            vec(-100_000i32..100_000, channels),
            prop_oneof![vec(1e-4f32..0.1, 1), vec(1e-4f32..0.1, channels), vec(1.0f32..1e9, 1)],
            byte(),
            prop_oneof![Just((-128, 127)), Just((-3, 100)), Just((5, 5))],
            prop_oneof![Just(vec![]), vec(-9f32..9.0, 1), vec(-9f32..9.0, channels)],
        )
            .prop_map(
                move |(input, input_zero_point, weights, weight_zero_points, bias, multiplier, zero_point, bounds, float_bias)| Case {
                    windows,
                    channels,
                    input,
                    input_zero_point,
                    weights,
                    weight_zero_points,
                    bias,
                    multiplier,
                    zero_point,
                    bounds,
                    float_bias,
                },
            )
    })
}

impl Case {
    fn pictures(&self) -> usize {
        self.input.len() / (self.windows.input[0] * self.windows.input[1] * self.channels)
    }

    /// Each result from its channel and sum.
    fn by_definition<T>(&self, finish: impl Fn(usize, i32) -> T) -> Vec<T> {
        let (windows, channels) = (&self.windows, self.channels);
        let results = 0..self.pictures() * windows.output[0] * windows.output[1] * channels;
        results
            .map(|at| {
                let (row, column, channel) = (at / channels / windows.output[1], at / channels % windows.output[1], at % channels);
                let input = &self.input[row / windows.output[0] * windows.input[0] * windows.input[1] * channels..];
                let row = row % windows.output[0];
                let weight_zero_point = self.weight_zero_points.get(channel).or(self.weight_zero_points.first()).copied().unwrap_or(0);
                let mut sum = self.bias[channel];
                for tap in 0..windows.taps() {
                    let y = windows.position(0, row, tap / windows.kernel[1]);
                    let x = windows.position(1, column, tap % windows.kernel[1]);
                    if let (Some(y), Some(x)) = (y, x) {
                        let value = i32::from(input[(y * windows.input[1] + x) * channels + channel]);
                        let weight = i32::from(self.weights[tap * channels + channel]);
                        sum += (value - i32::from(self.input_zero_point)) * (weight - i32::from(weight_zero_point));
                    }
                }
                finish(channel, sum)
            })
            .collect()
    }

    fn requantized(&self) -> Vec<i8> {
        let mut out = self.by_definition(|channel, sum| {
            let multiplier = self.multiplier.get(channel).unwrap_or(&self.multiplier[0]);
            let value = f64::from((sum as f32 * multiplier).round_ties_even()) + f64::from(self.zero_point);
            value.clamp(self.bounds.0.into(), self.bounds.1.into()) as i8
        });
        if let Some(table) = self.table() {
            table.apply(&mut out);
        }
        out
    }

    fn floats(&self) -> Vec<f32> {
        self.by_definition(|channel, sum| {
            let scale = self.multiplier.get(channel).unwrap_or(&self.multiplier[0]);
            let bias = self.float_bias.get(channel).or(self.float_bias.first()).unwrap_or(&0.0);
            sum as f32 * scale + bias
        })
    }

    /// For some cases.
    fn table(&self) -> Option<Lookup> {
        (self.zero_point % 2 != 0).then(|| Lookup::new(|value| value.wrapping_mul(37) ^ 0x55))
    }

    /// In bands of `band` rows.
    fn run<F: Finish>(&self, weights: &Weights, band: usize, finish: &F) -> Vec<F::Output> {
        let padding = vec![self.input_zero_point; self.windows.input[1] * self.channels];
        let row = self.windows.output[1] * self.channels;
        let mut out = vec![F::Output::default(); self.pictures() * self.windows.output[0] * row];
        for (index, out) in out.chunks_mut(band * row).enumerate() {
            let rows = index * band..index * band + out.len() / row;
            depthwise(weights, &self.windows, &self.input, &padding, finish, rows, out);
        }
        out
    }

    fn check(&self, band: usize) {
        let (low, high) = self.bounds;
        let (table, multiplier, zero_point) = (self.table(), &self.multiplier, self.zero_point);
        let (requantized, floats) = (self.requantized(), self.floats());
        let bits = |floats: &[f32]| floats.iter().map(|float| float.to_bits()).collect::<Vec<u32>>();
        for set in InstructionSet::available() {
            let weights = Weights::pack_on(set, &self.weights, self.windows.taps(), self.channels, &self.weight_zero_points);
            let bias: Vec<i32> =
                self.bias.iter().zip(weights.sums()).map(|(bias, sum)| bias - i32::from(self.input_zero_point) * sum).collect();
            let finish = Requantize { bias: &bias, multiplier, zero_point, low, high, table: table.as_ref() };
            assert_eq!(self.run(&weights, band, &finish), requantized, "{set}");
            let float = Float { offset: &bias, scale: multiplier, row_scale: &[], bias: &self.float_bias, limits: Float::FREE };
            assert_eq!(bits(&self.run(&weights, band, &float)), bits(&floats), "{set}");
        }
    }
}

proptest! {
    #[test]
    fn every_instruction_set_gives_what_the_definition_gives(case in cases(), band in 1usize..4) {
        case.check(band);
    }
}

#[test]
fn the_largest_sums_do_not_overflow() {
    let windows = Windows::new([3, 3], [3, 3], [1, 1], [1, 1], [1, 1, 1, 1]);
    let case = Case {
        windows,
        channels: 16,
        input: vec![-128; 9 * 16],
        input_zero_point: 127,
        weights: vec![-128; 9 * 16],
        weight_zero_points: vec![],
        bias: vec![0; 16],
        multiplier: vec![127.0 / (9.0 * 255.0 * 128.0)],
        zero_point: 0,
        bounds: (-128, 127),
        float_bias: vec![],
    };
    case.check(3);
    assert_eq!(case.requantized()[4 * 16], 127);
}

#[test]
#[should_panic(expected = "depthwise: a row of padding of 4 x 2")]
fn a_short_row_of_padding_is_refused() {
    let windows = Windows::new([4, 4], [3, 3], [1, 1], [1, 1], [1, 1, 1, 1]);
    let weights = Weights::pack(&[1; 18], 9, 2, &[]);
    let finish = Requantize { bias: &[], multiplier: &[1.0], zero_point: 0, low: -128, high: 127, table: None };
    depthwise(&weights, &windows, &[0; 32], &[0; 7], &finish, 0..4, &mut [0; 32]);
}
