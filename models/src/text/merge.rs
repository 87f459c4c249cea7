//! Byte pair encoding of one word: the pair of the lowest rank merges first, the leftmost of equals. n log n in the word's length.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

/// No token, no neighbour.
pub(super) const NONE: u32 = u32::MAX;

/// A part of the word, in a chain of those that are left.
#[derive(Debug, Clone, Copy)]
struct Symbol {
    start: u32,
    /// `start` once the symbol has merged into another.
    end: u32,
    /// The token, or `NONE` for a part that has none.
    id: u32,
    previous: u32,
    next: u32,
}

/// A pair that may merge. The order of the fields is that of the merges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    rank: u32,
    left: u32,
    /// Where the pair ended when it was found. Symbols only grow, so an equal end means that neither has changed.
    end: u32,
    id: u32,
}

/// What a pair of neighbours becomes.
pub(super) struct Merge {
    /// A lower one merges first.
    pub(super) rank: u32,
    /// The token of both.
    pub(super) id: u32,
}

/// A pair of neighbours: their tokens (`NONE` for parts without one) and the bytes of both.
pub(super) struct Pair {
    pub(super) left: u32,
    pub(super) right: u32,
    pub(super) bytes: Range<usize>,
}

/// The memory that merging takes, used again for each word.
#[derive(Default)]
pub(super) struct Merger {
    symbols: Vec<Symbol>,
    queue: BinaryHeap<Reverse<Candidate>>,
}

impl Merger {
    /// Empties the word.
    pub(super) fn clear(&mut self) {
        self.symbols.clear();
    }

    /// Appends a part of `length` bytes to the word.
    pub(super) fn push(&mut self, length: usize, id: u32) {
        let index = self.symbols.len() as u32;
        let start = self.symbols.last().map_or(0, |last| last.end);
        if let Some(last) = self.symbols.last_mut() {
            last.next = index;
        }
        self.symbols.push(Symbol { start, end: start + length as u32, id, previous: index.wrapping_sub(1), next: NONE });
    }

    /// Merges for as long as `merge` knows a pair, and hands what is left to `take`: the token or `NONE`, and the bytes.
    pub(super) fn run(&mut self, merge: impl Fn(Pair) -> Option<Merge>, mut take: impl FnMut(u32, Range<usize>)) {
        for left in 0..self.symbols.len() as u32 {
            self.consider(left, &merge);
        }
        while let Some(Reverse(candidate)) = self.queue.pop() {
            let left = self.symbols[candidate.left as usize];
            if left.start == left.end || left.next == NONE || self.symbols[left.next as usize].end != candidate.end {
                continue;
            }
            let right = &mut self.symbols[left.next as usize];
            let next = right.next;
            right.end = right.start;
            if next != NONE {
                self.symbols[next as usize].previous = candidate.left;
            }
            let merged = &mut self.symbols[candidate.left as usize];
            (merged.end, merged.id, merged.next) = (candidate.end, candidate.id, next);
            if left.previous != NONE {
                self.consider(left.previous, &merge);
            }
            self.consider(candidate.left, &merge);
        }
        let mut at = if self.symbols.is_empty() { NONE } else { 0 };
        while at != NONE {
            let symbol = self.symbols[at as usize];
            take(symbol.id, symbol.start as usize..symbol.end as usize);
            at = symbol.next;
        }
    }

    /// Queues a symbol and its right neighbour.
    fn consider(&mut self, index: u32, merge: &impl Fn(Pair) -> Option<Merge>) {
        let left = self.symbols[index as usize];
        if left.next == NONE {
            return;
        }
        let right = self.symbols[left.next as usize];
        let pair = Pair { left: left.id, right: right.id, bytes: left.start as usize..right.end as usize };
        if let Some(Merge { rank, id }) = merge(pair) {
            self.queue.push(Reverse(Candidate { rank, left: index, end: right.end, id }));
        }
    }
}
