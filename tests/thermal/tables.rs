//! The tables, and the same as JSON.

use super::controllers::Who;
use super::gates::{Gate, Judged, Verdict};
use super::outcome::{HORIZONS, Outcome};
use serde_json::{Value, json};
use std::fmt::Write;

/// A line of the tables: what came of a cell under a controller, without the bulk.
pub(crate) struct Row {
    /// The cell.
    pub(crate) cell: String,
    /// The controller.
    pub(crate) who: Who,
    /// What came of it.
    pub(crate) outcome: Outcome,
    /// The 50th and 99th percentiles of waits for images, and the 99th for conversations, s.
    waits: [Option<f64>; 3],
}

/// A cell's verdicts.
pub(crate) struct Verdicts {
    /// The cell.
    pub(crate) cell: String,
    /// One for each gate.
    pub(crate) judged: Vec<Judged>,
}

impl Row {
    /// A line; what is only needed to judge is let go.
    pub(crate) fn new(cell: String, who: Who, mut outcome: Outcome) -> Row {
        let waits = [(0.5, false), (0.99, false), (0.99, true)];
        let waits = waits.map(|(quantile, talk)| outcome.wait(quantile, |wait| wait.talk == talk));
        (outcome.waits, outcome.seconds) = (Vec::new(), Vec::new());
        Row { cell, who, outcome, waits }
    }

    fn json(&self) -> Value {
        let o = &self.outcome;
        let rms = |errors: &[super::outcome::Errors; HORIZONS.len()]| errors.map(|e| e.rms());
        json!({
            "cell": self.cell, "controller": self.who.name(), "offered": o.offered, "good": o.good, "answered": o.answered,
            "too_hot": o.refused[0], "overloaded": o.refused[1], "in_vain": o.refused[2],
            "p50_seconds": self.waits[0], "p99_seconds": self.waits[1], "talks_p99_seconds": self.waits[2],
            "above_limit_seconds": o.above, "peak_celsius": o.peak, "joules_an_item": o.joules_an_item(),
            "switches_an_hour": o.switches_an_hour(), "swings_an_hour": o.swings_an_hour(), "degraded_seconds": o.degraded,
            "forecast_given_load_rms": rms(&o.given), "forecast_rms": rms(&o.made),
        })
    }
}

/// The table of rows.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<38} {:<9} {:>8} {:>6} {:>7} {:>7} {:>7} {:>7} {:>6} {:>6} {:>6} {:>6} {:>13} {:>13}\n",
        "cell",
        "who",
        "good",
        "share",
        "p50 s",
        "p99 s",
        "talk99",
        "above s",
        "peak",
        "J/item",
        "switch",
        "swing",
        "+60 given/as",
        "+300 given/as"
    );
    let or_dash = |value: Option<f64>, digits: usize| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"));
    for row in rows {
        let o = &row.outcome;
        let forecast = |horizon: usize| format!("{}/{}", or_dash(o.given[horizon].rms(), 2), or_dash(o.made[horizon].rms(), 2));
        let _ = writeln!(
            text,
            "{:<38} {:<9} {:>8.0} {:>5.1}% {:>7} {:>7} {:>7} {:>7.1} {:>6.1} {:>6.2} {:>6.0} {:>6.0} {:>13} {:>13}",
            row.cell,
            row.who.name(),
            o.good,
            100.0 * o.good / o.offered.max(1.0),
            or_dash(row.waits[0], 2),
            or_dash(row.waits[1], 2),
            or_dash(row.waits[2], 1),
            o.above,
            o.peak,
            o.joules_an_item(),
            o.switches_an_hour(),
            o.swings_an_hour(),
            forecast(0),
            forecast(1),
        );
    }
    text
}

/// How often each gate was met, and where not.
pub(crate) fn gates(cells: &[Verdicts]) -> String {
    let mut text = format!("{:<42} {:>5} {:>7} {:>13} {:>11}\n", "gate", "met", "missed", "out of reach", "not judged");
    for gate in Gate::ALL {
        let count = |verdict: Verdict| cells.iter().flat_map(|c| &c.judged).filter(|j| j.gate == gate && j.verdict == verdict).count();
        let [met, missed, out, not] = [Verdict::Met, Verdict::Missed, Verdict::OutOfReach, Verdict::NotJudged].map(count);
        let _ = writeln!(text, "{:<42} {met:>5} {missed:>7} {out:>13} {not:>11}", gate.name());
    }
    for (verdict, title) in [(Verdict::Missed, "Missed"), (Verdict::OutOfReach, "Out of reach")] {
        let mut none = true;
        for gate in Gate::ALL {
            for cell in cells {
                for judged in cell.judged.iter().filter(|j| j.gate == gate && j.verdict == verdict) {
                    if std::mem::take(&mut none) {
                        let _ = writeln!(text, "\n{title}:");
                    }
                    let _ = writeln!(text, "  {:<42} {:<46} {}", gate.name(), cell.cell, judged.figures);
                }
            }
        }
    }
    text
}

/// What keeping the limit costs beside a server that does not keep it, in cells with or without a clock that may be capped.
pub(crate) fn gaps(rows: &[Row], beside: Who, clock: &str) -> String {
    let mut text = String::new();
    for firmware in rows.iter().filter(|row| row.who == beside) {
        let find = |who: Who| rows.iter().find(|row| row.who == who && row.cell == format!("{} {clock}", firmware.cell));
        let (Some(governor), Some(oracle)) = (find(Who::Governor), find(Who::Oracle)) else { continue };
        let share = |row: &Row| 100.0 * row.outcome.good / firmware.outcome.good.max(1.0);
        if share(governor) < 99.5 {
            let _ = writeln!(
                text,
                "  {:<38} {:>5.1} % (oracle {:>5.1} %); {}: {:.0} s above the limit, peak {:.1} °C, at lower voltage {:.2} J/item of {:.2}",
                firmware.cell,
                share(governor),
                share(oracle),
                beside.name(),
                firmware.outcome.above,
                firmware.outcome.peak,
                firmware.outcome.joules_an_item(),
                governor.outcome.joules_an_item(),
            );
        }
    }
    text
}

/// Everything as JSON.
pub(crate) fn json(rows: &[Row], cells: &[Verdicts]) -> Value {
    let verdicts = cells.iter().flat_map(|cell| {
        let one =
            |j: &Judged| json!({"cell": cell.cell, "gate": j.gate.name(), "verdict": format!("{:?}", j.verdict), "figures": j.figures});
        cell.judged.iter().map(one).collect::<Vec<Value>>()
    });
    json!({ "rows": rows.iter().map(Row::json).collect::<Vec<Value>>(), "gates": verdicts.collect::<Vec<Value>>() })
}
