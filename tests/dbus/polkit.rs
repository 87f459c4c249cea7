//! Managing models on the system bus: polkit decides for everybody but root and the daemon's own user.

use crate::client::{call, home, manager, wait_for_name};
use hearth_api::dbus::{BUS_NAME, MANAGER_INTERFACE, MANAGER_PATH};
use hearth_tests::bus::{Bus, OPEN};
use std::collections::HashMap;
use std::process::Output;
use std::sync::{Arc, Mutex};
use zbus::{Connection, OwnedVariant};

/// Stands in for polkitd: answers as it is told, and keeps what it was asked.
struct Authority {
    consents: Arc<Mutex<bool>>,
    asked: Arc<Mutex<Vec<(String, u32)>>>,
}

type Subject = (String, HashMap<String, OwnedVariant>);
type Answer = ((bool, bool, HashMap<String, String>),);

#[zbus::interface(name = "org.freedesktop.PolicyKit1.Authority")]
impl Authority {
    async fn check_authorization(
        &self,
        subject: Subject,
        action: String,
        _details: HashMap<String, String>,
        flags: u32,
        _cancel: String,
    ) -> Answer {
        assert_eq!(subject.0, "system-bus-name");
        assert!(<&str>::try_from(&*subject.1["name"]).expect("a name").starts_with(':'));
        self.asked.lock().expect("unpoisoned").push((action, flags));
        ((*self.consents.lock().expect("unpoisoned"), false, HashMap::new()),)
    }
}

/// Calls Rescan as `nobody`.
async fn rescan_as_nobody(bus: &Bus, interactive: bool) -> anyhow::Result<Output> {
    let address = format!("--address={}", bus.address());
    let interactive = format!("--allow-interactive-authorization={interactive}");
    let command = ["--reuid=65534", "--regid=65534", "--clear-groups", "busctl", &address, &interactive];
    let call = ["call", BUS_NAME, MANAGER_PATH, MANAGER_INTERFACE, "Rescan"];
    // The authority answers from this very thread.
    let mut nobody = tokio::process::Command::from(bus.command("setpriv"));
    Ok(nobody.args(command).args(call).output().await?)
}

#[tokio::test]
async fn polkit_decides_who_else_may_manage_models() -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        println!("only root can call as another user: nothing was tried");
        return Ok(());
    }
    let (bus, home) = (Bus::with(&OPEN.replace("<allow own", "<allow user=\"*\"/>\n    <allow own"))?, home()?);
    let _daemon = home.start_with("[dbus]\nbus = \"system\"\n", |command| command.env("DBUS_SYSTEM_BUS_ADDRESS", bus.address()))?;
    let client = bus.connect().await?;
    wait_for_name(&client).await?;
    let stderr = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();

    let refused = rescan_as_nobody(&bus, false).await?;
    assert!(!refused.status.success() && stderr(&refused).contains("polkit could not be asked"), "{refused:?}");

    let (consents, asked) = (Arc::new(Mutex::new(false)), Arc::new(Mutex::new(Vec::new())));
    let authority = Authority { consents: consents.clone(), asked: asked.clone() };
    let _polkit: Connection = zbus::connection::Builder::address(bus.address().as_str())
        .serve_at("/org/freedesktop/PolicyKit1/Authority", authority)
        .name("org.freedesktop.PolicyKit1")
        .build()
        .await?;
    let refused = rescan_as_nobody(&bus, false).await?;
    assert!(!refused.status.success() && stderr(&refused).contains("org.hearthd.manage-models"), "{refused:?}");
    *consents.lock().expect("unpoisoned") = true;
    let allowed = rescan_as_nobody(&bus, true).await?;
    assert!(allowed.status.success(), "{allowed:?}");
    let action = "org.hearthd.manage-models".to_owned();
    assert_eq!(*asked.lock().expect("unpoisoned"), [(action.clone(), 0), (action, 1)]);

    // Root is not asked about.
    let () = call(&manager(&client).await?, "Rescan", &()).await?;
    assert_eq!(asked.lock().expect("unpoisoned").len(), 2);
    Ok(())
}
