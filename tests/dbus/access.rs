//! Who may do what, how much of it, and what ends when a caller leaves.

use crate::client::{
    Options, PATIENCE, Stage, call, fault, faults, home, infer, limit, manager, model, objects, seven, tensor, until, wait_for_name,
};
use futures_util::StreamExt;
use hearth_api::ModelName;
use hearth_api::dbus::{MODEL_INTERFACE, model_path};
use hearth_tests::bus::{Bus, CLOSED, repository};
use hearth_tests::onnx;
use std::collections::HashMap;
use std::fs::File;
use zbus::{Fd, Variant};

#[tokio::test]
async fn a_caller_that_leaves_the_bus_cancels_its_work() -> anyhow::Result<()> {
    let stage = Stage::set().await?;
    let (leaver, watcher) = (stage.client().await?, stage.client().await?);
    let slow = model(&leaver, "slow").await?;
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let slow = slow.clone();
            tokio::spawn(async move { infer(&slow, "application/json", tensor(&[1.0]).into(), Options::new()).await })
        })
        .collect();
    until("the calls are pending", async || Ok(received(&watcher).await? >= 8)).await?;
    leaver.close().await?;
    until("the work is cancelled", async || Ok(faults(&watcher, "cancelled").await? >= 8)).await?;
    calls.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(())
}

async fn received(client: &zbus::Connection) -> anyhow::Result<u64> {
    let stats: HashMap<String, zbus::OwnedVariant> = manager(client).await?.call("GetStats", &()).await?;
    Ok(u64::try_from(&*stats["received"])?)
}

#[tokio::test]
async fn the_sixty_fifth_pending_call_is_refused() -> anyhow::Result<()> {
    let stage = Stage::set().await?;
    let (client, other) = (stage.client().await?, stage.client().await?);
    let slow = model(&client, "slow").await?;
    let mut calls = futures_util::stream::FuturesUnordered::new();
    for _ in 0..65 {
        let slow = slow.clone();
        calls.push(async move { infer(&slow, "application/json", tensor(&[1.0]).into(), Options::new()).await });
    }
    let first = tokio::time::timeout(PATIENCE, calls.next()).await?.expect("a call");
    let (name, message, details) = fault(first);
    assert_eq!((name.as_str(), limit(&details)), ("Overloaded", Some(("calls_per_caller".into(), 64))), "{message}");
    // Another caller is served meanwhile.
    infer(&model(&other, "digits").await?, "image/png", seven()?.into(), Options::from([("priority", Variant::from("high"))])).await?;
    Ok(())
}

#[tokio::test]
async fn objects_come_and_go_with_the_models() -> anyhow::Result<()> {
    let stage = Stage::set().await?;
    let client = stage.client().await?;
    let manager = manager(&client).await?;
    let () = call(&manager, "Remove", &("negate", "")).await?;
    let negate = model_path(&ModelName::new("negate")?);
    let managed = objects(&client).await?;
    until("negate has gone", async || Ok(!managed.get_managed_objects().await?.keys().any(|path| path.as_str() == negate))).await?;

    let (mut added, mut removed) = (managed.receive_interfaces_added().await?, managed.receive_interfaces_removed().await?);
    let folder = tempfile::tempdir()?;
    onnx::negate(folder.path())?;
    // As for payloads: bytes, or a descriptor.
    let (manifest, onnx) = (std::fs::read(folder.path().join("manifest.toml"))?, File::open(folder.path().join("model.onnx"))?);
    let files = vec![("manifest.toml", Variant::from(manifest)), ("model.onnx", Variant::from(Fd::from(std::os::fd::OwnedFd::from(onnx))))];
    let installed: (String, String) = call(&manager, "Install", &("", files, Options::new())).await?;
    assert_eq!(installed, ("negate".into(), "1.0".into()));
    let signal = tokio::time::timeout(PATIENCE, added.next()).await?.expect("a signal");
    let signal = signal.args()?;
    assert_eq!(signal.object_path().as_str(), negate);
    assert!(signal.interfaces_and_properties().keys().any(|interface| interface.as_str() == MODEL_INTERFACE));
    infer(&model(&client, "negate").await?, "application/json", tensor(&[1.0]).into(), Options::new()).await?;

    let () = call(&manager, "Remove", &("negate", "1.0")).await?;
    let signal = tokio::time::timeout(PATIENCE, removed.next()).await?.expect("a signal");
    assert_eq!(signal.args()?.object_path().as_str(), negate);
    Ok(())
}

#[tokio::test]
async fn a_change_of_a_model_is_told() -> anyhow::Result<()> {
    let stage = Stage::set().await?;
    let client = stage.client().await?;
    let negate = model(&client, "negate").await?;
    let properties = zbus::fdo::PropertiesProxy::builder(&client)
        .destination(negate.destination().to_owned())
        .path(negate.path().to_owned())
        .build()
        .await?;
    let mut changes = properties.receive_properties_changed().await?;
    let () = call(&negate, "Load", &(true,)).await?;
    tokio::time::timeout(PATIENCE, async {
        while let Some(change) = changes.next().await {
            let change = change.args()?;
            if change.changed_properties().get("Pinned").is_some_and(|pinned| *pinned == Variant::Bool(true)) {
                return Ok(());
            }
        }
        anyhow::bail!("the bus went away")
    })
    .await??;
    until("it is ready", async || Ok(negate.get_property::<String>("State").await? == "ready")).await?;
    let () = call(&negate, "Unload", &()).await?;
    until("it is not pinned any more", async || Ok(!negate.get_property::<bool>("Pinned").await?)).await
}

/// The shipped policy, for the user and group that run the test.
fn shipped_policy() -> anyhow::Result<String> {
    let policy = std::fs::read_to_string(repository("systemd/dbus-1/system.d/org.hearthd.Inference1.conf"))?;
    let me = rustix::process::geteuid().as_raw().to_string();
    let policy = policy
        .replace("user=\"hearth\"", &format!("user=\"{me}\""))
        .replace("group=\"hearth\"", &format!("group=\"{}\"", rustix::process::getegid().as_raw()));
    let (begin, end) = (policy.find("<busconfig>").expect("a busconfig"), policy.find("</busconfig>").expect("its end"));
    Ok(policy[begin + "<busconfig>".len()..end].to_owned())
}

#[tokio::test]
async fn the_shipped_policy_lets_the_daemon_and_its_callers_in() -> anyhow::Result<()> {
    let (bus, home) = (Bus::with(&format!("{CLOSED}{}", shipped_policy()?))?, home()?);
    let _daemon = home.start(&format!("[dbus]\nbus = {:?}\n", bus.address()))?;
    let client = bus.connect().await?;
    wait_for_name(&client).await?;
    infer(&model(&client, "digits").await?, "image/png", seven()?.into(), Options::new()).await?;
    Ok(())
}
