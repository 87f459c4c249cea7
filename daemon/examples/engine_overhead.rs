//! What the engine costs: the time from `submit` to `deliver` against a bare `Model::infer`, one request at a time and in
//! the same run. `cargo run --example engine_overhead -- MODEL_FOLDER PAYLOAD_FILE`, a folder with a `manifest.toml`.

use hearth_api::{ContentType, Payload, Request, RequestId};
use hearth_kernels::Pool;
use hearth_models::{Model, Source, Store};
use hearthd::config::{Limits, Models, Settings, Thermal};
use hearthd::engine::{Ending, Engine, Submission};
use hearthd::scheduler::{Door, Key};
use hearthd::thermal::{Budget, Degraded};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

const ROUNDS: usize = 4000;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(folder), Some(file)) = (arguments.next(), arguments.next()) else {
        anyhow::bail!("usage: engine_overhead MODEL_FOLDER PAYLOAD_FILE")
    };
    let bytes = std::fs::read(file)?;
    let payload = Payload { content_type: ContentType::sniff(&bytes)?, bytes: bytes.into() };
    let model = Model::load(&folder)?;
    let pool = std::sync::Arc::new(Pool::new(1));
    for answer in model.infer(std::slice::from_ref(&payload), 1, &pool, &mut || ()) {
        answer?;
    }

    let home = tempfile::tempdir()?;
    let settings = settings(home.path());
    Store::open(&settings.models.directory)?.install(&Source::Folder(folder), &|_| Ok(()))?;
    let engine = Engine::start(&settings)?;
    // One thread, and no measuring in between.
    engine.set_budget(Budget { degraded: Degraded::HighOperatingTemperature, ..Budget::unbounded(1) });
    let name = model.manifest().name.clone();
    let (sender, endings) = mpsc::channel();
    let ask = |round: usize| -> anyhow::Result<(Duration, u64)> {
        let id = RequestId::new(round.to_string())?;
        let key = Key { door: Door::Mqtt, reply_to: "hearth/reply/overhead".into(), correlation: round.to_string().into() };
        let request = Request { id, model: name.clone(), payload: payload.clone(), priority: Default::default(), timeout: None };
        let sender = sender.clone();
        let begun = Instant::now();
        engine.submit(Submission {
            key,
            request,
            stream: None,
            deliver: Box::new(move |ending| drop(sender.send((ending, Instant::now())))),
        });
        match endings.recv()? {
            (Ending::Answered(reply), delivered) => Ok((delivered - begun, reply.timings.computed_us)),
            (other, _) => anyhow::bail!("no answer: {other:?}"),
        }
    };
    ask(0)?;

    // By turns, so that what else the machine does falls on all alike.
    let (mut bare, mut through, mut at_once, mut computed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let begun = Instant::now();
        std::hint::black_box(model.infer(std::slice::from_ref(&payload), 1, &pool, &mut || ()));
        bare.push(begun.elapsed());
        let (time, in_step) = ask(2 * round + 1)?;
        through.push(time);
        computed.push(Duration::from_micros(in_step));
        // The second follows on the first's heels: the step loop is still awake.
        at_once.push(ask(2 * round + 2)?.0);
    }
    println!("{name}, {ROUNDS} rounds");
    println!("{:<34}{:>12}{:>12}", "", "p50", "p99");
    for (what, times) in [
        ("bare Model::infer", &mut bare),
        ("submit to deliver, after a pause", &mut through),
        ("submit to deliver, at once", &mut at_once),
        ("of which the step computes", &mut computed),
    ] {
        times.sort();
        println!("{what:<34}{:>9.1} us{:>9.1} us", micros(times[ROUNDS / 2]), micros(times[ROUNDS * 99 / 100]));
    }
    Ok(())
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn settings(home: &std::path::Path) -> Settings {
    let minute = Duration::from_secs(60);
    Settings {
        node: hearth_api::topics::NodeName::new("overhead").expect("a node name"),
        mqtt: None,
        dbus: None,
        models: Models {
            directory: home.join("models"),
            memory_bytes: None,
            pinned: Vec::new(),
            overcommit: Vec::new(),
            preload: true,
            idle_unload: None,
            check_memory_bytes: 1 << 30,
            check_timeout: minute,
        },
        limits: Limits {
            queue_requests: 256,
            queue_bytes: 64 << 20,
            queue_requests_per_model: 128,
            payload_bytes: 16 << 20,
            default_timeout: minute,
            chat_timeout: minute,
            threads: Some(1),
            shutdown: minute,
        },
        thermal: Thermal { root: home.into(), limit_celsius: None, interval: minute, mode: None },
        runtime_directory: home.join("run"),
        state_directory: home.to_path_buf(),
    }
}
