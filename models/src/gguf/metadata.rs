//! The metadata of a GGUF file: keys and values, asked for by the type that a reader of them needs.

use super::GgufError;
use std::collections::BTreeMap;

/// A value. Whole numbers and floats of any width are one kind each; arrays hold one kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Integer(i128),
    /// A float.
    Float(f64),
    /// A text.
    Text(String),
    /// Whole numbers; yes and no as 1 and 0.
    Integers(Vec<i64>),
    /// Floats.
    Floats(Vec<f32>),
    /// Texts.
    Texts(Vec<String>),
}

/// All keys and values of a file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata(pub(super) BTreeMap<String, Value>);

impl Metadata {
    /// A value, if there is one.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// All keys and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// A text, if there is one.
    pub fn text(&self, key: &str) -> Result<Option<&str>, GgufError> {
        self.typed(key, "a text", |value| if let Value::Text(text) = value { Some(text.as_str()) } else { None })
    }

    /// A count or index, if there is one.
    pub fn count(&self, key: &str) -> Result<Option<usize>, GgufError> {
        self.typed(key, "a count below 2^32", |value| match value {
            Value::Integer(integer) => u32::try_from(*integer).ok().map(|count| count as usize),
            _ => None,
        })
    }

    /// A float (or a whole number taken as one), if there is one. Never infinite.
    pub fn float(&self, key: &str) -> Result<Option<f32>, GgufError> {
        self.typed(key, "a finite number", |value| match value {
            Value::Float(float) => Some(*float as f32).filter(|f| f.is_finite()),
            Value::Integer(integer) => Some(*integer as f32),
            _ => None,
        })
    }

    /// Yes or no, if it is said.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, GgufError> {
        self.typed(key, "true or false", |value| if let Value::Bool(bool) = value { Some(*bool) } else { None })
    }

    /// Texts, if there are any.
    pub fn texts(&self, key: &str) -> Result<Option<&[String]>, GgufError> {
        self.typed(key, "a list of texts", |value| if let Value::Texts(texts) = value { Some(texts.as_slice()) } else { None })
    }

    /// Floats, if there are any.
    pub fn floats(&self, key: &str) -> Result<Option<&[f32]>, GgufError> {
        self.typed(key, "a list of floats", |value| if let Value::Floats(floats) = value { Some(floats.as_slice()) } else { None })
    }

    /// Whole numbers, if there are any.
    pub fn integers(&self, key: &str) -> Result<Option<&[i64]>, GgufError> {
        self.typed(key, "a list of whole numbers", |value| if let Value::Integers(i) = value { Some(i.as_slice()) } else { None })
    }

    fn typed<'a, T>(&'a self, key: &str, what: &str, get: impl FnOnce(&'a Value) -> Option<T>) -> Result<Option<T>, GgufError> {
        let Some(value) = self.0.get(key) else { return Ok(None) };
        get(value).map(Some).ok_or_else(|| GgufError(format!("its metadata {key} is {}, not {what}", value.kind())))
    }
}

impl Value {
    /// What it is, for people.
    fn kind(&self) -> String {
        match self {
            Value::Bool(bool) => bool.to_string(),
            Value::Integer(integer) => format!("the number {integer}"),
            Value::Float(float) => format!("the number {float}"),
            Value::Text(_) => "a text".into(),
            Value::Integers(list) => format!("a list of {} whole numbers", list.len()),
            Value::Floats(list) => format!("a list of {} floats", list.len()),
            Value::Texts(list) => format!("a list of {} texts", list.len()),
        }
    }
}
