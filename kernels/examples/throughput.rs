//! Measures the kernels on this machine, the scalar code against what dispatch chooses: `cargo run --release -p hearth-kernels
//! --example throughput`. What it prints was measured in that run.

mod shared;

use hearth_kernels::depthwise::{Weights, depthwise};
use hearth_kernels::image::{normalise_chw_on, normalise_hwc_on, normalise_quantize_chw_on, normalise_quantize_hwc_on, resize_bilinear_on};
use hearth_kernels::linear::{Float, Requantize};
use hearth_kernels::pointwise::{
    Activation, LayerNorm, Lookup, Product, Sum, activate_on, add_on, layer_normalise_on, multiply_on, softmax_columns_on, softmax_on,
};
use hearth_kernels::pooling::{Average, PictureAverage, average_on, average_pictures_on, max_on};
use hearth_kernels::quant::{Grid, Target, dequantize_on, extent_on, fake_quantize_on, quantize_on};
use hearth_kernels::{InstructionSet, Pool, Windows, sound};
use shared::shortest;
use std::hint::black_box;

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

    let (mut bytes, grid) = (vec![0i8; 224 * 224 * 3], Grid::new(0.019, 3i8));
    compare("normalise and quantize 224 x 224 x 3 HWC to CHW, pixel", 224 * 224, |set| {
        normalise_quantize_chw_on(set, black_box(&pixels), &scale, &offset, grid, black_box(&mut bytes));
    });
    compare("normalise and quantize 224 x 224 x 3 HWC to HWC, pixel", 224 * 224, |set| {
        normalise_quantize_hwc_on(set, black_box(&pixels), &scale, &offset, grid, black_box(&mut bytes));
    });

    // Those of MobileNetV2, and others.
    for (size, channels, kernel, stride) in [
        (112, 8, 3, 1),
        (112, 8, 3, 2),
        (112, 24, 3, 1),
        (56, 72, 3, 2),
        (28, 40, 5, 1),
        (112, 32, 3, 1),
        (112, 96, 3, 2),
        (56, 144, 3, 1),
        (28, 192, 3, 1),
        (14, 576, 3, 1),
        (7, 960, 3, 1),
        (28, 120, 5, 1),
        (14, 192, 7, 1),
    ] {
        let windows = Windows::new([size; 2], [kernel; 2], [stride; 2], [1; 2], [kernel / 2; 4]);
        let input: Vec<i8> = noise(size * size * channels).into_iter().map(|byte| byte as i8).collect();
        let weights: Vec<i8> = noise(kernel * kernel * channels).into_iter().map(|byte| (byte as i8).max(-127)).collect();
        let (bias, multiplier, padding) = (vec![7; channels], vec![1e-3; channels], vec![0; size * channels]);
        let finish = Requantize { bias: &bias, multiplier: &multiplier, zero_point: 0, low: -128, high: 127, table: None };
        let mut out = vec![0i8; windows.output()[0] * windows.output()[1] * channels];
        let packed: Vec<(InstructionSet, Weights)> = [InstructionSet::SCALAR, InstructionSet::best()]
            .map(|set| (set, Weights::pack_on(set, &weights, kernel * kernel, channels, &[])))
            .into();
        let what = format!("depthwise {kernel} x {kernel} / {stride} on {size} x {size} x {channels}, 16 products");
        let products = windows.output()[0] * windows.output()[1] * kernel * kernel * channels;
        compare(&what, products / 16, |set| {
            let weights = &packed.iter().find(|(packed, _)| *packed == set).expect("both are packed").1;
            depthwise(weights, &windows, black_box(&input), &padding, &finish, 0..windows.output()[0], black_box(&mut out));
        });
        if channels % 48 == 0 && stride == 1 {
            let finish = Float { offset: &bias, scale: &multiplier, row_scale: &[], bias: &multiplier, limits: Float::FREE };
            let mut out = vec![0f32; out.len()];
            compare(&format!("{what}, to f32"), products / 16, |set| {
                let weights = &packed.iter().find(|(packed, _)| *packed == set).expect("both are packed").1;
                depthwise(weights, &windows, black_box(&input), &padding, &finish, 0..windows.output()[0], black_box(&mut out));
            });
        }
    }

    for (length, channels, kernel) in [(1024, 64, 3), (1024, 64, 9)] {
        let windows = Windows::new([1, length], [1, kernel], [1; 2], [1; 2], [0, kernel / 2, 0, kernel / 2]);
        let weights = [InstructionSet::SCALAR, InstructionSet::best()]
            .map(|set| Weights::pack_on(set, &vec![7; kernel * channels], kernel, channels, &[]));
        let (input, padding, mut out) = (vec![3; length * channels], vec![0; length * channels], vec![0i8; length * channels]);
        let finish = Requantize { bias: &[], multiplier: &[1e-2], zero_point: 0, low: -128, high: 127, table: None };
        compare(&format!("depthwise {kernel} on {length} x {channels}, 16 products"), length * kernel * channels / 16, |set| {
            let weights = &weights[usize::from(set != InstructionSet::SCALAR)];
            depthwise(weights, &windows, black_box(&input), &padding, &finish, 0..1, black_box(&mut out));
        });
    }

    let mut values: Vec<i8> = pixels.iter().map(|&pixel| pixel as i8).collect();
    let lookup = Lookup::new(|value| value ^ 0x55);
    compare("lookup, value", values.len(), |set| lookup.apply_on(set, black_box(&mut values)));

    let (a, b, mut out) = (values.clone(), values[..576].to_vec(), values.clone());
    let sum = Sum::new([3, -5], [0.4, 0.7], Target::new(2), false);
    compare("add, value", a.len(), |set| add_on(set, black_box(&a), black_box(&a), &sum, black_box(&mut out)));
    let (length, product) = (a.len() / 576 * 576, Product { zero_points: [3, -5], multiplier: 0.01, target: Target::new(2) });
    compare("multiply by a vector of 576 channels, value", length, |set| {
        multiply_on(set, black_box(&a[..length]), black_box(&b), &product, black_box(&mut out[..length]));
    });

    let pool = Windows::new([48, 48], [3, 3], [2, 2], [1, 1], [1; 4]);
    compare("max pool 3 x 3 / 2 on 48 x 48 x 64, result", 24 * 24 * 64, |set| {
        max_on(set, &pool, 64, black_box(&a[..48 * 48 * 64]), 0..24, black_box(&mut out[..24 * 24 * 64]));
    });
    let average = Average::new(3, [0.1, 0.11], false, Target::new(2), true);
    compare("average pool 3 x 3 / 2 on 48 x 48 x 64, result", 24 * 24 * 64, |set| {
        average_on(set, &pool, 64, black_box(&a[..48 * 48 * 64]), &average, 0..24, black_box(&mut out[..24 * 24 * 64]));
    });
    let average = PictureAverage { zero_point: 3, multiplier: 0.9, target: Target::new(2) };
    compare("average of 7 x 7 x 1280, value", 7 * 7 * 1280, |set| {
        average_pictures_on(set, 1280, black_box(&a[..7 * 7 * 1280]), &average, black_box(&mut out[..1280]));
    });

    let source: Vec<f32> = pixels.iter().map(|&pixel| f32::from(pixel) * 0.05 - 4.0).collect();
    let mut bytes = vec![0u8; source.len()];
    let grid = Grid::new(0.05, 80u8);
    compare("quantize, value", source.len(), |set| quantize_on(set, black_box(&source), grid, black_box(&mut bytes)));
    compare("dequantize, value", source.len(), |set| dequantize_on(set, black_box(&bytes), grid, black_box(&mut floats)));
    compare("fake_quantize, value", source.len(), |set| fake_quantize_on(set, black_box(&mut floats), grid));

    compare("extent, value", source.len(), |set| _ = black_box(extent_on(set, black_box(&source))));
    let rows = &source[..source.len() / 384 * 384];
    let norm = LayerNorm { scale: &source[..384], bias: &source[384..768], epsilon: 1e-12 };
    compare("layer norm of 384, value", rows.len(), |set| {
        layer_normalise_on(set, black_box(rows), &norm, black_box(&mut floats[..rows.len()]));
    });
    for activation in [Activation::Sigmoid, Activation::Silu, Activation::Gelu, Activation::GeluTanh] {
        compare(&format!("{activation:?}, value"), source.len(), |set| {
            floats.copy_from_slice(black_box(&source));
            activate_on(set, activation, black_box(&mut floats));
        });
    }
    compare("softmax of 64, value", source.len(), |set| {
        floats.copy_from_slice(black_box(&source));
        softmax_on(set, black_box(&mut floats), 64);
    });

    for (depth, inner) in [(16, 8400), (128, 64), (1024, 9)] {
        compare(&format!("softmax of columns, {depth} x {inner}, value"), depth * inner, |set| {
            floats[..depth * inner].copy_from_slice(black_box(&source[..depth * inner]));
            softmax_columns_on(set, black_box(&mut floats[..depth * inner]), depth, inner);
        });
    }
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
