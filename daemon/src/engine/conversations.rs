//! A step of a language model: it takes each of several conversations a token, or a piece of its prompt, further. What is said goes
//! to those who stream; conversations that are not over are kept for a later step.

use super::flight::Mark;
use super::handle::{Ending, Pace, Piece};
use super::loader::panic_message;
use super::step::micros;
use super::step_loop::StepLoop;
use crate::scheduler::{Event, Step, StepJob, Ticket};
use hearth_api::{Answer, Fault, Reply, Timings};
use hearth_models::language::{LanguageModel, Progress, Said, Talk};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the loop waits for a reader, when every conversation of a step is ahead of its own.
const READER_PAUSE: Duration = Duration::from_millis(5);

/// The conversations that have begun and are not over.
#[derive(Default)]
pub(super) struct Conversations(HashMap<Ticket, Conversation>);

/// One of them.
struct Conversation {
    talk: Talk,
    /// The version that it talks to.
    version: Arc<str>,
    /// Its time of waiting before the first step.
    queued: Duration,
    batched: Duration,
    /// Time of the steps it rode in.
    computed: Duration,
    /// Tokens that it generated and the model's counts know of.
    counted: usize,
}

impl Conversations {
    /// It is over, or its caller is gone.
    pub(super) fn forget(&mut self, ticket: Ticket) {
        self.0.remove(&ticket);
    }
}

impl StepLoop {
    /// Runs a step of conversations, `depth` steps inside others.
    pub(super) fn run_conversations(&mut self, model: &LanguageModel, version: &Arc<str>, mark: Mark, step: Step, depth: usize) {
        let riders = self.riders(model, version, &step);
        let begun = Instant::now();
        let mut unfinished: Vec<Ticket> = Vec::with_capacity(step.jobs.len());
        let mut took = Duration::ZERO;
        if riders.is_empty() {
            unfinished.extend(step.jobs.iter().map(|job| job.ticket).filter(|ticket| self.waiting.contains_key(ticket)));
            if !unfinished.is_empty()
                && let Some(command) = self.inbox.next_within(READER_PAUSE)
            {
                self.obey(command);
            }
        } else {
            let marks: Vec<Mark> = riders.iter().filter_map(|ticket| self.waiting.get(ticket)).map(|w| Mark::request(&w.key)).collect();
            let (progress, inside) = self.advance(model, mark, &marks, &riders, &step, depth);
            let elapsed = begun.elapsed();
            took = elapsed.saturating_sub(inside);
            self.count_step(&step.model, riders.len(), step.threads);
            self.turn();
            for (ticket, progress) in riders.iter().zip(progress) {
                if let Some(conversation) = self.conversations.0.get_mut(ticket) {
                    conversation.computed += elapsed;
                    let before = std::mem::replace(&mut conversation.counted, conversation.talk.generated());
                    if let Some(counts) = self.catalog.counts(&step.model) {
                        counts.tokens += (conversation.counted - before) as u64;
                    }
                }
                self.tell_progress(*ticket, progress, &step, riders.len());
            }
            unfinished.extend(step.jobs.iter().map(|job| job.ticket).filter(|ticket| self.conversations.0.contains_key(ticket)));
        }
        self.quiet_since = Instant::now();
        // Cancelled meanwhile: the scheduler knows.
        unfinished.retain(|ticket| self.waiting.contains_key(ticket));
        self.tell(Event::Finished { step: step.id, took, unfinished });
    }

    /// Which of a step's conversations can go on: those that begin do begin, and those whose readers are behind wait.
    fn riders(&mut self, model: &LanguageModel, version: &Arc<str>, step: &Step) -> Vec<Ticket> {
        let mut riders = Vec::with_capacity(step.jobs.len());
        for job in &step.jobs {
            let Some(waiting) = self.waiting.get_mut(&job.ticket) else { continue };
            // Another version would not know what was said so far.
            if self.conversations.0.get(&job.ticket).is_some_and(|conversation| conversation.version != *version) {
                self.conversations.forget(job.ticket);
            }
            if self.conversations.0.contains_key(&job.ticket) {
                let pace = waiting.stream.as_mut().map_or(Pace::Ready, |stream| stream(Piece::default()));
                match pace {
                    Pace::Ready => riders.push(job.ticket),
                    Pace::Behind => {}
                    Pace::Gone => self.give_up(job.ticket),
                }
                continue;
            }
            let arrived = Instant::now() - (job.queued + job.batched + waiting.in_inbox);
            let begin = || model.begin(&waiting.request.payload, waiting.request.priority, arrived);
            let talk = catch_unwind(AssertUnwindSafe(begin))
                .unwrap_or_else(|panic| Err(Fault::model_failed(format!("the request cannot be read: {}", panic_message(&*panic)))));
            match talk {
                Ok(talk) => {
                    riders.push(job.ticket);
                    self.conversations.0.insert(job.ticket, Conversation::new(talk, version, job));
                }
                Err(fault) => self.end(job.ticket, Ending::Failed(fault)),
            }
        }
        riders
    }

    /// One step of the model; what it said of each rider, and the time that other steps took inside.
    fn advance(
        &mut self,
        model: &LanguageModel,
        mark: Mark,
        marks: &[Mark],
        riders: &[Ticket],
        step: &Step,
        depth: usize,
    ) -> (Vec<Progress>, Duration) {
        // Taken out for the time of the step, for the loop itself is lent to `between`.
        let mut conversations = std::mem::take(&mut self.conversations);
        let pool = self.pool.clone();
        self.flight.begin_step(depth, mark, marks.iter().copied());
        self.enter(step.id);
        let outer = self.take_inside();
        let run = || {
            let (mut at_work, mut others): (Vec<_>, Vec<_>) =
                conversations.0.iter_mut().map(|(ticket, c)| (ticket, &mut c.talk)).partition(|(ticket, _)| riders.contains(ticket));
            at_work.sort_by_key(|(ticket, _)| riders.iter().position(|rider| rider == *ticket));
            others.sort_by_key(|(ticket, _)| **ticket);
            let mut at_work: Vec<&mut Talk> = at_work.into_iter().map(|(_, talk)| talk).collect();
            let mut others: Vec<&mut Talk> = others.into_iter().map(|(_, talk)| talk).collect();
            model.step(&mut at_work, &mut others, step.threads as usize, &pool, &mut || self.between(depth))
        };
        let progress = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
            let fault = Fault::model_failed(format!("{} failed on this conversation: {}", step.model, panic_message(&*panic)));
            vec![Progress::Failed(fault); riders.len()]
        });
        self.leave();
        if let Some(panic) = self.own_panic() {
            resume_unwind(panic);
        }
        self.flight.end_step(depth);
        let inside = self.put_inside(outer);
        // What ended meanwhile (cancelled, past its deadline) is not put back; what began in a step inside is kept.
        conversations.0.retain(|ticket, _| self.waiting.contains_key(ticket));
        self.conversations.0.extend(conversations.0);
        self.models_changed |= self.catalog.saw_node(&step.model, model.longest_node());
        (progress, inside)
    }

    fn tell_progress(&mut self, ticket: Ticket, progress: Progress, step: &Step, riders: usize) {
        let Some(waiting) = self.waiting.get_mut(&ticket) else { return };
        let streams = self.conversations.0.get(&ticket).is_some_and(|c| c.talk.streams());
        let mut pace = Pace::Ready;
        let mut say = |Said { text, logprobs }: Said| {
            if let Some(stream) = waiting.stream.as_mut().filter(|_| streams && !(text.is_empty() && logprobs.is_empty())) {
                pace = stream(Piece { text, logprobs });
            }
        };
        match progress {
            Progress::Going(said) => {
                say(said);
                if pace == Pace::Gone {
                    self.give_up(ticket);
                }
            }
            Progress::Over(said, chat) => {
                say(said);
                let Some(conversation) = self.conversations.0.remove(&ticket) else { return };
                let Some(waiting) = self.waiting.get(&ticket) else { return };
                let reply = Reply {
                    id: waiting.request.id.clone(),
                    model: step.model.clone(),
                    model_version: conversation.version.as_ref().into(),
                    answer: Answer::Chat(chat),
                    timings: Timings {
                        queued_us: micros(conversation.queued + waiting.in_inbox),
                        batched_us: micros(conversation.batched),
                        computed_us: micros(conversation.computed),
                    },
                    batch: riders as u32,
                    threads: step.threads,
                    performance_degraded: self.budget.degraded.as_str().into(),
                };
                self.end(ticket, Ending::Answered(reply));
            }
            Progress::Failed(fault) => self.end(ticket, Ending::Failed(fault)),
        }
    }

    /// Nobody reads what a conversation says any more.
    fn give_up(&mut self, ticket: Ticket) {
        self.tell(Event::Cancel(ticket));
        self.end(ticket, Ending::Failed(Fault::cancelled("nobody read the answer any more")));
    }
}

impl Conversation {
    fn new(talk: Talk, version: &Arc<str>, job: &StepJob) -> Conversation {
        Conversation { talk, version: version.clone(), queued: job.queued, batched: job.batched, computed: Duration::ZERO, counted: 0 }
    }
}
