//! Values as Python writes them, which is what templates were written for: `tojson` is `json.dumps`, printing is `str`.

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind, Output, State};
use std::fmt::Write;

/// How deep a value may nest: as deep as JSON that comes with a request may.
const MAX_DEPTH: usize = 128;

/// How `json.dumps` lays a value out.
struct Layout {
    indent: Option<usize>,
    item: String,
    key: String,
    sort: bool,
    /// What is not ASCII is escaped.
    ascii: bool,
}

/// A text that is being written, each part for fuel: a value that holds another twice, and so on, would fill the memory.
struct Writer<'s, 't, 'e> {
    state: &'s State<'t, 'e>,
    text: String,
}

impl Writer<'_, '_, '_> {
    fn put(&mut self, part: &str) -> Result<(), Error> {
        self.state.consume_fuel(1 + part.len() as u64 / 64)?;
        self.text.push_str(part);
        Ok(())
    }

    /// The items of a list or the names of a map, of a value that is not too deep.
    fn items(&self, value: &Value, depth: usize) -> Result<Vec<Value>, Error> {
        if depth >= MAX_DEPTH {
            return Err(Error::new(ErrorKind::InvalidOperation, format!("a value is nested more than {MAX_DEPTH} deep")));
        }
        value.try_iter()?.map(|item| self.state.consume_fuel(1).map(|()| item)).collect()
    }
}

/// `json.dumps` with `indent`, `separators`, `sort_keys` and, unlike Python's own, `ensure_ascii=False`, as transformers defines it.
pub(super) fn tojson(state: &State<'_, '_>, value: &Value, arguments: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = arguments.get("indent")?;
    if let Some(indent) = indent.filter(|indent| *indent > MAX_DEPTH) {
        return Err(Error::new(ErrorKind::InvalidOperation, format!("tojson indents by {indent}; at most {MAX_DEPTH} is right")));
    }
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
    let mut writer = Writer { state, text: String::new() };
    dump(value, &Layout { indent, item, key, sort, ascii }, 0, &mut writer)?;
    Ok(Value::from_safe_string(writer.text))
}

fn dump(value: &Value, layout: &Layout, depth: usize, writer: &mut Writer<'_, '_, '_>) -> Result<(), Error> {
    match value.kind() {
        ValueKind::None => writer.put("null"),
        ValueKind::Bool => writer.put(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => writer.put(&number(value)),
        ValueKind::String => writer.put(&quoted(value.as_str().unwrap_or_default(), layout.ascii)),
        ValueKind::Seq | ValueKind::Iterable => {
            let items = writer.items(value, depth)?;
            block(["[", "]"], &items, layout, depth, writer, |item, writer| dump(item, layout, depth + 1, writer))
        }
        ValueKind::Map => {
            let mut names = writer.items(value, depth)?;
            if layout.sort {
                names.sort();
            }
            block(["{", "}"], &names, layout, depth, writer, |name, writer| {
                writer.put(&quoted(&name.to_string(), layout.ascii))?;
                writer.put(&layout.key)?;
                dump(&value.get_item(name)?, layout, depth + 1, writer)
            })
        }
        other => Err(Error::new(ErrorKind::InvalidOperation, format!("{other} is no JSON"))),
    }
}

fn block<'s, 't, 'e>(
    brackets: [&str; 2],
    items: &[Value],
    layout: &Layout,
    depth: usize,
    writer: &mut Writer<'s, 't, 'e>,
    mut one: impl FnMut(&Value, &mut Writer<'s, 't, 'e>) -> Result<(), Error>,
) -> Result<(), Error> {
    let line = |depth: usize| match layout.indent {
        Some(indent) if !items.is_empty() => format!("\n{}", " ".repeat(indent * depth)),
        _ => String::new(),
    };
    writer.put(brackets[0])?;
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            writer.put(&layout.item)?;
        }
        writer.put(&line(depth + 1))?;
        one(item, writer)?;
    }
    writer.put(&line(depth))?;
    writer.put(brackets[1])
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
pub(super) fn print(output: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    match value.as_str() {
        Some(text) => output.write_str(text)?,
        None => output.write_str(&text(state, value)?)?,
    }
    Ok(())
}

/// The filter `string`.
pub(super) fn string(state: &State<'_, '_>, value: &Value) -> Result<Value, Error> {
    if value.kind() == ValueKind::String { Ok(value.clone()) } else { text(state, value).map(Value::from) }
}

fn text(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    let mut writer = Writer { state, text: String::new() };
    represent(value, 0, &mut writer)?;
    Ok(writer.text)
}

/// Python's `repr` of a value from JSON. An undefined value is nothing, as in Jinja.
fn represent(value: &Value, depth: usize, writer: &mut Writer<'_, '_, '_>) -> Result<(), Error> {
    match value.kind() {
        ValueKind::None => writer.put("None"),
        ValueKind::Bool => writer.put(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number => writer.put(&number(value)),
        ValueKind::String => writer.put(&single_quoted(value.as_str().unwrap_or_default())),
        ValueKind::Seq => {
            writer.put("[")?;
            for (at, item) in writer.items(value, depth)?.iter().enumerate() {
                writer.put(if at > 0 { ", " } else { "" })?;
                represent(item, depth + 1, writer)?;
            }
            writer.put("]")
        }
        ValueKind::Map => {
            writer.put("{")?;
            for (at, name) in writer.items(value, depth)?.iter().enumerate() {
                writer.put(if at > 0 { ", " } else { "" })?;
                represent(name, depth + 1, writer)?;
                writer.put(": ")?;
                represent(&value.get_item(name)?, depth + 1, writer)?;
            }
            writer.put("}")
        }
        _ => writer.put(&value.to_string()),
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
