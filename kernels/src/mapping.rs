//! Bytes that are read where they lie: a file's, mapped, or memory of our own. Clones and slices share them.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// Shared bytes, or a part of them.
#[derive(Clone)]
pub struct Bytes {
    whole: Arc<Whole>,
    range: Range<usize>,
}

enum Whole {
    Mapped(memmap2::Mmap),
    Owned(Vec<u8>),
}

impl Whole {
    fn bytes(&self) -> &[u8] {
        match self {
            Whole::Mapped(map) => map,
            Whole::Owned(bytes) => bytes,
        }
    }
}

impl Bytes {
    /// All bytes of a file: read from it when they are looked at, and again when memory was needed for something else.
    ///
    /// The file is to stay as it is: the model store replaces files by renaming and never writes to one that is there.
    pub fn map(file: &File) -> io::Result<Bytes> {
        // SAFETY: the files of the store are not written to while they are there; whoever else may write to them may as well
        // replace the daemon.
        let map = unsafe { memmap2::Mmap::map(file)? };
        Ok(Bytes { range: 0..map.len(), whole: Arc::new(Whole::Mapped(map)) })
    }

    /// A part.
    ///
    /// # Panics
    /// If it is none.
    pub fn slice(&self, range: Range<usize>) -> Bytes {
        assert!(range.start <= range.end && range.end <= self.len(), "no bytes {range:?} of {}", self.len());
        Bytes { whole: self.whole.clone(), range: self.range.start + range.start..self.range.start + range.end }
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Bytes {
        Bytes { range: 0..bytes.len(), whole: Arc::new(Whole::Owned(bytes)) }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.whole.bytes()[self.range.clone()]
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}
