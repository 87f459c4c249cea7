//! Requests as MQTT carries them: topic, properties and payload, parsed once, into types that cannot be wrong.
//! Knows nothing of connections.

use super::message::Address;
use crate::scheduler::{Door, Key};
use bytes::Bytes;
use hearth_api::topics::{Incoming, Topics};
use hearth_api::{ContentType, Fault, ModelName, Payload, Priority, Request, RequestId};
use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Names of the user property with the length of the JSON header of binary v2: ours, and that of the HTTP binding.
const HEADER_LENGTH: [&str; 2] = ["header_length", "inference-header-content-length"];

/// The `id` inside a v2 body is looked for in at most this many bytes of JSON.
const BODY_ID_BYTES: usize = 64 * 1024;

/// A topic of more bytes than this is not repeated in the topic of its fault.
const RESULT_TOPIC_BYTES: usize = 512;

/// What a request is held to.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    /// The node's topics.
    pub(super) topics: Topics,
    /// Patterns a response topic must match.
    pub(super) response_topics: Vec<String>,
    /// Largest payload.
    pub(super) payload_bytes: usize,
}

/// A message on a request topic.
#[derive(Debug)]
pub(super) struct Asked {
    /// Where its answer goes, a fault included.
    pub(super) address: Address,
    /// The request and its identity, or why it is none.
    pub(super) request: Result<(Key, Request), Fault>,
    /// Whether its answer may come piece by piece.
    pub(super) chat: bool,
}

/// Makes ids for requests that come without: short, and not given twice, by any run of the daemon.
#[derive(Debug)]
pub(super) struct Ids {
    run: u32,
    count: u64,
}

impl Ids {
    /// Ids of this run.
    pub(super) fn new() -> Ids {
        // The keys of RandomState are the standard library's one source of randomness.
        Ids { run: RandomState::new().build_hasher().finish() as u32, count: 0 }
    }

    fn next(&mut self) -> RequestId {
        self.count += 1;
        RequestId::new(format!("{:08x}-{}", self.run, self.count)).expect("hexadecimal, a hyphen and digits are an id")
    }
}

/// Reads a message that came on a request topic.
pub(super) fn read(publish: &Publish, rules: &Rules, ids: &mut Ids) -> Asked {
    let none = PublishProperties::default();
    let properties = publish.properties.as_ref().unwrap_or(&none);
    let topic = String::from_utf8_lossy(&publish.topic);
    let incoming = rules.topics.parse(&topic);
    let chat = matches!(incoming, Ok(Incoming::Chat(..)));
    let target = match incoming {
        Ok(Incoming::Infer(model, id) | Incoming::GroupInfer(_, model, id) | Incoming::Chat(model, id)) => Ok((model, id)),
        Ok(Incoming::Cancel) => Err(Fault::bad_request(format!("{topic:?} takes no requests"))),
        Err(fault) => Err(fault),
    };
    let content_type = match &properties.content_type {
        None if chat => Ok(ContentType::sniff_chat(&publish.payload)),
        _ => content_type(properties, &publish.payload),
    };
    let (model, topic_id) = target.as_ref().ok().cloned().unzip();
    let id = topic_id.flatten().or_else(|| body_id(content_type.as_ref().ok().copied(), &publish.payload)).unwrap_or_else(|| ids.next());
    let wanted = properties.response_topic.as_deref();
    let allowed = wanted.map_or(Ok(()), |wanted| rules.topics.check_response_topic(wanted, &rules.response_topics));
    let address = Address {
        topic: match (wanted, &allowed) {
            (Some(wanted), Ok(())) => wanted.into(),
            _ => default_topic(rules, &topic, model.as_ref(), &id).into(),
        },
        // Copied: a slice would keep the whole packet in memory until the answer is published.
        correlation: properties.correlation_data.as_deref().map(Bytes::copy_from_slice),
        qos: publish.qos,
        id: Some(id.clone()),
        model,
    };
    let request = || {
        allowed?;
        let (model, _) = target?;
        if publish.payload.len() > rules.payload_bytes {
            let message = format!("the payload has {} bytes, at most {} are taken", publish.payload.len(), rules.payload_bytes);
            return Err(Fault::too_large(message).with_limit("payload_bytes", rules.payload_bytes as u64));
        }
        let payload = Payload { content_type: content_type?, bytes: publish.payload.clone() };
        let priority = property(properties, "priority").map_or(Ok(Priority::default()), str::parse)?;
        let timeout = timeout(properties)?;
        let correlation = address.correlation.clone().unwrap_or_else(|| Bytes::copy_from_slice(id.as_str().as_bytes()));
        let key = Key { door: Door::Mqtt, reply_to: address.topic.clone(), correlation };
        Ok((key, Request { id, model, payload, priority, timeout }))
    };
    Asked { request: request(), address, chat }
}

/// Reads a cancellation: the id as text, or `{"id": ...}`.
pub(super) fn read_cancel(payload: &[u8]) -> Result<RequestId, Fault> {
    #[derive(serde::Deserialize)]
    struct Cancel {
        id: RequestId,
    }
    let what = "a cancellation is the id of a request as text, or {\"id\": ...}";
    let text = std::str::from_utf8(payload).map_err(|_| Fault::bad_request(format!("the payload is not UTF-8: {what}")))?.trim();
    if text.starts_with('{') {
        let cancel: Cancel = serde_json::from_str(text).map_err(|e| Fault::bad_request(format!("{e}: {what}")))?;
        return Ok(cancel.id);
    }
    RequestId::new(text)
}

/// Where an answer goes that has no response topic, or none that may be used: beside the request's own topic, even
/// where that names no model, so that whoever asked can find the fault.
fn default_topic(rules: &Rules, topic: &str, model: Option<&ModelName>, id: &RequestId) -> String {
    if let Some(model) = model {
        return rules.topics.result(model, id);
    }
    let rest = topic
        .split_once("/infer/")
        .or_else(|| topic.split_once("/chat/"))
        .map(|(_, rest)| rest)
        .filter(|rest| rest.len() <= RESULT_TOPIC_BYTES)
        .unwrap_or_default();
    // A topic name holds no wildcard, so neither does this.
    match rest.split_once('/') {
        _ if rest.is_empty() => format!("hearth/{}/result/{id}", rules.topics.node()),
        Some(_) => format!("hearth/{}/result/{rest}", rules.topics.node()),
        None => format!("hearth/{}/result/{rest}/{id}", rules.topics.node()),
    }
}

fn property<'a>(properties: &'a PublishProperties, name: &str) -> Option<&'a str> {
    properties.user_properties.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn content_type(properties: &PublishProperties, payload: &[u8]) -> Result<ContentType, Fault> {
    let content_type = match &properties.content_type {
        Some(text) => ContentType::parse(text)?,
        None => ContentType::sniff(payload)?,
    };
    let header_length = HEADER_LENGTH.iter().find_map(|name| property(properties, name));
    Ok(match (content_type, header_length) {
        (ContentType::Binary { .. }, Some(text)) => {
            let length = text.parse().map_err(|_| Fault::bad_request(format!("header_length {text:?} is no number of bytes")))?;
            ContentType::Binary { header_length: Some(length) }
        }
        (other, _) => other,
    })
}

/// The id in a v2 body. A body that cannot be read has none; the model's task says what is wrong with it.
fn body_id(content_type: Option<ContentType>, payload: &[u8]) -> Option<RequestId> {
    #[derive(serde::Deserialize)]
    struct Body {
        id: Option<RequestId>,
    }
    let json = match content_type? {
        ContentType::Json => payload,
        ContentType::Binary { header_length } => payload.get(..header_length?)?,
        _ => return None,
    };
    if json.len() > BODY_ID_BYTES {
        return None;
    }
    serde_json::from_slice::<Body>(json).ok()?.id
}

/// What is left of the message's expiry, or `timeout_ms`, whichever is shorter.
fn timeout(properties: &PublishProperties) -> Result<Option<Duration>, Fault> {
    let asked = property(properties, "timeout_ms")
        .map(|text| text.parse().map_err(|_| Fault::bad_request(format!("timeout_ms {text:?} is no number of milliseconds"))))
        .transpose()?
        .map(Duration::from_millis);
    let expiry = properties.message_expiry_interval.map(|seconds| Duration::from_secs(seconds.into()));
    Ok(asked.into_iter().chain(expiry).min())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_api::FaultKind;
    use hearth_api::topics::NodeName;
    use proptest::prelude::*;
    use rumqttc::v5::mqttbytes::QoS;

    fn rules() -> Rules {
        let topics = Topics::new(NodeName::new("n").unwrap());
        Rules { response_topics: topics.default_response_patterns(), topics, payload_bytes: 100 }
    }

    fn publish(topic: &str, payload: &[u8], properties: PublishProperties) -> Publish {
        Publish::new(topic, QoS::AtLeastOnce, payload.to_vec(), Some(properties))
    }

    fn read_one(topic: &str, payload: &[u8], properties: PublishProperties) -> Asked {
        read(&publish(topic, payload, properties), &rules(), &mut Ids::new())
    }

    fn user(pairs: &[(&str, &str)]) -> PublishProperties {
        PublishProperties {
            user_properties: pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
            ..PublishProperties::default()
        }
    }

    #[test]
    fn an_mqtt_3_client_is_answered_beside_its_request() {
        let mut message = publish("hearth/n/infer/digits/7", b"\x89PNG....", PublishProperties::default());
        message.properties = None;
        let asked = read(&message, &rules(), &mut Ids::new());
        let (key, request) = asked.request.unwrap();
        assert_eq!(&*asked.address.topic, "hearth/n/result/digits/7");
        assert_eq!(request.payload.content_type, ContentType::Png);
        assert_eq!(key.correlation, "7".as_bytes());
    }

    #[test]
    fn properties_mean_what_mqtt_5_means_by_them() {
        let asked = read_one(
            "hearth/group/line/infer/digits",
            b"{}",
            PublishProperties {
                response_topic: Some("hearth/reply/me".into()),
                correlation_data: Some("c".into()),
                content_type: Some("application/octet-stream".into()),
                message_expiry_interval: Some(3),
                ..user(&[("priority", "high"), ("timeout_ms", "5000"), ("Inference-Header-Content-Length", "2")])
            },
        );
        let (key, request) = asked.request.unwrap();
        assert_eq!((&*key.reply_to, &key.correlation[..]), ("hearth/reply/me", &b"c"[..]));
        assert_eq!(request.priority, Priority::High);
        assert_eq!(request.timeout, Some(Duration::from_secs(3)));
        assert_eq!(request.payload.content_type, ContentType::Binary { header_length: Some(2) });
    }

    #[test]
    fn an_id_is_the_topics_or_the_bodys_or_made() {
        let id = |topic: &str, body: &str| read_one(topic, body.as_bytes(), PublishProperties::default()).request.unwrap().1.id;
        assert_eq!(id("hearth/n/infer/digits/a", r#"{"id":"b"}"#).as_str(), "a");
        assert_eq!(id("hearth/n/infer/digits", r#"{"id":"b"}"#).as_str(), "b");
        assert_ne!(id("hearth/n/infer/digits", "{}"), id("hearth/n/infer/digits", "{}"));
    }

    #[test]
    fn what_is_wrong_is_said_where_the_caller_listens() {
        let response = |topic: &str| PublishProperties { response_topic: Some(topic.into()), ..PublishProperties::default() };
        let cases = [
            ("hearth/n/infer/digits/1", &b"{}"[..], response("hearth/n/infer/digits"), FaultKind::Unauthorized, "hearth/n/result/digits/1"),
            ("hearth/n/infer/digits/1", b"{}", response("elsewhere"), FaultKind::Unauthorized, "hearth/n/result/digits/1"),
            ("hearth/n/infer/NO/1", b"{}", PublishProperties::default(), FaultKind::BadRequest, "hearth/n/result/NO/1"),
            ("hearth/n/infer/NO", b"{}", response("hearth/reply/me"), FaultKind::BadRequest, "hearth/reply/me"),
            ("hearth/n/infer/digits/1", b"\xff\xfe", PublishProperties::default(), FaultKind::BadRequest, "hearth/n/result/digits/1"),
            ("hearth/n/infer/digits/1", b"", PublishProperties::default(), FaultKind::BadRequest, "hearth/n/result/digits/1"),
            ("hearth/n/infer/digits/1", &[b'{'; 101], PublishProperties::default(), FaultKind::TooLarge, "hearth/n/result/digits/1"),
            ("hearth/n/infer/digits/1", b"{}", user(&[("priority", "urgent")]), FaultKind::BadRequest, "hearth/n/result/digits/1"),
            ("hearth/n/infer/digits/1", b"{}", user(&[("timeout_ms", "-1")]), FaultKind::BadRequest, "hearth/n/result/digits/1"),
        ];
        for (topic, payload, properties, kind, goes_to) in cases {
            let asked = read_one(topic, payload, properties);
            let fault = asked.request.unwrap_err();
            assert_eq!((fault.kind, &*asked.address.topic), (kind, goes_to), "{topic}: {fault}");
        }
    }

    #[test]
    fn a_talk_is_a_request_and_may_be_plain_text() {
        let bare = read_one("hearth/n/chat/foreman/7", b"lamp on", PublishProperties::default());
        assert!(bare.chat && &*bare.address.topic == "hearth/n/result/foreman/7");
        let (_, request) = bare.request.unwrap();
        assert_eq!((request.payload.content_type, request.timeout), (ContentType::Text, None));
        let asked = read_one("hearth/n/chat/foreman", br#"{"messages":[]}"#, user(&[("timeout_ms", "5000")]));
        let (_, request) = asked.request.unwrap();
        assert_eq!((request.payload.content_type, request.timeout), (ContentType::Json, Some(Duration::from_secs(5))));
        assert!(!read_one("hearth/n/infer/foreman", b"{}", PublishProperties::default()).chat);
        assert_eq!(&*read_one("hearth/n/chat/NO/1", b"{}", PublishProperties::default()).address.topic, "hearth/n/result/NO/1");
    }

    #[test]
    fn a_cancellation_is_text_or_json() {
        assert_eq!(read_cancel(b" 7\n").unwrap().as_str(), "7");
        assert_eq!(read_cancel(br#"{"id":"7"}"#).unwrap().as_str(), "7");
        for bad in [&b""[..], b"\xff", b"{}", b"a b", br#"{"id":7}"#] {
            assert!(read_cancel(bad).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic_or_answer_to_a_wildcard(
            topic in prop::collection::vec(any::<u8>(), 0..40),
            payload in prop::collection::vec(any::<u8>(), 0..120),
            response in proptest::option::of(".{0,20}"),
            value in ".{0,10}",
        ) {
            let properties = PublishProperties {
                response_topic: response,
                ..user(&[("priority", &value), ("timeout_ms", &value), ("header_length", &value)])
            };
            let mut message = publish("", &payload, properties);
            message.topic = topic.into_iter().filter(|b| !b"+#".contains(b)).collect::<Vec<u8>>().into();
            let address = read(&message, &rules(), &mut Ids::new()).address;
            prop_assert!(!address.topic.contains(['+', '#']) && !address.topic.is_empty());
            let _ = read_cancel(&payload);
        }
    }
}
