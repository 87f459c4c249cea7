//! One step: a batch of one model, from its payloads to its replies, and what may come between two nodes of its graph.

use super::flight::{Mark, STEP_DEPTH};
use super::handle::Ending;
use super::loader::panic_message;
use super::step_loop::StepLoop;
use crate::scheduler::{Event, Step, StepId, StepJob};
use hearth_api::{Answer, Fault, ModelName, Payload, Reply, Timings};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the step loop keeps while models compute.
#[derive(Default)]
pub(super) struct Interruption {
    /// The scheduler's steps at work, the innermost last.
    running: Vec<StepId>,
    /// Time that steps inside the one at work have taken.
    taken: Duration,
    /// Something ran inside; more of it may wait.
    look_again: bool,
    /// A defect of ours that surfaced inside a model, which must not swallow it.
    own_panic: Option<Box<dyn Any + Send>>,
}

/// What a run of a model gave.
#[derive(Default)]
pub(super) struct Run {
    /// The version that computed.
    version: Arc<str>,
    pub(super) results: Vec<Result<Answer, Fault>>,
    /// From begin to end.
    pub(super) elapsed: Duration,
    /// The same without what ran inside it.
    pub(super) computed: Duration,
    /// Whether anything ran inside it.
    pub(super) interrupted: bool,
}

impl StepLoop {
    /// Runs a step of the scheduler, `depth` steps inside others, and ends its requests.
    pub(super) fn run_step(&mut self, step: Step, depth: usize) {
        if let Some((model, version, mark)) = self.catalog.loaded_model(&step.model)
            && let Some(language) = model.language()
        {
            return self.run_conversations(language, &version, mark, step, depth);
        }
        let mut payloads = Vec::with_capacity(step.jobs.len());
        let mut marks = Vec::with_capacity(step.jobs.len());
        let mut jobs = Vec::with_capacity(step.jobs.len());
        for job in &step.jobs {
            // Each job of a step waits; were one gone, the others would still be answered.
            if let Some(waiting) = self.waiting.get(&job.ticket) {
                payloads.push(waiting.request.payload.clone());
                marks.push(Mark::request(&waiting.key));
                jobs.push(*job);
            }
        }
        self.enter(step.id);
        let run = self.run_model(&step.model, &payloads, &marks, step.threads, depth);
        self.leave();
        let run = match run {
            Some(run) => run,
            None => {
                let fault = Fault::internal(format!("{} was to run and is not loaded", step.model));
                Run { results: vec![Err(fault); jobs.len()], ..Run::default() }
            }
        };
        // A request that failed may have taken no time at all.
        let whole = run.results.iter().all(Result::is_ok);
        self.count_step(&step.model, jobs.len(), step.threads);
        // What came meanwhile takes part in the choice of the next step; a redelivery still finds its request at work.
        self.turn();
        for (job, result) in jobs.iter().zip(run.results) {
            let ending = match result {
                Ok(answer) => self.reply(job, &step, answer, &run.version, run.elapsed),
                Err(fault) => Ending::Failed(fault),
            };
            self.end(job.ticket, ending);
        }
        if whole && self.catalog.served(&step.model, (jobs.len() as u32, step.threads), run.computed) {
            self.tell_profile(&step.model);
        }
        self.quiet_since = Instant::now();
        self.tell(Event::Finished { step: step.id, took: run.computed, unfinished: Vec::new() });
    }

    fn reply(&self, job: &StepJob, step: &Step, answer: Answer, version: &str, elapsed: Duration) -> Ending {
        let Some(waiting) = self.waiting.get(&job.ticket) else { return Ending::HandedBack };
        Ending::Answered(Reply {
            id: waiting.request.id.clone(),
            model: step.model.clone(),
            model_version: version.into(),
            answer,
            timings: Timings {
                queued_us: micros(job.queued + waiting.in_inbox),
                batched_us: micros(job.batched),
                computed_us: micros(elapsed),
            },
            batch: step.jobs.len() as u32,
            threads: step.threads,
            performance_degraded: self.budget.degraded.as_str().into(),
        })
    }

    /// Runs a loaded model over payloads, under the flight record; none where it is not loaded.
    pub(super) fn run_model(&mut self, name: &ModelName, payloads: &[Payload], marks: &[Mark], threads: u32, depth: usize) -> Option<Run> {
        debug_assert!(depth < STEP_DEPTH, "steps nest no deeper than the flight record has slots");
        let (model, version, mark) = self.catalog.loaded_model(name)?;
        let pool = self.pool.clone();
        self.flight.begin_step(depth, mark, marks.iter().copied());
        let outer = self.take_inside();
        let begun = Instant::now();
        let infer = || model.infer(payloads, threads as usize, &pool, &mut || self.between(depth));
        let results = catch_unwind(AssertUnwindSafe(infer)).unwrap_or_else(|panic| {
            let fault = Fault::model_failed(format!("{name} failed on this input: {}", panic_message(&*panic)));
            vec![Err(fault); payloads.len()]
        });
        let elapsed = begun.elapsed();
        if let Some(panic) = self.own_panic() {
            resume_unwind(panic);
        }
        self.flight.end_step(depth);
        let inside = self.put_inside(outer);
        self.models_changed |= self.catalog.saw_node(name, model.longest_node());
        Some(Run { version, results, elapsed, computed: elapsed.saturating_sub(inside), interrupted: inside > Duration::ZERO })
    }

    /// A step of the scheduler begins to compute.
    pub(super) fn enter(&mut self, step: StepId) {
        self.interruption.running.push(step);
    }

    /// The innermost step has computed.
    pub(super) fn leave(&mut self) {
        self.interruption.running.pop();
    }

    /// Begins to count anew what steps inside take; what was counted is to be put back.
    pub(super) fn take_inside(&mut self) -> Duration {
        std::mem::take(&mut self.interruption.taken)
    }

    /// What steps inside took since [`take_inside`](StepLoop::take_inside).
    pub(super) fn put_inside(&mut self, outer: Duration) -> Duration {
        std::mem::replace(&mut self.interruption.taken, outer)
    }

    /// A defect of ours that surfaced inside a model.
    pub(super) fn own_panic(&mut self) -> Option<Box<dyn Any + Send>> {
        self.interruption.own_panic.take()
    }

    /// Called by the model between two nodes: must cost next to nothing when nothing came.
    pub(super) fn between(&mut self, depth: usize) {
        self.inbox.beat();
        if self.interruption.look_again || self.is_called() {
            let stand_aside = || self.stand_aside(depth);
            if let Err(panic) = catch_unwind(AssertUnwindSafe(stand_aside)) {
                self.interruption.own_panic.get_or_insert(panic);
            }
        }
    }

    /// Takes in what came, and runs at most one step inside the one at work: an urgent one, or any inside a measurement.
    fn stand_aside(&mut self, depth: usize) {
        let begun = Instant::now();
        self.turn();
        if let Some(step) = self.interruptible() {
            self.tell(Event::Between(step));
        }
        if let Some(step) = self.next.take() {
            self.run_step(step, depth + 1);
        }
        self.interruption.look_again = self.next.is_some() || self.interruptible().is_some();
        self.interruption.taken += begun.elapsed();
    }

    /// The scheduler's step at work, if it has something that may run inside.
    fn interruptible(&self) -> Option<StepId> {
        let [step] = self.interruption.running[..] else { return None };
        self.scheduler.wants_interruption(step).then_some(step)
    }
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
