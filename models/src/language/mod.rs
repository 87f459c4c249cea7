//! Language models: conversations of many callers taken further together, a token or a piece of a prompt a step, over one cache of
//! keys and values. A request is JSON in the shape of OpenAI's chat completions, or a text.
//!
//! **A step** gives every conversation that is being answered one token, and spends what is left of its tokens on the prompts of
//! those that began, the oldest first. What a conversation is told does not depend on who rides beside it, on how its prompt was cut,
//! or on the number of threads. Where the cache is full, the youngest conversation of the lowest priority is set aside: its pages go,
//! and it computes them again when there is room.

mod needs;
pub(crate) mod pages;
mod talk;
#[cfg(test)]
mod tests;

pub use needs::Needs;
pub use talk::{Progress, Said, Talk};

use crate::decoder::{self, Decoder, Files, Options, Piece};
use crate::error::LoadError;
use crate::manifest::{Chat, Manifest, Task};
use crate::text::{self, ChatTemplate, Constraints, Specials, TextError, Tokenizer};
use hearth_api::chat::ChatRequest;
use hearth_api::graph::Graph;
use hearth_api::{Answer, Fault, Payload, Priority};
use hearth_kernels::{InstructionSet, Pool};
use pages::{Held, Pages};
use serde_json::value::RawValue;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};
use talk::{Defaults, fault};

/// The context where neither the manifest nor the training says less.
const CONTEXT: usize = 4096;
/// What keys and values may take where the manifest does not say: a board has other uses for its memory.
const CACHE_BYTES: usize = 256 << 20;
/// A context that is made, whatever it takes.
const LEAST_CONTEXT: usize = 512;
/// How long the prompts' part of a step should take: so long does another model wait at most for its turn, or little more.
const STEP: Duration = Duration::from_millis(100);
/// Tokens of prompts in a step, at least and at most: fewer would waste the kernels' tiles, more gain nothing.
const PROMPT_TOKENS: (usize, usize) = (16, 256);

/// A language model in memory.
pub struct LanguageModel {
    decoder: Decoder,
    tokenizer: Arc<Tokenizer>,
    template: ChatTemplate,
    /// For answers that follow a schema: made when the first one is asked for.
    constraints: OnceLock<Arc<Constraints>>,
    pages: Arc<Mutex<Pages<decoder::Page>>>,
    defaults: Defaults,
    needs: Needs,
    /// What a token of a prompt costs, in nanoseconds; 0 while unknown.
    prompt_token_ns: AtomicU64,
}

impl LanguageModel {
    /// Loads the version in `directory`.
    pub(crate) fn load(directory: &Path, manifest: &Manifest, chat: &Chat) -> Result<LanguageModel, LoadError> {
        let path = directory.join(&manifest.file);
        let wrong = |error: TextError| LoadError::invalid(&path, error.to_string(), "give a GGUF with its tokenizer and chat template");
        let files = decoder::weights::open(&path)?;
        let vocabulary = files.vocabulary()?;
        let template = ChatTemplate::new(&vocabulary).map_err(wrong)?;
        let tokenizer = Tokenizer::new(vocabulary).map_err(wrong)?;
        let (decoder, context) = open_decoder(&path, &files, chat, Options::default())?;
        if decoder.vocabulary() < tokenizer.len() {
            let says = format!("it has {} tokens and weights for {}", tokenizer.len(), decoder.vocabulary());
            return Err(LoadError::invalid(&path, says, "give a whole GGUF file as llama.cpp's tools write it"));
        }
        let pages = Pages::new(decoder.take_pages(), decoder::PAGE);
        let defaults = Defaults::new(chat, context);
        let needs = Needs::new(&files.spec()?, files.weight_bytes(), chat, manifest.batch.max);
        let (tokenizer, constraints) = (Arc::new(tokenizer), OnceLock::new());
        Ok(LanguageModel { decoder, tokenizer, template, constraints, pages, defaults, needs, prompt_token_ns: AtomicU64::new(0) })
    }

    /// Memory it holds, in bytes: weights, keys and values of its whole cache, and what a step computes with.
    pub fn memory_bytes(&self) -> u64 {
        self.needs.total()
    }

    /// The longest node of a step so far: how long something urgent may have to wait for it.
    pub fn longest_node(&self) -> Duration {
        self.decoder.longest_node()
    }

    /// Begins a conversation; nothing is computed yet. `arrived`: when the request came, from where the time to the first token counts.
    ///
    /// # Errors
    /// A request that is no chat, that the model's template refuses, or that leaves no room for an answer in the context.
    pub fn begin(&self, payload: &Payload, priority: Priority, arrived: Instant) -> Result<Talk, Fault> {
        let request = ChatRequest::parse(payload)?;
        let prompt = self.prompt(&request).map_err(|error| fault(&error))?;
        let (tokens, context) = (prompt.len(), self.defaults.context);
        if tokens == 0 || tokens >= context {
            let says =
                format!("the conversation has {tokens} tokens, and {context} are the most that this model takes, its answer included");
            return Err(Fault::too_large(says).with_limit("context_tokens", context as u64));
        }
        let constraints = || self.constraints();
        let talk = Talk::new(&self.tokenizer, &constraints, &self.pages, &self.defaults, request, prompt, (priority, arrived));
        talk.map_err(|error| fault(&error))
    }

    /// The tokens of a conversation, up to where the answer begins.
    fn prompt(&self, request: &ChatRequest) -> Result<Vec<u32>, TextError> {
        fn raw(value: &impl serde::Serialize) -> Result<Box<RawValue>, TextError> {
            serde_json::value::to_raw_value(value).map_err(|error| TextError::Request(error.to_string()))
        }
        let messages = raw(&self.defaults.messages(request))?;
        let tools = if request.tools.is_empty() { None } else { Some(raw(&request.tools)?) };
        let variables = if request.chat_template_kwargs.is_empty() { None } else { Some(raw(&request.chat_template_kwargs)?) };
        let text = self.template.render(&text::Chat {
            messages: &messages,
            tools: tools.as_deref(),
            variables: variables.as_deref(),
            add_generation_prompt: true,
            now: SystemTime::now(),
        })?;
        Ok(self.tokenizer.encode_prompt(&text, Specials::Parse))
    }

    fn constraints(&self) -> Result<Arc<Constraints>, TextError> {
        if let Some(made) = self.constraints.get() {
            return Ok(made.clone());
        }
        let made = Arc::new(Constraints::new(self.tokenizer.clone())?);
        Ok(self.constraints.get_or_init(|| made).clone())
    }

    /// Takes conversations a step further: those of `riders`, the oldest first, on at most `threads` threads of `pool`. `others` are
    /// all else that have begun: they may be set aside where the cache is full. `between` is called between two nodes.
    /// Gives what came of each rider.
    pub fn step(
        &self,
        riders: &mut [&mut Talk],
        others: &mut [&mut Talk],
        threads: usize,
        pool: &Arc<Pool>,
        between: &mut dyn FnMut(),
    ) -> Vec<Progress> {
        let counts = self.share(riders, others);
        let pieces: Vec<Piece<'_>> =
            riders.iter().zip(&counts).filter(|(_, count)| **count > 0).map(|(talk, count)| talk.piece(*count)).collect();
        if pieces.is_empty() {
            return riders.iter().map(|_| Progress::Going(Said::default())).collect();
        }
        let begun = Instant::now();
        let logits = self.decoder.run(&pieces, threads, pool, between);
        self.note_cost(begun.elapsed(), &counts);
        let logits = match logits {
            Ok(logits) => logits,
            Err(reason) => return riders.iter().map(|_| Progress::Failed(Fault::model_failed(&reason))).collect(),
        };
        let mut rows = logits.chunks_exact(self.decoder.vocabulary());
        let counts = counts.iter().zip(riders.iter_mut());
        counts
            .map(|(&count, talk)| {
                talk.computed(count);
                if count == 0 || !talk.is_up_to_date() {
                    Progress::Going(Said::default())
                } else {
                    talk.speak(rows.next().unwrap_or_default())
                }
            })
            .collect()
    }

    /// Answers conversations to their ends.
    pub(crate) fn answer(
        &self,
        payloads: &[Payload],
        threads: usize,
        pool: &Arc<Pool>,
        between: &mut dyn FnMut(),
    ) -> Vec<Result<Answer, Fault>> {
        let begun = Instant::now();
        let mut talks: Vec<Result<Talk, Fault>> = payloads.iter().map(|p| self.begin(p, Priority::default(), begun)).collect();
        let mut answers: Vec<Option<Result<Answer, Fault>>> = talks.iter().map(|talk| talk.as_ref().err().cloned().map(Err)).collect();
        while answers.iter().any(Option::is_none) {
            let at_work = talks.iter_mut().zip(&answers).enumerate().filter(|(_, (_, answer))| answer.is_none());
            let (places, mut riders): (Vec<usize>, Vec<&mut Talk>) =
                at_work.filter_map(|(place, (talk, _))| Some((place, talk.as_mut().ok()?))).unzip();
            let progress = self.step(&mut riders, &mut [], threads, pool, between);
            for (place, progress) in places.into_iter().zip(progress) {
                match progress {
                    Progress::Going(_) => {}
                    Progress::Over(_, chat) => answers[place] = Some(Ok(Answer::Chat(chat))),
                    Progress::Failed(fault) => answers[place] = Some(Err(fault)),
                }
            }
        }
        answers.into_iter().map(|answer| answer.expect("each is over")).collect()
    }

    /// The first layer's answers to a few tokens by these kernels held against those by plain loops, as a cosine; and what runs.
    pub(crate) fn compare(&self, directory: &Path, manifest: &Manifest) -> Result<(f64, Graph), String> {
        let Task::Chat(chat) = &manifest.task else { return Err("it is no language model".into()) };
        let path = directory.join(&manifest.file);
        let files = decoder::weights::open(&path).map_err(|e| e.to_string())?;
        let pool = Arc::new(Pool::new(1));
        let tokens: Vec<u32> = (1..=4).map(|at| (at * self.tokenizer.len() / 5) as u32).collect();
        let logits = |set: InstructionSet| {
            let options = Options { set, layers: 1, ..Options::default() };
            let (decoder, _) = open_decoder(&path, &files, chat, options).map_err(|e| e.to_string())?;
            let piece = Piece { tokens: &tokens, start: 0, pages: &Arc::new(decoder.take_pages()), logits: decoder::Logits::Last };
            decoder.run(&[piece], 1, &pool, &mut || ())
        };
        let (ours, plain) = (logits(InstructionSet::best())?, logits(InstructionSet::SCALAR)?);
        let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let cosine = product(&ours, &plain) / (product(&ours, &ours) * product(&plain, &plain)).sqrt();
        let mut held = Held::new(&self.pages);
        held.grow(1);
        Ok((cosine, self.decoder.describe(&files, held.pages())?))
    }

    /// How many tokens of each rider are computed in this step; their pages are taken.
    fn share(&self, riders: &mut [&mut Talk], others: &mut [&mut Talk]) -> Vec<usize> {
        let mut prompt_tokens = self.prompt_tokens();
        let mut counts = Vec::with_capacity(riders.len());
        for at in 0..riders.len() {
            let (talk, younger) = riders[at..].split_first_mut().expect("a rider at its place");
            talk.look_for_prefix(&|from, to| self.decoder.copy_page(from, to));
            let pending = talk.pending();
            let count = if pending == 1 { 1 } else { pending.min(prompt_tokens) };
            // The oldest that waits goes before those who came later.
            let room = count > 0 && make_room(talk, count, younger, others);
            counts.push(if room { count } else { 0 });
            if pending > 1 && room {
                prompt_tokens -= count;
            }
        }
        counts
    }

    fn prompt_tokens(&self) -> usize {
        match self.prompt_token_ns.load(Ordering::Relaxed) {
            0 => PROMPT_TOKENS.0.max(64),
            cost => (STEP.as_nanos() as u64 / cost).clamp(PROMPT_TOKENS.0 as u64, PROMPT_TOKENS.1 as u64) as usize,
        }
    }

    /// Learns what a token of a prompt costs, from steps that were mostly that.
    fn note_cost(&self, took: Duration, counts: &[usize]) {
        let tokens: usize = counts.iter().sum();
        if tokens >= PROMPT_TOKENS.0 {
            let cost = took.as_nanos() as u64 / tokens as u64;
            self.prompt_token_ns.store(cost.max(1), Ordering::Relaxed);
        }
    }
}

/// Takes the pages that `talk` needs for so many tokens more. Where there are none left, others are set aside, the lowest priority
/// and then the youngest first, but none of a higher priority than its own; false where that was not enough.
fn make_room(talk: &mut Talk, count: usize, younger: &mut [&mut Talk], others: &mut [&mut Talk]) -> bool {
    loop {
        if talk.grow(count) {
            return true;
        }
        let candidates = younger.iter_mut().map(|talk| &mut **talk).chain(others.iter_mut().map(|talk| &mut **talk));
        let candidates = candidates.filter(|other| other.holds_pages() && other.priority() <= talk.priority());
        let victim = candidates.max_by_key(|other| (std::cmp::Reverse(other.priority()), other.arrived()));
        let Some(victim) = victim else { return false };
        // Two that are as old as each other do not set each other aside in turns.
        if victim.priority() == talk.priority() && victim.arrived() < talk.arrived() {
            return false;
        }
        victim.set_aside();
    }
}

/// The decoder of a file with the cache that a manifest asks for, and the most tokens of a conversation.
fn open_decoder(path: &Path, files: &Files, chat: &Chat, options: Options) -> Result<(Decoder, usize), LoadError> {
    let spec = files.spec()?;
    let (context, cache) = needs::tokens(&spec, chat, options.element);
    let decoder = Decoder::new(&mut files.weights(), &spec, cache, options);
    let decoder = decoder.map_err(|wrong| LoadError::invalid(path, wrong, "give a whole GGUF file as llama.cpp's tools write it"))?;
    Ok((decoder, context))
}
