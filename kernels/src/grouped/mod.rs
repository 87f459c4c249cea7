//! Weights of language models: rows in panels of [`PANEL`], as floats or as codes of 4 or 8 bits with a scale, and maybe a minimum, for
//! each group of the depth; and products of float rows with them. The formats that model files have are many; these layouts are few,
//! and hold each of them exactly. Their bytes are the same for every CPU and may lie in a mapped file.
//!
//! **Order of bytes.** A panel is 16 outputs, the last one filled up with zeros. Its codes lie in quads of four neighbouring depths,
//! `[quad][output][4]`: 16 bytes are four outputs, as SDOT and VPMADDUBSW take them. Of 4 bits two quads share bytes: in a group of 32
//! quad `q` has the lower halves and quad `q + 4` the upper ones. Before the codes of a group stand the scales of the 16 outputs and
//! their minima; where a group's scale is a product, the halves for 256 values stand before their groups, the factors before each.
//! Floats lie `[depth][output]`.
//!
//! **Products.** Rows are quantized to `i8` by the groups of the weights. The products of a group are summed exactly; the groups' sums
//! are added up in order, with fused multiply-adds: the same bits on every instruction set, for one row and for many.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod layout;
#[cfg(target_arch = "aarch64")]
mod neon;
mod pack;
mod panel;
mod plain;
mod product;
mod scalar;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod vnni;
#[cfg(target_arch = "x86_64")]
mod wide;

pub use layout::{Codes, Element, Layout, Scales};
pub use pack::{Packer, Row};
pub use product::{Part, Scratch, multiply_side_by_side};

use crate::mapping::Bytes;
use panel::Panel;

/// Outputs of a panel.
pub const PANEL: usize = 16;

/// A matrix of weights.
#[derive(Debug, Clone)]
pub struct Weights {
    layout: Layout,
    outputs: usize,
    depth: usize,
    bytes: Bytes,
}

impl Weights {
    /// A matrix whose bytes are given.
    ///
    /// # Panics
    /// If there are not [`Layout::bytes`] of them.
    pub fn new(layout: Layout, outputs: usize, depth: usize, bytes: Bytes) -> Weights {
        let wanted = layout.bytes(outputs, depth);
        assert_eq!(Some(bytes.len()), wanted, "grouped: bytes of {outputs} x {depth} weights as {layout:?}");
        Weights { layout, outputs, depth, bytes }
    }

    /// How they lie.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Rows of the matrix: columns of a product.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Values of a row.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Memory that they take.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// One row as floats, exactly: a code times its scale, less its minimum, each step rounded as ggml's reference does.
    ///
    /// # Panics
    /// If there is no such row, or `out` is of another length.
    pub fn row(&self, index: usize, out: &mut [f32]) {
        assert!(index < self.outputs, "grouped: row {index} of {}", self.outputs);
        assert_eq!(out.len(), self.depth, "grouped: a row of other length");
        let panel = self.panel(index / PANEL);
        match self.layout {
            Layout::Plain(element) => plain::row(element, panel.bytes, index % PANEL, out),
            Layout::Grouped { .. } => scalar::row(&panel, index % PANEL, out),
        }
    }

    fn panel(&self, index: usize) -> Panel<'_> {
        let size = self.layout.panel_bytes(self.depth).unwrap_or_default();
        Panel::new(self.layout, self.depth, &self.bytes[index * size..][..size])
    }
}
