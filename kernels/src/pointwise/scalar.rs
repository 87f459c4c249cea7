//! The pointwise kernels in portable code: the reference, written so that compilers vectorise the loops.

/// Replaces each byte by the table's.
pub(super) fn lookup(table: &[u8; 256], values: &mut [u8]) {
    for value in values {
        *value = table[usize::from(*value)];
    }
}
