//! Functions of one byte as tables of 256 bytes: any activation, requantization or sum with a constant is one pass of loads.

use crate::InstructionSet;
use crate::cpu::Kind;
use crate::quant::{Grid, dequantize, quantize};

/// A function from `i8` to `i8`, tabulated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// Results as bits, indexed by the bits of the argument.
    table: [u8; 256],
}

impl Lookup {
    /// The table of `function`.
    pub fn new(function: impl Fn(i8) -> i8) -> Lookup {
        Lookup { table: std::array::from_fn(|bits| function(bits as u8 as i8) as u8) }
    }

    /// The table of `function` on real numbers between two grids of `i8`: DequantizeLinear, `function`, QuantizeLinear.
    ///
    /// # Panics
    /// If a grid is not one of `i8`.
    pub fn on_grids(source: Grid, target: Grid, function: impl Fn(f32) -> f32) -> Lookup {
        Lookup::new(|value| {
            let (mut real, mut result) = ([0.0], [0i8]);
            dequantize(&[value], source, &mut real);
            quantize(&real.map(&function), target, &mut result);
            result[0]
        })
    }

    /// The table that moves values from one grid to another, for instance before a concatenation.
    ///
    /// # Panics
    /// If a grid is not one of `i8`.
    pub fn requantize(source: Grid, target: Grid) -> Lookup {
        Lookup::on_grids(source, target, |value| value)
    }

    /// Replaces each value by its result.
    pub fn apply(&self, values: &mut [i8]) {
        self.apply_on(InstructionSet::best(), values);
    }

    /// [`Lookup::apply`] with a given instruction set.
    pub fn apply_on(&self, set: InstructionSet, values: &mut [i8]) {
        // SAFETY: `i8` and `u8` have one size and alignment, and every bit pattern is valid in both; the one borrow is handed on.
        let bits = unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), values.len()) };
        apply_bits(set, &self.table, bits);
    }
}

/// Replaces each byte by the table's.
pub(crate) fn apply_bits(set: InstructionSet, table: &[u8; 256], values: &mut [u8]) {
    match set.0 {
        Kind::Scalar => super::scalar::lookup(table, values),
        #[cfg(target_arch = "aarch64")]
        // SAFETY: a `Kind::Neon` exists only where NEON was detected.
        Kind::Neon(_) => unsafe { super::neon::lookup(table, values) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a `Kind::Avx2` exists only where AVX2 was detected.
        Kind::Avx2(_) => unsafe { super::avx2::lookup(table, values) },
    }
}
