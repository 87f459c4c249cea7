//! The objects of one connection: put there when it is made, then kept as the engine's snapshot and the heat are.

use super::Link;
use super::manager::Manager;
use super::model::Model;
use super::thermal::Thermal;
use hearth_api::dbus::{self, MANAGER_PATH, ROOT_PATH};
use hearth_api::{ModelInfo, ModelName};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;
use zbus::fdo::ObjectManager;
use zbus::{Connection, OwnedObjectPath, connection};

/// The models whose objects are on a connection, each with what its object shows.
pub(super) struct Objects {
    link: Arc<Link>,
    models: BTreeMap<ModelName, watch::Sender<ModelInfo>>,
}

/// The object of a model.
pub(super) fn model_path(model: &ModelName) -> OwnedObjectPath {
    OwnedObjectPath::try_from(dbus::model_path(model)).expect("a model's path is made of letters, digits and underscores")
}

impl Objects {
    /// Has the connection that is being built serve every object there is now: before its name is asked for, so that
    /// nobody finds the name without the objects.
    pub(super) fn serve(link: Arc<Link>, mut builder: connection::Builder<'static>) -> (Objects, connection::Builder<'static>) {
        builder = builder
            .serve_at(ROOT_PATH, ObjectManager)
            .serve_at(MANAGER_PATH, Manager::new(link.clone()))
            .serve_at(MANAGER_PATH, Thermal::new(link.clone()));
        let mut models = BTreeMap::new();
        for info in &link.door.snapshot.borrow().clone().models {
            let (show, info) = (watch::Sender::new(info.clone()), info);
            builder = builder.serve_at(model_path(&info.name), Model::new(link.clone(), show.subscribe()));
            models.insert(info.name.clone(), show);
        }
        (Objects { link, models }, builder)
    }

    /// Follows the snapshot and the heat until the connection closes.
    pub(super) async fn follow(mut self, connection: &Connection) {
        let mut snapshot = self.link.door.snapshot.clone();
        let mut heat = self.link.door.monitor.watch();
        let mut told = heat.borrow_and_update().clone();
        // What changed while the connection was made.
        snapshot.mark_changed();
        loop {
            let done = tokio::select! {
                () = connection.closed() => return,
                Ok(()) = snapshot.changed() => {
                    let models = snapshot.borrow_and_update().models.clone();
                    self.show(connection, models).await
                }
                Ok(()) = heat.changed() => {
                    heat.mark_unchanged();
                    match show_heat(connection, told.clone()).await {
                        Ok(now) => { told = now; Ok(()) }
                        Err(error) => Err(error),
                    }
                }
            };
            if let Err(error) = done {
                tracing::warn!(%error, "the bus was not told of a change");
            }
        }
    }

    /// Lets objects come, go and change until they show these models.
    async fn show(&mut self, connection: &Connection, models: Vec<ModelInfo>) -> zbus::Result<()> {
        let server = connection.object_server();
        let gone: Vec<ModelName> = self.models.keys().filter(|name| models.iter().all(|m| m.name != **name)).cloned().collect();
        for name in gone {
            self.models.remove(&name);
            server.remove::<Model, _>(model_path(&name)).await?;
        }
        for info in models {
            let path = model_path(&info.name);
            match self.models.get(&info.name) {
                None => {
                    let show = watch::Sender::new(info.clone());
                    server.at(&path, Model::new(self.link.clone(), show.subscribe())).await?;
                    self.models.insert(info.name, show);
                }
                Some(show) => {
                    let before = show.send_replace(info);
                    let object = server.interface::<_, Model>(&path).await?;
                    object.get().await.tell_changes(&before, object.signal_emitter()).await?;
                }
            }
        }
        Ok(())
    }
}

async fn show_heat(connection: &Connection, told: crate::thermal::Heat) -> zbus::Result<crate::thermal::Heat> {
    let object = connection.object_server().interface::<_, Thermal>(MANAGER_PATH).await?;
    object.get().await.tell_changes(told, object.signal_emitter()).await
}
