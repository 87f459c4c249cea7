//! Without a bus: the same objects on a unix socket.

use crate::client::{Options, PATIENCE, call, faults, home, infer, model, objects, seven, tensor, until};
use futures_util::StreamExt;
use hearth_api::dbus::{JOB_INTERFACE, model_path};
use hearth_api::{ModelName, Reply};
use hearth_tests::bus::{bytes, sealed};
use hearth_tests::daemon::{Hearthd, Home};
use rustix::process::Signal;
use std::os::unix::net::UnixStream;
use zbus::{Connection, Fd, OwnedObjectPath, Variant};

fn start(home: &Home) -> anyhow::Result<Hearthd> {
    home.start(&format!("[dbus]\nbus = \"peer:{}\"\n", home.path("peer").display()))
}

async fn connect(home: &Home) -> anyhow::Result<Connection> {
    let mut stream = None;
    until("hearthd listens", async || {
        stream = UnixStream::connect(home.path("peer")).ok();
        Ok(stream.is_some())
    })
    .await?;
    Ok(zbus::connection::Builder::unix_stream(stream.expect("connected")).p2p().build().await?)
}

#[tokio::test]
async fn peers_have_the_same_objects_without_a_bus() -> anyhow::Result<()> {
    let home = home()?;
    let _daemon = start(&home)?;
    let (client, picture) = (connect(&home).await?, seven()?);
    let digits = model(&client, "digits").await?;
    for payload in [Variant::from(picture.clone()), Fd::from(sealed(&picture)?).into()] {
        let (_, result, _) = infer(&digits, "image/png", payload, Options::new()).await?;
        assert_eq!(serde_json::from_slice::<Reply>(&bytes(result)?)?.model.as_str(), "digits");
    }
    let managed = objects(&client).await?.get_managed_objects().await?;
    assert!(managed.keys().any(|path| path.as_str() == model_path(&ModelName::new("digits").expect("a name"))));
    // The same user may manage.
    let () = call(&digits, "Load", &(true,)).await?;
    until("it is pinned", async || Ok(digits.get_property::<bool>("Pinned").await?)).await
}

#[tokio::test]
async fn a_peer_that_leaves_cancels_its_work_and_others_go_on() -> anyhow::Result<()> {
    let home = home()?;
    let _daemon = start(&home)?;
    let (leaver, stayer) = (connect(&home).await?, connect(&home).await?);
    let slow = model(&leaver, "slow").await?;
    let path: OwnedObjectPath = call(&slow, "Submit", &("application/json", Variant::from(tensor(&[1.0])), Options::new())).await?;
    let job = crate::client::proxy(&leaver, path.as_str(), JOB_INTERFACE).await?;
    assert_eq!(job.get_property::<String>("State").await?, "running");
    drop((slow, job));
    leaver.close().await?;
    until("the work is cancelled", async || Ok(faults(&stayer, "cancelled").await? == 1)).await?;
    infer(&model(&stayer, "digits").await?, "image/png", seven()?.into(), Options::new()).await?;
    Ok(())
}

#[tokio::test]
async fn a_peer_hears_the_end_of_its_job() -> anyhow::Result<()> {
    let home = home()?;
    let _daemon = start(&home)?;
    let client = connect(&home).await?;
    let path: OwnedObjectPath =
        call(&model(&client, "slow").await?, "Submit", &("application/json", Variant::from(tensor(&[1.0])), Options::new())).await?;
    let job = crate::client::proxy(&client, path.as_str(), JOB_INTERFACE).await?;
    let mut finished = job.receive_signal("Finished").await?;
    let () = call(&job, "Cancel", &()).await?;
    let end = tokio::time::timeout(PATIENCE, finished.next()).await?.expect("a signal");
    assert_eq!(end.body().deserialize::<&str>()?, "cancelled");
    Ok(())
}

#[tokio::test]
async fn a_socket_that_a_killed_daemon_left_is_replaced() -> anyhow::Result<()> {
    let home = home()?;
    let mut killed = start(&home)?;
    connect(&home).await?.close().await?;
    killed.signal(Signal::KILL)?;
    killed.wait()?;
    assert!(home.path("peer").exists());
    let mut second = start(&home)?;
    infer(&model(&connect(&home).await?, "digits").await?, "image/png", seven()?.into(), Options::new()).await?;
    second.signal(Signal::TERM)?;
    assert!(second.wait()?.success());
    assert!(!home.path("peer").exists(), "a daemon that stops tidies up");
    Ok(())
}
