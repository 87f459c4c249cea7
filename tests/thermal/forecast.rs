//! Forecasts against the truth: as they were made, and given the load that came.

use super::outcome::{HORIZONS, Outcome, Second};
use hearthd::thermal::{Governor, Load};
use std::collections::VecDeque;
use std::time::Duration;

/// A forecast is taken every so many seconds.
const EVERY: usize = 10;
/// None is scored that was made earlier, s: the governor has just met the board.
const LEARNING: usize = 300;
/// Nor one that spans the fan's failure or was made within this time of it, s: it is learning anew.
const ANEW: f64 = 300.0;

/// Forecasts whose time has not come.
#[derive(Default)]
pub(crate) struct Forecasts {
    /// When it was made, the governor as it was then, and what it made of each horizon, °C.
    open: VecDeque<(usize, Governor, [Option<f64>; HORIZONS.len()])>,
}

impl Forecasts {
    /// The governor has taken a look.
    pub(crate) fn look(&mut self, governor: &Governor, outcome: &mut Outcome) {
        // The last second is still to come.
        let now = outcome.seconds.len().saturating_sub(1);
        for (at, then, made) in &self.open {
            for (horizon, ahead) in HORIZONS.into_iter().enumerate() {
                if now != at + ahead || !counts(outcome, *at, now) {
                    continue;
                }
                let truth = f64::from(outcome.seconds[now - 1].temperature);
                if let Some(made) = made[horizon] {
                    outcome.made[horizon].add(made - truth);
                }
                if let Some(given) = then.expect(&came(&outcome.seconds[*at..now])) {
                    outcome.given[horizon].add(given.temperature.0 - truth);
                }
            }
        }
        let longest = HORIZONS.into_iter().max().unwrap_or(0);
        while self.open.front().is_some_and(|(at, ..)| at + longest <= now) {
            self.open.pop_front();
        }
        if now >= LEARNING && now.is_multiple_of(EVERY) {
            let outlook = governor.outlook(&HORIZONS.map(|seconds| Duration::from_secs(seconds as u64)));
            let made = std::array::from_fn(|horizon| outlook.get(horizon).map(|expected| expected.temperature.0));
            self.open.push_back((now, governor.clone(), made));
        }
    }
}

/// Whether a forecast from `at` to `now` is scored.
fn counts(outcome: &Outcome, at: usize, now: usize) -> bool {
    outcome.cell.failure().is_none_or(|failure| (now as f64) < failure || at as f64 > failure + ANEW)
}

fn came(seconds: &[Second]) -> Vec<Load> {
    let load = |second: &Second| Load {
        during: Duration::from_secs(1),
        busy: f64::from(second.busy),
        clock: f64::from(second.clock),
        watts: None,
    };
    seconds.iter().map(load).collect()
}
