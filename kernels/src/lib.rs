//! Compute kernels for ARM and PC CPUs, and the pool that runs them: slices in, slices out. Knows no tract and no model.
//!
//! One module a family. Each kernel has a portable scalar version, which is the reference, and versions for NEON and AVX2
//! (its products with VNNI as well) chosen at run time; all of them give the same bits, but for what computes in `f32` (`float`, `decoder`,
//! and the curves of `pointwise`), which keeps to stated bounds. 32-bit ARM has the scalar loops only, written so that the compiler
//! vectorises them (integers with `-C target-feature=+neon`; NEON there flushes denormals, so floats stay with the VFP).

pub mod convolution;
mod cpu;
pub mod decoder;
pub mod depthwise;
pub mod float;
pub mod grouped;
pub mod half;
pub mod image;
pub mod int4;
pub mod linear;

mod loops;
pub mod mapping;
pub mod memory;
pub mod pointwise;
pub mod pool;
pub mod pooling;
pub mod quant;
pub mod recurrent;
pub mod sound;
mod windows;

pub use cpu::InstructionSet;
pub use loops::hold;
pub use pool::Pool;
pub use windows::Windows;
