//! What went wrong between us and the broker, in plain words, and whether a message of ours may be the cause.

use super::session::Session;
use rumqttc::v5::mqttbytes::Error as PacketError;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, DisconnectReasonCode, SubscribeReasonCode};
use rumqttc::v5::{ConnectionError, StateError};

/// Whether the broker, or an answer of it that cannot be read, ended the connection over something we sent. A message
/// over mosquitto's `message_size_limit`, which CONNACK does not announce, is answered by a PUBACK that rumqttc cannot read.
pub(super) fn broker_objected(error: &ConnectionError) -> bool {
    match error {
        ConnectionError::MqttState(StateError::Deserialization(error)) => !matches!(error, PacketError::Io(_)),
        ConnectionError::MqttState(StateError::OutgoingPacketTooLarge { .. }) => true,
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => matches!(
            reason_code,
            DisconnectReasonCode::MalformedPacket
                | DisconnectReasonCode::ProtocolError
                | DisconnectReasonCode::ImplementationSpecificError
                | DisconnectReasonCode::UnspecifiedError
                | DisconnectReasonCode::NotAuthorized
                | DisconnectReasonCode::TopicNameInvalid
                | DisconnectReasonCode::PacketTooLarge
                | DisconnectReasonCode::PayloadFormatInvalid
                | DisconnectReasonCode::RetainNotSupported
                | DisconnectReasonCode::QoSNotSupported
        ),
        _ => false,
    }
}

/// The error, and what would mend it.
pub(super) fn explain(session: &Session, error: &ConnectionError) -> String {
    let (host, port) = session.options.broker_address();
    let id = session.options.client_id();
    match error {
        ConnectionError::ConnectionRefused(ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized) => {
            format!("the broker at {host}:{port} does not let {id} in: check mqtt.username and the password, or the certificate")
        }
        ConnectionError::ConnectionRefused(code) => format!("the broker at {host}:{port} refuses {id}: {code:?}"),
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code: DisconnectReasonCode::SessionTakenOver, .. }) => {
            format!("another client has connected to {host}:{port} as {id}: two nodes may have the same node.name")
        }
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, reason_string }) => {
            format!("the broker at {host}:{port} closed the connection: {reason_code:?} {}", reason_string.as_deref().unwrap_or_default())
        }
        ConnectionError::MqttState(StateError::ConnectionAborted) => {
            format!("the broker at {host}:{port} closed the connection of {id}; if it goes on so, another node may have the same node.name")
        }
        ConnectionError::Io(error) => format!("no connection to the broker at {host}:{port}: {error}"),
        ConnectionError::Tls(error) => format!("no TLS with the broker at {host}:{port}: {error}"),
        ConnectionError::Timeout(_) => {
            format!("the broker at {host}:{port} does not answer within {} s", session.options.connection_timeout())
        }
        error => format!("the connection to the broker at {host}:{port} failed: {error}"),
    }
}

/// Why a subscription was refused; nothing where it was granted.
pub(super) fn refusal(code: &SubscribeReasonCode) -> Option<&'static str> {
    Some(match code {
        SubscribeReasonCode::Success(_) => return None,
        SubscribeReasonCode::NotAuthorized => "not authorised: allow it in the broker's access list",
        SubscribeReasonCode::SharedSubscriptionsNotSupported => "the broker has no shared subscriptions",
        SubscribeReasonCode::WildcardSubscriptionsNotSupported => "the broker has no wildcard subscriptions",
        SubscribeReasonCode::QuotaExceeded => "a quota of the broker is exceeded",
        SubscribeReasonCode::TopicFilterInvalid => "the broker does not take this filter",
        _ => "the broker gives no reason",
    })
}
