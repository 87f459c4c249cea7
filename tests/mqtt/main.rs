//! The MQTT door from outside: the real daemon on a real mosquitto, asked by real clients.

mod answers;
mod boxes;
mod connection;
mod delivery;
mod faults;
mod foreman;
mod others;
mod secure;
mod state;
mod talker;
mod talks;
mod texts;

use hearth_tests::broker::Broker;
use hearth_tests::client::{self, Client};
use hearth_tests::daemon::{Hearthd, Home};
use hearth_tests::onnx;

/// A daemon called `test` with the models `negate`, which is quick, and `steady`, which takes most of a second, and its broker.
struct Site {
    daemon: Hearthd,
    home: Home,
    broker: Broker,
}

impl Site {
    /// With more lines in either configuration.
    async fn with(mosquitto: &str, hearthd: &str) -> anyhow::Result<Site> {
        let broker = Broker::start(mosquitto)?;
        let home = home()?;
        let daemon = home.start(&(broker.section() + hearthd))?;
        client::online(broker.port()).await?;
        Ok(Site { daemon, home, broker })
    }

    async fn new() -> anyhow::Result<Site> {
        Site::with("", "").await
    }

    /// A client that hears its answers.
    async fn client(&self) -> anyhow::Result<Client> {
        let mut client = Client::connect(self.broker.port(), "client").await?;
        client.subscribe("hearth/reply/#").await?;
        Ok(client)
    }
}

/// A folder with the models.
fn home() -> anyhow::Result<Home> {
    let home = Home::new()?;
    home.put("negate", "1.0", onnx::negate)?;
    home.put("steady", "1.0", onnx::steady)?;
    Ok(home)
}
