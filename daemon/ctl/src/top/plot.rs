//! The plot of `hearthctl top`: the temperature of the last minutes, the forecast of the next, and the lines that matter.
//!
//! It stands still for as long as a column lasts, so that a slow terminal is sent little. What is what can be told without colour:
//! the temperature is a closed line, the forecast a dotted one, and each line across has its name at the right.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::widgets::Widget;

/// Seconds shown before now, and after.
pub(super) const PAST: f64 = 300.0;
pub(super) const AHEAD: f64 = 300.0;
/// A longer time without a sample is a gap, in seconds. Those of the history come each 30 s.
const GAP: f64 = 75.0;
/// Columns of the labels of the temperature.
const LABELS: u16 = 5;

/// What a terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Glyphs {
    /// Unicode's patterns of eight dots.
    Braille,
    /// Half blocks, which the kernel's console has.
    Blocks,
    /// Letters and signs alone.
    Ascii,
}

impl Glyphs {
    /// Dots in a character, across and down.
    fn dots(self) -> (usize, usize) {
        match self {
            Glyphs::Braille => (2, 4),
            Glyphs::Blocks => (1, 2),
            Glyphs::Ascii => (1, 1),
        }
    }

    fn across(self) -> (&'static str, &'static str) {
        match self {
            Glyphs::Ascii => ("-", "."),
            _ => ("─", "┄"),
        }
    }
}

/// The plot.
#[derive(Debug)]
pub(super) struct Plot<'a> {
    /// Moment and degrees Celsius, in order; seconds on the clock that `now` is told on.
    pub(super) past: &'a [(f64, f64)],
    pub(super) now: f64,
    /// Seconds ahead, degrees Celsius, and one standard deviation in Kelvin; in order.
    pub(super) forecast: &'a [(f64, f64, f64)],
    pub(super) limit: Option<f64>,
    pub(super) fan: &'a [f64],
    pub(super) glyphs: Glyphs,
    pub(super) colour: bool,
}

/// Who has lit a dot: what is higher wins the colour of the character.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ink {
    Error,
    Forecast,
    Temperature,
}

/// The dots of an area.
struct Dots {
    width: usize,
    height: usize,
    lit: Vec<Option<Ink>>,
}

impl Dots {
    fn light(&mut self, x: usize, y: usize, ink: Ink) {
        if x < self.width && y < self.height {
            let dot = &mut self.lit[y * self.width + x];
            *dot = (*dot).max(Some(ink));
        }
    }
}

/// Where things are.
struct Scale {
    /// The moment of the left edge, and seconds a dot.
    left: f64,
    dot_seconds: f64,
    /// Degrees Celsius at the bottom and the top.
    low: f64,
    high: f64,
    rows: usize,
}

/// A line across.
struct Across {
    row: u16,
    symbol: &'static str,
    style: Style,
    name: String,
}

impl Scale {
    fn x(&self, at: f64) -> f64 {
        (at - self.left) / self.dot_seconds
    }

    /// The row of dots of a temperature, of `rows` in all.
    fn y(&self, celsius: f64, rows: usize) -> f64 {
        (self.high - celsius) / (self.high - self.low) * (rows as f64 - 1.0)
    }
}

impl Plot<'_> {
    /// The range of the temperatures, to whole fives, so that it seldom changes.
    fn range(&self) -> (f64, f64) {
        let seen = self.past.iter().filter(|(at, _)| *at >= self.now - PAST).map(|(_, celsius)| *celsius);
        let expected = self.forecast.iter().flat_map(|(_, celsius, error)| [celsius - error, celsius + error]);
        let (low, high) = seen
            .chain(expected)
            .chain(self.limit)
            .filter(|celsius| celsius.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), celsius| (low.min(celsius), high.max(celsius)));
        if low > high {
            return (20.0, 90.0);
        }
        let (low, high) = (((low - 2.0) / 5.0).floor() * 5.0, ((high + 1.0) / 5.0).ceil() * 5.0);
        (low, high.max(low + 10.0))
    }

    fn style(&self, colour: Color, modifier: Modifier) -> Style {
        let style = Style::new().add_modifier(modifier);
        if self.colour { style.fg(colour) } else { style }
    }

    /// The dots of the temperature and of what is expected.
    fn dots(&self, scale: &Scale, width: u16, height: u16) -> Dots {
        let (across, down) = self.glyphs.dots();
        let (width, height) = (usize::from(width) * across, usize::from(height) * down);
        let mut dots = Dots { width, height, lit: vec![None; width * height] };
        let mut stroke = |from: (f64, f64), to: (f64, f64), ink: Ink, every: usize| {
            let (x0, x1) = (scale.x(from.0), scale.x(to.0));
            let (first, last) = (x0.ceil().max(0.0) as usize, x1.floor().min(width as f64 - 1.0));
            if last < 0.0 {
                return;
            }
            let mut before: Option<usize> = None;
            for x in first..=(last as usize) {
                let share = if x1 > x0 { (x as f64 - x0) / (x1 - x0) } else { 1.0 };
                let y = scale.y(from.1 + (to.1 - from.1) * share, height);
                if !(y > -0.5 && y < height as f64 - 0.5) {
                    before = None;
                    continue;
                }
                let y = y.round() as usize;
                if x % every == 0 {
                    // A steep line is closed by what lies between.
                    let until = if every == 1 {
                        before.map_or(y, |b| {
                            if b < y {
                                b + 1
                            } else if b > y {
                                b - 1
                            } else {
                                y
                            }
                        })
                    } else {
                        y
                    };
                    (y.min(until)..=y.max(until)).for_each(|row| dots.light(x, row, ink));
                }
                before = Some(y);
            }
        };
        let known = self.past.iter().filter(|(_, celsius)| celsius.is_finite());
        let mut before: Option<(f64, f64)> = None;
        for sample in known.copied() {
            let from = before.filter(|before| sample.0 - before.0 <= GAP).unwrap_or(sample);
            // A point on its own is a dot.
            let from = if from == sample { (sample.0 - scale.dot_seconds, sample.1) } else { from };
            stroke(from, sample, Ink::Temperature, 1);
            before = Some(sample);
        }
        if let Some((at, celsius)) = before.filter(|(at, _)| self.now - at <= GAP) {
            let mut from = (at, celsius, 0.0);
            for (after, expected, error) in self.forecast {
                let to = (self.now + after, *expected, *error);
                // Where a character is one dot, the error would hide what is expected.
                if self.glyphs != Glyphs::Ascii {
                    stroke((from.0, from.1 + from.2), (to.0, to.1 + to.2), Ink::Error, 4);
                    stroke((from.0, from.1 - from.2), (to.0, to.1 - to.2), Ink::Error, 4);
                }
                stroke((from.0, from.1), (to.0, to.1), Ink::Forecast, if self.glyphs == Glyphs::Braille { 2 } else { 1 });
                from = to;
            }
        }
        dots
    }

    /// The character of a cell's dots, and who is seen in it.
    fn character(&self, dots: &Dots, column: usize, row: usize) -> Option<(char, Ink)> {
        let (across, down) = self.glyphs.dots();
        let lit = |x: usize, y: usize| dots.lit[(row * down + y) * dots.width + column * across + x];
        let ink = (0..down).flat_map(|y| (0..across).map(move |x| (x, y))).filter_map(|(x, y)| lit(x, y)).max()?;
        let character = match self.glyphs {
            Glyphs::Braille => {
                // The order of the dots in the code: down the left, down the right, then the two at the bottom.
                const BITS: [[u32; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
                let bits = BITS.iter().enumerate().flat_map(|(y, row)| row.iter().enumerate().map(move |(x, bit)| (x, y, *bit)));
                let pattern: u32 = bits.filter(|(x, y, _)| lit(*x, *y).is_some()).map(|(_, _, bit)| bit).sum();
                char::from_u32(0x2800 + pattern).unwrap_or('·')
            }
            Glyphs::Blocks => match (lit(0, 0).is_some(), lit(0, 1).is_some(), ink) {
                (_, _, Ink::Forecast | Ink::Error) => '·',
                (true, true, _) => '█',
                (true, false, _) => '▀',
                _ => '▄',
            },
            Glyphs::Ascii => {
                if ink == Ink::Temperature {
                    '*'
                } else {
                    '+'
                }
            }
        };
        Some((character, ink))
    }

    /// The lines across: row, character, style, name. The limit comes last and hides what is on its row.
    fn lines(&self, scale: &Scale) -> Vec<Across> {
        let (full, dotted) = self.glyphs.across();
        let row = |celsius: f64| {
            let row = scale.y(celsius, scale.rows).round();
            (row >= 0.0 && row < scale.rows as f64).then_some(row as u16)
        };
        let fan = self.fan.iter().enumerate().filter_map(|(step, celsius)| {
            let style = self.style(Color::Cyan, Modifier::DIM);
            Some(Across { row: row(*celsius)?, symbol: dotted, style, name: format!(" fan {} at {celsius:.0} ", step + 1) })
        });
        let limit = self.limit.and_then(|limit| {
            let style = self.style(Color::Red, Modifier::empty());
            Some(Across { row: row(limit)?, symbol: full, style, name: format!(" limit {limit:.0} ") })
        });
        let mut lines: Vec<Across> = fan.chain(limit).collect();
        // Trips that share a row share its name, which is that of the last.
        let rows: Vec<u16> = lines.iter().map(|line| line.row).collect();
        let mut index = 0;
        lines.retain(|line| {
            index += 1;
            !rows[index..].contains(&line.row)
        });
        lines
    }
}

impl Widget for &Plot<'_> {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        let area = area.intersection(buffer.area);
        if area.height < 4 || area.width < LABELS + 12 {
            return;
        }
        let inner = Rect { x: area.x + LABELS, width: area.width - LABELS, height: area.height - 1, ..area };
        let (across, _) = self.glyphs.dots();
        let column_seconds = (PAST + AHEAD) / f64::from(inner.width);
        // The right edge moves on by whole columns.
        let left = ((self.now - PAST) / column_seconds).floor() * column_seconds;
        let (low, high) = self.range();
        let scale = Scale { left, dot_seconds: column_seconds / across as f64, low, high, rows: usize::from(inner.height) };
        let faint = self.style(Color::DarkGray, Modifier::empty());
        let now = inner.x + (scale.x(self.now) / across as f64).clamp(0.0, f64::from(inner.width - 1)) as u16;
        let upright = if self.glyphs == Glyphs::Ascii { "|" } else { "│" };
        for y in inner.top()..inner.bottom() {
            buffer[(now, y)].set_symbol(upright).set_style(faint);
        }
        let lines = self.lines(&scale);
        for line in &lines {
            for x in inner.left()..inner.right() {
                buffer[(x, inner.y + line.row)].set_symbol(line.symbol).set_style(line.style);
            }
        }
        let dots = self.dots(&scale, inner.width, inner.height);
        for row in 0..usize::from(inner.height) {
            for column in 0..usize::from(inner.width) {
                let Some((character, ink)) = self.character(&dots, column, row) else { continue };
                let style = match ink {
                    Ink::Temperature => self.style(Color::Yellow, Modifier::BOLD),
                    Ink::Forecast => self.style(Color::Magenta, Modifier::empty()),
                    Ink::Error => self.style(Color::Magenta, Modifier::DIM),
                };
                buffer[(inner.x + column as u16, inner.y + row as u16)].set_char(character).set_style(style);
            }
        }
        for line in lines {
            // At the right, or where the forecast is there, at the left.
            let width = line.name.chars().count() as u16;
            let free = |from: u16| (from..from + width).all(|x| buffer[(x, inner.y + line.row)].symbol() == line.symbol);
            let ends = [inner.right().saturating_sub(width + 1), inner.left() + 1];
            if let Some(from) = ends.into_iter().find(|from| *from >= inner.left() && from + width <= inner.right() && free(*from)) {
                buffer.set_string(from, inner.y + line.row, line.name, line.style);
            }
        }
        self.labels(buffer, area, inner, &scale, now);
    }
}

impl Plot<'_> {
    /// The temperatures at the left and the times at the bottom.
    fn labels(&self, buffer: &mut Buffer, area: Rect, inner: Rect, scale: &Scale, now: u16) {
        let plain = self.style(Color::Gray, Modifier::empty());
        let step = [5.0, 10.0, 20.0, 50.0]
            .into_iter()
            .find(|step| (scale.high - scale.low) / step <= f64::from(inner.height) / 2.0)
            .unwrap_or(100.0);
        let mut celsius = (scale.low / step).ceil() * step;
        while celsius <= scale.high {
            let y = inner.y + scale.y(celsius, scale.rows).round().clamp(0.0, f64::from(inner.height - 1)) as u16;
            buffer.set_string(area.x, y, format!("{celsius:>4.0}"), plain);
            celsius += step;
        }
        let bottom = area.bottom() - 1;
        let column = |after: f64| i32::from(now) + (after / (PAST + AHEAD) * f64::from(inner.width)).round() as i32;
        let mut free = i32::from(inner.x);
        for (after, name) in [(-300.0, "-5 min"), (-120.0, "-2"), (0.0, "now"), (120.0, "+2"), (300.0, "+5 min")] {
            let width = name.len() as i32;
            let centred = column(after) - width / 2;
            let x = centred.clamp(i32::from(inner.x), i32::from(inner.right()) - width);
            if x >= free {
                buffer.set_string(x as u16, bottom, name, plain);
                free = x + width + 1;
            }
        }
    }
}
