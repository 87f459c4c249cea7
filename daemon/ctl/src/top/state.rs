//! What `hearthctl top` knows: the last sample, the temperatures of the last minutes, and rates out of counts that grow.

use super::plot::PAST;
use crate::heat::Heat;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, VecDeque};

/// Rates are of so many seconds.
const WINDOW: f64 = 5.0;

/// What was seen of the daemon at a moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample {
    /// Seconds on this program's clock.
    pub(super) at: f64,
    pub(super) version: String,
    pub(super) node: String,
    pub(super) heat: Heat,
    /// The same as the bus tells it.
    pub(super) thermal: Map<String, Value>,
    /// The daemon's counts.
    pub(super) stats: Map<String, Value>,
    /// Installed models and their states.
    pub(super) models: Vec<(String, String)>,
}

/// A model's counts that only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Counts {
    answered: u64,
    answered_us: u64,
    tokens: u64,
    faults: u64,
}

/// A model as a row.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) waiting: u64,
    /// Of the last step; 0 before the first.
    pub(super) batch: u64,
    pub(super) threads: u64,
    /// Rates; none before there are two samples.
    pub(super) rates: Option<Rates>,
    pub(super) answered: u64,
    pub(super) faults: u64,
}

/// What a model did in the last seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) items: f64,
    pub(super) tokens: f64,
    /// From arrival to answer, in milliseconds; none where nothing was answered.
    pub(super) latency: Option<f64>,
}

impl Row {
    /// Whether it has anything to do.
    pub(super) fn is_busy(&self) -> bool {
        self.waiting > 0 || self.rates.is_some_and(|rates| rates.items > 0.0 || rates.tokens > 0.0)
    }
}

/// Everything that is drawn.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) sample: Option<Sample>,
    /// Moments and degrees Celsius.
    pub(super) past: Vec<(f64, f64)>,
    /// Why there is nothing newer.
    pub(super) trouble: Option<String>,
    /// What came of the last key.
    pub(super) said: Option<String>,
    /// The temperature that mode `cool` had when it was last seen.
    cool: Option<f64>,
    counts: VecDeque<(f64, BTreeMap<String, Counts>)>,
}

impl State {
    /// What was kept before this program ran; moments before now are negative.
    pub(super) fn remember(&mut self, earlier: impl IntoIterator<Item = (f64, f64)>) {
        let first = self.past.first().map_or(f64::INFINITY, |(at, _)| *at);
        let mut past: Vec<(f64, f64)> = earlier.into_iter().filter(|(at, _)| *at < first).collect();
        past.append(&mut self.past);
        self.past = past;
    }

    /// Takes a sample in.
    pub(super) fn take(&mut self, sample: Sample) {
        if let Some(temperature) = sample.heat.temperature {
            self.past.push((sample.at, temperature));
        }
        // A column longer than what is shown, for the line to come in from the edge.
        self.past.retain(|(at, _)| sample.at - at <= PAST + 60.0);
        self.cool = sample.heat.cool.or(self.cool);
        let counts = counts(&sample.stats);
        let began_anew = self.counts.back().is_some_and(|(_, before)| {
            before.iter().any(|(name, before)| counts.get(name).is_some_and(|now| now.answered < before.answered))
        });
        if began_anew || self.trouble.take().is_some() {
            self.counts.clear();
        }
        while self.counts.len() > 1 && sample.at - self.counts[1].0 >= WINDOW {
            self.counts.pop_front();
        }
        self.counts.push_back((sample.at, counts));
        self.sample = Some(sample);
    }

    /// The models, by name.
    pub(super) fn rows(&self) -> Vec<Row> {
        let Some(sample) = &self.sample else { return Vec::new() };
        let row = |(name, state): &(String, String)| {
            let stats = sample.stats.get("models").and_then(|models| models.get(name));
            let count = |what: &str| stats.and_then(|stats| stats.get(what)).and_then(Value::as_u64).unwrap_or_default();
            Row {
                name: name.clone(),
                state: state.clone(),
                waiting: count("waiting"),
                batch: count("batch"),
                threads: count("threads"),
                rates: self.rates(name),
                answered: count("answered"),
                faults: count("faults"),
            }
        };
        sample.models.iter().map(row).collect()
    }

    fn rates(&self, model: &str) -> Option<Rates> {
        let ((from, before), (to, after)) = (self.counts.front()?, self.counts.back()?);
        let (before, after) = (before.get(model)?, after.get(model)?);
        let seconds = Some(to - from).filter(|seconds| *seconds > 0.0)?;
        let grown = |before: u64, after: u64| after.saturating_sub(before) as f64;
        let items = grown(before.answered, after.answered);
        Some(Rates {
            items: items / seconds,
            tokens: grown(before.tokens, after.tokens) / seconds,
            latency: (items > 0.0).then(|| grown(before.answered_us, after.answered_us) / items / 1e3),
        })
    }

    /// The mode after this one. `cool` takes part where its temperature is known.
    pub(super) fn next_mode(&self) -> (&'static str, Option<f64>) {
        match (self.sample.as_ref().map_or("", |sample| sample.heat.mode.as_str()), self.cool) {
            ("performance", _) => ("balanced", None),
            ("balanced", _) => ("quiet", None),
            ("quiet", Some(cool)) => ("cool", Some(cool)),
            _ => ("performance", None),
        }
    }
}

fn counts(stats: &Map<String, Value>) -> BTreeMap<String, Counts> {
    let models = stats.get("models").and_then(Value::as_object).into_iter().flatten();
    models
        .map(|(name, stats)| {
            let count = |what: &str| stats.get(what).and_then(Value::as_u64).unwrap_or_default();
            let counts =
                Counts { answered: count("answered"), answered_us: count("answered_us"), tokens: count("tokens"), faults: count("faults") };
            (name.clone(), counts)
        })
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::heat::tests::warm;
    use serde_json::json;

    /// A sample with two models, after so many answers and tokens.
    pub(in crate::top) fn sample(at: f64, answered: u64, tokens: u64) -> Sample {
        let Value::Object(stats) = json!({
            "waiting": 7, "waiting_bytes": 123_456,
            "models": {
                "digits": {"answered": answered, "answered_us": answered * 30_000, "tokens": 0, "faults": 2, "waiting": 5, "batch": 8, "threads": 1},
                "foreman": {"answered": 3, "answered_us": 9, "tokens": tokens, "faults": 0, "waiting": 2, "batch": 2, "threads": 3},
            },
        }) else {
            unreachable!()
        };
        let models = vec![("digits".into(), "ready".into()), ("foreman".into(), "ready".into()), ("parts".into(), "available".into())];
        Sample { at, version: "0.1.0".into(), node: "press-3".into(), heat: warm(), thermal: Map::new(), stats, models }
    }

    #[test]
    fn counts_become_rates() {
        let mut state = State::default();
        state.take(sample(0.0, 100, 0));
        assert_eq!(state.rows()[0].rates, None);
        for second in 1..=9 {
            state.take(sample(f64::from(second), 100 + 40 * second as u64, 12 * second as u64));
        }
        let rows = state.rows();
        assert_eq!(rows[0].rates, Some(Rates { items: 40.0, tokens: 0.0, latency: Some(30.0) }));
        assert_eq!(rows[1].rates, Some(Rates { items: 0.0, tokens: 12.0, latency: None }));
        assert!(rows[1].is_busy() && !rows[2].is_busy());
        assert_eq!((rows[0].waiting, rows[0].batch, rows[0].threads, rows[0].faults), (5, 8, 1, 2));
        // A daemon that began anew has counted nothing backwards.
        state.take(sample(10.0, 1, 0));
        assert_eq!(state.rows()[0].rates, None);
    }

    #[test]
    fn the_past_is_what_the_plot_shows() {
        let mut state = State::default();
        state.take(sample(0.5, 0, 0));
        state.remember((-20..1).map(|half_minute| (f64::from(half_minute) * 30.0, 60.0)));
        assert!(state.past.windows(2).all(|pair| pair[0].0 < pair[1].0));
        state.take(sample(1.5, 0, 0));
        assert_eq!(state.past.first(), Some(&(-330.0, 60.0)));
    }

    #[test]
    fn cool_is_a_mode_among_others_once_it_has_a_temperature() {
        let mut state = State::default();
        let with = |mode: &str, cool| {
            let mut sample = sample(0.0, 0, 0);
            (sample.heat.mode, sample.heat.cool) = (mode.into(), cool);
            sample
        };
        for (mode, next) in [("performance", "balanced"), ("balanced", "quiet"), ("quiet", "performance")] {
            state.take(with(mode, None));
            assert_eq!(state.next_mode(), (next, None));
        }
        state.take(with("cool", Some(60.0)));
        assert_eq!(state.next_mode(), ("performance", None));
        state.take(with("quiet", None));
        assert_eq!(state.next_mode(), ("cool", Some(60.0)));
    }
}
