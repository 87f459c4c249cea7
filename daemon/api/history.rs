//! A line of the thermal history, which the daemon keeps in a small bounded file and `hearthctl thermal report` draws.

use crate::ModelName;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Seconds between two lines, where no decision comes between.
pub const INTERVAL_SECONDS: u64 = 30;

/// What was so at a moment, and what was done since the line before. On the wire: a JSON object in a line of its own; members
/// that have nothing to tell are left out, and a reader skips what it does not know.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Unix time in seconds.
    pub at: f64,
    /// The first line of a daemon.
    #[serde(default, skip_serializing_if = "is_false")]
    pub started: bool,
    /// Degrees Celsius at the hottest sensor of the CPU; none without one that answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature_celsius: Option<f64>,
    /// Degrees Celsius that are not to be crossed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_celsius: Option<f64>,
    /// What was expected at the load of that moment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forecast: Vec<Ahead>,
    /// Mean busy cores of the whole machine.
    pub busy: f64,
    /// Mean busy cores that might be spent.
    pub cores: f64,
    /// Most threads that a step might use.
    pub threads: u32,
    /// Most requests that a step might hold; 0 is no bound.
    pub batch: u32,
    /// Cap of the clock as a share of the top one; 1 is none.
    pub clock: f64,
    /// The lowest priority that was admitted.
    pub admit: String,
    /// `performance`, `balanced`, `cool` or `quiet`.
    pub mode: String,
    /// Empty, or `high-operating-temperature`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub performance_degraded: String,
    /// The step of the fan; none without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fan_step: Option<u32>,
    /// Degrees Celsius at which the fan's steps begin; in lines with a reason alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fan_trips: Vec<f64>,
    /// Why the decision is as it is; where it differs from that of the line before, and in a file's first line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What each model did since the line before; those that did nothing are left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<ModelName, Work>,
}

/// A temperature that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ahead {
    /// So many seconds ahead.
    pub after_seconds: u32,
    /// Degrees Celsius.
    pub temperature_celsius: f64,
    /// One standard deviation, in Kelvin.
    pub error_celsius: f64,
}

/// What a model did between two lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// Requests answered a second.
    pub items_per_second: f64,
    /// Tokens generated a second.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tokens_per_second: f64,
    /// Mean time from arrival to answer, in milliseconds; none where nothing was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
    /// Requests that ended in a fault, a second.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub faults_per_second: f64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

/// The records in the text of a history file, in the order of their time. Lines that cannot be read are skipped: a power cut may
/// have left half of one.
pub fn parse(text: &[u8]) -> Vec<Record> {
    let lines = text.split(|byte| *byte == b'\n');
    let mut records: Vec<Record> =
        lines.filter_map(|line| serde_json::from_slice::<Record>(line).ok()).filter(|record| record.at.is_finite()).collect();
    // A clock that was set back makes later lines earlier ones.
    records.sort_by(|a, b| a.at.total_cmp(&b.at));
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_line_costs_that_line_alone() {
        let record = Record { at: 5.0, reason: Some("cool".into()), ..Record::default() };
        let line = serde_json::to_string(&record).unwrap();
        let text = format!("{line}\n{}\n\n{line}\nnull\n[1]\n\u{0}\u{0}{line}\n{}", &line[..20], &line[..line.len() - 1]);
        assert_eq!(parse(text.as_bytes()), [record.clone(), record]);
        assert!(parse(&[0xff, b'\n', b'{']).is_empty());
    }

    #[test]
    fn what_says_nothing_takes_no_room() {
        let text = serde_json::to_string(&Record::default()).unwrap();
        assert!(!text.contains("reason") && !text.contains("models") && !text.contains("forecast"), "{text}");
        let early = Record { at: 1.0, ..Record::default() };
        let late = Record { at: 2.0, ..Record::default() };
        let lines = [&late, &early].map(|r| serde_json::to_string(r).unwrap()).join("\n");
        assert_eq!(parse(lines.as_bytes()), [early, late]);
    }
}
