//! An MQTT 5 client of the tests: asks, and waits for answers.

use anyhow::{Context, bail};
use bytes::Bytes;
use rumqttc::NetworkOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectProperties, Packet, Publish, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use serde_json::Value;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A connected client; gone, without a word, with the value.
pub struct Client {
    client: AsyncClient,
    messages: mpsc::UnboundedReceiver<Publish>,
    /// SUBACKs and PUBACKs.
    answered: mpsc::UnboundedReceiver<Packet>,
    poll: AbortHandle,
}

/// An answer, taken apart.
#[derive(Debug)]
pub struct Answer {
    /// As it came.
    pub publish: Publish,
    /// Its `status` property.
    pub status: String,
    /// Its payload, where that is JSON; else null.
    pub json: Value,
}

impl Client {
    /// Connects, with what `options` makes of the options.
    pub async fn connect_with(port: u16, id: &str, options: impl FnOnce(&mut MqttOptions)) -> anyhow::Result<Client> {
        let mut of = MqttOptions::new(id, "localhost", port);
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        of.set_network_options(network).set_keep_alive(Duration::from_secs(60)).set_connect_properties(ConnectProperties {
            max_packet_size: Some(64 << 20),
            receive_maximum: Some(10_000),
            ..ConnectProperties::new()
        });
        options(&mut of);
        let (client, mut events) = AsyncClient::new(of, 10_000);
        let (message, messages) = mpsc::unbounded_channel();
        let (answer, mut answered) = mpsc::unbounded_channel();
        let poll = tokio::spawn(async move {
            while let Ok(event) = events.poll().await {
                let _ = match event {
                    Event::Incoming(Packet::Publish(publish)) => message.send(publish).is_ok(),
                    Event::Incoming(packet @ (Packet::ConnAck(_) | Packet::SubAck(_) | Packet::PubAck(_))) => answer.send(packet).is_ok(),
                    _ => true,
                };
            }
        })
        .abort_handle();
        next(&mut answered, "CONNACK").await?;
        Ok(Client { client, messages, answered, poll })
    }

    /// Connects without more ado.
    pub async fn connect(port: u16, id: &str) -> anyhow::Result<Client> {
        Client::connect_with(port, id, |_| ()).await
    }

    /// Subscribes at QoS 1, and waits until that stands.
    pub async fn subscribe(&mut self, filter: &str) -> anyhow::Result<()> {
        self.client.subscribe(filter, QoS::AtLeastOnce).await?;
        while !matches!(next(&mut self.answered, "SUBACK").await?, Packet::SubAck(_)) {}
        Ok(())
    }

    /// Publishes.
    pub async fn publish(
        &self,
        topic: &str,
        qos: QoS,
        retain: bool,
        payload: impl Into<Bytes>,
        properties: PublishProperties,
    ) -> anyhow::Result<()> {
        Ok(self.client.publish_bytes_with_properties(topic, qos, retain, payload.into(), properties).await?)
    }

    /// Sends a request at QoS 1, to be answered at `hearth/reply/<id>` with the id as correlation.
    pub async fn ask(&self, model: &str, id: &str, payload: impl Into<Bytes>) -> anyhow::Result<()> {
        self.ask_with(model, id, payload, PublishProperties::default()).await
    }

    /// The same, with more properties.
    pub async fn ask_with(&self, model: &str, id: &str, payload: impl Into<Bytes>, properties: PublishProperties) -> anyhow::Result<()> {
        let properties = PublishProperties {
            response_topic: Some(format!("hearth/reply/{id}")),
            correlation_data: Some(id.to_owned().into()),
            ..properties
        };
        self.publish(&format!("hearth/test/infer/{model}/{id}"), QoS::AtLeastOnce, false, payload, properties).await
    }

    /// Waits for the next message.
    pub async fn message(&mut self) -> anyhow::Result<Publish> {
        next(&mut self.messages, "a message").await
    }

    /// Waits for the next message, as an answer.
    pub async fn answer(&mut self) -> anyhow::Result<Answer> {
        let publish = self.message().await?;
        let user = publish.properties.as_ref().map(|p| p.user_properties.as_slice()).unwrap_or_default();
        let status = user.iter().find(|(name, _)| name == "status").map(|(_, value)| value.clone()).unwrap_or_default();
        let json = serde_json::from_slice(&publish.payload).unwrap_or_default();
        Ok(Answer { publish, status, json })
    }

    /// Waits for a message on this topic for which `enough` holds; others are dropped.
    pub async fn message_on(&mut self, topic: &str, enough: impl Fn(&[u8]) -> bool) -> anyhow::Result<Publish> {
        loop {
            let message = self.message().await.with_context(|| format!("on {topic}"))?;
            if message.topic == topic.as_bytes() && enough(&message.payload) {
                return Ok(message);
            }
        }
    }

    /// Everything that came up to now and for a while after: to be sure that something did not come.
    pub async fn messages_within(&mut self, while_: Duration) -> Vec<Publish> {
        let mut all = Vec::new();
        let until = tokio::time::Instant::now() + while_;
        while let Ok(Some(message)) = tokio::time::timeout_at(until, self.messages.recv()).await {
            all.push(message);
        }
        all
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.poll.abort();
    }
}

async fn next<T>(receiver: &mut mpsc::UnboundedReceiver<T>, what: &str) -> anyhow::Result<T> {
    match tokio::time::timeout(PATIENCE, receiver.recv()).await {
        Ok(Some(value)) => Ok(value),
        Ok(None) => bail!("the client's connection ended while it waited for {what}"),
        Err(_) => bail!("no {what} within {PATIENCE:?}"),
    }
}

/// Waits until the daemon `test` says that it is online.
pub async fn online(port: u16) -> anyhow::Result<()> {
    online_as(port, "test").await
}

/// Waits until this node says that it is online.
pub async fn online_as(port: u16, node: &str) -> anyhow::Result<()> {
    let mut client = Client::connect(port, &format!("waits-for-{node}")).await?;
    let topic = format!("hearth/{node}/availability");
    client.subscribe(&topic).await?;
    client.message_on(&topic, |payload| payload == b"online").await?;
    Ok(())
}

/// A v2 request with the tensor `x` of one row.
pub fn tensor(row: &[f32]) -> String {
    let length = row.len();
    format!(r#"{{"inputs":[{{"name":"x","datatype":"FP32","shape":[1,{length}],"data":{row:?}}}]}}"#)
}
