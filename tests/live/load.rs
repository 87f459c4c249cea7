//! The load: more requests than the board can serve, each worth an answer for a while.

use anyhow::Context;
use hearth_tests::client::Client;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// An answer that comes later is worth nothing.
const WORTH: Duration = Duration::from_secs(2);
/// The daemon has measured a model once it has told nothing new of it for so long.
const STILL: Duration = Duration::from_secs(3);
/// Requests in flight while the capacity is measured.
const IN_FLIGHT: u64 = 16;
/// How much more is asked for than the cool board can serve.
const OVERLOAD: f64 = 1.3;

/// What came of the requests.
#[derive(Debug, Default)]
pub(crate) struct Served {
    /// Answers in time.
    pub(crate) in_time: u64,
    /// Requests that were refused, with a time to retry.
    pub(crate) refused: u64,
    /// Of all answers.
    latencies: Vec<Duration>,
}

impl Served {
    /// The latency that this share of the answers did not exceed.
    pub(crate) fn percentile(&self, share: f64) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let at = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(at.saturating_sub(1)).copied().unwrap_or_default()
    }
}

/// A picture that the model was bundled with.
fn picture(model: &str) -> anyhow::Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    let bundled = hearth_models::bundled::all().into_iter().find(|bundled| bundled.manifest().name.as_str() == model);
    let bundled = bundled.with_context(|| format!("{model} is not bundled"))?;
    bundled.write_to(folder.path())?;
    Ok(std::fs::read(folder.path().join(&bundled.manifest().samples[0].file))?)
}

/// Requests a second that the board serves while it is cool, some at a time.
pub(crate) async fn capacity(port: u16, model: &str) -> anyhow::Result<f64> {
    let picture = picture(model)?;
    let mut client = Client::connect(port, "capacity").await?;
    client.subscribe("hearth/reply/#").await?;
    let mut next = 0;
    // The first loads the model.
    client.ask(model, "first", picture.clone()).await?;
    client.answer().await?;
    // While nobody asks, the daemon finds out what batches and threads are worth.
    let mut state = Client::connect(port, "state").await?;
    state.subscribe(&format!("hearth/test/models/{model}")).await?;
    while !state.messages_within(STILL).await.is_empty() {}
    let begin = Instant::now();
    let mut answers = 0;
    while begin.elapsed() < Duration::from_millis(700) {
        while next - answers < IN_FLIGHT {
            client.ask(model, &format!("c{next}"), picture.clone()).await?;
            next += 1;
        }
        client.answer().await?;
        answers += 1;
    }
    Ok(answers as f64 / begin.elapsed().as_secs_f64())
}

/// Asks for more than `capacity` at even times, whatever comes of it.
pub(crate) async fn overload(port: u16, model: &str, capacity: f64, wall: Duration) -> anyhow::Result<Served> {
    let picture = picture(model)?;
    let mut client = Client::connect(port, "overload").await?;
    client.subscribe("hearth/reply/#").await?;
    let mut served = Served::default();
    let mut asked: HashMap<Vec<u8>, Instant> = HashMap::new();
    let begin = tokio::time::Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / (capacity * OVERLOAD)));
    let mut next = 0_u64;
    loop {
        tokio::select! {
            _ = ticks.tick(), if begin.elapsed() < wall => {
                let id = next.to_string();
                let expiry = PublishProperties {
                    message_expiry_interval: Some(WORTH.as_secs() as u32),
                    response_topic: Some(format!("hearth/reply/{id}")),
                    correlation_data: Some(id.clone().into()),
                    ..PublishProperties::default()
                };
                asked.insert(id.clone().into_bytes(), Instant::now());
                client.publish(&format!("hearth/test/infer/{model}/{id}"), QoS::AtLeastOnce, false, picture.clone(), expiry).await?;
                next += 1;
            }
            answer = client.answer() => {
                let answer = answer?;
                let correlation = answer.publish.properties.and_then(|p| p.correlation_data).unwrap_or_default();
                let Some(since) = asked.remove(correlation.as_ref()) else { continue };
                if answer.status == "ok" {
                    served.latencies.push(since.elapsed());
                    served.in_time += u64::from(since.elapsed() <= WORTH);
                } else {
                    served.refused += 1;
                }
            }
            () = tokio::time::sleep_until(begin + wall + WORTH), if begin.elapsed() >= wall => return Ok(served),
        }
    }
}
