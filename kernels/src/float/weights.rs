//! Weights in the order in which the inner loop of an instruction set reads them.

use super::{Kernel, Visit, with_kernel};
use crate::InstructionSet;
use crate::linear::{Line, view};

/// The weights of a matrix product, packed once at load.
#[derive(Debug, Clone)]
pub struct Weights {
    set: InstructionSet,
    outputs: usize,
    depth: usize,
    /// Panels of `[depth][COLUMNS]`, zeros after the last output.
    packed: Vec<Line>,
}

impl Weights {
    /// Packs `weights[output][depth]` for `set`.
    ///
    /// # Panics
    /// If there are not `outputs * depth` weights.
    pub fn pack(set: InstructionSet, weights: &[f32], outputs: usize, depth: usize) -> Weights {
        assert_eq!(weights.len(), outputs * depth, "float: weights are outputs x depth");
        let columns = with_kernel(set, Columns);
        let mut packed = Vec::new();
        let panels = view::<f32>(&mut packed, outputs.next_multiple_of(columns) * depth).chunks_exact_mut((columns * depth).max(1));
        for (panel, first) in panels.zip((0..).step_by(columns)) {
            let outputs = first..outputs.min(first + columns);
            for (index, row) in panel.chunks_exact_mut(columns).enumerate() {
                row.iter_mut().zip(outputs.clone()).for_each(|(packed, output)| *packed = weights[output * depth + index]);
            }
        }
        Weights { set, outputs, depth, packed }
    }

    /// The instruction set that these weights are packed for.
    pub fn set(&self) -> InstructionSet {
        self.set
    }

    /// Columns of the product.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Products in a sum.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Memory that the weights take.
    pub fn bytes(&self) -> usize {
        self.packed.len() * size_of::<Line>()
    }

    /// Where the panel that starts at output `column` has its weights from `depth` on.
    pub(super) fn panel<K: Kernel>(&self, column: usize, depth: usize) -> *const f32 {
        self.packed.as_ptr().cast::<f32>().wrapping_add(column * self.depth + depth * K::COLUMNS)
    }
}

/// Asks for the width of a panel.
struct Columns;

impl Visit for Columns {
    type Output = usize;

    fn visit<K: Kernel>(self) -> usize {
        K::COLUMNS
    }
}
