//! The panels of the report: one under the other on the same time axis.

use super::clock::{Zone, ticks};
use super::figures::{Runs, lanes};
use super::svg::{Anchor, Picture, width_of};
use hearth_api::history::Record;

/// A curve in a panel.
pub(super) struct Curve<'a> {
    /// Its classes: the colour and how the line is drawn.
    pub(super) class: &'a str,
    pub(super) runs: &'a Runs,
    /// In the panel's heading; empty for none.
    pub(super) name: String,
}

/// What is behind every panel.
pub(super) struct Backdrop<'a> {
    pub(super) zone: Zone,
    /// From, to: when nothing was recorded.
    pub(super) gaps: &'a [(f64, f64)],
    /// Moments.
    pub(super) decisions: &'a [f64],
}

/// Where a panel is, and what its axes span.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
    /// Moments at the edges.
    pub(super) time: (f64, f64),
    pub(super) axis: Axis,
}

/// The values of a panel, upwards.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    /// Values at the bottom and the top; of a logarithmic one their powers of ten.
    pub(super) range: (f64, f64),
    step: f64,
    logarithmic: bool,
}

impl Axis {
    /// From one value to another, with a line about each 34 pixels of a height.
    pub(super) fn between(range: (f64, f64), height: f64) -> Axis {
        Axis { range, step: round_step((range.1 - range.0) / (height / 34.0).max(1.0)), logarithmic: false }
    }

    /// From nothing to at least this.
    pub(super) fn from_zero(most: f64, height: f64) -> Axis {
        let most = if most > 0.0 { most * 1.04 } else { 1.0 };
        let step = round_step(most / (height / 30.0).floor().max(2.0));
        Axis { range: (0.0, (most / step).ceil() * step), step, logarithmic: false }
    }

    /// As far down as up.
    pub(super) fn around_zero(most: f64) -> Axis {
        let step = round_step(most);
        Axis { range: (-step, step), step, logarithmic: false }
    }

    /// The powers of ten that hold these values, which are more than nothing.
    pub(super) fn logarithmic(least: f64, most: f64) -> Axis {
        let (low, high) = (least.log10().floor(), most.log10().ceil());
        Axis { range: (low, high.max(low + 1.0)), step: ((high - low) / 3.0).ceil().max(1.0), logarithmic: true }
    }
}

impl Frame {
    pub(super) fn x(&self, moment: f64) -> f64 {
        let (from, to) = self.time;
        self.left + ((moment - from) / (to - from)).clamp(0.0, 1.0) * self.width
    }

    pub(super) fn y(&self, value: f64) -> f64 {
        let value = if self.axis.logarithmic { value.max(1e-9).log10() } else { value };
        let (low, high) = self.axis.range;
        self.top + (1.0 - ((value - low) / (high - low)).clamp(0.0, 1.0)) * self.height
    }

    /// Paper, and gaps in it.
    fn paper(&self, picture: &mut Picture, backdrop: &Backdrop<'_>) {
        picture.rectangle("panel", self.left, self.top, self.width, self.height, "");
        for (from, to) in backdrop.gaps {
            let title = format!("nothing was recorded from {} to {}", backdrop.zone.seconds(*from), backdrop.zone.seconds(*to));
            picture.rectangle("gap", self.x(*from), self.top, self.x(*to) - self.x(*from), self.height, &title);
        }
    }

    /// Decisions, as hairs.
    fn hairs(&self, picture: &mut Picture, backdrop: &Backdrop<'_>) {
        for moment in backdrop.decisions {
            let x = self.x(*moment);
            picture.line("ink stroke hair", (x, self.top), (x, self.top + self.height));
        }
    }

    /// Paper, gaps, decisions, and the lines of the axes, with a heading above.
    pub(super) fn draw(&self, picture: &mut Picture, backdrop: &Backdrop<'_>, heading: &str) {
        self.paper(picture, backdrop);
        let Axis { range: (low, high), step, logarithmic } = self.axis;
        let mut value = (low / step).ceil() * step;
        while value <= high + step * 1e-6 {
            let shown = if logarithmic { 10f64.powf(value) } else { value };
            let y = self.y(shown);
            picture.line("grid", (self.left, y), (self.left + self.width, y));
            let step = if logarithmic { shown } else { step };
            picture.text("faint small", self.left - 7.0, y + 4.0, Anchor::End, &number(shown, step));
            value += self.axis.step;
        }
        for tick in self.ticks(backdrop.zone) {
            let x = self.x(tick);
            picture.line("grid", (x, self.top), (x, self.top + self.height));
        }
        self.hairs(picture, backdrop);
        picture.text("ink h2", self.left, self.top - 7.0, Anchor::Start, heading);
    }

    /// The curves, with their names at the right above the panel; what would not fit there is left out.
    pub(super) fn curves(&self, picture: &mut Picture, heading: &str, curves: &[Curve<'_>]) {
        let mut right = self.left + self.width;
        let end = self.left + width_of(heading) * 1.15 + 12.0;
        for curve in curves.iter().rev().filter(|curve| !curve.name.is_empty()) {
            let begin = right - width_of(&curve.name) - 24.0;
            if begin < end {
                break;
            }
            picture.runs(&format!("{} stroke", curve.class), &[vec![(begin, self.top - 11.0), (begin + 16.0, self.top - 11.0)]]);
            picture.text("faint", begin + 21.0, self.top - 7.0, Anchor::Start, &curve.name);
            right = begin - 12.0;
        }
        for curve in curves {
            let runs: Vec<Vec<(f64, f64)>> = curve.runs.iter().map(|run| self.thinned(run)).collect();
            picture.runs(&format!("{} stroke", curve.class), &runs);
        }
    }

    /// A run in pixels; of the points that share a pixel across, the lowest and the highest.
    fn thinned(&self, run: &[(f64, f64)]) -> Vec<(f64, f64)> {
        let mut thinned: Vec<(f64, f64)> = Vec::new();
        let points = run.iter().filter(|(at, _)| (self.time.0..=self.time.1).contains(at)).map(|(at, value)| (self.x(*at), self.y(*value)));
        for (x, y) in points {
            let end = thinned.len();
            match thinned.get_mut(end.saturating_sub(2)..) {
                Some([first, second]) if x - first.0 < 0.8 && second.0 - first.0 < 0.8 => {
                    let (low, high) = (first.1.min(second.1).min(y), first.1.max(second.1).max(y));
                    (first.1, second.1) = if first.1 <= second.1 { (low, high) } else { (high, low) };
                }
                _ => thinned.push((x, y)),
            }
        }
        thinned
    }

    fn ticks(&self, zone: Zone) -> Vec<f64> {
        ticks(zone, self.time, 9)
    }

    /// The times under the last panel, with the day where it changes.
    pub(super) fn times(&self, picture: &mut Picture, zone: Zone, y: f64) {
        let mut day = String::new();
        for tick in self.ticks(zone) {
            let today = zone.day(tick);
            let x = self.x(tick);
            picture.text("ink", x, y, Anchor::Middle, &zone.minutes(tick));
            if today != day {
                // Not over the edge of the picture.
                picture.text(
                    "faint small",
                    x.max(self.left + 20.0),
                    y + 14.0,
                    Anchor::Middle,
                    today.rsplit_once(' ').map_or("", |(day, _)| day),
                );
                day = today;
            }
        }
    }
}

/// What is written on a bar, and how full it is, 0 to 1; none where there is nothing to tell.
type Told = Box<dyn Fn(&Record) -> Option<(String, f64)>>;

/// A lane: a value that stays for times, as bars that are the fuller the higher it is.
pub(super) struct Lane {
    name: &'static str,
    class: &'static str,
    value: Told,
}

impl Lane {
    pub(super) fn new(name: &'static str, class: &'static str, value: impl Fn(&Record) -> Option<(String, f64)> + 'static) -> Lane {
        Lane { name, class, value: Box::new(value) }
    }
}

/// Height of a lane, with the room below it.
pub(super) const LANE: f64 = 20.0;

/// Draws lanes, and gives where they end.
pub(super) fn draw_lanes(picture: &mut Picture, mut frame: Frame, backdrop: &Backdrop<'_>, records: &[Record], of: &[Lane]) -> f64 {
    let zone = backdrop.zone;
    frame.height = LANE - 4.0;
    for lane in of {
        let top = frame.top;
        picture.text("ink", frame.left - 7.0, top + 12.5, Anchor::End, lane.name);
        frame.paper(picture, backdrop);
        let bars = lanes(records, frame.time.1, |record| {
            (lane.value)(record).map(|(text, full)| (text, (full.clamp(0.0, 1.0) * 9.0).round() as u32))
        });
        for (from, to, (text, full)) in bars {
            let (x, width) = (frame.x(from), frame.x(to) - frame.x(from));
            let title = format!("{} {text}, {} to {}", lane.name, zone.seconds(from), zone.seconds(to));
            picture.rectangle(&format!("{} full{full}", lane.class), x, top, width.max(0.6), LANE - 4.0, &title);
            if width > width_of(&text) + 6.0 {
                picture.text(if full >= 6 { "on small" } else { "ink small" }, x + width / 2.0, top + 12.0, Anchor::Middle, &text);
            }
        }
        frame.hairs(picture, backdrop);
        frame.top += LANE;
    }
    frame.top
}

/// A round step of at least this.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.max(1e-9).log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * power).find(|step| *step >= least * 0.999).unwrap_or(10.0 * power)
}

/// The highest value of curves.
pub(super) fn highest<'a>(curves: impl IntoIterator<Item = &'a Runs>) -> f64 {
    curves.into_iter().flatten().flatten().map(|(_, value)| *value).fold(0.0, f64::max)
}

/// A number with as many digits as its step has.
fn number(value: f64, step: f64) -> String {
    let value = if value.abs() < step / 1e3 { 0.0 } else { value };
    match value.abs() {
        v if v >= 10_000.0 => format!("{:.0}k", value / 1000.0),
        _ if step >= 1.0 => format!("{value:.0}"),
        _ if step >= 0.1 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_round() {
        assert_eq!((round_step(0.9), round_step(1.1), round_step(30.0), round_step(0.03)), (1.0, 2.0, 50.0, 0.05));
        assert_eq!((Axis::from_zero(0.0, 60.0).range, Axis::from_zero(37.0, 120.0).range), ((0.0, 1.0), (0.0, 40.0)));
        assert_eq!((Axis::around_zero(1.2).range, Axis::logarithmic(20.0, 900.0).range), ((-2.0, 2.0), (1.0, 3.0)));
        assert_eq!((number(-0.0, 0.5), number(12_000.0, 2000.0), number(2.0, 1.0)), ("0.0".into(), "12k".into(), "2".into()));
    }

    #[test]
    fn many_points_in_a_pixel_keep_their_extremes() {
        let frame =
            Frame { left: 0.0, top: 0.0, width: 10.0, height: 100.0, time: (0.0, 1000.0), axis: Axis::between((0.0, 100.0), 100.0) };
        let run: Vec<(f64, f64)> = (0..=1000).map(|n| (f64::from(n), if n == 500 { 90.0 } else { 10.0 })).collect();
        let thinned = frame.thinned(&run);
        assert!(thinned.len() < 40, "{}", thinned.len());
        assert!(thinned.iter().any(|(x, y)| (x - 5.0).abs() < 1.0 && (y - 10.0).abs() < 1e-9), "{thinned:?}");
    }
}
