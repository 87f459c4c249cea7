//! The way to the model: over the bus, or the broker where one is named.

use crate::CallError;
use crate::broker::{BrokerClient, BrokerOptions};
use crate::bus::{self, BusClient, Dictionary};
use anyhow::{anyhow, bail};
use bytes::Bytes;
use hearth_api::chat::ChatChunk;
use hearth_api::{ModelInfo, ModelName, Payload, RequestId};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use zbus::Variant;

/// How long an answer over the broker is waited for unless it is said: as long as the daemon works on one.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);

/// A way to a model.
pub(super) struct Door {
    model: ModelName,
    timeout: Option<Duration>,
    client: Client,
}

enum Client {
    Bus(BusClient),
    Broker(Arc<BrokerClient>),
}

/// What comes of a request.
pub(super) enum Heard {
    /// A piece of the answer.
    Chunk(ChatChunk),
    /// The whole of it, which ends it.
    Reply(Value),
    /// Why there is none, which ends it too.
    Failed(CallError),
}

/// A request at work; dropped, it goes on for nobody, unless it is cancelled first.
pub(super) enum Answering {
    Bus(bus::Talk),
    Broker { client: Arc<BrokerClient>, id: RequestId, chunks: mpsc::UnboundedReceiver<Bytes>, answer: JoinHandle<Heard> },
}

impl Door {
    /// Connects; on the bus, finds out that the model is there and talks.
    pub(super) async fn open(model: &ModelName, bus: &str, broker: &BrokerOptions, timeout: Option<Duration>) -> anyhow::Result<Door> {
        let client = if broker.mqtt.is_some() {
            Client::Broker(Arc::new(BrokerClient::connect(broker).await?))
        } else {
            let bus = BusClient::connect(bus).await?;
            check(model, &bus.models().await?)?;
            Client::Bus(bus)
        };
        Ok(Door { model: model.clone(), timeout, client })
    }

    /// The model.
    pub(super) fn model(&self) -> &ModelName {
        &self.model
    }

    /// Sends a request.
    pub(super) async fn ask(&self, payload: Payload) -> Result<Answering, CallError> {
        match &self.client {
            Client::Bus(bus) => {
                let milliseconds = |timeout: Duration| Variant::from(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
                let options: Dictionary<'_> = self.timeout.map(|timeout| ("timeout_ms", milliseconds(timeout))).into_iter().collect();
                bus.chat(&self.model, &payload, &options).await.map(Answering::Bus)
            }
            Client::Broker(broker) => {
                static NUMBER: AtomicU64 = AtomicU64::new(1);
                let id = format!("ctl-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
                let id = RequestId::new(id).map_err(CallError::Fault)?;
                let (put, chunks) = mpsc::unbounded_channel();
                let (client, model, request, timeout) =
                    (broker.clone(), self.model.clone(), id.clone(), self.timeout.unwrap_or(ANSWER_TIMEOUT));
                let answer = tokio::spawn(async move {
                    match client.chat(&model, &request, &payload, timeout, put).await.and_then(|answered| answered.json()) {
                        Ok(reply) => Heard::Reply(reply),
                        Err(error) => Heard::Failed(error),
                    }
                });
                Ok(Answering::Broker { client: broker.clone(), id, chunks, answer })
            }
        }
    }

    /// How warm the board is, in degrees Celsius, where this door tells.
    pub(super) async fn temperature(&self) -> Option<f64> {
        match &self.client {
            Client::Bus(bus) => bus.heat().await.ok()?.get("Temperature")?.as_f64(),
            Client::Broker(_) => None,
        }
    }
}

/// Whether the model is installed and talks; the error names those that do.
fn check(model: &ModelName, installed: &[ModelInfo]) -> anyhow::Result<()> {
    let talking: Vec<&str> = installed.iter().filter(|m| m.task == "chat").map(|m| m.name.as_str()).collect();
    let talking = match talking.as_slice() {
        [] => "no language model is installed (hearthctl model add)".to_owned(),
        names => format!("those that talk: {}", names.join(", ")),
    };
    match installed.iter().find(|m| m.name == *model) {
        None => bail!("no model is called {model}; {talking}"),
        Some(other) if other.task != "chat" => {
            bail!("{model} does not talk, its task is {}: ask it with hearthctl infer; {talking}", other.task)
        }
        Some(_) => Ok(()),
    }
}

impl Answering {
    /// What comes next; after a reply or failure nothing does.
    pub(super) async fn next(&mut self) -> Heard {
        match self {
            Answering::Bus(talk) => match talk.next().await {
                Ok(Some(line)) => line_heard(line.as_bytes()),
                Ok(None) => Heard::Failed(CallError::Unreachable(anyhow!("the daemon went away before the answer was there"))),
                Err(error) => Heard::Failed(error),
            },
            Answering::Broker { chunks, answer, .. } => match chunks.recv().await {
                Some(chunk) => line_heard(&chunk),
                None => answer.await.unwrap_or_else(|e| Heard::Failed(CallError::Unreachable(e.into()))),
            },
        }
    }

    /// Stops the model; the end then is a fault.
    pub(super) async fn cancel(&self) -> Result<(), CallError> {
        match self {
            Answering::Bus(talk) => talk.cancel().await,
            Answering::Broker { client, id, .. } => client.cancel(id).await,
        }
    }
}

/// A line is a chunk, a fault or a reply.
fn line_heard(line: &[u8]) -> Heard {
    let failed = |error| Heard::Failed(bus::unknown(error));
    let value: Value = match serde_json::from_slice(line) {
        Ok(value) => value,
        Err(error) => return failed(error),
    };
    if value["object"] == "chat.completion.chunk" {
        return serde_json::from_value(value).map_or_else(failed, Heard::Chunk);
    }
    bus::reply(value).map_or_else(Heard::Failed, Heard::Reply)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn model(name: &str, task: &str) -> ModelInfo {
        serde_json::from_value(json!({
            "name": name, "version": "1", "versions": ["1"], "description": "", "task": task, "licence": "", "origin": "",
            "state": "ready", "reason": "", "pinned": false, "inputs": [], "outputs": [],
            "size": {"file_bytes": 0, "packed_bytes": 0, "weights": 0, "bits_per_weight": 0.0}, "memory_bytes": 0, "longest_node_us": 0,
            "points": []
        }))
        .unwrap()
    }

    #[test]
    fn a_model_that_does_not_talk_is_named_with_those_that_do() {
        let installed = [model("digits", "classify"), model("foreman", "chat")];
        let said = |name: &str, installed: &[ModelInfo]| check(&name.parse().unwrap(), installed).map_err(|e| e.to_string());
        assert_eq!(said("foreman", &installed), Ok(()));
        let wrong = said("digits", &installed).unwrap_err();
        assert!(wrong.contains("its task is classify") && wrong.contains("those that talk: foreman"), "{wrong}");
        assert!(said("llama", &installed[..1]).unwrap_err().contains("no model is called llama; no language model is installed"));
    }

    #[test]
    fn a_line_is_told_apart() {
        let chunk = json!({"id": "7", "object": "chat.completion.chunk", "created": 1, "model": "foreman", "number": 3, "attempt": 1,
            "choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": null}]});
        assert!(matches!(line_heard(chunk.to_string().as_bytes()), Heard::Chunk(chunk) if chunk.number == 3));
        let fault = json!({"id": "7", "kind": "cancelled", "message": "by its caller", "whose": "caller"});
        assert!(matches!(line_heard(fault.to_string().as_bytes()), Heard::Failed(CallError::Fault(_))));
        assert!(matches!(line_heard(br#"{"id":"7","object":"chat.completion"}"#), Heard::Reply(_)));
        assert!(matches!(line_heard(b"{"), Heard::Failed(CallError::Unreachable(_))));
    }
}
