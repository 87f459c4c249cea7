//! Block-wise products against their definition, on every instruction set, bit for bit, and against floats, within the grid's error.

use super::*;
use crate::loops::PLAIN_FUSED;
use crate::pointwise::multiply_add;
use proptest::prelude::*;

struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    fn unit(&mut self) -> f32 {
        (self.next() % 2001) as f32 / 1000.0 - 1.0
    }
}

/// A number of `bits` from an array whose rows of `row` numbers begin with a byte.
fn unpack(bytes: &[u8], bits: u32, row: usize, at: (usize, usize)) -> i32 {
    let per_byte = 8 / bits as usize;
    let byte = bytes[at.0 * row.div_ceil(per_byte) + at.1 / per_byte];
    i32::from(if bits == 4 { byte >> (at.1 % 2 * 4) & 15 } else { byte })
}

fn check(rows: usize, outputs: usize, depth: usize, block: usize, bits: u32, asymmetric: bool, seed: u64) {
    let mut noise = Noise(seed);
    let (blocks, per_byte) = (depth.div_ceil(block), 8 / bits as usize);
    let floats: Vec<f32> = (0..rows * depth).map(|_| noise.unit() * 3.0).collect();
    let weights: Vec<u8> = (0..outputs * blocks * block / per_byte).map(|_| noise.next() as u8).collect();
    let scales: Vec<f32> = (0..outputs * blocks).map(|_| noise.unit() * 0.1).collect();
    let zeros = if asymmetric { outputs * blocks.div_ceil(per_byte) } else { 0 };
    let zero_points: Vec<u8> = (0..zeros).map(|_| noise.next() as u8).collect();
    let bias: Vec<f32> = (0..outputs * (seed % 2) as usize).map(|_| noise.unit()).collect();
    let mut quantized = QuantizedRows::new();
    quantized.quantize(&floats, depth, block);

    let weight = |output: usize, at: usize| {
        let zero = if asymmetric { unpack(&zero_points, bits, blocks, (output, at / block)) } else { 1 << (bits - 1) };
        unpack(&weights, bits, blocks * block, (output, at)) - zero
    };
    let expected: Vec<f32> = (0..rows)
        .flat_map(|row| (0..outputs).map(move |output| (row, output)))
        .map(|(row, output)| {
            let start = bias.get(output).copied().unwrap_or(0.0);
            let mut total = start;
            for index in 0..blocks {
                let value = |at: usize| i32::from(quantized.values()[row * blocks * block + at]);
                let sum: i32 = (index * block..(index + 1) * block).map(|at| value(at) * weight(output, at)).sum();
                let scale = quantized.scales(index)[row] * scales[output * blocks + index];
                total = multiply_add::<PLAIN_FUSED>(sum as f32, scale, total);
            }
            let exact: f64 = (0..depth)
                .map(|at| {
                    f64::from(floats[row * depth + at]) * f64::from(weight(output, at)) * f64::from(scales[output * blocks + at / block])
                })
                .sum();
            // Half a step of the largest value times the weights, at most 0.1 * 256 each.
            let bound = 3.0 / 254.0 * depth as f64 * 0.1 * f64::from(1 << bits);
            assert!((f64::from(total - start) - exact).abs() <= bound, "{total} for {exact}");
            total
        })
        .collect();

    let mut scratch = Scratch::default();
    for set in InstructionSet::available() {
        let packed =
            Weights::pack(set, &Source { bits, outputs, depth, block, weights: &weights, scales: &scales, zero_points: &zero_points });
        for (rows_part, outputs_part) in [(0..rows, 0..outputs), (rows / 2..rows, outputs / 2 / PANEL * PANEL..outputs)] {
            let (stride, start) = (outputs_part.len() + 1, outputs_part.start);
            let mut out = vec![f32::NAN; rows_part.len() * stride];
            multiply(&packed, outputs_part.clone(), &quantized, rows_part.clone(), &bias, &mut out, stride, &mut scratch);
            for (row, out) in rows_part.zip(out.chunks_exact(stride)) {
                for (column, &out) in out[..outputs_part.len()].iter().enumerate() {
                    let expected = expected[row * outputs + start + column];
                    assert_eq!(out.to_bits(), expected.to_bits(), "{set}: {out} for {expected} at {row}, {}", start + column);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn every_instruction_set_multiplies_blocks_alike(
        rows in 1usize..12,
        outputs in 1usize..40,
        depth in 1usize..300,
        block in prop::sample::select(vec![16usize, 32, 64, 128, 256]),
        bits in prop::sample::select(vec![4u32, 8]),
        asymmetric: bool,
        seed: u64,
    ) {
        check(rows, outputs, depth, block, bits, asymmetric, seed);
    }
}

#[test]
fn many_rows_are_multiplied_in_several_goes() {
    check(BLOCK_ROWS * 2 + 3, 17, 64, 32, 4, true, 5);
    check(BLOCK_ROWS + 3, 17, 64, 32, 8, true, 6);
}

#[test]
fn sums_of_the_extremes_are_exact() {
    for (bits, byte, weight) in [(4, 0xff, 7), (4, 0, -8), (8, 0xff, 127), (8, 0, -128)] {
        for (block, sign) in [(16, 1.0), (32, -1.0), (128, 1.0), (256, -1.0f32)] {
            let mut rows = QuantizedRows::new();
            rows.quantize(&vec![sign * 127.0; 7 * block], block, block);
            let weights = vec![byte; 18 * block * bits as usize / 8];
            let source = Source { bits, outputs: 18, depth: block, block, weights: &weights, scales: &[1.0; 18], zero_points: &[] };
            for set in InstructionSet::available() {
                let mut out = [0.0; 7 * 18];
                multiply(&Weights::pack(set, &source), 0..18, &rows, 0..7, &[], &mut out, 18, &mut Scratch::default());
                assert_eq!(out, [sign * 127.0 * weight as f32 * block as f32; 7 * 18], "{set}: {bits} bits, {block}");
            }
        }
    }
}

#[test]
fn a_block_that_is_not_finite_gives_nan_and_one_of_zeros_gives_zero() {
    let weights = Weights::pack(
        InstructionSet::best(),
        &Source { bits: 4, outputs: 1, depth: 32, block: 16, weights: &[0x9a; 16], scales: &[1.0; 2], zero_points: &[] },
    );
    let mut scratch = Scratch::default();
    for (value, is_nan) in [(f32::NAN, true), (f32::INFINITY, true), (0.0, false)] {
        let mut floats = [0.0; 32];
        floats[20] = value;
        let mut rows = QuantizedRows::new();
        rows.quantize(&floats, 32, 16);
        let mut out = [7.0];
        multiply(&weights, 0..1, &rows, 0..1, &[], &mut out, 1, &mut scratch);
        assert!(if is_nan { out[0].is_nan() } else { out[0] == 0.0 }, "{value}: {}", out[0]);
    }
}

#[test]
fn the_smallest_floats_do_no_harm() {
    let mut rows = QuantizedRows::new();
    rows.quantize(&[f32::from_bits(1), -f32::from_bits(1), 0.0, 0.0], 4, 16);
    assert!(rows.scales(0)[0].is_finite());
}

#[test]
#[should_panic(expected = "int4: blocks of 16 to 256, not 8")]
fn a_block_of_8_is_refused() {
    Weights::pack(InstructionSet::best(), &Source { bits: 4, outputs: 0, depth: 8, block: 8, weights: &[], scales: &[], zero_points: &[] });
}
