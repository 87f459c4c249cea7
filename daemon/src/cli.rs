//! The command lines. One file serves as both programs: called as `hearthctl` it controls, else it is the daemon.

use crate::config::{self, ConfigError, DEFAULT_FILE};
use crate::daemon::Daemon;
use crate::standalone::Standalone;
use crate::{logging, service};
use clap::{Args, Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// Runs the program that this process was called as.
pub fn main() -> ExitCode {
    let called = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&called).file_stem().unwrap_or_default();
    let result = if name == "hearthctl" { control() } else { serve() };
    result.unwrap_or_else(|error| {
        eprintln!("{}: {error:#}", name.to_string_lossy());
        ExitCode::FAILURE
    })
}

/// Serves open models on this board over MQTT and D-Bus.
///
/// Without a configuration file it runs on an embedded broker and a private bus, with the bundled models, and keeps
/// nothing. Under systemd: `systemctl start hearthd`; `hearthctl doctor` tells what is wrong.
#[derive(Parser)]
#[command(name = "hearthd", version)]
struct Daemonic {
    /// Configuration file; drop-ins are in FILE.d/*.toml [default: /etc/hearth/hearthd.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Read the configuration, say whether it can be used, and end
    #[arg(long)]
    check_config: bool,
    /// What to log: error, warn, info, debug, trace, or a filter such as info,hearthd::mqtt=debug
    #[arg(long, value_name = "LEVEL", env = "HEARTHD_LOG", default_value = "info")]
    log: String,
    #[command(subcommand)]
    hidden: Option<Hidden>,
}

#[derive(Subcommand)]
enum Hidden {
    /// Check a model in this process (the daemon starts this itself)
    #[command(hide = true)]
    CheckModel(CheckModel),
}

#[derive(Args)]
struct CheckModel {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<std::ffi::OsString>,
}

/// Controls hearthd: try it, ask it, look after its models.
#[derive(Parser)]
#[command(name = "hearthctl", version)]
struct Control {
    #[command(subcommand)]
    command: ControlCommand,
}

#[derive(Subcommand)]
#[allow(clippy::large_enum_variant, reason = "parsed once, at the start")]
enum ControlCommand {
    /// See it work: an own broker and bus, the bundled models, real inputs, and a burst
    Try(crate::trial::Options),
    #[command(flatten)]
    Ctl(hearth_ctl::Command),
    /// Check a model in this process (the daemon starts this itself)
    #[command(hide = true)]
    CheckModel(CheckModel),
}

fn serve() -> anyhow::Result<ExitCode> {
    let options = Daemonic::parse();
    if let Some(Hidden::CheckModel(check)) = options.hidden {
        return Ok(hearth_models::check::child(check.arguments));
    }
    let file = options.config.clone().or_else(|| Some(PathBuf::from(DEFAULT_FILE)).filter(|f| f.exists()));
    if options.check_config {
        let file = file.unwrap_or_else(|| DEFAULT_FILE.into());
        load(&file)?;
        println!("{} can be used", file.display());
        return Ok(ExitCode::SUCCESS);
    }
    logging::start(&options.log)?;
    runtime()?.block_on(async {
        match file {
            Some(file) => run(&file).await,
            None => run_standalone().await,
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

fn control() -> anyhow::Result<ExitCode> {
    match Control::parse().command {
        ControlCommand::CheckModel(check) => Ok(hearth_models::check::child(check.arguments)),
        ControlCommand::Try(options) => runtime()?.block_on(crate::trial::run(options)),
        ControlCommand::Ctl(command) => runtime()?.block_on(hearth_ctl::run(command)),
    }
}

/// One thread is enough: what computes has threads of its own, and a second would be woken only to find nothing to do.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("hearth-io").enable_all().build()
}

fn load(file: &Path) -> Result<config::Settings, ConfigError> {
    config::settings(&config::read(file)?)
}

/// The daemon as configured, until SIGTERM or SIGINT; SIGHUP reads the configuration again.
async fn run(file: &Path) -> anyhow::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    // Before a door opens: whoever finds us there may end us.
    let ended = ended()?;
    let mut daemon = Daemon::start(load(file)?).await?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "hearthd serves; configuration from {}", file.display());
    service::ready("serving");
    tokio::pin!(ended);
    loop {
        tokio::select! {
            signal = &mut ended => {
                tracing::info!("{signal}: stopping");
                break;
            }
            _ = hangup.recv() => {
                service::reloading();
                match load(file) {
                    Ok(settings) => daemon.reload(settings).await,
                    Err(error) => tracing::error!("the configuration stays as it was: {error}"),
                }
                service::ready("serving");
            }
        }
    }
    service::stopping();
    daemon.stop().await;
    Ok(())
}

/// The daemon without a configuration, until SIGTERM or SIGINT.
async fn run_standalone() -> anyhow::Result<()> {
    tracing::info!("no configuration ({DEFAULT_FILE} does not exist): running on a default that keeps nothing");
    let standalone = Standalone::start().await?;
    let daemon = Daemon::start(standalone.settings().clone()).await?;
    let ended = ended()?;
    tracing::info!("{}", standalone.describe());
    service::ready("serving without a configuration");
    tracing::info!("{}: stopping", ended.await);
    service::stopping();
    daemon.stop().await;
    standalone.stop().await;
    Ok(())
}

/// Resolves to the name of the signal that ends us.
pub(crate) fn ended() -> std::io::Result<impl Future<Output = &'static str>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}
