//! The whole report: a heading, the panels at the left, figures and decisions at the right.

use super::clock::Zone;
use super::figures::{Forecasts, Runs, Summary, binned, gaps, is_decision, runs};
use super::panels::{Axis, Backdrop, Curve, Frame, LANE, Lane, draw_lanes, highest};
use super::svg::{Anchor, MODEL_COLOURS, Picture, width_of};
use crate::heat::duration;
use hearth_api::history::{Record, Work};

const WIDTH: f64 = 1200.0;
const HEIGHT: f64 = 900.0;
/// Of the panels.
const LEFT: f64 = 66.0;
const PANELS: f64 = 738.0;
const TOP: f64 = 92.0;
/// Room for the heading of a panel.
const HEADING: f64 = 30.0;
/// The column at the right.
const COLUMN: f64 = 838.0;
const COLUMN_WIDTH: f64 = 336.0;
/// Where the panels and the column end.
const BOTTOM: f64 = 884.0;
/// Bins of a rate across a panel.
const BINS: f64 = 180.0;
/// Decisions in the list.
const LISTED: usize = 12;

/// What a report is of.
pub(super) struct Report<'a> {
    /// The node, and what is known of it.
    pub(super) name: String,
    pub(super) records: &'a [Record],
    /// Moments at the edges; the later one is after the earlier.
    pub(super) time: (f64, f64),
    pub(super) zone: Zone,
}

/// The picture.
pub(super) fn draw(report: &Report<'_>) -> String {
    let Report { records, time, zone, .. } = *report;
    let mut picture = Picture::default();
    let soon = Forecasts::of(records, 60, time.1);
    let later = Forecasts::of(records, 300, time.1);
    let summary = Summary::of(records);
    heading(&mut picture, report);
    panels(&mut picture, report, &summary, &soon, &later);
    let bottom = figures(&mut picture, zone, &summary, &soon, &later);
    decisions(&mut picture, report, bottom + 34.0);
    picture.finish(WIDTH, HEIGHT, &format!("{}: heat, forecast and throughput", report.name))
}

fn heading(picture: &mut Picture, report: &Report<'_>) {
    let Report { time: (from, to), zone, .. } = *report;
    picture.text("ink h1", 24.0, 40.0, Anchor::Start, &report.name);
    let (first, last) = (zone.day(from), zone.day(to));
    let until = if first == last { zone.minutes(to) } else { format!("{last}, {}", zone.minutes(to)) };
    let span = format!("{first}, {} to {until}  ({})", zone.minutes(from), zone.name());
    picture.text("faint", 24.0, 60.0, Anchor::Start, &span);
}

fn panels(picture: &mut Picture, report: &Report<'_>, summary: &Summary, soon: &Forecasts, later: &Forecasts) {
    let Report { records, time, zone, .. } = *report;
    let bins = (BINS.min((time.1 - time.0) / 30.0)).max(1.0) as usize;
    let rates = |rate: fn(&Work) -> f64| -> Vec<(String, Runs)> {
        let of = |name: &str| {
            binned(records, time, bins, |record| record.models.iter().find(|(n, _)| n.as_str() == name).map_or(0.0, |(_, work)| rate(work)))
        };
        let curves = summary.models.iter().map(|model| (model.name.clone(), of(&model.name)));
        curves.collect()
    };
    let latency = || -> Vec<(String, Runs)> {
        let of = |name: &str| runs(records, |record| record.models.iter().find(|(n, _)| n.as_str() == name)?.1.latency_ms);
        summary.models.iter().map(|model| (model.name.clone(), of(&model.name))).collect()
    };
    let tokens = summary.models.iter().any(|model| model.tokens > 0.0).then(|| rates(|work| work.tokens_per_second));
    let answered = summary.models.iter().any(|model| model.items > 0.0);
    let linear: AxisOf = |curves, height| Axis::from_zero(highest(curves.iter().map(|(_, runs)| runs)), height);
    let groups = [
        Some(("Requests answered a second", rates(|work| work.items_per_second), linear)),
        tokens.map(|curves| ("Tokens generated a second", curves, linear)),
        answered.then(|| ("From arrival to answer, ms", latency(), logarithmic as AxisOf)),
    ];
    let groups: Vec<Group<'_>> = groups.into_iter().flatten().collect();

    let fan = records.iter().any(|record| record.fan_step.is_some());
    let lanes = 4.0 + f64::from(u8::from(fan));
    let heights = BOTTOM - 36.0 - TOP - lanes * LANE - HEADING * (2.0 + groups.len() as f64) - 14.0;
    let unit = heights / (4.2 + groups.len() as f64);
    let frame = |top: f64, height: f64, axis| Frame { left: LEFT, top, width: PANELS, height, time, axis };
    let decisions: Vec<f64> = (0..records.len()).filter(|index| is_decision(records, *index)).map(|index| records[index].at).collect();
    let backdrop = Backdrop { zone, gaps: &gaps(records, time.0, time.1), decisions: &decisions };

    let mut top = TOP;
    let temperature = frame(top, unit * 2.3, Axis::between(temperature_range(records, soon), unit * 2.3));
    temperature_panel(picture, &temperature, report, &backdrop, soon, later);
    top += temperature.height + HEADING;

    let widest = [soon, later].into_iter().flat_map(|f| f.errors.iter().flatten()).map(|(_, error)| error.abs()).fold(1.0, f64::max);
    let error = frame(top, unit * 0.95, Axis::around_zero(widest));
    let heading = "Forecast less what came, K";
    error.draw(picture, &backdrop, heading);
    let named = |ahead: &str, forecasts: &Forecasts| match forecasts.rms {
        Some(rms) => format!("made {ahead} before: {rms:.2} K RMS"),
        None => String::new(),
    };
    picture.line("ink stroke hair", (LEFT, error.y(0.0)), (LEFT + PANELS, error.y(0.0)));
    let curves = [
        Curve { class: "later", runs: &later.errors, name: named("300 s", later) },
        Curve { class: "soon", runs: &soon.errors, name: named("60 s", soon) },
    ];
    error.curves(picture, heading, &curves);
    top += error.height + HEADING;

    for (heading, curves, axis) in &groups {
        let panel = frame(top, unit, axis(curves, unit));
        panel.draw(picture, &backdrop, heading);
        let class: Vec<String> = (0..curves.len()).map(|index| format!("m{}", index.min(MODEL_COLOURS - 1))).collect();
        let curve = |(index, (name, runs)): (usize, &(String, Runs))| {
            // A model that has nothing here needs no name here.
            let name = if runs.iter().flatten().any(|(_, value)| *value > 0.0) { name.clone() } else { String::new() };
            (index, name, runs.clone())
        };
        let curves: Vec<(usize, String, Runs)> = curves.iter().enumerate().map(curve).filter(|(_, name, _)| !name.is_empty()).collect();
        let curves: Vec<Curve<'_>> =
            curves.iter().map(|(index, name, runs)| Curve { class: &class[*index], runs, name: name.clone() }).collect();
        panel.curves(picture, heading, &curves);
        top += unit + HEADING;
    }

    let busy = binned(records, time, bins, |record| record.busy);
    let allowed = steps(&runs(records, |record| Some(record.cores)));
    let cores = frame(top, unit * 0.95, Axis::from_zero(highest([&busy, &allowed]), unit * 0.95));
    let heading = "Busy cores";
    cores.draw(picture, &backdrop, heading);
    let curves = [
        Curve { class: "allowed", runs: &allowed, name: "may be spent here".into() },
        Curve { class: "busy", runs: &busy, name: "the whole machine".into() },
    ];
    cores.curves(picture, heading, &curves);
    top += cores.height + 14.0;

    let bottom = draw_lanes(picture, Frame { top, ..cores }, &backdrop, records, &board_lanes(records, fan));
    temperature.times(picture, zone, bottom + 12.0);
    marks(picture, &temperature, report);
}

/// An axis for the curves of a panel of a height.
type AxisOf = fn(&[(String, Runs)], f64) -> Axis;

/// A panel of curves by model: its heading, the curves, and how its axis is found.
type Group<'a> = (&'a str, Vec<(String, Runs)>, AxisOf);

/// One for models that differ much.
fn logarithmic(curves: &[(String, Runs)], _height: f64) -> Axis {
    let values = curves.iter().flat_map(|(_, runs)| runs.iter().flatten()).map(|(_, value)| value.max(0.1));
    let (least, most) = values.fold((f64::INFINITY, 0.1_f64), |(least, most), value| (least.min(value), most.max(value)));
    Axis::logarithmic(least.min(most), most)
}

/// The lanes under the panels: what was allowed, and the fan where there is one.
fn board_lanes(records: &[Record], fan: bool) -> Vec<Lane> {
    let threads = f64::from(records.iter().map(|record| record.threads).max().unwrap_or(1).max(1));
    let batch = f64::from(records.iter().map(|record| record.batch).max().unwrap_or(1).max(1));
    let fan_steps = f64::from(records.iter().filter_map(|record| record.fan_step).max().unwrap_or(1).max(1));
    let mut lanes = vec![
        Lane::new("threads", "lane", move |r| Some((r.threads.to_string(), f64::from(r.threads) / threads))),
        Lane::new("batch", "lane", move |r| {
            Some(if r.batch == 0 { ("any".into(), 1.0) } else { (r.batch.to_string(), 0.9 * f64::from(r.batch) / batch) })
        }),
        Lane::new("clock", "lane", |r| Some((format!("{:.0} %", r.clock * 100.0), r.clock))),
    ];
    if fan {
        lanes.push(Lane::new("fan", "blow", move |r| r.fan_step.map(|step| (step.to_string(), f64::from(step) / fan_steps))));
    }
    lanes.push(Lane::new("mode", "busy", |r| Some((r.mode.clone(), 0.0))));
    lanes
}

/// The range of the temperatures, with the limit in it.
fn temperature_range(records: &[Record], soon: &Forecasts) -> (f64, f64) {
    let measured = records.iter().flat_map(|record| [record.temperature_celsius, record.limit_celsius]).flatten();
    let expected = soon.expected.iter().flatten().map(|(_, celsius)| *celsius);
    let (low, high) = measured.chain(expected).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), t| (low.min(t), high.max(t)));
    if low > high { (20.0, 90.0) } else { (((low - 1.0) / 5.0).floor() * 5.0, ((high + 2.0) / 5.0).ceil() * 5.0) }
}

fn temperature_panel(
    picture: &mut Picture,
    frame: &Frame,
    report: &Report<'_>,
    backdrop: &Backdrop<'_>,
    soon: &Forecasts,
    later: &Forecasts,
) {
    let Report { records, .. } = *report;
    let heading = "Temperature, °C";
    frame.draw(picture, backdrop, heading);
    let limit = steps(&runs(records, |record| record.limit_celsius));
    for run in &limit {
        for pair in run.windows(2).filter(|pair| pair[1].0 > pair[0].0) {
            let (x, y) = (frame.x(pair[0].0), frame.y(pair[0].1));
            picture.rectangle("limit over", x, frame.top, frame.x(pair[1].0) - x, y - frame.top, "");
        }
    }
    let trips = records.iter().rev().find(|record| !record.fan_trips.is_empty()).map(|record| record.fan_trips.clone()).unwrap_or_default();
    let (low, high) = frame.axis.range;
    let mut free = f64::INFINITY;
    for (step, trip) in trips.iter().enumerate().filter(|(_, trip)| (low..high).contains(*trip)) {
        let y = frame.y(*trip);
        picture.line("fan stroke dotted", (frame.left, y), (frame.left + frame.width, y));
        // Names that would lie on each other are told by one.
        if free - y > 12.0 {
            picture.text("fan small", frame.left + frame.width - 5.0, y - 3.0, Anchor::End, &format!("fan {} from {trip} °C", step + 1));
            free = y;
        }
    }
    if let Some((at, limit)) = limit.first().and_then(|run| run.first()) {
        picture.text("limit small", frame.x(*at) + 5.0, frame.y(*limit) - 4.0, Anchor::Start, &format!("limit {limit} °C"));
    }
    let measured = runs(records, |record| record.temperature_celsius);
    let curves = [
        Curve { class: "limit dashed", runs: &limit, name: String::new() },
        Curve { class: "later fine dotted", runs: &later.expected, name: "as expected 300 s before".into() },
        Curve { class: "soon fine", runs: &soon.expected, name: "60 s before".into() },
        Curve { class: "temperature thick", runs: &measured, name: "measured".into() },
    ];
    frame.curves(picture, heading, &curves);
}

/// Decisions as marks at the top of the first panel.
fn marks(picture: &mut Picture, frame: &Frame, report: &Report<'_>) {
    let Report { records, zone, .. } = *report;
    for (index, record) in records.iter().enumerate().filter(|(index, _)| is_decision(records, *index)) {
        let x = frame.x(record.at);
        picture.mark("ink solid", x, frame.top + 8.0, &format!("{}  {}", zone.seconds(record.at), sentence(records, index)));
    }
}

/// What was decided, in a sentence.
fn sentence(records: &[Record], index: usize) -> String {
    let record = &records[index];
    let reason = record.reason.clone().unwrap_or_default();
    let before = index.checked_sub(1).map(|before| &records[before]).filter(|_| !record.started);
    let Some(before) = before else { return format!("The daemon started: {reason}") };
    let mut changes = Vec::new();
    let mut changed = |name: &str, from: String, to: String| {
        if from != to {
            changes.push(format!("{name} {from} → {to}"));
        }
    };
    let batch = |record: &Record| if record.batch == 0 { "any".into() } else { record.batch.to_string() };
    let clock = |record: &Record| format!("{:.0} %", record.clock * 100.0);
    changed("mode", before.mode.clone(), record.mode.clone());
    changed("threads", before.threads.to_string(), record.threads.to_string());
    changed("batch", batch(before), batch(record));
    changed("clock", clock(before), clock(record));
    changed("admits", before.admit.clone(), record.admit.clone());
    match changes.as_slice() {
        [] => reason,
        changes => format!("{}: {reason}", changes.join(", ")),
    }
}

/// The figures at the right; gives where they end.
fn figures(picture: &mut Picture, zone: Zone, summary: &Summary, soon: &Forecasts, later: &Forecasts) -> f64 {
    let third = COLUMN_WIDTH / 3.0;
    let kelvin = |forecasts: &Forecasts| forecasts.rms.map_or_else(|| "–".into(), |rms| format!("{rms:.2} K"));
    let (hottest, when) = match summary.hottest {
        Some((at, celsius)) => (format!("{celsius:.1} °C"), format!("hottest, {}", zone.minutes(at))),
        None => ("–".into(), "no temperature".into()),
    };
    let tiles = [
        (hottest, when),
        (duration(summary.above), "above the limit".into()),
        (duration(summary.degraded), "held back by heat".into()),
        (kelvin(soon), "RMS at +60 s".into()),
        (kelvin(later), "RMS at +300 s".into()),
        (summary.decisions.to_string(), format!("decisions in {}", duration(summary.recorded))),
    ];
    let mut y = 40.0;
    for row in tiles.chunks(3) {
        for (index, (value, what)) in row.iter().enumerate() {
            let x = COLUMN + third * index as f64;
            picture.text("ink big", x, y, Anchor::Start, value);
            picture.text("faint small", x, y + 17.0, Anchor::Start, what);
        }
        y += 52.0;
    }
    y += 12.0;
    let ends = [COLUMN + 190.0, COLUMN + 262.0, COLUMN + COLUMN_WIDTH];
    picture.text("ink h2", COLUMN, y, Anchor::Start, "Models");
    for (x, name) in ends.into_iter().zip(["requests", "tokens", "latency"]) {
        picture.text("faint small", x, y, Anchor::End, name);
    }
    y += 5.0;
    picture.line("grid", (COLUMN, y), (COLUMN + COLUMN_WIDTH, y));
    if summary.models.is_empty() {
        picture.text("faint", COLUMN, y + 17.0, Anchor::Start, "none had anything to do");
        return y + 17.0;
    }
    let shown = summary.models.len().min(MODEL_COLOURS);
    for (index, model) in summary.models[..shown].iter().enumerate() {
        y += 17.0;
        picture.runs(&format!("m{index} stroke thick"), &[vec![(COLUMN, y - 4.0), (COLUMN + 12.0, y - 4.0)]]);
        picture.text("ink", COLUMN + 18.0, y, Anchor::Start, &shortened(&model.name, 120.0));
        let latency = model.latency.map_or_else(|| "–".into(), |ms| if ms < 10_000.0 { format!("{ms:.0} ms") } else { duration(ms / 1e3) });
        let tokens = if model.tokens > 0.0 { count(model.tokens) } else { "–".into() };
        for (x, text) in ends.into_iter().zip([count(model.items), tokens, latency]) {
            picture.text("ink", x, y, Anchor::End, &text);
        }
    }
    if summary.models.len() > shown {
        y += 17.0;
        picture.text("faint", COLUMN + 18.0, y, Anchor::Start, &format!("and {} more", summary.models.len() - shown));
    }
    y
}

/// The last decisions, the latest first, as far as there is room.
fn decisions(picture: &mut Picture, report: &Report<'_>, top: f64) {
    let Report { records, zone, .. } = *report;
    picture.text("ink h2", COLUMN, top, Anchor::Start, "Last decisions");
    picture.line("grid", (COLUMN, top + 5.0), (COLUMN + COLUMN_WIDTH, top + 5.0));
    let made: Vec<usize> = (0..records.len()).rev().filter(|index| is_decision(records, *index)).take(LISTED).collect();
    if made.is_empty() {
        picture.text("faint", COLUMN, top + 22.0, Anchor::Start, "none in this time");
    }
    let mut y = top + 22.0;
    let most = if made.len() > 8 { 3 } else { 6 };
    for index in made {
        let lines = wrapped(&sentence(records, index), COLUMN_WIDTH - 70.0, most);
        if y + 15.0 * (lines.len() as f64 - 1.0) > BOTTOM {
            break;
        }
        picture.text("ink end", COLUMN, y, Anchor::Start, &zone.seconds(records[index].at));
        for line in lines {
            picture.text("ink", COLUMN + 70.0, y, Anchor::Start, &line);
            y += 15.0;
        }
        y += 6.0;
    }
}

/// A curve that stays until it changes.
fn steps(runs: &Runs) -> Runs {
    let stay = |run: &Vec<(f64, f64)>| {
        let mut steps = Vec::with_capacity(run.len() * 2);
        for (at, value) in run {
            if let Some((_, before)) = steps.last().copied().filter(|(_, before)| before != value) {
                steps.push((*at, before));
            }
            steps.push((*at, *value));
        }
        steps
    };
    runs.iter().map(stay).collect()
}

/// A count with a unit that keeps it short.
fn count(number: f64) -> String {
    match number {
        n if n < 10_000.0 => format!("{n:.0}"),
        n if n < 1e7 => format!("{:.1}k", n / 1e3),
        n => format!("{:.1}M", n / 1e6),
    }
}

/// A text within so many pixels.
fn shortened(text: &str, width: f64) -> String {
    if width_of(text) <= width {
        return text.to_owned();
    }
    let mut short = text.to_owned();
    while !short.is_empty() && width_of(&short) + width_of("…") > width {
        short.pop();
    }
    format!("{}…", short.trim_end())
}

/// Words in lines of so many pixels, at most so many lines; the last says that there is more.
fn wrapped(text: &str, width: f64, lines: usize) -> Vec<String> {
    let mut wrapped = vec![String::new()];
    for word in text.split_whitespace() {
        let full = wrapped.len() == lines;
        let line = wrapped.last_mut().expect("a line");
        let longer = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
        if line.is_empty() || width_of(&longer) <= width {
            *line = shortened(&longer, width);
        } else if full {
            *line = shortened(&format!("{longer} …"), width);
            break;
        } else {
            wrapped.push(shortened(word, width));
        }
    }
    wrapped
}

#[cfg(test)]
mod tests;
