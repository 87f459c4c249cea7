//! Packing: panels of a matrix made one after the other, so that no more than one is in memory.

use super::PANEL;
use super::layout::{Codes, Layout, RUN, Scales};

/// A row of a matrix taken apart. What its layout does not have stays empty.
#[derive(Debug, Clone, Copy, Default)]
pub struct Row<'a> {
    /// Of floats: the bytes of the row, little-endian.
    pub floats: &'a [u8],
    /// One for each value: of 4 bits from 0 to 15.
    pub codes: &'a [i8],
    /// Halves as bits: one for each group, or where scales are products one for each 256 values.
    pub scales: &'a [u16],
    /// One for each group, where scales are products.
    pub factors: &'a [i8],
    /// One for each group, where scales are `f32`.
    pub singles: &'a [f32],
    /// What is subtracted, as `scales`.
    pub minima: &'a [u16],
    /// As `factors`.
    pub minimum_factors: &'a [i8],
}

/// Makes panels of a layout.
#[derive(Debug)]
pub struct Packer {
    layout: Layout,
    depth: usize,
    panel: Vec<u8>,
}

impl Packer {
    /// For rows of `depth` values.
    ///
    /// # Panics
    /// If there is no such layout, or a panel is larger than can be counted.
    pub fn new(layout: Layout, depth: usize) -> Packer {
        assert!(layout.is_valid(), "grouped: there is no layout {layout:?}");
        let size = layout.panel_bytes(depth).expect("a panel that can be counted");
        Packer { layout, depth, panel: vec![0; size] }
    }

    /// A panel of the next rows: 16, or at the end of the matrix fewer.
    ///
    /// # Panics
    /// If there are more than 16 rows, or one has less than its layout wants.
    pub fn pack(&mut self, rows: &[Row<'_>]) -> &[u8] {
        assert!(rows.len() <= PANEL, "grouped: {} rows of a panel", rows.len());
        self.panel.fill(0);
        for (output, row) in rows.iter().enumerate() {
            match self.layout {
                Layout::Plain(element) => {
                    for (at, value) in row.floats[..self.depth * element.bytes()].chunks_exact(element.bytes()).enumerate() {
                        self.panel[(at * PANEL + output) * element.bytes()..][..element.bytes()].copy_from_slice(value);
                    }
                }
                Layout::Grouped { codes, group, scales, minima } => self.grouped(codes, group, scales, minima, output, row),
            }
        }
        &self.panel
    }

    fn grouped(&mut self, codes: Codes, group: usize, scales: Scales, minima: bool, output: usize, row: &Row<'_>) {
        assert_eq!(row.codes.len(), self.depth, "grouped: a code for each value");
        let (in_run, in_group) = scales.bytes();
        let copies = 1 + usize::from(minima);
        let per_run = if scales == Scales::Products { RUN / group } else { 1 };
        let run_bytes = in_run * copies + per_run * self.layout.group_bytes();
        for (index, codes_of_group) in row.codes.chunks(group).enumerate() {
            let run = &mut self.panel[index / per_run * run_bytes..][..run_bytes];
            let (head, groups) = run.split_at_mut(in_run * copies);
            let own = &mut groups[index % per_run * self.layout.group_bytes()..][..self.layout.group_bytes()];
            let (own_head, bytes) = own.split_at_mut(in_group * copies);
            let minimum = [(row.minima, row.minimum_factors)];
            for (copy, (values, factors)) in [(row.scales, row.factors)].into_iter().chain(minimum).take(copies).enumerate() {
                match scales {
                    Scales::Halves => own_head[copy * in_group + 2 * output..][..2].copy_from_slice(&values[index].to_le_bytes()),
                    Scales::Products => {
                        head[copy * in_run + 2 * output..][..2].copy_from_slice(&values[index / per_run].to_le_bytes());
                        own_head[copy * in_group + output] = factors[index] as u8;
                    }
                    Scales::Singles => own_head[copy * in_group + 4 * output..][..4].copy_from_slice(&row.singles[index].to_le_bytes()),
                }
            }
            for (at, code) in codes_of_group.iter().enumerate() {
                let place = |quad: usize| (quad * PANEL + output) * 4 + at % 4;
                if codes == Codes::Eight {
                    bytes[place(at / 4)] = *code as u8;
                } else {
                    assert!((0..16).contains(code), "grouped: the code {code} has more than 4 bits");
                    bytes[place(at / 4 % 4)] |= (*code as u8) << (at / 16 * 4);
                }
            }
        }
    }
}
