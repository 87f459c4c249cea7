//! The state that stays with the broker: availability, info, models, thermal, stats. Works out what is to be published; the
//! control session publishes it.

use super::message::Message;
use super::status::Status;
use crate::config::Limits;
use crate::engine::Snapshot;
use crate::thermal::Heat;
use bytes::Bytes;
use hearth_api::topics::Topics;
use hearth_api::{CONTRACT_VERSION, ModelInfo};
use rumqttc::v5::mqttbytes::QoS;
use serde::Serialize;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// What is said of the daemon, and where.
#[derive(Debug)]
pub(super) struct Retained {
    pub(super) topics: Topics,
    pub(super) limits: Limits,
    /// What the broker was last sent; nothing where that is not known (a new connection).
    published: BTreeMap<String, Option<Bytes>>,
}

/// What there is to say now.
pub(super) struct Now<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) heat: &'a Heat,
    pub(super) status: &'a Status,
    /// The daemon is on its way out.
    pub(super) leaving: bool,
}

impl Retained {
    /// Nothing published yet.
    pub(super) fn new(topics: Topics, limits: Limits) -> Retained {
        Retained { topics, limits, published: BTreeMap::new() }
    }

    /// A new connection: what the broker still has is not known.
    pub(super) fn forget(&mut self) {
        self.published.values_mut().for_each(|payload| *payload = None);
    }

    /// The broker has a model's topic, perhaps from an earlier run: cleared at the next `changes` if the model is gone.
    pub(super) fn seen(&mut self, topic: &str) {
        self.published.entry(topic.to_owned()).or_default();
    }

    /// What has to be published for the broker to have the present state; assumes that it will be.
    pub(super) fn changes(&mut self, now: &Now<'_>) -> Vec<Message> {
        let state = self.state(now);
        let topics: BTreeSet<String> = self.published.keys().chain(state.keys()).cloned().collect();
        let mut changes = Vec::new();
        for topic in topics {
            let (qos, payload) = match state.get(&topic) {
                Some((qos, payload)) => (*qos, payload.clone()),
                // A model that is gone: an empty payload clears its topic.
                None => (QoS::AtLeastOnce, Bytes::new()),
            };
            if self.published.get(&topic).is_some_and(|old| old.as_ref() == Some(&payload)) {
                continue;
            }
            if payload.is_empty() {
                self.published.remove(&topic);
            } else {
                self.published.insert(topic.clone(), Some(payload.clone()));
            }
            changes.push(Message::retained(topic, qos, payload));
        }
        changes
    }

    /// Every topic and its payload. What changes each second goes at QoS 0.
    fn state(&self, now: &Now<'_>) -> BTreeMap<String, (QoS, Bytes)> {
        let availability = if !now.leaving && now.status.serves() { "online" } else { "offline" };
        let mut state = BTreeMap::from([
            (self.topics.availability(), (QoS::AtLeastOnce, Bytes::from_static(availability.as_bytes()))),
            (self.topics.info(), (QoS::AtLeastOnce, self.info(now))),
            (self.topics.thermal(), (QoS::AtMostOnce, to_json(now.heat))),
            (self.topics.stats(), (QoS::AtMostOnce, to_json(&now.snapshot.stats))),
        ]);
        for model in &now.snapshot.models {
            state.insert(self.topics.model(&model.name), (QoS::AtLeastOnce, to_json(model)));
        }
        state
    }

    fn info(&self, now: &Now<'_>) -> Bytes {
        let rates: BTreeMap<&str, u64> =
            now.snapshot.models.iter().filter_map(|m| Some((m.name.as_str(), requests_per_second(m)?))).collect();
        to_json(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "contract": CONTRACT_VERSION,
            "node": self.topics.node().as_str(),
            "board": now.heat.board,
            "limits": {
                "queue_requests": self.limits.queue_requests,
                "queue_requests_per_model": self.limits.queue_requests_per_model,
                "queue_bytes": self.limits.queue_bytes,
                "payload_bytes": self.limits.payload_bytes,
                "default_timeout_ms": self.limits.default_timeout.as_millis() as u64,
                "chat_timeout_ms": self.limits.chat_timeout.as_millis() as u64,
            },
            "requests_per_second": rates,
            "refused_subscriptions": now.status.refused(),
        }))
    }
}

/// The most a model was measured to do; nothing where nothing was measured.
fn requests_per_second(model: &ModelInfo) -> Option<u64> {
    model.points.iter().filter(|p| p.latency_us > 0).map(|p| u64::from(p.batch) * 1_000_000 / p.latency_us).max()
}

fn to_json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).expect("state is plain data").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_api::topics::NodeName;
    use hearth_api::{ModelName, ModelState, Point, Size};
    use std::time::Duration;

    fn retained() -> Retained {
        let limits = Limits {
            queue_requests: 8,
            queue_bytes: 1000,
            queue_requests_per_model: 8,
            payload_bytes: 100,
            default_timeout: Duration::from_secs(20),
            chat_timeout: Duration::from_secs(600),
            threads: None,
            shutdown: Duration::ZERO,
        };
        Retained::new(Topics::new(NodeName::new("n").unwrap()), limits)
    }

    fn model(name: &str) -> ModelInfo {
        ModelInfo {
            name: ModelName::new(name).unwrap(),
            version: "1".into(),
            versions: vec!["1".into()],
            description: String::new(),
            task: "classify".into(),
            licence: "MIT".into(),
            origin: String::new(),
            state: ModelState::Ready,
            reason: String::new(),
            pinned: false,
            inputs: Vec::new(),
            outputs: Vec::new(),
            size: Size::default(),
            memory_bytes: 0,
            longest_node_us: 0,
            points: vec![Point { batch: 4, threads: 1, latency_us: 2_000, cpu_us_per_item: 500 }],
        }
    }

    fn serving() -> Status {
        let mut status = Status::default();
        status.sessions.insert("infer".into(), super::super::SessionStatus { subscribed: true, subscriptions: 1, ..Default::default() });
        status
    }

    fn topics(changes: &[Message]) -> Vec<&str> {
        changes.iter().map(|m| &*m.topic).collect()
    }

    #[test]
    fn only_what_changed_is_published_and_all_of_it_after_a_new_connection() {
        let mut retained = retained();
        let snapshot = Snapshot { models: vec![model("digits")], ..Snapshot::default() };
        let (offline, online) = (Status::default(), serving());
        let heat = Heat::unknown();
        let mut now = Now { snapshot: &snapshot, heat: &heat, status: &offline, leaving: false };
        assert_eq!(retained.changes(&now).len(), 5);
        assert!(retained.changes(&now).is_empty());
        now.status = &online;
        let changes = retained.changes(&now);
        assert_eq!(topics(&changes), ["hearth/n/availability"]);
        assert_eq!(changes[0].payload, "online");
        retained.forget();
        assert_eq!(retained.changes(&now).len(), 5);
        now.leaving = true;
        assert_eq!(retained.changes(&now)[0].payload, "offline");
    }

    #[test]
    fn a_model_that_is_gone_is_cleared_even_if_an_earlier_run_published_it() {
        let mut retained = retained();
        let (snapshot, status) = (Snapshot { models: vec![model("digits")], ..Snapshot::default() }, serving());
        let heat = Heat::unknown();
        let mut now = Now { snapshot: &snapshot, heat: &heat, status: &status, leaving: false };
        retained.seen("hearth/n/models/old");
        let first = retained.changes(&now);
        assert!(first.iter().any(|m| &*m.topic == "hearth/n/models/old" && m.payload.is_empty() && m.retain));
        let none = Snapshot::default();
        now.snapshot = &none;
        let changes = retained.changes(&now);
        assert!(changes.iter().any(|m| &*m.topic == "hearth/n/models/digits" && m.payload.is_empty()));
        assert!(retained.changes(&now).is_empty());
    }

    #[test]
    fn the_advertised_rate_is_the_best_measured() {
        assert_eq!(requests_per_second(&model("digits")), Some(2000));
    }
}
