//! A panel of weights, taken apart into its groups.

use super::PANEL;
use super::layout::{Codes, Layout, RUN, Scales};

/// 16 outputs.
#[derive(Clone, Copy)]
pub(super) struct Panel<'a> {
    pub(super) layout: Layout,
    /// Groups of the depth, with those that fill up a run.
    pub(super) groups: usize,
    /// All of the groups.
    pub(super) bytes: &'a [u8],
}

/// A group of a panel: its scales and minima, by output, and its codes.
#[derive(Clone, Copy)]
pub(super) struct Group<'a> {
    /// Begins with halves, or of products with the halves of the run.
    pub(super) scales: &'a [u8],
    /// Of products: begins with them.
    pub(super) factors: &'a [u8],
    /// As the scales; empty without minima.
    pub(super) minima: &'a [u8],
    pub(super) minimum_factors: &'a [u8],
    pub(super) codes: &'a [u8],
}

/// Where the parts of a group begin in its panel.
#[derive(Clone, Copy)]
pub(super) struct Places {
    pub(super) scales: usize,
    pub(super) factors: usize,
    pub(super) minima: usize,
    pub(super) minimum_factors: usize,
    pub(super) codes: usize,
}

/// Goes from group to group.
#[derive(Clone, Copy)]
pub(super) struct Walk {
    next: usize,
    run: usize,
    /// Groups of the run that are left.
    left: usize,
    per_run: usize,
    /// What stands before the groups of a run.
    head: usize,
    /// Bytes of a group.
    size: usize,
    /// From scales to minima, from factors to those of minima, and from the group's begin to its codes.
    to_minima: usize,
    to_minimum_factors: usize,
    to_codes: usize,
}

impl<'a> Panel<'a> {
    pub(super) fn new(layout: Layout, depth: usize, bytes: &'a [u8]) -> Panel<'a> {
        debug_assert_eq!(Some(bytes.len()), layout.panel_bytes(depth));
        let group = if let Layout::Grouped { group, .. } = layout { group } else { 1 };
        Panel { layout, groups: layout.padded(depth) / group, bytes }
    }

    /// The way through its groups.
    pub(super) fn walk(self) -> Walk {
        let Layout::Grouped { group, scales, minima, .. } = self.layout else { unreachable!("floats have no groups") };
        let (in_run, in_group) = scales.bytes();
        let copies = 1 + usize::from(minima);
        let products = scales == Scales::Products;
        Walk {
            next: 0,
            run: 0,
            left: 0,
            // A group that has its scales itself is a run of one group, with nothing before it.
            per_run: if products { RUN / group } else { 1 },
            head: in_run * copies,
            size: self.layout.group_bytes(),
            to_minima: if products { in_run } else { in_group },
            to_minimum_factors: in_group,
            to_codes: in_group * copies,
        }
    }

    /// Its groups, in order.
    pub(super) fn groups(self) -> impl Iterator<Item = Group<'a>> {
        let Layout::Grouped { codes, group, minima, .. } = self.layout else { unreachable!("floats have no groups") };
        let length = if codes == Codes::Eight { group * PANEL } else { group * PANEL / 2 };
        let mut walk = self.walk();
        (0..self.groups).map(move |_| {
            let places = walk.next();
            let minimum = |at: usize| if minima { &self.bytes[at..] } else { &[] };
            Group {
                scales: &self.bytes[places.scales..],
                factors: &self.bytes[places.factors..],
                minima: minimum(places.minima),
                minimum_factors: minimum(places.minimum_factors),
                codes: &self.bytes[places.codes..][..length],
            }
        })
    }
}

impl Walk {
    /// The next group.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Places {
        if self.left == 0 {
            self.run = self.next;
            self.next += self.head;
            self.left = self.per_run;
        }
        self.left -= 1;
        let own = self.next;
        self.next += self.size;
        Places {
            scales: self.run,
            factors: own,
            minima: self.run + self.to_minima,
            minimum_factors: own + self.to_minimum_factors,
            codes: own + self.to_codes,
        }
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
