//! The task `chat`: what a manifest says of a language model.

use super::rules::{Wrong, ensure};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// Tokens that a conversation, or the cache, may have.
const TOKENS: RangeInclusive<usize> = 16..=1 << 24;

/// What a language model may spend, and how it answers where a request does not say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Chat {
    /// The most tokens of a conversation, what was said and the answer together. Left out: as the model was trained, 4096 at most,
    /// and what 256 MiB hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<usize>,
    /// Tokens whose keys and values are kept in memory, of all conversations together. Left out: four contexts,
    /// and what 256 MiB hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<usize>,
    /// The most tokens of an answer. Left out: until the context is full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// 0: always the likeliest token; higher: less likely ones more often. Left out: 0.7.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Tokens are drawn from the likeliest that together have this share. Left out: 0.95.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// What the model is told first where a conversation has no system message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
}

impl Chat {
    pub(super) fn check(&self) -> Result<(), Wrong> {
        for (name, tokens) in [("context", self.context), ("cache", self.cache)] {
            let tokens = tokens.unwrap_or(*TOKENS.start());
            ensure(TOKENS.contains(&tokens), || format!("task.{name} = {tokens}"), "it must be from 16 to 16777216 tokens")?;
        }
        ensure(self.max_tokens != Some(0), || "task.max_tokens = 0".into(), "it must be at least 1")?;
        let temperature = self.temperature.unwrap_or_default();
        ensure((0.0..=2.0).contains(&temperature), || format!("task.temperature = {temperature}"), "it must be from 0 to 2")?;
        let top_p = self.top_p.unwrap_or(1.0);
        ensure(top_p > 0.0 && top_p <= 1.0, || format!("task.top_p = {top_p}"), "it must be above 0 and at most 1")
    }
}
