//! Values as Python writes them, which is what templates were written for: `tojson` is `json.dumps`, printing is `str`.

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind, Output, State};
use std::fmt::Write;

/// How `json.dumps` lays a value out.
struct Layout {
    indent: Option<usize>,
    item: String,
    key: String,
    sort: bool,
    /// What is not ASCII is escaped.
    ascii: bool,
}

/// `json.dumps` with `indent`, `separators`, `sort_keys` and, unlike Python's own, `ensure_ascii=False`, as transformers defines it.
pub(super) fn tojson(value: &Value, arguments: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = arguments.get("indent")?;
    let separators: Option<(String, String)> = match arguments.get::<Option<Value>>("separators")? {
        Some(pair) if !pair.is_none() => Some((pair.get_item_by_index(0)?.to_string(), pair.get_item_by_index(1)?.to_string())),
        _ => None,
    };
    let sort = arguments.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    let ascii = arguments.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    arguments.assert_all_used()?;
    // As Python: no blank at the end of an indented line.
    let usual = if indent.is_some() { "," } else { ", " };
    let (item, key) = separators.unwrap_or((usual.into(), ": ".into()));
    let mut text = String::new();
    dump(value, &Layout { indent, item, key, sort, ascii }, 0, &mut text)?;
    Ok(Value::from_safe_string(text))
}

fn dump(value: &Value, layout: &Layout, depth: usize, text: &mut String) -> Result<(), Error> {
    match value.kind() {
        ValueKind::None => text.push_str("null"),
        ValueKind::Bool => text.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => text.push_str(&number(value)),
        ValueKind::String => text.push_str(&quoted(value.as_str().unwrap_or_default(), layout.ascii)),
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter()?.collect::<Vec<Value>>();
            block(['[', ']'], &items, layout, depth, text, |item, text| dump(item, layout, depth + 1, text))?;
        }
        ValueKind::Map => {
            let mut names = value.try_iter()?.collect::<Vec<Value>>();
            if layout.sort {
                names.sort();
            }
            block(['{', '}'], &names, layout, depth, text, |name, text| {
                text.push_str(&quoted(&name.to_string(), layout.ascii));
                text.push_str(&layout.key);
                dump(&value.get_item(name)?, layout, depth + 1, text)
            })?;
        }
        other => return Err(Error::new(ErrorKind::InvalidOperation, format!("{other} is no JSON"))),
    }
    Ok(())
}

fn block(
    brackets: [char; 2],
    items: &[Value],
    layout: &Layout,
    depth: usize,
    text: &mut String,
    mut one: impl FnMut(&Value, &mut String) -> Result<(), Error>,
) -> Result<(), Error> {
    let line = |depth: usize, text: &mut String| {
        if let Some(indent) = layout.indent.filter(|_| !items.is_empty()) {
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', indent * depth));
        }
    };
    text.push(brackets[0]);
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            text.push_str(&layout.item);
        }
        line(depth + 1, text);
        one(item, text)?;
    }
    line(depth, text);
    text.push(brackets[1]);
    Ok(())
}

/// A string in JSON, with no more escapes than it must have.
fn quoted(text: &str, ascii: bool) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            c if c < ' ' || (ascii && !c.is_ascii()) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(json, "\\u{unit:04x}").expect("a string takes all that is written");
                }
            }
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

/// A number as Python's `repr` has it.
fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    let Ok(float) = f64::try_from(value.clone()) else { return value.to_string() };
    let size = float.abs();
    if !(1e-4..1e16).contains(&size) && size != 0.0 && float.is_finite() {
        let text = format!("{float:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    format!("{float:?}")
}

/// Prints a value as Python's `str` does.
pub(super) fn print(output: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    // An undefined value prints nothing, as in Jinja.
    Ok(output.write_str(&text(value))?)
}

/// The filter `string`.
pub(super) fn string(value: &Value) -> Value {
    if value.kind() == ValueKind::String { value.clone() } else { Value::from(text(value)) }
}

fn text(value: &Value) -> String {
    match value.kind() {
        ValueKind::String => value.as_str().unwrap_or_default().to_owned(),
        _ => representation(value),
    }
}

/// Python's `repr` of a value from JSON.
fn representation(value: &Value) -> String {
    match value.kind() {
        ValueKind::None => "None".into(),
        ValueKind::Bool => if value.is_true() { "True" } else { "False" }.into(),
        ValueKind::Number => number(value),
        ValueKind::String => single_quoted(value.as_str().unwrap_or_default()),
        ValueKind::Seq => {
            let items: Vec<String> = value.try_iter().into_iter().flatten().map(|item| representation(&item)).collect();
            format!("[{}]", items.join(", "))
        }
        ValueKind::Map => {
            let names = value.try_iter().into_iter().flatten();
            let item = |name: Value| format!("{}: {}", representation(&name), representation(&value.get_item(&name).unwrap_or_default()));
            format!("{{{}}}", names.map(item).collect::<Vec<String>>().join(", "))
        }
        _ => value.to_string(),
    }
}

/// A string as Python's `repr` quotes it, printable characters as they are.
fn single_quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut quoted = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c == quote => quoted.extend(['\\', c]),
            c if (c as u32) < 0x20 || (0x7f..0xa0).contains(&(c as u32)) => {
                write!(quoted, "\\x{:02x}", c as u32).expect("a string takes all that is written");
            }
            c => quoted.push(c),
        }
    }
    quoted.push(quote);
    quoted
}

/// The test `iterable`: in Python nothing can be had of `None`.
pub(super) fn is_iterable(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Undefined | ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable)
}
