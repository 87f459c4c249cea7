//! A client on the bus.

use crate::CallError;
use anyhow::{Context, anyhow};
use futures_util::StreamExt;
use hearth_api::dbus::{
    BUS_NAME, INLINE_BYTES, JOB_INTERFACE, MANAGER_INTERFACE, MANAGER_PATH, MODEL_INTERFACE, ROOT_PATH, THERMAL_INTERFACE, fault_kind,
    model_path,
};
use hearth_api::graph::{Graph, Operator, Running};
use hearth_api::history::Record;
use hearth_api::{Fault, FaultBody, Limit, ModelInfo, ModelName, Payload};
use rustix::fs::{MemfdFlags, SealFlags};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::unix::pipe;
use zbus::{Connection, DBusError, OwnedObjectPath, OwnedVariant, Proxy, Variant};

/// A kind of operators that run: name, types, count, bytes of weights, microseconds.
type Kind = (String, String, String, u32, u64, f64);

/// Options of a call.
pub(crate) type Dictionary<'a> = HashMap<&'a str, Variant<'a>>;

/// A connection to the daemon through a bus, or straight to its socket.
#[derive(Debug, Clone)]
pub struct BusClient {
    connection: Connection,
}

/// An answer: what it is, and its bytes.
#[derive(Debug, Clone)]
pub struct Answered {
    /// What the bytes are.
    pub content_type: String,
    /// The answer.
    pub bytes: Vec<u8>,
}

impl Answered {
    /// The answer as JSON; of a binary one, its JSON head.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.bytes).context("the answer is no JSON")
    }
}

impl BusClient {
    /// Connects. `bus` is `system`, `session`, a D-Bus address, or `peer:/path`.
    pub async fn connect(bus: &str) -> anyhow::Result<BusClient> {
        let builder = match (bus, bus.strip_prefix("peer:")) {
            ("system", _) => zbus::connection::Builder::system(),
            ("session", _) => zbus::connection::Builder::session(),
            (_, Some(path)) => {
                let stream = std::os::unix::net::UnixStream::connect(path).with_context(|| format!("no daemon listens on {path}"))?;
                zbus::connection::Builder::unix_stream(stream).p2p()
            }
            _ => zbus::connection::Builder::address(bus),
        };
        let connection = builder.build().await.with_context(|| format!("the {bus} bus cannot be reached"))?;
        Ok(BusClient { connection })
    }

    /// The connection, for an echo beside the daemon.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    async fn proxy(&self, path: String, interface: &'static str) -> Result<Proxy<'static>, CallError> {
        let uncached = zbus::proxy::Builder::<Proxy<'_>>::new(&self.connection)
            .destination(BUS_NAME)
            .path(path)
            .interface(interface)
            .cache_properties(zbus::proxy::CacheProperties::No);
        uncached.build().await.map_err(call_error)
    }

    /// Asks a model. `options` are those of `Infer`.
    pub async fn infer(&self, model: &ModelName, payload: &Payload, options: &Dictionary<'_>) -> Result<Answered, CallError> {
        let proxy = self.proxy(model_path(model), MODEL_INTERFACE).await?;
        self.infer_through(&proxy, payload, options).await
    }

    /// What became of a model's graph.
    pub async fn graph(&self, model: &ModelName) -> Result<Graph, CallError> {
        let proxy = self.proxy(model_path(model), MODEL_INTERFACE).await?;
        let (file, runs): (Vec<(String, u32)>, Vec<Kind>) = proxy.call("Graph", &()).await.map_err(call_error)?;
        let running =
            |(name, takes, gives, count, weight_bytes, microseconds)| Running { name, takes, gives, count, weight_bytes, microseconds };
        let file = file.into_iter().map(|(name, count)| Operator { name, count }).collect();
        Ok(Graph { file, runs: runs.into_iter().map(running).collect() })
    }

    /// A model's object, for many calls.
    pub(crate) async fn model(&self, model: &ModelName) -> Result<Proxy<'static>, CallError> {
        self.proxy(model_path(model), MODEL_INTERFACE).await
    }

    /// Asks through a model's object.
    pub(crate) async fn infer_through(
        &self,
        proxy: &Proxy<'_>,
        payload: &Payload,
        options: &Dictionary<'_>,
    ) -> Result<Answered, CallError> {
        let body = body(payload).map_err(CallError::Unreachable)?;
        let arguments = (payload.content_type.as_str(), body, options);
        let (content_type, result, _info): (String, OwnedVariant, HashMap<String, OwnedVariant>) =
            proxy.call("Infer", &arguments).await.map_err(call_error)?;
        Ok(Answered { content_type, bytes: bytes_of(result).map_err(CallError::Unreachable)? })
    }

    /// Talks with a model. `options` are those of `Chat`.
    pub async fn chat(&self, model: &ModelName, payload: &Payload, options: &Dictionary<'_>) -> Result<Talk, CallError> {
        let proxy = self.model(model).await?;
        let body = body(payload).map_err(CallError::Unreachable)?;
        let (job, pipe): (OwnedObjectPath, zbus::OwnedFd) =
            proxy.call("Chat", &(payload.content_type.as_str(), body, options)).await.map_err(call_error)?;
        let pipe = pipe::Receiver::from_owned_fd(pipe.into())
            .map_err(|e| CallError::Unreachable(anyhow::Error::new(e).context("the daemon's pipe cannot be read")))?;
        Ok(Talk { job: self.proxy(job.to_string(), JOB_INTERFACE).await?, lines: BufReader::new(pipe).lines() })
    }

    /// The manager's object.
    pub(crate) async fn manager(&self) -> Result<Manager, CallError> {
        Ok(Manager { proxy: self.proxy(MANAGER_PATH.into(), MANAGER_INTERFACE).await? })
    }

    /// Every property of an interface, as a JSON object.
    async fn properties(&self, path: &str, interface: &'static str) -> Result<Map<String, Value>, CallError> {
        let proxy = self.proxy(path.into(), "org.freedesktop.DBus.Properties").await?;
        let all: HashMap<String, OwnedVariant> = proxy.call("GetAll", &(interface,)).await.map_err(call_error)?;
        Ok(object(&all))
    }

    /// What the thermal interface tells, as a JSON object.
    pub async fn heat(&self) -> Result<Map<String, Value>, CallError> {
        self.properties(MANAGER_PATH, THERMAL_INTERFACE).await
    }

    /// Lets the governor work in another mode; `celsius` is that of mode `cool`.
    pub(crate) async fn set_mode(&self, mode: &str, celsius: Option<f64>) -> Result<(), CallError> {
        let options: Dictionary<'_> = celsius.map(|celsius| ("celsius", Variant::from(celsius))).into_iter().collect();
        self.proxy(MANAGER_PATH.into(), THERMAL_INTERFACE).await?.call("SetMode", &(mode, options)).await.map_err(call_error)
    }

    /// The thermal history, as far as it goes back.
    pub(crate) async fn history(&self) -> Result<Vec<Record>, CallError> {
        let proxy = self.proxy(MANAGER_PATH.into(), THERMAL_INTERFACE).await?;
        let files: Vec<zbus::OwnedFd> = proxy.call("OpenHistory", &()).await.map_err(call_error)?;
        let mut text = Vec::new();
        for file in files {
            // A line that is half written when one file ends does not spoil the first of the next.
            text.push(b'\n');
            let read = File::from(OwnedFd::from(file)).take(HISTORY_BYTES).read_to_end(&mut text);
            read.map_err(|e| CallError::Unreachable(anyhow::Error::new(e).context("the thermal history cannot be read")))?;
        }
        Ok(hearth_api::history::parse(&text))
    }

    /// Installed models, by name, and their states.
    pub(crate) async fn model_states(&self) -> Result<Vec<(String, String)>, CallError> {
        let models: Vec<(OwnedObjectPath, String, String, String)> = self.manager().await?.call("ListModels", &()).await?;
        Ok(models.into_iter().map(|(_, name, _, state)| (name, state)).collect())
    }

    /// Version, ContractVersion, Node, as a JSON object.
    pub(crate) async fn about(&self) -> Result<Map<String, Value>, CallError> {
        self.properties(MANAGER_PATH, MANAGER_INTERFACE).await
    }

    /// Counts of the daemon, as a JSON object.
    pub async fn stats(&self) -> Result<Map<String, Value>, CallError> {
        let stats: HashMap<String, OwnedVariant> = self.manager().await?.proxy.call("GetStats", &()).await.map_err(call_error)?;
        Ok(object(&stats))
    }

    /// Every installed model, by name.
    pub async fn models(&self) -> Result<Vec<ModelInfo>, CallError> {
        let proxy = self.proxy(ROOT_PATH.into(), "org.freedesktop.DBus.ObjectManager").await?;
        let objects: Objects = proxy.call("GetManagedObjects", &()).await.map_err(call_error)?;
        let mut models = objects
            .values()
            .filter_map(|interfaces| interfaces.get(MODEL_INTERFACE))
            .map(|properties| model_info(&object(properties)))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| CallError::Unreachable(anyhow!("the daemon describes a model in a way that is not known here: {e}")))?;
        models.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(models)
    }
}

/// The answer of a language model, as it comes.
pub struct Talk {
    job: Proxy<'static>,
    lines: Lines<BufReader<pipe::Receiver>>,
}

impl Talk {
    /// The next line: a chunk, or the whole reply or fault at the end; then none.
    pub async fn next(&mut self) -> Result<Option<String>, CallError> {
        let unreadable = |e: std::io::Error| CallError::Unreachable(anyhow::Error::new(e).context("the daemon's pipe cannot be read"));
        self.lines.next_line().await.map_err(unreadable)
    }

    /// The whole reply, which is the last line.
    pub async fn whole(mut self) -> Result<Value, CallError> {
        let mut last = None;
        while let Some(line) = self.next().await? {
            last = Some(line);
        }
        let line = last.ok_or_else(|| CallError::Unreachable(anyhow!("the daemon went away before the answer was there")))?;
        reply(serde_json::from_str(&line).map_err(unknown)?)
    }

    /// Stops the model; the last line then says `cancelled`.
    pub async fn cancel(&self) -> Result<(), CallError> {
        self.job.call("Cancel", &()).await.map_err(call_error)
    }
}

/// A reply, or the fault that a message is.
pub(crate) fn reply(message: Value) -> Result<Value, CallError> {
    if message.get("kind").is_none() {
        return Ok(message);
    }
    let body: FaultBody = serde_json::from_value(message).map_err(unknown)?;
    Err(CallError::Fault(body.fault))
}

/// Something that the daemon said and that is not understood.
pub(crate) fn unknown(error: serde_json::Error) -> CallError {
    let what = "the daemon answers in a way that is not known here; are both of one version?";
    CallError::Unreachable(anyhow::Error::new(error).context(what))
}

/// A payload as a call takes it: bytes, or a sealed memfd over 16 KiB.
fn body(payload: &Payload) -> anyhow::Result<Variant<'static>> {
    if payload.bytes.len() > INLINE_BYTES {
        return Ok(Variant::from(zbus::Fd::from(sealed(&payload.bytes)?)));
    }
    Ok(Variant::from(payload.bytes.to_vec()))
}

/// Of a file of the history, more than the daemon lets it grow to.
const HISTORY_BYTES: u64 = 4 << 20;
/// Descriptors in a message: dbus-daemon's default limit; one more, and it cuts the connection.
const DESCRIPTORS: usize = 16;

/// What GetManagedObjects returns: path, interface, property.
type Objects = HashMap<OwnedObjectPath, HashMap<String, HashMap<String, OwnedVariant>>>;

/// A dictionary of the bus as a JSON object.
fn object(dictionary: &HashMap<String, OwnedVariant>) -> Map<String, Value> {
    dictionary.iter().map(|(name, value)| (name.clone(), json(value))).collect()
}

/// A value of the bus as JSON. What JSON cannot hold (NaN, descriptors) becomes null.
fn json(value: &Variant<'_>) -> Value {
    match value {
        Variant::U8(n) => (*n).into(),
        Variant::Bool(b) => (*b).into(),
        Variant::I16(n) => (*n).into(),
        Variant::U16(n) => (*n).into(),
        Variant::I32(n) => (*n).into(),
        Variant::U32(n) => (*n).into(),
        Variant::I64(n) => (*n).into(),
        Variant::U64(n) => (*n).into(),
        Variant::F64(x) => (*x).into(),
        Variant::Str(text) => text.as_str().into(),
        Variant::ObjectPath(path) => path.as_str().into(),
        Variant::Signature(signature) => signature.to_string().into(),
        Variant::Variant(inner) => json(inner),
        Variant::Array(array) => array.inner().iter().map(json).collect(),
        Variant::Structure(structure) => structure.fields().iter().map(json).collect(),
        Variant::Dict(dictionary) => {
            let entries = dictionary.iter().map(|(key, value)| (json(key).as_str().unwrap_or_default().to_owned(), json(value)));
            Value::Object(entries.collect())
        }
        Variant::Fd(_) => Value::Null,
    }
}

/// A model as its object describes it.
fn model_info(properties: &Map<String, Value>) -> serde_json::Result<ModelInfo> {
    let property = |name: &str| properties.get(name).cloned().unwrap_or_default();
    let tensors = |name: &str| -> Value {
        let tensors = property(name).as_array().cloned().unwrap_or_default();
        tensors.iter().map(|t| json!({"name": t[0], "datatype": t[1], "shape": t[2]})).collect()
    };
    let points: Value = property("Points")
        .as_array()
        .into_iter()
        .flatten()
        .map(|p| json!({"batch": p[0], "threads": p[1], "latency_us": p[2], "cpu_us_per_item": p[3]}))
        .collect();
    let size = property("Size");
    serde_json::from_value(json!({
        "name": property("Name"), "version": property("Version"), "versions": property("Versions"),
        "description": property("Description"), "task": property("Task"), "licence": property("Licence"),
        "origin": property("Origin"), "state": property("State"), "reason": property("Reason"), "pinned": property("Pinned"),
        "inputs": tensors("Inputs"), "outputs": tensors("Outputs"),
        "size": {"file_bytes": size[0], "packed_bytes": size[1], "weights": size[2], "bits_per_weight": size[3]},
        "memory_bytes": property("MemoryBytes"),
        "longest_node_us": property("LongestNodeMicroseconds"), "points": points,
    }))
}

/// The manager's object.
pub(crate) struct Manager {
    proxy: Proxy<'static>,
}

impl Manager {
    /// Installs a model from files; the daemon need not see their folder. The largest travel as descriptors, of which a bus
    /// lets so many into a message, the others as bytes. `progress` is told the stage, and bytes done and in all (0: not known).
    pub(crate) async fn install(
        &self,
        name: &str,
        files: &[(String, File)],
        progress: &mut dyn FnMut(&str, u64, u64),
    ) -> Result<(String, String), CallError> {
        let unreadable =
            |error: std::io::Error| CallError::Unreachable(anyhow::Error::new(error).context("a file of the model cannot be read"));
        let mut sized = files
            .iter()
            .map(|(name, file)| Ok((file.metadata()?.len(), name, file)))
            .collect::<std::io::Result<Vec<_>>>()
            .map_err(unreadable)?;
        sized.sort_by_key(|(bytes, ..)| std::cmp::Reverse(*bytes));
        let mut sent: Vec<(&str, Variant<'_>)> = Vec::with_capacity(files.len());
        for (i, (bytes, name, file)) in sized.into_iter().enumerate() {
            let content = if i < DESCRIPTORS {
                Variant::from(zbus::Fd::from(file))
            } else {
                let mut content = Vec::with_capacity(usize::try_from(bytes).unwrap_or_default());
                let mut file = file;
                file.read_to_end(&mut content).map_err(unreadable)?;
                Variant::from(content)
            };
            sent.push((name, content));
        }
        let mut news = self.proxy.receive_signal("InstallProgress").await.map_err(call_error)?;
        let arguments = (name, sent, Dictionary::new());
        let mut installed = std::pin::pin!(self.call("Install", &arguments));
        loop {
            tokio::select! {
                installed = &mut installed => return installed,
                Some(news) = news.next() => {
                    // A daemon that says it otherwise is not understood, and goes on.
                    if let Ok((stage, done, total)) = news.body().deserialize::<(String, u64, u64)>() {
                        progress(&stage, done, total);
                    }
                }
            }
        }
    }

    /// Calls a method of the manager's.
    pub(crate) async fn call<B, R>(&self, method: &str, body: &B) -> Result<R, CallError>
    where
        B: serde::Serialize + zbus::DynamicType,
        R: for<'d> zbus::wire::DynamicDeserialize<'d>,
    {
        self.proxy.call(method, body).await.map_err(call_error)
    }
}

/// A memfd that cannot change any more.
fn sealed(bytes: &[u8]) -> anyhow::Result<OwnedFd> {
    let fd = rustix::fs::memfd_create("hearth-payload", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file.into())
}

fn bytes_of(result: OwnedVariant) -> anyhow::Result<Vec<u8>> {
    match Variant::from(result) {
        Variant::Fd(fd) => {
            let mut file = File::from(OwnedFd::from(zbus::OwnedFd::from(fd)));
            let mut bytes = Vec::new();
            file.rewind()?;
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        }
        other => Vec::<u8>::try_from(other).context("the answer is neither ay nor h"),
    }
}

/// A named error of the daemon's becomes the fault it was; any other means that the daemon could not be asked.
fn call_error(error: zbus::Error) -> CallError {
    if let zbus::Error::MethodError(name, message, reply) = &error {
        if let Some(kind) = fault_kind(name.as_str()) {
            let mut fault = Fault::new(kind, message.clone().unwrap_or_default());
            if let Ok((_, details)) = reply.body().deserialize::<(String, HashMap<String, OwnedVariant>)>() {
                fault.retry_after_ms = details.get("retry_after_ms").and_then(|v| u64::try_from(v).ok());
                fault.limit = details.get("limit").and_then(|v| {
                    let limit: HashMap<String, OwnedVariant> = v.try_clone().ok()?.try_into().ok()?;
                    let (name, value) = limit.into_iter().next()?;
                    Some(Limit { name, value: u64::try_from(value).ok()? })
                });
            }
            return CallError::Fault(fault);
        }
        return refused(name.as_str(), message.as_deref());
    }
    if let zbus::Error::FDO(standard) = &error {
        return refused(standard.name().as_str(), standard.description());
    }
    CallError::Unreachable(anyhow::Error::new(error).context("the bus call failed"))
}

/// An error that is not the daemon's, with what helps.
fn refused(name: &str, message: Option<&str>) -> CallError {
    let hint = match name {
        "org.freedesktop.DBus.Error.ServiceUnknown" | "org.freedesktop.DBus.Error.NameHasNoOwner" => {
            "hearthd does not run on this bus; start it (systemctl start hearthd), or name its bus with --bus"
        }
        "org.freedesktop.DBus.Error.UnknownObject" | "org.freedesktop.DBus.Error.UnknownMethod" => {
            "the daemon has no such object: is the model installed? (hearthctl models)"
        }
        "org.freedesktop.DBus.Error.AccessDenied" => "the bus does not let this user talk to hearthd: add the user to the group hearth",
        _ => "the bus refused the call",
    };
    CallError::Unreachable(anyhow!("{hint} ({name}: {})", message.unwrap_or_default()))
}

/// Endings of what is of use in a folder as Hugging Face has it: settings, graphs and their external weights. The weights of other
/// programs are left behind.
const WANTED: [&str; 4] = ["json", "onnx", "onnx_data", "data"];

/// Opens the files of a model folder, or a single .onnx or .gguf file, with their names relative to it; what is hidden stays behind.
pub(crate) fn open_files(path: &Path) -> anyhow::Result<Vec<(String, File)>> {
    let open = |file: &Path, name: String| {
        let opened = File::open(file).with_context(|| format!("{} cannot be read", file.display()))?;
        anyhow::Ok((name, opened))
    };
    if path.is_file() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Ok(vec![open(path, name)?]);
    }
    let mut files = Vec::new();
    let mut folders = vec![path.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).with_context(|| format!("{} cannot be read", folder.display()))?;
        for entry in entries {
            let entry = entry?.path();
            if entry.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b".")) {
                continue;
            }
            if entry.is_dir() {
                folders.push(entry);
                continue;
            }
            let name = entry.strip_prefix(path)?.to_str().with_context(|| format!("{} is no UTF-8", entry.display()))?.to_owned();
            files.push(open(&entry, name)?);
        }
    }
    let there = |wanted: &str| files.iter().any(|(name, _)| name == wanted);
    if !there("manifest.toml") {
        anyhow::ensure!(
            there("tokenizer.json"),
            "{} has no manifest.toml; a single .onnx or .gguf file, and a folder of Hugging Face's with a tokenizer.json, need none",
            path.display()
        );
        files.retain(|(name, _)| Path::new(name).extension().is_some_and(|ending| WANTED.iter().any(|wanted| ending == *wanted)));
    }
    files.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(files)
}

/// How long a call may take by default, less than the bus's own 25 s.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(20);
