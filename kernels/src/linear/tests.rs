//! The products against their definition, on every instruction set, bit for bit.

use super::*;
use proptest::prelude::*;

/// A product with all that belongs to it, drawn from a seed.
#[derive(Debug, Clone)]
struct Case {
    rows: usize,
    outputs: usize,
    depth: usize,
    stride: usize,
    values: Vec<i8>,
    weights: Vec<i8>,
    zero_points: Vec<i8>,
    bias: Vec<i32>,
    multiplier: Vec<f32>,
    row_scale: Vec<f32>,
    float_bias: Vec<f32>,
    zero_point: i8,
    low: i8,
    high: i8,
}

/// Numbers without a pattern.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    /// Any byte, half of them at the ends of the range.
    fn byte(&mut self) -> i8 {
        match self.next() % 4 {
            0 => -128,
            1 => 127,
            _ => self.next() as i8,
        }
    }

    fn unit(&mut self) -> f32 {
        (self.next() % 2001) as f32 / 1000.0 - 1.0
    }

    fn list<T>(&mut self, length: usize, mut draw: impl FnMut(&mut Noise) -> T) -> Vec<T> {
        (0..length).map(|_| draw(self)).collect()
    }
}

fn case(rows: usize, outputs: usize, depth: usize, seed: u64) -> Case {
    let mut noise = Noise(seed);
    let stride = depth + noise.next() as usize % 3;
    let one_or_each = |noise: &mut Noise| if noise.next().is_multiple_of(2) { 1 } else { outputs };
    let zero_points = match noise.next() % 3 {
        0 => 0,
        _ => one_or_each(&mut noise),
    };
    let biases = if noise.next().is_multiple_of(4) { 0 } else { one_or_each(&mut noise) };
    let multipliers = one_or_each(&mut noise);
    // From sums that stay small steps to sums that saturate everything.
    let strength = [1e-4, 1e-3, 1.0, 1e9][noise.next() as usize % 4];
    let (low, high) = [(-128, 127), (-3, 127), (-100, 42)][noise.next() as usize % 3];
    let low_weight = if noise.next().is_multiple_of(2) { -128 } else { -127 };
    Case {
        rows,
        outputs,
        depth,
        stride,
        values: noise.list(rows * stride, Noise::byte),
        weights: noise.list(outputs * depth, |noise| noise.byte().max(low_weight)),
        zero_points: noise.list(zero_points, Noise::byte),
        bias: noise.list(biases, |noise| noise.next() as i32 % 100_000 - 50_000),
        multiplier: noise.list(multipliers, |noise| strength * (noise.unit() + 1.001)),
        row_scale: noise.list(rows * (seed % 2) as usize, |noise| noise.unit() + 1.5),
        float_bias: noise.list(biases, Noise::unit),
        zero_point: noise.byte(),
        low,
        high,
    }
}

impl Case {
    fn sum(&self, row: usize, output: usize) -> i32 {
        let zero_point = if self.zero_points.is_empty() { 0 } else { self.zero_points[output % self.zero_points.len()].into() };
        let bias = if self.bias.is_empty() { 0 } else { self.bias[output % self.bias.len()] };
        let products = (0..self.depth).map(|index| {
            let weight = i32::from(self.weights[output * self.depth + index]) - zero_point;
            i32::from(self.values[row * self.stride + index]) * weight
        });
        products.sum::<i32>() + bias
    }

    fn requantized(&self, row: usize, output: usize) -> i8 {
        let scaled = self.sum(row, output) as f32 * self.multiplier[output % self.multiplier.len()];
        (f64::from(scaled.round_ties_even()) + f64::from(self.zero_point)).clamp(self.low.into(), self.high.into()) as i8
    }

    fn float(&self, row: usize, output: usize) -> f32 {
        let row_scale = if self.row_scale.is_empty() { 1.0 } else { self.row_scale[row] };
        let bias = if self.float_bias.is_empty() { 0.0 } else { self.float_bias[output % self.float_bias.len()] };
        let product = self.sum(row, output) as f32 * (row_scale * self.multiplier[output % self.multiplier.len()]);
        product + bias
    }

    fn product<F: Finish>(&self, set: InstructionSet, finish: &F, outputs: Range<usize>, scratch: &mut Scratch) -> Vec<F::Output> {
        let weights = Weights::pack(set, &self.weights, self.outputs, self.depth, &self.zero_points);
        let rows = Matrix::new(&self.values, self.rows, self.depth, self.stride);
        let mut out = vec![F::Output::default(); self.rows * outputs.len()];
        let stride = outputs.len();
        multiply(&weights, outputs, &rows, finish, &mut out, stride, scratch);
        out
    }

    fn expected<T>(&self, outputs: Range<usize>, one: impl Fn(usize, usize) -> T) -> Vec<T> {
        (0..self.rows).flat_map(|row| outputs.clone().map(move |output| (row, output))).map(|(row, output)| one(row, output)).collect()
    }

    fn check(&self) {
        let mut scratch = Scratch::new();
        let requantize = Requantize {
            bias: &self.bias,
            multiplier: &self.multiplier,
            zero_point: self.zero_point,
            low: self.low,
            high: self.high,
            table: None,
        };
        let float =
            Float { offset: &self.bias, scale: &self.multiplier, row_scale: &self.row_scale, bias: &self.float_bias, limits: Float::FREE };
        let raw = Raw { bias: &self.bias };
        let bits = |floats: Vec<f32>| floats.into_iter().map(f32::to_bits).collect::<Vec<u32>>();
        for set in InstructionSet::available() {
            for outputs in [0..self.outputs, self.outputs / 2 / PANEL * PANEL..self.outputs] {
                let sums = self.product(set, &raw, outputs.clone(), &mut scratch);
                assert!(sums == self.expected(outputs.clone(), |row, output| self.sum(row, output)), "{set}");
                let bytes = self.product(set, &requantize, outputs.clone(), &mut scratch);
                assert!(bytes == self.expected(outputs.clone(), |row, output| self.requantized(row, output)), "{set}");
                let floats = self.product(set, &float, outputs.clone(), &mut scratch);
                assert!(bits(floats) == bits(self.expected(outputs.clone(), |row, output| self.float(row, output))), "{set}");
            }
        }
    }
}

proptest! {
    #[test]
    fn every_instruction_set_multiplies_exactly(rows in 1usize..20, outputs in 1usize..40, depth in 1usize..70, seed: u64) {
        case(rows, outputs, depth, seed).check();
    }

    #[test]
    fn blocks_fit_together(rows in 60usize..110, outputs in 1usize..20, depth in 400usize..600, seed: u64) {
        case(rows, outputs, depth, seed).check();
    }
}

#[test]
fn sums_of_the_extremes_are_exact() {
    for (value, weight) in [(-128, -128), (-128, 127), (127, -128), (127, 127)] {
        let mut case = case(9, 18, 150, 1);
        case.values.fill(value);
        case.weights.fill(weight);
        case.check();
    }
}

#[test]
fn the_sums_of_the_weights_stand_for_a_zero_point_of_the_rows() {
    let weights = Weights::pack(InstructionSet::best(), &[1, 2, 3, -4, -5, -6], 2, 3, &[1, -1]);
    assert_eq!(weights.sums(), [3, -12]);
}

#[test]
#[should_panic(expected = "finish: 3 multipliers, not one of [1, 2]")]
fn a_wrong_number_of_multipliers_is_refused() {
    let weights = Weights::pack(InstructionSet::SCALAR, &[0; 4], 2, 2, &[]);
    let finish = Requantize { bias: &[], multiplier: &[1.0; 3], zero_point: 0, low: -128, high: 127, table: None };
    multiply(&weights, 0..2, &Matrix::new(&[0; 2], 1, 2, 2), &finish, &mut [0; 2], 2, &mut Scratch::new());
}
