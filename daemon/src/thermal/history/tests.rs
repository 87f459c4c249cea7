//! What the history keeps, and what it does where it cannot.

use super::generations::{FILE_BYTES, Generations};
use super::*;
use crate::thermal::{Celsius, Degraded, Expected};
use hearth_api::history::parse;
use std::io::Read;

fn heat(temperature: f64) -> Heat {
    Heat {
        temperature_celsius: Some(Celsius(temperature)),
        threads: 4,
        cores: 4.0,
        busy: 1.234567,
        fan_step: Some(1),
        fan_trips: vec![Celsius(50.0), Celsius(60.0)],
        forecast: vec![Expected { after: seconds(60), temperature: Celsius(temperature + 1.0), error: 0.5, headroom: 0.4 }],
        reason: format!("{temperature} °C"),
        ..Heat::unknown()
    }
}

fn counts(answered: u64, tokens: u64) -> BTreeMap<ModelName, ModelStats> {
    let counts = ModelStats { answered, answered_us: answered * 20_000, tokens, ..ModelStats::default() };
    BTreeMap::from([(ModelName::new("digits").unwrap(), counts), (ModelName::new("idle").unwrap(), ModelStats::default())])
}

fn seconds(at: u64) -> Duration {
    Duration::from_secs(at)
}

fn wall(at: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + seconds(1_700_000_000 + at)
}

/// Everything that was noted has been written.
fn end((history, writer): (History, io::Result<JoinHandle<()>>)) -> HistoryFiles {
    let files = history.files();
    drop(history);
    writer.unwrap().join().unwrap();
    files
}

fn read(files: &HistoryFiles) -> Vec<Vec<Record>> {
    let read = |descriptor| {
        let mut text = Vec::new();
        std::fs::File::from(descriptor).read_to_end(&mut text).unwrap();
        parse(&text)
    };
    files.descriptors().unwrap().into_iter().map(read).collect()
}

#[test]
fn a_line_comes_each_half_minute_and_with_each_decision() {
    let folder = tempfile::tempdir().unwrap();
    let mut history = History::start(folder.path());
    history.0.note(&heat(50.0), &counts(0, 0), seconds(100), wall(0));
    for after in 1..=40 {
        history.0.note(&heat(50.0 + after as f64 / 10.0), &counts(after * 2, after * 9), seconds(100 + after), wall(after));
    }
    let hot = Heat { threads: 2, degraded: Degraded::HighOperatingTemperature, ..heat(70.0) };
    history.0.note(&hot, &counts(90, 0), seconds(145), wall(45));
    // The cores follow the heat: no other decision.
    history.0.note(&Heat { cores: 1.5, ..hot.clone() }, &counts(90, 0), seconds(146), wall(46));
    let [records] = &read(&end(history))[..] else { panic!("one file") };
    let times: Vec<f64> = records.iter().map(|r| r.at - 1_700_000_000.0).collect();
    assert_eq!(times, [0.0, 30.0, 45.0]);
    assert_eq!(records.iter().map(|r| r.reason.as_deref()).collect::<Vec<_>>(), [Some("50 °C"), None, Some("70 °C")]);
    assert_eq!(records.iter().map(|r| r.started).collect::<Vec<_>>(), [true, false, false]);
    let half_a_minute = &records[1];
    assert_eq!((half_a_minute.busy, half_a_minute.fan_step, half_a_minute.temperature_celsius), (1.23, Some(1), Some(53.0)));
    assert_eq!(half_a_minute.forecast[0].temperature_celsius, 54.0);
    let done = half_a_minute.models.values().collect::<Vec<_>>();
    assert_eq!(done, [&Work { items_per_second: 2.0, tokens_per_second: 9.0, latency_ms: Some(20.0), faults_per_second: 0.0 }]);
    assert_eq!(records[2].performance_degraded, "high-operating-temperature");
    // 30 answers in 15 s; counts that went back are no work.
    let work = records[2].models.values().next().unwrap();
    assert_eq!((work.items_per_second, work.tokens_per_second), (2.0, 0.0));
}

#[test]
fn a_wall_clock_that_jumps_does_not_stop_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut history = History::start(folder.path());
    history.0.note(&heat(50.0), &counts(0, 0), seconds(100), wall(5_000));
    history.0.note(&heat(50.0), &counts(60, 0), seconds(130), wall(10));
    let [records] = &read(&end(history))[..] else { panic!("one file") };
    assert_eq!(records.len(), 2);
    assert_eq!(records[0].models.values().next().unwrap().items_per_second, 2.0);
}

#[test]
fn it_goes_on_after_a_power_cut() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("thermal-history.jsonl");
    let mut history = History::start(folder.path());
    history.0.note(&heat(50.0), &counts(0, 0), seconds(1), wall(1));
    end(history);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, [&whole[..], &whole[..whole.len() / 2]].concat()).unwrap();
    let mut history = History::start(folder.path());
    history.0.note(&heat(51.0), &counts(0, 0), seconds(1), wall(61));
    history.0.note(&heat(52.0), &counts(0, 0), seconds(31), wall(91));
    let [records] = &read(&end(history))[..] else { panic!("one file") };
    assert_eq!(records.iter().filter_map(|r| r.temperature_celsius).collect::<Vec<_>>(), [50.0, 51.0, 52.0]);
    assert!(records[1].started && !records[2].started);
}

#[test]
fn two_files_bound_it_and_each_says_what_holds() {
    let folder = tempfile::tempdir().unwrap();
    let files = HistoryFiles::in_folder(folder.path());
    let mut generations = Generations::new(files.clone());
    let long = "x".repeat(1000);
    let decision = Record { at: -1.0, reason: Some(format!("decided {long}")), fan_trips: vec![50.0], ..Record::default() };
    generations.append(&decision);
    for at in 0..20_000 {
        generations.append(&Record { at: f64::from(at), ..Record::default() });
    }
    let sizes: Vec<u64> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).collect();
    assert_eq!(sizes.len(), 2);
    assert!(sizes.iter().all(|bytes| *bytes <= FILE_BYTES), "{sizes:?}");
    let read = read(&files);
    for records in &read {
        assert_eq!((&records[0].reason, &records[0].fan_trips), (&decision.reason, &decision.fan_trips));
        assert!(records[1].reason.is_none());
    }
    let all: Vec<f64> = read.concat().iter().map(|r| r.at).collect();
    assert!(all.windows(2).all(|pair| pair[1] == pair[0] + 1.0), "nothing is lost on the way from one file to the other");
    assert_eq!(all.last(), Some(&19_999.0));
}

#[test]
fn a_folder_that_cannot_be_written_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let gone = folder.path().join("not-there");
    let mut history = History::start(&gone);
    history.0.note(&heat(50.0), &counts(0, 0), seconds(1), wall(1));
    let files = end(history);
    assert!(files.descriptors().unwrap().is_empty());
    // It may come later: what is written then is written.
    let mut generations = Generations::new(files.clone());
    generations.append(&Record { at: 1.0, reason: Some("first".into()), ..Record::default() });
    std::fs::create_dir(&gone).unwrap();
    generations.append(&Record { at: 2.0, ..Record::default() });
    let [records] = &read(&files)[..] else { panic!("one file") };
    assert_eq!((records[0].at, records[0].reason.as_deref()), (2.0, Some("first")));
}

#[test]
fn a_disk_that_was_full_costs_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let files = HistoryFiles::in_folder(folder.path());
    // Every write to this device fails as on a full disk.
    std::os::unix::fs::symlink("/dev/full", folder.path().join("thermal-history.jsonl")).unwrap();
    let mut generations = Generations::new(files.clone());
    generations.append(&Record { at: 1.0, ..Record::default() });
    std::fs::remove_file(folder.path().join("thermal-history.jsonl")).unwrap();
    generations.append(&Record { at: 2.0, ..Record::default() });
    let [records] = &read(&files)[..] else { panic!("one file") };
    assert_eq!(records[0].at, 2.0);
}
