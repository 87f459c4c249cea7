//! The manager: what the daemon is, what it has, and the administration of its models.

use super::Link;
use super::error::CallError;
use crate::engine::Stats;
use hearth_api::{CONTRACT_VERSION, RequestId};
use std::collections::HashMap;
use std::sync::Arc;
use zbus::message::Header;
use zbus::{Connection, OwnedObjectPath, Variant};

/// The manager on one connection.
pub(super) struct Manager {
    link: Arc<Link>,
}

impl Manager {
    /// The manager of this connection.
    pub(super) fn new(link: Arc<Link>) -> Manager {
        Manager { link }
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
    /// those steps), waiting, waiting_bytes, model_bytes.
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

    /// Looks at the store again. Takes the right to manage models.
    async fn rescan(&self, #[zbus(header)] header: Header<'_>, #[zbus(connection)] connection: &Connection) -> Result<(), CallError> {
        let caller = self.link.caller(&header)?;
        let _call = self.link.callers.call(&caller)?;
        self.link.authorise(connection, &header).await?;
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
