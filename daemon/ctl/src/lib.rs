//! The commands of `hearthctl`, as clients of a running daemon: they know the wire contract and nothing else of it.

mod bench;
pub mod broker;
pub mod bus;
mod chat;
mod doctor;
mod embedding;
mod heat;
mod infer;
pub mod input;
mod model;
mod show;
mod status;
mod text;
mod thermal;
mod top;

pub use infer::{answer, counted};

use clap::{Args, Subcommand};
use hearth_api::Fault;
use std::process::ExitCode;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// What the daemon does, how warm the board is, what waits
    Status(Where),
    /// The installed models and their states
    Models(Where),
    /// Send a file or a text to a model and print the answer
    Infer(infer::Options),
    /// Talk with a language model, or ask it one question
    Chat(chat::Options),
    /// Look after the installed models
    #[command(subcommand)]
    Model(model::Command),
    /// Watch it work: the temperature with its forecast, what the governor allows, and what each model does
    Top(top::Options),
    /// How hot the board is and will be, and what is done about it; set the mode, draw a report
    Thermal(thermal::Options),
    /// Measure latency and items a second over each door, beside a bare echo on the same broker and bus
    Bench(bench::Options),
    /// Find what is wrong with this installation and its broker, and say how to mend it
    Doctor(doctor::Options),
}

/// Which daemon, and how to print.
#[derive(Debug, Clone, Args)]
pub struct Where {
    /// The bus: system, session, an address such as unix:path=/run/bus, or peer:/path/of/a/socket
    #[arg(long, value_name = "BUS", env = "HEARTH_BUS", default_value = "system")]
    pub bus: String,
    /// Print JSON, for scripts
    #[arg(long)]
    pub json: bool,
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The daemon answered with a fault.
    #[error("{0}")]
    Fault(Fault),
    /// The daemon could not be asked.
    #[error("{0:#}")]
    Unreachable(anyhow::Error),
}

/// Runs a command; the exit code is 1 where something is wrong.
pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Status(at) => status::run(&at).await,
        Command::Models(at) => show::list(&at).await,
        Command::Infer(options) => infer::run(options).await,
        Command::Chat(options) => chat::run(options).await,
        Command::Model(command) => model::run(command).await,
        Command::Top(options) => top::run(options).await,
        Command::Thermal(options) => thermal::run(options).await,
        Command::Bench(options) => bench::run(options).await,
        Command::Doctor(options) => doctor::run(options).await,
    }
}
