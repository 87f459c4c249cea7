//! The kernels from `i8` to `i8` against their parts one after the other, bit for bit, on every instruction set.

use super::*;
use crate::quant::{Grid, dequantize_on, quantize_on};
use proptest::collection::vec;
use proptest::prelude::*;

/// As many as wanted, without much of a pattern.
fn bytes(length: usize, seed: &[i8]) -> Vec<i8> {
    (0..length).map(|index| seed[index % seed.len()].wrapping_add((index / seed.len()) as i8)).collect()
}

/// The scores as floats, with the mask's value for the score's place `of(index)` among those whose softmax is one.
fn masked(set: InstructionSet, scores: &[i8], softmax: &QuantizedSoftmax<'_>, of: impl Fn(usize) -> usize) -> Vec<f32> {
    let mut floats = vec![0.0; scores.len()];
    dequantize_on(set, scores, Grid::new(softmax.scale, 0i8), &mut floats);
    if !softmax.mask.is_empty() {
        floats.iter_mut().enumerate().for_each(|(index, value)| *value += softmax.mask[of(index)]);
    }
    floats
}

fn mask(depth: usize) -> impl Strategy<Value = Vec<f32>> {
    let value = prop_oneof![2 => Just(0.0f32), 1 => Just(-10_000.0), 1 => Just(f32::MIN), 1 => -3f32..3.0];
    prop_oneof![Just(vec![]), vec(value, depth)]
}

fn sizes() -> impl Strategy<Value = (usize, usize, Vec<f32>)> {
    (1usize..80).prop_flat_map(|depth| (Just(depth), prop_oneof![1usize..90, 200usize..400], mask(depth)))
}

proptest! {
    #[test]
    fn softmax_is_that_of_its_parts((depth, rows, mask) in sizes(), scale in 0.01f32..0.3, zero_point: i8, seed in vec(any::<i8>(), 241)) {
        let scores = bytes(rows * depth, &seed);
        let softmax = QuantizedSoftmax { scale, mask: &mask, target: Grid::new(1.0 / 256.0, zero_point) };
        for set in InstructionSet::available() {
            let mut floats = masked(set, &scores, &softmax, |index| index % depth);
            softmax_on(set, &mut floats, depth);
            let [mut expected, mut found] = [(); 2].map(|()| vec![0; scores.len()]);
            quantize_on(set, &floats, softmax.target, &mut expected);
            softmax_quantized_on(set, &scores, &softmax, depth, &mut found, &mut Vec::new());
            prop_assert_eq!(found, expected, "{}", set);
        }
    }

    #[test]
    fn softmax_of_columns_is_that_of_its_parts(
        (depth, inner, mask) in sizes(), outer in 0usize..3, scale in 0.01f32..0.3, zero_point: i8, seed in vec(any::<i8>(), 241),
    ) {
        let scores = bytes(outer * depth * inner, &seed);
        let softmax = QuantizedSoftmax { scale, mask: &mask, target: Grid::new(1.0 / 256.0, zero_point) };
        for set in InstructionSet::available() {
            let mut floats = masked(set, &scores, &softmax, |index| index / inner % depth);
            softmax_columns_on(set, &mut floats, depth, inner);
            let [mut expected, mut found] = [(); 2].map(|()| vec![0; scores.len()]);
            quantize_on(set, &floats, softmax.target, &mut expected);
            softmax_columns_quantized_on(set, &scores, &softmax, [depth, inner], &mut found, &mut Vec::new());
            prop_assert_eq!(found, expected, "{}", set);
        }
    }

    #[test]
    fn layer_normalisation_is_that_of_its_parts(
        rows in prop_oneof![0usize..4, 60usize..90], depth in 1usize..80, zero_points: (i8, i8), seed in vec(any::<i8>(), 241),
        norm in vec(-2f32..2.0, 160), with_bias: bool,
    ) {
        let values = bytes(rows * depth, &seed);
        let norm = LayerNorm { scale: &norm[..depth], bias: if with_bias { &norm[80..][..depth] } else { &[] }, epsilon: 1e-5 };
        let (source, target) = (Grid::new(0.07, zero_points.0), Grid::new(0.03, zero_points.1));
        for set in InstructionSet::available() {
            let [mut floats, mut normalised] = [(); 2].map(|()| vec![0.0; values.len()]);
            dequantize_on(set, &values, source, &mut floats);
            layer_normalise_on(set, &floats, &norm, &mut normalised);
            let [mut expected, mut found] = [(); 2].map(|()| vec![0; values.len()]);
            quantize_on(set, &normalised, target, &mut expected);
            layer_normalise_quantized_on(set, &values, source, &norm, target, &mut found, &mut Vec::new());
            prop_assert_eq!(found, expected, "{}", set);
        }
    }
}

#[test]
#[should_panic(expected = "softmax: a mask of 3 for 4 scores")]
fn a_mask_of_another_length_is_refused() {
    let softmax = QuantizedSoftmax { scale: 1.0, mask: &[0.0; 3], target: Grid::new(1.0, 0i8) };
    softmax_quantized(&[0; 8], &softmax, 4, &mut [0; 8], &mut Vec::new());
}
