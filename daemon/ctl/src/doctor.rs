//! `hearthctl doctor`: what is wrong with this installation and its broker, in plain words, each with the mend.

use crate::broker::{BrokerClient, BrokerOptions};
use crate::bus::BusClient;
use crate::heat::Heat;
use crate::{Where, status};
use clap::Args;
use hearth_api::{CONTRACT_VERSION, ModelState};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAck, Packet, Publish};
use rumqttc::v5::{AsyncClient, Event, EventLoop};
use serde::Serialize;
use serde_json::Value;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// `hearthctl doctor`
#[derive(Debug, Args)]
pub struct Options {
    /// Messages queued at the broker for a client that is away, to see whether it drops some (0: do not try)
    #[arg(long, value_name = "N", default_value_t = 2000)]
    probe_queue: usize,
    #[command(flatten)]
    at: Where,
    #[command(flatten)]
    broker: BrokerOptions,
}

/// One thing looked at.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    state: State,
    says: String,
    /// What to do about it; empty where nothing needs doing.
    mend: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Good,
    Warning,
    Bad,
}

fn finding(what: &'static str, state: State, says: impl Into<String>, mend: impl Into<String>) -> Finding {
    Finding { what, state, says: says.into(), mend: mend.into() }
}

/// The broker may take so long for each answer.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let mut findings = vec![unit()];
    match BusClient::connect(&options.at.bus).await {
        Ok(bus) => findings.extend(daemon(&bus).await),
        Err(error) => findings.push(finding(
            "bus",
            State::Bad,
            format!("{error:#}"),
            "start the bus (systemctl start dbus), or name the daemon's own with --bus",
        )),
    }
    findings.extend(broker(&options).await);
    let worst = findings.iter().any(|f| f.state == State::Bad);
    if options.at.json {
        println!("{}", serde_json::to_string(&findings)?);
    } else {
        for f in &findings {
            let mark = match f.state {
                State::Good => "ok  ",
                State::Warning => "warn",
                State::Bad => "BAD ",
            };
            println!("{mark}  {:<8} {}", f.what, f.says);
            if !f.mend.is_empty() {
                println!("                 -> {}", f.mend);
            }
        }
    }
    Ok(if worst { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What systemd says of the unit.
fn unit() -> Finding {
    let show = std::process::Command::new("systemctl")
        .args(["show", "hearthd.service", "--property=LoadState,ActiveState,SubState,Result,NRestarts"])
        .output();
    let Ok(output) = show else {
        return finding(
            "unit",
            State::Warning,
            "systemd does not run here, so nothing restarts the daemon",
            "start hearthd by hand, or from the init you have",
        );
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let of = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default().to_owned();
    let says =
        format!("hearthd.service is {} ({}), result {}, {} restarts", of("ActiveState"), of("SubState"), of("Result"), of("NRestarts"));
    match (of("LoadState").as_str(), of("ActiveState").as_str()) {
        ("loaded", "active") => finding("unit", State::Good, says, ""),
        ("loaded", _) => finding("unit", State::Bad, says, "systemctl start hearthd; journalctl -u hearthd says why it ended"),
        _ => finding(
            "unit",
            State::Warning,
            "hearthd.service is not installed",
            "copy systemd/ to its install paths, then systemctl daemon-reload",
        ),
    }
}

async fn daemon(bus: &BusClient) -> Vec<Finding> {
    let asked = async { Ok::<_, crate::CallError>((bus.about().await?, bus.heat().await?, bus.models().await?)) };
    let (about, heat, models) = match asked.await {
        Ok(all) => all,
        Err(error) => {
            return vec![finding(
                "daemon",
                State::Bad,
                error.to_string(),
                "systemctl start hearthd; journalctl -u hearthd says why it ended",
            )];
        }
    };
    let word = |map: &serde_json::Map<String, Value>, name: &str| map.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (version, contract) = (word(&about, "Version"), word(&about, "ContractVersion"));
    let mut findings = vec![if contract.split('.').next() == CONTRACT_VERSION.split('.').next() {
        finding("daemon", State::Good, format!("hearthd {version} answers, contract {contract}"), "")
    } else {
        finding(
            "daemon",
            State::Bad,
            format!("the daemon speaks contract {contract}, this program {CONTRACT_VERSION}"),
            "install both from one package",
        )
    }];
    let firmware: Vec<&str> =
        heat.get("FirmwareThrottling").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let degraded = !word(&heat, "PerformanceDegraded").is_empty();
    findings.push(match (heat.get("Temperature").and_then(Value::as_f64), degraded) {
        (None, _) => finding(
            "heat",
            State::Warning,
            word(&heat, "Reason"),
            "nothing, if this machine has no sensor; else load its driver (hwmon, thermal)",
        ),
        (Some(_), false) => finding("heat", State::Good, status::warmth(&Heat::of(&heat)), ""),
        (Some(_), true) => {
            finding("heat", State::Warning, status::warmth(&Heat::of(&heat)), "a heat sink, a fan or a cooler place; or fewer requests")
        }
    });
    if !firmware.is_empty() {
        let mend = "under-voltage: a stronger power supply or a shorter cable; throttling: better cooling";
        findings.push(finding("firmware", State::Warning, format!("the board's firmware says: {}", firmware.join(", ")), mend));
    }
    let broken: Vec<String> = models
        .iter()
        .filter(|m| matches!(m.state, ModelState::Failed | ModelState::Quarantined))
        .map(|m| format!("{} {} is {}: {}", m.name, m.version, m.state.as_str(), m.reason))
        .collect();
    findings.push(match (models.len(), broken.is_empty()) {
        (0, _) => finding("models", State::Warning, "no model is installed", "hearthctl model add FOLDER-OR-FILE.onnx"),
        (n, true) => finding("models", State::Good, format!("{n} installed, none failed"), ""),
        (_, false) => finding(
            "models",
            State::Bad,
            broken.join("; "),
            "hearthctl model roll-back or remove it; activating it again lifts a quarantine",
        ),
    });
    findings
}

async fn broker(options: &Options) -> Vec<Finding> {
    let url = options.broker.url();
    let mut client = match Probe::connect(&options.broker, "look", true).await {
        Ok(client) => client,
        Err(error) => {
            let mend = "start the broker (systemctl start mosquitto), or name it with --mqtt, --username, --password-file, --ca-file";
            return vec![finding("broker", State::Bad, format!("{url}: {error:#}"), mend)];
        }
    };
    let mut findings = vec![finding("broker", State::Good, format!("{url} lets us in"), "")];
    if let Some(most) = client.acknowledged.properties.as_ref().and_then(|p| p.max_packet_size) {
        findings.push(finding(
            "broker",
            State::Warning,
            format!("it takes no message over {most} bytes; larger answers become a fault"),
            "raise max_packet_size in the broker's configuration",
        ));
    }
    findings.push(dropped(&mut client).await);
    let delivers = round_trips(&options.broker).await;
    let whole = delivers.state != State::Bad;
    findings.push(delivers);
    if options.probe_queue > 0 && whole {
        findings.push(match queue(&options.broker, options.probe_queue).await {
            Ok(finding) => finding,
            Err(error) => finding(
                "broker",
                State::Warning,
                format!("its queue could not be tried: {error:#}"),
                "allow hearthctl the topic hearth/reply/# in the broker's access list",
            ),
        });
    }
    findings.push(match BrokerClient::connect(&options.broker).await {
        Ok(found) => finding("node", State::Good, format!("{} is online at the broker", found.topics().node()), ""),
        Err(error) => finding(
            "node",
            State::Bad,
            format!("{error:#}"),
            "set [mqtt] url in /etc/hearth/hearthd.toml to this broker; journalctl -u hearthd says whether it was let in",
        ),
    });
    findings
}

/// Whether the broker counts messages that it dropped.
async fn dropped(client: &mut Probe) -> Finding {
    let topic = "$SYS/broker/publish/messages/dropped";
    let count = async {
        client.client.subscribe(topic, QoS::AtMostOnce).await.ok()?;
        let publish = tokio::time::timeout(PATIENCE, client.next()).await.ok()??;
        String::from_utf8_lossy(&publish.payload).trim().parse::<u64>().ok()
    };
    match count.await {
        Some(0) => finding("broker", State::Good, "it has dropped no message since it started", ""),
        Some(n) => finding("broker", State::Warning, format!("it has dropped {n} messages since it started"), DROPS),
        None => finding(
            "broker",
            State::Warning,
            "it does not tell whether it drops messages ($SYS topics)",
            "nothing, if its queue below is long enough",
        ),
    }
}

const DROPS: &str = "install systemd/mosquitto/hearthd.conf (max_queued_messages, max_queued_bytes) and restart the broker";

/// Whether a message comes back to us, and how quickly. A broker leaves out what its access list does not allow without a word.
async fn round_trips(options: &BrokerOptions) -> Finding {
    let topic = reply_topic();
    let mut times = Vec::new();
    let tried = async {
        let mut probe = Probe::connect(options, "echo", true).await?;
        probe.client.subscribe(&topic, QoS::AtLeastOnce).await?;
        probe.wait(|p| matches!(p, Packet::SubAck(_))).await?;
        for _ in 0..ROUND_TRIPS {
            let sent = Instant::now();
            probe.client.publish(&topic, QoS::AtLeastOnce, false, "doctor").await?;
            // The acknowledgement first or the message first, as the broker likes.
            let (mut acknowledged, mut came) = (false, false);
            probe
                .wait(|p| {
                    acknowledged |= matches!(p, Packet::PubAck(_));
                    came |= matches!(p, Packet::Publish(_));
                    acknowledged && came
                })
                .await?;
            times.push(sent.elapsed());
        }
        probe.leave().await;
        anyhow::Ok(())
    };
    if tried.await.is_err() {
        let says = format!("a message to {topic} does not come back: the broker's access list keeps it, and so it would keep answers");
        return finding("broker", State::Bad, says, "allow hearthd and its clients to write and read hearth/# (mosquitto: acl_file)");
    }
    times.sort_unstable();
    let median = times[times.len() / 2];
    let says = format!("a message at QoS 1 comes back in {:.1} ms", median.as_secs_f64() * 1e3);
    if median < SLOW_ROUND_TRIP {
        finding("broker", State::Good, says, "")
    } else {
        let mend = "set_tcp_nodelay true in mosquitto.conf, if the broker is on this board; else the network is slow";
        finding("broker", State::Warning, says, mend)
    }
}

/// Messages that [`round_trips`] sends, one after another.
const ROUND_TRIPS: usize = 5;
/// A delayed acknowledgement under Nagle's algorithm takes about 40 ms; a broker on the same board less than one.
const SLOW_ROUND_TRIP: Duration = Duration::from_millis(20);

/// A topic that answers may use, of this run alone.
fn reply_topic() -> String {
    format!("hearth/reply/doctor-{}", std::process::id())
}

/// Queues messages for a client that is away, and counts what it gets when it comes back.
async fn queue(options: &BrokerOptions, n: usize) -> anyhow::Result<Finding> {
    let topic = reply_topic();
    let mut away = Probe::connect(options, "queue", false).await?;
    away.client.subscribe(&topic, QoS::AtLeastOnce).await?;
    away.wait(|p| matches!(p, Packet::SubAck(_))).await?;
    away.leave().await;
    let mut sender = Probe::connect(options, "send", true).await?;
    let publisher = sender.client.clone();
    let to = topic.clone();
    let publishing = tokio::spawn(async move {
        for i in 0..n {
            publisher.publish(&to, QoS::AtLeastOnce, false, i.to_string()).await?;
        }
        Ok::<_, rumqttc::v5::ClientError>(())
    });
    for _ in 0..n {
        sender.wait(|p| matches!(p, Packet::PubAck(_))).await?;
    }
    publishing.await??;
    let mut back = Probe::connect(options, "queue", false).await?;
    let mut got = 0;
    while got < n && tokio::time::timeout(Duration::from_secs(1), back.next()).await.is_ok_and(|p| p.is_some()) {
        got += 1;
    }
    back.leave().await;
    // Connecting clean takes the session, and what is queued in it, away again.
    Probe::connect(options, "queue", true).await?.leave().await;
    Ok(if got == n {
        finding("broker", State::Good, format!("it keeps {n} messages for a client that is away"), "")
    } else {
        finding("broker", State::Bad, format!("of {n} acknowledged messages for a client that is away it dropped {}", n - got), DROPS)
    })
}

/// A bare connection to look at the broker with.
struct Probe {
    client: AsyncClient,
    events: EventLoop,
    acknowledged: ConnAck,
}

impl Probe {
    async fn connect(options: &BrokerOptions, name: &str, clean: bool) -> anyhow::Result<Probe> {
        let mut connect = options.connect_options(&format!("hearthctl-doctor-{}-{name}", std::process::id()))?;
        connect.set_clean_start(clean);
        if !clean {
            connect.set_session_expiry_interval(Some(60));
        }
        let (client, mut events) = AsyncClient::new(connect, 512);
        let acknowledged = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Event::Incoming(Packet::ConnAck(acknowledged)) = events.poll().await? {
                    return anyhow::Ok(acknowledged);
                }
            }
        });
        Ok(Probe { client, acknowledged: acknowledged.await??, events })
    }

    /// Waits for a packet.
    async fn wait(&mut self, mut wanted: impl FnMut(&Packet) -> bool) -> anyhow::Result<()> {
        tokio::time::timeout(PATIENCE, async {
            loop {
                if let Event::Incoming(packet) = self.events.poll().await?
                    && wanted(&packet)
                {
                    return anyhow::Ok(());
                }
            }
        })
        .await?
    }

    /// The next message.
    async fn next(&mut self) -> Option<Publish> {
        loop {
            if let Event::Incoming(Packet::Publish(publish)) = self.events.poll().await.ok()? {
                return Some(publish);
            }
        }
    }

    /// Says good-bye.
    async fn leave(mut self) {
        if self.client.disconnect().await.is_ok() {
            // The connection ends with an error once the broker has closed it.
            let _ = tokio::time::timeout(PATIENCE, async { while self.events.poll().await.is_ok() {} }).await;
        }
    }
}
