//! The quantization kernels against the ONNX definition, and on every instruction set against the scalar code.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

/// QuantizeLinear as the ONNX specification words it, in steps that cannot be confused with the kernels'.
fn quantized_by_definition(value: f32, grid: Grid) -> i32 {
    let rounded = f64::from((value / grid.scale).round_ties_even());
    if rounded.is_nan() {
        return grid.lowest;
    }
    (rounded + f64::from(grid.zero_point)).clamp(f64::from(grid.lowest), f64::from(grid.highest)) as i32
}

fn dequantized_by_definition(quantized: i32, grid: Grid) -> f32 {
    (quantized - grid.zero_point) as f32 * grid.scale
}

fn scale() -> impl Strategy<Value = f32> {
    prop_oneof![1e-3f32..10.0, Just(1.0), Just(0.5), Just(1.0 / 255.0), Just(f32::MIN_POSITIVE), Just(1e30)]
}

/// Floats around the grid, many of them halfway between two points, and everything else a float can be.
fn values(scale: f32) -> impl Strategy<Value = Vec<f32>> {
    let halves = (-600i32..600).prop_map(move |half| half as f32 * 0.5 * scale);
    let special = prop::sample::select(vec![0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, 1e-45]);
    let near = ((-600i32..600), -40i32..41).prop_map(move |(half, ulps)| {
        let value = half as f32 * 0.5 * scale;
        f32::from_bits(value.to_bits().saturating_add_signed(ulps))
    });
    vec(
        prop_oneof![4 => halves, 1 => near, 4 => (-300f32..300.0).prop_map(move |value| value * scale), 1 => any::<f32>(), 1 => special],
        0..70,
    )
}

fn scaled_values() -> impl Strategy<Value = (f32, Vec<f32>)> {
    scale().prop_flat_map(|scale| (Just(scale), values(scale)))
}

fn check_all<Q: Quantized + Default + PartialEq + std::fmt::Debug>(values: &[f32], grid: Grid) -> Result<(), TestCaseError> {
    for set in InstructionSet::available() {
        let mut quantized = vec![Q::default(); values.len()];
        quantize_on(set, values, grid, &mut quantized);
        let mut dequantized = vec![f32::NAN; values.len()];
        dequantize_on(set, &quantized, grid, &mut dequantized);
        let mut fake = values.to_vec();
        fake_quantize_on(set, &mut fake, grid);
        for (index, &value) in values.iter().enumerate() {
            let expected = quantized_by_definition(value, grid);
            let expected_float = dequantized_by_definition(expected, grid);
            prop_assert_eq!(quantized[index].into(), expected, "{}: {} on {:?}", set, value, grid);
            prop_assert_eq!(dequantized[index].to_bits(), expected_float.to_bits(), "{}: {} on {:?}", set, value, grid);
            prop_assert_eq!(fake[index].to_bits(), expected_float.to_bits(), "{}: {} on {:?}", set, value, grid);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn every_instruction_set_quantizes_as_onnx_defines((scale, values) in scaled_values(), zero_point: u8) {
        check_all::<u8>(&values, Grid::new(scale, zero_point))?;
        check_all::<i8>(&values, Grid::new(scale, zero_point as i8))?;
    }

    #[test]
    fn every_instruction_set_fakes_other_widths_as_onnx_defines((scale, values) in scaled_values(), position in 0.0f64..=1.0) {
        for (lowest, highest) in [(-8, 7), (0, 15), (-32768, 32767), (0, 65535)] {
            let zero_point = lowest + (f64::from(highest - lowest) * position) as i32;
            let grid = Grid::with_range(scale, zero_point, lowest, highest);
            for set in InstructionSet::available() {
                let mut fake = values.clone();
                fake_quantize_on(set, &mut fake, grid);
                for (&fake, &value) in fake.iter().zip(&values) {
                    let expected = dequantized_by_definition(quantized_by_definition(value, grid), grid);
                    prop_assert_eq!(fake.to_bits(), expected.to_bits(), "{}: {} on {:?}", set, value, grid);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn every_instruction_set_finds_the_extent((_, values) in scaled_values()) {
        let numbers = || values.iter().copied().filter(|value| !value.is_nan());
        let expected = (numbers().fold(0.0, f32::min), numbers().fold(0.0, f32::max));
        for set in InstructionSet::available() {
            prop_assert_eq!(extent_on(set, &values), expected, "{}", set);
        }
    }

    /// A block with a single value that is, or nearly is, halfway between two points.
    #[test]
    fn a_quotient_is_rounded_not_a_product_with_the_reciprocal(scale in 1e-3f32..10.0, half in -255i32..255, ulps in -12i32..13, at in 0usize..32) {
        let middle = (half as f32 + 0.5) * scale;
        let mut values = [0.0; 32];
        values[at] = f32::from_bits(middle.to_bits().saturating_add_signed(ulps));
        check_all::<u8>(&values, Grid::new(scale, 128u8))?;
    }

    #[test]
    fn signed_dynamic_quantization_is_the_unsigned_less_128(source in vec(-100f32..100.0, 0..70)) {
        let (mut unsigned, mut signed) = (vec![0u8; source.len()], vec![0i8; source.len()]);
        let (first, second) = (dynamic_quantize(&source, &mut unsigned), dynamic_quantize(&source, &mut signed));
        prop_assert_eq!((first.scale(), first.zero_point() - 128), (second.scale(), second.zero_point()));
        for (&unsigned, &signed) in unsigned.iter().zip(&signed) {
            prop_assert_eq!((unsigned ^ 0x80) as i8, signed);
        }
    }
}

#[test]
fn dynamic_quantization_gives_the_examples_of_onnx() {
    // The test cases `dynamicquantizelinear`, `.._max_adjusted` and `.._min_adjusted` of ONNX 1.12.
    let cases: [(&[f32], f32, i32, &[u8]); 3] = [
        (&[0.0, 2.0, -3.0, -2.5, 1.34, 0.5], 0.019_607_844, 153, &[153, 255, 0, 26, 221, 179]),
        (&[-1.0, -2.1, -1.3, -2.5, -3.34, -4.0], 0.015_686_275, 255, &[191, 121, 172, 96, 42, 0]),
        (
            &[1.0, 2.1, 1.3, 2.5, 3.34, 4.0, 1.5, 2.6, 3.9, 4.0, 3.0, 2.345],
            0.015_686_275,
            0,
            &[64, 134, 83, 159, 213, 255, 96, 166, 249, 255, 191, 149],
        ),
    ];
    for (source, scale, zero_point, expected) in cases {
        let mut target = vec![0u8; source.len()];
        let grid = dynamic_quantize(source, &mut target);
        assert_eq!((grid.scale(), grid.zero_point()), (scale, zero_point));
        assert_eq!(target, expected);
    }
}

#[test]
fn zeros_have_a_scale_that_does_no_harm() {
    let mut target = [1u8; 3];
    assert_eq!(dynamic_quantize(&[0.0; 3], &mut target), Grid::new(1.0, 0u8));
    assert_eq!(target, [0; 3]);
}

#[test]
fn ties_go_to_even_and_the_ends_saturate() {
    // The example of the ONNX specification (QuantizeLinear, axis 1 left out), and ties.
    let mut target = [0u8; 12];
    quantize(&[0.0, 2.0, 3.0, 1000.0, -254.0, -1000.0, 1.0, 5.0, -1.0, -3.0, f32::NAN, f32::INFINITY], Grid::new(2.0, 128u8), &mut target);
    assert_eq!(target, [128, 129, 130, 255, 1, 0, 128, 130, 128, 126, 0, 255]);
    let mut target = [0i8; 4];
    quantize(&[-1e9, 1e9, -0.5, 1.5], Grid::new(1.0, 0i8), &mut target);
    assert_eq!(target, [-128, 127, 0, 2]);
}

#[test]
fn zero_comes_back_as_positive_zero() {
    for set in InstructionSet::available() {
        let mut values = [-0.0f32; 9];
        fake_quantize_on(set, &mut values, Grid::new(0.1, 3u8));
        assert!(values.iter().all(|value| value.to_bits() == 0), "{set}");
    }
}

#[test]
fn a_scale_that_onnx_forbids_does_no_harm() {
    for scale in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        for set in InstructionSet::available() {
            let (mut target, mut reference) = ([0u8; 9], [0u8; 9]);
            let source = [0.0, 1.0, -1.0, f32::NAN, 1e30, -1e30, 0.5, 300.0, -300.0];
            quantize_on(set, &source, Grid::new(scale, 7u8), &mut target);
            quantize_on(InstructionSet::SCALAR, &source, Grid::new(scale, 7u8), &mut reference);
            assert_eq!(target, reference, "{set} with scale {scale}");
        }
    }
}

#[test]
#[should_panic(expected = "quantize: as many floats as integers")]
fn a_target_of_another_length_is_refused() {
    quantize(&[0.0; 3], Grid::new(1.0, 0u8), &mut [0u8; 4]);
}

#[test]
fn a_grid_of_fewer_bits_covers_the_same_values() {
    let values = [-0.5, 1.5, 0.0, 0.3, -0.01, 0.7, 1.499, 0.25, -0.33];
    for set in InstructionSet::available() {
        let grid = Grid::covering_up_to(-1, extent_on(set, &values));
        let mut integers = [0i8; 9];
        quantize_on(set, &values, grid, &mut integers);
        assert_eq!((integers[0], integers[1]), (-128, -1), "{set}");
        for (value, integer) in values.iter().zip(integers) {
            let real = (i32::from(integer) - grid.zero_point()) as f32 * grid.scale();
            assert!((value - real).abs() <= grid.scale(), "{set}: {value} became {real}");
        }
    }
    assert_eq!(Grid::covering_up_to(127, (-0.5, 1.5)), Grid::covering::<i8>((-0.5, 1.5)));
}

#[test]
#[should_panic(expected = "a grid of -128 to 127 for integers of 0 to 255")]
fn a_grid_of_another_type_is_refused() {
    quantize(&[0.0; 3], Grid::new(1.0, 0i8), &mut [0u8; 3]);
}

#[test]
#[should_panic(expected = "zero point 16 is not within 0 to 15")]
fn a_zero_point_outside_the_grid_is_refused() {
    Grid::with_range(1.0, 16, 0, 15);
}
