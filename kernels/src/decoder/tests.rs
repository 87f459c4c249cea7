//! Normalisation, rotation and gates against `f64`, within their stated bounds, on every instruction set.

use super::gate::{Gate, gate, gate_halves};
use super::norm::{RmsNorm, rms_normalise, rms_normalise_in_place};
use super::residual::{add, scale};
use super::rope::{Frequencies, Heads, Pairs, Yarn, rotate};
use crate::InstructionSet;
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #[test]
    fn rms_normalisation_is_within_its_bound(rows in 0usize..4, width in 1usize..150, spread in 1e-3f32..1e3, seed in vec(-1f32..1.0, 600)) {
        let values: Vec<f32> = seed[..rows * width].iter().map(|value| value * spread).collect();
        let norm = RmsNorm { weights: &seed[450..][..width], epsilon: 1e-6 };
        for set in InstructionSet::available() {
            let (mut apart, mut in_place) = (vec![f32::NAN; values.len()], values.clone());
            rms_normalise(set, &values, &norm, &mut apart);
            rms_normalise_in_place(set, &mut in_place, &norm);
            prop_assert_eq!(&apart, &in_place, "{}", set);
            for (row, found) in values.chunks(width).zip(apart.chunks(width)) {
                let squares: f64 = row.iter().map(|&value| f64::from(value).powi(2)).sum();
                let deviation = (squares / width as f64 + f64::from(norm.epsilon)).sqrt();
                for ((&value, &weight), &found) in row.iter().zip(norm.weights).zip(found) {
                    let exact = f64::from(value) / deviation * f64::from(weight);
                    let bound = (width as f64 / 16.0 + 24.0) * 2f64.powi(-24) * exact.abs();
                    prop_assert!((f64::from(found) - exact).abs() <= bound + 1e-37, "{}: {} for {}", set, found, exact);
                }
            }
        }
    }

    #[test]
    fn a_rotation_is_within_its_bound_and_leaves_the_rest_alone(
        count in 1usize..4, pairs in 1usize..40, before in 0usize..5, behind in 0usize..5, interleaved: bool,
        positions in vec(0usize..200_000, 0..4), seed in vec(-4f32..4.0, 1100),
    ) {
        let (rotated, width) = (2 * pairs, before + 2 * pairs + behind);
        let heads = Heads { count, width, offset: before, pairs: if interleaved { Pairs::Interleaved } else { Pairs::HalfSplit } };
        let frequencies = Frequencies::new(rotated, 10_000.0);
        let values: Vec<f32> = seed.iter().cycle().take(positions.len() * count * width).copied().collect();
        let angles = frequencies.angles(&positions);
        for set in InstructionSet::available() {
            let mut found = values.clone();
            rotate(set, &mut found, &heads, &angles);
            for (head, (found, values)) in found.chunks(width).zip(values.chunks(width)).enumerate() {
                prop_assert_eq!(&found[..before], &values[..before]);
                prop_assert_eq!(&found[before + rotated..], &values[before + rotated..]);
                for pair in 0..pairs {
                    let [first, second] = if interleaved { [2 * pair, 2 * pair + 1] } else { [pair, pair + pairs] }.map(|at| at + before);
                    let angle = positions[head / count] as f64 / 10_000f64.powf(2.0 * pair as f64 / rotated as f64);
                    let [x, y] = [first, second].map(|at| f64::from(values[at]));
                    let bound = 3e-7 * x.hypot(y);
                    for (at, exact) in [(first, x * angle.cos() - y * angle.sin()), (second, x * angle.sin() + y * angle.cos())] {
                        prop_assert!((f64::from(found[at]) - exact).abs() <= bound, "{}: {} for {}", set, found[at], exact);
                    }
                }
            }
        }
    }

    #[test]
    fn gates_are_within_their_bounds(width in 1usize..70, rows in 0usize..3, spread in 0.1f32..20.0, seed in vec(-1f32..1.0, 420)) {
        let fused: Vec<f32> = seed[..2 * rows * width].iter().map(|value| value * spread).collect();
        let half = |which: usize| -> Vec<f32> { fused.chunks(width).skip(which).step_by(2).flatten().copied().collect() };
        let (gates, values) = (half(0), half(1));
        for kind in [Gate::Silu, Gate::GeluTanh, Gate::Clamped { alpha: 1.702, limit: 7.0 }] {
            for set in InstructionSet::available() {
                let (mut in_place, mut halves) = (gates.clone(), vec![f32::NAN; rows * width]);
                gate(set, kind, &mut in_place, &values);
                gate_halves(set, kind, &fused, width, &mut halves);
                prop_assert_eq!(&in_place, &halves, "{}", set);
                for ((&found, &g), &u) in halves.iter().zip(&gates).zip(&values) {
                    let (g, u) = (f64::from(g), f64::from(u));
                    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
                    let tanh = ((2.0 / std::f64::consts::PI).sqrt() * (g + 0.044715 * g * g * g)).tanh();
                    let (exact, bound) = match kind {
                        Gate::Silu => (g * sigmoid(g) * u, 3e-7 * g.abs().max(1.0) * u.abs()),
                        Gate::GeluTanh => (0.5 * g * (1.0 + tanh) * u, 3e-7 * g.abs().max(1.0) * u.abs()),
                        Gate::Clamped { .. } => (
                            g.min(7.0) * sigmoid(1.702 * g.min(7.0)) * (u.clamp(-7.0, 7.0) + 1.0),
                            5e-7 * g.abs().max(1.0) * (1.0 + u.abs()),
                        ),
                    };
                    prop_assert!((f64::from(found) - exact).abs() <= bound, "{:?} on {}: {} for {}", kind, set, found, exact);
                }
            }
        }
    }

    #[test]
    fn residuals_are_added_and_scaled_exactly(values in vec(-1e3f32..1e3, 0..50), factor in -4f32..4.0) {
        for set in InstructionSet::available() {
            let mut found = values.clone();
            scale(set, &mut found, factor);
            add(set, &mut found, &values);
            prop_assert_eq!(found, values.iter().map(|value| value * factor + value).collect::<Vec<f32>>());
        }
    }
}

/// What rotates the unit vectors of all pairs by the angle at position 1, and the amplitude.
fn turns(frequencies: &Frequencies) -> (Vec<f64>, f64) {
    let rotated = frequencies.rotated();
    let mut values: Vec<f32> = [1.0, 0.0].repeat(rotated / 2);
    let heads = Heads { count: 1, width: rotated, offset: 0, pairs: Pairs::Interleaved };
    rotate(InstructionSet::SCALAR, &mut values, &heads, &frequencies.angles(&[1]));
    let pairs = values.as_chunks::<2>().0;
    let angles = pairs.iter().map(|&[x, y]| f64::from(y).atan2(f64::from(x))).collect();
    (angles, f64::from(pairs[0][0]).hypot(f64::from(pairs[0][1])))
}

fn assert_near(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= 1e-6 * expected.abs(), "{found}, not {expected}");
    }
}

#[test]
fn frequencies_are_divided_and_scaled() {
    let frequencies = Frequencies::new(8, 10_000.0);
    assert_near(&turns(&frequencies).0, &[1.0, 0.1, 0.01, 0.001]);
    assert_near(&turns(&frequencies.clone().divided_by(&[1.0, 2.0, 4.0, 8.0])).0, &[1.0, 0.05, 0.0025, 0.000125]);
    assert_near(&turns(&frequencies.scaled(0.25)).0, &[0.25, 0.025, 0.0025, 0.00025]);
}

#[test]
fn yarn_keeps_fast_pairs_slows_slow_ones_and_mixes_those_between() {
    // gpt-oss: 32 pairs, base 150,000, 32 times 4,096 tokens. A pair makes 4096 / (2 pi) * 150000^(-pair / 32) turns: 32 of them at
    // pair 8.09, 1 at pair 17.40.
    let yarn = Yarn {
        frequency_scale: 1.0 / 32.0,
        extrapolation: 1.0,
        attention_factor: 1.0,
        beta_fast: 32.0,
        beta_slow: 1.0,
        original_context: 4096,
    };
    let plain = Frequencies::new(64, 150_000.0);
    let (found, amplitude) = turns(&plain.clone().with_yarn(&yarn));
    let expected: Vec<f64> = (0..32)
        .map(|pair| {
            let kept = match pair {
                0..=8 => 1.0,
                9..18 => 1.0 - f64::from(pair - 8) / 10.0,
                _ => 0.0,
            };
            150_000f64.powf(-f64::from(pair) / 32.0) * (kept + (1.0 - kept) / 32.0)
        })
        .collect();
    assert_near(&found, &expected);
    assert_near(&[amplitude], &[1.0 + 0.1 * 32f64.ln()]);
    // Without extrapolation it is linear scaling, and the amplitude the caller's alone.
    let (found, amplitude) = turns(&plain.clone().with_yarn(&Yarn { extrapolation: 0.0, attention_factor: 0.5, ..yarn }));
    assert_near(&found, &turns(&plain.scaled(1.0 / 32.0)).0);
    assert_near(&[amplitude], &[0.5]);
}

#[test]
fn angles_are_exact_at_a_hundred_thousand() {
    // sin and cos of 100,000 radians, to more digits than a float has.
    let mut values = [1.0, 0.0];
    let heads = Heads { count: 1, width: 2, offset: 0, pairs: Pairs::HalfSplit };
    rotate(InstructionSet::SCALAR, &mut values, &heads, &Frequencies::new(2, 10_000.0).angles(&[100_000]));
    assert!((values[0] + 0.999_360_8).abs() < 1e-7 && (values[1] - 0.035_748_8).abs() < 1e-7, "{values:?}");
}

#[test]
#[should_panic(expected = "RoPE: 3 pairs leave heads of 6")]
fn pairs_beyond_the_head_are_refused() {
    let heads = Heads { count: 1, width: 6, offset: 1, pairs: Pairs::HalfSplit };
    rotate(InstructionSet::SCALAR, &mut [0.0; 6], &heads, &Frequencies::new(6, 10_000.0).angles(&[0]));
}

#[test]
#[should_panic(expected = "RMS norm: 7 values are not whole rows of 2")]
fn half_a_row_is_refused() {
    rms_normalise_in_place(InstructionSet::SCALAR, &mut [0.0; 7], &RmsNorm { weights: &[1.0; 2], epsilon: 1e-6 });
}
