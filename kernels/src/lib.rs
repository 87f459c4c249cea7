//! Compute kernels for ARM and PC CPUs, and the pool that runs them: slices in, slices out. Knows no tract and no model.
//!
//! One module a family. Each kernel has a portable scalar version, which is the reference, and versions for NEON and AVX2 (products
//! with VNNI as well) chosen at run time; all of them give the same bits, but for the curves of `pointwise` (softmax and the like),
//! which keep to stated bounds. 32-bit ARM has the scalar loops only, written so that the compiler vectorises them (integers with
//! `-C target-feature=+neon`; NEON there flushes denormals, so floats stay with the VFP).

pub mod convolution;
mod cpu;
pub mod depthwise;
pub mod image;
pub mod int4;
pub mod linear;
pub mod pointwise;
pub mod pool;
pub mod pooling;
pub mod quant;
pub mod sound;
mod windows;

pub use cpu::InstructionSet;
pub use pool::Pool;
pub use windows::Windows;
