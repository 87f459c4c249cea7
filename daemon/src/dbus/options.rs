//! The `a{sv}` of options: read straight into what they may hold, so that a caller's deep nest of variants is never built.

use hearth_api::{Fault, Priority, RequestId};
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use zbus::{Signature, Type};

/// What a call is worth waiting for unless it says so: less than the 25 s that bus clients wait.
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest deadline that can be asked for.
const MAX_TIMEOUT_MS: i128 = 24 * 3600 * 1000;

/// Options as they came.
#[derive(Debug, Default)]
pub(super) struct Options(BTreeMap<String, Scalar>);

/// A value that an option may have.
#[derive(Debug)]
enum Scalar {
    Text(String),
    Integer(i128),
    Number(f64),
    /// Anything else; its signature.
    Other(String),
}

/// The options of a request.
#[derive(Debug, PartialEq)]
pub(super) struct RequestOptions {
    /// `priority`
    pub(super) priority: Priority,
    /// `id`
    pub(super) id: Option<RequestId>,
    /// `header_length`
    pub(super) header_length: Option<usize>,
    /// `timeout_ms`
    pub(super) timeout: Duration,
}

impl Options {
    /// As the options of a request: `priority` s, `id` s, `header_length` and `timeout_ms` of any integer type; `timeout` where
    /// the last is left out.
    pub(super) fn into_request(self, timeout: Duration) -> Result<RequestOptions, Fault> {
        let mut request = RequestOptions { priority: Priority::Normal, id: None, header_length: None, timeout };
        for (name, value) in self.0 {
            match name.as_str() {
                "priority" => request.priority = value.text(&name)?.parse()?,
                "id" => request.id = Some(value.text(&name)?.parse()?),
                "header_length" => request.header_length = Some(value.integer(&name, 0..=i128::from(u32::MAX))? as usize),
                "timeout_ms" => request.timeout = Duration::from_millis(value.integer(&name, 1..=MAX_TIMEOUT_MS)? as u64),
                _ => return Err(unknown(&name, "priority, id, header_length and timeout_ms")),
            }
        }
        Ok(request)
    }

    /// As the one option of `SetMode`: `celsius`, d or any integer type.
    pub(super) fn into_celsius(self) -> Result<Option<f64>, Fault> {
        let mut celsius = None;
        for (name, value) in self.0 {
            match name.as_str() {
                "celsius" => celsius = Some(value.number(&name)?),
                _ => return Err(unknown(&name, "celsius")),
            }
        }
        Ok(celsius)
    }

    /// As the options of a call that has none yet.
    pub(super) fn into_none(self) -> Result<(), Fault> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(name) => Err(unknown(&name, "none yet")),
        }
    }
}

fn unknown(name: &str, known: &str) -> Fault {
    let shown: String = name.chars().take(64).collect();
    Fault::bad_request(format!("option {shown:?} is not known; there are: {known}"))
}

impl Scalar {
    fn text(&self, name: &str) -> Result<&str, Fault> {
        match self {
            Scalar::Text(text) => Ok(text),
            _ => Err(Fault::bad_request(format!("option {name:?} is {}; it must be a string", self.kind()))),
        }
    }

    fn integer(&self, name: &str, range: std::ops::RangeInclusive<i128>) -> Result<i128, Fault> {
        match self {
            Scalar::Integer(value) if range.contains(value) => Ok(*value),
            Scalar::Integer(value) => {
                Err(Fault::bad_request(format!("option {name:?} is {value}; it must be {} to {}", range.start(), range.end())))
            }
            _ => Err(Fault::bad_request(format!("option {name:?} is {}; it must be an integer", self.kind()))),
        }
    }

    fn number(&self, name: &str) -> Result<f64, Fault> {
        match self {
            Scalar::Number(value) => Ok(*value),
            Scalar::Integer(value) => Ok(*value as f64),
            _ => Err(Fault::bad_request(format!("option {name:?} is {}; it must be a number", self.kind()))),
        }
    }

    fn kind(&self) -> String {
        match self {
            Scalar::Text(_) => "a string".into(),
            Scalar::Integer(_) => "an integer".into(),
            Scalar::Number(_) => "a number".into(),
            Scalar::Other(signature) => format!("of type {signature}"),
        }
    }
}

impl Type for Options {
    const SIGNATURE: &'static Signature = <std::collections::HashMap<String, zbus::OwnedVariant> as Type>::SIGNATURE;
}

impl<'de> Deserialize<'de> for Options {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Options, D::Error> {
        struct OptionsVisitor;
        impl<'de> Visitor<'de> for OptionsVisitor {
            type Value = Options;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a dictionary of options")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Options, A::Error> {
                let mut options = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Scalar>()? {
                    options.insert(name, value);
                }
                Ok(Options(options))
            }
        }
        deserializer.deserialize_map(OptionsVisitor)
    }
}

impl Type for Scalar {
    const SIGNATURE: &'static Signature = &Signature::Variant;
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Scalar, D::Error> {
        struct ScalarVisitor;
        impl<'de> Visitor<'de> for ScalarVisitor {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a variant")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut variant: A) -> Result<Scalar, A::Error> {
                let cut = || A::Error::custom("the variant is cut short");
                let signature: Signature = variant.next_element()?.ok_or_else(cut)?;
                macro_rules! integer {
                    ($t:ty) => {
                        variant.next_element::<$t>()?.map(|value| Scalar::Integer(value.into()))
                    };
                }
                match signature.to_string().as_str() {
                    "s" => variant.next_element()?.map(Scalar::Text),
                    "y" => integer!(u8),
                    "n" => integer!(i16),
                    "q" => integer!(u16),
                    "i" => integer!(i32),
                    "u" => integer!(u32),
                    "x" => integer!(i64),
                    "t" => integer!(u64),
                    "d" => variant.next_element()?.map(Scalar::Number),
                    other => variant.next_element::<IgnoredAny>()?.map(|_| Scalar::Other(other.to_owned())),
                }
                .ok_or_else(cut)
            }
        }
        deserializer.deserialize_seq(ScalarVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use zbus::Variant;
    use zbus::wire::{LE, serialized::Context, to_bytes};

    fn read(options: &[(&str, Variant<'_>)]) -> Result<RequestOptions, Fault> {
        let dictionary: HashMap<&str, Variant<'_>> = options.iter().map(|(name, value)| (*name, value.clone())).collect();
        let encoded = to_bytes(Context::new(LE, 0), &dictionary).unwrap();
        let (options, _): (Options, _) = encoded.deserialize().unwrap();
        options.into_request(DEFAULT_TIMEOUT)
    }

    #[test]
    fn options_are_read_whatever_integer_a_client_writes() {
        let request =
            read(&[("timeout_ms", Variant::from(500u32)), ("priority", Variant::from("high")), ("id", Variant::from("a"))]).unwrap();
        assert_eq!((request.timeout, request.priority), (Duration::from_millis(500), Priority::High));
        assert_eq!(read(&[("timeout_ms", Variant::from(500i64))]).unwrap().timeout, Duration::from_millis(500));
        assert_eq!(read(&[]).unwrap().timeout, DEFAULT_TIMEOUT);
    }

    #[test]
    fn what_is_wrong_with_an_option_is_said() {
        for (name, value, says) in [
            ("speed", Variant::from(1u32), "\"speed\" is not known; there are: priority"),
            ("timeout_ms", Variant::from(0u32), "is 0; it must be 1 to"),
            ("timeout_ms", Variant::from(-1i32), "is -1"),
            ("timeout_ms", Variant::from("1"), "is a string; it must be an integer"),
            ("timeout_ms", Variant::from(vec![1u32, 2]), "is of type au"),
            ("priority", Variant::from("urgent"), "no priority"),
            ("priority", Variant::from(true), "is of type b"),
            ("id", Variant::from("a b"), "no request id"),
        ] {
            let fault = read(&[(name, value)]).unwrap_err();
            assert!(fault.message.contains(says), "{}", fault.message);
        }
    }
}
