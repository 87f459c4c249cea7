//! The object of a model: what it is, and inference by it.

use super::Link;
use super::error::CallError;
use super::job;
use super::options::Options;
use super::payload::{Incoming, Outgoing};
use super::request::{self, Info, Sent};
use hearth_api::graph::Running;
use hearth_api::tensor::TensorMetadata;
use hearth_api::{Fault, ModelInfo};
use std::sync::Arc;
use tokio::sync::watch;
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedFd, OwnedObjectPath};

/// A model on one connection.
pub(super) struct Model {
    link: Arc<Link>,
    info: watch::Receiver<ModelInfo>,
}

impl Model {
    /// The object of a model; `info` follows the engine's snapshot.
    pub(super) fn new(link: Arc<Link>, info: watch::Receiver<ModelInfo>) -> Model {
        Model { link, info }
    }

    fn read<T>(&self, read: impl FnOnce(&ModelInfo) -> T) -> T {
        read(&self.info.borrow())
    }

    /// Tells of each property that differs between `before` and now.
    pub(super) async fn tell_changes(&self, before: &ModelInfo, emitter: &SignalEmitter<'_>) -> zbus::Result<()> {
        let now = self.read(Clone::clone);
        macro_rules! tell {
            ($($field:ident => $changed:ident),* $(,)?) => {
                $(if before.$field != now.$field {
                    self.$changed(emitter).await?;
                })*
            };
        }
        tell! {
            version => version_changed,
            versions => versions_changed,
            state => state_changed,
            reason => reason_changed,
            task => task_changed,
            licence => licence_changed,
            origin => origin_changed,
            description => description_changed,
            pinned => pinned_changed,
            size => size_changed,
            memory_bytes => memory_bytes_changed,
            longest_node_us => longest_node_microseconds_changed,
            inputs => inputs_changed,
            outputs => outputs_changed,
            points => points_changed,
        }
        Ok(())
    }
}

/// A kind of operators that run.
type Kind = (String, String, String, u32, u64, f64);

/// Inputs and outputs as `a(ssax)`.
fn tensors(metadata: &[TensorMetadata]) -> Vec<(String, String, Vec<i64>)> {
    let datatype = |t: &TensorMetadata| match serde_json::to_value(t.datatype) {
        Ok(serde_json::Value::String(name)) => name,
        _ => format!("{:?}", t.datatype).to_uppercase(),
    };
    metadata.iter().map(|t| (t.name.clone(), datatype(t), t.shape.clone())).collect()
}

/// A model that is installed.
#[zbus::interface(name = "org.hearthd.Inference1.Model")]
impl Model {
    /// Answers a payload: picture, sound, text, or Open Inference Protocol v2.
    ///
    /// content_type: image/jpeg, image/png, audio/wav, text/plain, application/json or application/octet-stream;
    /// empty: told from the first bytes.
    /// payload: ay up to 16 KiB, over that h: a memfd with F_SEAL_WRITE, F_SEAL_SHRINK and F_SEAL_GROW.
    /// options: id (s), priority (s: high, normal, background), timeout_ms (default 20000), header_length
    /// (application/octet-stream: bytes of JSON before the tensors).
    /// result: ay, or h over 16 KiB, of the content type result_type.
    /// info: id, model_version, batch, threads, queued_us, batched_us, computed_us, performance_degraded, header_length.
    /// Errors are org.hearthd.Error.*: the message, then a dictionary with kind, whose, retry_after_ms and limit.
    #[zbus(out_args("result_type", "result", "info"))]
    async fn infer(
        &self,
        #[zbus(header)] header: Header<'_>,
        content_type: String,
        payload: Incoming,
        options: Options,
    ) -> Result<(&'static str, Outgoing, Info), CallError> {
        let caller = self.link.caller(&header)?;
        let _call = self.link.callers.call(&caller)?;
        let sent = Sent { model: self.read(|m| m.name.clone()), content_type, payload, options };
        let running = request::begin(&self.link, &caller, sent)?;
        Ok(running.end().await?.to_returned()?)
    }

    /// As Infer, for work that takes longer than a bus call may: returns at once, with a Job object.
    ///
    /// The job is there until a minute after its end, or until its caller leaves the bus.
    #[zbus(out_args("job"))]
    async fn submit(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        content_type: String,
        payload: Incoming,
        options: Options,
    ) -> Result<OwnedObjectPath, CallError> {
        let caller = self.link.caller(&header)?;
        let kept = self.link.callers.job(&caller, self.link.door.limits.queue_bytes)?;
        let sent = Sent { model: self.read(|m| m.name.clone()), content_type, payload, options };
        let running = request::begin(&self.link, &caller, sent)?;
        Ok(job::start(&self.link, connection, kept, running, None).await?)
    }

    /// Talks with a language model; returns at once, with a Job object and the reading end of a pipe.
    ///
    /// content_type, payload: application/json, in the shape of OpenAI's chat completions, or text/plain, one message; as in
    /// Infer. options: id, priority, timeout_ms (default: the daemon's chat_timeout_ms).
    /// The pipe gives JSON lines: where the request says "stream": true chunks, numbered; then, in any case, the whole reply or
    /// the fault; then it ends. A reader that is 64 KiB behind makes the model wait, and one that takes nothing for 30 s more,
    /// or closes the pipe, cancels the answer. The job is there to cancel by, and goes with its end.
    #[zbus(out_args("job", "pipe"))]
    async fn chat(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        content_type: String,
        payload: Incoming,
        options: Options,
    ) -> Result<(OwnedObjectPath, OwnedFd), CallError> {
        let caller = self.link.caller(&header)?;
        let kept = self.link.callers.job(&caller, self.link.door.limits.queue_bytes)?;
        let sent = Sent { model: self.read(|m| m.name.clone()), content_type, payload, options };
        let (running, pipe, lines) = request::begin_talk(&self.link, &caller, sent)?;
        let job = job::start(&self.link, connection, kept, running, Some(lines)).await?;
        Ok((job, pipe.into()))
    }

    /// Loads the model into memory; returns when it is ready. Pinned, it stays there.
    ///
    /// Pinning takes the right to manage models (org.hearthd.manage-models).
    async fn load(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        pin: bool,
    ) -> Result<(), CallError> {
        let caller = self.link.caller(&header)?;
        let _call = self.link.callers.call(&caller)?;
        if pin {
            self.link.authorise(connection, &header).await?;
        }
        let name = self.read(|m| m.name.clone());
        Ok(self.link.door.engine.load(&name, pin).await?)
    }

    /// Takes the model out of memory, pinned or not. Takes the right to manage models.
    async fn unload(&self, #[zbus(header)] header: Header<'_>, #[zbus(connection)] connection: &Connection) -> Result<(), CallError> {
        let caller = self.link.caller(&header)?;
        let _call = self.link.callers.call(&caller)?;
        self.link.authorise(connection, &header).await?;
        let name = self.read(|m| m.name.clone());
        Ok(self.link.door.engine.unload(&name).await?)
    }

    /// What became of its graph, as the check of the active version found it.
    ///
    /// file: operators of the file, and how many of each.
    /// runs: operators that run: name, type of what they take and of what they give, how many, bytes of their weights, microseconds
    /// in one inference at batch 1 on one thread.
    #[zbus(out_args("file", "runs"))]
    async fn graph(&self, #[zbus(header)] header: Header<'_>) -> Result<(Vec<(String, u32)>, Vec<Kind>), CallError> {
        let caller = self.link.caller(&header)?;
        let _call = self.link.callers.call(&caller)?;
        let (name, version, store) = self.read(|m| (m.name.clone(), m.version.clone(), self.link.door.engine.store()));
        let read = tokio::task::spawn_blocking(move || store.graph(&name, &version)).await;
        let graph = read.map_err(|e| Fault::internal(format!("reading the report: {e}")))?.map_err(Fault::from)?;
        let kind = |r: Running| (r.name, r.takes, r.gives, r.count, r.weight_bytes, r.microseconds);
        Ok((graph.file.into_iter().map(|o| (o.name, o.count)).collect(), graph.runs.into_iter().map(kind).collect()))
    }

    /// Its name.
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> String {
        self.read(|m| m.name.to_string())
    }

    /// The active version.
    #[zbus(property)]
    fn version(&self) -> String {
        self.read(|m| m.version.clone())
    }

    /// Every installed version, oldest first.
    #[zbus(property)]
    fn versions(&self) -> Vec<String> {
        self.read(|m| m.versions.clone())
    }

    /// available, loading, ready, failed or quarantined.
    #[zbus(property)]
    fn state(&self) -> String {
        self.read(|m| m.state.as_str().to_owned())
    }

    /// Why it is in that state, where that needs saying.
    #[zbus(property)]
    fn reason(&self) -> String {
        self.read(|m| m.reason.clone())
    }

    /// classify, regress, anomaly, detect, embed, chat or tensor.
    #[zbus(property)]
    fn task(&self) -> String {
        self.read(|m| m.task.clone())
    }

    /// SPDX licence expression.
    #[zbus(property)]
    fn licence(&self) -> String {
        self.read(|m| m.licence.clone())
    }

    /// Where it comes from.
    #[zbus(property)]
    fn origin(&self) -> String {
        self.read(|m| m.origin.clone())
    }

    /// What it does, in a line.
    #[zbus(property)]
    fn description(&self) -> String {
        self.read(|m| m.description.clone())
    }

    /// Kept in memory.
    #[zbus(property)]
    fn pinned(&self) -> bool {
        self.read(|m| m.pinned)
    }

    /// How large it is on disk: bytes of its file; of a language model's weights as they are kept for the kernels, beside the file;
    /// how many weights it has; and bits of one in the file. The last three are 0 where it is no language model.
    #[zbus(property)]
    fn size(&self) -> (u64, u64, u64, f64) {
        self.read(|m| (m.size.file_bytes, m.size.packed_bytes, m.size.weights, m.size.bits_per_weight))
    }

    /// Memory it holds while it is ready; 0 while it is not known.
    #[zbus(property)]
    fn memory_bytes(&self) -> u64 {
        self.read(|m| m.memory_bytes)
    }

    /// The longest node of its graph: how long something urgent may have to wait for it.
    #[zbus(property)]
    fn longest_node_microseconds(&self) -> u64 {
        self.read(|m| m.longest_node_us)
    }

    /// What it takes: name, datatype of the Open Inference Protocol, shape (-1: may vary).
    #[zbus(property)]
    fn inputs(&self) -> Vec<(String, String, Vec<i64>)> {
        self.read(|m| tensors(&m.inputs))
    }

    /// What it gives, in the same form.
    #[zbus(property)]
    fn outputs(&self) -> Vec<(String, String, Vec<i64>)> {
        self.read(|m| tensors(&m.outputs))
    }

    /// Measured ways to run it: batch, threads, microseconds a step, CPU microseconds an item.
    #[zbus(property)]
    fn points(&self) -> Vec<(u32, u32, u64, u64)> {
        self.read(|m| m.points.iter().map(|p| (p.batch, p.threads, p.latency_us, p.cpu_us_per_item)).collect())
    }
}
