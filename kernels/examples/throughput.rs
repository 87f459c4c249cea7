//! Measures the kernels on this machine, the scalar code against what dispatch chooses: `cargo run --release -p hearth-kernels
//! --example throughput`. What it prints was measured in that run.

use hearth_kernels::image::{normalise_chw_on, normalise_hwc_on, resize_bilinear_on};
use hearth_kernels::quant::{Grid, dequantize_on, fake_quantize_on, quantize_on};
use hearth_kernels::{InstructionSet, Pool, sound};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Shortest time of one call, over a quarter of a second.
fn shortest(mut call: impl FnMut()) -> Duration {
    let start = Instant::now();
    let mut shortest = Duration::MAX;
    while start.elapsed() < Duration::from_millis(250) {
        let call_start = Instant::now();
        call();
        shortest = shortest.min(call_start.elapsed());
    }
    shortest
}

/// One line: nanoseconds for each of `items`, scalar, dispatched, and the ratio.
fn compare(what: &str, items: usize, mut call: impl FnMut(InstructionSet)) {
    let [scalar, best] =
        [InstructionSet::SCALAR, InstructionSet::best()].map(|set| shortest(|| call(set)).as_secs_f64() * 1e9 / items as f64);
    println!("{what:<58} {scalar:>9.3} {best:>9.3} {:>7.2}", scalar / best);
}

fn main() {
    println!("{:<58} {:>9} {:>9} {:>7}", "nanoseconds for each pixel or value", "scalar", InstructionSet::best().to_string(), "ratio");
    for (from, to, channels) in [
        ((1920, 1080), (224, 224), 3),
        ((640, 480), (224, 224), 3),
        ((96, 96), (224, 224), 3),
        ((640, 480), (96, 96), 1),
        ((8, 8), (32, 32), 1),
    ] {
        let (src, mut dst) = (noise(from.0 * from.1 * channels), vec![0; to.0 * to.1 * channels]);
        let what = format!("resize {} x {} to {} x {}, {channels} channels, source pixel", from.0, from.1, to.0, to.1);
        compare(&what, from.0 * from.1, |set| {
            resize_bilinear_on(set, black_box(&src), from.0, from.1, channels, black_box(&mut dst), to.0, to.1);
        });
    }

    let (pixels, mut floats) = (noise(224 * 224 * 3), vec![0.0; 224 * 224 * 3]);
    let (scale, offset) = ([0.017, 0.018, 0.017], [-2.1, -2.0, -1.8]);
    compare("normalise 224 x 224 x 3 HWC to CHW, pixel", 224 * 224, |set| {
        normalise_chw_on(set, black_box(&pixels), &scale, &offset, black_box(&mut floats));
    });
    compare("normalise 224 x 224 x 3 HWC to HWC, pixel", 224 * 224, |set| {
        normalise_hwc_on(set, black_box(&pixels), &scale, &offset, black_box(&mut floats));
    });

    let source: Vec<f32> = pixels.iter().map(|&pixel| f32::from(pixel) * 0.05 - 4.0).collect();
    let mut bytes = vec![0u8; source.len()];
    let grid = Grid::new(0.05, 80u8);
    compare("quantize, value", source.len(), |set| quantize_on(set, black_box(&source), grid, black_box(&mut bytes)));
    compare("dequantize, value", source.len(), |set| dequantize_on(set, black_box(&bytes), grid, black_box(&mut floats)));
    compare("fake_quantize, value", source.len(), |set| fake_quantize_on(set, black_box(&mut floats), grid));

    let mut window: Vec<f32> = source[..16_000].to_vec();
    let standardise = shortest(|| sound::standardise(black_box(&mut window)));
    println!("{:<58} {:>9.3}", "standardise 16000 samples, sample", standardise.as_secs_f64() * 1e9 / 16_000.0);

    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    for threads in 1..=threads {
        let pool = Pool::new(threads);
        let empty = shortest(|| pool.run(threads, &|task| _ = black_box(task)));
        println!("{:<58} {:>9.0}", format!("pool: an empty run on {threads} threads"), empty.as_secs_f64() * 1e9);
    }
}

/// Bytes without a pattern, the same in each run.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u32;
    let step = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(step).take(length).collect()
}
