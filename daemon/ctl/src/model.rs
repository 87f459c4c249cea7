//! `hearthctl model`: install, remove, activate, roll back, show.

use crate::bus::{self, BusClient};
use crate::{Where, show};
use clap::Subcommand;
use hearth_api::{ModelName, ModelState};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// What to do with a model.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Install a folder with a manifest.toml or as Hugging Face has it, or a single .onnx or .gguf file; the daemon checks it before it is let in
    Add {
        /// The folder or file
        path: PathBuf,
        /// Name of a model that has no manifest (else from the name of its file or folder)
        #[arg(long)]
        name: Option<ModelName>,
        #[command(flatten)]
        at: Where,
    },
    /// Remove a version, or the model with all of them
    Remove {
        /// The model
        model: ModelName,
        /// The version; without it, all of them
        version: Option<String>,
        #[command(flatten)]
        at: Where,
    },
    /// Let another installed version serve
    Activate {
        /// The model
        model: ModelName,
        /// The version
        version: String,
        #[command(flatten)]
        at: Where,
    },
    /// Let the version serve that did before
    RollBack {
        /// The model
        model: ModelName,
        #[command(flatten)]
        at: Where,
    },
    /// Everything about one model
    Show {
        /// The model
        model: ModelName,
        /// What became of its graph: the operators of the file, and those that run, with their time
        #[arg(long)]
        graph: bool,
        #[command(flatten)]
        at: Where,
    },
}

pub(crate) async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Add { path, name, at } => add(path, name, &at).await?,
        Command::Remove { model, version, at } => {
            let version = version.unwrap_or_default();
            let manager = BusClient::connect(&at.bus).await?.manager().await?;
            let () = manager.call("Remove", &(model.as_str(), version.as_str())).await?;
            let what = if version.is_empty() { "every version".into() } else { format!("version {version}") };
            say(&at, &format!("{what} of {model} is removed"), json!({"removed": model, "version": version}));
        }
        Command::Activate { model, version, at } => {
            let manager = BusClient::connect(&at.bus).await?.manager().await?;
            let () = manager.call("Activate", &(model.as_str(), version.as_str())).await?;
            say(&at, &format!("version {version} of {model} serves"), json!({"active": model, "version": version}));
        }
        Command::RollBack { model, at } => {
            let manager = BusClient::connect(&at.bus).await?.manager().await?;
            let version: String = manager.call("RollBack", &(model.as_str(),)).await?;
            say(&at, &format!("version {version} of {model} serves again"), json!({"active": model, "version": version}));
        }
        Command::Show { model, graph: true, at } => {
            let graph = BusClient::connect(&at.bus).await?.graph(&model).await?;
            if at.json {
                println!("{}", serde_json::to_string(&graph)?);
            } else {
                show::graph(&graph);
            }
        }
        Command::Show { model, graph: false, at } => {
            let models = BusClient::connect(&at.bus).await?.models().await?;
            let names: Vec<ModelName> = models.iter().map(|m| m.name.clone()).collect();
            let found = models.into_iter().find(|m| m.name == model).ok_or_else(|| hearth_api::Fault::unknown_model(&model, &names))?;
            if at.json {
                println!("{}", serde_json::to_string(&found)?);
            } else {
                show::one(&found);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn add(path: PathBuf, name: Option<ModelName>, at: &Where) -> anyhow::Result<()> {
    let files = bus::open_files(&path)?;
    let client = BusClient::connect(&at.bus).await?;
    let manager = client.manager().await?;
    let has_manifest = files.iter().any(|(name, _)| name == "manifest.toml");
    let name = match name {
        Some(name) => name.to_string(),
        None if path.is_dir() && !has_manifest => name_of(&path)?.to_string(),
        None => String::new(),
    };
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(100));
    let installed = manager.install(&name, &files, &mut |stage, done, total| show(&bar, stage, done, total)).await;
    bar.finish_and_clear();
    let (model, version) = installed?;
    say(at, &format!("{model} {version} is installed and serves"), json!({"installed": model, "version": version}));
    // Its object follows the install by a moment.
    for _ in 0..20 {
        let models = client.models().await?;
        if let Some(info) = models.iter().find(|m| m.name.as_str() == model && m.version == version) {
            if info.state == ModelState::Failed {
                eprintln!("hearthctl: but it cannot be loaded: {}", info.reason);
            }
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// How far an install is, on standard error where that is a terminal.
fn show(bar: &ProgressBar, stage: &str, done: u64, total: u64) {
    let style = if total == 0 { "{spinner} {msg}" } else { "{msg} {bar:30} {bytes} of {total_bytes}, {eta} left" };
    // Both are well formed.
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    if bar.message() != stage {
        bar.reset();
    }
    bar.set_length(total);
    bar.set_position(done);
    bar.set_message(stage.to_owned());
}

/// A model's name from that of its folder: `All-MiniLM L6` becomes `all-minilm-l6`.
fn name_of(folder: &Path) -> anyhow::Result<ModelName> {
    let real = folder.canonicalize()?;
    let name = real.file_name().unwrap_or_default().to_string_lossy();
    let fitting = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c.to_ascii_lowercase() } else { '-' };
    let name: String = name.chars().map(fitting).skip_while(|c| !c.is_ascii_alphanumeric()).take(64).collect();
    ModelName::new(name).map_err(|_| anyhow::anyhow!("the folder's name makes no name for the model: give one with --name"))
}

fn say(at: &Where, words: &str, json: serde_json::Value) {
    if at.json { println!("{json}") } else { println!("{words}") }
}
