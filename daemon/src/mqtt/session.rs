//! A session with the broker: its name, what it subscribes to, and how it connects. Sends nothing itself.

use super::status::Report;
use super::tls::TlsError;
use crate::config;
use hearth_api::topics::Topics;
use rumqttc::v5::MqttOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectProperties, Filter, LastWill};
use rumqttc::{NetworkOptions, TlsConfiguration, Transport};
use std::sync::Arc;
use std::time::Duration;

/// How long the broker keeps a session whose daemon is away, its queue included.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// The same for a fleet: soon the share of a dead node goes to the living.
const GROUP_KEPT: Duration = Duration::from_secs(30);
/// The most answers that wait for the broker's acknowledgement at a time; it may allow fewer. rumqttc keeps a table of
/// that many packets.
pub(super) const OUTGOING_WINDOW: u16 = 512;

/// A session, as configured.
#[derive(Debug, Clone)]
pub(super) struct Session {
    /// `control`, `infer`, `chat` or `groups`.
    pub(super) name: &'static str,
    pub(super) filters: Vec<String>,
    /// Unsubscribed on leaving, so that the broker gives the work to others at once.
    pub(super) shared: bool,
    pub(super) options: MqttOptions,
    pub(super) receive_maximum: u16,
    /// How long leaving may take.
    pub(super) leave_within: Duration,
    pub(super) report: Report,
}

/// What all sessions have in common.
pub(super) struct Common<'a> {
    pub(super) settings: &'a config::Mqtt,
    pub(super) topics: &'a Topics,
    pub(super) tls: Option<Arc<rustls::ClientConfig>>,
    pub(super) leave_within: Duration,
    pub(super) report: Report,
}

impl Common<'_> {
    /// Cancellations in, state out; its last will says `offline`.
    pub(super) fn control(&self) -> Session {
        // The models' own topics: what an earlier run left there of models that are gone is cleared.
        let models = format!("hearth/{}/models/+", self.topics.node());
        let mut session = self.session("control", vec![self.topics.cancel(), models], KEPT);
        session.options.set_last_will(LastWill::new(self.topics.availability(), "offline", QoS::AtLeastOnce, true, None));
        session
    }

    /// Requests to this node.
    pub(super) fn infer(&self) -> Session {
        self.session("infer", vec![self.topics.infer_filter()], KEPT)
    }

    /// Talks with this node's language models.
    pub(super) fn chat(&self) -> Session {
        self.session("chat", vec![self.topics.chat_filter()], KEPT)
    }

    /// Requests to the fleets that this node serves in; none where it serves in none.
    pub(super) fn groups(&self) -> Option<Session> {
        let filters: Vec<String> = self.settings.groups.iter().map(Topics::group_filter).collect();
        if filters.is_empty() {
            return None;
        }
        Some(Session { shared: true, ..self.session("groups", filters, GROUP_KEPT) })
    }

    fn session(&self, name: &'static str, filters: Vec<String>, kept: Duration) -> Session {
        let broker = &self.settings.broker;
        let mut options = MqttOptions::new(format!("hearthd-{}-{name}", self.topics.node()), &broker.host, broker.port);
        options
            .set_clean_start(false)
            .set_keep_alive(self.settings.keep_alive)
            .set_manual_acks(true)
            .set_outgoing_inflight_upper_limit(OUTGOING_WINDOW)
            .set_connect_properties(ConnectProperties {
                session_expiry_interval: Some(u32::try_from(kept.as_secs()).unwrap_or(u32::MAX)),
                receive_maximum: Some(self.settings.receive_maximum),
                max_packet_size: Some(self.settings.max_packet_bytes),
                ..ConnectProperties::new()
            });
        let mut network = NetworkOptions::new();
        // With Nagle's algorithm a reply waits for the broker's delayed ACK: 40 ms and more.
        network.set_tcp_nodelay(true);
        options.set_network_options(network);
        if let Some((user, password)) = &broker.login {
            options.set_credentials(user, &password.0);
        }
        if let Some(tls) = &self.tls {
            options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls.clone())));
        }
        Session {
            name,
            filters,
            shared: false,
            options,
            receive_maximum: self.settings.receive_maximum,
            leave_within: self.leave_within,
            report: self.report.clone(),
        }
    }
}

impl Session {
    /// These of its subscriptions, each at QoS 1 and without what this session itself publishes (a shared subscription may
    /// not ask for that: MQTT-3.8.3-4).
    pub(super) fn subscriptions(&self, which: &[usize]) -> Vec<Filter> {
        let filters = which.iter().filter_map(|i| self.filters.get(*i));
        filters.map(|filter| Filter { nolocal: !self.shared, ..Filter::new(filter, QoS::AtLeastOnce) }).collect()
    }
}

/// The TLS configuration of a broker, read once.
pub(super) fn tls(broker: &config::Broker) -> Result<Option<Arc<rustls::ClientConfig>>, TlsError> {
    broker.tls.as_ref().map(super::tls::client_config).transpose()
}
