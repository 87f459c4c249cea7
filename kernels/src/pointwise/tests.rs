//! The pointwise kernels against their definitions, on every instruction set.

use super::*;
use crate::quant::{Grid, dequantize, quantize};
use proptest::collection::vec;
use proptest::prelude::*;

fn byte() -> impl Strategy<Value = i8> {
    prop_oneof![1 => Just(-128i8), 1 => Just(127i8), 4 => any::<i8>()]
}

/// Two operands, the second of which may be shorter.
fn operands() -> impl Strategy<Value = (Vec<i8>, Vec<i8>)> {
    let lengths =
        prop_oneof![(0usize..200).prop_map(|length| (length, length.max(1))), (0usize..9, 1usize..300).prop_map(|(n, b)| (n * b, b))];
    lengths.prop_flat_map(|(a, b)| (vec(byte(), a), vec(byte(), b)))
}

fn multiplier() -> impl Strategy<Value = f32> {
    prop_oneof![4 => 1e-3f32..2.0, 1 => -2.0f32..0.0, 1 => Just(0.5), 1 => Just(1.0), 1 => Just(1e9)]
}

fn target() -> impl Strategy<Value = Target> {
    let bounds = prop_oneof![Just((-128, 127)), Just((-3, 100)), Just((5, 5))];
    (byte(), bounds).prop_map(|(zero_point, (low, high))| Target { zero_point, low, high })
}

/// In steps that cannot be confused with the kernels'.
fn saturated_by_definition(value: f32, target: Target) -> i8 {
    let steps = f64::from(value.round_ties_even()) + f64::from(target.zero_point);
    steps.clamp(target.low.into(), target.high.into()) as i8
}

proptest! {
    #[test]
    fn every_instruction_set_adds_as_defined(
        (a, b) in operands(), zero_points in [byte(), byte()], multipliers in [multiplier(), multiplier()], target in target(), unsigned: bool,
    ) {
        let sum = Sum::new(zero_points, multipliers, target, unsigned);
        let offset = if unsigned { 128 } else { 0 };
        let of_file = |value: i8| (i32::from(value) + offset) as f32;
        // The product of two floats is exact in f64, and its sum with a third all but.
        let fused = |a: f32, b: f32, c: f32| (f64::from(a) * f64::from(b) + f64::from(c)) as f32;
        let zero = fused(multipliers[0], of_file(zero_points[0]), multipliers[1] * of_file(zero_points[1]));
        let start = of_file(target.zero_point) - zero;
        let expected = |a: i8, b: i8| {
            let value = fused(of_file(a), multipliers[0], fused(of_file(b), multipliers[1], start));
            saturated_by_definition(value, Target { zero_point: -offset as i8, ..target })
        };
        let all: Vec<i8> = a.iter().zip(b.iter().cycle()).map(|(&a, &b)| expected(a, b)).collect();
        for set in InstructionSet::available() {
            let mut out = vec![0; a.len()];
            add_on(set, &a, &b, &sum, &mut out);
            prop_assert_eq!(&out, &all, "{}", set);
        }
        prop_assert_eq!(sum.swapped().swapped(), sum);
    }

    #[test]
    fn every_instruction_set_multiplies_as_defined(
        (a, b) in operands(), zero_points in [byte(), byte()], multiplier in multiplier(), target in target(),
    ) {
        let product = Product { zero_points, multiplier, target };
        let expected: Vec<i8> = a.iter().zip(b.iter().cycle()).map(|(&a, &b)| {
            let exact = (i32::from(a) - i32::from(zero_points[0])) * (i32::from(b) - i32::from(zero_points[1]));
            saturated_by_definition(exact as f32 * multiplier, target)
        }).collect();
        for set in InstructionSet::available() {
            let mut out = vec![0; a.len()];
            multiply_on(set, &a, &b, &product, &mut out);
            prop_assert_eq!(&out, &expected, "{}", set);
        }
    }

    #[test]
    fn a_lookup_gives_the_same_bytes_on_every_instruction_set(table in vec(any::<i8>(), 256), values in vec(any::<i8>(), 0..150)) {
        let lookup = Lookup::new(|value| table[usize::from(value as u8)]);
        let expected: Vec<i8> = values.iter().map(|&value| table[usize::from(value as u8)]).collect();
        for set in InstructionSet::available() {
            let mut found = values.clone();
            lookup.apply_on(set, &mut found);
            prop_assert_eq!(&found, &expected, "{}", set);
        }
    }

    #[test]
    fn a_table_between_grids_is_dequantize_then_quantize(scales in (1e-3f32..1.0, 1e-3f32..1.0), zero_points: (i8, i8)) {
        let (source, target) = (Grid::new(scales.0, zero_points.0), Grid::new(scales.1, zero_points.1));
        let all: Vec<i8> = (i8::MIN..=i8::MAX).collect();
        let (mut real, mut expected, mut found) = (vec![0.0; 256], vec![0i8; 256], all.clone());
        dequantize(&all, source, &mut real);
        quantize(&real, target, &mut expected);
        Lookup::requantize(source, target).apply(&mut found);
        prop_assert_eq!(found, expected);
    }
}

#[test]
#[should_panic(expected = "pointwise: 7 values are no multiple of 2")]
fn an_operand_that_does_not_repeat_is_refused() {
    let sum = Sum::new([0, 0], [1.0, 1.0], Target::new(0), false);
    add(&[0; 7], &[0; 2], &sum, &mut [0; 7]);
}
