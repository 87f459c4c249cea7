//! `hearthctl thermal`: the heat on one screen, the mode, and the report.

mod report;

use crate::Where;
use crate::bus::BusClient;
use crate::heat::{Heat, duration};
use anyhow::ensure;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use std::process::ExitCode;

/// What `--help` teaches.
const HELP: &str = "\
Without a command it prints the temperature and its limit, the forecast at the present load with its error (one standard \
deviation), what the governor lets the engine spend, and why.";

/// How hot the board is and will be, and what is done about it.
#[derive(Debug, Args)]
#[command(after_long_help = HELP, args_conflicts_with_subcommands = true)]
pub struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    at: Where,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the mode, or set it until the daemon ends (thermal.mode in hearthd.toml sets it for good)
    Mode(ModeOptions),
    /// Draw the last hours into one SVG file: temperature, forecast against what came, throughput, decisions and their reasons
    Report(report::Options),
}

#[derive(Debug, Args)]
struct ModeOptions {
    /// The mode to set
    mode: Option<Mode>,
    /// Degrees Celsius that mode cool keeps below
    #[arg(long, value_name = "N")]
    celsius: Option<f64>,
    #[command(flatten)]
    at: Where,
}

/// What the governor is to care for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// As much as the limit allows
    Performance,
    /// As much as the limit allows, in ways that take less heat where that costs little
    Balanced,
    /// Below the next step of the fan while the demand allows it, else at its lowest
    Quiet,
    /// Below a temperature of yours: --celsius
    Cool,
}

impl Mode {
    fn as_str(self) -> &'static str {
        match self {
            Mode::Performance => "performance",
            Mode::Balanced => "balanced",
            Mode::Quiet => "quiet",
            Mode::Cool => "cool",
        }
    }
}

pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    match options.command {
        None => show(&options.at).await,
        Some(Command::Mode(options)) => mode(&options).await,
        Some(Command::Report(options)) => report::run(&options).await,
    }
}

async fn show(at: &Where) -> anyhow::Result<ExitCode> {
    let told = BusClient::connect(&at.bus).await?.heat().await?;
    if at.json {
        println!("{}", serde_json::to_string(&told)?);
    } else {
        println!("{}", screen(&Heat::of(&told)));
    }
    Ok(ExitCode::SUCCESS)
}

async fn mode(options: &ModeOptions) -> anyhow::Result<ExitCode> {
    let ModeOptions { mode, celsius, at } = options;
    ensure!(
        (*mode == Some(Mode::Cool)) == celsius.is_some(),
        "mode cool takes --celsius N, the temperature to stay below; the other modes take none"
    );
    let bus = BusClient::connect(&at.bus).await?;
    if let Some(mode) = mode {
        bus.set_mode(mode.as_str(), *celsius).await?;
        if !at.json {
            println!("mode {}", Heat { mode: mode.as_str().into(), cool: *celsius, ..Heat::default() }.mode());
            return Ok(ExitCode::SUCCESS);
        }
    }
    let heat = Heat::of(&bus.heat().await?);
    if at.json {
        println!("{}", json!({"mode": heat.mode, "cool_celsius": heat.cool}));
    } else {
        println!("{}", heat.mode());
    }
    Ok(ExitCode::SUCCESS)
}

/// The heat on one screen.
pub(crate) fn screen(heat: &Heat) -> String {
    let mut lines: Vec<(&str, String)> = Vec::new();
    match heat.warmth() {
        Some(warmth) => {
            lines.push(("temperature", format!("{warmth} ({}); the limit is {}", heat.sensor, heat.limit_rule)));
            lines.extend(heat.headroom().map(|headroom| ("headroom", format!("{headroom:.2}, of which 1 is the limit"))));
        }
        None => lines.push(("temperature", "none".into())),
    }
    if !heat.forecast.is_empty() {
        let ahead = |f: &crate::heat::Forecast| format!("in {} {:.1} ± {:.1} °C", duration(f.after), f.temperature, f.error);
        lines.push(("forecast", format!("{}, at this load", heat.forecast.iter().map(ahead).collect::<Vec<_>>().join(", "))));
        lines.push(("limit", heat.limit_in().unwrap_or_else(|| "not within 15 minutes at this load".into())));
    }
    if !heat.mode.is_empty() {
        lines.push(("mode", heat.mode()));
    }
    let allowed: Vec<String> = heat.allowed().into_iter().map(|(name, value)| format!("{name} {value}")).collect();
    if !allowed.is_empty() {
        lines.push(("now", allowed.join(", ")));
    }
    if !heat.degraded.is_empty() {
        lines.push(("degraded", heat.degraded.clone()));
    }
    if !heat.firmware.is_empty() {
        lines.push(("firmware", heat.firmware.join(", ")));
    }
    lines.push(("why", heat.reason.clone()));
    lines.iter().map(|(name, value)| format!("{name:<13}{value}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heat::tests::warm;

    #[test]
    fn the_heat_is_on_one_screen() {
        assert_eq!(
            screen(&warm()),
            "temperature  71.3 °C of 80 °C (cpu-thermal); the limit is the first passive trip, less 5 K
headroom     0.71, of which 1 is the limit
forecast     in 10 s 71.9 ± 0.2 °C, in 60 s 75.1 ± 0.6 °C, in 5 min 79.2 ± 1.4 °C, at this load
limit        the limit in about 143 s at this load
mode         balanced
now          threads 3, cores 2.4, busy 2.1, batch 8, clock 100 %, fan 2 of 4, admits normal+
degraded     high-operating-temperature
why          79.2 °C are expected in 300 s at 3 cores: 2.4 cores and batches of 8 instead"
        );
        let blind = Heat { reason: "no temperature sensor: nothing is held back".into(), ..Heat::default() };
        assert_eq!(screen(&blind), "temperature  none\nwhy          no temperature sensor: nothing is held back");
    }
}
