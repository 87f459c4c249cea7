//! Both sides of the check's process: the parent that starts, bounds and believes it, and the child that binds itself.

use super::{Comparison, Limits, Refusal, Report, Samples, compare, samples};
use crate::decoder::weights;
use crate::manifest::{Manifest, Task};
use crate::network::{Arithmetic, Batching};
use crate::onnx::Source;
use crate::{Model, Network};
use hearth_api::graph::Graph;
use hearth_api::{ContentType, Payload, Priority};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// The most that is read of what a child prints.
const MAX_OUTPUT: u64 = 1 << 20;
/// How many samples are compared with the unoptimised graph; all are held against their truths.
const COMPARED_SAMPLES: usize = 3;

/// What a child prints, as one line of JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    Accepted(Report),
    Refused(String),
}

/// Checks the model in `directory` (a manifest and its files) in a child process of `program`.
pub fn run(program: &Path, directory: &Path, limits: &Limits) -> Result<Report, Refusal> {
    let refuse = |reason: String| Refusal { reason };
    let directory = directory.canonicalize().map_err(|e| refuse(format!("{}: cannot be read: {e}", directory.display())))?;
    // What a language model maps takes address space, and no memory that the system could not have back.
    let mapped = Manifest::read(&directory).map_or(0, |manifest| weights::mapped_bytes(&directory.join(manifest.file)));
    let mut child = Command::new(program)
        .arg("check-model")
        .arg(&directory)
        .arg(limits.memory_bytes.saturating_add(mapped).to_string())
        .arg(seconds(limits.cpu).to_string())
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| refuse(format!("the check cannot be started: {}: {e}", program.display())))?;
    let output = drain(child.stdout.take());
    let errors = drain(child.stderr.take());
    let status = wait(&mut child, &output, limits.clock).map_err(|e| refuse(format!("the check cannot be waited for: {e}")))?;
    let text = |bytes: mpsc::Receiver<Vec<u8>>| String::from_utf8_lossy(&bytes.recv().unwrap_or_default()).into_owned();
    let Some(status) = status else {
        return Err(refuse(format!("its check did not end within {} s", limits.clock.as_secs_f64())));
    };
    let output = text(output.bytes);
    let verdict = output.lines().rev().find_map(|line| serde_json::from_str(line).ok());
    match verdict {
        Some(Verdict::Accepted(report)) => Ok(report),
        // tract panics where an allocation fails; everything else aborts.
        Some(Verdict::Refused(reason)) if reason.contains("failed to allocate") => Err(refuse(too_much_memory(limits, &reason))),
        Some(Verdict::Refused(reason)) => Err(refuse(reason)),
        None => Err(refuse(death(status, &text(errors.bytes), limits))),
    }
}

/// What a child writes, read on a thread of its own, so that a full pipe never stops it.
struct Drain {
    bytes: mpsc::Receiver<Vec<u8>>,
    ended: mpsc::Receiver<()>,
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> Drain {
    let (send_bytes, bytes) = mpsc::channel();
    let (send_end, ended) = mpsc::channel();
    thread::spawn(move || {
        let mut content = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before an error counts.
            let _ = pipe.by_ref().take(MAX_OUTPUT).read_to_end(&mut content);
            let _ = std::io::copy(&mut pipe, &mut std::io::sink());
        }
        let _ = send_bytes.send(content);
        let _ = send_end.send(());
    });
    Drain { bytes, ended }
}

/// Waits for the child's end, or kills it after `bound`; then there is no status.
fn wait(child: &mut Child, output: &Drain, bound: Duration) -> std::io::Result<Option<ExitStatus>> {
    // Its pipe closes when it ends.
    let ended = output.ended.recv_timeout(bound).is_ok();
    if !ended {
        child.kill()?;
    }
    let status = child.wait()?;
    Ok(ended.then_some(status))
}

fn seconds(cpu: Duration) -> u64 {
    cpu.as_secs() + u64::from(cpu.subsec_nanos() > 0)
}

/// Why a child ended without a verdict.
fn death(status: ExitStatus, errors: &str, limits: &Limits) -> String {
    let last = errors.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    match status.signal() {
        Some(SIGABRT) if errors.contains("memory allocation") => too_much_memory(limits, last),
        Some(SIGXCPU) => format!("it took more than {} s of CPU time to check", seconds(limits.cpu)),
        Some(SIGKILL) => "its check was killed: it took too much CPU time, or the system ran out of memory".into(),
        Some(signal) => format!("its check crashed with signal {signal} ({last})"),
        None => format!("its check ended without a verdict, with {status} ({last})"),
    }
}

fn too_much_memory(limits: &Limits, detail: &str) -> String {
    format!("it needs more than the {} MiB of memory that a check may use ({detail})", limits.memory_bytes >> 20)
}

const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;
const SIGXCPU: i32 = 24;

/// The child: binds itself, checks the model, and prints the verdict. Takes what follows `check-model` on the command line.
pub fn child(arguments: Vec<OsString>) -> ExitCode {
    let verdict = match parse(&arguments) {
        Ok((directory, memory, seconds)) => {
            bind(memory, seconds).and_then(|()| check(directory)).map_or_else(Verdict::Refused, Verdict::Accepted)
        }
        Err(usage) => {
            eprintln!("{usage}");
            return ExitCode::from(2);
        }
    };
    let code = if matches!(verdict, Verdict::Accepted(_)) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    println!("\n{}", serde_json::to_string(&verdict).expect("a verdict is plain data"));
    code
}

fn parse(arguments: &[OsString]) -> Result<(&Path, u64, u64), String> {
    let usage = || "usage: check-model DIRECTORY MEMORY_BYTES CPU_SECONDS".to_owned();
    let [directory, memory, seconds] = arguments else { return Err(usage()) };
    let number = |text: &OsString| text.to_str().and_then(|t| t.parse().ok()).ok_or_else(usage);
    Ok((Path::new(directory), number(memory)?, number(seconds)?))
}

/// Limits this process: memory, CPU time, no files written, no core dump; and the first to go when memory runs out.
fn bind(memory_bytes: u64, seconds: u64) -> Result<(), String> {
    let limit = |resource, value| {
        let both = Rlimit { current: Some(value), maximum: Some(value) };
        setrlimit(resource, both).map_err(|e| format!("the check cannot limit itself: {e}"))
    };
    limit(Resource::As, memory_bytes)?;
    limit(Resource::Core, 0)?;
    // The soft limit's signal tells why it ended.
    let cpu = Rlimit { current: Some(seconds), maximum: Some(seconds.saturating_add(5)) };
    setrlimit(Resource::Cpu, cpu).map_err(|e| format!("the check cannot limit itself: {e}"))?;
    // Where /proc is not writable, the memory limit alone has to do.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    limit(Resource::Fsize, 0)
}

fn check(directory: &Path) -> Result<Report, String> {
    let manifest = Manifest::read(directory).map_err(|e| e.to_string())?;
    if matches!(manifest.task, Task::Chat(_)) { check_language(directory) } else { check_network(directory) }
}

/// A language model: loaded, its kernels held against the scalar ones, greeted, and its samples answered.
fn check_language(directory: &Path) -> Result<Report, String> {
    let begun = Instant::now();
    let model = Model::load(directory).map_err(|e| e.to_string())?;
    let load_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let language = model.language().ok_or("it is no language model")?;
    let (cosine, graph) = language.compare(directory, model.manifest())?;
    if cosine.is_nan() || cosine < compare::LEAST {
        return Err(format!(
            "its first layer computes otherwise than with plain loops: cosine {cosine:.4}, at least {} is right; this is a fault of the \
             runtime, please report it with the model",
            compare::LEAST
        ));
    }
    // A template that fails, or runs for ever, is found here rather than by whoever talks first.
    let greeting = Payload { content_type: ContentType::Text, bytes: "Hello.".into() };
    language.begin(&greeting, Priority::default(), begun).map_err(|fault| format!("it cannot be greeted: {}", fault.message))?;
    let samples = answer_samples(directory, &model)?;
    Ok(Report {
        arithmetic: Arithmetic::default(),
        batching: Batching::Symbolic,
        rows_at_once: model.max_batch(),
        size: Some(weights::outline(&directory.join(&model.manifest().file)).map_err(|e| e.to_string())?.size),
        memory_bytes: model.memory_bytes(),
        load_ms,
        longest_node_us: u64::try_from(model.longest_node().as_micros()).unwrap_or(u64::MAX),
        graph,
        comparisons: vec![Comparison { input: "seeded".into(), batch: 1, cosine }],
        samples,
    })
}

/// Answers the samples of a model and holds them against their truths.
fn answer_samples(directory: &Path, model: &Model) -> Result<Samples, String> {
    let manifest = model.manifest();
    let mut tally = Samples::default();
    let pool = Arc::new(hearth_kernels::Pool::new(1));
    for sample in &manifest.samples {
        let payload = samples::payload(directory, sample)?;
        let answer = model.infer(&[payload], 1, &pool, &mut || ()).remove(0);
        let answer = answer.map_err(|fault| format!("sample {}: {}", sample.file, fault.message))?;
        match samples::judge(manifest, sample, &answer) {
            Ok(()) => tally.right += 1,
            Err(wrong) => tally.wrong.push(wrong),
        }
    }
    Ok(tally)
}

fn check_network(directory: &Path) -> Result<Report, String> {
    // Where roundings add up so that integers answer otherwise than the file says, floats on their grids do not.
    let (mut model, mut load_ms, mut found) = check_with(directory, Arithmetic::Integers)?;
    if found.is_err() && model.network().is_some_and(|network| network.arithmetic() == Arithmetic::Integers) {
        (model, load_ms, found) = check_with(directory, Arithmetic::Floats)?;
    }
    let (comparisons, graph) = found?;
    let samples = answer_samples(directory, &model)?;
    let network = network_of(&model)?;
    Ok(Report {
        arithmetic: network.arithmetic(),
        batching: network.batching(),
        rows_at_once: network.rows_at_once(),
        size: None,
        memory_bytes: model.memory_bytes(),
        load_ms,
        longest_node_us: u64::try_from(network.longest_node().as_micros()).unwrap_or(u64::MAX),
        graph,
        comparisons,
        samples,
    })
}

/// A model, how long it took to load in milliseconds, its answers compared with those of the unoptimised graph, and what became of
/// that.
type Compared = (Model, u64, Result<(Vec<Comparison>, Graph), String>);

fn check_with(directory: &Path, arithmetic: Arithmetic) -> Result<Compared, String> {
    let begun = Instant::now();
    let model = Model::load_with(directory, arithmetic).map_err(|e| e.to_string())?;
    let load_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let source = Source::read(&directory.join(&model.manifest().file)).map_err(|e| e.to_string())?;
    let manifest = model.manifest();
    let mut given = Vec::new();
    for sample in manifest.samples.iter().take(COMPARED_SAMPLES) {
        let payload = samples::payload(directory, sample)?;
        let inputs = model.decode(&payload).map_err(|fault| format!("sample {}: {}", sample.file, fault.message))?;
        given.push((sample.file.clone(), inputs));
    }
    let network = network_of(&model)?;
    let compared = compare::compare(network, &source, given);
    let found = compared.map(|comparisons| (comparisons, network.describe(&source)));
    Ok((model, load_ms, found))
}

fn network_of(model: &Model) -> Result<&Network, String> {
    model.network().ok_or_else(|| "it is no network".into())
}
