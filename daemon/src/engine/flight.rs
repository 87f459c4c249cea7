//! The flight record: which requests and which model were at work when the daemon died. A small file in the runtime
//! directory, written before each step and cleared after it; the page cache keeps it when the process dies. It holds
//! hashes of keys and models, never payloads or ids.

use crate::scheduler::Key;
use hearth_api::ModelName;
use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Name of the file in the runtime directory.
const FILE: &str = "flight";
const MAGIC: &[u8; 8] = b"hearthF1";
/// How many deaths are remembered; the oldest makes room.
const DEATHS: usize = 128;
const DEATH_BYTES: usize = 24;
/// Steps nest: a measuring run, a step inside it, an urgent step inside that one.
pub(super) const STEP_DEPTH: usize = 3;
/// The last slot notes the model being loaded.
const LOAD_SLOT: usize = STEP_DEPTH;
const SLOTS: usize = STEP_DEPTH + 1;
/// Each slot has a page of its own, after the page with the deaths.
const PAGE: usize = 4096;
/// Keys noted of one step; a larger batch notes its first ones.
const KEYS: usize = (PAGE - SLOT_HEAD) / 8;
const SLOT_HEAD: usize = 16;
/// After this long a death is forgotten.
const MEMORY: Duration = Duration::from_secs(24 * 60 * 60);
/// A model that computed this many steps since it last was at work in a death is no longer suspected: whatever killed
/// the daemon, a version that is broken does not get that far.
const STEPS_TO_CLEAR: u32 = 8;

/// A request's or a model version's mark in the record. It is stable between runs of one build; a build that hashes
/// differently forgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Mark(u64);

impl Mark {
    /// The mark of a request.
    pub(super) fn request(key: &Key) -> Mark {
        Mark::of(("request", key))
    }

    /// The mark of a model version that computes.
    pub(super) fn model(name: &ModelName, version: &str) -> Mark {
        Mark::of(("model", name, version))
    }

    /// The mark of a model version that is being loaded.
    pub(super) fn load(name: &ModelName, version: &str) -> Mark {
        Mark::of(("load", name, version))
    }

    fn of(what: impl Hash) -> Mark {
        let mut hasher = DefaultHasher::new();
        what.hash(&mut hasher);
        Mark(hasher.finish())
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Death {
    mark: Mark,
    count: u32,
    last: u64,
    /// Steps computed since, for a model; not kept in the file.
    steps_since: u32,
}

/// What a slot notes while it is in flight.
#[derive(Default)]
struct Flight {
    model: Option<Mark>,
    requests: Vec<Mark>,
}

/// The record of this run, and the deaths of earlier ones.
pub(super) struct FlightRecord {
    file: File,
    deaths: Vec<Death>,
    flights: [Flight; SLOTS],
    page: Vec<u8>,
}

impl FlightRecord {
    /// Opens the record in `directory`, counts a death for whatever the last run left in flight, and starts a new one.
    pub(super) fn open(directory: &Path, now: SystemTime) -> io::Result<FlightRecord> {
        std::fs::create_dir_all(directory)?;
        let path = directory.join(FILE);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut bytes = vec![0; PAGE * (1 + SLOTS)];
        let whole = file.read_exact_at(&mut bytes, 0).is_ok() && &bytes[..8] == MAGIC;
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut deaths = Vec::new();
        if whole {
            deaths = read_deaths(&bytes[8..8 + DEATHS * DEATH_BYTES]);
            deaths.retain(|d| now.saturating_sub(d.last) < MEMORY.as_secs());
            for mark in suspects(&bytes[PAGE..]) {
                count_death(&mut deaths, mark, now);
            }
        }
        let record = FlightRecord { file, deaths, flights: Default::default(), page: Vec::with_capacity(PAGE) };
        record.file.set_len(0)?;
        record.file.set_len((PAGE * (1 + SLOTS)) as u64)?;
        record.file.write_all_at(MAGIC, 0)?;
        record.write_deaths()?;
        Ok(record)
    }

    /// In how many deaths this was at work.
    pub(super) fn deaths(&self, mark: impl FnOnce() -> Mark) -> u32 {
        // Nearly always there were none, and nothing needs hashing.
        if self.deaths.is_empty() {
            return 0;
        }
        let mark = mark();
        self.deaths.iter().find(|d| d.mark == mark).map_or(0, |d| d.count)
    }

    /// A step begins, `depth` steps inside others.
    pub(super) fn begin_step(&mut self, depth: usize, model: Mark, requests: impl Iterator<Item = Mark>) {
        self.flights[depth].requests.clear();
        self.flights[depth].requests.extend(requests);
        self.begin(depth, model);
    }

    /// The step at `depth` is over, and the daemon lives: its requests are cleared of suspicion, its model after some more.
    pub(super) fn end_step(&mut self, depth: usize) {
        let model = self.end(depth);
        if self.deaths.is_empty() {
            return;
        }
        let before = self.deaths.len();
        let requests = &self.flights[depth].requests;
        self.deaths.retain_mut(|death| {
            if Some(death.mark) == model {
                death.steps_since += 1;
            }
            death.steps_since < STEPS_TO_CLEAR && !requests.contains(&death.mark)
        });
        if self.deaths.len() < before {
            self.report(self.write_deaths());
        }
    }

    /// A model is being loaded; one at a time.
    pub(super) fn begin_load(&mut self, load: Mark) {
        self.begin(LOAD_SLOT, load);
    }

    /// The load is over, well or badly, and the daemon lives: no load of this version is suspected any more.
    pub(super) fn end_load(&mut self) {
        if let Some(load) = self.end(LOAD_SLOT)
            && self.deaths.iter().any(|death| death.mark == load)
        {
            self.clear(load);
        }
    }

    /// The deaths of this model have had their consequence.
    pub(super) fn clear(&mut self, mark: Mark) {
        self.deaths.retain(|d| d.mark != mark);
        self.report(self.write_deaths());
    }

    /// The daemon ends in good order: nothing is suspected any more.
    pub(super) fn end_clean(&mut self) {
        (0..SLOTS).for_each(|slot| {
            self.end(slot);
        });
        self.deaths.clear();
        self.report(self.write_deaths());
    }

    fn begin(&mut self, slot: usize, model: Mark) {
        let flight = &mut self.flights[slot];
        flight.model = Some(model);
        let noted = &flight.requests[..flight.requests.len().min(KEYS)];
        self.page.clear();
        self.page.extend(1u32.to_le_bytes());
        self.page.extend((noted.len() as u32).to_le_bytes());
        self.page.extend(model.0.to_le_bytes());
        noted.iter().for_each(|mark| self.page.extend(mark.0.to_le_bytes()));
        self.report(self.file.write_all_at(&self.page, slot_offset(slot)));
    }

    fn end(&mut self, slot: usize) -> Option<Mark> {
        let model = self.flights[slot].model.take()?;
        self.report(self.file.write_all_at(&0u32.to_le_bytes(), slot_offset(slot)));
        Some(model)
    }

    fn write_deaths(&self) -> io::Result<()> {
        let mut table = Vec::with_capacity(DEATHS * DEATH_BYTES);
        for death in &self.deaths {
            table.extend(death.mark.0.to_le_bytes());
            table.extend(death.last.to_le_bytes());
            table.extend(u64::from(death.count).to_le_bytes());
        }
        table.resize(DEATHS * DEATH_BYTES, 0);
        self.file.write_all_at(&table, 8)
    }

    // A full disk must not stop the serving: without a record a poison request is found out later, that is all.
    fn report(&self, result: io::Result<()>) {
        if let Err(error) = result {
            tracing::warn!(%error, "the flight record cannot be written");
        }
    }
}

fn slot_offset(slot: usize) -> u64 {
    (PAGE * (1 + slot)) as u64
}

fn word(bytes: &[u8], index: usize) -> u64 {
    u64::from_le_bytes(bytes[index * 8..index * 8 + 8].try_into().expect("eight bytes"))
}

fn half_word(bytes: &[u8], index: usize) -> u32 {
    u32::from_le_bytes(bytes[index * 4..index * 4 + 4].try_into().expect("four bytes"))
}

fn read_deaths(table: &[u8]) -> Vec<Death> {
    table
        .chunks_exact(DEATH_BYTES)
        .map(|entry| Death { mark: Mark(word(entry, 0)), last: word(entry, 1), count: word(entry, 2) as u32, steps_since: 0 })
        .filter(|death| death.count > 0)
        .collect()
}

/// What was at work: of nested steps the innermost alone, for the others stood still; and the model being loaded.
fn suspects(slots: &[u8]) -> Vec<Mark> {
    let in_flight = |slot: usize| {
        let page = &slots[slot * PAGE..][..PAGE];
        (half_word(page, 0) == 1).then(|| {
            let requests = (half_word(page, 1) as usize).min(KEYS);
            (0..=requests).map(|i| Mark(word(page, 1 + i))).collect::<Vec<_>>()
        })
    };
    let mut marks = (0..STEP_DEPTH).rev().find_map(in_flight).unwrap_or_default();
    marks.extend(in_flight(LOAD_SLOT).unwrap_or_default());
    marks
}

fn count_death(deaths: &mut Vec<Death>, mark: Mark, now: u64) {
    if let Some(death) = deaths.iter_mut().find(|d| d.mark == mark) {
        death.count += 1;
        death.last = now;
        return;
    }
    if deaths.len() == DEATHS {
        let oldest = deaths.iter().enumerate().min_by_key(|(_, d)| d.last).map_or(0, |(i, _)| i);
        deaths.swap_remove(oldest);
    }
    deaths.push(Death { mark, count: 1, last: now, steps_since: 0 });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::Door;

    fn key(correlation: &str) -> Key {
        Key { door: Door::Mqtt, reply_to: "hearth/reply/me".into(), correlation: correlation.to_owned().into() }
    }

    fn model() -> Mark {
        Mark::model(&ModelName::new("digits").unwrap(), "1")
    }

    fn request(correlation: &str) -> Mark {
        Mark::request(&key(correlation))
    }

    /// Opens the record a while after the epoch; dropping it without `end_clean` is what a death leaves.
    fn open(directory: &Path, hour: u64) -> FlightRecord {
        FlightRecord::open(directory, UNIX_EPOCH + Duration::from_secs(1_000_000 + hour * 3600)).unwrap()
    }

    fn die_in_step(directory: &Path, hour: u64, requests: &[&str]) {
        open(directory, hour).begin_step(0, model(), requests.iter().map(|r| request(r)));
    }

    #[test]
    fn what_was_in_flight_at_a_death_is_remembered() {
        let directory = tempfile::tempdir().unwrap();
        die_in_step(directory.path(), 0, &["a", "b"]);
        let record = open(directory.path(), 0);
        assert_eq!(record.deaths(|| request("a")), 1);
        assert_eq!(record.deaths(|| request("b")), 1);
        assert_eq!(record.deaths(|| request("c")), 0);
        assert_eq!(record.deaths(model), 1);
        drop(record);
        die_in_step(directory.path(), 0, &["a"]);
        let record = open(directory.path(), 0);
        assert_eq!(record.deaths(|| request("a")), 2);
        assert_eq!(record.deaths(model), 2);
    }

    #[test]
    fn a_death_outside_of_a_step_is_nobodys() {
        let directory = tempfile::tempdir().unwrap();
        let mut record = open(directory.path(), 0);
        record.begin_step(0, model(), [request("a")].into_iter());
        record.end_step(0);
        drop(record);
        let record = open(directory.path(), 0);
        assert_eq!((record.deaths(|| request("a")), record.deaths(model)), (0, 0));
    }

    #[test]
    fn of_nested_steps_the_innermost_is_suspected() {
        let directory = tempfile::tempdir().unwrap();
        let mut record = open(directory.path(), 0);
        record.begin_step(0, model(), [request("outer")].into_iter());
        record.begin_step(1, model(), [request("inner")].into_iter());
        drop(record);
        let record = open(directory.path(), 0);
        assert_eq!((record.deaths(|| request("outer")), record.deaths(|| request("inner"))), (0, 1));
    }

    #[test]
    fn a_model_that_kills_while_it_loads_is_remembered_until_it_loads() {
        let directory = tempfile::tempdir().unwrap();
        let load = || Mark::load(&ModelName::new("digits").unwrap(), "1");
        for _ in 0..3 {
            open(directory.path(), 0).begin_load(load());
        }
        let mut record = open(directory.path(), 0);
        assert_eq!((record.deaths(load), record.deaths(model)), (3, 0));
        record.begin_load(load());
        record.end_load();
        drop(record);
        assert_eq!(open(directory.path(), 0).deaths(load), 0);
    }

    #[test]
    fn an_answered_request_and_a_model_that_works_are_cleared() {
        let directory = tempfile::tempdir().unwrap();
        die_in_step(directory.path(), 0, &["a"]);
        let mut record = open(directory.path(), 0);
        record.begin_step(0, model(), [request("a")].into_iter());
        record.end_step(0);
        assert_eq!((record.deaths(|| request("a")), record.deaths(model)), (0, 1));
        for _ in 1..STEPS_TO_CLEAR {
            record.begin_step(0, model(), std::iter::empty());
            record.end_step(0);
        }
        assert_eq!(record.deaths(model), 0);
        drop(record);
        assert_eq!(open(directory.path(), 0).deaths(model), 0);
    }

    #[test]
    fn a_clean_end_and_a_day_forget() {
        let directory = tempfile::tempdir().unwrap();
        die_in_step(directory.path(), 0, &["a"]);
        // A death counts from when it is found.
        assert_eq!(open(directory.path(), 1).deaths(|| request("a")), 1);
        assert_eq!(open(directory.path(), 24).deaths(|| request("a")), 1);
        assert_eq!(open(directory.path(), 25).deaths(|| request("a")), 0);
        die_in_step(directory.path(), 30, &["a"]);
        open(directory.path(), 30).end_clean();
        assert_eq!(open(directory.path(), 30).deaths(|| request("a")), 0);
    }

    #[test]
    fn a_damaged_record_and_a_huge_batch_are_taken_in_stride() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILE), b"hearthF1 cut short").unwrap();
        let mut record = open(directory.path(), 0);
        assert_eq!(record.deaths(model), 0);
        record.begin_step(0, model(), (0..10_000).map(|i| request(&i.to_string())));
        drop(record);
        let record = open(directory.path(), 0);
        assert_eq!(record.deaths.len(), DEATHS);
        drop(record);
        std::fs::write(directory.path().join(FILE), vec![0xff; PAGE * (1 + SLOTS)]).unwrap();
        assert_eq!(open(directory.path(), 0).deaths(model), 0);
    }
}
