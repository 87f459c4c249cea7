//! What joins a layer to the stream of activations: addition, and multiplication by a constant.

use crate::InstructionSet;
use crate::loops::{Loop, run};

/// Adds `x` to `out`, each sum rounded once.
///
/// # Panics
/// If they differ in length.
pub fn add(set: InstructionSet, out: &mut [f32], x: &[f32]) {
    struct Add<'a>(&'a mut [f32], &'a [f32]);
    impl Loop for Add<'_> {
        #[inline(always)]
        fn run<const FUSED: bool>(self) {
            for (out, x) in self.0.iter_mut().zip(self.1) {
                *out += x;
            }
        }
    }
    assert_eq!(out.len(), x.len(), "residual: as many values as sums");
    run(set, Add(out, x));
}

/// Multiplies all values by `factor`, each product rounded once.
pub fn scale(set: InstructionSet, values: &mut [f32], factor: f32) {
    struct Scale<'a>(&'a mut [f32], f32);
    impl Loop for Scale<'_> {
        #[inline(always)]
        fn run<const FUSED: bool>(self) {
            for value in self.0 {
                *value *= self.1;
            }
        }
    }
    run(set, Scale(values, factor));
}
