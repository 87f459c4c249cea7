//! Products with weights that are floats.

use super::PANEL;
use super::layout::Element;
use crate::InstructionSet;
use crate::loops::{Loop, run};

/// Depths that are widened at a time.
const BLOCK: usize = 64;
/// Chains of sums: the depths of a chain are so far apart. One chain alone would wait for each of its additions.
const CHAINS: usize = 4;

/// Writes one row of a panel as floats.
pub(super) fn row(element: Element, panel: &[u8], output: usize, out: &mut [f32]) {
    for (depth, out) in out.iter_mut().enumerate() {
        let at = depth * PANEL + output;
        let half = || u16::from_le_bytes([panel[2 * at], panel[2 * at + 1]]);
        *out = match element {
            Element::Single => f32::from_le_bytes(panel[4 * at..][..4].try_into().expect("four bytes")),
            Element::Half => crate::half::to_f32(half()),
            Element::Brain => f32::from_bits(u32::from(half()) << 16),
        };
    }
}

/// Adds the products of `rows` of `depth` floats with a panel to `totals`, 16 a row. An output's sum is within
/// `depth * 1e-7 * sum |row| |weights|` of the exact one, and the same for one row and for many.
pub(super) fn panel(set: InstructionSet, element: Element, panel: &[u8], rows: &[f32], depth: usize, totals: &mut [[f32; PANEL]]) {
    let mut chains = vec![[[0.0; PANEL]; CHAINS]; totals.len()];
    let mut wide = [[0.0; PANEL]; BLOCK];
    for (index, bytes) in panel.chunks(BLOCK * PANEL * element.bytes()).enumerate() {
        let count = bytes.len() / (PANEL * element.bytes());
        widen(set, element, bytes, wide[..count].as_flattened_mut());
        for (row, chains) in rows.chunks_exact(depth).zip(&mut chains) {
            run(set, Products { x: &row[index * BLOCK..][..count], weights: &wide[..count], chains });
        }
    }
    for (totals, chains) in totals.iter_mut().zip(chains) {
        for (output, total) in totals.iter_mut().enumerate() {
            let [a, b, c, d] = chains.map(|chain| chain[output]);
            *total += (a + b) + (c + d);
        }
    }
}

fn widen(set: InstructionSet, element: Element, bytes: &[u8], out: &mut [f32]) {
    match element {
        Element::Single => out.iter_mut().zip(bytes.as_chunks::<4>().0).for_each(|(out, bytes)| *out = f32::from_le_bytes(*bytes)),
        Element::Half => {
            let mut halves = [0u16; BLOCK * PANEL];
            let halves = &mut halves[..out.len()];
            halves.iter_mut().zip(bytes.as_chunks::<2>().0).for_each(|(half, bytes)| *half = u16::from_le_bytes(*bytes));
            crate::half::widen(set, halves, out);
        }
        Element::Brain => {
            let floats = bytes.as_chunks::<2>().0.iter().map(|bytes| f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16));
            out.iter_mut().zip(floats).for_each(|(out, float)| *out = float);
        }
    }
}

struct Products<'a> {
    x: &'a [f32],
    weights: &'a [[f32; PANEL]],
    chains: &'a mut [[f32; PANEL]; CHAINS],
}

impl Loop for Products<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let add = |sums: &mut [f32; PANEL], x: f32, weights: &[f32; PANEL]| {
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum = if FUSED { x.mul_add(*weight, *sum) } else { x * weight + *sum };
            }
        };
        // Each in variables of its own: these stay in registers, an array of them would not.
        let [mut a, mut b, mut c, mut d] = *self.chains;
        let ((x, x_left), (weights, weights_left)) = (self.x.as_chunks::<CHAINS>(), self.weights.as_chunks::<CHAINS>());
        for (x, weights) in x.iter().zip(weights) {
            add(&mut a, x[0], &weights[0]);
            add(&mut b, x[1], &weights[1]);
            add(&mut c, x[2], &weights[2]);
            add(&mut d, x[3], &weights[3]);
        }
        *self.chains = [a, b, c, d];
        for ((x, weights), sums) in x_left.iter().zip(weights_left).zip(self.chains) {
            add(sums, *x, weights);
        }
    }
}
