//! Steps against `f64`, within their bound, on every instruction set.

use super::*;
use proptest::prelude::*;

const EVERY: [Function; 11] = [
    Function::Sigmoid,
    Function::Tanh,
    Function::Relu,
    Function::Affine { alpha: 0.5, beta: 0.25 },
    Function::LeakyRelu { alpha: 0.01 },
    Function::ThresholdedRelu { alpha: 0.5 },
    Function::ScaledTanh { alpha: 0.75, beta: 0.5 },
    Function::HardSigmoid { alpha: 0.2, beta: 0.5 },
    Function::Elu { alpha: 0.5 },
    Function::Softsign,
    Function::Softplus,
];

fn exactly(function: Function, x: f64) -> f64 {
    match function {
        Function::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Function::Tanh => x.tanh(),
        Function::Relu => x.max(0.0),
        Function::Affine { alpha, beta } => f64::from(alpha) * x + f64::from(beta),
        Function::LeakyRelu { alpha } => x.max(0.0) + f64::from(alpha) * x.min(0.0),
        Function::ThresholdedRelu { alpha } => {
            if x > f64::from(alpha) {
                x
            } else {
                0.0
            }
        }
        Function::ScaledTanh { alpha, beta } => f64::from(alpha) * (f64::from(beta) * x).tanh(),
        Function::HardSigmoid { alpha, beta } => (f64::from(alpha) * x + f64::from(beta)).clamp(0.0, 1.0),
        Function::Elu { alpha } => x.max(0.0) + f64::from(alpha) * (x.min(0.0).exp() - 1.0),
        Function::Softsign => x / (1.0 + x.abs()),
        Function::Softplus => x.exp().ln_1p(),
    }
}

/// Numbers between -1 and 1 without a pattern.
fn noise(length: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let step = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f32 / (1u32 << 30) as f32 - 1.0
    };
    std::iter::repeat_with(step).take(length).collect()
}

fn scaled(values: &[f32], factor: f32) -> Vec<f32> {
    values.iter().map(|value| value * factor).collect()
}

fn clipped(value: f64, clip: Option<f32>) -> f64 {
    clip.map_or(value, |limit| value.clamp(-f64::from(limit), limit.into()))
}

/// An LSTM's cell and output after a step.
fn lstm_exactly(lstm: &Lstm, gates: &[f32], cell: &[f32], unit: usize) -> [f64; 2] {
    let units = cell.len();
    let peephole = |gate: usize, cell: f64| lstm.peepholes.get(gate * units + unit).map_or(0.0, |weight| f64::from(*weight) * cell);
    let gate = |gate: usize, from_cell: f64, function: usize| {
        exactly(lstm.functions[function], clipped(f64::from(gates[gate * units + unit]) + from_cell, lstm.clip))
    };
    let before = f64::from(cell[unit]);
    let input = gate(0, peephole(0, before), 0);
    let forget = if lstm.input_forget { 1.0 - input } else { gate(2, peephole(2, before), 0) };
    let cell = forget * before + input * gate(3, 0.0, 1);
    [cell, gate(1, peephole(1, cell), 0) * exactly(lstm.functions[2], cell)]
}

fn near(found: f32, exact: f64, what: &str) {
    // Results of functions without bounds are rounded at their own size.
    assert!((f64::from(found) - exact).abs() <= 2e-6 * exact.abs().max(1.0), "{what}: {found}, exactly {exact}");
}

fn check_lstm(lstm: &Lstm, units: usize, spread: f32, seed: u64) {
    let (gates, cell) = (scaled(&noise(4 * units, seed), spread), noise(units, seed + 1));
    for set in InstructionSet::available() {
        let (mut sums, mut cells, mut outputs) = (gates.clone(), cell.clone(), vec![f32::NAN; units]);
        lstm.step(set, &mut sums, &mut cells, &mut outputs);
        for unit in 0..units {
            let [exact_cell, exact_output] = lstm_exactly(lstm, &gates, &cell, unit);
            near(cells[unit], exact_cell, &format!("{set}: cell of {lstm:?}"));
            near(outputs[unit], exact_output, &format!("{set}: output of {lstm:?}"));
        }
    }
}

fn check_gru(gru: &Gru, units: usize, spread: f32, seed: u64) {
    let (gates, product, state) = (scaled(&noise(3 * units, seed), spread), noise(units, seed + 1), noise(units, seed + 2));
    let gate = |function: usize, sum: f64| exactly(gru.functions[function], clipped(sum, gru.clip));
    let exact = |unit: usize, candidate: f64| {
        let update = gate(0, gates[unit].into());
        (1.0 - update) * gate(1, candidate) + update * f64::from(state[unit])
    };
    let reset = |unit: usize| gate(0, gates[units + unit].into());
    for set in InstructionSet::available() {
        let (mut sums, mut found) = (gates.clone(), state.clone());
        gru.step(set, &mut sums, &product, &mut found);
        for unit in 0..units {
            let candidate = f64::from(gates[2 * units + unit]) + reset(unit) * f64::from(product[unit]);
            near(found[unit], exact(unit, candidate), &format!("{set}: {gru:?}"));
        }
        let (mut sums, mut found, mut rest) = (gates.clone(), state.clone(), vec![f32::NAN; units]);
        let (sums, candidate) = sums.split_at_mut(2 * units);
        gru.reset(set, sums, &state, &mut rest);
        gru.finish(set, &sums[..units], candidate, &mut found);
        for unit in 0..units {
            near(rest[unit], reset(unit) * f64::from(state[unit]), &format!("{set}: reset of {gru:?}"));
            near(found[unit], exact(unit, gates[2 * units + unit].into()), &format!("{set}: {gru:?} in halves"));
        }
    }
}

fn function() -> impl Strategy<Value = Function> {
    prop::sample::select(EVERY.to_vec())
}

proptest! {
    #[test]
    fn the_usual_steps_are_within_their_bound(units in 1usize..40, spread in 0.1f32..100.0, seed: u32) {
        let seed = seed.into();
        let functions = [Function::Sigmoid, Function::Tanh, Function::Tanh];
        check_lstm(&Lstm { functions, peepholes: Vec::new(), clip: None, input_forget: false }, units, spread, seed);
        check_gru(&Gru { functions: [Function::Sigmoid, Function::Tanh], clip: None }, units, spread, seed);
    }

    #[test]
    fn any_step_is_within_its_bound(
        units in 1usize..12, functions in [function(), function(), function()], with_peepholes: bool,
        clip in prop::option::of(0.2f32..2.0), input_forget: bool, seed: u32,
    ) {
        let seed = seed.into();
        let peepholes = noise(if with_peepholes { 3 * units } else { 0 }, seed + 9);
        check_lstm(&Lstm { functions, peepholes, clip, input_forget }, units, 3.0, seed);
        check_gru(&Gru { functions: [functions[0], functions[1]], clip }, units, 3.0, seed);
    }
}

#[test]
fn integer_products_are_scaled_and_added() {
    for set in InstructionSet::available() {
        let mut gates = [1.0, 2.0];
        add_integer_products(set, &[100, -50], &[3, 4], &[0.5, 0.25], (0.1, 10), &mut gates);
        for (found, exact) in gates.iter().zip([1.0 + 70.0 * 0.05, 2.0 - 90.0 * 0.025]) {
            assert!((found - exact).abs() < 1e-6, "{set}: {gates:?}");
        }
    }
}

#[test]
#[should_panic(expected = "recurrent: four gates for each of 2 units")]
fn a_wrong_number_of_gates_is_refused() {
    let lstm = Lstm { functions: [Function::Tanh; 3], peepholes: Vec::new(), clip: None, input_forget: false };
    lstm.step(InstructionSet::SCALAR, &mut [0.0; 6], &mut [0.0; 2], &mut [0.0; 2]);
}
