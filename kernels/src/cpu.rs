//! Which instruction sets the kernels may use on this CPU.

use std::fmt;
#[cfg(target_arch = "x86_64")]
use std::sync::OnceLock;

/// An instruction set that this CPU has: a value of this type is the proof, since only [`InstructionSet::best`] and
/// [`InstructionSet::available`] make one beyond [`InstructionSet::SCALAR`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstructionSet(pub(crate) Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Scalar,
    #[cfg(target_arch = "aarch64")]
    Neon(Products),
    #[cfg(target_arch = "x86_64")]
    Avx2(Products),
}

/// How a CPU with NEON multiplies and adds bytes: all that its kinds differ in.
#[cfg(target_arch = "aarch64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Products {
    /// Widening multiplications (Cortex-A53, A72).
    Widening,
    /// SDOT: four products a lane (A55, A76).
    Dot,
    /// SMMLA: blocks of 2 x 8 by 8 x 2 (A710 and later).
    Matrix,
}

/// How a CPU with AVX2 multiplies and adds bytes: all that its kinds differ in.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Products {
    /// VPMADDUBSW, which saturates sums of two.
    Pairs,
    /// VPDPBUSD of AVX-VNNI, on 256 bits: four products a lane (Alder Lake).
    Dot,
    /// VPDPBUSD of AVX512-VNNI, on 512 bits (Ice Lake, Sapphire Rapids, Zen 4).
    Wide,
}

impl InstructionSet {
    /// Portable code, the reference for the others.
    pub const SCALAR: InstructionSet = InstructionSet(Kind::Scalar);

    /// The best one that this CPU has; detected once, then a load or two.
    #[inline]
    pub fn best() -> InstructionSet {
        let best = KINDS.iter().rev().find(|kind| kind.is_here());
        InstructionSet(best.copied().unwrap_or(Kind::Scalar))
    }

    /// All that this CPU has, the scalar one first, the best one last.
    pub fn available() -> Vec<InstructionSet> {
        KINDS.iter().filter(|kind| kind.is_here()).map(|&kind| InstructionSet(kind)).collect()
    }
}

/// The worst one first.
const KINDS: &[Kind] = &[
    Kind::Scalar,
    #[cfg(target_arch = "aarch64")]
    Kind::Neon(Products::Widening),
    #[cfg(target_arch = "aarch64")]
    Kind::Neon(Products::Dot),
    #[cfg(target_arch = "aarch64")]
    Kind::Neon(Products::Matrix),
    #[cfg(target_arch = "x86_64")]
    Kind::Avx2(Products::Pairs),
    #[cfg(target_arch = "x86_64")]
    Kind::Avx2(Products::Dot),
    #[cfg(target_arch = "x86_64")]
    Kind::Avx2(Products::Wide),
];

impl Kind {
    /// Whether this CPU has the instructions.
    #[inline]
    fn is_here(self) -> bool {
        #[cfg(target_arch = "aarch64")]
        use std::arch::is_aarch64_feature_detected as has;
        #[cfg(target_arch = "x86_64")]
        use std::arch::is_x86_feature_detected as has;
        match self {
            Kind::Scalar => true,
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(Products::Widening) => has!("neon"),
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(Products::Dot) => has!("neon") && has!("dotprod"),
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(Products::Matrix) => has!("neon") && has!("dotprod") && has!("i8mm"),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(Products::Pairs) => has!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(Products::Dot) => {
                static IS_EXACT: OnceLock<bool> = OnceLock::new();
                // SAFETY: called only if the CPU has both.
                has!("avx2") && has!("avxvnni") && *IS_EXACT.get_or_init(|| unsafe { crate::linear::vnni::is_exact() })
            }
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(Products::Wide) => has!("avx2") && has!("fma") && has!("avx512f") && has!("avx512bw") && has!("avx512vnni"),
        }
    }
}

impl fmt::Display for InstructionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Scalar => "scalar",
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(Products::Widening) => "neon",
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(Products::Dot) => "neon+dotprod",
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(Products::Matrix) => "neon+i8mm",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(Products::Pairs) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(Products::Dot) => "avxvnni",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(Products::Wide) => "avx512vnni",
        })
    }
}
