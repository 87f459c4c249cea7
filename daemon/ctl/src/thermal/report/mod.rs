//! `hearthctl thermal report`: the daemon's history as one picture, which needs nothing but a browser.

mod clock;
mod draw;
mod figures;
mod panels;
mod svg;

use crate::Where;
use crate::bus::BusClient;
use anyhow::{Context, ensure};
use clap::Args;
use clock::Zone;
use draw::Report;
use figures::{Forecasts, Summary};
use hearth_api::history::Record;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What `--help` teaches.
const HELP: &str = "\
Any browser shows the file, light or dark. It has the temperature with the limit and the fan's steps; what was expected 60 and 300 \
seconds before, and how far that was off what came (the root of the mean square); requests and tokens a second and the time to an \
answer by model; what the governor allowed; and its decisions: point at a mark to read the reason. Times at which the daemon was \
off are hatched.";

/// Draws the last hours into one SVG file.
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub(crate) struct Options {
    /// The file to write; - is the standard output
    #[arg(short, long, value_name = "FILE.svg", default_value = "hearth-thermal.svg")]
    output: PathBuf,
    /// How far to look back; some two days are kept
    #[arg(long, value_name = "N", default_value_t = 6.0)]
    hours: f64,
    #[command(flatten)]
    at: Where,
}

pub(super) async fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let Options { output, hours, at } = options;
    ensure!(*hours > 0.0 && *hours <= 24.0 * 366.0, "--hours takes a number of hours, such as 6 or 0.5");
    let bus = BusClient::connect(&at.bus).await?;
    let about = bus.about().await?;
    let history = bus.history().await?;
    let now = std::time::UNIX_EPOCH.elapsed()?.as_secs_f64();
    let (records, time) = window(&history, *hours, now);
    ensure!(
        !records.is_empty(),
        "the daemon has kept nothing of the last {hours} hours; it keeps a line each 30 seconds while it can write its state directory"
    );
    let name = about.get("Node").and_then(Value::as_str).unwrap_or("hearthd").to_owned();
    let svg = draw::draw(&Report { name, records, time, zone: Zone::here(time.1) });
    write(output, &svg)?;
    if output.as_os_str() != "-" {
        tell(at, output, records, time);
    }
    Ok(ExitCode::SUCCESS)
}

/// The records of the last hours, and the moments at the edges: not before the first record, and a minute at least.
fn window(history: &[Record], hours: f64, now: f64) -> (&[Record], (f64, f64)) {
    let first = history.partition_point(|record| record.at < now - hours * 3600.0);
    // A clock that was set back has lines of the future, which are none.
    let last = history.partition_point(|record| record.at <= now + 1.0).max(first);
    let records = &history[first..last];
    let from = records.first().map_or(now, |record| record.at).min(now - 60.0);
    (records, (from, now))
}

fn write(output: &Path, svg: &str) -> anyhow::Result<()> {
    if output.as_os_str() == "-" {
        // Whoever reads no further needs no more.
        let _ = std::io::stdout().write_all(svg.as_bytes());
        return Ok(());
    }
    std::fs::write(output, svg).with_context(|| format!("{} cannot be written", output.display()))
}

/// What was written, and its figures.
fn tell(at: &Where, output: &Path, records: &[Record], time: (f64, f64)) {
    let rms = |seconds| Forecasts::of(records, seconds, time.1).rms;
    let (soon, later, summary) = (rms(60), rms(300), Summary::of(records));
    if at.json {
        let figures = json!({
            "file": output, "from": time.0, "to": time.1, "hottest_celsius": summary.hottest.map(|(_, celsius)| celsius),
            "seconds_above_limit": summary.above, "decisions": summary.decisions,
            "rms_60_s_kelvin": soon, "rms_300_s_kelvin": later,
        });
        println!("{figures}");
        return;
    }
    let kelvin = |rms: Option<f64>| rms.map_or_else(|| "unknown".into(), |rms| format!("{rms:.2} K"));
    println!("{} shows the last {}", output.display(), crate::heat::duration(time.1 - time.0));
    println!("forecasts were off by {} after 60 s and {} after 300 s (RMS)", kelvin(soon), kelvin(later));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_the_last_hours_as_far_as_there_is_something() {
        let history: Vec<Record> = (0..200).map(|n| Record { at: f64::from(n) * 30.0, ..Record::default() }).collect();
        let (records, time) = window(&history, 1.0, 5000.0);
        assert_eq!((records[0].at, records[records.len() - 1].at, time), (1410.0, 4980.0, (1410.0, 5000.0)));
        let (records, time) = window(&history, 48.0, 5970.0);
        assert_eq!((records.len(), time), (200, (0.0, 5970.0)));
        assert_eq!(window(&history, 1.0, 90_000.0), (&history[..0], (89_940.0, 90_000.0)));
        assert_eq!(window(&history[..1], 1.0, 0.0).1, (-60.0, 0.0));
    }
}
