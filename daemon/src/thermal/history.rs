//! The thermal history: what was measured, expected and decided, in a small bounded file that `hearthctl thermal report` draws.
//!
//! It must never hold up the task that watches the heat: lines are written by a thread of their own, and dropped where that is
//! behind. A disk that is full or cannot be written costs the history and nothing else.

mod generations;

use super::budget::Decision;
use super::{Celsius, Heat, Mode};
use crate::engine::ModelStats;
use generations::Generations;
pub use generations::HistoryFiles;
use hearth_api::ModelName;
use hearth_api::history::{Ahead, INTERVAL_SECONDS, Record, Work};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::mpsc::{self, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

/// Lines that may wait for the disk.
const WAITING_LINES: usize = 64;
const INTERVAL: Duration = Duration::from_secs(INTERVAL_SECONDS);

/// The history of this daemon.
#[derive(Debug)]
pub struct History {
    files: HistoryFiles,
    lines: SyncSender<Record>,
    last: Option<Noted>,
}

/// What the next line is told against.
#[derive(Debug)]
struct Noted {
    at: Duration,
    /// The decision, the mode, and the limit.
    decided: (Decision, Mode, Option<Celsius>),
    counts: BTreeMap<ModelName, ModelStats>,
}

impl History {
    /// The history in this folder, which goes on where the daemon before left it.
    pub fn open(folder: &Path) -> History {
        let (history, writer) = History::start(folder);
        if let Err(error) = writer {
            tracing::warn!(%error, "no thread writes the thermal history");
        }
        history
    }

    /// The history, and the thread that writes it until the history is dropped.
    fn start(folder: &Path) -> (History, io::Result<JoinHandle<()>>) {
        let files = HistoryFiles::in_folder(folder);
        let mut generations = Generations::new(files.clone());
        let (lines, waiting) = mpsc::sync_channel::<Record>(WAITING_LINES);
        let write = move || waiting.iter().for_each(|record| generations.append(&record));
        let writer = thread::Builder::new().name("hearth-history".into()).spawn(write);
        (History { files, lines, last: None }, writer)
    }

    /// Takes a line 30 s after the last one, and wherever the decision is another one. `models` are the engine's counts of each,
    /// `at` is the boot clock's time, `now` the wall clock's, which may jump. Never waits.
    pub fn note(&mut self, heat: &Heat, models: &BTreeMap<ModelName, ModelStats>, at: Duration, now: SystemTime) {
        let decides = (heat.decision(), heat.mode, heat.limit_celsius);
        let decided = self.last.as_ref().is_none_or(|last| last.decided != decides);
        if !decided && self.last.as_ref().is_some_and(|last| at.saturating_sub(last.at) < INTERVAL) {
            return;
        }
        let record = record(heat, models, self.last.as_ref(), decided, at, now);
        // A disk that is this far behind loses a line; the next one counts from this moment all the same.
        let _ = self.lines.try_send(record);
        self.last = Some(Noted { at, decided: decides, counts: models.clone() });
    }

    /// Where it can be read; cheap to clone.
    pub fn files(&self) -> HistoryFiles {
        self.files.clone()
    }
}

fn record(
    heat: &Heat,
    models: &BTreeMap<ModelName, ModelStats>,
    last: Option<&Noted>,
    decided: bool,
    at: Duration,
    now: SystemTime,
) -> Record {
    let since = last.map(|last| at.saturating_sub(last.at)).filter(|since| *since > Duration::ZERO);
    let mut work = BTreeMap::new();
    if let (Some(last), Some(since)) = (last, since) {
        let done = models.iter().filter_map(|(name, counts)| {
            // A model that was removed and came back counts from nothing.
            Some((name.clone(), work_between(last.counts.get(name)?, counts, since)?))
        });
        work.extend(done);
    }
    let ahead = heat.told().map(|expected| Ahead {
        after_seconds: u32::try_from(expected.after.as_secs()).unwrap_or(u32::MAX),
        temperature_celsius: rounded(expected.temperature.0),
        error_celsius: rounded(expected.error),
    });
    Record {
        at: now.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| rounded(since.as_secs_f64())),
        started: last.is_none(),
        temperature_celsius: heat.temperature_celsius.map(|t| rounded(t.0)),
        limit_celsius: heat.limit_celsius.map(|t| rounded(t.0)),
        forecast: ahead.collect(),
        busy: rounded(heat.busy),
        cores: rounded(heat.cores),
        threads: heat.threads,
        batch: heat.batch,
        clock: rounded(heat.clock),
        admit: heat.admit.as_str().to_owned(),
        mode: heat.mode.as_str().to_owned(),
        performance_degraded: heat.degraded.as_str().to_owned(),
        fan_step: heat.fan_step,
        fan_trips: heat.fan_trips.iter().filter(|_| decided).map(|t| rounded(t.0)).collect(),
        reason: decided.then(|| heat.reason.clone()),
        models: work,
    }
}

/// What a model did; none where that is nothing.
fn work_between(before: &ModelStats, after: &ModelStats, since: Duration) -> Option<Work> {
    let grown = |count: fn(&ModelStats) -> u64| count(after).saturating_sub(count(before)) as f64;
    let a_second = |count: f64| rounded(count / since.as_secs_f64());
    let answered = grown(|m| m.answered);
    let work = Work {
        items_per_second: a_second(answered),
        tokens_per_second: a_second(grown(|m| m.tokens)),
        latency_ms: (answered > 0.0).then(|| rounded(grown(|m| m.answered_us) / answered / 1e3)),
        faults_per_second: a_second(grown(|m| m.faults)),
    };
    (work != Work::default()).then_some(work)
}

/// To a hundredth: more says nothing here, and takes room.
fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests;
