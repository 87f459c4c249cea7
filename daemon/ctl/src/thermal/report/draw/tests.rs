//! The report of a day that was made up.

use super::*;
use hearth_api::ModelName;
use hearth_api::history::Ahead;

const TRIPS: [f64; 4] = [50.0, 60.0, 67.5, 75.0];

/// Three hours of a board with a fan: a load that grows, a decision when it gets hot, an hour off, and a start in the cool.
fn made_up() -> Vec<Record> {
    let begin = 1_796_000_400.0;
    let mut records: Vec<Record> = Vec::new();
    let mut temperature = 46.0;
    let (digits, foreman) = (ModelName::new("digits").unwrap(), ModelName::new("foreman").unwrap());
    for step in 0..360_u32 {
        let at = begin + f64::from(step) * 30.0;
        if (130..230).contains(&step) {
            temperature = 45.0;
            continue;
        }
        let hot = (60..100).contains(&step);
        let load = match step {
            ..20 => 0.6,
            60..100 => 2.6,
            _ => 3.6,
        };
        let goal = 40.0 + load * 13.0 + 2.0 * (f64::from(step) / 9.0).sin();
        let before = temperature;
        temperature += (goal - temperature) * 0.06;
        let ahead = |after_seconds: u32, share: f64| Ahead {
            after_seconds,
            temperature_celsius: temperature + (goal - temperature) * share + f64::from(step % 7) * 0.1 - 0.3,
            error_celsius: 0.4 + share,
        };
        let decided = match step {
            0 | 230 => Some("cool: nothing is held back".to_owned()),
            60 => Some("80.4 °C are expected in 300 s at 3.6 cores, the limit is 80.0 °C: 2.6 cores, and batches of 8".to_owned()),
            100 => Some("76.0 °C are expected in 300 s at 4.0 cores: all of them again".to_owned()),
            _ => None,
        };
        let work =
            Work { items_per_second: load * 22.0 + f64::from(step % 5), latency_ms: Some(20.0 + load * load * 4.0), ..Work::default() };
        let talk = Work { items_per_second: 0.05, tokens_per_second: load * 3.0, latency_ms: Some(900.0), ..Work::default() };
        records.push(Record {
            at,
            started: step == 0 || step == 230,
            temperature_celsius: Some(if step == 40 { before } else { temperature }),
            limit_celsius: Some(80.0),
            forecast: vec![ahead(10, 0.02), ahead(60, 0.115), ahead(300, 0.45)],
            busy: load + 0.2,
            cores: if hot { 2.6 } else { 4.0 },
            threads: if hot { 3 } else { 4 },
            batch: if hot { 8 } else { 0 },
            clock: if hot { 0.83 } else { 1.0 },
            admit: if hot { "normal" } else { "background" }.into(),
            mode: "balanced".into(),
            performance_degraded: if hot { "high-operating-temperature" } else { "" }.into(),
            fan_step: Some(TRIPS.into_iter().filter(|trip| temperature > *trip).count() as u32),
            fan_trips: if decided.is_some() { TRIPS.to_vec() } else { Vec::new() },
            reason: decided,
            models: [(digits.clone(), work), (foreman.clone(), talk)].into_iter().filter(|_| step != 0 && step != 230).collect(),
        });
    }
    records
}

fn report(records: &[Record]) -> String {
    let time = match records {
        [] => (1_796_000_400.0, 1_796_004_000.0),
        [first, .., last] => (first.at, last.at),
        [one] => (one.at - 60.0, one.at + 60.0),
    };
    draw(&Report { name: "press-3 <raspberry pi 4>".into(), records, time, zone: Zone { offset: 3600 } })
}

#[test]
fn all_that_was_kept_is_in_the_picture() {
    let svg = report(&made_up());
    if let Some(file) = std::env::var_os("HEARTH_REPORT") {
        std::fs::write(file, &svg).unwrap();
    }
    for part in [
        "press-3 &lt;raspberry pi 4&gt;",
        "limit 80 °C",
        "fan 3 from 67.5 °C",
        "made 60 s before: ",
        " K RMS",
        "Tokens generated a second",
        "From arrival to answer, ms",
        "threads 4 → 3, batch any → 8, clock 100 % → 83 %, admits background → normal: 80.4 °C are expected",
        "nothing was recorded from ",
        "The daemon started: cool",
        "digits",
        "foreman",
        "UTC+01:00",
        "prefers-color-scheme:dark",
    ] {
        assert!(svg.contains(part), "{part}");
    }
    // It is one file that draws itself: no scripts, no fonts or pictures from elsewhere.
    for foreign in ["<script", "@import", "@font-face", "<image", "href", "url(http"] {
        assert!(!svg.contains(foreign), "{foreign}");
    }
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "every number is one");
    assert!(svg.len() < 400_000, "{}", svg.len());
}

#[test]
fn little_or_nothing_kept_is_a_picture_too() {
    let all = made_up();
    let blind: Vec<Record> = all
        .iter()
        .map(|r| Record { temperature_celsius: None, limit_celsius: None, forecast: Vec::new(), fan_step: None, ..r.clone() })
        .collect();
    let idle: Vec<Record> = all.iter().map(|r| Record { models: std::collections::BTreeMap::new(), ..r.clone() }).collect();
    for (records, says) in [
        (&all[..0], "none in this time"),
        (&all[..1], "The daemon started"),
        (&all[..2], "limit 80"),
        (&blind, "no temperature"),
        (&idle, "none had anything to do"),
    ] {
        let svg = report(records);
        assert!(svg.contains(says), "{says}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{says}");
    }
}

#[test]
fn two_full_files_stay_a_small_picture() {
    let day = made_up();
    let many: Vec<Record> = (0..6000).map(|n| Record { at: f64::from(n) * 30.0, ..day[n as usize % 100].clone() }).collect();
    let bytes = report(&many).len();
    assert!(bytes < 1_000_000, "{bytes}");
}

#[test]
fn texts_fit() {
    assert_eq!(wrapped("a few words", 1000.0, 2), ["a few words"]);
    let lines = wrapped("words that go on for far longer than two lines of this width could ever hold", 120.0, 2);
    assert!(lines.len() == 2 && lines[1].ends_with('…') && lines.iter().all(|line| width_of(line) <= 120.0), "{lines:?}");
    assert!(shortened("a-model-with-a-very-long-name", 60.0).ends_with('…'));
}
