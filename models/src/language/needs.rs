//! What a language model takes in memory, told from the head of its file before anything is loaded.

use super::{CACHE_BYTES, CONTEXT, LEAST_CONTEXT, PROMPT_TOKENS};
use crate::decoder::{self, DecoderSpec, Element, weights};
use crate::error::LoadError;
use crate::manifest::{Chat, Manifest, Task};
use std::path::Path;

/// The fewest tokens of a conversation that are of any use.
const LEAST_TOKENS: u64 = 128;

/// What a language model takes in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Its weights, in bytes. They are mapped: the system may take them back, and read them again.
    pub weights: u64,
    /// Keys and values of the whole cache, in bytes.
    pub cache: u64,
    /// What a step computes with, in bytes.
    pub scratch: u64,
    /// Tokens that the cache holds, of all conversations together.
    pub tokens: u64,
}

impl Needs {
    /// What the version in `directory` would take; none if it is no language model.
    ///
    /// # Errors
    /// As `Model::load`, of its manifest and the head of its file.
    pub fn of(directory: &Path) -> Result<Option<Needs>, LoadError> {
        let manifest = Manifest::read(directory)?;
        let Task::Chat(chat) = &manifest.task else { return Ok(None) };
        let outline = weights::outline(&directory.join(&manifest.file))?;
        Ok(Some(Needs::new(&outline.spec, outline.size.packed_bytes, chat, manifest.batch.max)))
    }

    /// What a decoder with these weights takes that answers so many conversations at once.
    pub(super) fn new(spec: &DecoderSpec, weights: u64, chat: &Chat, conversations: u32) -> Needs {
        let (_, cache) = tokens(spec, chat, Element::Half);
        let tokens = cache.next_multiple_of(decoder::PAGE);
        Needs {
            weights,
            cache: (tokens * spec.cache_bytes(Element::Half)) as u64,
            scratch: spec.scratch_bytes(PROMPT_TOKENS.1, conversations as usize) as u64,
            tokens: tokens as u64,
        }
    }

    /// All of it, in bytes.
    pub fn total(&self) -> u64 {
        self.weights + self.cache + self.scratch
    }

    /// The largest cache, in tokens, with which it would do with so many bytes; none where that would be too small for a conversation.
    pub fn tokens_within(&self, bytes: u64) -> Option<u64> {
        let left = bytes.checked_sub(self.weights + self.scratch)?;
        let page = decoder::PAGE as u64;
        let tokens = left / (self.cache / self.tokens).max(1) / page * page;
        (tokens >= LEAST_TOKENS).then_some(tokens)
    }
}

/// The most tokens of a conversation, and tokens that the cache is to hold, as a manifest asks for or as is usual.
pub(super) fn tokens(spec: &DecoderSpec, chat: &Chat, element: Element) -> (usize, usize) {
    let affordable = (CACHE_BYTES / spec.cache_bytes(element)).max(LEAST_CONTEXT);
    let context = chat.context.unwrap_or(CONTEXT.min(affordable)).min(spec.context);
    (context, chat.cache.unwrap_or(affordable.min(4 * context)).max(context))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_fit_is_told_in_whole_pages() {
        let needs = Needs { weights: 1000, cache: 4096 * 10, scratch: 500, tokens: 4096 };
        assert_eq!(needs.total(), 42_460);
        assert_eq!(needs.tokens_within(1500 + 1290), Some(128));
        assert_eq!(needs.tokens_within(1500 + 1279), None);
        assert_eq!(needs.tokens_within(1499), None);
    }
}
