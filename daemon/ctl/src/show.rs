//! Models for a person: the list, and one in full.

use crate::bus::BusClient;
use crate::{Where, text};
use hearth_api::graph::{Graph, Running};
use hearth_api::tensor::TensorMetadata;
use hearth_api::{ModelInfo, Size};
use std::process::ExitCode;

/// `hearthctl models`
pub(crate) async fn list(at: &Where) -> anyhow::Result<ExitCode> {
    let models = BusClient::connect(&at.bus).await?.models().await?;
    if at.json {
        println!("{}", serde_json::to_string(&models)?);
    } else if models.is_empty() {
        println!("no model is installed; hearthctl model add FOLDER-OR-FILE.onnx installs one");
    } else {
        let row = |m: &ModelInfo| {
            let memory = if m.memory_bytes == 0 { String::new() } else { text::bytes(m.memory_bytes) };
            vec![m.name.to_string(), m.version.clone(), m.task.clone(), m.state.as_str().into(), memory, m.description.clone()]
        };
        println!(
            "{}",
            text::table(&["MODEL", "VERSION", "TASK", "STATE", "MEMORY", "WHAT IT DOES"], &models.iter().map(row).collect::<Vec<_>>())
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// `hearthctl model show`
pub(crate) fn one(model: &ModelInfo) {
    let shape = |t: &TensorMetadata| {
        let dimensions: Vec<String> = t.shape.iter().map(|d| if *d < 0 { "any".into() } else { d.to_string() }).collect();
        format!("{} {:?} [{}]", t.name, t.datatype, dimensions.join(" x "))
    };
    let list = |tensors: &[TensorMetadata]| tensors.iter().map(shape).collect::<Vec<_>>().join(", ");
    println!("{} {}: {}", model.name, model.version, model.description);
    let reason = if model.reason.is_empty() { String::new() } else { format!(" ({})", model.reason) };
    println!("state      {}{}{reason}", model.state.as_str(), if model.pinned { ", pinned" } else { "" });
    println!("task       {}", model.task);
    // A language model takes and gives talks, not tensors.
    for (what, tensors) in [("takes", &model.inputs), ("gives", &model.outputs)] {
        if !tensors.is_empty() {
            println!("{what}      {}", list(tensors));
        }
    }
    println!("licence    {}", model.licence);
    println!("origin     {}", model.origin);
    println!("versions   {}", model.versions.join(", "));
    println!("size       {}", size(&model.size));
    println!("memory     {}", if model.memory_bytes == 0 { "not in memory".into() } else { text::bytes(model.memory_bytes) });
    if model.longest_node_us > 0 {
        println!("longest    {} in one node: how long something urgent may wait for it", text::milliseconds(model.longest_node_us));
    }
    if model.task == "chat" {
        return;
    }
    if model.points.is_empty() {
        println!("points     not measured yet; that happens when the daemon is idle and the board is cool");
        return;
    }
    let rows: Vec<Vec<String>> = model
        .points
        .iter()
        .map(|p| {
            let rate = f64::from(p.batch) * 1e6 / p.latency_us.max(1) as f64;
            vec![
                p.batch.to_string(),
                p.threads.to_string(),
                text::milliseconds(p.latency_us),
                format!("{rate:.0}"),
                text::milliseconds(p.cpu_us_per_item),
            ]
        })
        .collect();
    println!("\n{}", text::table(&["BATCH", "THREADS", "LATENCY", "ITEMS/S", "CPU/ITEM"], &rows));
}

/// How large a model is on disk.
fn size(size: &Size) -> String {
    let file = text::bytes(size.file_bytes);
    if size.weights == 0 {
        return file;
    }
    let (millions, file_bits) = (size.weights as f64 / 1e6, size.bits_per_weight);
    let (packed, packed_bits) = (text::bytes(size.packed_bytes), 8.0 * size.packed_bytes as f64 / size.weights as f64);
    format!("{file} on disk, {file_bits:.2} bits a weight; repacked {packed}, {packed_bits:.2} bits; {millions:.1} million weights")
}

/// `hearthctl model show --graph`
pub(crate) fn graph(graph: &Graph) {
    let file: Vec<Vec<String>> = graph.file.iter().map(|o| vec![o.name.clone(), o.count.to_string()]).collect();
    println!("{}", text::table(&["IN THE FILE", "COUNT"], &file));
    let whole: f64 = graph.runs.iter().map(|r| r.microseconds).sum();
    let row = |r: &Running| {
        let weights = if r.weight_bytes == 0 { String::new() } else { text::bytes(r.weight_bytes) };
        let types = if r.takes == r.gives { r.gives.clone() } else { format!("{} to {}", r.takes, r.gives) };
        let share = format!("{:.0} %", 100.0 * r.microseconds / whole.max(f64::MIN_POSITIVE));
        vec![r.name.clone(), types, r.count.to_string(), weights, format!("{:.2} ms", r.microseconds / 1000.0), share]
    };
    let runs: Vec<Vec<String>> = graph.runs.iter().map(row).collect();
    println!("\n{}", text::table(&["WHAT RUNS", "ON", "COUNT", "WEIGHTS", "TIME", "SHARE"], &runs));
}
