//! Measures a decoder's float kernels on this machine, one thread: `cargo run --release -p hearth-kernels --example attention`. Shapes
//! are those of published models; what it prints was measured in that run, for all layers of a model.

mod shared;

use hearth_kernels::decoder::attention::{Attention, Scratch, attend};
use hearth_kernels::decoder::gate::{Gate, gate};
use hearth_kernels::decoder::kv::{Element, KvPool, KvShape, PAGE, Page, Sequence, Values};
use hearth_kernels::decoder::norm::{RmsNorm, rms_normalise};
use hearth_kernels::decoder::rope::{Frequencies, Heads, Pairs, rotate};
use hearth_kernels::{InstructionSet, Pool};
use shared::shortest;
use std::hint::black_box;
use std::time::Duration;

struct Model {
    name: &'static str,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    key_width: usize,
    values: Values,
}

fn main() {
    let (apart, latent) = (Values::Apart, Values::InKeys(512));
    for (name, layers, heads, kv_heads, key_width, values) in [
        ("Qwen2.5-0.5B", 24, 14, 2, 64, apart(64)),
        ("Llama-3.2-1B", 16, 32, 8, 64, apart(64)),
        ("Qwen3-1.7B", 28, 16, 8, 128, apart(128)),
        ("Gemma-3-1B", 26, 4, 1, 256, apart(256)),
        ("gpt-oss-20b", 24, 64, 8, 64, apart(64)),
        ("DeepSeek-V2-Lite", 27, 16, 1, 576, latent),
        ("SmolLM2-1.7B (no groups)", 24, 32, 32, 64, apart(64)),
    ] {
        measure(&Model { name, layers, heads, kv_heads, key_width, values });
    }
    others();
}

/// The attention of one layer, times the layers.
fn measure(model: &Model) {
    let Model { name, layers, heads, kv_heads, key_width, values } = *model;
    println!("{name}: {layers} layers, {heads} heads over {kv_heads} of {key_width}");
    let (set, pool, scratch) = (InstructionSet::best(), Pool::new(1), Scratch::new());
    let attention = Attention { heads, scale: 0.1, window: 0, softcap: 0.0, sinks: &[] };
    for element in [Element::Half, Element::Single] {
        let shape = KvShape { layers: 1, kv_heads, key_width, values, pages: 4096 / PAGE, element };
        let kv = KvPool::new(shape);
        let pages: Vec<Page> = std::iter::from_fn(|| kv.take()).collect();
        let width = if matches!(values, Values::Apart(_)) { shape.value_width() } else { 0 };
        let (keys, new_values) = (noise(4096 * kv_heads * key_width), noise(4096 * kv_heads * width));
        kv.write(set, 0, &[Sequence { pages: &pages, start: 0, rows: 4096 }], &keys, &new_values);
        for (rows, context) in [(1, 640), (1, 4096), (512, 512)] {
            let batch = [Sequence { pages: &pages, start: context - rows, rows }];
            let queries = noise(rows * heads * key_width);
            let mut out = vec![0.0; rows * heads * shape.value_width()];
            let time = shortest(|| {
                attend(set, &pool, pool.threads(), &kv, 0, &attention, &batch, black_box(&queries), black_box(&mut out), &scratch)
            });
            let writing = shortest(|| {
                let (keys, values) = (&keys[..rows * kv_heads * key_width], &new_values[..rows * kv_heads * width]);
                kv.write(set, 0, &batch, black_box(keys), black_box(values));
            });
            let pairs = (0..rows).map(|row| context - row).sum::<usize>();
            let products = pairs * heads * (key_width + shape.value_width());
            let milliseconds = |time: Duration| time.as_secs_f64() * 1e3 * layers as f64;
            println!(
                "  {element:?}, {rows} new of {context}: {:.3} ms, {:.1} GMAC/s; written in {:.3} ms",
                milliseconds(time),
                products as f64 / time.as_secs_f64() / 1e9,
                milliseconds(writing)
            );
        }
    }
}

/// What is not attention, for 128 rows of Qwen2.5-0.5B.
fn others() {
    let (set, rows) = (InstructionSet::best(), 128);
    let line = |what: &str, values: usize, time: Duration| {
        println!("{what:<32} {:.3} ns a value", time.as_secs_f64() * 1e9 / values as f64);
    };
    let (values, mut out) = (noise(rows * 4864), vec![0.0; rows * 4864]);
    let norm = RmsNorm { weights: &noise(896), epsilon: 1e-6 };
    let count = rows * 896;
    line("RMS norm", count, shortest(|| rms_normalise(set, black_box(&values[..count]), &norm, black_box(&mut out[..count]))));
    let positions: Vec<usize> = (0..rows).collect();
    let frequencies = Frequencies::new(64, 1e6);
    line("angles", rows * 64, shortest(|| drop(black_box(frequencies.angles(black_box(&positions))))));
    let angles = frequencies.angles(&positions);
    for pairs in [Pairs::HalfSplit, Pairs::Interleaved] {
        let heads = Heads { count: 14, width: 64, offset: 0, pairs };
        line(&format!("RoPE, {pairs:?}"), count, shortest(|| rotate(set, black_box(&mut out[..count]), &heads, &angles)));
    }
    for kind in [Gate::Silu, Gate::GeluTanh, Gate::Clamped { alpha: 1.702, limit: 7.0 }] {
        line(&format!("{kind:?}"), values.len(), shortest(|| gate(set, kind, black_box(&mut out), black_box(&values))));
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
