//! What the daemon publishes: replies, faults and retained state, as MQTT 5 messages.

use bytes::Bytes;
use hearth_api::{ContentType, Fault, FaultBody, ModelName, Reply, RequestId};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};
use std::fmt;
use std::sync::Arc;

/// A message to publish.
#[derive(Clone, PartialEq)]
pub(super) struct Message {
    pub(super) topic: Arc<str>,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) payload: Bytes,
    pub(super) properties: PublishProperties,
}

/// Where an answer goes, and whose it is.
#[derive(Debug, Clone)]
pub(super) struct Address {
    /// The topic.
    pub(super) topic: Arc<str>,
    /// Echoed as it came.
    pub(super) correlation: Option<Bytes>,
    /// The quality of service of the request is that of its answer.
    pub(super) qos: QoS,
    /// The request's id, where one could be read.
    pub(super) id: Option<RequestId>,
    /// The model asked for, where it could be read.
    pub(super) model: Option<ModelName>,
}

impl fmt::Debug for Message {
    // Payloads rest nowhere, logs included.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes to {} at {:?}", self.payload.len(), self.topic, self.qos)
    }
}

impl Message {
    /// A piece of state that stays with the broker; no payload clears it.
    pub(super) fn retained(topic: impl Into<Arc<str>>, qos: QoS, payload: impl Into<Bytes>) -> Message {
        Message { topic: topic.into(), qos, retain: true, payload: payload.into(), properties: PublishProperties::default() }
    }

    /// The answer to a request that came as `asked`.
    pub(super) fn reply(address: &Address, reply: &Reply, asked: ContentType) -> Message {
        let (payload, content_type) = reply.encode(asked);
        Message::to(address, "ok", payload, content_type)
    }

    /// A piece of an answer to come. Nobody delivers it again: the whole answer follows.
    pub(super) fn chunk(address: &Address, json: Bytes) -> Message {
        Message { qos: QoS::AtMostOnce, ..Message::to(address, "chunk", json, ContentType::Json) }
    }

    /// Why there is no answer.
    pub(super) fn fault(address: &Address, fault: Fault) -> Message {
        let status = fault.kind.as_str();
        let body = FaultBody::new(address.id.clone(), address.model.clone(), fault);
        Message::to(address, status, body.to_json().into(), ContentType::Json)
    }

    fn to(address: &Address, status: &str, payload: Bytes, content_type: ContentType) -> Message {
        let mut user_properties = vec![("status".to_owned(), status.to_owned())];
        if let ContentType::Binary { header_length: Some(length) } = content_type {
            user_properties.push(("header_length".to_owned(), length.to_string()));
        }
        let properties = PublishProperties {
            content_type: Some(content_type.as_str().to_owned()),
            correlation_data: address.correlation.clone(),
            user_properties,
            ..PublishProperties::default()
        };
        Message { topic: address.topic.clone(), qos: address.qos, retain: false, payload, properties }
    }

    /// Bytes of the whole packet.
    pub(super) fn packet_bytes(&self) -> usize {
        let mut packet = Publish::new(&*self.topic, self.qos, self.payload.clone(), Some(self.properties.clone()));
        // Any id has the same length.
        packet.pkid = 1;
        packet.size()
    }
}
