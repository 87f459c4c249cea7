//! `tests/heat`: the governor in virtual time, against firmware only, the three zones it replaced, and an oracle. Prints the tables
//! and exits 1 on a miss.
//!
//! ```text
//! arrivals ─> scheduler ─> virtual engine ─> virtual board ─> sensor ─> controller ─> budget ─> scheduler, clock
//! ```

mod cells;
mod controllers;
mod faults;
mod forecast;
mod gates;
mod loads;
mod models;
mod modes;
mod oracle;
mod outcome;
mod proofs;
mod restrained;
mod tables;
mod world;

use anyhow::{Context, Result, bail};
use cells::Cell;
use controllers::Who;
use gates::{Compared, Gate, Verdict};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tables::{Row, Verdicts};

/// Threads that live through cells.
const THREADS: usize = 2;

const USAGE: &str = "\
tests/heat [options]
  --live ...     the real daemon beside a virtual board instead; --live --help tells more
  --points ...   what an item costs at each batch and thread count instead
  --short        a few cells, in less than 30 s of CPU time
  --only WORDS   only cells, faults and modes whose names have all these words (such as \"Pi 4 bare steady\")
  --seconds N    virtual seconds of each cell (3600)
  --seed N       seed of loads and noise (1)
  --json FILE    everything as JSON, too";

struct Options {
    short: bool,
    only: Vec<String>,
    seconds: f64,
    seed: u64,
    json: Option<String>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options> {
        let mut options = Options { short: false, only: Vec::new(), seconds: 3600.0, seed: 1, json: None };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{argument} needs a value\n{USAGE}"));
            match argument.as_str() {
                "--short" => (options.short, options.seconds) = (true, 1500.0),
                "--only" => options.only.extend(value()?.split_whitespace().map(str::to_lowercase)),
                "--seconds" => options.seconds = value()?.parse().context("--seconds")?,
                "--seed" => options.seed = value()?.parse().context("--seed")?,
                "--json" => options.json = Some(value()?),
                _ => bail!("{USAGE}"),
            }
        }
        if !(60.0..=86_400.0).contains(&options.seconds) {
            bail!("--seconds: from 60 to 86400");
        }
        Ok(options)
    }

    fn wants(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        let words: Vec<&str> = name.split_whitespace().collect();
        self.only.iter().all(|only| words.contains(&only.as_str()))
    }

    /// In the short run: each board once, the loads in turn.
    fn has_time_for(&self, place: &str) -> bool {
        const SHORT: [&str; 5] = [
            "Pi 4 bare steady 30",
            "Pi 4 with fan bursts 40 fan-fails",
            "Pi 5 bare steady 20",
            "Pi 5 cooled mixed 40",
            "Pi 4 bare mixed 20",
        ];
        !self.short || SHORT.contains(&place)
    }
}

fn main() -> Result<ExitCode> {
    let options = Options::parse(std::env::args().skip(1))?;
    let mut missed = 0;

    let cells: Vec<Cell> = Cell::all(options.seconds, options.seed)
        .into_iter()
        .filter(|cell| options.wants(&cell.name()) && options.has_time_for(&cell.place()))
        .collect();
    let places: Vec<&[Cell]> = cells.chunk_by(|a, b| a.place() == b.place()).collect();
    let (mut rows, mut verdicts) = (Vec::new(), Vec::new());
    for (lines, judged) in each(&places, |cells| live(cells)) {
        rows.extend(lines);
        verdicts.extend(judged);
    }
    if !rows.is_empty() {
        println!("{}", tables::table(&rows));
        println!("{}", tables::gates(&verdicts));
        println!(
            "Beside firmware only where the clock cannot be capped (pauses at full voltage are dearer than a lower one):\n{}",
            tables::gaps(&rows, Who::Firmware, "no-clock")
        );
        println!(
            "Beside firmware only with our admission, where the clock may be capped:\n{}",
            tables::gaps(&rows, Who::Admitting, "clock")
        );
        missed += verdicts.iter().flat_map(|cell| &cell.judged).filter(|judged| judged.verdict == Verdict::Missed).count();
    }

    let seconds = options.seconds.min(1800.0);
    let mut cases = faults::cases(options.short, seconds, options.seed);
    cases.retain(|(lie, cell)| options.wants(&format!("fault {} {}", cell.kind.parameters().name, lie.name())));
    for case in each(&cases, |(lie, cell)| faults::run(*lie, *cell)) {
        println!("{}", case.line());
        missed += usize::from(!case.is_met());
    }

    let promises: Vec<_> = modes::PROMISES.into_iter().filter(|_| options.wants("modes")).collect();
    for promise in each(&promises, |promise| promise(seconds, options.seed)) {
        println!("mode   {:<7} {}: {}", if promise.kept { "met" } else { "MISSED" }, promise.says, promise.shows);
        missed += usize::from(!promise.kept);
    }

    let proofs: Vec<_> = proofs::ALL.into_iter().filter(|_| options.wants("proofs")).collect();
    for proof in each(&proofs, |proof| proof(seconds, options.seed)) {
        println!("proof  {:<7} {}: {}", if proof.caught { "caught" } else { "MISSED" }, proof.says, proof.shows);
        missed += usize::from(!proof.caught);
    }

    if let Some(file) = &options.json {
        std::fs::write(file, serde_json::to_string_pretty(&tables::json(&rows, &verdicts))?).with_context(|| format!("writing {file}"))?;
    }
    println!("\n{}", if missed == 0 { "All gates are met, or out of the oracle's reach.".to_owned() } else { format!("{missed} missed.") });
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The cells of a place under every controller, and what they are judged. Only the governor and the oracle can use the clock.
fn live(cells: &[Cell]) -> (Vec<Row>, Vec<Verdicts>) {
    let first = cells[0];
    let arrivals = first.load.arrivals(first.kind, first.seconds, first.seed);
    let [firmware, admitting, zones] = [Who::Firmware, Who::Admitting, Who::Zones].map(|who| who.live(&first, &arrivals));
    let (mut rows, mut verdicts) = (Vec::new(), Vec::new());
    for cell in cells {
        let (governor, oracle) = (Who::Governor.live(cell, &arrivals), Who::Oracle.live(cell, &arrivals));
        let mut compared = Compared { firmware: &firmware, admitting: &admitting, governor: &governor, oracle: &oracle, restrained: None };
        let missed = [Gate::Oracle, Gate::Firmware, Gate::Waits].iter().any(|gate| gate.judge(&compared).verdict == Verdict::Missed);
        let restrained = missed.then(|| restrained::live(cell, &arrivals, &compared));
        compared.restrained = restrained.as_ref();
        let judged = Gate::ALL.into_iter().map(|gate| gate.judge(&compared)).collect();
        verdicts.push(Verdicts { cell: cell.name(), judged });
        rows.push(Row::new(cell.name(), Who::Governor, governor));
        rows.push(Row::new(cell.name(), Who::Oracle, oracle));
    }
    let others = [(Who::Firmware, firmware), (Who::Admitting, admitting), (Who::Zones, zones)];
    rows.splice(0..0, others.map(|(who, outcome)| Row::new(first.place(), who, outcome)));
    (rows, verdicts)
}

/// Does the work for each item on a few threads; the results in the items' order.
fn each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(items.len()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some((at, item)) = Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, items.get(at)?))) {
                    let result = work(item);
                    results.lock().expect("no work panics while it holds this").push((at, result));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("all threads have ended well");
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}
