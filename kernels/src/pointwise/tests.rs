//! The pointwise kernels against their definitions, on every instruction set.

use super::*;
use crate::InstructionSet;
use crate::quant::{Grid, dequantize, quantize};
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
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
