//! A folder as Hugging Face has it, without a manifest: one is made of what its own files say, where that is clear. JSON is read
//! here, the graph is not: what it takes and gives is the check's to find out.

use super::StoreError;
use super::files::{disk, replace};
use crate::manifest::{self, Embed, Manifest, Pooling, Sample, Task, Text};
use hearth_api::ModelName;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// Names of the graph, the first that is there.
const GRAPHS: [&str; 2] = ["onnx/model.onnx", "model.onnx"];
const TOKENIZER: &str = "tokenizer.json";
/// Most bytes of a file of settings.
const MAX_BYTES: u64 = 1 << 20;
/// Tokens of a text at most, whatever the model says: attention takes memory by its square, and boards have little.
const MOST_TOKENS: usize = 512;
/// A text to try it with.
const SAMPLE: (&str, &str) = ("sample.txt", "The pump of the second line runs hot, and its bearing is louder than last week.\n");

/// One step of a pipeline, from `modules.json`.
#[derive(Deserialize)]
struct Module {
    path: String,
    r#type: String,
}

/// `1_Pooling/config.json`.
#[derive(Deserialize)]
struct Pools {
    /// As sentence-transformers says it since its version 5.
    pooling_mode: Option<String>,
    #[serde(flatten)]
    modes: BTreeMap<String, serde_json::Value>,
}

/// `sentence_bert_config.json`.
#[derive(Deserialize, Default)]
struct Encoder {
    max_seq_length: Option<usize>,
    #[serde(default)]
    do_lower_case: bool,
}

/// `config_sentence_transformers.json`.
#[derive(Deserialize, Default)]
struct Prompts {
    #[serde(default)]
    prompts: BTreeMap<String, String>,
    default_prompt_name: Option<String>,
}

/// `config.json`.
#[derive(Deserialize, Default)]
struct Config {
    #[serde(rename = "_name_or_path")]
    name_or_path: Option<String>,
    max_position_embeddings: Option<usize>,
}

/// `tokenizer_config.json`; a tokenizer without a limit says 1e30.
#[derive(Deserialize, Default)]
struct TokenizerConfig {
    model_max_length: Option<f64>,
}

/// Whether these files look like such a folder.
pub(super) fn is_one(names: &[String]) -> bool {
    names.iter().any(|name| name == TOKENIZER)
}

/// Makes the manifest of the folder in `staging`, puts it there, and takes out of it what the manifest does not name.
pub(super) fn adopt(staging: &Path, names: &[String], name: ModelName) -> Result<Manifest, StoreError> {
    let mut manifest = describe(staging, names, name)?;
    replace(&staging.join(SAMPLE.0), SAMPLE.1.as_bytes())?;
    let graph = manifest.file.clone();
    // Its external weights are called after it, and lie beside it.
    let named = |name: &&String| name.starts_with(&graph) || *name == TOKENIZER;
    let kept: Vec<&String> = names.iter().filter(named).collect();
    for name in kept.iter().map(|name| name.as_str()).chain([SAMPLE.0]) {
        let file = staging.join(name);
        manifest.sha256.insert(name.to_owned(), manifest::digest(&file).map_err(disk(&file, "reading"))?);
    }
    for name in names.iter().filter(|name| !kept.contains(name)) {
        let file = staging.join(name);
        fs::remove_file(&file).map_err(disk(&file, "clearing"))?;
    }
    manifest.version = version(&manifest);
    let text = toml::to_string_pretty(&manifest).map_err(|e| StoreError::Source(e.to_string()))?;
    replace(&staging.join(manifest::FILE_NAME), text.as_bytes())?;
    // Held to the same rules as one that was written by hand.
    Ok(Manifest::read(staging)?)
}

/// The manifest without version and digests.
fn describe(folder: &Path, names: &[String], name: ModelName) -> Result<Manifest, StoreError> {
    let file = graph(names)?;
    let config: Config = settings(folder, "config.json")?.unwrap_or_default();
    let encoder: Encoder = settings(folder, "sentence_bert_config.json")?.unwrap_or_default();
    if encoder.do_lower_case {
        return Err(unclear("sentence_bert_config.json has texts made lower-case outside of the tokenizer"));
    }
    let Some(modules) = settings::<Vec<Module>>(folder, "modules.json")? else {
        return Err(unclear("no modules.json says how the states of its tokens become a vector"));
    };
    let (mut pooling, mut normalise) = (None, false);
    for module in &modules {
        match module.r#type.rsplit('.').next().unwrap_or_default() {
            "Transformer" => {}
            "Pooling" => pooling = Some(pools(folder, &module.path)?),
            "Normalize" => normalise = true,
            other => return Err(unclear(&format!("its pipeline has a step {other:?}, which is not in the graph"))),
        }
    }
    let pooling = pooling.ok_or_else(|| unclear("modules.json has no step \"Pooling\""))?;
    let prompts: Prompts = settings(folder, "config_sentence_transformers.json")?.unwrap_or_default();
    let prefix = prompts.default_prompt_name.and_then(|name| prompts.prompts.get(&name).cloned()).unwrap_or_default();
    let tokenizer: TokenizerConfig = settings(folder, "tokenizer_config.json")?.unwrap_or_default();
    let limits =
        [encoder.max_seq_length, tokenizer.model_max_length.map(|n| n as usize), config.max_position_embeddings, Some(MOST_TOKENS)];
    let origin = config.name_or_path.filter(|name| !name.is_empty()).map_or_else(|| "unknown".into(), |name| format!("based on {name}"));
    let sample = Sample { file: SAMPLE.0.into(), truth: String::new() };
    Ok(Manifest {
        description: "Makes a vector of a text".into(),
        origin,
        task: Task::Embed(Embed { pooling: Some(pooling), normalise, output: None }),
        text: Some(Text { tokenizer: TOKENIZER.into(), max_tokens: limits.into_iter().flatten().min(), prefix }),
        samples: vec![sample],
        ..Manifest::bare(name, file)
    })
}

/// The file of the graph.
fn graph(names: &[String]) -> Result<String, StoreError> {
    if let Some(name) = GRAPHS.iter().find(|graph| names.iter().any(|name| name == *graph)) {
        return Ok((*name).to_owned());
    }
    let graphs: Vec<&String> = names.iter().filter(|name| name.to_ascii_lowercase().ends_with(".onnx")).collect();
    match graphs.as_slice() {
        [only] => Ok((*only).clone()),
        [] => Err(StoreError::Source(
            "the folder has no .onnx file; export one (optimum-cli export onnx --model . onnx/), or get it from the folder onnx/ of the model's page".into(),
        )),
        several => {
            let list = several.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
            Err(StoreError::Source(format!("which of {list} is meant? Name it model.onnx, or leave only one in the folder")))
        }
    }
}

/// How the pooling in this folder works.
fn pools(folder: &Path, path: &str) -> Result<Pooling, StoreError> {
    let file = format!("{path}/config.json");
    if !manifest::is_relative(&file) {
        return Err(StoreError::Source(format!("modules.json: {path:?} is not inside the folder")));
    }
    let pools: Pools = settings(folder, &file)?.ok_or_else(|| unclear(&format!("{file} is missing")))?;
    let set =
        |(name, value): (&String, &serde_json::Value)| (*value == true).then(|| name.strip_prefix("pooling_mode_").map(str::to_owned))?;
    let modes: Vec<String> = pools.pooling_mode.map_or_else(|| pools.modes.iter().filter_map(set).collect(), |mode| vec![mode]);
    match modes.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["mean_tokens" | "mean"] => Ok(Pooling::Mean),
        ["cls_token" | "cls"] => Ok(Pooling::Cls),
        ["lasttoken"] => Ok(Pooling::Last),
        other => Err(unclear(&format!("{file} pools by {}; mean, cls and lasttoken are served", other.join(" and ")))),
    }
}

/// A file of settings; none where there is no such file.
fn settings<T: DeserializeOwned>(folder: &Path, name: &str) -> Result<Option<T>, StoreError> {
    let path = folder.join(name);
    if !path.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    File::open(&path).and_then(|f| f.take(MAX_BYTES).read_to_end(&mut bytes)).map_err(disk(&path, "reading"))?;
    serde_json::from_slice(&bytes).map(Some).map_err(|e| StoreError::Source(format!("{name} is not as Hugging Face has it: {e}")))
}

/// A version that follows from every file.
fn version(manifest: &Manifest) -> String {
    let all = manifest.sha256.iter().map(|(name, digest)| format!("{digest}  {name}\n")).collect::<String>();
    manifest::digest_of(format!("{all}{:?}{:?}", manifest.task, manifest.text).as_bytes())[..12].to_owned()
}

/// What is not clear, and the manifest that would make it so.
fn unclear(what: &str) -> StoreError {
    StoreError::Source(format!(
        "{what}. Put a manifest.toml into the folder, such as:\n\n\
         name = \"my-model\"\nversion = \"1\"\nfile = \"onnx/model.onnx\"\n\n\
         [task]\nkind = \"embed\"\npooling = \"mean\"     # or cls, last, none: as the model was trained\nnormalise = true\n\n\
         [text]\ntokenizer = \"{TOKENIZER}\"\nmax_tokens = 256\n"
    ))
}

#[cfg(test)]
mod tests;
