//! A step of a decoder, as its operators see it: whose tokens its rows are, where their keys and values lie, and who computes.

use super::{Logits, Page, Piece};
use hearth_kernels::decoder::attention;
use hearth_kernels::decoder::kv::{KvPool, Sequence};
use hearth_kernels::decoder::rope::{Angles, Frequencies};
use hearth_kernels::grouped::Scratch;
use hearth_kernels::{InstructionSet, Pool};
use std::sync::{Arc, Mutex, PoisonError};

/// One step.
pub(super) struct Turn {
    pub(super) pool: Arc<Pool>,
    pub(super) threads: usize,
    pub(super) set: InstructionSet,
    pub(super) kv: Arc<KvPool>,
    /// Pages, position of the first new token, and number of new tokens of each sequence, in the order of the rows.
    sequences: Vec<(Arc<Vec<Page>>, usize, usize)>,
    /// Of each row's position.
    pub(super) angles: Angles,
    /// The rows after which a token is chosen.
    pub(super) selected: Vec<usize>,
    scratch: Mutex<Scratch>,
    pub(super) attention: attention::Scratch,
}

impl Turn {
    pub(super) fn new(
        pool: &Arc<Pool>,
        threads: usize,
        set: InstructionSet,
        kv: &Arc<KvPool>,
        frequencies: &Frequencies,
        pieces: &[Piece<'_>],
    ) -> Turn {
        let positions: Vec<usize> = pieces.iter().flat_map(|piece| piece.start..piece.start + piece.tokens.len()).collect();
        let wanted = pieces.iter().scan(0, |end, piece| {
            let start = *end;
            *end += piece.tokens.len();
            Some(match piece.logits {
                Logits::None => *end..*end,
                Logits::Last => *end - 1..*end,
                Logits::Each => start..*end,
            })
        });
        Turn {
            pool: pool.clone(),
            threads: threads.clamp(1, pool.threads()),
            set,
            kv: kv.clone(),
            sequences: pieces.iter().map(|piece| (piece.pages.clone(), piece.start, piece.tokens.len())).collect(),
            angles: frequencies.angles(&positions),
            selected: wanted.flatten().collect(),
            scratch: Mutex::default(),
            attention: attention::Scratch::new(),
        }
    }

    /// The sequences of the step, in the order of its rows.
    pub(super) fn sequences(&self) -> Vec<Sequence<'_>> {
        self.sequences.iter().map(|(pages, start, rows)| Sequence { pages, start: *start, rows: *rows }).collect()
    }

    /// Memory that the products of a step use one after the other.
    pub(super) fn with_scratch(&self, f: impl FnOnce(&mut Scratch)) {
        // What a panic left there is overwritten.
        f(&mut self.scratch.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Calls `f` with each part of `out`, by its place, on the threads of the step.
    pub(super) fn in_parts(&self, out: &mut [f32], part: usize, f: &(dyn Fn(usize, &mut [f32]) + Sync)) {
        if self.threads == 1 || out.len() <= part {
            return out.chunks_mut(part.max(1)).enumerate().for_each(|(index, out)| f(index, out));
        }
        let parts: Vec<Mutex<&mut [f32]>> = out.chunks_mut(part.max(1)).map(Mutex::new).collect();
        self.pool.share(self.threads, parts.len(), &|index| f(index, &mut parts[index].lock().unwrap_or_else(PoisonError::into_inner)));
    }
}
