//! `hearthctl status`: the daemon in a few lines.

use crate::bus::BusClient;
use crate::heat::Heat;
use crate::{Where, text};
use serde_json::{Value, json};
use std::process::ExitCode;

pub(crate) async fn run(at: &Where) -> anyhow::Result<ExitCode> {
    let bus = BusClient::connect(&at.bus).await?;
    let (about, stats, heat, models) = (bus.about().await?, bus.stats().await?, bus.heat().await?, bus.models().await?);
    if at.json {
        println!("{}", json!({"daemon": about, "stats": stats, "thermal": heat, "models": models}));
        return Ok(ExitCode::SUCCESS);
    }
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let count = |name: &str| stats.get(name).and_then(Value::as_u64).unwrap_or_default();
    println!("hearthd {} on {}", word(&about["Version"]), word(&about["Node"]));
    println!("heat      {}", warmth(&Heat::of(&heat)));
    println!("waiting   {} requests, {}", count("waiting"), text::bytes(count("waiting_bytes")));
    let faults: u64 = stats.get("faults").and_then(Value::as_object).into_iter().flatten().filter_map(|(_, n)| n.as_u64()).sum();
    println!("so far    {} received, {} answered, {faults} ended in a fault", count("received"), count("answered"));
    let (steps, items) = (count("steps"), count("items"));
    println!("batches   {steps} steps, {:.2} requests in each", items as f64 / steps.max(1) as f64);
    let ready = models.iter().filter(|m| m.state == hearth_api::ModelState::Ready).count();
    println!("models    {} installed, {ready} ready, {}", models.len(), text::bytes(count("model_bytes")));
    Ok(ExitCode::SUCCESS)
}

/// The heat in a line.
pub(crate) fn warmth(heat: &Heat) -> String {
    match heat.warmth() {
        Some(warmth) => format!("{warmth}, mode {} ({})", heat.mode(), heat.limit_rule),
        None => heat.reason.clone(),
    }
}
