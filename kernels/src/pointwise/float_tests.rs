//! The kernels on floats against `f64`, within their stated bounds, on every instruction set.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

/// The error function by its series of positive terms (Abramowitz and Stegun, 7.1.6).
fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= 2.0 * x * x / f64::from(2 * n + 1);
        sum += term;
    }
    sum * (-x * x).exp() * std::f64::consts::FRAC_2_SQRT_PI
}

fn exactly(activation: Activation, x: f64) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    match activation {
        Activation::Relu => x.max(0.0),
        Activation::Sigmoid => sigmoid(x),
        Activation::Tanh => x.tanh(),
        Activation::Silu => x * sigmoid(x),
        Activation::Gelu => x * 0.5 * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2)),
        Activation::GeluTanh => x * 0.5 * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh()),
    }
}

fn check(activation: Activation, values: &[f32]) {
    for set in InstructionSet::available() {
        let mut found = values.to_vec();
        activate_on(set, activation, &mut found);
        for (&x, &found) in values.iter().zip(&found) {
            let (exact, size) = (exactly(activation, x.into()), f64::from(x).abs().max(1.0));
            let bound = match activation {
                Activation::Relu => 0.0,
                Activation::Sigmoid => 2e-7,
                Activation::Tanh => 4e-7 * exact.abs(),
                Activation::Silu | Activation::GeluTanh => 2e-7 * size,
                Activation::Gelu => 5e-7 * size,
            };
            assert!((f64::from(found) - exact).abs() <= bound, "{activation:?} of {x} on {set}: {found}, exactly {exact}");
        }
    }
}

const ALL: [Activation; 6] =
    [Activation::Relu, Activation::Sigmoid, Activation::Tanh, Activation::Silu, Activation::Gelu, Activation::GeluTanh];

#[test]
fn activations_are_within_their_bounds_over_the_whole_line() {
    let step = if std::env::var_os("HEARTH_EMULATED").is_some() { 0.37 } else { 0.001 };
    let values: Vec<f32> = (0..).map(|index| index as f32 * step - 20.0).take_while(|&x| x <= 20.0).collect();
    let far = [0.0, -0.0, 1e-30, -1e-30, 60.0, -60.0, 86.9, -86.9, 87.5, -87.5, 88.9, -88.9, 1e4, -1e4];
    for activation in ALL {
        check(activation, &values);
        check(activation, &far);
    }
}

#[test]
fn nan_stays_nan() {
    for activation in ALL {
        for set in InstructionSet::available() {
            let mut values = [f32::NAN; 9];
            activate_on(set, activation, &mut values);
            assert!(values.iter().all(|value| value.is_nan()), "{activation:?} on {set}");
        }
    }
}

fn exact_softmax(values: &[f32]) -> Vec<f64> {
    let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = values.iter().map(|&value| (f64::from(value) - f64::from(largest)).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

#[test]
fn what_is_masked_has_no_share() {
    for set in InstructionSet::available() {
        let mut values = [f32::NEG_INFINITY, 3.0, f32::MIN, 3.0, -1e9];
        softmax_on(set, &mut values, 5);
        assert_eq!(values, [0.0, 0.5, 0.0, 0.5, 0.0], "{set}");
        let mut columns = [f32::NEG_INFINITY, 3.0, 3.0, f32::MIN, 3.0, -1e9];
        softmax_columns_on(set, &mut columns, 3, 2);
        assert_eq!(columns, [0.0, 1.0, 0.5, 0.0, 0.5, 0.0], "{set}");
    }
}

proptest! {
    #[test]
    fn softmax_is_within_its_bound(rows in 0usize..4, depth in 1usize..70, spread in 0.1f32..60.0, seed in vec(-1f32..1.0, 210)) {
        let values: Vec<f32> = seed[..rows * depth.min(70)].iter().map(|value| value * spread).collect();
        for set in InstructionSet::available() {
            let mut found = values.clone();
            softmax_on(set, &mut found, depth);
            for (row, found) in values.chunks(depth).zip(found.chunks(depth)) {
                for (exact, &found) in exact_softmax(row).into_iter().zip(found) {
                    prop_assert!((f64::from(found) - exact).abs() <= 1e-6, "{}: {} for {}", set, found, exact);
                }
            }
        }
    }

    #[test]
    fn softmax_of_columns_is_within_its_bound(
        outer in 0usize..3, depth in 1usize..40, inner in 1usize..80, spread in 0.1f32..60.0, seed in vec(-1f32..1.0, 240),
    ) {
        let values: Vec<f32> = (0..outer * depth * inner).map(|index| seed[index * 7 % 239] * spread).collect();
        for set in InstructionSet::available() {
            let mut found = values.clone();
            softmax_columns_on(set, &mut found, depth, inner);
            for (block, found) in values.chunks(depth * inner).zip(found.chunks(depth * inner)) {
                for start in 0..inner {
                    let column: Vec<f32> = block[start..].iter().step_by(inner).copied().collect();
                    for (exact, &found) in exact_softmax(&column).into_iter().zip(found[start..].iter().step_by(inner)) {
                        prop_assert!((f64::from(found) - exact).abs() <= 1e-6, "{}: {} for {}", set, found, exact);
                    }
                }
            }
        }
    }

    #[test]
    fn layer_normalisation_is_within_its_bound(
        rows in 0usize..4, depth in 1usize..70, mean in -10f32..10.0, spread in 0.1f32..10.0, with_bias: bool, seed in vec(-1f32..1.0, 350),
    ) {
        let values: Vec<f32> = seed[..rows * depth].iter().map(|value| value * spread + mean).collect();
        let (scale, bias) = (&seed[210..][..depth], if with_bias { &seed[280..][..depth] } else { &[] });
        let norm = LayerNorm { scale, bias, epsilon: 1e-5 };
        for set in InstructionSet::available() {
            let mut found = vec![f32::NAN; values.len()];
            layer_normalise_on(set, &values, &norm, &mut found);
            for (row, found) in values.chunks(depth).zip(found.chunks(depth)) {
                let exact_mean = row.iter().map(|&value| f64::from(value)).sum::<f64>() / depth as f64;
                let variance = row.iter().map(|&value| (f64::from(value) - exact_mean).powi(2)).sum::<f64>() / depth as f64;
                let deviation = (variance + 1e-5).sqrt();
                // A value and a mean have 24 digits of their own size, which division by a small deviation makes large.
                let bound = 1e-6 * (1.0 + f64::from(mean.abs() + spread) / deviation);
                for (index, (&value, &found)) in row.iter().zip(found).enumerate() {
                    let bias = if with_bias { f64::from(bias[index]) } else { 0.0 };
                    let exact = (f64::from(value) - exact_mean) / deviation * f64::from(scale[index]) + bias;
                    prop_assert!((f64::from(found) - exact).abs() <= bound, "{}: {} for {}", set, found, exact);
                }
            }
        }
    }
}

#[test]
#[should_panic(expected = "softmax: 7 values are not whole rows of 2")]
fn half_a_row_is_refused() {
    softmax(&mut [0.0; 7], 2);
}

#[test]
#[should_panic(expected = "softmax: 7 values are not whole blocks of 2 x 3")]
fn half_a_block_is_refused() {
    softmax_columns(&mut [0.0; 7], 2, 3);
}
