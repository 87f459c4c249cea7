//! What `hearthctl top` draws, for any size: what matters most is drawn last to go.

use super::plot::{Glyphs, Plot};
use super::state::{Row, State};
use crate::heat::Heat;
use crate::text;
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;
use serde_json::Value;

/// Rows of the plot, below which there is none.
const PLOT_ROWS: u16 = 6;
/// Headrooms from which the temperature is in yellow and in red.
const WARM: f64 = 0.7;
const HOT: f64 = 0.93;

/// How a terminal is drawn on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) glyphs: Glyphs,
    pub(super) colour: bool,
}

impl Look {
    /// What this terminal can show: `NO_COLOR` (no-color.org), the locale, and the kernel's console, whose fonts have no dots.
    pub(super) fn of(variable: impl Fn(&str) -> Option<String>) -> Look {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG")).unwrap_or_default().to_lowercase();
        let terminal = set("TERM").unwrap_or_default();
        let glyphs = match (locale.contains("utf-8") || locale.contains("utf8"), terminal.as_str()) {
            (false, _) => Glyphs::Ascii,
            (true, "linux") => Glyphs::Blocks,
            (true, _) => Glyphs::Braille,
        };
        Look { glyphs, colour: set("NO_COLOR").is_none() && terminal != "dumb" && !terminal.starts_with("vt") }
    }

    fn style(self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }

    fn heat(self, heat: &Heat) -> Style {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        match heat.headroom() {
            Some(headroom) if headroom >= HOT => bold.patch(self.style(Color::Red)),
            Some(headroom) if headroom >= WARM => bold.patch(self.style(Color::Yellow)),
            Some(_) => bold.patch(self.style(Color::Green)),
            None => bold,
        }
    }
}

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, state: &State, now: f64, look: Look) {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    render(buffer, area, state, now, look);
    if look.glyphs == Glyphs::Ascii {
        plain(buffer);
    }
}

fn render(buffer: &mut Buffer, area: Rect, state: &State, now: f64, look: Look) {
    let mut head = head(state, look, area.width);
    let rows = state.rows();
    let footer = footer(state, look);
    // A small terminal loses the plot first, then the table; the first lines and the keys stay.
    let height = usize::from(area.height);
    head.truncate(height.saturating_sub(usize::from(height > 1)));
    let left = height.saturating_sub(head.len() + 1);
    let wanted = rows.len() + 1;
    let spare_for_plot = if left >= wanted.min(4) + usize::from(PLOT_ROWS) { usize::from(PLOT_ROWS) } else { 0 };
    let room_for_table = if spare_for_plot > 0 { (left / 2).max(4) } else { left };
    let table_rows = if room_for_table >= 2 && !rows.is_empty() { wanted.min(room_for_table) } else { 0 };
    let plot_rows = if spare_for_plot > 0 { left - table_rows } else { 0 };

    let mut y = area.y;
    for line in head {
        line.render(Rect { y, height: 1, ..area }, buffer);
        y += 1;
    }
    if let Some(sample) = state.sample.as_ref().filter(|_| plot_rows > 0) {
        let plot_area = Rect { y, height: plot_rows as u16, ..area };
        if sample.heat.temperature.is_none() && state.past.is_empty() {
            Line::styled("no temperature: nothing to plot", Modifier::DIM).centered().render(plot_area, buffer);
        } else {
            let forecast: Vec<(f64, f64, f64)> = sample.heat.forecast.iter().map(|f| (f.after, f.temperature, f.error)).collect();
            let (limit, fan) = (sample.heat.limit, &sample.heat.fan_trips[..]);
            let forecast = if state.trouble.is_none() { &forecast[..] } else { &[] };
            let plot = Plot { past: &state.past, now, forecast, limit, fan, glyphs: look.glyphs, colour: look.colour };
            plot.render(plot_area, buffer);
        }
        y += plot_rows as u16;
    }
    if table_rows > 0 {
        let lines = table(rows, table_rows, area.width);
        for (index, line) in lines.into_iter().enumerate() {
            let style = if index == 0 { Modifier::BOLD } else { Modifier::empty() };
            Line::styled(line, style).render(Rect { y, height: 1, ..area }, buffer);
            y += 1;
        }
    }
    if height > 1 {
        footer.render(Rect { y: area.bottom() - 1, height: 1, ..area }, buffer);
    }
}

/// The lines above the plot, the most important first.
fn head(state: &State, look: Look, width: u16) -> Vec<Line<'static>> {
    let Some(sample) = &state.sample else {
        let trouble = state.trouble.clone().unwrap_or_else(|| "asking the daemon".into());
        return wrapped(&trouble, usize::from(width), 4).into_iter().map(Line::from).collect();
    };
    let heat = &sample.heat;
    let mut lines = Vec::new();
    let mut first = vec![Span::styled(heat.warmth().unwrap_or_else(|| "no temperature".into()), look.heat(heat))];
    first.extend(heat.headroom().map(|headroom| Span::raw(format!("  headroom {headroom:.2}"))));
    first.extend(
        (heat.forecast.iter().filter(|f| f.after > 30.0))
            .map(|f| Span::styled(format!("  +{:.0} s {:.1}±{:.1}", f.after, f.temperature, f.error), look.style(Color::Magenta))),
    );
    lines.push(Line::from(first));
    let who = format!("hearthd {} on {}", sample.version, sample.node);
    let count = |name: &str| sample.stats.get(name).and_then(Value::as_u64).unwrap_or_default();
    let waits = format!("{} waiting, {}", count("waiting"), text::bytes(count("waiting_bytes")));
    let mode = if heat.mode.is_empty() { String::new() } else { format!("mode {}  ", heat.mode()) };
    lines.push(Line::from(vec![Span::styled(mode, Modifier::BOLD), Span::raw(format!("{who}  {waits}"))]));
    let allowed: Vec<String> = heat.allowed().into_iter().map(|(name, value)| format!("{name} {value}")).collect();
    if !allowed.is_empty() {
        lines.push(Line::from(allowed.join("  ")));
    }
    let mut why = heat.limit_in().map_or_else(String::new, |text| format!("{text}; "));
    why.push_str(&heat.reason);
    if !heat.firmware.is_empty() {
        why.push_str(&format!("; firmware: {}", heat.firmware.join(", ")));
    }
    let style = if heat.degraded.is_empty() { Style::new() } else { look.style(Color::Yellow) };
    lines.extend(wrapped(&why, usize::from(width), 2).into_iter().map(|line| Line::styled(line, style)));
    lines
}

/// The last line: trouble, what came of a key, or the keys.
fn footer(state: &State, look: Look) -> Line<'static> {
    if let Some(trouble) = state.trouble.as_ref().filter(|_| state.sample.is_some()) {
        return Line::styled(format!("as it was; {trouble}"), look.style(Color::Red).add_modifier(Modifier::BOLD));
    }
    let keys = match state.next_mode() {
        _ if state.sample.is_none() => "q quit".into(),
        (mode, Some(celsius)) => format!("q quit  m mode {mode} at {celsius:.0} °C"),
        (mode, None) => format!("q quit  m mode {mode}"),
    };
    match &state.said {
        Some(said) => Line::from(vec![Span::styled(format!("{keys}   "), Modifier::DIM), Span::raw(said.clone())]),
        None => Line::styled(keys, Modifier::DIM),
    }
}

/// A column of the table: its heading, its width, and what is in it. Those in front stay longest.
type Column = (&'static str, usize, fn(&Row) -> String);

const COLUMNS: [Column; 8] = [
    ("ITEMS/S", 8, |row| row.rates.map_or_else(String::new, |rates| rate(rates.items))),
    ("WAITING", 7, |row| row.waiting.to_string()),
    ("TOKENS/S", 8, |row| row.rates.filter(|rates| rates.tokens > 0.0).map_or_else(String::new, |rates| rate(rates.tokens))),
    ("BATCH", 5, |row| if row.batch == 0 { String::new() } else { row.batch.to_string() }),
    ("THREADS", 7, |row| if row.threads == 0 { String::new() } else { row.threads.to_string() }),
    ("LATENCY", 8, |row| row.rates.and_then(|rates| rates.latency).map_or_else(String::new, latency)),
    ("FAULTS", 6, |row| row.faults.to_string()),
    ("ANSWERED", 9, |row| row.answered.to_string()),
];
/// The least and the most columns of a model's name.
const NAME: (usize, usize) = (8, 28);
const STATE: usize = 11;

/// The table in so many lines, its heading among them. Where not all models have room, those with work go first.
fn table(mut rows: Vec<Row>, lines: usize, width: u16) -> Vec<String> {
    let mut room = usize::from(width).saturating_sub(NAME.0);
    let with_state = room >= STATE + 2 + 2 * 10;
    room = room.saturating_sub(if with_state { STATE + 2 } else { 0 });
    let mut columns = 0;
    while columns < COLUMNS.len() && room >= COLUMNS[columns].1 + 2 {
        room -= COLUMNS[columns].1 + 2;
        columns += 1;
    }
    let name_width = (NAME.0 + room).min(NAME.1);
    let line = |name: &str, state: &str, cells: &mut dyn Iterator<Item = String>| {
        let mut line = format!("{:<name_width$}", shortened(name, name_width));
        if with_state {
            line.push_str(&format!("  {state:<STATE$}"));
        }
        cells.zip(COLUMNS).for_each(|(cell, (_, width, _))| line.push_str(&format!("  {cell:>width$}")));
        line
    };
    let mut table = vec![line("MODEL", "STATE", &mut COLUMNS.iter().take(columns).map(|(heading, ..)| (*heading).to_owned()))];
    let hidden = if rows.len() + 1 > lines {
        rows.sort_by_key(|row| (!row.is_busy(), std::cmp::Reverse(row.waiting), row.name.clone()));
        let shown = lines.saturating_sub(2);
        rows.split_off(shown.min(rows.len())).len()
    } else {
        0
    };
    table.extend(rows.iter().map(|row| line(&row.name, &row.state, &mut COLUMNS.iter().take(columns).map(|(.., cell)| cell(row)))));
    if hidden > 0 {
        table.push(format!("and {hidden} more"));
    }
    table
}

/// The table as text, without bounds.
pub(super) fn whole_table(state: &State) -> String {
    let rows = state.rows();
    let lines = rows.len() + 1;
    table(rows, lines, u16::MAX).iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}

fn rate(a_second: f64) -> String {
    if a_second >= 99.95 { format!("{a_second:.0}") } else { format!("{a_second:.1}") }
}

fn latency(milliseconds: f64) -> String {
    match milliseconds {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 10_000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.0} s", ms / 1000.0),
    }
}

/// A name within a width.
fn shortened(name: &str, width: usize) -> String {
    if name.chars().count() <= width {
        return name.to_owned();
    }
    name.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// Words in lines of a width, at most so many lines; the last says that there is more.
fn wrapped(text: &str, width: usize, lines: usize) -> Vec<String> {
    let mut wrapped: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let full = wrapped.len() == lines;
        match wrapped.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(line) if full => {
                *line = shortened(&format!("{line} {word}"), width);
                break;
            }
            _ => wrapped.push(word.to_owned()),
        }
    }
    wrapped
}

/// Only what every terminal has.
fn plain(buffer: &mut Buffer) {
    for cell in &mut buffer.content {
        if !cell.symbol().is_ascii() {
            let plain = match cell.symbol() {
                "±" => "~",
                "…" => ".",
                "°" => " ",
                _ => "?",
            };
            cell.set_symbol(plain);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::tests::sample;
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    const COLOUR: Look = Look { glyphs: Glyphs::Braille, colour: true };

    /// A board that warmed up for five minutes.
    fn state() -> State {
        let mut state = State::default();
        state.remember((0..10).map(|n| (f64::from(n) * 30.0 - 300.0, 55.0 + f64::from(n))));
        for second in 0..6 {
            state.take(sample(f64::from(second), 40 * second as u64, 12 * second as u64));
        }
        state
    }

    fn drawn(state: &State, width: u16, height: u16, look: Look) -> (Vec<String>, Buffer) {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, state, 5.0, look)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        ((0..height).map(line).collect(), buffer)
    }

    #[test]
    fn everything_is_on_a_screen_of_80_by_24() {
        let (lines, _) = drawn(&state(), 80, 24, COLOUR);
        let all = lines.join("\n");
        assert_eq!(lines[0], "71.3 °C of 80 °C  headroom 0.71  +60 s 75.1±0.6  +300 s 79.2±1.4", "{all}");
        assert!(lines[1].starts_with("mode balanced  hearthd 0.1.0 on press-3  7 waiting, 120.6 KiB"), "{all}");
        assert!(lines[2].starts_with("threads 3  cores 2.4  busy 2.1  batch 8  clock 100 %  fan 2 of 4  admits normal+"), "{all}");
        assert!(lines[3].starts_with("the limit in about 143 s at this load; 79.2 °C are expected"), "{all}");
        assert!(all.contains(" limit 80 ") && all.contains(" fan 3 at 68 ") && all.contains("now") && all.contains("+5 min"), "{all}");
        let digits = lines.iter().find(|line| line.starts_with("digits")).expect("a row");
        let cells: Vec<&str> = digits.split_whitespace().collect();
        assert_eq!(cells, ["digits", "ready", "40.0", "5", "8", "1", "30", "ms"], "{all}");
        assert_eq!(lines[23], "q quit  m mode quiet");
    }

    #[test]
    fn no_size_is_too_small_and_what_matters_stays() {
        let state = state();
        for width in (0..100).step_by(7) {
            for height in 0..30 {
                for glyphs in [Glyphs::Braille, Glyphs::Blocks, Glyphs::Ascii] {
                    let (lines, _) = drawn(&state, width, height, Look { glyphs, colour: true });
                    if width >= 16 && height >= 1 {
                        assert!(lines[0].starts_with("71.3"), "{width}x{height}: {lines:?}");
                    }
                    if width >= 6 && height >= 2 {
                        assert!(lines[usize::from(height) - 1].starts_with("q quit"), "{width}x{height}: {lines:?}");
                    }
                }
            }
        }
        let mut unreachable = State::default();
        unreachable.trouble = Some("the daemon does not answer".into());
        for nothing in [State::default(), unreachable] {
            for (width, height) in [(0, 0), (1, 1), (80, 24), (200, 60)] {
                drawn(&nothing, width, height, COLOUR);
            }
        }
    }

    #[test]
    fn without_colour_nothing_is_coloured_and_without_unicode_all_is_ascii() {
        let (_, buffer) = drawn(&state(), 80, 24, Look { glyphs: Glyphs::Braille, colour: false });
        assert!(buffer.content.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
        let (lines, _) = drawn(&state(), 80, 24, Look { glyphs: Glyphs::Ascii, colour: true });
        assert!(lines.iter().all(|line| line.is_ascii()), "{lines:#?}");
        assert!(lines.iter().any(|line| line.contains('*')) && lines.iter().any(|line| line.contains('+')));
    }

    #[test]
    fn a_second_changes_little_of_the_screen() {
        let mut state = state();
        let (_, before) = drawn(&state, 80, 24, COLOUR);
        state.take(sample(6.0, 240, 72));
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        terminal.draw(|frame| draw(frame, &state, 6.0, COLOUR)).unwrap();
        let changed = before.diff(terminal.backend().buffer()).len();
        assert!(changed < 80, "{changed} cells of 1920 are sent again");
    }

    #[test]
    fn a_daemon_that_went_away_is_said_and_the_last_is_kept() {
        let mut state = state();
        state.trouble = Some("hearthd does not run on this bus; trying again".into());
        let (lines, _) = drawn(&state, 80, 24, COLOUR);
        assert!(lines[0].starts_with("71.3"));
        assert_eq!(lines[23], "as it was; hearthd does not run on this bus; trying again");
    }

    #[test]
    fn a_board_without_a_sensor_shows_what_it_can() {
        let mut state = State::default();
        let mut blind = sample(0.0, 0, 0);
        blind.heat = Heat { reason: "no temperature sensor: nothing is held back".into(), mode: "balanced".into(), ..Heat::default() };
        state.take(blind);
        let (lines, _) = drawn(&state, 80, 24, COLOUR);
        assert_eq!(lines[0], "no temperature");
        assert!(
            lines.iter().any(|line| line.contains("nothing to plot")) && lines.iter().any(|line| line.starts_with("digits")),
            "{lines:#?}"
        );
    }

    #[test]
    fn many_models_show_those_with_work() {
        let mut state = state();
        let sample = state.sample.as_mut().unwrap();
        sample.models.extend((0..40).map(|n| (format!("another-{n}"), "available".into())));
        let (lines, _) = drawn(&state, 80, 24, COLOUR);
        assert!(lines.iter().any(|line| line.starts_with("foreman")), "{lines:#?}");
        assert!(lines.iter().any(|line| line.ends_with("more")), "{lines:#?}");
        assert!(lines.iter().any(|line| line.contains(" limit 80 ")), "the plot keeps its room: {lines:#?}");
        assert_eq!(whole_table(&state).lines().count(), 44);
    }

    #[test]
    fn the_terminal_is_asked_what_it_can_show() {
        let look = |variables: &'static [(&str, &str)]| {
            let look = Look::of(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()));
            (look.glyphs, look.colour)
        };
        assert_eq!(look(&[("LANG", "de_DE.UTF-8"), ("TERM", "xterm-256color")]), (Glyphs::Braille, true));
        assert_eq!(look(&[("LANG", "C.UTF-8"), ("TERM", "linux"), ("NO_COLOR", "")]), (Glyphs::Blocks, true));
        assert_eq!(look(&[("LANG", "C.UTF-8"), ("LC_ALL", "C"), ("TERM", "vt220"), ("NO_COLOR", "1")]), (Glyphs::Ascii, false));
    }
}
