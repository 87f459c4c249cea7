//! How plain loops over floats are compiled once for each kind of CPU.

use crate::InstructionSet;
#[cfg(target_arch = "x86_64")]
use crate::cpu::{Kind, Products};

/// Whether the plain code may fuse: in NEON of 64-bit ARM it is an instruction, elsewhere a call.
pub(crate) const PLAIN_FUSED: bool = cfg!(target_arch = "aarch64");

/// A loop over floats that is compiled once for each kind of CPU. Its `run` is `#[inline(always)]`.
pub(crate) trait Loop {
    fn run<const FUSED: bool>(self);
}

/// Holds values between two bounds, the least and the largest; a value that is no number stays so.
#[inline(always)]
pub fn hold([low, high]: [f32; 2], values: &mut [f32]) {
    if low == f32::NEG_INFINITY && high == f32::INFINITY {
        return;
    }
    for value in values {
        let raised = if *value < low { low } else { *value };
        *value = if raised > high { high } else { raised };
    }
}

/// [`hold`], as a loop of its own.
pub(crate) struct Hold<'a>(pub(crate) [f32; 2], pub(crate) &'a mut [f32]);

impl Loop for Hold<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        hold(self.0, self.1);
    }
}

/// Runs a loop with the instructions of `set`, multiply-adds fused where it has them.
pub(crate) fn run(set: InstructionSet, work: impl Loop) {
    /// # Safety
    /// The CPU has the instructions.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2(work: impl Loop) {
        work.run::<true>();
    }
    /// # Safety
    /// The CPU has the instructions.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx2,fma")]
    unsafe fn avx512(work: impl Loop) {
        work.run::<true>();
    }
    match set.0 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Products::Wide` exists only where all of them were detected.
        Kind::Avx2(Products::Wide) => unsafe { avx512(work) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a `Kind::Avx2` exists only where AVX2 was detected, and FMA just was.
        Kind::Avx2(_) if std::arch::is_x86_feature_detected!("fma") => unsafe { avx2(work) },
        // NEON is in every CPU of 64-bit ARM, so that the compiler uses it here.
        _ => work.run::<PLAIN_FUSED>(),
    }
}
