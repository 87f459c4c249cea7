//! A client on the broker: sends requests at QoS 1 with a response topic, and resends what got no answer after a
//! reconnect, because a broker may lose what it was given.

use crate::CallError;
use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use clap::Args;
use hearth_api::topics::{NodeName, Topics};
use hearth_api::{FaultBody, ModelName, Payload, Priority, RequestId};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use rumqttc::{TlsConfiguration, Transport};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Which broker.
#[derive(Debug, Clone, Args, Default)]
pub struct BrokerOptions {
    /// The broker: mqtt://host:1883, or mqtts://host:8883
    #[arg(long, value_name = "URL", env = "HEARTH_MQTT")]
    pub mqtt: Option<String>,
    /// User name at the broker
    #[arg(long, value_name = "NAME", env = "HEARTH_MQTT_USERNAME")]
    pub username: Option<String>,
    /// File with the password
    #[arg(long, value_name = "FILE", env = "HEARTH_MQTT_PASSWORD_FILE")]
    pub password_file: Option<PathBuf>,
    /// PEM file of the authority that signed the broker's certificate
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Our certificate, a PEM file, for mutual TLS
    #[arg(long, value_name = "FILE", requires = "key_file")]
    pub certificate_file: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", requires = "certificate_file")]
    pub key_file: Option<PathBuf>,
    /// Which hearthd; without it, the only one that is online
    #[arg(long, value_name = "NODE", env = "HEARTH_NODE")]
    pub node: Option<String>,
}

/// Largest packet taken.
const MAX_PACKET: u32 = 64 << 20;
/// How long to look for a node.
const DISCOVERY: Duration = Duration::from_secs(5);

impl BrokerOptions {
    pub(crate) fn url(&self) -> &str {
        self.mqtt.as_deref().unwrap_or("mqtt://localhost:1883")
    }

    /// How to connect with this client id.
    pub(crate) fn connect_options(&self, client_id: &str) -> anyhow::Result<MqttOptions> {
        let url = self.url();
        let form = || format!("{url:?} is no broker: it must look like mqtt://host:1883 or mqtts://host:8883");
        let (scheme, authority) = url.split_once("://").with_context(form)?;
        let default_port = match scheme {
            "mqtt" => 1883,
            "mqtts" => 8883,
            _ => bail!(form()),
        };
        let authority = authority.trim_end_matches('/');
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse().with_context(form)?),
            _ => (authority, default_port),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let mut options = MqttOptions::new(client_id, host, port);
        options.set_keep_alive(Duration::from_secs(30)).set_max_packet_size(Some(MAX_PACKET));
        options.set_outgoing_inflight_upper_limit(256);
        let mut network = options.network_options();
        network.set_tcp_nodelay(true);
        options.set_network_options(network);
        let read = |file: &PathBuf| std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()));
        if let Some(user) = &self.username {
            let file = self.password_file.as_ref().context("--username needs --password-file")?;
            let password = String::from_utf8(read(file)?).with_context(|| format!("{} is no UTF-8", file.display()))?;
            options.set_credentials(user, password.trim_end_matches(['\r', '\n']));
        }
        if scheme == "mqtts" {
            options.set_transport(Transport::Tls(self.tls(read)?));
        }
        Ok(options)
    }

    fn tls(&self, read: impl Fn(&PathBuf) -> anyhow::Result<Vec<u8>>) -> anyhow::Result<TlsConfiguration> {
        use rustls::pki_types::pem::PemObject;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer};
        let certificates = |file: &PathBuf| -> anyhow::Result<Vec<CertificateDer<'static>>> {
            CertificateDer::pem_slice_iter(&read(file)?)
                .collect::<Result<_, _>>()
                .map_err(|e| anyhow!("{}: no PEM certificate: {e}", file.display()))
        };
        let authority = self.ca_file.as_ref().context("mqtts:// needs --ca-file")?;
        let mut roots = rustls::RootCertStore::empty();
        for certificate in certificates(authority)? {
            roots.add(certificate).with_context(|| format!("{}", authority.display()))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?.with_root_certificates(roots);
        let config = match (&self.certificate_file, &self.key_file) {
            (Some(certificate), Some(key)) => {
                let private = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|e| anyhow!("{}: no PEM key: {e}", key.display()))?;
                builder.with_client_auth_cert(certificates(certificate)?, private)?
            }
            _ => builder.with_no_client_auth(),
        };
        Ok(TlsConfiguration::Rustls(Arc::new(config)))
    }
}

/// Requests without an answer, by correlation data.
type Pending = Arc<Mutex<HashMap<Bytes, Waiting>>>;

struct Waiting {
    request: Publish,
    /// Where the pieces of the answer go.
    chunks: Option<mpsc::UnboundedSender<Bytes>>,
    answer: oneshot::Sender<Publish>,
}

/// A connection to the broker.
pub struct BrokerClient {
    client: AsyncClient,
    topics: Topics,
    inbox: String,
    pending: Pending,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for BrokerClient {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An answer on the broker.
#[derive(Debug, Clone)]
pub struct Answered {
    /// The answer.
    pub bytes: Bytes,
    /// Whether it is a fault.
    pub fault: bool,
}

impl BrokerClient {
    /// Connects, and finds the node where none is named.
    pub async fn connect(options: &BrokerOptions) -> anyhow::Result<BrokerClient> {
        let name = format!("hearthctl-{}-{:x}", std::process::id(), std::time::UNIX_EPOCH.elapsed()?.as_nanos() & 0xffff_ffff);
        let (client, events) = AsyncClient::new(options.connect_options(&name)?, 512);
        let inbox = format!("hearth/reply/{name}");
        let pending = Pending::default();
        let (found, mut finds) = watch::channel(Found::default());
        let filters = vec![format!("{inbox}/#"), "hearth/+/availability".into()];
        let task = tokio::spawn(poll(events, client.clone(), filters, pending.clone(), found));
        let failed = || format!("the broker at {} does not let us in", options.url());
        tokio::time::timeout(DISCOVERY, finds.wait_for(|f| f.subscribed || f.error.is_some()))
            .await
            .with_context(failed)?
            .with_context(failed)?;
        if let Some(error) = &finds.borrow().error {
            task.abort();
            bail!("{}: {error}", failed());
        }
        let node = match &options.node {
            Some(node) => NodeName::new(node)?,
            None => discover(&mut finds).await?,
        };
        Ok(BrokerClient { client, topics: Topics::new(node), inbox, pending, task })
    }

    /// The node that is asked.
    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    /// Asks a model; waits at most `timeout`, which goes along as the message's expiry.
    pub async fn infer(
        &self,
        model: &ModelName,
        id: &str,
        payload: &Payload,
        priority: Priority,
        timeout: Duration,
    ) -> Result<Answered, CallError> {
        let topic = self.topics.infer(model, RequestId::new(id).ok().as_ref());
        self.ask(topic, payload.bytes.clone(), self.properties(id, payload, priority, timeout), timeout).await
    }

    /// Talks with a model as `infer` asks one; pieces of the answer go to `chunks` as they come.
    pub async fn chat(
        &self,
        model: &ModelName,
        id: &RequestId,
        payload: &Payload,
        timeout: Duration,
        chunks: mpsc::UnboundedSender<Bytes>,
    ) -> Result<Answered, CallError> {
        let properties = self.properties(id.as_str(), payload, Priority::Normal, timeout);
        self.exchange(self.topics.chat(model, Some(id)), payload.bytes.clone(), properties, timeout, Some(chunks)).await
    }

    /// Withdraws a request, which then ends as `cancelled`.
    pub async fn cancel(&self, id: &RequestId) -> Result<(), CallError> {
        let sent = self.client.publish(self.topics.cancel(), QoS::AtLeastOnce, false, id.to_string()).await;
        sent.map_err(|error| CallError::Unreachable(anyhow!("the cancellation was not sent: {error}")))
    }

    fn properties(&self, id: &str, payload: &Payload, priority: Priority, timeout: Duration) -> PublishProperties {
        PublishProperties {
            message_expiry_interval: Some(u32::try_from(timeout.as_secs().max(1)).unwrap_or(u32::MAX)),
            response_topic: Some(self.inbox()),
            correlation_data: Some(Bytes::copy_from_slice(id.as_bytes())),
            user_properties: vec![("priority".into(), priority.as_str().into()), ("id".into(), id.into())],
            content_type: Some(payload.content_type.as_str().into()),
            ..PublishProperties::default()
        }
    }

    /// Publishes and waits for the answer with the same correlation data.
    pub(crate) async fn ask(
        &self,
        topic: String,
        payload: Bytes,
        properties: PublishProperties,
        timeout: Duration,
    ) -> Result<Answered, CallError> {
        self.exchange(topic, payload, properties, timeout, None).await
    }

    async fn exchange(
        &self,
        topic: String,
        payload: Bytes,
        properties: PublishProperties,
        timeout: Duration,
        chunks: Option<mpsc::UnboundedSender<Bytes>>,
    ) -> Result<Answered, CallError> {
        let correlation = properties.correlation_data.clone().unwrap_or_default();
        let (answer, answered) = oneshot::channel();
        let request = Publish { qos: QoS::AtLeastOnce, topic: topic.into(), payload, properties: Some(properties), ..Publish::default() };
        lock(&self.pending).insert(correlation.clone(), Waiting { request: request.clone(), chunks, answer });
        if let Err(error) = send(&self.client, &request).await {
            return Err(CallError::Unreachable(anyhow!("the request was not sent: {error}")));
        }
        let answered = tokio::time::timeout(timeout, answered).await;
        lock(&self.pending).remove(&correlation);
        match answered {
            Ok(Ok(publish)) => {
                let fault = status(&publish).is_some_and(|status| status != "ok");
                Ok(Answered { bytes: publish.payload, fault })
            }
            _ => Err(CallError::Unreachable(anyhow!("no answer within {timeout:?}"))),
        }
    }

    /// The response topic of this client for other exchanges than inference.
    pub(crate) fn inbox(&self) -> String {
        format!("{}/answer", self.inbox)
    }
}

impl Answered {
    /// The answer as JSON, or the fault it is.
    pub fn json(&self) -> Result<serde_json::Value, CallError> {
        if self.fault {
            let body: FaultBody =
                serde_json::from_slice(&self.bytes).map_err(|e| CallError::Unreachable(anyhow!("a fault that cannot be read: {e}")))?;
            return Err(CallError::Fault(body.fault));
        }
        serde_json::from_slice(&self.bytes).map_err(|e| CallError::Unreachable(anyhow!("the answer is no JSON: {e}")))
    }
}

/// What the connection has found out.
#[derive(Debug, Clone, Default)]
struct Found {
    subscribed: bool,
    error: Option<String>,
    online: Vec<String>,
}

async fn discover(finds: &mut watch::Receiver<Found>) -> anyhow::Result<NodeName> {
    let _ = tokio::time::timeout(DISCOVERY, finds.wait_for(|f| !f.online.is_empty())).await;
    // Retained messages come in one go: give the others of a fleet a moment.
    let _ = tokio::time::timeout(Duration::from_millis(100), finds.wait_for(|f| f.online.len() > 1)).await;
    let online = finds.borrow().online.clone();
    match online.as_slice() {
        [] => bail!("no hearthd is online at this broker"),
        [node] => Ok(NodeName::new(node)?),
        many => bail!("several are online ({}): name one with --node", many.join(", ")),
    }
}

fn lock(pending: &Pending) -> std::sync::MutexGuard<'_, HashMap<Bytes, Waiting>> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn send(client: &AsyncClient, request: &Publish) -> Result<(), rumqttc::v5::ClientError> {
    let topic = String::from_utf8_lossy(&request.topic).into_owned();
    let properties = request.properties.clone().unwrap_or_default();
    client.publish_with_properties(topic, request.qos, false, request.payload.clone(), properties).await
}

async fn poll(mut events: EventLoop, client: AsyncClient, filters: Vec<String>, pending: Pending, found: watch::Sender<Found>) {
    let mut connected_before = false;
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                let unanswered: Vec<Publish> = lock(&pending).values().filter(|_| connected_before).map(|w| w.request.clone()).collect();
                connected_before = true;
                let (client, filters) = (client.clone(), filters.clone());
                // Not here: the task that polls never waits for room to send.
                tokio::spawn(async move {
                    for filter in filters {
                        let _ = client.subscribe(filter, QoS::AtLeastOnce).await;
                    }
                    for request in unanswered {
                        let _ = send(&client, &request).await;
                    }
                });
            }
            Ok(Event::Incoming(Packet::SubAck(_))) => {
                found.send_modify(|f| f.subscribed = true);
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => take(publish, &pending, &found),
            Ok(_) => {}
            Err(error) => {
                found.send_modify(|f| f.error = Some(error.to_string()));
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// `ok`, `chunk`, or the kind of a fault.
fn status(publish: &Publish) -> Option<&str> {
    publish.properties.as_ref()?.user_properties.iter().find(|(name, _)| name == "status").map(|(_, status)| status.as_str())
}

fn take(publish: Publish, pending: &Pending, found: &watch::Sender<Found>) {
    let topic = String::from_utf8_lossy(&publish.topic).into_owned();
    if let Some(node) = topic.strip_prefix("hearth/").and_then(|t| t.strip_suffix("/availability")) {
        let online = publish.payload.as_ref() == b"online";
        found.send_modify(|f| {
            f.online.retain(|n| n != node);
            if online {
                f.online.push(node.to_owned());
            }
        });
        return;
    }
    let correlation = publish.properties.as_ref().and_then(|p| p.correlation_data.clone()).unwrap_or_default();
    if status(&publish) == Some("chunk") {
        if let Some(Waiting { chunks: Some(chunks), .. }) = lock(pending).get(&correlation) {
            // The answer comes whole at its end, for whoever reads no chunks.
            let _ = chunks.send(publish.payload);
        }
        return;
    }
    // QoS 1: the same answer may come twice; the second finds nobody waiting.
    if let Some(waiting) = lock(pending).remove(&correlation) {
        let _ = waiting.answer.send(publish);
    }
}
