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
