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
    Neon,
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl InstructionSet {
    /// Portable code, the reference for the others.
    pub const SCALAR: InstructionSet = InstructionSet(Kind::Scalar);

    /// The best one that this CPU has; detected once, then a load.
    #[inline]
    pub fn best() -> InstructionSet {
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            return InstructionSet(Kind::Neon);
        }
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            return InstructionSet(Kind::Avx2);
        }
        InstructionSet::SCALAR
    }

    /// All that this CPU has, the scalar one first.
    pub fn available() -> Vec<InstructionSet> {
        let mut sets = vec![InstructionSet::SCALAR];
        if InstructionSet::best() != InstructionSet::SCALAR {
            sets.push(InstructionSet::best());
        }
        sets
    }
}

impl fmt::Display for InstructionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Scalar => "scalar",
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => "neon",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
        })
    }
}
