//! Replies: the answer of a task, and how it came about.

use crate::chat::Chat;
use crate::tensor::{Tensor, to_binary};
use crate::{ContentType, ModelName, RequestId};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The answer to a request, as JSON. A caller that sent binary v2 gets binary v2 back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The request's id.
    pub id: RequestId,
    /// The model that answered.
    pub model: ModelName,
    /// Its version.
    pub model_version: String,
    /// What it says.
    #[serde(flatten)]
    pub answer: Answer,
    /// Where the time went.
    pub timings: Timings,
    /// How many requests rode in the same batch, this one included.
    pub batch: u32,
    /// How many threads computed it.
    pub threads: u32,
    /// Empty, or `high-operating-temperature` (the words of power-profiles-daemon) while heat costs speed.
    pub performance_degraded: String,
}

impl Reply {
    /// The reply as a payload, and what that payload is: tensors as binary v2 where the request came as binary, all else
    /// as JSON.
    pub fn encode(&self, asked: ContentType) -> (Bytes, ContentType) {
        if let (ContentType::Binary { .. }, Answer::Outputs { outputs }) = (asked, &self.answer) {
            let (payload, header_length) = to_binary(self.head(), outputs);
            return (payload, ContentType::Binary { header_length: Some(header_length) });
        }
        (serde_json::to_vec(self).expect("a reply is plain data").into(), ContentType::Json)
    }

    /// Everything but the answer.
    fn head(&self) -> Map<String, Value> {
        let head = json!({
            "id": self.id, "model": self.model, "model_version": self.model_version, "timings": self.timings,
            "batch": self.batch, "threads": self.threads, "performance_degraded": self.performance_degraded,
        });
        let Value::Object(head) = head else { unreachable!("written as an object") };
        head
    }
}

/// Where the time of a request went, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Timings {
    /// Waiting for the model's turn.
    pub queued_us: u64,
    /// Waiting, on purpose, for others to join the batch.
    pub batched_us: u64,
    /// Decoding, inference and encoding.
    pub computed_us: u64,
}

/// What a task says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Answer {
    /// `classify`
    Labels {
        /// The likeliest labels, best first.
        labels: Vec<Label>,
    },
    /// `regress`
    Reading {
        /// The value read.
        reading: Reading,
    },
    /// `anomaly`
    Anomaly {
        /// How unlike the normal it is.
        anomaly: Anomaly,
    },
    /// `detect`
    Boxes {
        /// What was found, the surest first; empty where nothing was.
        boxes: Vec<Detection>,
        /// In what the boxes lie.
        image: ImageSize,
    },
    /// `embed`, of one text, picture or recording
    Embedding {
        /// The vector.
        embedding: Vec<f32>,
        /// Tokens of the text, those that its tokenizer adds included.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tokens: Option<u32>,
        /// The text was longer than the model takes: its rest had no part in the vector.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        truncated: Option<bool>,
    },
    /// `embed`, of a list of texts, of tensors, or of the windows of a recording
    Embeddings(Box<Embeddings>),
    /// A language model's answer to a talk.
    Chat(Box<Chat>),
    /// `tensor`: Open Inference Protocol v2.
    Outputs {
        /// The outputs asked for, or all.
        outputs: Vec<Tensor>,
    },
}

/// A label and how sure the model is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Label {
    /// The label.
    pub label: String,
    /// Its share of one.
    pub score: f32,
}

/// A value that was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// The value, in `unit`.
    pub value: f64,
    /// Its unit.
    pub unit: String,
}

/// How unlike the normal something is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Anomaly {
    /// The higher the stranger.
    pub score: f64,
    /// The score from which on the verdict is `anomalous`.
    pub threshold: f64,
    /// `normal` or `anomalous`.
    pub verdict: String,
}

/// Vectors of several rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Embeddings {
    /// A vector for each row, in the order asked.
    pub embeddings: Vec<Vec<f32>>,
    /// Tokens of each text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Vec<u32>>,
    /// Whether each text was longer than the model takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncated: Option<Vec<bool>>,
}

/// A thing that was found: in pixels from the upper left corner of the upright picture, or, where tensors were sent, of the input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// What it is.
    pub label: String,
    /// How sure the model is, as a share of one.
    pub score: f32,
    /// Its left edge.
    pub x: f32,
    /// Its upper edge.
    pub y: f32,
    /// From its left to its right edge.
    pub width: f32,
    /// From its upper to its lower edge.
    pub height: f32,
}

/// The size of a picture in pixels, upright as its EXIF orientation says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSize {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(answer: Answer) -> Reply {
        Reply {
            id: RequestId::new("7").unwrap(),
            model: ModelName::new("gru").unwrap(),
            model_version: "1".into(),
            answer,
            timings: Timings { queued_us: 1, batched_us: 2, computed_us: 3 },
            batch: 4,
            threads: 2,
            performance_degraded: String::new(),
        }
    }

    #[test]
    fn tensors_go_back_in_the_form_they_came_in() {
        let reply = reply(Answer::Outputs { outputs: vec![Tensor::from_f32("y", vec![2], &[1.5, -2.0])] });
        let (json, content_type) = reply.encode(ContentType::Json);
        assert_eq!(content_type, ContentType::Json);
        assert_eq!(serde_json::from_slice::<Reply>(&json).unwrap(), reply);

        let (binary, content_type) = reply.encode(ContentType::Binary { header_length: Some(9) });
        let ContentType::Binary { header_length: Some(length) } = content_type else { panic!("{content_type:?}") };
        let head: Value = serde_json::from_slice(&binary[..length]).unwrap();
        assert_eq!(head["outputs"][0]["parameters"]["binary_data_size"], 8);
        // But for where the data is, the head says what the JSON form says.
        let mut told = serde_json::to_value(&reply).unwrap();
        told["outputs"] = head["outputs"].clone();
        assert_eq!(head, told);
        assert_eq!(binary[length..], [1.5f32.to_le_bytes(), (-2.0f32).to_le_bytes()].concat());
    }

    #[test]
    fn vectors_are_short_in_json_and_come_back_as_they_were() {
        let embedding = vec![0.1f32, -1.0 / 3.0, f32::MIN_POSITIVE, 1e-45, f32::MAX, 16_777_216.0, -0.0];
        for answer in [
            Answer::Embedding { embedding: embedding.clone(), tokens: Some(7), truncated: Some(false) },
            Answer::Embeddings(Box::new(Embeddings { embeddings: vec![embedding.clone(), embedding], tokens: None, truncated: None })),
        ] {
            let reply = reply(answer);
            let (json, _) = reply.encode(ContentType::Text);
            let text = std::str::from_utf8(&json).unwrap();
            assert!(text.contains("[0.1,-0.33333334,1.1754944e-38,1e-45,3.4028235e+38,16777216.0,-0.0]"), "{text}");
            assert_eq!(serde_json::from_slice::<Reply>(&json).unwrap(), reply);
        }
    }

    #[test]
    fn what_is_no_tensor_goes_back_as_json() {
        let found = Detection { label: "bolt".into(), score: 0.93, x: 12.5, y: 8.0, width: 40.1, height: 22.7 };
        for answer in [
            Answer::Labels { labels: vec![Label { label: "3".into(), score: 0.9 }] },
            Answer::Boxes { boxes: vec![found], image: ImageSize { width: 320, height: 240 } },
            Answer::Boxes { boxes: Vec::new(), image: ImageSize { width: 1, height: 1 } },
        ] {
            let reply = reply(answer);
            let (json, content_type) = reply.encode(ContentType::Binary { header_length: None });
            assert_eq!(content_type, ContentType::Json);
            assert_eq!(serde_json::from_slice::<Reply>(&json).unwrap(), reply);
        }
    }
}
