//! Looks at the daemon over D-Bus, and goes on looking when it goes away and comes back.

use super::INTERVAL;
use super::state::Sample;
use crate::bus::BusClient;
use crate::heat::Heat;
use serde_json::{Map, Value};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How long the daemon may take to answer a look.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a person may take to be asked for a password by polkit's agent.
const PERMISSION: Duration = Duration::from_secs(60);

/// What the follower tells.
pub(super) enum News {
    /// A look.
    Sample(Box<Sample>),
    /// Moments before now and degrees Celsius, out of the daemon's history.
    Past(Vec<(f64, f64)>),
    /// Why there was no look.
    Trouble(String),
    /// Why the mode was not set; nothing where it was.
    Mode(Option<String>),
}

/// A mode to be set, and the temperature of `cool`.
pub(super) type Wanted = (&'static str, Option<f64>);

/// Looks at a daemon.
pub(super) struct Watch {
    bus: String,
    clock: Instant,
    client: Option<BusClient>,
}

impl Watch {
    pub(super) fn new(bus: &str) -> Watch {
        Watch { bus: bus.to_owned(), clock: Instant::now(), client: None }
    }

    /// The clock of the samples.
    pub(super) fn clock(&self) -> Instant {
        self.clock
    }

    /// One look. A connection that failed is made anew the next time.
    pub(super) async fn sample(&mut self) -> anyhow::Result<Sample> {
        let sample = match tokio::time::timeout(PATIENCE, self.ask()).await {
            Ok(sample) => sample,
            Err(_) => Err(anyhow::anyhow!("hearthd does not answer within {} s", PATIENCE.as_secs())),
        };
        if sample.is_err() {
            self.client = None;
        }
        sample
    }

    async fn ask(&mut self) -> anyhow::Result<Sample> {
        let client = self.client().await?;
        let (about, thermal, stats, models) = tokio::try_join!(client.about(), client.heat(), client.stats(), client.model_states())?;
        let word = |about: &Map<String, Value>, name: &str| about.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Sample {
            at: self.clock.elapsed().as_secs_f64(),
            version: word(&about, "Version"),
            node: word(&about, "Node"),
            heat: Heat::of(&thermal),
            thermal,
            stats,
            models,
        })
    }

    async fn client(&mut self) -> anyhow::Result<BusClient> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let client = BusClient::connect(&self.bus).await?;
        self.client = Some(client.clone());
        Ok(client)
    }

    /// The temperatures that the daemon kept; nothing where it keeps none.
    async fn past(&mut self) -> Option<Vec<(f64, f64)>> {
        let client = self.client().await.ok()?;
        let records = tokio::time::timeout(PATIENCE, client.history()).await.ok()?.ok()?;
        let now = std::time::UNIX_EPOCH.elapsed().ok()?.as_secs_f64();
        let elapsed = self.clock.elapsed().as_secs_f64();
        let kept = records.iter().filter(|record| record.at <= now);
        Some(kept.filter_map(|record| Some((record.at - now + elapsed, record.temperature_celsius?))).collect())
    }

    /// Looks each second and sets modes, until nobody listens.
    pub(super) async fn follow(mut self, mut wanted: mpsc::Receiver<Wanted>, tell: mpsc::Sender<News>) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut knows_past = false;
        loop {
            let news = tokio::select! {
                Some(mode) = wanted.recv() => News::Mode(self.set_mode(mode).await.err().map(|error| format!("{error:#}"))),
                _ = ticks.tick() => match self.sample().await {
                    Ok(sample) => News::Sample(Box::new(sample)),
                    Err(error) => News::Trouble(format!("trying again: {error:#}")),
                },
            };
            if !knows_past && matches!(news, News::Sample(_)) {
                knows_past = true;
                if let Some(past) = self.past().await
                    && tell.send(News::Past(past)).await.is_err()
                {
                    return;
                }
            }
            if tell.send(news).await.is_err() {
                return;
            }
        }
    }

    async fn set_mode(&mut self, (mode, celsius): Wanted) -> anyhow::Result<()> {
        let client = self.client().await?;
        Ok(tokio::time::timeout(PERMISSION, client.set_mode(mode, celsius)).await??)
    }
}
