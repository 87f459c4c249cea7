//! The pointwise kernels for NEON (64-bit ARM).

use super::scalar;
use std::arch::aarch64::*;

/// A table of 256 bytes in registers.
pub(crate) struct Table([uint8x16x4_t; 4]);

impl Table {
    #[inline]
    #[target_feature(enable = "neon")]
    pub(crate) fn new(table: &[u8; 256]) -> Table {
        let (quarters, _) = table.as_chunks::<64>();
        // SAFETY: each quarter is an array of 64 bytes.
        Table(std::array::from_fn(|quarter| unsafe { vld1q_u8_x4(quarters[quarter].as_ptr()) }))
    }

    /// The table's bytes for 16 indices.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(crate) fn at(&self, indices: uint8x16_t) -> uint8x16_t {
        // An index outside its quarter gives 0 from TBL and leaves the result alone in TBX.
        let quarter = vdupq_n_u8(64);
        let mut found = vqtbl4q_u8(self.0[0], indices);
        let mut indices = indices;
        for table in &self.0[1..] {
            indices = vsubq_u8(indices, quarter);
            found = vqtbx4q_u8(found, *table, indices);
        }
        found
    }
}

/// See [`scalar::lookup`].
#[target_feature(enable = "neon")]
pub(super) fn lookup(table: &[u8; 256], values: &mut [u8]) {
    let vectors = Table::new(table);
    let (blocks, left) = values.as_chunks_mut::<16>();
    for block in blocks {
        // SAFETY: an array of 16 bytes.
        unsafe { vst1q_u8(block.as_mut_ptr(), vectors.at(vld1q_u8(block.as_ptr()))) };
    }
    scalar::lookup(table, left);
}
