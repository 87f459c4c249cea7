//! The keys and values of all sequences, in pages of one pool: a sequence holds a table of pages, and equal prefixes share them.
//!
//! A [`Page`] stands for [`PAGE`] neighbouring tokens in every layer. It is counted: a clone shares it, and it returns to the pool when
//! the last clone is dropped. Tokens are only ever written into a page that nobody shares. Each layer has a lock of its own, which
//! [`KvPool::write`] takes alone and the attention together, so that no thread reads what another one writes.

use crate::{InstructionSet, half};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

/// Tokens of a page.
pub const PAGE: usize = 32;

/// Rows of values in a page begin at a multiple of so many elements: those of a vector.
pub(super) const LANES: usize = 8;

/// Bytes that each layer's memory is aligned to: a cache line, and a row of transposed keys.
const ALIGNMENT: usize = 64;

/// What a key or value is held as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// Half precision: rounded to 11 bits, at most 65,504.
    Half,
    /// `f32`.
    Single,
}

/// Where the values of a head are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// Beside the keys, so wide.
    Apart(usize),
    /// The first so many of a key: the latent of multi-head latent attention (DeepSeek-V2).
    InKeys(usize),
}

/// The size of a [`KvPool`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvShape {
    /// Layers that have keys of their own.
    pub layers: usize,
    /// Heads of keys and values in a layer.
    pub kv_heads: usize,
    /// Values of a head's key.
    pub key_width: usize,
    /// Where a head's values are, and how wide.
    pub values: Values,
    /// Pages of [`PAGE`] tokens.
    pub pages: usize,
    /// What keys and values are held as.
    pub element: Element,
}

impl KvShape {
    /// Width of a head's values.
    pub fn value_width(&self) -> usize {
        match self.values {
            Values::Apart(width) | Values::InKeys(width) => width,
        }
    }

    /// Bytes of a page over all layers.
    pub fn page_bytes(&self) -> usize {
        let element = match self.element {
            Element::Half => size_of::<u16>(),
            Element::Single => size_of::<f32>(),
        };
        self.layers * self.page_elements() * element
    }

    /// Elements from a token's values in a page to the next one's: 0 if they are in the keys.
    pub(super) fn value_stride(&self) -> usize {
        match self.values {
            Values::Apart(width) => width.next_multiple_of(LANES),
            Values::InKeys(_) => 0,
        }
    }

    /// Elements of a head in a page: `[key_width][PAGE]` and `[PAGE][value_stride]`.
    fn head_elements(&self) -> usize {
        PAGE * (self.key_width + self.value_stride())
    }

    /// Elements of a page in one layer.
    fn page_elements(&self) -> usize {
        self.kv_heads * self.head_elements()
    }

    /// Where a head of a page begins in a layer's memory.
    pub(super) fn head_start(&self, page: usize, head: usize) -> usize {
        page * self.page_elements() + head * self.head_elements()
    }
}

/// New tokens of one sequence: neighbouring rows of a step's flat batch.
#[derive(Debug, Clone, Copy)]
pub struct Sequence<'a> {
    /// Pages of all tokens of the sequence, the new ones too, from its first on.
    pub pages: &'a [Page],
    /// Position of the first new token; those before it have been written.
    pub start: usize,
    /// New tokens, at positions from `start` on.
    pub rows: usize,
}

/// The pages of a model, shared by the compute threads.
pub struct KvPool {
    shape: KvShape,
    ledger: Arc<Ledger>,
    layers: Vec<RwLock<Memory>>,
}

impl KvPool {
    /// A pool of free pages. The system gives it memory when pages are first written, the lowest first.
    ///
    /// # Panics
    /// If the shape has a 0 or values wider than the keys that hold them, or a layer exceeds the address space.
    pub fn new(shape: KvShape) -> KvPool {
        let sizes = [shape.layers, shape.kv_heads, shape.key_width, shape.value_width(), shape.pages];
        assert!(sizes.iter().all(|&size| size > 0), "KV pool: {shape:?} is empty");
        if let Values::InKeys(width) = shape.values {
            assert!(width <= shape.key_width, "KV pool: no {width} values in keys of {}", shape.key_width);
        }
        let elements = shape.page_elements().checked_mul(shape.pages).expect("KV pool: it exceeds the address space");
        KvPool {
            shape,
            ledger: Arc::new(Ledger { free: Mutex::new((0..shape.pages).rev().collect()) }),
            layers: (0..shape.layers).map(|_| RwLock::new(Memory::new(shape.element, elements))).collect(),
        }
    }

    /// The size it was made with.
    pub fn shape(&self) -> &KvShape {
        &self.shape
    }

    /// Bytes of all pages.
    pub fn bytes(&self) -> usize {
        self.shape.pages * self.shape.page_bytes()
    }

    /// Pages that nobody holds.
    pub fn free_pages(&self) -> usize {
        self.ledger.lock().len()
    }

    /// A page that nobody holds, with whatever was last in it; none if there is none left. The one that was last returned is the first
    /// to be given away.
    pub fn take(&self) -> Option<Page> {
        let index = self.ledger.lock().pop()?;
        Some(Page(Arc::new(Holding { index, ledger: Arc::clone(&self.ledger) })))
    }

    /// Copies what a page holds, of all layers, to another that may then be written on its own.
    ///
    /// # Panics
    /// If the page that is written is shared, or one of them is another pool's.
    pub fn copy(&self, from: &Page, to: &Page) {
        assert!(!to.is_shared(), "KV pool: a page that is shared is not written");
        let (from, to, length) = (self.index(from), self.index(to), self.shape.page_elements());
        for layer in &self.layers {
            // Memory is numbers: whatever panicked while it held the lock left it as good as before.
            layer.write().unwrap_or_else(PoisonError::into_inner).copy(from * length, to * length, length);
        }
    }

    /// Writes the keys and values of a step's new tokens into their pages, for one layer, before that layer's attention reads them.
    /// Rows are those of the sequences one after the other: `keys` is `[rows][kv_heads][key_width]`, `values` likewise, and empty if
    /// they are in the keys.
    ///
    /// # Panics
    /// If lengths do not fit, if a token lies beyond its sequence's pages, or in a page that is shared or another pool's.
    pub fn write(&self, set: InstructionSet, layer: usize, batch: &[Sequence<'_>], keys: &[f32], values: &[f32]) {
        let shape = &self.shape;
        let rows: usize = batch.iter().map(|sequence| sequence.rows).sum();
        let values_width = if matches!(shape.values, Values::Apart(_)) { shape.value_width() } else { 0 };
        assert_eq!(keys.len(), rows * shape.kv_heads * shape.key_width, "KV pool: a key for each token and head");
        assert_eq!(values.len(), rows * shape.kv_heads * values_width, "KV pool: a value for each token and head");
        let mut slots = Vec::with_capacity(rows);
        for sequence in batch {
            for position in sequence.start..sequence.start + sequence.rows {
                let page = sequence.pages.get(position / PAGE);
                let page = page.unwrap_or_else(|| panic!("KV pool: position {position} of {} pages", sequence.pages.len()));
                assert!(!page.is_shared(), "KV pool: position {position} is in a page that is shared; it takes a copy of it");
                slots.push((self.index(page), position % PAGE));
            }
        }
        let mut memory = self.layers[layer].write().unwrap_or_else(PoisonError::into_inner);
        // Head by head: neighbouring tokens of one are written to the same cache lines.
        for head in 0..shape.kv_heads {
            for (row, &(page, slot)) in slots.iter().enumerate() {
                let start = shape.head_start(page, head);
                let key = &keys[(row * shape.kv_heads + head) * shape.key_width..][..shape.key_width];
                memory.scatter(set, key, start + slot, PAGE);
                let value = &values[(row * shape.kv_heads + head) * values_width..][..values_width];
                memory.scatter(set, value, start + PAGE * shape.key_width + slot * shape.value_stride(), 1);
            }
        }
    }

    /// A page's number.
    ///
    /// # Panics
    /// If it is another pool's.
    pub(super) fn index(&self, page: &Page) -> usize {
        assert!(Arc::ptr_eq(&self.ledger, &page.0.ledger), "KV pool: a page of another pool");
        page.0.index
    }

    /// A layer's memory, for as long as nothing is to be written.
    pub(super) fn layer(&self, layer: usize) -> RwLockReadGuard<'_, Memory> {
        self.layers[layer].read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for KvPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KvPool").field("shape", &self.shape).field("free_pages", &self.free_pages()).finish()
    }
}

/// A page of a [`KvPool`]; a clone shares it. It returns to the pool when the last clone is dropped.
#[derive(Clone)]
pub struct Page(Arc<Holding>);

impl Page {
    /// Whether there are other clones.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Page({})", self.0.index)
    }
}

/// What all clones of a page hold together.
struct Holding {
    index: usize,
    ledger: Arc<Ledger>,
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.ledger.lock().push(self.index);
    }
}

/// The numbers of free pages.
struct Ledger {
    free: Mutex<Vec<usize>>,
}

impl Ledger {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<usize>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One layer's pages.
pub(super) enum Memory {
    Half(Aligned<u16>),
    Single(Aligned<f32>),
}

impl Memory {
    fn new(element: Element, elements: usize) -> Memory {
        match element {
            Element::Half => Memory::Half(Aligned::new(|length| vec![0; length], elements)),
            Element::Single => Memory::Single(Aligned::new(|length| vec![0.0; length], elements)),
        }
    }

    fn copy(&mut self, from: usize, to: usize, length: usize) {
        match self {
            Memory::Half(memory) => memory.as_mut_slice().copy_within(from..from + length, to),
            Memory::Single(memory) => memory.as_mut_slice().copy_within(from..from + length, to),
        }
    }

    /// Writes values from `start` on, `stride` apart.
    fn scatter(&mut self, set: InstructionSet, values: &[f32], start: usize, stride: usize) {
        fn each<T: Copy>(values: &[T], memory: &mut [T], stride: usize) {
            for (&value, slot) in values.iter().zip(memory.iter_mut().step_by(stride)) {
                *slot = value;
            }
        }
        match self {
            Memory::Half(memory) => {
                let mut halves = [0; 64];
                for (part, values) in values.chunks(halves.len()).enumerate() {
                    let start = start + part * halves.len() * stride;
                    half::narrow(set, values, &mut halves[..values.len()]);
                    each(&halves[..values.len()], &mut memory.as_mut_slice()[start..], stride);
                }
            }
            Memory::Single(memory) => each(values, &mut memory.as_mut_slice()[start..], stride),
        }
    }
}

/// Zeros that begin at a cache line. Asked for as zeros, which the system gives no memory to before they are written.
pub(super) struct Aligned<T> {
    values: Vec<T>,
    start: usize,
    length: usize,
}

impl<T> Aligned<T> {
    /// `zeros` makes so many of them, as `vec!` of a literal zero does.
    fn new(zeros: impl Fn(usize) -> Vec<T>, length: usize) -> Aligned<T> {
        let values = zeros(length + ALIGNMENT / size_of::<T>());
        let start = values.as_ptr().align_offset(ALIGNMENT).min(values.len() - length);
        Aligned { values, start, length }
    }

    pub(super) fn as_slice(&self) -> &[T] {
        &self.values[self.start..][..self.length]
    }

    fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.values[self.start..][..self.length]
    }
}

#[cfg(test)]
#[path = "kv_tests.rs"]
mod tests;
