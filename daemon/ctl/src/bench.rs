//! `hearthctl bench`: what the daemon adds to a bare echo on the same broker and bus, and how batches form as requests
//! come side by side. Every figure printed was measured in this run.

use crate::broker::{BrokerClient, BrokerOptions};
use crate::bus::BusClient;
use crate::{CallError, Where, input, text};
use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use hearth_api::{ModelName, Payload, Priority};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PublishProperties};
use rumqttc::v5::{AsyncClient, Event};
use serde_json::json;
use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use zbus::{OwnedVariant, Proxy, Variant};

/// `hearthctl bench`
#[derive(Debug, Args)]
pub struct Options {
    /// The model
    model: ModelName,
    /// What to send; without it, zeros of the shape that the model takes
    file: Option<PathBuf>,
    /// How long each row is measured, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    seconds: f64,
    /// Requests side by side in each row: no batch can hold more
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,2,4,8,16,32,64")]
    ceilings: Vec<usize>,
    #[command(flatten)]
    at: Where,
    #[command(flatten)]
    broker: BrokerOptions,
}

/// How long an answer may take here.
const PATIENCE: Duration = Duration::from_secs(20);
/// Calls before the clock counts.
const WARM_UP: usize = 20;

/// Of so many answers one is read, for the batch it rode in: an echo's are not read either.
const READ: u64 = 16;

/// One exchange over a door; `Some` with the batch it rode in where a model's answer was read.
#[derive(Clone)]
enum Exchange {
    BusModel(BusClient, Proxy<'static>, Payload),
    /// The connection that serves the echo lives as long as it is asked.
    BusEcho {
        proxy: Proxy<'static>,
        _served_by: BusClient,
        payload: Payload,
    },
    BrokerModel(Arc<BrokerClient>, ModelName, Payload),
    BrokerEcho(Arc<BrokerClient>, String, Payload),
}

static NEXT: AtomicU64 = AtomicU64::new(0);

impl Exchange {
    async fn once(&self) -> Result<Option<u32>, CallError> {
        let batch = |json: serde_json::Value| {
            let batch = json.get("batch").and_then(serde_json::Value::as_u64).context("an answer says the batch it rode in");
            batch.map(|batch| Some(batch as u32)).map_err(CallError::Unreachable)
        };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let (id, read) = (|| format!("bench-{number}"), number.is_multiple_of(READ));
        match self {
            Exchange::BusModel(bus, proxy, payload) => {
                let answer = bus.infer_through(proxy, payload, &HashMap::new()).await?;
                if read { batch(answer.json().map_err(CallError::Unreachable)?) } else { Ok(None) }
            }
            Exchange::BusEcho { proxy, payload, .. } => {
                let arguments = (payload.content_type.as_str(), Variant::from(payload.bytes.to_vec()), HashMap::<&str, Variant<'_>>::new());
                let echoed: Result<(String, OwnedVariant, HashMap<String, OwnedVariant>), _> = proxy.call("Infer", &arguments).await;
                echoed.map(|_| None).map_err(|e| CallError::Unreachable(e.into()))
            }
            Exchange::BrokerModel(client, model, payload) => {
                let answer = client.infer(model, &id(), payload, Priority::Normal, PATIENCE).await?;
                if read { batch(answer.json()?) } else { Ok(None) }
            }
            Exchange::BrokerEcho(client, topic, payload) => {
                let properties = PublishProperties {
                    response_topic: Some(client.inbox()),
                    correlation_data: Some(Bytes::from(id())),
                    content_type: Some(payload.content_type.as_str().into()),
                    ..PublishProperties::default()
                };
                client.ask(topic.clone(), payload.bytes.clone(), properties, PATIENCE).await.map(|_| None)
            }
        }
    }
}

/// What a row measured.
struct Row {
    door: &'static str,
    what: &'static str,
    ceiling: usize,
    latencies: Vec<u64>,
    refused: usize,
    /// Of the answers that were read.
    batches: Vec<u32>,
    elapsed: Duration,
}

impl Row {
    fn percentile(&self, share: f64) -> u64 {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
    }

    fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    fn mean_batch(&self) -> f64 {
        f64::from(self.batches.iter().sum::<u32>()) / self.batches.len().max(1) as f64
    }

    fn json(&self) -> serde_json::Value {
        json!({"door": self.door, "what": self.what, "ceiling": self.ceiling, "answered": self.latencies.len(), "refused": self.refused,
            "p50_us": self.percentile(0.5), "p90_us": self.percentile(0.9), "p99_us": self.percentile(0.99),
            "items_per_second": self.rate(), "mean_batch": self.mean_batch()})
    }

    fn cells(&self) -> Vec<String> {
        let batch = if self.what == "echo" { String::new() } else { format!("{:.1}", self.mean_batch()) };
        let ms = |share| format!("{:.3}", self.percentile(share) as f64 / 1000.0);
        vec![
            self.door.into(),
            self.what.into(),
            self.ceiling.to_string(),
            ms(0.5),
            ms(0.9),
            ms(0.99),
            format!("{:.0}", self.rate()),
            batch,
            self.refused.to_string(),
        ]
    }
}

pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let bus = BusClient::connect(&options.at.bus).await?;
    let models = bus.models().await?;
    let names: Vec<ModelName> = models.iter().map(|m| m.name.clone()).collect();
    let model = models.iter().find(|m| m.name == options.model).ok_or_else(|| hearth_api::Fault::unknown_model(&options.model, &names))?;
    let payload = match &options.file {
        Some(file) => input::read(file, None)?,
        None => input::zeros(&model.inputs),
    };
    let mut doors = vec![bus_exchanges(&options, &bus, &payload).await?];
    match BrokerClient::connect(&options.broker).await {
        Ok(client) => doors.push(broker_exchanges(&options, client, &payload).await?),
        Err(error) if options.broker.mqtt.is_some() => return Err(error),
        Err(error) => eprintln!("no broker, so D-Bus alone: {error:#}"),
    }
    let mut rows = Vec::new();
    for ceiling in &options.ceilings {
        for (door, exchanges) in &doors {
            for (what, exchange) in exchanges {
                rows.push(measure(door, what, exchange, *ceiling, options.seconds).await?);
            }
        }
    }
    if options.at.json {
        for row in &rows {
            println!("{}", row.json());
        }
        return Ok(ExitCode::SUCCESS);
    }
    let headings = ["DOOR", "WHAT", "CEILING", "P50 MS", "P90 MS", "P99 MS", "ITEMS/S", "BATCH", "REFUSED"];
    println!("{}", text::table(&headings, &rows.iter().map(Row::cells).collect::<Vec<_>>()));
    for row in rows.iter().filter(|r| r.what == "model") {
        if let Some(echo) = rows.iter().find(|r| r.what == "echo" && r.door == row.door && r.ceiling == row.ceiling) {
            let over = row.percentile(0.5) as f64 - echo.percentile(0.5) as f64;
            println!(
                "{} with {} side by side: {over:+.0} µs over the echo at p50, {:.0} % of its items a second",
                row.door,
                row.ceiling,
                100.0 * row.rate() / echo.rate()
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

type Door = (&'static str, Vec<(&'static str, Exchange)>);

/// A bare method that returns what it was given, under our own unique name.
struct Echo;

#[zbus::interface(name = "org.hearthd.Inference1.Model")]
impl Echo {
    #[allow(clippy::unused_async, reason = "as the method it stands beside")]
    async fn infer(
        &self,
        content_type: String,
        payload: OwnedVariant,
        _options: HashMap<String, OwnedVariant>,
    ) -> (String, OwnedVariant, HashMap<String, OwnedVariant>) {
        (content_type, payload, HashMap::new())
    }
}

async fn bus_exchanges(options: &Options, bus: &BusClient, payload: &Payload) -> anyhow::Result<Door> {
    let model = bus.model(&options.model).await?;
    let mut exchanges = vec![("model", Exchange::BusModel(bus.clone(), model, payload.clone()))];
    // A peer-to-peer socket has no third party to echo.
    if !options.at.bus.starts_with("peer:") {
        let echo = BusClient::connect(&options.at.bus).await?;
        let path = "/org/hearthd/echo";
        echo.connection().object_server().at(path, Echo).await?;
        let name = echo.connection().unique_name().context("the bus gave us no name")?.to_owned();
        let proxy = Proxy::new(bus.connection(), name, path, "org.hearthd.Inference1.Model").await?;
        exchanges.insert(0, ("echo", Exchange::BusEcho { proxy, _served_by: echo, payload: payload.clone() }));
    }
    Ok(("D-Bus", exchanges))
}

async fn broker_exchanges(options: &Options, client: BrokerClient, payload: &Payload) -> anyhow::Result<Door> {
    let name = format!("hearthctl-echo-{}", std::process::id());
    let topic = format!("hearth/reply/{name}/echo");
    let (echo, mut events) = AsyncClient::new(options.broker.connect_options(&name)?, 512);
    let (subscribed, ready) = tokio::sync::oneshot::channel();
    let filter = topic.clone();
    echo.subscribe(filter, QoS::AtLeastOnce).await?;
    tokio::spawn(async move {
        let mut subscribed = Some(subscribed);
        while let Ok(event) = events.poll().await {
            match event {
                Event::Incoming(Packet::SubAck(_)) => {
                    if let Some(subscribed) = subscribed.take() {
                        let _ = subscribed.send(());
                    }
                }
                Event::Incoming(Packet::Publish(publish)) => {
                    let asked = publish.properties.unwrap_or_default();
                    let Some(back) = asked.response_topic else { continue };
                    let properties = PublishProperties { correlation_data: asked.correlation_data, ..PublishProperties::default() };
                    // A full channel means that this echo is the bottleneck, which the row then shows.
                    let _ = echo.try_publish_with_properties(back, QoS::AtLeastOnce, false, publish.payload, properties);
                }
                _ => {}
            }
        }
    });
    ready.await.context("the broker let no echo in")?;
    let client = Arc::new(client);
    let model = Exchange::BrokerModel(client.clone(), options.model.clone(), payload.clone());
    Ok(("MQTT", vec![("echo", Exchange::BrokerEcho(client, topic, payload.clone())), ("model", model)]))
}

/// Keeps `ceiling` exchanges going for `seconds`.
async fn measure(door: &'static str, what: &'static str, exchange: &Exchange, ceiling: usize, seconds: f64) -> anyhow::Result<Row> {
    for _ in 0..WARM_UP {
        exchange.once().await?;
    }
    let begun = Instant::now();
    let end = begun + Duration::from_secs_f64(seconds);
    let lanes = (0..ceiling).map(|_| {
        let exchange = exchange.clone();
        tokio::spawn(async move {
            let (mut latencies, mut refused, mut batches) = (Vec::new(), 0, Vec::new());
            while Instant::now() < end {
                let sent = Instant::now();
                match exchange.once().await {
                    Ok(batch) => {
                        latencies.push(u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX));
                        batches.extend(batch);
                    }
                    Err(CallError::Fault(fault)) if fault.retry_after_ms.is_some() => {
                        refused += 1;
                        tokio::time::sleep(Duration::from_millis(fault.retry_after_ms.unwrap_or(1).min(1000))).await;
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok((latencies, refused, batches))
        })
    });
    let mut row = Row { door, what, ceiling, latencies: Vec::new(), refused: 0, batches: Vec::new(), elapsed: Duration::ZERO };
    for lane in lanes.collect::<Vec<_>>() {
        let (latencies, refused, batches) = lane.await??;
        row.latencies.extend(latencies);
        row.refused += refused;
        row.batches.extend(batches);
    }
    row.elapsed = begun.elapsed();
    row.latencies.sort_unstable();
    Ok(row)
}
