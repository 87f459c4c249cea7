//! A panel of weights, taken apart into its groups.

use super::PANEL;
use super::layout::{Layout, RUN, Scales};

/// 16 outputs.
#[derive(Clone, Copy)]
pub(super) struct Panel<'a> {
    pub(super) layout: Layout,
    /// Groups of the depth, with those that fill up a run.
    pub(super) groups: usize,
    pub(super) bytes: &'a [u8],
}

/// A group of a panel: its scales and minima, by output, and its codes.
#[derive(Clone, Copy)]
pub(super) struct Group<'a> {
    /// Halves, or of products the halves of the run.
    pub(super) scales: &'a [u8],
    /// Of products.
    pub(super) factors: &'a [u8],
    /// As the scales; empty without minima.
    pub(super) minima: &'a [u8],
    pub(super) minimum_factors: &'a [u8],
    pub(super) codes: &'a [u8],
}

impl<'a> Panel<'a> {
    pub(super) fn new(layout: Layout, depth: usize, bytes: &'a [u8]) -> Panel<'a> {
        let group = if let Layout::Grouped { group, .. } = layout { group } else { 1 };
        Panel { layout, groups: layout.padded(depth) / group, bytes }
    }

    /// Its groups, in order.
    pub(super) fn groups(self) -> impl Iterator<Item = Group<'a>> {
        let Layout::Grouped { group, scales, minima, .. } = self.layout else { unreachable!("floats have no groups") };
        let (in_run, in_group) = scales.bytes();
        let products = scales == Scales::Products;
        let per_run = if products { RUN / group } else { 1 };
        let minimum = move |size: usize| if minima { size } else { 0 };
        let size = self.layout.group_bytes();
        let run_head = if products { in_run + minimum(in_run) } else { 0 };
        (0..self.groups).map(move |index| {
            let run = &self.bytes[index / per_run * (run_head + per_run * size)..];
            let (head, groups) = run.split_at(run_head);
            let own = &groups[index % per_run * size..][..size];
            let (first, rest) = own.split_at(in_group);
            let (second, codes) = rest.split_at(minimum(in_group));
            if products {
                let (scales, minima) = head.split_at(in_run);
                Group { scales, factors: first, minima, minimum_factors: second, codes }
            } else {
                Group { scales: first, factors: &[], minima: second, minimum_factors: &[], codes }
            }
        })
    }
}

impl Group<'_> {
    /// The scale of an output, and its minimum, 0 where there are none.
    pub(super) fn scale_and_minimum(&self, scales: Scales, output: usize) -> (f32, f32) {
        debug_assert!(output < PANEL);
        let value = |values: &[u8], factors: &[u8]| match scales {
            Scales::Halves => half(values, output),
            Scales::Products => half(values, output) * f32::from(factors[output] as i8),
            Scales::Singles => f32::from_le_bytes(values[4 * output..][..4].try_into().expect("four bytes")),
        };
        (value(self.scales, self.factors), if self.minima.is_empty() { 0.0 } else { value(self.minima, self.minimum_factors) })
    }
}

fn half(bytes: &[u8], at: usize) -> f32 {
    crate::half::to_f32(u16::from_le_bytes([bytes[2 * at], bytes[2 * at + 1]]))
}
