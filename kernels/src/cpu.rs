//! Which instruction sets the kernels may use on this CPU.

use std::fmt;

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
    Avx2,
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

impl InstructionSet {
    /// Portable code, the reference for the others.
    pub const SCALAR: InstructionSet = InstructionSet(Kind::Scalar);

    /// The best one that this CPU has; detected once, then a load.
    #[inline]
    pub fn best() -> InstructionSet {
        #[cfg(target_arch = "aarch64")]
        {
            use std::arch::is_aarch64_feature_detected as has;
            if has!("i8mm") && has!("dotprod") {
                return InstructionSet(Kind::Neon(Products::Matrix));
            }
            if has!("dotprod") {
                return InstructionSet(Kind::Neon(Products::Dot));
            }
            if has!("neon") {
                return InstructionSet(Kind::Neon(Products::Widening));
            }
        }
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            return InstructionSet(Kind::Avx2);
        }
        InstructionSet::SCALAR
    }

    /// All that this CPU has, the scalar one first, the best one last.
    pub fn available() -> Vec<InstructionSet> {
        let best = InstructionSet::best();
        let mut sets = vec![InstructionSet::SCALAR];
        #[cfg(target_arch = "aarch64")]
        if let Kind::Neon(best) = best.0 {
            let lesser = [Products::Widening, Products::Dot].into_iter().take_while(|&products| products != best);
            sets.extend(lesser.map(|products| InstructionSet(Kind::Neon(products))));
        }
        if best != InstructionSet::SCALAR {
            sets.push(best);
        }
        sets
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
            Kind::Avx2 => "avx2",
        })
    }
}
