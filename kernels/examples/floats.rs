//! Measures the float products on this machine, one thread: `cargo run --release -p hearth-kernels --example floats`. What it
//! prints was measured in that run.

mod shared;

use hearth_kernels::convolution::Shape;
use hearth_kernels::float::{Convolution, Finish, Matrix, Right, Scratch, Weights, Winograd, multiply, multiply_pair};
use hearth_kernels::recurrent::{Function, Gru, Lstm};
use hearth_kernels::{InstructionSet, Windows};
use shared::shortest;
use std::hint::black_box;
use std::time::Duration;

fn main() {
    let set = InstructionSet::best();
    println!("{:<24} {:>10} {:>12} {:>12}", "rows x depth x outputs", "weights", "activations", "transposed");
    for (rows, depth, outputs) in [
        (256, 256, 256),
        (128, 384, 384),
        (128, 384, 1536),
        (128, 1536, 384),
        (128, 32, 128),
        (128, 128, 32),
        (96, 40, 64),
        (8, 128, 384),
        (4, 96, 384),
        (1, 96, 384),
        (1, 128, 384),
        (1, 1024, 1024),
    ] {
        let (values, weights) = (noise(rows * depth), noise(outputs * depth));
        let (mut out, mut scratch) = (vec![0.0; rows * outputs], Scratch::new());
        let (matrix, finish) = (Matrix::new(&values, rows, depth, depth), Finish::default());
        let speed = |time: Duration| (rows * depth * outputs) as f64 / time.as_secs_f64() / 1e9;
        let packed = Weights::pack(set, &weights, outputs, depth);
        let fixed = shortest(|| multiply(&packed, 0..outputs, black_box(&matrix), &finish, black_box(&mut out), outputs));
        let pair = [Right::new(&weights, depth, outputs, outputs), Right::transposed(&weights, depth, outputs, depth)]
            .map(|right| shortest(|| multiply_pair(set, black_box(&matrix), &right, &finish, black_box(&mut out), outputs, &mut scratch)));
        let shape = format!("{rows} x {depth} x {outputs}");
        println!("{shape:<24} {:>10.1} {:>12.1} {:>12.1}  GMAC/s", speed(fixed), speed(pair[0]), speed(pair[1]));
    }

    println!("{:<24} {:>10} {:>12}", "3 x 3 convolution", "direct", "winograd");
    for (size, channels) in [(80, 16), (56, 64), (40, 32), (28, 128), (20, 64), (14, 256), (7, 128)] {
        let shape = Shape { channels, outputs: channels, kernel: [3; 2], groups: 1 };
        let windows = Windows::new([size; 2], [3; 2], [1; 2], [1; 2], [1; 4]);
        let (input, weights) = (noise(size * size * channels), noise(channels * channels * 9));
        let (mut out, mut scratch) = (vec![0.0; size * size * channels], Vec::new());
        let limits = [f32::NEG_INFINITY, f32::INFINITY];
        let (direct, winograd) = (Convolution::pack(set, shape, &weights, &[]), Winograd::pack(set, shape, &weights, &[]));
        let direct = shortest(|| direct.run(&windows, black_box(&input), 0..size * size, limits, black_box(&mut out), &mut scratch));
        let winograd = shortest(|| winograd.run(&windows, black_box(&input), limits, black_box(&mut out), &mut scratch));
        let shape = format!("{size} x {size} x {channels}");
        println!("{shape:<24} {:>10.1} {:>12.1}  us", direct.as_secs_f64() * 1e6, winograd.as_secs_f64() * 1e6);
    }

    println!("{:<24} {:>10} {:>12}", "units of a step", "LSTM", "GRU");
    let lstm =
        Lstm { functions: [Function::Sigmoid, Function::Tanh, Function::Tanh], peepholes: Vec::new(), clip: None, input_forget: false };
    let gru = Gru { functions: [Function::Sigmoid, Function::Tanh], clip: None };
    for units in [96, 128, 1024] {
        let (mut gates, mut state, mut output) = (noise(4 * units), noise(units), noise(units));
        let of_lstm = shortest(|| lstm.step(set, black_box(&mut gates), &mut state, &mut output));
        let of_gru = shortest(|| gru.step(set, black_box(&mut gates[..3 * units]), &state, &mut output));
        let pace = |time: Duration| time.as_secs_f64() * 1e9 / units as f64;
        println!("{units:<24} {:>10.2} {:>12.2}  ns a unit", pace(of_lstm), pace(of_gru));
    }
}

/// Floats without a pattern, the same in each run.
fn noise(length: usize) -> Vec<f32> {
    let mut state = 1u32;
    let step = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(step).take(length).collect()
}
