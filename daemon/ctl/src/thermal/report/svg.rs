//! Drawing a picture: shapes with classes, whose colours for light and dark are in one style sheet.

use std::fmt::Write;

/// A picture that grows.
#[derive(Debug, Default)]
pub(super) struct Picture {
    body: String,
}

/// Where a text is fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Picture {
    /// A rectangle, with a tooltip unless that is empty.
    pub(super) fn rectangle(&mut self, class: &str, x: f64, y: f64, width: f64, height: f64, title: &str) {
        let _ = write!(self.body, r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}""#);
        self.close("rect", title);
    }

    /// A straight line.
    pub(super) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let ((x1, y1), (x2, y2)) = (from, to);
        let _ = writeln!(self.body, r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#);
    }

    /// Lines through points, one for each run; a run of one point is a short dash.
    pub(super) fn runs(&mut self, class: &str, runs: &[Vec<(f64, f64)>]) {
        let mut path = String::new();
        for run in runs {
            for (index, (x, y)) in run.iter().enumerate() {
                let _ = write!(path, "{}{x:.1} {y:.1}", if index == 0 { 'M' } else { 'L' });
            }
            if run.len() == 1 {
                path.push_str("h1");
            }
        }
        if !path.is_empty() {
            let _ = writeln!(self.body, r#"<path class="{class}" d="{path}"/>"#);
        }
    }

    /// A mark that points down to (x, y), with a tooltip.
    pub(super) fn mark(&mut self, class: &str, x: f64, y: f64, title: &str) {
        let _ = write!(self.body, r#"<path class="{class}" d="M{:.1} {:.1}h9l-4.5 8z""#, x - 4.5, y - 8.0);
        self.close("path", title);
    }

    /// A text.
    pub(super) fn text(&mut self, class: &str, x: f64, y: f64, anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => r#" text-anchor="middle""#,
            Anchor::End => r#" text-anchor="end""#,
        };
        let _ = writeln!(self.body, r#"<text class="{class}" x="{x:.1}" y="{y:.1}"{anchor}>{}</text>"#, escaped(text));
    }

    fn close(&mut self, element: &str, title: &str) {
        if title.is_empty() {
            self.body.push_str("/>\n");
        } else {
            let _ = writeln!(self.body, "><title>{}</title></{element}>", escaped(title));
        }
    }

    /// The whole file.
    pub(super) fn finish(self, width: f64, height: f64, title: &str) -> String {
        let (title, body) = (escaped(title), self.body);
        let style = style();
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">
<title>{title}</title>
<style>
{style}</style>
<defs><pattern id="gap" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><path class="hatch" d="M0 0v7"/></pattern></defs>
<rect class="paper" width="{width}" height="{height}"/>
{body}</svg>
"#
        )
    }
}

/// The width that a text takes at most, in pixels, at a size of 12: nobody here can measure it.
pub(super) fn width_of(text: &str) -> f64 {
    text.chars().count() as f64 * 6.6
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // XML has no way to write these.
            c if c.is_control() => escaped.push(' '),
            '\u{fffe}' | '\u{ffff}' => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Colours: name, on light paper, on dark. The models' are told apart by those who see no red or green (after Okabe and Ito).
const COLOURS: [(&str, &str, &str); 20] = [
    ("paper", "#f7f7f5", "#14171a"),
    ("panel", "#ffffff", "#1b1f24"),
    ("ink", "#1c2127", "#e7eaed"),
    ("faint", "#5a646e", "#98a2ac"),
    ("grid", "#e4e7ea", "#2a3037"),
    ("temperature", "#c2410c", "#fb923c"),
    ("limit", "#b91c1c", "#f87171"),
    ("fan", "#0e7490", "#5cc8de"),
    ("blow", "#0e7490", "#24788c"),
    ("soon", "#2563eb", "#6ba5fa"),
    ("later", "#7c3aed", "#bda4fb"),
    ("allowed", "#15803d", "#4ade80"),
    ("busy", "#475569", "#94a3b8"),
    ("lane", "#2f6690", "#3f7fb0"),
    ("m0", "#0072b2", "#56a8e8"),
    ("m1", "#d98200", "#f0b429"),
    ("m2", "#009e73", "#2cc295"),
    ("m3", "#b8578a", "#e29bc4"),
    ("m4", "#4b4fae", "#9aa0ff"),
    ("m5", "#8a6d3b", "#c9ab74"),
];

/// Colours of models that there are; more share the last.
pub(super) const MODEL_COLOURS: usize = 6;

fn style() -> String {
    let mut style = String::from(
        "text{font-family:system-ui,-apple-system,\"Segoe UI\",Roboto,\"Noto Sans\",\"DejaVu Sans\",sans-serif;font-size:12px}
.h1{font-size:21px;font-weight:600}.h2{font-size:13px;font-weight:600}.big{font-size:20px;font-weight:600}.small{font-size:11px}
.end{font-weight:600}
path.stroke,line.stroke{fill:none;stroke-width:1.4;stroke-linejoin:round}
path.thick{stroke-width:2}path.fine{stroke-width:1.1}
.dashed{stroke-dasharray:6 4}.dotted{stroke-dasharray:2 3}
.hair{stroke-width:1;stroke-opacity:.35}.gap{fill:url(#gap)}.over{opacity:.07}.hatch{stroke-width:1.6}text.on{fill:#fff}
",
    );
    // How full a bar is.
    (0..=9).for_each(|full| _ = writeln!(style, ".full{full}{{fill-opacity:{:.2}}}", 0.14 + 0.86 * f64::from(full) / 9.0));
    for dark in [false, true] {
        if dark {
            style.push_str("@media (prefers-color-scheme:dark){\n");
        }
        for (name, on_light, on_dark) in COLOURS {
            let colour = if dark { on_dark } else { on_light };
            match name {
                "paper" | "panel" => _ = writeln!(style, "rect.{name}{{fill:{colour}}}"),
                "grid" => _ = writeln!(style, ".grid{{stroke:{colour};fill:none}}.hatch{{stroke:{colour}}}"),
                _ => {
                    _ = writeln!(
                        style,
                        "path.{name}.stroke,line.{name}{{stroke:{colour}}}text.{name},rect.{name},path.{name}.solid{{fill:{colour}}}"
                    );
                }
            }
        }
        if dark {
            style.push_str("}\n");
        }
    }
    style
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_stays_text() {
        let mut picture = Picture::default();
        picture.text("ink", 1.0, 2.0, Anchor::End, "a<b>&\"c\"\u{1b}[0m");
        picture.mark("limit solid", 5.0, 5.0, "</title><script>");
        let svg = picture.finish(10.0, 10.0, "x & y");
        assert!(svg.contains("a&lt;b&gt;&amp;&quot;c&quot; [0m") && svg.contains("&lt;/title&gt;&lt;script&gt;"), "{svg}");
        assert!(!svg.contains("<script") && svg.contains("<title>x &amp; y</title>"));
    }
}
