//! Figures out of a history: curves with their gaps, how well was forecast, what each model did.

use hearth_api::history::{INTERVAL_SECONDS, Record};
use std::collections::BTreeMap;

/// A longer time between two lines is a gap, in seconds: the daemon, or the board, was off.
pub(super) const GAP: f64 = 3.0 * INTERVAL_SECONDS as f64;

/// A curve: moments and values, in runs without a gap.
pub(super) type Runs = Vec<Vec<(f64, f64)>>;

/// The values of the records that have one, in runs.
pub(super) fn runs(records: &[Record], value: impl Fn(&Record) -> Option<f64>) -> Runs {
    let mut runs = Runs::new();
    let mut before: Option<f64> = None;
    for record in records {
        let Some(value) = value(record).filter(|value| value.is_finite()) else {
            before = None;
            continue;
        };
        match runs.last_mut().filter(|_| before.is_some_and(|before| record.at - before <= GAP)) {
            Some(run) => run.push((record.at, value)),
            None => runs.push(vec![(record.at, value)]),
        }
        before = Some(record.at);
    }
    runs
}

/// From, to: when nothing was recorded.
pub(super) fn gaps(records: &[Record], from: f64, to: f64) -> Vec<(f64, f64)> {
    let moments = std::iter::once(from).chain(records.iter().map(|record| record.at)).chain([to]);
    let moments: Vec<f64> = moments.collect();
    moments.windows(2).filter(|pair| pair[1] - pair[0] > GAP).map(|pair| (pair[0], pair[1])).collect()
}

/// The value of a curve at a moment; none in a gap.
fn at(runs: &Runs, moment: f64) -> Option<f64> {
    let run = &runs[runs.partition_point(|run| run[0].0 <= moment).checked_sub(1)?];
    let after = run.partition_point(|(at, _)| *at < moment);
    let (to, last) = *run.get(after)?;
    let Some((from, first)) = after.checked_sub(1).map(|before| run[before]) else { return Some(last) };
    Some(if to > from { first + (last - first) * (moment - from) / (to - from) } else { last })
}

/// What was forecast so many seconds before, and how far that was off.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Forecasts {
    /// What was expected, at the moments that it was expected for, in degrees Celsius.
    pub(super) expected: Runs,
    /// The same less what came, in Kelvin; where something came.
    pub(super) errors: Runs,
    /// The root of the mean square of the errors, in Kelvin; none without any.
    pub(super) rms: Option<f64>,
}

impl Forecasts {
    /// The forecasts of these records, so many seconds ahead, as far as they are for moments up to `to`.
    pub(super) fn of(records: &[Record], seconds: u32, to: f64) -> Forecasts {
        let ahead = f64::from(seconds);
        let expected = |record: &Record| Some(record.forecast.iter().find(|f| f.after_seconds == seconds)?.temperature_celsius);
        let mut expected = runs(records, expected);
        expected.iter_mut().flatten().for_each(|(at, _)| *at += ahead);
        expected.iter_mut().for_each(|run| run.retain(|(at, _)| *at <= to));
        expected.retain(|run| !run.is_empty());
        let truth = runs(records, |record| record.temperature_celsius);
        let mut errors = Runs::new();
        for run in &expected {
            let mut whole = false;
            for (moment, expected) in run {
                let Some(came) = at(&truth, *moment) else {
                    whole = false;
                    continue;
                };
                if !std::mem::replace(&mut whole, true) {
                    errors.push(Vec::new());
                }
                errors.last_mut().expect("a run").push((*moment, expected - came));
            }
        }
        let count = errors.iter().flatten().count();
        let squares: f64 = errors.iter().flatten().map(|(_, error)| error * error).sum();
        Forecasts { expected, errors, rms: (count > 0).then(|| (squares / count as f64).sqrt()) }
    }
}

/// Times, each with what it lasted and a value that held: that of the record at its end.
fn spans(records: &[Record]) -> impl Iterator<Item = (f64, f64, &Record)> {
    records.windows(2).map(|pair| (pair[0].at, pair[1].at, &pair[1])).filter(|(from, to, _)| to > from && to - from <= GAP)
}

/// The means of a rate in bins of equal length, in runs; what is recorded at a moment is that of the time before it.
pub(super) fn binned(records: &[Record], (from, to): (f64, f64), bins: usize, rate: impl Fn(&Record) -> f64) -> Runs {
    let length = (to - from) / bins.max(1) as f64;
    let mut sums = vec![(0.0, 0.0); bins];
    for (begin, end, record) in spans(records) {
        let rate = rate(record);
        let bin = |moment: f64| (((moment - from) / length).max(0.0) as usize).min(bins.saturating_sub(1));
        for (index, (seconds, sum)) in sums.iter_mut().enumerate().take(bin(end) + 1).skip(bin(begin)) {
            let left = from + length * index as f64;
            let part = (end.min(left + length) - begin.max(left)).max(0.0);
            *seconds += part;
            *sum += part * rate;
        }
    }
    let mut runs = Runs::new();
    let mut open = false;
    for (index, (seconds, sum)) in sums.into_iter().enumerate() {
        // A sliver of a bin says nothing.
        if seconds < length * 0.2 {
            open = false;
            continue;
        }
        if !std::mem::replace(&mut open, true) {
            runs.push(Vec::new());
        }
        runs.last_mut().expect("a run").push((from + length * (index as f64 + 0.5), sum / seconds));
    }
    runs
}

/// Times in which a value stayed the same: from, to, value. What is recorded at a moment holds from it on.
pub(super) fn lanes<T: PartialEq>(records: &[Record], to: f64, value: impl Fn(&Record) -> Option<T>) -> Vec<(f64, f64, T)> {
    let mut lanes: Vec<(f64, f64, T)> = Vec::new();
    for (index, record) in records.iter().enumerate() {
        let next = records.get(index + 1).map_or(to, |next| next.at);
        let end = next.min(record.at + GAP);
        let Some(value) = value(record) else { continue };
        match lanes.last_mut() {
            Some((_, until, same)) if *same == value && record.at - *until < 1.0 => *until = end,
            _ => lanes.push((record.at, end, value)),
        }
    }
    lanes
}

/// What a model did in all.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Total {
    pub(super) name: String,
    /// Requests answered.
    pub(super) items: f64,
    /// Tokens generated.
    pub(super) tokens: f64,
    /// Mean time from arrival to answer, in milliseconds; none where nothing was answered.
    pub(super) latency: Option<f64>,
}

/// What was so in all.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Summary {
    /// Moment and degrees Celsius.
    pub(super) hottest: Option<(f64, f64)>,
    /// Seconds that were recorded, that were above the limit, and that were slower because of the heat.
    pub(super) recorded: f64,
    pub(super) above: f64,
    pub(super) degraded: f64,
    /// New decisions, without those of a start.
    pub(super) decisions: usize,
    /// What the models did, the busiest first.
    pub(super) models: Vec<Total>,
}

impl Summary {
    pub(super) fn of(records: &[Record]) -> Summary {
        let mut summary = Summary::default();
        let mut models: BTreeMap<&str, (f64, f64, f64)> = BTreeMap::new();
        for record in records {
            if let Some(temperature) = record.temperature_celsius
                && summary.hottest.is_none_or(|(_, hottest)| temperature > hottest)
            {
                summary.hottest = Some((record.at, temperature));
            }
        }
        // The first line of a file has its reason again: another decision is one that differs.
        let differs = |pair: &&[Record]| pair[1].reason.is_some() && !pair[1].started && decision(&pair[0]) != decision(&pair[1]);
        summary.decisions = records.windows(2).filter(differs).count();
        for (from, to, record) in spans(records) {
            let seconds = to - from;
            summary.recorded += seconds;
            if record.temperature_celsius.zip(record.limit_celsius).is_some_and(|(temperature, limit)| temperature > limit) {
                summary.above += seconds;
            }
            if !record.performance_degraded.is_empty() {
                summary.degraded += seconds;
            }
            for (name, work) in &record.models {
                let (items, tokens, waited) = models.entry(name.as_str()).or_default();
                *items += work.items_per_second * seconds;
                *tokens += work.tokens_per_second * seconds;
                *waited += work.items_per_second * seconds * work.latency_ms.unwrap_or_default();
            }
        }
        let total = |(name, (items, tokens, waited)): (&str, (f64, f64, f64))| Total {
            name: name.to_owned(),
            items,
            tokens,
            latency: (items > 0.0).then_some(waited / items),
        };
        summary.models = models.into_iter().map(total).collect();
        summary.models.sort_by(|a, b| (b.items + b.tokens).total_cmp(&(a.items + a.tokens)));
        summary
    }
}

/// What makes a decision another one.
fn decision(record: &Record) -> impl PartialEq + use<> {
    let Record { threads, batch, clock, admit, mode, performance_degraded, limit_celsius, .. } = record.clone();
    (threads, batch, clock.to_bits(), admit, mode, performance_degraded, limit_celsius.map(f64::to_bits))
}

/// Whether a record has a decision to mark, and not one that is told again.
pub(super) fn is_decision(records: &[Record], index: usize) -> bool {
    let record = &records[index];
    let before = index.checked_sub(1).map(|before| &records[before]);
    record.reason.is_some() && (record.started || before.is_none_or(|before| decision(before) != decision(record)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_api::ModelName;
    use hearth_api::history::{Ahead, Work};

    fn record(at: f64, temperature: f64) -> Record {
        let ahead = |after_seconds, temperature_celsius| Ahead { after_seconds, temperature_celsius, error_celsius: 1.0 };
        Record {
            at,
            temperature_celsius: Some(temperature),
            limit_celsius: Some(80.0),
            forecast: vec![ahead(60, temperature + 3.0), ahead(300, temperature)],
            threads: 4,
            ..Record::default()
        }
    }

    #[test]
    fn a_forecast_is_held_against_what_came() {
        // A kelvin each half minute: 60 s later it is two more, and three were expected.
        let records: Vec<Record> = (0..20).map(|n| record(f64::from(n) * 30.0, 50.0 + f64::from(n))).collect();
        let soon = Forecasts::of(&records, 60, 570.0);
        assert!((soon.rms.unwrap() - 1.0).abs() < 1e-9);
        assert_eq!((soon.expected[0][0], soon.errors[0].len()), ((60.0, 53.0), 18));
        assert!((Forecasts::of(&records, 300, 570.0).rms.unwrap() - 10.0).abs() < 1e-9);
        assert_eq!(Forecasts::of(&records, 10, 570.0), Forecasts::default());
    }

    #[test]
    fn what_was_expected_for_a_gap_is_not_judged() {
        let mut records: Vec<Record> = (0..4).map(|n| record(f64::from(n) * 30.0, 50.0)).collect();
        records.extend((0..4).map(|n| record(1000.0 + f64::from(n) * 30.0, 90.0)));
        let soon = Forecasts::of(&records, 60, 1090.0);
        assert_eq!(soon.rms, Some(3.0), "neither side of the gap says what came in it");
        assert_eq!(gaps(&records, 0.0, 1300.0), [(90.0, 1000.0), (1090.0, 1300.0)]);
        assert_eq!(runs(&records, |r| r.temperature_celsius).len(), 2);
    }

    #[test]
    fn rates_are_those_of_the_time_before() {
        let digits = ModelName::new("digits").unwrap();
        let mut records: Vec<Record> = (0..11).map(|n| record(f64::from(n) * 30.0, 81.0)).collect();
        records[0].started = true;
        records[0].reason = Some("start".into());
        for record in &mut records[1..=5] {
            record.models.insert(digits.clone(), Work { items_per_second: 4.0, latency_ms: Some(20.0), ..Work::default() });
        }
        records[6].threads = 2;
        records[6].reason = Some("hot".into());
        records[6].performance_degraded = "high-operating-temperature".into();
        records[7].threads = 2;
        let bins = binned(&records, (0.0, 300.0), 2, |r| r.models.get(&digits).map_or(0.0, |w| w.items_per_second));
        assert_eq!(bins, [vec![(75.0, 4.0), (225.0, 0.0)]]);
        let lanes = lanes(&records, 300.0, |r| Some(r.threads));
        assert_eq!(lanes, [(0.0, 180.0, 4), (180.0, 240.0, 2), (240.0, 300.0, 4)]);
        let summary = Summary::of(&records);
        assert_eq!((summary.recorded, summary.above, summary.degraded, summary.decisions), (300.0, 300.0, 30.0, 1));
        assert_eq!(summary.models, [Total { name: "digits".into(), items: 600.0, tokens: 0.0, latency: Some(20.0) }]);
        let marks: Vec<usize> = (0..records.len()).filter(|index| is_decision(&records, *index)).collect();
        assert_eq!(marks, [0, 6]);
    }

    #[test]
    fn nothing_is_no_trouble() {
        assert_eq!(Summary::of(&[]), Summary::default());
        assert_eq!(Forecasts::of(&[], 60, 0.0), Forecasts::default());
        assert_eq!(gaps(&[], 0.0, 500.0), [(0.0, 500.0)]);
        assert!(binned(&[], (0.0, 1.0), 3, |_| 1.0).is_empty());
        let one = record(5.0, 50.0);
        assert_eq!(lanes(std::slice::from_ref(&one), 10.0, |r| Some(r.threads)), [(5.0, 10.0, 4)]);
    }
}
