//! Requests: the envelope that both doors fill, parsed once, into types that cannot be wrong.

use crate::Fault;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Name of a model: 1 to 64 of `a-z 0-9 . _ -`, the first a letter or digit. Safe in a topic and a path.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelName(Arc<str>);

impl ModelName {
    /// Parses a name; the error says what a name looks like.
    pub fn new(name: impl AsRef<str>) -> Result<ModelName, Fault> {
        let name = name.as_ref();
        let fits = (1..=64).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'))
            && name.as_bytes()[0].is_ascii_alphanumeric();
        if fits {
            return Ok(ModelName(name.into()));
        }
        let shown: String = name.chars().take(64).collect();
        Err(Fault::bad_request(format!(
            "{shown:?} is no model name: 1 to 64 of a-z, 0-9, dot, underscore and hyphen, a letter or digit first"
        )))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Id of a request, chosen by its caller or by the door: 1 to 128 printable ASCII characters without space, `/`, `+`, `#`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// Parses an id; the error says what an id looks like.
    pub fn new(id: impl AsRef<str>) -> Result<RequestId, Fault> {
        let id = id.as_ref();
        if (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b'+' | b'#')) {
            return Ok(RequestId(id.into()));
        }
        let shown: String = id.chars().take(64).collect();
        Err(Fault::bad_request(format!("{shown:?} is no request id: 1 to 128 printable ASCII characters without space, '/', '+' and '#'")))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! text_newtype {
    ($($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = Fault;
            fn try_from(text: String) -> Result<Self, Fault> {
                $name::new(text)
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.as_str().to_owned()
            }
        }
        impl std::str::FromStr for $name {
            type Err = Fault;
            fn from_str(text: &str) -> Result<Self, Fault> {
                $name::new(text)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }
    )*};
}
text_newtype!(ModelName, RequestId);

/// How urgent a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// Runs when nothing else waits and the board is cool.
    Background,
    /// The usual.
    #[default]
    Normal,
    /// Goes first, interrupts longer work between two nodes of its graph, and is admitted on a hot board.
    High,
}

impl Priority {
    /// Every priority, the lowest first.
    pub const ALL: [Priority; 3] = [Priority::Background, Priority::Normal, Priority::High];

    /// The priority as it is written on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Priority::Background => "background",
            Priority::Normal => "normal",
            Priority::High => "high",
        }
    }
}

impl std::str::FromStr for Priority {
    type Err = Fault;
    fn from_str(text: &str) -> Result<Priority, Fault> {
        Priority::ALL
            .into_iter()
            .find(|p| p.as_str() == text)
            .ok_or_else(|| Fault::bad_request(format!("{text:?} is no priority: high, normal or background")))
    }
}

/// What a payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContentType {
    /// `application/json`: Open Inference Protocol v2, or OpenAI's chat completions.
    Json,
    /// `application/octet-stream`: v2 with the binary tensor data extension.
    Binary {
        /// Length in bytes of the JSON header before the tensors; `None` where the whole payload is one raw tensor.
        header_length: Option<usize>,
    },
    /// `image/jpeg`
    Jpeg,
    /// `image/png`
    Png,
    /// `audio/wav`
    Wav,
    /// `text/plain`, UTF-8
    Text,
}

impl ContentType {
    /// Parses a media type; its parameters (`; charset=...`) are ignored.
    pub fn parse(text: &str) -> Result<ContentType, Fault> {
        let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/json" => Ok(ContentType::Json),
            "application/octet-stream" => Ok(ContentType::Binary { header_length: None }),
            "image/jpeg" | "image/jpg" => Ok(ContentType::Jpeg),
            "image/png" => Ok(ContentType::Png),
            "audio/wav" | "audio/x-wav" | "audio/wave" | "audio/vnd.wave" => Ok(ContentType::Wav),
            "text/plain" => Ok(ContentType::Text),
            _ => Err(Fault::bad_request(format!(
                "content type {text:?} is not known: application/json, application/octet-stream, image/jpeg, image/png, audio/wav or text/plain"
            ))),
        }
    }

    /// Recognises a payload that came without a content type by its first bytes.
    pub fn sniff(payload: &[u8]) -> Result<ContentType, Fault> {
        match payload {
            [0xff, 0xd8, 0xff, ..] => Ok(ContentType::Jpeg),
            [0x89, b'P', b'N', b'G', ..] => Ok(ContentType::Png),
            [b'R', b'I', b'F', b'F', ..] => Ok(ContentType::Wav),
            _ if payload.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{') => Ok(ContentType::Json),
            _ => Err(Fault::bad_request(
                "the payload has no content type and does not begin like JPEG, PNG, WAV (RIFF) or JSON ({); send a content type",
            )),
        }
    }

    /// The same for a talk with a language model: JSON, or else text.
    pub fn sniff_chat(payload: &[u8]) -> ContentType {
        ContentType::sniff(payload).ok().filter(|t| *t == ContentType::Json).unwrap_or(ContentType::Text)
    }

    /// The media type.
    pub fn as_str(self) -> &'static str {
        match self {
            ContentType::Json => "application/json",
            ContentType::Binary { .. } => "application/octet-stream",
            ContentType::Jpeg => "image/jpeg",
            ContentType::Png => "image/png",
            ContentType::Wav => "audio/wav",
            ContentType::Text => "text/plain",
        }
    }
}

/// The bytes of a request and what they are said to be.
#[derive(Clone)]
pub struct Payload {
    /// What they are.
    pub content_type: ContentType,
    /// The bytes; shared, never copied on the way in.
    pub bytes: Bytes,
}

impl fmt::Debug for Payload {
    // Payloads rest nowhere, logs included.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes", self.content_type.as_str(), self.bytes.len())
    }
}

/// One request, whichever door it came through.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its id.
    pub id: RequestId,
    /// The model asked for.
    pub model: ModelName,
    /// What to work on.
    pub payload: Payload,
    /// How urgent it is.
    pub priority: Priority,
    /// How long the answer is worth having, from now on.
    pub timeout: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_name_is_safe_in_a_path_and_a_topic() {
        for bad in ["", ".", "..", "../x", "a/b", "a+", "#", "A", "-x", "é", &"x".repeat(65)] {
            assert!(ModelName::new(bad).is_err(), "{bad}");
        }
        for good in ["digits", "yolo-v8n", "llama3.2_1b", "0"] {
            assert_eq!(ModelName::new(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn a_payload_without_a_type_is_recognised_by_its_first_bytes() {
        assert_eq!(ContentType::sniff(b"\xff\xd8\xff\xe0").unwrap(), ContentType::Jpeg);
        assert_eq!(ContentType::sniff(b"\x89PNG\r\n").unwrap(), ContentType::Png);
        assert_eq!(ContentType::sniff(b"RIFF....WAVE").unwrap(), ContentType::Wav);
        assert_eq!(ContentType::sniff(b"  \n{\"inputs\":[]}").unwrap(), ContentType::Json);
        assert!(ContentType::sniff(b"").is_err());
        assert!(ContentType::sniff(b"hello").is_err());
        assert_eq!(ContentType::sniff_chat(b"hello"), ContentType::Text);
        assert_eq!(ContentType::sniff_chat(b" {\"messages\":[]}"), ContentType::Json);
    }
}
