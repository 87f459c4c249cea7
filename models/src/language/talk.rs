//! One conversation that is being answered: its tokens, how far they are computed, and what was said of them.

use super::pages::{Held, Pages};
use crate::decoder::{self, Piece};
use crate::manifest;
use crate::text::{Constraint, Constraints, Finish, Output, Sampler, Sampling, TextError, Tokenizer};
use hearth_api::chat::{
    Chat, ChatObject, ChatRequest, Choice, FinishReason, Logprobs, Message, ResponseFormat, Role, Speed, TokenLogprob, TopLogprob, Usage,
};
use hearth_api::{Fault, Priority};
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// What a request leaves open.
#[derive(Debug, Clone)]
pub(super) struct Defaults {
    /// The most tokens of a conversation.
    pub(super) context: usize,
    max_tokens: usize,
    temperature: f32,
    top_p: f32,
    system: Option<String>,
}

impl Defaults {
    pub(super) fn new(chat: &manifest::Chat, context: usize) -> Defaults {
        Defaults {
            context,
            max_tokens: chat.max_tokens.unwrap_or(usize::MAX),
            temperature: chat.temperature.unwrap_or(0.7),
            top_p: chat.top_p.unwrap_or(0.95),
            system: chat.system.clone(),
        }
    }

    /// The messages of a request, with the model's own system message where they begin with none.
    pub(super) fn messages(&self, request: &ChatRequest) -> Vec<Message> {
        let own = self.system.as_ref().filter(|_| request.messages.first().is_none_or(|first| first.role != Role::System));
        own.map(|system| Message::new(Role::System, system)).into_iter().chain(request.messages.iter().cloned()).collect()
    }
}

/// A conversation at work.
pub struct Talk {
    tokenizer: Arc<Tokenizer>,
    /// What was said, and what is answered.
    tokens: Vec<u32>,
    prompt: usize,
    /// The first so many tokens have keys and values in the pages.
    computed: usize,
    /// Of the prompt, those that were found computed.
    cached: usize,
    looked: bool,
    held: Held<decoder::Page>,
    sampler: Sampler,
    constraint: Option<Constraint>,
    output: Output,
    text: String,
    /// Of tokens whose text is held back.
    unsaid: Vec<TokenLogprob>,
    logprobs: Option<Vec<TokenLogprob>>,
    streams: bool,
    priority: Priority,
    arrived: Instant,
    first: Option<Instant>,
}

/// What is new of an answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Said {
    /// Text to append; whole characters.
    pub text: String,
    /// Of the tokens in it, where the request asks for that.
    pub logprobs: Vec<TokenLogprob>,
}

/// What came of a conversation in a step.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// It goes on; nothing new where its prompt was not through or it was set aside.
    Going(Said),
    /// It is over: the last of it, and all of it.
    Over(Said, Box<Chat>),
    /// It ends with a fault.
    Failed(Fault),
}

impl Talk {
    pub(super) fn new(
        tokenizer: &Arc<Tokenizer>,
        constraints: &dyn Fn() -> Result<Arc<Constraints>, TextError>,
        pages: &Arc<Mutex<Pages<decoder::Page>>>,
        defaults: &Defaults,
        request: ChatRequest,
        prompt: Vec<u32>,
        begun: (Priority, Instant),
    ) -> Result<Talk, TextError> {
        let constraint = match &request.response_format {
            ResponseFormat::Text => None,
            ResponseFormat::JsonObject => Some(constraints()?.json_object()?),
            ResponseFormat::JsonSchema(schema) => Some(constraints()?.json_schema(schema)?),
        };
        let asked = &request.sampling;
        let mut sampler = Sampler::new(Sampling {
            temperature: asked.temperature.unwrap_or(defaults.temperature),
            top_k: asked.top_k.unwrap_or(0) as usize,
            top_p: asked.top_p.unwrap_or(defaults.top_p),
            min_p: asked.min_p.unwrap_or(0.0),
            repetition_penalty: asked.repetition_penalty.unwrap_or(1.0),
            frequency_penalty: asked.frequency_penalty.unwrap_or(0.0),
            presence_penalty: asked.presence_penalty.unwrap_or(0.0),
            // Without a seed each answer is another: when it came is as good as any.
            seed: asked.seed.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64)),
            log_probabilities: request.logprobs.map(|count| count as usize),
            ..Sampling::default()
        })?;
        sampler.see(&prompt);
        let room = defaults.context - prompt.len();
        let most = request.max_tokens.map_or(defaults.max_tokens, |tokens| tokens as usize).min(room);
        Ok(Talk {
            tokenizer: tokenizer.clone(),
            prompt: prompt.len(),
            tokens: prompt,
            computed: 0,
            cached: 0,
            looked: false,
            held: Held::new(pages),
            sampler,
            constraint,
            output: Output::new(request.stop, most)?,
            text: String::new(),
            unsaid: Vec::new(),
            logprobs: request.logprobs.map(|_| Vec::new()),
            streams: request.stream,
            priority: begun.0,
            arrived: begun.1,
            first: None,
        })
    }

    /// Whether the answer is wanted piece by piece.
    pub fn streams(&self) -> bool {
        self.streams
    }

    /// Tokens that were generated so far.
    pub fn generated(&self) -> usize {
        self.tokens.len() - self.prompt
    }

    pub(super) fn priority(&self) -> Priority {
        self.priority
    }

    pub(super) fn arrived(&self) -> Instant {
        self.arrived
    }

    /// Tokens that are to be computed before the next one can be chosen.
    pub(super) fn pending(&self) -> usize {
        self.tokens.len() - self.computed
    }

    pub(super) fn is_up_to_date(&self) -> bool {
        self.pending() == 0
    }

    pub(super) fn holds_pages(&self) -> bool {
        !self.held.pages().is_empty()
    }

    /// Before its first token is computed, or after it was set aside: takes what others have computed of the same begin.
    /// `copy` copies a page.
    pub(super) fn look_for_prefix(&mut self, copy: &dyn Fn(&decoder::Page, &decoder::Page)) {
        if self.computed == 0 && !self.holds_pages() {
            self.computed = self.held.find(&self.tokens, copy);
            if !std::mem::replace(&mut self.looked, true) {
                self.cached = self.computed;
            }
        }
    }

    /// Takes pages for so many tokens more; false where they cannot be had.
    pub(super) fn grow(&mut self, count: usize) -> bool {
        self.held.grow(self.computed + count)
    }

    /// Gives its pages back; what was in them is computed again.
    pub(super) fn set_aside(&mut self) {
        self.held.release();
        self.computed = 0;
    }

    /// The next tokens to compute.
    pub(super) fn piece(&self, count: usize) -> Piece<'_> {
        let end = self.computed + count;
        let logits = if end == self.tokens.len() { decoder::Logits::Last } else { decoder::Logits::None };
        Piece { tokens: &self.tokens[self.computed..end], start: self.computed, pages: self.held.pages(), logits }
    }

    /// So many more tokens have been computed.
    pub(super) fn computed(&mut self, count: usize) {
        let before = self.computed / decoder::PAGE;
        self.computed += count;
        if self.computed / decoder::PAGE > before {
            self.held.publish(&self.tokens, self.computed);
        }
    }

    /// Chooses the next token by the logits after the last one.
    pub(super) fn speak(&mut self, logits: &[f32]) -> Progress {
        match self.choose(logits) {
            Ok((said, None)) => {
                let logprobs = if said.is_empty() { Vec::new() } else { std::mem::take(&mut self.unsaid) };
                Progress::Going(Said { text: said, logprobs })
            }
            Ok((said, Some(finish))) => self.over(said, finish),
            Err(error) => Progress::Failed(fault(&error)),
        }
    }

    /// The text that is certain by now, and why there is no more.
    fn choose(&mut self, logits: &[f32]) -> Result<(String, Option<Finish>), TextError> {
        let mask = self.constraint.as_mut().map(Constraint::mask).transpose()?;
        let chosen = self.sampler.sample(&logits[..self.tokenizer.len()], mask.as_ref())?;
        self.first.get_or_insert_with(Instant::now);
        self.tokens.push(chosen.id);
        let ends = self.tokenizer.ends(chosen.id);
        if let (Some(logprobs), Some(logprob), false) = (&mut self.logprobs, chosen.log_probability, ends) {
            let named = |token: u32, logprob: f32| {
                let bytes = self.tokenizer.bytes_of(token).to_vec();
                TopLogprob { token: String::from_utf8_lossy(&bytes).into_owned(), logprob, bytes }
            };
            let TopLogprob { token, logprob, bytes } = named(chosen.id, logprob);
            let top_logprobs = chosen.top.iter().map(|top| named(top.id, top.log_probability)).collect();
            let one = TokenLogprob { token, logprob, bytes, top_logprobs };
            self.unsaid.push(one.clone());
            logprobs.push(one);
        }
        if let Some(constraint) = self.constraint.as_mut().filter(|_| !ends) {
            constraint.accept(chosen.id)?;
        }
        let said = self.output.push(&self.tokenizer, chosen.id);
        self.text.push_str(&said);
        let complete = self.constraint.as_ref().is_some_and(Constraint::is_over).then_some(Finish::Stop);
        Ok((said, self.output.finish().or(complete)))
    }

    fn over(&mut self, said: String, finish: Finish) -> Progress {
        let finish_reason = match finish {
            Finish::Stop => FinishReason::Stop,
            Finish::Length => FinishReason::Length,
        };
        let now = Instant::now();
        let answer = self.generated() as u32;
        let first = self.first.unwrap_or(now);
        let seconds = (now - first).as_secs_f64();
        let speed = Speed {
            time_to_first_token_us: u64::try_from((first - self.arrived).as_micros()).unwrap_or(u64::MAX),
            tokens_per_second: if answer > 1 && seconds > 0.0 { f64::from(answer - 1) / seconds } else { 0.0 },
        };
        let chat = Chat {
            object: ChatObject::Completion,
            created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
            choices: vec![Choice {
                index: 0,
                message: Message::new(Role::Assistant, std::mem::take(&mut self.text)),
                finish_reason,
                logprobs: self.logprobs.take().map(|content| Logprobs { content }),
            }],
            usage: Usage::new(self.prompt as u32, self.cached as u32, answer),
            speed,
        };
        self.set_aside();
        Progress::Over(Said { text: said, logprobs: std::mem::take(&mut self.unsaid) }, Box::new(chat))
    }
}

/// What a caller is told of an error in the words of texts.
pub(super) fn fault(error: &TextError) -> Fault {
    match error {
        TextError::Request(_) => Fault::bad_request(error.to_string()),
        _ => Fault::model_failed(error.to_string()),
    }
}
