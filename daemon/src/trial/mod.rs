//! `hearthctl try`: a daemon of its own, real inputs through both doors with real clients, and a burst.

mod burst;
mod judge;

use crate::daemon::Daemon;
use crate::standalone::Standalone;
use crate::{cli, config};
use anyhow::Context;
use clap::Args;
use hearth_api::dbus::{BUS_NAME, INLINE_BYTES, MODEL_INTERFACE, model_path};
use hearth_api::{ContentType, Fault, ModelName, ModelState, Payload, Priority, Reply, RequestId};
use hearth_ctl::CallError;
use hearth_ctl::broker::{BrokerClient, BrokerOptions};
use hearth_ctl::bus::BusClient;
use hearth_models::bundled::{self, Bundled};
use hearth_models::manifest::{Manifest, Task};
use judge::{Judge, Judged};
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// `hearthctl try`
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Leave the daemon up and print the mosquitto_pub and busctl lines to play with
    #[arg(long)]
    stay: bool,
    /// Print JSON lines, for scripts
    #[arg(long)]
    json: bool,
    /// Requests in the burst
    #[arg(long, value_name = "N", default_value_t = 600)]
    burst: usize,
}

/// How long the bundled models may take to load, and an answer to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// The two doors, as a client sees them.
#[derive(Clone)]
pub(super) struct Doors {
    bus: BusClient,
    broker: Arc<BrokerClient>,
}

/// Which door a request went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    Mqtt,
    Bus,
}

impl Door {
    const BOTH: [Door; 2] = [Door::Mqtt, Door::Bus];

    fn as_str(self) -> &'static str {
        match self {
            Door::Mqtt => "MQTT",
            Door::Bus => "D-Bus",
        }
    }
}

impl Doors {
    /// One request through one door.
    async fn ask(&self, door: Door, sample: &Sample, id: &str) -> Result<Reply, CallError> {
        let Sample { model, payload, .. } = sample;
        let json = match (door, sample.prompt()) {
            (Door::Mqtt, None) => self.broker.infer(model, id, payload, Priority::Normal, PATIENCE).await?.json()?,
            (Door::Bus, None) => self.bus.infer(model, payload, &[].into()).await?.json().map_err(CallError::Unreachable)?,
            (Door::Mqtt, Some(_)) => {
                let id = RequestId::new(id).map_err(CallError::Fault)?;
                // The whole answer will do: nobody listens for its pieces.
                let (pieces, _) = mpsc::unbounded_channel();
                self.broker.chat(model, &id, payload, PATIENCE, pieces).await?.json()?
            }
            (Door::Bus, Some(_)) => self.bus.chat(model, payload, &[].into()).await?.whole().await?,
        };
        serde_json::from_value(json).map_err(|e| CallError::Unreachable(anyhow::Error::new(e).context("the answer is no reply")))
    }
}

/// A sample of a bundled model, ready to be sent.
#[derive(Clone)]
pub(super) struct Sample {
    model: ModelName,
    file: String,
    truth: String,
    payload: Payload,
}

impl Sample {
    /// What is said to a language model.
    fn prompt(&self) -> Option<&str> {
        if self.payload.content_type == ContentType::Text { str::from_utf8(&self.payload.bytes).ok().map(str::trim) } else { None }
    }
}

/// Runs the trial; exit code 1 if any answer is missing, or wrong more often than its model promises.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let ended = cli::ended()?;
    tokio::pin!(ended);
    let standalone = Standalone::start().await?;
    let daemon = Daemon::start(standalone.settings().clone()).await?;
    let trial = try_out(&options, &standalone, &daemon);
    let good = tokio::select! {
        good = trial => good,
        signal = &mut ended => Err(anyhow::anyhow!("ended by {signal}")),
    };
    if options.stay && good.is_ok() {
        if !options.json {
            println!("{}", playground(&standalone)?);
        }
        ended.await;
    }
    daemon.stop().await;
    standalone.stop().await;
    Ok(if good? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn try_out(options: &Options, standalone: &Standalone, daemon: &Daemon) -> anyhow::Result<bool> {
    let say = |line: &str| {
        if !options.json {
            println!("{line}");
        }
    };
    let version = env!("CARGO_PKG_VERSION");
    say(&format!("hearthd {version} in this process: {}", standalone.describe()));
    if options.json {
        println!("{}", json!({"daemon": {"version": version, "running_on": standalone.describe()}}));
    }
    let doors = connect(standalone).await?;
    let heat = daemon.monitor().watch();
    say(&format!("heat: {}\n", heat.borrow().reason));
    ready(daemon).await?;
    let mut samples = Vec::new();
    let mut good = true;
    for model in bundled::all() {
        let manifest = model.manifest();
        let mut judge = Judge::of(manifest);
        say(&format!("{} {}: {}", manifest.name, manifest.version, manifest.description));
        let of_model = samples_of(&model)?;
        for (i, sample) in of_model.iter().enumerate() {
            let door = Door::BOTH[i % 2];
            let id = format!("try-{}-{i}", sample.model);
            let reply = doors.ask(door, sample, &id).await;
            let temperature = heat.borrow().temperature_celsius;
            match reply {
                Ok(reply) => {
                    let judged = judge.judge(&sample.truth, &reply.answer);
                    say(&row(door, sample, &reply, judged, temperature));
                    if options.json {
                        let head = json!({"door": door.as_str(), "input": sample.file, "truth": sample.truth, "right": judged.right,
                            "temperature_celsius": temperature});
                        println!("{}", merged(head, serde_json::to_value(&reply)?));
                    }
                }
                Err(error) => {
                    judge.missing();
                    say(&format!("  {:<5}  {:<24} no answer: {error}", door.as_str(), sample.file));
                    if options.json {
                        println!(
                            "{}",
                            json!({"door": door.as_str(), "model": sample.model, "input": sample.file, "error": error.to_string()})
                        );
                    }
                }
            }
        }
        let verdict = judge.verdict();
        good &= verdict.good;
        say(&format!("  {}\n", verdict.says));
        samples.extend(of_model);
    }
    let outcome = burst::run(&doors, samples, options.burst, options.json).await?;
    if options.json {
        println!("{}", outcome.json());
    } else {
        println!("{outcome}");
    }
    Ok(good && outcome.lost == 0)
}

async fn connect(standalone: &Standalone) -> anyhow::Result<Doors> {
    let settings = standalone.settings();
    let bus = match &settings.dbus {
        Some(config::Bus::Address(address)) => address.clone(),
        Some(config::Bus::Peer(path)) => format!("peer:{}", path.display()),
        other => anyhow::bail!("a private bus was expected, not {other:?}"),
    };
    let options = BrokerOptions {
        mqtt: Some(standalone.broker_url()),
        username: Some(standalone.login().0),
        password_file: Some(standalone.password_file()),
        node: Some(settings.node.to_string()),
        ..BrokerOptions::default()
    };
    Ok(Doors { bus: BusClient::connect(&bus).await?, broker: Arc::new(BrokerClient::connect(&options).await?) })
}

/// Waits until every model is loaded.
async fn ready(daemon: &Daemon) -> anyhow::Result<()> {
    let mut snapshot = daemon.engine().watch();
    let all_ready = snapshot
        .wait_for(|s| !s.models.is_empty() && s.models.iter().all(|m| m.state != ModelState::Available && m.state != ModelState::Loading));
    let snapshot = tokio::time::timeout(PATIENCE, all_ready).await.context("the models did not load")??.clone();
    if let Some(model) = snapshot.models.iter().find(|m| m.state != ModelState::Ready) {
        anyhow::bail!("{} is {}: {}", model.name, model.state.as_str(), model.reason);
    }
    Ok(())
}

fn samples_of(model: &Bundled) -> anyhow::Result<Vec<Sample>> {
    let manifest = model.manifest();
    let read = |sample: &hearth_models::manifest::Sample| {
        let bytes = model.file(&sample.file).with_context(|| format!("{}: {} is not bundled", manifest.name, sample.file))?;
        Ok(Sample {
            model: manifest.name.clone(),
            file: sample.file.clone(),
            truth: sample.truth.clone(),
            payload: Payload { content_type: content_type(manifest, bytes)?, bytes: bytes.into() },
        })
    };
    manifest.samples.iter().map(read).collect()
}

/// What a sample of a model is.
fn content_type(manifest: &Manifest, bytes: &[u8]) -> Result<ContentType, Fault> {
    if matches!(manifest.task, Task::Chat(_)) { Ok(ContentType::sniff_chat(bytes)) } else { ContentType::sniff(bytes) }
}

fn row(door: Door, sample: &Sample, reply: &Reply, judged: Judged, temperature: Option<crate::thermal::Celsius>) -> String {
    let t = reply.timings;
    let file = Path::new(&sample.file).file_name().unwrap_or_default().to_string_lossy();
    let verdict = if judged.right { "right" } else { "WRONG" };
    if let Some(prompt) = sample.prompt() {
        let answer = judged.answer(&reply.answer);
        let truth = if judged.right { String::new() } else { format!("\n{:16}truth {}", "", sample.truth) };
        return format!(
            "  {:<5}  {verdict}  “{prompt}”\n{:16}{answer}{truth}\n{:16}queued {} µs  computed {} µs  batch {}",
            door.as_str(),
            "",
            "",
            t.queued_us,
            t.computed_us,
            reply.batch
        );
    }
    format!(
        "  {:<5}  {file:<20}  {}  {:<34}  truth {:<10}  queued {:>5} µs  batched {:>5} µs  computed {:>6} µs  batch {}  {}",
        door.as_str(),
        verdict,
        judged.answer(&reply.answer),
        judge::told(&sample.truth, &reply.answer),
        t.queued_us,
        t.batched_us,
        t.computed_us,
        reply.batch,
        temperature.map_or_else(|| "no sensor".into(), |t| t.to_string()),
    )
}

fn merged(mut head: serde_json::Value, tail: serde_json::Value) -> serde_json::Value {
    if let (Some(head), serde_json::Value::Object(tail)) = (head.as_object_mut(), tail) {
        head.extend(tail);
    }
    head
}

/// Lines to play with while the daemon stays up.
fn playground(standalone: &Standalone) -> anyhow::Result<String> {
    let settings = standalone.settings();
    let (user, _) = standalone.login();
    let broker = settings.mqtt.as_ref().context("no broker")?;
    let login =
        format!("-h {} -p {} -u {user} -P \"$(cat {})\"", broker.broker.host, broker.broker.port, standalone.password_file().display());
    let mut lines = vec!["It stays up until Ctrl-C. In another terminal:".to_owned()];
    for model in bundled::all() {
        let manifest = model.manifest();
        let Some(sample) = manifest.samples.first() else { continue };
        // The store has the samples beside the model.
        let file = settings.models.directory.join(manifest.name.as_str()).join("active").join(&sample.file);
        lines.push(format!("\n# {}: {}", manifest.name, manifest.description));
        let talks = matches!(manifest.task, Task::Chat(_));
        let verb = if talks { "chat" } else { "infer" };
        lines.push(format!("mosquitto_pub {login} -V 5 -q 1 -t hearth/{}/{verb}/{} -f {}", settings.node, manifest.name, file.display()));
        let bus = match &settings.dbus {
            Some(config::Bus::Address(address)) => address.clone(),
            Some(config::Bus::Peer(path)) => format!("peer:{}", path.display()),
            _ => continue,
        };
        if talks {
            lines.push(format!("hearthctl chat {} --bus {bus}", manifest.name));
            continue;
        }
        let payload = model.file(&sample.file).unwrap_or_default();
        // What is larger travels as a descriptor, which busctl cannot send; and it needs a bus.
        if let (Some(config::Bus::Address(address)), true) = (&settings.dbus, payload.len() <= INLINE_BYTES) {
            let kind = content_type(manifest, payload)?.as_str();
            let bytes = "$(od -An -v -tu1 FILE | tr -s '\\n' ' ')".replace("FILE", &file.display().to_string());
            let count = format!("$(stat -Lc %s {})", file.display());
            lines.push(format!(
                "busctl --address={address} call {BUS_NAME} {} {MODEL_INTERFACE} Infer 'sva{{sv}}' {kind} ay {count} {bytes} 0",
                model_path(&manifest.name)
            ));
        }
        lines.push(format!("hearthctl infer {} {} --bus {bus}", manifest.name, file.display()));
    }
    lines.push(format!("\n# the answers:\nmosquitto_sub {login} -V 5 -v -t 'hearth/{}/result/#'", settings.node));
    lines.push(format!("# everything that is told:\nmosquitto_sub {login} -V 5 -v -t 'hearth/#'"));
    Ok(lines.join("\n"))
}
