//! Runs an ONNX file over inputs in `.npy` files, and measures it: hearthd's side of `tests/peers/onnx`, whose README has the protocol.

use hearth_api::tensor::{Datatype, Tensor, TensorMetadata};
use hearth_kernels::Pool;
use hearth_models::Network;
use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Errors are messages.
type Failed<T> = Result<T, String>;

#[derive(Default)]
struct Arguments {
    model: PathBuf,
    inputs: PathBuf,
    outputs: Option<PathBuf>,
    task: Task,
    listen: bool,
}

/// What to measure.
#[derive(Default, Clone, Copy, Deserialize)]
struct Task {
    batch: usize,
    threads: usize,
    repeat: usize,
}

fn main() -> ExitCode {
    match arguments().and_then(|arguments| run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{}", reason.replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Failed<Arguments> {
    let mut arguments = Arguments { task: Task { batch: 1, threads: 1, repeat: 0 }, ..Arguments::default() };
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        let mut value = || given.next().ok_or(format!("{argument} wants a value"));
        let number = |text: String| text.parse::<usize>().map_err(|e| format!("{text}: {e}"));
        match argument.as_str() {
            "--inputs" => arguments.inputs = value()?.into(),
            "--outputs" => arguments.outputs = Some(value()?.into()),
            "--batch" => arguments.task.batch = number(value()?)?,
            "--threads" => arguments.task.threads = number(value()?)?,
            "--repeat" => arguments.task.repeat = number(value()?)?,
            "--listen" => arguments.listen = true,
            _ if argument.starts_with('-') => return Err(format!("{argument} is not known")),
            _ => arguments.model = argument.clone().into(),
        }
    }
    Ok(arguments)
}

fn run(arguments: &Arguments) -> Failed<()> {
    let (before, begun) = (anonymous_memory(), Instant::now());
    let network = Network::load(&arguments.model).map_err(|e| e.to_string())?;
    let load_ms = begun.elapsed().as_secs_f64() * 1e3;
    let memory = anonymous_memory().saturating_sub(before);
    let inputs: Vec<Tensor> = network.inputs().iter().map(|input| read(&arguments.inputs, input)).collect::<Failed<_>>()?;
    let items = if arguments.task.batch == 0 { vec![inputs] } else { items(&inputs) };
    let mut told = serde_json::json!({"load_ms": load_ms, "memory": memory});
    if let Some(folder) = &arguments.outputs {
        told["outputs"] = write_all(&network, &items, &arguments.task, folder)?.into();
    }
    if arguments.task.repeat > 0
        && let (Some(told), serde_json::Value::Object(more)) = (told.as_object_mut(), measure(&network, &items, &arguments.task)?)
    {
        told.extend(more);
    }
    println!("{told}");
    if arguments.listen {
        for line in std::io::stdin().lock().lines() {
            let task: Task = serde_json::from_str(&line.map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
            println!("{}", measure(&network, &items, &task)?);
        }
    }
    Ok(())
}

/// One request an item.
fn items(inputs: &[Tensor]) -> Vec<Vec<Tensor>> {
    let count = inputs.first().and_then(|input| input.shape.first()).copied().unwrap_or(0);
    let row = |input: &Tensor, item: usize| {
        let size = input.data.len() / count.max(1);
        let shape = std::iter::once(1).chain(input.shape.iter().skip(1).copied()).collect();
        Tensor { name: input.name.clone(), datatype: input.datatype, shape, data: input.data.slice(item * size..(item + 1) * size) }
    };
    (0..count).map(|item| inputs.iter().map(|input| row(input, item)).collect()).collect()
}

fn answers(network: &Network, requests: Vec<Vec<Tensor>>, threads: usize, pool: &Pool) -> Failed<Vec<Vec<Tensor>>> {
    network.run(requests, threads, pool, &mut || ()).into_iter().map(|answer| answer.map_err(|fault| fault.message)).collect()
}

fn measure(network: &Network, items: &[Vec<Tensor>], task: &Task) -> Failed<serde_json::Value> {
    let pool = Pool::new(task.threads);
    let size = task.batch.max(1);
    let mut cycle = items.iter().cycle();
    let mut batch = || cycle.by_ref().take(size).cloned().collect::<Vec<_>>();
    answers(network, batch(), task.threads, &pool)?;
    let (mut cpu, mut wall) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..task.repeat {
        let requests = batch();
        let begun = (cpu_time(), Instant::now());
        answers(network, requests, task.threads, &pool)?;
        cpu += cpu_time() - begun.0;
        wall += begun.1.elapsed();
    }
    let each = |time: Duration| time.as_secs_f64() * 1e6 / (task.repeat * size) as f64;
    Ok(serde_json::json!({"cpu_us_per_item": each(cpu), "wall_us_per_item": each(wall)}))
}

/// Of all threads.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Anonymous resident memory, in bytes.
fn anonymous_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

fn write_all(network: &Network, items: &[Vec<Tensor>], task: &Task, folder: &Path) -> Failed<Vec<String>> {
    let pool = Pool::new(task.threads);
    let mut outputs: Vec<Tensor> = Vec::new();
    for requests in items.chunks(task.batch.max(1)) {
        for answer in answers(network, requests.to_vec(), task.threads, &pool)? {
            if outputs.is_empty() {
                outputs = answer;
                continue;
            }
            for (all, one) in outputs.iter_mut().zip(answer) {
                all.shape[0] += one.shape[0];
                all.data = [&all.data[..], &one.data[..]].concat().into();
            }
        }
    }
    std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let write = |output: &Tensor| {
        let file = npy(folder, &output.name);
        std::fs::write(&file, encode(output)?).map_err(|e| format!("{}: {e}", file.display()))?;
        Ok(file.display().to_string())
    };
    outputs.iter().map(write).collect()
}

fn npy(folder: &Path, name: &str) -> PathBuf {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '_' };
    folder.join(name.chars().map(plain).collect::<String>() + ".npy")
}

const TYPES: [(Datatype, &str); 12] = [
    (Datatype::Bool, "|b1"),
    (Datatype::Uint8, "|u1"),
    (Datatype::Uint16, "<u2"),
    (Datatype::Uint32, "<u4"),
    (Datatype::Uint64, "<u8"),
    (Datatype::Int8, "|i1"),
    (Datatype::Int16, "<i2"),
    (Datatype::Int32, "<i4"),
    (Datatype::Int64, "<i8"),
    (Datatype::Fp16, "<f2"),
    (Datatype::Fp32, "<f4"),
    (Datatype::Fp64, "<f8"),
];

/// Reads an array (numpy.lib.format, version 1).
fn read(folder: &Path, input: &TensorMetadata) -> Failed<Tensor> {
    let file = npy(folder, &input.name);
    let bytes = std::fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    let broken = || format!("{} is no array that numpy wrote", file.display());
    let length = bytes.get(8..10).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]]))).ok_or_else(broken)?;
    let header = bytes.get(10..10 + length).and_then(|h| std::str::from_utf8(h).ok()).ok_or_else(broken)?;
    let datatype = TYPES.iter().find(|(_, code)| header.contains(&format!("'{code}'"))).ok_or_else(broken)?.0;
    let shape = header.split_once("'shape': (").and_then(|(_, rest)| rest.split_once(')')).ok_or_else(broken)?.0;
    let shape =
        shape.split(',').map(str::trim).filter(|d| !d.is_empty()).map(|d| d.parse().map_err(|_| broken())).collect::<Failed<_>>()?;
    Ok(Tensor { name: input.name.clone(), datatype, shape, data: bytes[10 + length..].to_vec().into() })
}

fn encode(tensor: &Tensor) -> Failed<Vec<u8>> {
    let Some((_, code)) = TYPES.iter().find(|(datatype, _)| *datatype == tensor.datatype) else { return Err("an array of text".into()) };
    let shape: String = tensor.shape.iter().map(|d| format!("{d},")).collect();
    let mut header = format!("{{'descr': '{code}', 'fortran_order': False, 'shape': ({shape}), }}");
    // The data begin at a multiple of 64.
    header.extend(std::iter::repeat_n(' ', 63 - (10 + header.len()) % 64));
    header.push('\n');
    let length = u16::try_from(header.len()).map_err(|e| e.to_string())?;
    Ok([b"\x93NUMPY\x01\x00", &length.to_le_bytes()[..], header.as_bytes(), &tensor.data].concat())
}
