//! The manager: what the daemon is, what it has, and the administration of its models.

use super::caller::Call;
use super::error::CallError;
use super::options::Options;
use super::payload::Incoming;
use super::{Link, addressed, administration};
use crate::engine::{ModelStats, Stats};
use hearth_api::{CONTRACT_VERSION, Fault, RequestId};
use hearth_models::{Progress, Stage};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedObjectPath, Variant};

/// Between two signals of progress.
const TELL: Duration = Duration::from_millis(100);

/// The manager on one connection.
pub(super) struct Manager {
    link: Arc<Link>,
}

impl Manager {
    /// The manager of this connection.
    pub(super) fn new(link: Arc<Link>) -> Manager {
        Manager { link }
    }

    /// A call that takes the right to manage models.
    async fn administer(&self, connection: &Connection, header: &Header<'_>) -> Result<Call, Fault> {
        let caller = self.link.caller(header)?;
        let call = self.link.callers.call(&caller)?;
        self.link.authorise(connection, header).await?;
        Ok(call)
    }
}

fn counts(stats: &Stats) -> HashMap<&'static str, Variant<'static>> {
    HashMap::from([
        ("received", Variant::from(stats.received)),
        ("answered", Variant::from(stats.answered)),
        ("faults", Variant::from(stats.faults.clone().into_iter().collect::<HashMap<String, u64>>())),
        ("handed_back", Variant::from(stats.handed_back)),
        ("steps", Variant::from(stats.steps)),
        ("items", Variant::from(stats.items)),
        ("waiting", Variant::from(stats.waiting)),
        ("waiting_bytes", Variant::from(stats.waiting_bytes)),
        ("model_bytes", Variant::from(stats.model_bytes)),
        ("models", Variant::from(stats.models.iter().map(|(name, of)| (name.to_string(), model_counts(of))).collect::<HashMap<_, _>>())),
    ])
}

fn model_counts(stats: &ModelStats) -> HashMap<&'static str, u64> {
    HashMap::from([
        ("answered", stats.answered),
        ("answered_us", stats.answered_us),
        ("faults", stats.faults),
        ("tokens", stats.tokens),
        ("waiting", stats.waiting),
        ("batch", stats.batch.into()),
        ("threads", stats.threads.into()),
    ])
}

/// The daemon: what it has, and the administration of its models.
#[zbus::interface(name = "org.hearthd.Inference1.Manager")]
impl Manager {
    /// Installed models: object, name, active version, state. GetManagedObjects of /org/hearthd tells everything.
    #[zbus(out_args("models"))]
    async fn list_models(&self) -> Vec<(OwnedObjectPath, String, String, String)> {
        let snapshot = self.link.door.snapshot.borrow().clone();
        let models = snapshot.models.iter();
        models.map(|m| (super::objects::model_path(&m.name), m.name.to_string(), m.version.clone(), m.state.as_str().to_owned())).collect()
    }

    /// Counts since the start, and what waits now: received, answered, faults (by kind), handed_back, steps, items (in
    /// those steps), waiting, waiting_bytes, model_bytes; models a{sa{st}}, by name: answered, answered_us (from arrival to
    /// answer, summed), faults, tokens (generated), waiting, and batch and threads of the last step.
    #[zbus(out_args("stats"))]
    async fn get_stats(&self) -> HashMap<&'static str, Variant<'static>> {
        counts(&self.link.door.snapshot.borrow().stats)
    }

    /// Withdraws a request of the caller's own by its id; its call then ends as Cancelled. False if none of that id is at work.
    #[zbus(out_args("found"))]
    async fn cancel(&self, #[zbus(header)] header: Header<'_>, id: String) -> Result<bool, CallError> {
        let caller = self.link.caller(&header)?;
        let key = self.link.callers.find(&caller, &RequestId::new(id)?);
        if let Some(key) = &key {
            self.link.door.engine.cancel(key);
        }
        Ok(key.is_some())
    }

    /// Installs a model and lets it serve: checked in a process of its own first, and refused with the reason if it fails.
    ///
    /// files: manifest.toml and what it names, by relative path, or one .onnx file, which name then gives a name.
    /// Each is ay, or h: a descriptor of a regular file. A bus lets at most 16 descriptors into a message.
    /// options: none yet. Tells its caller of InstallProgress. Takes the right to manage models, as all below does.
    #[zbus(out_args("model", "version"))]
    async fn install(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
        name: String,
        files: Vec<(String, Incoming)>,
        options: Options,
    ) -> Result<(String, String), CallError> {
        let _call = self.administer(connection, &header).await?;
        options.into_none()?;
        let emitter = addressed(&emitter, &self.link.caller(&header)?);
        let (progress, mut news) = watch::channel(Progress { stage: Stage::Copying, done: 0, total: 0 });
        let installed = administration::install(&self.link.door, name, files, move |news| {
            progress.send_replace(news);
        });
        let tell = async {
            while news.changed().await.is_ok() {
                let Progress { stage, done, total } = *news.borrow_and_update();
                // Whoever went away needs no progress.
                let _ = Manager::install_progress(&emitter, stage.as_str(), done, total).await;
                tokio::time::sleep(TELL).await;
            }
            std::future::pending().await
        };
        tokio::select! {
            installed = installed => Ok(installed?),
            () = tell => unreachable!("it waits for ever"),
        }
    }

    /// How far an install is. stage: copying, verifying, repacking or checking; done and total in bytes, total 0 where that is not
    /// known. Sent to the caller of Install alone.
    #[zbus(signal)]
    async fn install_progress(emitter: &SignalEmitter<'_>, stage: &str, done: u64, total: u64) -> zbus::Result<()>;

    /// Removes a version of a model; all of them where it is empty.
    async fn remove(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        model: String,
        version: String,
    ) -> Result<(), CallError> {
        let _call = self.administer(connection, &header).await?;
        Ok(administration::remove(&self.link.door, model, version).await?)
    }

    /// Lets another installed version serve.
    async fn activate(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        model: String,
        version: String,
    ) -> Result<(), CallError> {
        let _call = self.administer(connection, &header).await?;
        Ok(administration::activate(&self.link.door, model, version).await?)
    }

    /// Lets the version serve that did before; returns it.
    #[zbus(out_args("version"))]
    async fn roll_back(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        model: String,
    ) -> Result<String, CallError> {
        let _call = self.administer(connection, &header).await?;
        Ok(administration::roll_back(&self.link.door, model).await?)
    }

    /// Looks at the store again, for one that was changed by hand.
    async fn rescan(&self, #[zbus(header)] header: Header<'_>, #[zbus(connection)] connection: &Connection) -> Result<(), CallError> {
        let _call = self.administer(connection, &header).await?;
        self.link.door.engine.rescan().await;
        Ok(())
    }

    /// Version of the daemon.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    /// Version of the contract: the major part changes when an old client would break.
    #[zbus(property(emits_changed_signal = "const"))]
    fn contract_version(&self) -> &'static str {
        CONTRACT_VERSION
    }

    /// Name of this node, as in its MQTT topics.
    #[zbus(property(emits_changed_signal = "const"))]
    fn node(&self) -> String {
        self.link.door.node.to_string()
    }
}
