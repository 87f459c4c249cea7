//! Memory of the process as a whole.

/// Gives memory that was freed back to the system. The allocator of glibc keeps what lies below memory still held: after a model was
/// loaded that is several times the model. Other allocators do so by themselves. Takes milliseconds.
pub fn release_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        // SAFETY: it may be called at any time, from any thread.
        unsafe { malloc_trim(0) };
    }
}

/// Has the allocator keep what is freed from now on, up to 32 MiB of a piece, until [`release_freed`]: the tensors of one run are the
/// memory of the next. Left to itself glibc gives them back between two runs now and then, and each page that is asked for again costs a
/// fault and its zeroing. Other allocators have their own ways.
pub fn keep_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use std::ffi::c_int;
        unsafe extern "C" {
            fn mallopt(parameter: c_int, value: c_int) -> c_int;
        }
        /// How much may lie free at the end of a heap.
        const TRIM_THRESHOLD: c_int = -1;
        /// From which size on a piece is not of a heap.
        const MMAP_THRESHOLD: c_int = -3;
        // SAFETY: it may be called at any time, from any thread.
        let set = |parameter| unsafe { mallopt(parameter, 32 << 20) == 1 };
        // Where so large a piece is not allowed, as with 32 bits, nothing changes: from the first call on the other one no longer follows
        // what is freed either.
        if set(MMAP_THRESHOLD) {
            set(TRIM_THRESHOLD);
        }
    }
}
