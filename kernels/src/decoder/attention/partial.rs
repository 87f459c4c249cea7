//! Softmax that goes along: what some tokens have given to each row, and how more are joined.

use super::products::{Kernel, Vector, Visit, with_kernel};
use crate::InstructionSet;
use crate::decoder::kv::{LANES, PAGE};
use crate::loops::{Loop, run};
use crate::pointwise::{exp, multiply_add, tanh};
use std::ops::Range;

/// What some tokens have given to the rows of a unit.
#[derive(Debug, Default)]
pub(super) struct Partial {
    /// The largest score of each row.
    maxima: Vec<f32>,
    /// The sum of each row's weights, `exp(score - largest)`: 0 if and only if there were no tokens.
    sums: Vec<f32>,
    /// `[rows][stride]`: sums of values times their weights.
    pub(super) values: Vec<f32>,
    /// What the sums of values are to be multiplied by before the tokens of a page that was weighed are added.
    pub(super) factors: Vec<f32>,
    width: usize,
}

impl Partial {
    /// No tokens for `rows` rows.
    pub(super) fn reset(&mut self, rows: usize, width: usize) {
        fn fill(values: &mut Vec<f32>, length: usize, value: f32) {
            values.clear();
            values.resize(length, value);
        }
        self.width = width;
        fill(&mut self.maxima, rows, f32::NEG_INFINITY);
        fill(&mut self.sums, rows, 0.0);
        fill(&mut self.factors, rows, 0.0);
        let stride = self.stride();
        fill(&mut self.values, rows * stride, 0.0);
    }

    /// Elements from a row's values to the next one's.
    pub(super) fn stride(&self) -> usize {
        self.width.next_multiple_of(LANES)
    }

    /// Makes the scores of a page weights, and joins them to the sums of weights. The values are the caller's to add.
    pub(super) fn weigh(&mut self, set: InstructionSet, page: Weigh<'_>) {
        struct Work<'a>(&'a mut Partial, Weigh<'a>);
        impl Visit for Work<'_> {
            fn visit<K: Kernel>(self) {
                // SAFETY: the CPU has the instructions.
                unsafe { K::weigh(self.0, self.1) };
            }
        }
        with_kernel(set, Work(self, page));
    }

    /// [`Partial::weigh`] with the vectors of an instruction set.
    ///
    /// # Safety
    /// The CPU has the vector's instructions.
    #[inline(always)]
    pub(super) unsafe fn weigh_with<V: Vector, const FUSED: bool>(&mut self, page: Weigh<'_>) {
        let Weigh { scores, slots, tokens, group, softcap } = page;
        let rows = tokens.start * group..tokens.end * group;
        let scores = &mut scores[rows.start * PAGE..rows.end * PAGE];
        if softcap != 0.0 {
            for score in &mut *scores {
                *score = softcap * tanh::<FUSED>(*score / softcap);
            }
        }
        let (maxima, factors) = (&mut self.maxima[rows.clone()], &mut self.factors[rows.clone()]);
        let pages = scores.as_chunks_mut::<PAGE>().0;
        for ((row, scores), (maximum, factor)) in pages.iter_mut().enumerate().zip(maxima.iter_mut().zip(&mut *factors)) {
            let slots = &slots[tokens.start + row / group];
            // What lies outside may be anything.
            scores[..slots.start].fill(f32::NEG_INFINITY);
            scores[slots.end..].fill(f32::NEG_INFINITY);
            // SAFETY: by the contract.
            let largest = unsafe { join::<V>(scores, V::larger, |a, b| if a > b { a } else { b }) };
            let largest = if largest > *maximum { largest } else { *maximum };
            for score in scores {
                *score -= largest;
            }
            *factor = *maximum - largest;
            *maximum = largest;
        }
        exp_each::<FUSED>(scores);
        exp_each::<FUSED>(factors);
        for ((sum, scores), factor) in self.sums[rows].iter_mut().zip(scores.as_chunks::<PAGE>().0).zip(factors) {
            // SAFETY: by the contract.
            *sum = *sum * *factor + unsafe { join::<V>(scores, V::add, |a, b| a + b) };
        }
    }

    /// Joins what later tokens gave.
    pub(super) fn merge(&mut self, set: InstructionSet, later: &Partial) {
        struct Work<'a>(&'a mut Partial, &'a Partial);
        impl Loop for Work<'_> {
            #[inline(always)]
            fn run<const FUSED: bool>(self) {
                let Work(total, later) = self;
                for row in 0..total.sums.len() {
                    let places = row * total.stride()..(row + 1) * total.stride();
                    let more = &later.values[places.clone()];
                    // Exactly as if the other had not been there.
                    if later.sums[row] == 0.0 {
                        continue;
                    }
                    if total.sums[row] == 0.0 {
                        (total.maxima[row], total.sums[row]) = (later.maxima[row], later.sums[row]);
                        total.values[places].copy_from_slice(more);
                        continue;
                    }
                    let [here, there] = total.join::<FUSED>(row, later.maxima[row], later.sums[row]);
                    for (value, more) in total.values[places].iter_mut().zip(more) {
                        *value = multiply_add::<FUSED>(*value, here, more * there);
                    }
                }
            }
        }
        run(set, Work(self, later));
    }

    /// Joins a token without value to each row, one for each head of the group.
    pub(super) fn add_sinks(&mut self, set: InstructionSet, sinks: &[f32]) {
        struct Work<'a>(&'a mut Partial, &'a [f32]);
        impl Loop for Work<'_> {
            #[inline(always)]
            fn run<const FUSED: bool>(self) {
                let Work(total, sinks) = self;
                let stride = total.stride();
                for row in 0..total.sums.len() {
                    let [here, _] = total.join::<FUSED>(row, sinks[row % sinks.len()], 1.0);
                    for value in &mut total.values[row * stride..][..stride] {
                        *value *= here;
                    }
                }
            }
        }
        run(set, Work(self, sinks));
    }

    /// Joins another maximum and sum to a row's, and tells what both sums of values are to be multiplied by.
    #[inline(always)]
    fn join<const FUSED: bool>(&mut self, row: usize, maximum: f32, sum: f32) -> [f32; 2] {
        let largest = if maximum > self.maxima[row] { maximum } else { self.maxima[row] };
        let [here, there] = [self.maxima[row], maximum].map(|maximum| exp::<FUSED>(maximum - largest));
        self.sums[row] = multiply_add::<FUSED>(self.sums[row], here, sum * there);
        self.maxima[row] = largest;
        [here, there]
    }

    /// A row's result.
    pub(super) fn write(&self, row: usize, out: &mut [f32]) {
        let factor = 1.0 / self.sums[row];
        for (out, value) in out.iter_mut().zip(&self.values[row * self.stride()..]) {
            *out = value * factor;
        }
    }
}

/// `e^x` of each value.
#[inline(always)]
fn exp_each<const FUSED: bool>(values: &mut [f32]) {
    for value in values {
        *value = exp::<FUSED>(*value);
    }
}

/// Joins all values of a page: vectors, then their lanes.
///
/// # Safety
/// The CPU has the vector's instructions.
#[inline(always)]
unsafe fn join<V: Vector>(values: &[f32; PAGE], vectors: unsafe fn(V, V) -> V, lanes: fn(f32, f32) -> f32) -> f32 {
    const { assert!(PAGE == 4 * LANES) };
    let mut parts = [0.0; LANES];
    // SAFETY: by the contract; there are four vectors of values, and one of parts.
    unsafe {
        let load = |vector: usize| V::load(values.as_ptr().add(vector * LANES));
        vectors(vectors(load(0), load(1)), vectors(load(2), load(3))).store(parts.as_mut_ptr());
    }
    let [a, b, c, d, e, f, g, h] = parts;
    lanes(lanes(lanes(a, e), lanes(b, f)), lanes(lanes(c, g), lanes(d, h)))
}

/// The scores of a page.
pub(super) struct Weigh<'a> {
    /// `[rows][PAGE]`.
    pub(super) scores: &'a mut [f32],
    /// For each token of the unit, what it attends to of the page.
    pub(super) slots: &'a [Range<usize>],
    /// Those with anything.
    pub(super) tokens: Range<usize>,
    /// Rows a token.
    pub(super) group: usize,
    pub(super) softcap: f32,
}
