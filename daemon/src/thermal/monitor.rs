//! The task that reads the sensors, asks the governor, and tells everyone.

use super::{Board, Budget, Celsius, Governor, Heat, Limit, Reading};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What can change while it runs.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Tuning {
    limit: Option<Celsius>,
    interval: Duration,
}

/// A handle on the running monitor.
#[derive(Debug, Clone)]
pub struct Monitor {
    heat: watch::Receiver<Heat>,
    tuning: watch::Sender<Tuning>,
}

impl Monitor {
    /// The heat, each time it was read.
    pub fn watch(&self) -> watch::Receiver<Heat> {
        self.heat.clone()
    }

    /// A new limit of the user's and a new interval take effect at the next reading.
    pub fn tune(&self, settings: &crate::config::Thermal) {
        self.tuning.send_replace(Tuning::from(settings));
    }
}

impl From<&crate::config::Thermal> for Tuning {
    fn from(settings: &crate::config::Thermal) -> Tuning {
        Tuning { limit: settings.limit_celsius.map(Celsius), interval: settings.interval }
    }
}

/// Reads once, then starts the task; `decide` gets each budget that differs from the one before.
pub fn start(
    settings: &crate::config::Thermal,
    threads: u32,
    decide: impl Fn(Budget) + Send + 'static,
    shutdown: CancellationToken,
) -> (Monitor, impl Future<Output = ()> + Send + 'static) {
    let board = Board::find(&settings.root);
    let tuning = Tuning::from(settings);
    let mut governor = Governor::new(threads, Limit::of(&board, tuning.limit));
    let reading = board.read();
    let mut budget = governor.on(&reading);
    let (heat, watch) = watch::channel(describe(&board, &governor, &reading, &budget));
    tracing::info!(board = board.name, "thermal: {}", summary(&heat.borrow()));
    decide(budget.clone());
    let (tuner, mut tuned) = watch::channel(tuning);
    let task = async move {
        let mut tuning = tuning;
        let mut ticks = tokio::time::interval(tuning.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
                Ok(()) = tuned.changed() => {
                    tuning = *tuned.borrow_and_update();
                    governor.set_limit(Limit::of(&board, tuning.limit));
                    ticks = tokio::time::interval(tuning.interval);
                }
            }
            let reading = board.read();
            let before = governor.zone();
            let decision = governor.on(&reading);
            if governor.zone() != before {
                tracing::info!(zone = governor.zone().as_str(), "thermal: {}", decision.reason);
            }
            heat.send_replace(describe(&board, &governor, &reading, &decision));
            // A reason that tells a new temperature alone is no new decision.
            let same = Budget { reason: budget.reason.clone(), ..decision.clone() } == budget;
            if !same {
                decide(decision.clone());
            }
            budget = decision;
        }
    };
    (Monitor { heat: watch, tuning: tuner }, task)
}

fn describe(board: &Board, governor: &Governor, reading: &Reading, budget: &Budget) -> Heat {
    let mut firmware = Vec::new();
    if let Some(bits) = reading.throttled {
        let named =
            [(bits.under_voltage(), "under-voltage now"), (bits.now(), "throttled now"), (bits.since_boot(), "throttled since boot")];
        firmware.extend(named.into_iter().filter(|(set, _)| *set).map(|(_, what)| what.to_owned()));
    }
    Heat {
        temperature_celsius: reading.hottest.as_ref().map(|(_, t)| *t),
        sensor: reading.hottest.as_ref().map(|(name, _)| name.clone()),
        limit_celsius: governor.limit().map(|l| l.at),
        limit_rule: governor.limit().map_or_else(|| "none: no temperature sensor".into(), |l| l.rule.to_string()),
        zone: governor.zone(),
        degraded: budget.degraded,
        threads: budget.threads,
        batch: if budget.batch == u32::MAX { 0 } else { budget.batch },
        rest: budget.rest,
        admit: budget.admit,
        firmware_throttling: firmware,
        board: board.name.clone(),
        reason: budget.reason.clone(),
    }
}

fn summary(heat: &Heat) -> String {
    match (heat.temperature_celsius, heat.limit_celsius) {
        (Some(t), Some(limit)) => format!("{} at {t}, limit {limit}: {}", heat.sensor.as_deref().unwrap_or("sensor"), heat.limit_rule),
        _ => heat.reason.clone(),
    }
}
