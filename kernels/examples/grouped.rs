//! Measures products with weights of language models on this machine: `cargo run --release -p hearth-kernels --example grouped [LAYOUT]`.
//! What it prints was measured in that run; the largest matrix fits no cache of a board. A busy machine shows what it can do with the
//! smallest one only, of which a call is over before another program gets the core.

mod shared;

use hearth_kernels::grouped::{Codes, Element, Layout, PANEL, Packer, Part, Row, Scales, Scratch, Weights, multiply_side_by_side};
use hearth_kernels::{InstructionSet, Pool};
use shared::shortest;
use std::hint::black_box;

fn main() {
    let grouped = |codes, group, scales, minima| Layout::Grouped { codes, group, scales, minima };
    let layouts = [
        ("Q4_0", grouped(Codes::Signed, 32, Scales::Halves, false)),
        ("Q4_1", grouped(Codes::Unsigned, 32, Scales::Halves, true)),
        ("Q4_K", grouped(Codes::Unsigned, 32, Scales::Products, true)),
        ("IQ4_NL", grouped(Codes::Iq4, 32, Scales::Halves, false)),
        ("MXFP4", grouped(Codes::Mxfp4, 32, Scales::Singles, false)),
        ("Q8_0", grouped(Codes::Eight, 32, Scales::Halves, false)),
        ("Q5_K", grouped(Codes::Eight, 32, Scales::Products, true)),
        ("Q6_K", grouped(Codes::Eight, 16, Scales::Products, false)),
        ("F16", Layout::Plain(Element::Half)),
        ("BF16", Layout::Plain(Element::Brain)),
        ("F32", Layout::Plain(Element::Single)),
    ];
    let wanted = std::env::args().nth(1);
    let pools = [Pool::new(1), Pool::new(2)];
    println!("{}: GMAC/s (GB/s of weights) with 1, 4 and 64 rows on one thread; on two", InstructionSet::best());
    for (depth, outputs) in [(896, 128), (896, 4864), (4096, 4096)] {
        println!("{depth} x {outputs}");
        for (name, layout) in layouts {
            if wanted.as_deref().is_some_and(|wanted| wanted != name) {
                continue;
            }
            let weights = matrix(layout, depth, outputs);
            let parts = [Part { weights: &weights, bias: &[] }];
            let mut line = format!("{name:<8}");
            for pool in &pools {
                for rows in [1, 4, 64] {
                    let x: Vec<f32> = (0..rows * depth).map(|at| (at * 7 % 31) as f32 - 15.0).collect();
                    let (mut out, mut scratch) = (vec![0.0; rows * outputs], Scratch::default());
                    let time = shortest(|| {
                        let (set, threads) = (InstructionSet::best(), pool.threads());
                        multiply_side_by_side(set, pool, threads, &parts, black_box(&x), false, black_box(&mut out), &mut scratch);
                    });
                    let speed = |count: usize| count as f64 / time.as_secs_f64() / 1e9;
                    line += &format!(" {:>6.1} ({:>5.2})", speed(rows * depth * outputs), speed(weights.bytes()));
                }
                line += "  ";
            }
            println!("{line}");
        }
    }
}

/// One panel's weights, over and over.
fn matrix(layout: Layout, depth: usize, outputs: usize) -> Weights {
    // As a half 0x2400 is 2^-6; the bytes are ordinary floats of each kind.
    let floats = [0x00, 0x24, 0x00, 0x24].repeat(depth);
    let codes: Vec<i8> = (0..depth).map(|at| (at * 5 % 16) as i8).collect();
    let (scales, factors, singles) = (vec![0x2400; depth], vec![3; depth], vec![0.1; depth]);
    let row = Row {
        floats: &floats,
        codes: &codes,
        scales: &scales,
        factors: &factors,
        singles: &singles,
        minima: &scales,
        minimum_factors: &factors,
    };
    let panel = Packer::new(layout, depth).pack(&[row; PANEL]).to_vec();
    Weights::new(layout, outputs, depth, panel.repeat(outputs / PANEL).into())
}
