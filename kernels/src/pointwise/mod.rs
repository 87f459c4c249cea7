//! Element by element: tabulated functions of one byte.

#[cfg(target_arch = "x86_64")]
mod avx2;
pub(crate) mod lookup;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
mod scalar;

pub use lookup::Lookup;

#[cfg(test)]
mod tests;
