//! The gates: what the governor is held to in each cell, and how it is judged.
//!
//! - The limit is never out of reach: whoever does nothing keeps it on all of these boards.
//! - The gates are asked all at once. An oracle that is free to break some of them may serve more than one that is held to them
//!   (`restrained.rs`): it changes the clock up to two thousand times an hour. Where it breaks one, to serve 95 % of what it does is
//!   *out of reach* if the governor serves 95 % of what the one does that is held to them. Both figures are shown.
//! - To serve as much as firmware only is *out of reach* where the oracle, with the same actuators and limit, misses it as well, or the
//!   one that is held to the other gates, of which the governor then has to serve 95 %.
//! - Firmware only is a server that knows nothing of heat: a plain queue, the board left to the firmware. What it would be with our
//!   admission, that is our daemon without its governor, is shown beside it.
//! - At least what firmware only serves: judged where the clock may be capped, with half a percent for the noise of the arrivals.
//! - The 99th percentile of waits: judged in overload, over the requests that came while the board of firmware only was above the
//!   limit, where there are enough of them; images and conversations each for themselves. *Out of reach* where neither oracle keeps
//!   it: the free one, nor the one that is held to the other gates and refuses sooner where that is what it takes, if it does not
//!   lose more images or tokens by that than the gate of the 95 % lets it.
//! - Swings of the pace count where the load stands still: in bursts the pace must go up in the cool and down in the heat.
//! - Forecasts: not those of the first 300 s, nor those that span the failure of the fan or are made within 300 s of it.

use super::outcome::{Outcome, Wait};

/// How a gate was met, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// It says nothing here.
    NotJudged,
    /// It was.
    Met,
    /// It was not, nor by an oracle that keeps the other gates.
    OutOfReach,
    /// It was not.
    Missed,
}

/// A gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Zero seconds above the limit.
    Limit,
    /// Goodput at least 95 % of the oracle's.
    Oracle,
    /// Goodput at least that of firmware only.
    Firmware,
    /// 99th percentile of waits at most half of firmware only.
    Waits,
    /// Fewer than 20 switches an hour, and fewer than 20 swings of the pace.
    Switches,
    /// Forecast given the load that came, at +60 s, within 1.5 °C RMS.
    Minute,
    /// The same at +300 s, within 3 °C.
    FiveMinutes,
}

/// What a cell came to.
pub(crate) struct Judged {
    /// The gate.
    pub(crate) gate: Gate,
    /// The verdict.
    pub(crate) verdict: Verdict,
    /// The governor's figure, and the oracle's where it tells why.
    pub(crate) figures: String,
}

/// What is compared in a cell.
#[derive(Clone, Copy)]
pub(crate) struct Compared<'a> {
    /// Firmware only, with a plain queue.
    pub(crate) firmware: &'a Outcome,
    /// Firmware only, with our admission.
    pub(crate) admitting: &'a Outcome,
    /// The governor.
    pub(crate) governor: &'a Outcome,
    /// The oracle.
    pub(crate) oracle: &'a Outcome,
    /// The oracle held to the other gates, where it was asked.
    pub(crate) restrained: Option<&'a Outcome>,
}

/// A cell is overloaded while firmware only runs hot if it turned away at least this share of a request a second.
const OVERLOADED: f64 = 0.2;
/// The share of the oracle's goodput that is to be served.
pub(crate) const SHARE: f64 = 0.95;
/// Requests that a percentile needs.
const ENOUGH: usize = 200;

impl Gate {
    /// Every gate.
    pub(crate) const ALL: [Gate; 7] =
        [Gate::Limit, Gate::Oracle, Gate::Firmware, Gate::Waits, Gate::Switches, Gate::Minute, Gate::FiveMinutes];

    /// What it demands.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Gate::Limit => "never above the limit",
            Gate::Oracle => "goodput at least 95 % of the oracle's",
            Gate::Firmware => "goodput at least firmware's (clock)",
            Gate::Waits => "p99 at most half of firmware's",
            Gate::Switches => "fewer than 20 switches an hour",
            Gate::Minute => "forecast +60 s within 1.5 K RMS",
            Gate::FiveMinutes => "forecast +300 s within 3 K RMS",
        }
    }

    /// Judges a cell.
    pub(crate) fn judge(self, cell: &Compared) -> Judged {
        let (verdict, figures) = match self {
            Gate::Limit => {
                let shows = |o: &Outcome| format!("{:.1} s above, peak {:.2} °C", o.above, o.peak);
                (met(cell.governor.above == 0.0), format!("{}; oracle {}", shows(cell.governor), shows(cell.oracle)))
            }
            Gate::Oracle => {
                let keeps = |o: &Outcome, than: &Outcome| o.good >= SHARE * than.good;
                let share = |o: &Outcome, than: &Outcome| 100.0 * o.good / than.good.max(1.0);
                let figures = format!("{:.1} % of the oracle's", share(cell.governor, cell.oracle));
                match cell.restrained {
                    _ if keeps(cell.governor, cell.oracle) => (Verdict::Met, figures),
                    None => (Verdict::Missed, figures),
                    Some(held) => {
                        let out = (cell.oracle_breaks_others() || !keeps(held, cell.oracle)) && keeps(cell.governor, held);
                        let figures = format!(
                            "{figures} with {:.0} switches an hour, {:.1} % of what it serves if it is held to the other gates, which is {:.1} %",
                            cell.oracle.switches_an_hour(),
                            share(cell.governor, held),
                            share(held, cell.oracle)
                        );
                        (if out { Verdict::OutOfReach } else { Verdict::Missed }, figures)
                    }
                }
            }
            Gate::Firmware => {
                let share = |o: &Outcome| o.good / cell.firmware.good.max(1.0);
                let shares = |o: &Outcome| {
                    let of_ours = 100.0 * o.good / cell.admitting.good.max(1.0);
                    format!("{:.1} % ({of_ours:.1} % with our admission)", 100.0 * share(o))
                };
                let keeps = |o: &Outcome| share(o) >= 0.995;
                let held_misses = cell.restrained.is_some_and(|held| !keeps(held) && cell.governor.good >= SHARE * held.good);
                let verdict = match (keeps(cell.governor), keeps(cell.oracle) && !held_misses) {
                    _ if !cell.governor.cell.clock => Verdict::NotJudged,
                    (true, _) => Verdict::Met,
                    (false, true) => Verdict::Missed,
                    (false, false) => Verdict::OutOfReach,
                };
                let held = cell.restrained.map_or(String::new(), |held| format!("; held to the other gates {}", shares(held)));
                (verdict, format!("{}; oracle {}{held}", shares(cell.governor), shares(cell.oracle)))
            }
            Gate::Waits => cell.waits(),
            Gate::Switches => {
                let (switches, swings) = (cell.governor.switches_an_hour(), cell.governor.swings_an_hour());
                let swings_count = cell.governor.cell.load.stands_still();
                (met(switches < 20.0 && (swings < 20.0 || !swings_count)), format!("{switches:.0} switches and {swings:.0} swings an hour"))
            }
            Gate::Minute => forecast(cell.governor, 0, 1.5),
            Gate::FiveMinutes => forecast(cell.governor, 1, 3.0),
        };
        Judged { gate: self, verdict, figures }
    }
}

fn met(is: bool) -> Verdict {
    if is { Verdict::Met } else { Verdict::Missed }
}

fn forecast(governor: &Outcome, horizon: usize, within: f64) -> (Verdict, String) {
    match governor.given[horizon].rms() {
        Some(rms) => (met(rms <= within), format!("{rms:.2} K RMS")),
        None => (Verdict::NotJudged, "none".into()),
    }
}

impl Compared<'_> {
    /// Whether the free oracle breaks a gate other than those of goodput.
    fn oracle_breaks_others(&self) -> bool {
        let oracle = Compared { governor: self.oracle, restrained: None, ..*self };
        [Gate::Switches, Gate::Waits].iter().any(|gate| gate.judge(&oracle).verdict > Verdict::Met)
    }

    fn waits(&self) -> (Verdict, String) {
        let hot: Vec<bool> = self.firmware.seconds.iter().map(|second| second.above).collect();
        let in_heat = |wait: &Wait| hot.get(wait.came as usize).is_some_and(|above| *above);
        let turned_away: u32 = self.firmware.seconds.iter().filter(|second| second.above).map(|second| second.turned_away).sum();
        let hot_for = hot.iter().filter(|above| **above).count();
        if hot_for < 30 || f64::from(turned_away) < OVERLOADED * hot_for as f64 {
            return (Verdict::NotJudged, "firmware only is not overloaded in the heat".into());
        }
        let mut verdict = Verdict::NotJudged;
        let mut figures = Vec::new();
        for (talk, what) in [(false, "images"), (true, "conversations")] {
            let of = |wait: &Wait| wait.talk == talk && in_heat(wait);
            let enough = self.firmware.waits.iter().filter(|wait| of(wait)).count() >= ENOUGH;
            let (Some(firmware), Some(governor)) = (self.firmware.wait(0.99, of), self.governor.wait(0.99, of)) else { continue };
            if !enough {
                continue;
            }
            let [admitting, oracle] = [self.admitting, self.oracle].map(|o| o.wait(0.99, of).unwrap_or(0.0));
            let held = self.restrained.map(|o| (o.wait(0.99, of).unwrap_or(0.0), o.least_share(self.oracle)));
            let keeps = |wait: f64| wait <= 0.5 * firmware;
            let in_reach = keeps(oracle) || held.is_none_or(|(wait, share)| keeps(wait) && share >= SHARE);
            verdict = verdict.max(match (keeps(governor), in_reach) {
                (true, _) => Verdict::Met,
                (false, true) => Verdict::Missed,
                (false, false) => Verdict::OutOfReach,
            });
            let held = held.map_or(String::new(), |(wait, share)| {
                format!("; held to the other gates {wait:.2}, with {:.1} % of images or tokens", 100.0 * share)
            });
            figures.push(format!(
                "{what} {governor:.2} s of firmware's {firmware:.2} (with our admission {admitting:.2}; oracle {oracle:.2}{held})"
            ));
        }
        (verdict, figures.join(", "))
    }
}
