//! `tests/heat --points`: what an item costs at each point, batch by threads, of each bundled model and of language models given as
//! files, in CPU time measured on this machine and in joules of the virtual boards: at the top clock, at the slowest one, and with pauses.

use anyhow::{Context, ensure};
use hearth_api::Point;
use hearth_tests::board::Kind;
use hearth_tests::broker::Broker;
use hearth_tests::client::{self, Client};
use hearth_tests::daemon::{Home, program};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const USAGE: &str = "\
tests/heat --points [FILE.gguf ...]
  FILE.gguf   a language model beside the bundled models, such as those that tests/peers/llm/speed makes";

/// Boards whose joules are told.
const BOARDS: [Kind; 2] = [Kind::Pi4Bare, Kind::Pi5Cooled];
/// Temperature at which their leakage is taken, °C.
const WARM: f64 = 70.0;
/// Share of the time that is worked where pauses are made.
const DUTY: f64 = 0.5;
/// A table is full once nothing was added for so long.
const STILL: Duration = Duration::from_secs(8);
/// Tokens of a prompt, and of an answer.
const TOKENS: u32 = 64;
/// Conversations in a step of a language model.
const TALKS: [u32; 4] = [1, 2, 4, 8];

/// An item's cost at a point.
struct Cost {
    batch: u32,
    threads: u32,
    /// Seconds from begin to end of the step.
    latency: f64,
    /// Seconds of CPU time for an item.
    cpu: f64,
    /// Bytes of weights read for an item, where they are far more than a cache holds.
    bytes: f64,
}

fn main() -> anyhow::Result<()> {
    let files: Vec<String> = std::env::args().skip(1).collect();
    ensure!(files.iter().all(|file| Path::new(file).is_file()), "{USAGE}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!(
        "J an item on top of the idle board at the top clock and at the slowest; of the whole board at work, and at work half of the time"
    );
    for (model, points) in runtime.block_on(bundled())? {
        let costs = points.iter().map(|p| Cost {
            batch: p.batch,
            threads: p.threads,
            latency: p.latency_us as f64 / 1e6,
            cpu: p.cpu_us_per_item as f64 / 1e6,
            bytes: 0.0,
        });
        print(&model, "request", &costs.collect::<Vec<_>>());
    }
    let foreman = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/bundled/foreman/model.gguf");
    let files = files.iter().map(Path::new).chain(foreman.is_file().then_some(foreman.as_path()));
    for file in files {
        print(&file.display().to_string(), "token", &decoder(file)?);
    }
    Ok(())
}

/// The bundled models that are no language models, with the points that the daemon measures of them.
async fn bundled() -> anyhow::Result<Vec<(String, Vec<Point>)>> {
    let (broker, home) = (Broker::start("")?, Home::new()?);
    let names: Vec<String> = hearth_models::bundled::all()
        .iter()
        .filter(|bundled| Path::new(&bundled.manifest().file).extension().is_some_and(|e| e == "onnx"))
        .map(|bundled| bundled.manifest().name.to_string())
        .collect();
    for name in &names {
        home.put_bundled(name)?;
    }
    // No sensor: nothing is held back, nor waited for.
    let _daemon = home.start(&(broker.section() + &format!("[thermal]\nroot = {:?}\n", home.path("nothing"))))?;
    client::online(broker.port()).await?;
    let mut tables = Vec::new();
    for name in names {
        let mut client = Client::connect(broker.port(), "points").await?;
        client.subscribe(&format!("hearth/test/models/{name}")).await?;
        let mut points: Vec<Point> = Vec::new();
        while let Some(last) = client.messages_within(STILL).await.pop() {
            let model: Value = serde_json::from_slice(&last.payload)?;
            points = serde_json::from_value(model["points"].clone())?;
        }
        tables.push((name, points));
    }
    Ok(tables)
}

/// What a token of an answer costs in a step of some conversations.
fn decoder(file: &Path) -> anyhow::Result<Vec<Cost>> {
    let engine = program("examples/run_gguf");
    let size = std::fs::metadata(file)?.len() as f64;
    let mut costs = Vec::new();
    let most = u32::try_from(std::thread::available_parallelism()?.get())?;
    for talks in TALKS {
        for threads in 1..=most {
            let with = [("--threads", threads), ("--batch", talks), ("--prefill", TOKENS), ("--decode", TOKENS)];
            let with = with.into_iter().flat_map(|(name, value)| [name.to_owned(), value.to_string()]);
            let out = Command::new(&engine).arg("speed").arg(file).args(with).output();
            let out = out.with_context(|| format!("{} is not built", engine.display()))?;
            ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            let said: Value = serde_json::from_slice(&out.stdout)?;
            let number = |name: &str| said[name].as_f64().with_context(|| format!("no {name} in {said}"));
            costs.push(Cost {
                batch: talks,
                threads,
                latency: f64::from(talks) / number("decode_tokens_per_s")?,
                cpu: number("decode_cpu_s_per_token")?,
                bytes: size / f64::from(talks),
            });
        }
    }
    Ok(costs)
}

fn print(model: &str, item: &str, costs: &[Cost]) {
    println!("\n{model}");
    print!("  batch threads     latency   CPU an item");
    BOARDS.iter().for_each(|board| print!("  | {:<11}     top    slowest  at work  half", board.parameters().name));
    println!();
    for cost in costs {
        print!("  {:5} {:7} {:8.2} ms {:8.3} ms/{item}", cost.batch, cost.threads, cost.latency * 1e3, cost.cpu * 1e3);
        for board in BOARDS {
            let is = board.parameters();
            let memory = is.byte * cost.bytes;
            let dynamic = |clock: f64| cost.cpu / clock * is.core(clock) + memory;
            let idle = is.idle(WARM, 1.0) * cost.latency / f64::from(cost.batch);
            let whole = |duty: f64| dynamic(1.0) + idle / duty;
            print!("  |         {:11.5} {:9.5} {:8.5} {:8.5}", dynamic(1.0), dynamic(is.slowest()), whole(1.0), whole(DUTY));
        }
        println!();
    }
}
