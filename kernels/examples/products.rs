//! Measures the integer products on this machine, one thread: `cargo run --release -p hearth-kernels --example products`. What it
//! prints was measured in that run: with numbers spread as those of networks are, half of the activations at the lowest and most
//! weights small, and with any numbers, where AVX2 has to widen most steps.

mod shared;

use hearth_kernels::convolution::{Convolution, Shape};
use hearth_kernels::linear::{Matrix, Requantize, Scratch, Weights, multiply};
use hearth_kernels::{InstructionSet, Windows, int4};
use shared::shortest;
use std::hint::black_box;

fn main() {
    println!("{:<24} {:>16} {:>16}", "rows x depth x outputs", "GMAC/s: usual", "any numbers");
    for (rows, depth, outputs) in [
        (3136, 64, 64),
        (3136, 576, 64),
        (784, 1152, 128),
        (196, 2304, 256),
        (49, 4608, 512),
        (3136, 144, 24),
        (12544, 16, 96),
        (3136, 24, 144),
        (784, 32, 192),
        (64, 384, 384),
        (64, 384, 1536),
        (64, 1536, 384),
        (1, 384, 384),
        (4, 1024, 1024),
        (1, 1024, 1024),
    ] {
        let speed = |values: Vec<i8>, weights: Vec<i8>| {
            let weights = Weights::pack(InstructionSet::best(), &weights, outputs, depth, &[]);
            let (multiplier, mut out, mut scratch) = (vec![1e-3; outputs], vec![0i8; rows * outputs], Scratch::new());
            let finish = Requantize { bias: &[], multiplier: &multiplier, zero_point: 3, low: -128, high: 127, table: None };
            let matrix = Matrix::new(&values, rows, depth, depth);
            let time = shortest(|| multiply(&weights, 0..outputs, black_box(&matrix), &finish, black_box(&mut out), outputs, &mut scratch));
            (rows * depth * outputs) as f64 / time.as_secs_f64() / 1e9
        };
        let usual = speed(rectified(rows * depth), bell(outputs * depth));
        let any = speed(noise(rows * depth), noise(outputs * depth));
        println!("{:<24} {usual:>16.1} {any:>16.1}", format!("{rows} x {depth} x {outputs}"));
    }

    println!("{:<44} {:>6}", "convolution", "GMAC/s");
    for (size, channels, kernel, stride, outputs) in [
        (224, 3, 7, 2, 64),
        (224, 3, 3, 2, 32),
        (56, 16, 3, 1, 16),
        (28, 24, 3, 1, 24),
        (28, 64, 3, 1, 64),
        (80, 16, 3, 1, 16),
        (80, 32, 3, 1, 32),
        (80, 64, 3, 1, 64),
        (160, 16, 3, 2, 32),
    ] {
        let shape = Shape { channels, outputs, kernel: [kernel; 2], groups: 1 };
        let convolution = Convolution::pack(InstructionSet::best(), shape, &bell(outputs * kernel * kernel * channels), &[]);
        let windows = Windows::new([size; 2], [kernel; 2], [stride; 2], [1; 2], [kernel / 2; 4]);
        let (input, mut out) = (rectified(size * size * channels), vec![0i8; windows.count() * outputs]);
        let (multiplier, mut scratch) = (vec![1e-3; outputs], Scratch::new());
        let finish = Requantize { bias: &[], multiplier: &multiplier, zero_point: 3, low: -128, high: 127, table: None };
        let pixels = 0..windows.count();
        let time =
            shortest(|| convolution.run(&windows, black_box(&input), -128, pixels.clone(), &finish, black_box(&mut out), &mut scratch));
        let speed = (pixels.len() * outputs * kernel * kernel * channels) as f64 / time.as_secs_f64() / 1e9;
        println!("{:<44} {speed:>6.1}", format!("{kernel} x {kernel} / {stride} on {size} x {size} x {channels} to {outputs}"));
    }

    println!("{:<44} {:>6}", "weights with a scale for each block", "GMAC/s");
    for (bits, block, rows) in [(4, 32, 1), (4, 32, 4), (4, 32, 96), (4, 128, 1), (4, 128, 96), (8, 32, 1), (8, 32, 96)] {
        let (depth, outputs) = (1024, 1024);
        let weights: Vec<u8> = noise(outputs * depth * bits / 8).into_iter().map(|value| value as u8).collect();
        let scales = vec![0.01; outputs * depth / block];
        let source = int4::Source { bits: bits as u32, outputs, depth, block, weights: &weights, scales: &scales, zero_points: &[] };
        let weights = int4::Weights::pack(InstructionSet::best(), &source);
        let floats: Vec<f32> = bell(rows * depth).into_iter().map(f32::from).collect();
        let (mut quantized, mut scratch, mut out) = (int4::QuantizedRows::new(), int4::Scratch::default(), vec![0.0; rows * outputs]);
        quantized.quantize(&floats, depth, block);
        let time = shortest(|| {
            int4::multiply(black_box(&weights), 0..outputs, &quantized, 0..rows, &[], black_box(&mut out), outputs, &mut scratch);
        });
        let speed = (rows * depth * outputs) as f64 / time.as_secs_f64() / 1e9;
        println!("{:<44} {speed:>6.1}", format!("{bits} bits, blocks of {block}: {rows} x {depth} x {outputs}"));
    }
}

/// As activations are after a Relu: half of them at the lowest.
fn rectified(length: usize) -> Vec<i8> {
    bell(length).into_iter().map(|value| (f32::from(value).max(0.0) * 2.0 - 128.0) as i8).collect()
}

/// Bytes around zero, nearly normally distributed.
fn bell(length: usize) -> Vec<i8> {
    noise(length * 4).chunks_exact(4).map(|four| (four.iter().map(|&byte| f32::from(byte)).sum::<f32>() / 4.0) as i8).collect()
}

/// Bytes without a pattern, the same in each run.
fn noise(length: usize) -> Vec<i8> {
    let mut state = 1u32;
    let step = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as i8
    };
    std::iter::repeat_with(step).take(length).collect()
}
