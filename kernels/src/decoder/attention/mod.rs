//! Causal attention of new tokens over the pages of a [`KvPool`]: any number of query heads a head of keys, sliding window, softcap,
//! sinks.
//!
//! A token's result depends on nothing but its own sequence, bit for bit on one instruction set: not on its neighbours in the batch,
//! nor on the threads, nor on how its sequence was cut into steps. For that the order of all sums is fixed by positions. Scores are
//! chains over a key's width; a page of [`PAGE`] tokens is joined to its segment by online softmax (Milakov and Gimelshein, 2018),
//! the [`SEGMENT`] pages of a segment one after the other, and the segments of a sequence likewise. Rows of a block run over
//! a page together and a page's masked tokens are left out; both change nothing for a row.
//!
//! Instruction sets differ in the last bits. With `u = 2^-24`, `n` tokens, keys of `width` and `S` the largest
//! `scale * sum |query| |key|` of a token, a result is within `((2 width + 8) S + n / 64 + 200) u * max |value|` of the exact one for
//! the keys and values that are held; a softcap adds `1e-6 * softcap * max |value|`.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "aarch64")]
mod neon;
mod partial;
mod products;
mod scalar;
#[cfg(test)]
mod tests;

use super::kv::{KvPool, LANES, Memory, PAGE, Sequence, Values};
use crate::{InstructionSet, Pool};
use partial::{Partial, Weigh};
use products::{Element, Product};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Pages of a segment.
pub const SEGMENT: usize = 8;

/// Rows of a block, about: queries, scores and results of a block stay in the second-level cache.
const ROWS: usize = 64;

/// Up to so many rows read halves as they are; for more, a page is made `f32` first.
const DIRECT_ROWS: usize = 8;

/// What a layer's attention is.
#[derive(Debug, Clone, Copy)]
pub struct Attention<'a> {
    /// Heads of queries: a multiple of the heads of keys. Neighbours share a head of keys.
    pub heads: usize,
    /// What products of queries and keys are multiplied by.
    pub scale: f32,
    /// How many tokens each one attends to, itself among them; 0 for all before it.
    pub window: usize,
    /// What scores are bent to stay under, `softcap * tanh(score / softcap)` (Gemma 2); 0 for none.
    pub softcap: f32,
    /// Empty, or for each head a score that takes part in the softmax and has no value (gpt-oss).
    pub sinks: &'a [f32],
}

/// Memory that [`attend`] works in, kept from call to call: one part for each thread that was at work at once.
#[derive(Debug, Default)]
pub struct Scratch(Mutex<Vec<Buffers>>);

impl Scratch {
    /// Without memory yet.
    pub fn new() -> Scratch {
        Scratch::default()
    }

    fn with<R>(&self, work: impl FnOnce(&mut Buffers) -> R) -> R {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffers = lock().pop().unwrap_or_default();
        let result = work(&mut buffers);
        lock().push(buffers);
        result
    }
}

/// Attends with the new tokens of a batch, whose keys and values in this layer have been written. Rows are those of the sequences one
/// after the other: `queries` is `[rows][heads][key_width]`, `out` `[rows][heads][value_width]`. The work is divided over
/// at most `threads` threads of `pool`.
///
/// # Panics
/// If lengths do not fit, or a token lies beyond its sequence's pages.
#[expect(clippy::too_many_arguments, reason = "what a layer's attention is, works on, reads, and writes")]
pub fn attend(
    set: InstructionSet,
    pool: &Pool,
    threads: usize,
    kv: &KvPool,
    layer: usize,
    attention: &Attention<'_>,
    batch: &[Sequence<'_>],
    queries: &[f32],
    out: &mut [f32],
    scratch: &Scratch,
) {
    let shape = kv.shape();
    let (heads, rows) = (attention.heads, batch.iter().map(|sequence| sequence.rows).sum::<usize>());
    assert!(heads > 0 && heads.is_multiple_of(shape.kv_heads), "attention: {heads} heads over {} of keys", shape.kv_heads);
    assert!([0, heads].contains(&attention.sinks.len()), "attention: {} sinks for {heads} heads", attention.sinks.len());
    assert_eq!(queries.len(), rows * heads * shape.key_width, "attention: a query for each token and head");
    assert_eq!(out.len(), rows * heads * shape.value_width(), "attention: a result for each token and head");
    let tables: Vec<Vec<usize>> = batch
        .iter()
        .map(|sequence| {
            let needed = (sequence.start + sequence.rows).div_ceil(PAGE);
            assert!(needed <= sequence.pages.len(), "attention: {} pages where {needed} are needed", sequence.pages.len());
            sequence.pages[..needed].iter().map(|page| kv.index(page)).collect()
        })
        .collect();
    match &*kv.layer(layer) {
        Memory::Half(memory) => {
            Step { set, kv, attention, memory: memory.as_slice(), queries }.run(pool, threads, batch, &tables, out, scratch)
        }
        Memory::Single(memory) => {
            Step { set, kv, attention, memory: memory.as_slice(), queries }.run(pool, threads, batch, &tables, out, scratch)
        }
    }
}

/// One call of [`attend`].
struct Step<'a, E> {
    set: InstructionSet,
    kv: &'a KvPool,
    attention: &'a Attention<'a>,
    memory: &'a [E],
    queries: &'a [f32],
}

/// A block of neighbouring tokens of one sequence, with one head of keys.
#[derive(Clone)]
struct Unit<'a> {
    /// Numbers of the sequence's pages.
    table: &'a [usize],
    /// Of the first token.
    position: usize,
    /// The tokens' rows of the batch.
    rows: Range<usize>,
    kv_head: usize,
    /// Pages that any of the tokens attends to.
    pages: Range<usize>,
}

impl Unit<'_> {
    fn segments(&self) -> Range<usize> {
        self.pages.start / SEGMENT..self.pages.end.div_ceil(SEGMENT)
    }
}

/// Where units write their results, each to places of its own.
struct Target(*mut f32);

// SAFETY: units write to places of their own, and nobody else has the target while they do.
unsafe impl Sync for Target {}

impl<E: Element> Step<'_, E> {
    /// Query heads a head of keys.
    fn group(&self) -> usize {
        self.attention.heads / self.kv.shape().kv_heads
    }

    fn run(&self, pool: &Pool, threads: usize, batch: &[Sequence<'_>], tables: &[Vec<usize>], out: &mut [f32], scratch: &Scratch) {
        let units = self.units(batch, tables);
        let target = Target(out.as_mut_ptr());
        let threads = threads.min(pool.threads());
        // So that few tokens with long contexts have something for each thread.
        let parts: Vec<(usize, usize)> =
            units.iter().enumerate().flat_map(|(unit, of)| of.segments().map(move |segment| (unit, segment))).collect();
        if threads <= 1 || units.len() >= 2 * threads || parts.len() == units.len() {
            pool.share(threads, units.len(), &|task| {
                let unit = &units[task];
                scratch.with(|buffers| {
                    let Buffers { total, part, queries, work } = buffers;
                    self.gather(unit, queries);
                    total.reset(unit.rows.len() * self.group(), self.kv.shape().value_width());
                    for segment in unit.segments() {
                        self.segment(unit, segment, queries, part, work);
                        total.merge(self.set, part);
                    }
                    // SAFETY: no other unit has these rows and this head.
                    unsafe { self.finish(unit, total, &target) };
                });
            });
            return;
        }
        let results: Vec<Mutex<Partial>> = parts.iter().map(|_| Mutex::default()).collect();
        pool.share(threads, parts.len(), &|task| {
            let (unit, segment) = parts[task];
            scratch.with(|buffers| {
                let Buffers { part, queries, work, .. } = buffers;
                self.gather(&units[unit], queries);
                self.segment(&units[unit], segment, queries, part, work);
                std::mem::swap(part, &mut results[task].lock().unwrap_or_else(PoisonError::into_inner));
            });
        });
        let mut results = results.into_iter().map(|part| part.into_inner().unwrap_or_else(PoisonError::into_inner));
        let mut total = Partial::default();
        for unit in &units {
            total.reset(unit.rows.len() * self.group(), self.kv.shape().value_width());
            for part in results.by_ref().take(unit.segments().len()) {
                total.merge(self.set, &part);
            }
            // SAFETY: nobody else writes now.
            unsafe { self.finish(unit, &mut total, &target) };
        }
    }

    fn units<'b>(&self, batch: &[Sequence<'_>], tables: &'b [Vec<usize>]) -> Vec<Unit<'b>> {
        let length = (ROWS / self.group()).max(1);
        let (mut units, mut first) = (Vec::new(), 0);
        for (sequence, table) in batch.iter().zip(tables) {
            for start in (0..sequence.rows).step_by(length) {
                let count = length.min(sequence.rows - start);
                let position = sequence.start + start;
                let pages = self.attended(position).start / PAGE..(position + count).div_ceil(PAGE);
                let rows = first + start..first + start + count;
                for kv_head in 0..self.kv.shape().kv_heads {
                    units.push(Unit { table, position, rows: rows.clone(), kv_head, pages: pages.clone() });
                }
            }
            first += sequence.rows;
        }
        units
    }

    /// The tokens that the one at `position` attends to.
    fn attended(&self, position: usize) -> Range<usize> {
        let end = position + 1;
        let start = if self.attention.window == 0 { 0 } else { end.saturating_sub(self.attention.window) };
        start..end
    }

    /// A unit's queries times the scale, as [`Product`] wants them.
    fn gather(&self, unit: &Unit<'_>, queries: &mut Vec<f32>) {
        let (width, group) = (self.kv.shape().key_width, self.group());
        let rows = unit.rows.len() * group;
        queries.resize(width.div_ceil(PAGE) * rows * PAGE, 0.0);
        for row in 0..rows {
            let head = (unit.rows.start + row / group) * self.attention.heads + unit.kv_head * group + row % group;
            for (block, values) in self.queries[head * width..][..width].chunks(PAGE).enumerate() {
                for (to, value) in queries[(block * rows + row) * PAGE..].iter_mut().zip(values) {
                    *to = value * self.attention.scale;
                }
            }
        }
    }

    /// What a segment of the pages gives to a unit's rows.
    fn segment(&self, unit: &Unit<'_>, segment: usize, queries: &[f32], part: &mut Partial, work: &mut Work) {
        let (shape, group) = (self.kv.shape(), self.group());
        part.reset(unit.rows.len() * group, shape.value_width());
        work.scores.resize(unit.rows.len() * group * PAGE, 0.0);
        let pages = unit.pages.start.max(segment * SEGMENT)..unit.pages.end.min((segment + 1) * SEGMENT);
        for page in pages {
            // What each token attends to of the page.
            work.slots.clear();
            for position in unit.position..unit.position + unit.rows.len() {
                let attended = self.attended(position);
                let slot = |token: usize| token.saturating_sub(page * PAGE).min(PAGE);
                work.slots.push(slot(attended.start)..slot(attended.end));
            }
            // Positions ascend, so that those with anything to attend to are neighbours.
            let Some(first) = work.slots.iter().position(|slots| !slots.is_empty()) else { continue };
            let end = work.slots.iter().rposition(|slots| !slots.is_empty()).map_or(first, |last| last + 1);
            self.page(unit, page, first..end, queries, part, work);
        }
    }

    /// Joins a page to what was found for some tokens of a unit.
    fn page(&self, unit: &Unit<'_>, page: usize, tokens: Range<usize>, queries: &[f32], part: &mut Partial, work: &mut Work) {
        let (shape, group) = (self.kv.shape(), self.group());
        let rows = unit.rows.len() * group;
        let Work { scores, slots, keys: wide_keys, values: wide_values } = work;
        let start = shape.head_start(unit.table[page], unit.kv_head);
        let keys = &self.memory[start..][..shape.key_width * PAGE];
        let values = &self.memory[start + keys.len()..][..PAGE * shape.value_stride()];
        let is_direct = tokens.len() * group <= DIRECT_ROWS;
        let in_keys = matches!(shape.values, Values::InKeys(_));

        if !is_direct || in_keys {
            E::widen(self.set, keys, wide_keys);
        }
        let first = tokens.start * group * PAGE;
        let (queries, out) = (&queries[first..], &mut scores[first..]);
        let (block, count, depth) = (rows * PAGE, tokens.len() * group, shape.key_width);
        if is_direct && !in_keys {
            Product { rows: queries, block, count, depth, weights: keys, columns: PAGE, factors: &[], out }.run(self.set);
        } else {
            Product { rows: queries, block, count, depth, weights: wide_keys, columns: PAGE, factors: &[], out }.run(self.set);
        }

        let softcap = self.attention.softcap;
        part.weigh(self.set, Weigh { scores, slots, tokens: tokens.clone(), group, softcap });

        if in_keys {
            transpose(&wide_keys[..shape.value_width() * PAGE], part.stride(), wide_values);
        } else if !is_direct {
            E::widen(self.set, values, wide_values);
        }
        let columns = part.stride();
        let mut token = tokens.start;
        while token < tokens.end {
            // Those that attend to the same tokens together.
            let slots = slots[token..tokens.end].chunk_by(|a, b| a == b).next().unwrap_or_default();
            let (count, range) = (slots.len(), slots[0].clone());
            let first = token * group;
            let rows = &scores[first * PAGE + range.start..];
            let (factors, out) = (&part.factors[first..], &mut part.values[first * columns..]);
            let (count, depth, skipped) = (count * group, range.len(), range.start * columns);
            if is_direct && !in_keys {
                Product { rows, block: 0, count, depth, weights: &values[skipped..], columns, factors, out }.run(self.set);
            } else {
                Product { rows, block: 0, count, depth, weights: &wide_values[skipped..], columns, factors, out }.run(self.set);
            }
            token += slots.len();
        }
    }

    /// Joins the sinks and writes a unit's results.
    ///
    /// # Safety
    /// Nobody else uses the unit's places in the target.
    unsafe fn finish(&self, unit: &Unit<'_>, total: &mut Partial, target: &Target) {
        let (width, group, heads) = (self.kv.shape().value_width(), self.group(), self.attention.heads);
        if !self.attention.sinks.is_empty() {
            total.add_sinks(self.set, &self.attention.sinks[unit.kv_head * group..][..group]);
        }
        for row in 0..unit.rows.len() * group {
            let head = (unit.rows.start + row / group) * heads + unit.kv_head * group + row % group;
            // SAFETY: the target has a place of this width for each row and head, and this one is the unit's.
            let out = unsafe { std::slice::from_raw_parts_mut(target.0.add(head * width), width) };
            total.write(row, out);
        }
    }
}

/// What one thread works in.
#[derive(Debug, Default)]
struct Buffers {
    total: Partial,
    part: Partial,
    queries: Vec<f32>,
    work: Work,
}

/// What a page is worked on in.
#[derive(Debug, Default)]
struct Work {
    /// `[rows][PAGE]`: scores, then their weights.
    scores: Vec<f32>,
    /// For each token, what it attends to of the page.
    slots: Vec<Range<usize>>,
    /// A page's keys and values as `f32`.
    keys: Vec<f32>,
    values: Vec<f32>,
}

/// `[width][PAGE]` to `[PAGE][stride]`.
fn transpose(keys: &[f32], stride: usize, values: &mut Vec<f32>) {
    values.resize(PAGE * stride, 0.0);
    // Blocks of eight rows, of which a cache line of the result is made.
    for (block, keys) in keys.chunks(LANES * PAGE).enumerate() {
        for (slot, row) in values.chunks_exact_mut(stride).enumerate() {
            for (value, key) in row[block * LANES..].iter_mut().zip(keys.chunks_exact(PAGE)) {
                *value = key[slot];
            }
        }
    }
}
