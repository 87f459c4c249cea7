//! The task that reads the sensors, asks the governor, carries out what it says of the clock, and tells everyone.

use super::activity::Activity;
use super::clock_cap::ClockCap;
use super::heat::AHEAD;
use super::learnt_file::LearntFile;
use super::{Board, Budget, Celsius, Governor, Heat, History, HistoryFiles, Limit, Look, Mode, Reading, Traits};
use crate::config::Settings;
use crate::engine::Snapshot;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What was learnt is written so often, and at the end: an SD card is not worn out by it.
const KEEP: Duration = Duration::from_secs(15 * 60);

/// What can change while it runs.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Tuning {
    limit: Option<Celsius>,
    interval: Duration,
    /// As configured.
    configured: Option<Mode>,
    /// As somebody asked for since the configuration was read.
    asked: Option<Mode>,
    /// As power-profiles-daemon says.
    profile: Option<Mode>,
}

impl Tuning {
    fn mode(&self) -> Mode {
        self.asked.or(self.configured).or(self.profile).unwrap_or_default()
    }
}

/// A handle on the running monitor.
#[derive(Debug, Clone)]
pub struct Monitor {
    heat: watch::Receiver<Heat>,
    tuning: watch::Sender<Tuning>,
    history: HistoryFiles,
}

impl Monitor {
    /// Where the history can be read.
    pub fn history(&self) -> &HistoryFiles {
        &self.history
    }

    /// The heat, each time it was read.
    pub fn watch(&self) -> watch::Receiver<Heat> {
        self.heat.clone()
    }

    /// A new limit of the user's, another interval or mode take effect at once.
    pub fn tune(&self, settings: &crate::config::Thermal) {
        self.tuning.send_modify(|tuning| {
            tuning.limit = settings.limit_celsius.map(Celsius);
            tuning.interval = settings.interval;
            if tuning.configured != settings.mode {
                (tuning.configured, tuning.asked) = (settings.mode, None);
            }
        });
    }

    /// A mode that somebody asks for, until the daemon ends or the configuration names another one.
    pub fn set_mode(&self, mode: Mode) {
        self.tuning.send_modify(|tuning| tuning.asked = Some(mode));
    }

    /// The mode that power-profiles-daemon is in, for as long as nobody has said otherwise; none: it has gone.
    pub fn set_profile(&self, profile: Option<Mode>) {
        self.tuning.send_if_modified(|tuning| std::mem::replace(&mut tuning.profile, profile) != profile);
    }
}

/// The board, and all that is known of it.
struct Watch {
    board: Board,
    governor: Governor,
    activity: Activity,
    cap: Option<ClockCap>,
    learnt: Arc<LearntFile>,
    /// Temperatures at which the fan goes one step up.
    fan: Vec<Celsius>,
    history: History,
    engine: watch::Receiver<Arc<Snapshot>>,
    /// Steps that the engine had ended at the last look.
    steps: u64,
}

/// Reads once, then starts the task; `engine` tells what the models did, for the history; `decide` gets each budget that the engine has to hear of.
pub fn start(
    settings: &Settings,
    engine: watch::Receiver<Arc<Snapshot>>,
    decide: impl Fn(Budget) + Send + 'static,
    shutdown: CancellationToken,
) -> (Monitor, impl Future<Output = ()> + Send + 'static) {
    let thermal = &settings.thermal;
    let mut tuning = Tuning {
        limit: thermal.limit_celsius.map(Celsius),
        interval: thermal.interval,
        configured: thermal.mode,
        asked: None,
        profile: None,
    };
    let mut watch = Watch::begin(settings, &tuning, engine);
    let history = watch.history.files();
    let (mut told, heat) = watch.look(None);
    tracing::info!(board = watch.board.name, mode = heat.mode.as_str(), "thermal: {}", summary(&heat));
    decide(told.clone());
    let (tell, heat) = watch::channel(heat);
    let (tuner, mut tuned) = watch::channel(tuning);
    let task = async move {
        let mut ticks = tokio::time::interval(tuning.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut kept = Instant::now();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = ticks.tick() => {}
                Ok(()) = tuned.changed() => {
                    let new = *tuned.borrow_and_update();
                    watch.tune(&tuning, &new);
                    if new.interval != tuning.interval {
                        ticks = tokio::time::interval(new.interval);
                    }
                    tuning = new;
                }
            }
            let (budget, heat) = watch.look(Some(&told));
            tell.send_replace(heat);
            if budget.is_news_after(&told) {
                decide(budget.clone());
                told = budget;
            }
            if kept.elapsed() >= KEEP {
                // Elsewhere: an SD card may take its time, and the looks must not wait for it.
                tokio::task::spawn_blocking(watch.keep());
                kept = Instant::now();
            }
        }
        if let Err(error) = tokio::task::spawn_blocking(watch.keep()).await {
            tracing::warn!("what was learnt of the board's heat was not kept: {error}");
        }
    };
    (Monitor { heat, tuning: tuner, history }, task)
}

impl Watch {
    fn begin(settings: &Settings, tuning: &Tuning, engine: watch::Receiver<Arc<Snapshot>>) -> Watch {
        let board = Board::find(&settings.thermal.root);
        let traits = Traits::of(&board, settings.limits.compute_threads());
        let limit = Limit::of(&board, tuning.limit);
        let fan = traits.fan.clone();
        let learnt = Arc::new(LearntFile::beside(&settings.state_directory));
        let mut governor = match learnt.read() {
            Some(learnt) => Governor::with_learnt(traits, limit, &learnt),
            None => Governor::new(traits, limit),
        };
        let cap = ClockCap::open(&board, settings.runtime_directory.join("clock-cap"));
        if let Some(cap) = &cap {
            governor.set_clocks(cap.steps());
        }
        governor.set_mode(tuning.mode());
        let activity = Activity::new(&settings.thermal.root);
        let history = History::open(&settings.state_directory);
        Watch { board, governor, activity, cap, learnt, fan, history, engine, steps: 0 }
    }

    fn tune(&mut self, old: &Tuning, new: &Tuning) {
        self.governor.set_limit(Limit::of(&self.board, new.limit));
        if new.mode() != old.mode() {
            tracing::info!(mode = new.mode().as_str(), "thermal: another mode, instead of {}", old.mode().as_str());
            self.governor.set_mode(new.mode());
        }
    }

    /// Writes what was learnt until now.
    fn keep(&self) -> impl FnOnce() + Send + 'static {
        let (file, learnt) = (self.learnt.clone(), self.governor.learnt());
        move || file.write(&learnt)
    }

    /// One look, and what follows from it. `told` is the budget in force.
    fn look(&mut self, told: Option<&Budget>) -> (Budget, Heat) {
        let reading = self.board.read();
        let engine = self.engine.borrow().clone();
        let steps = engine.stats.steps.saturating_sub(std::mem::replace(&mut self.steps, engine.stats.steps));
        let look = Look { steps: u32::try_from(steps).unwrap_or(u32::MAX), ..self.activity.look(&self.board, &reading) };
        let budget = self.governor.on(&look);
        for notice in self.governor.notices() {
            tracing::warn!("thermal: {notice}");
        }
        if let Some(Err(error)) = self.cap.as_mut().map(|cap| cap.set(budget.clock)) {
            tracing::warn!("thermal: the clock cannot be capped any more: {error}");
            self.cap = None;
            self.governor.set_clocks(Vec::new());
        }
        let heat = self.describe(&reading, &look, &budget);
        self.history.note(&heat, &engine.stats.models, look.at, SystemTime::now());
        if told.is_some_and(|told| budget.decides_otherwise(told)) {
            let (threads, batch, clock, admit) = (budget.threads, heat.batch, budget.clock, budget.admit.as_str());
            tracing::info!(threads, batch, clock, admit, "thermal: {}", budget.reason);
        }
        (budget, heat)
    }

    fn describe(&self, reading: &Reading, look: &Look, budget: &Budget) -> Heat {
        let mut firmware = Vec::new();
        if let Some(bits) = reading.throttled {
            let named =
                [(bits.under_voltage(), "under-voltage now"), (bits.now(), "throttled now"), (bits.since_boot(), "throttled since boot")];
            firmware.extend(named.into_iter().filter(|(set, _)| *set).map(|(_, what)| what.to_owned()));
        }
        let limit = self.governor.limit();
        let mode = self.governor.mode();
        Heat {
            temperature_celsius: look.temperature,
            sensor: reading.hottest.as_ref().map(|(name, _)| name.clone()),
            limit_celsius: limit.map(|l| l.at),
            limit_rule: limit.map_or_else(|| "none: no temperature sensor".into(), |l| l.rule.to_string()),
            mode,
            cool_celsius: if let Mode::Cool(at) = mode { Some(at) } else { None },
            degraded: budget.degraded,
            threads: budget.threads,
            cores: budget.cores,
            batch: if budget.batch == u32::MAX { 0 } else { budget.batch },
            clock: budget.clock,
            busy: look.busy,
            admit: budget.admit,
            fan_step: look.fan,
            fan_trips: self.fan.clone(),
            forecast: self.governor.outlook(&AHEAD.map(Duration::from_secs)),
            limit_in_seconds: self.governor.limit_in().map(|after| after.as_secs_f64()),
            firmware_throttling: firmware,
            board: self.board.name.clone(),
            reason: budget.reason.clone(),
        }
    }
}

fn summary(heat: &Heat) -> String {
    match (heat.temperature_celsius, heat.limit_celsius) {
        (Some(t), Some(limit)) => format!("{} at {t}, limit {limit}: {}", heat.sensor.as_deref().unwrap_or("sensor"), heat.limit_rule),
        _ => heat.reason.clone(),
    }
}
