//! Jobs: work that outlives the call that brought it.

use crate::client::{Options, PATIENCE, Returned, Stage, call, fault, limit, model, proxy, seven, tensor, until};
use futures_util::StreamExt;
use hearth_api::Reply;
use hearth_api::dbus::JOB_INTERFACE;
use hearth_tests::bus::bytes;
use zbus::{Connection, OwnedObjectPath, Proxy, Variant};

async fn submit(client: &Connection, name: &str, content_type: &str, payload: Vec<u8>) -> zbus::Result<Proxy<'static>> {
    let path: OwnedObjectPath =
        call(&model(client, name).await?, "Submit", &(content_type, Variant::from(payload), Options::new())).await?;
    proxy(client, path.as_str(), JOB_INTERFACE).await
}

#[tokio::test]
async fn a_job_tells_its_end_and_keeps_its_result() -> anyhow::Result<()> {
    let stage = Stage::set().await?;
    let client = stage.client().await?;
    let job = submit(&client, "slow", "application/json", tensor(&[1.0])).await?;
    let mut finished = job.receive_signal("Finished").await?;
    assert_eq!(job.get_property::<String>("State").await?, "running");
    let () = call(&job, "Cancel", &()).await?;
    let end = tokio::time::timeout(PATIENCE, finished.next()).await?.expect("a signal");
    assert_eq!(end.body().deserialize::<&str>()?, "cancelled");
    assert_eq!(job.get_property::<String>("State").await?, "cancelled");
    assert_eq!(fault(call::<_, Returned>(&job, "Result", &()).await).0, "Cancelled");

    let job = submit(&client, "digits", "image/png", seven()?).await?;
    for _ in 0..2 {
        let (_, result, _): Returned = call(&job, "Result", &()).await?;
        let reply: Reply = serde_json::from_slice(&bytes(result)?)?;
        assert_eq!(reply.model.as_str(), "digits");
    }
    assert_eq!(job.get_property::<String>("State").await?, "done");
    // An ended job goes when it is cancelled.
    let () = call(&job, "Cancel", &()).await?;
    until("the job's object goes", async || Ok(job.get_property::<String>("State").await.is_err())).await
}

#[tokio::test]
async fn a_job_is_its_callers_alone_and_goes_with_it() -> anyhow::Result<()> {
    let stage = Stage::set().await?;
    let (owner, other) = (stage.client().await?, stage.client().await?);
    let job = submit(&owner, "slow", "application/json", tensor(&[1.0])).await?;
    let seen = proxy(&other, job.path().as_str(), JOB_INTERFACE).await?;
    for method in ["Result", "Cancel"] {
        assert_eq!(fault(seen.call_method(method, &()).await).0, "Unauthorized", "{method}");
    }
    drop(job);
    owner.close().await?;
    until("the job goes with its caller", async || Ok(seen.get_property::<String>("State").await.is_err())).await
}

#[tokio::test]
async fn a_caller_has_at_most_sixty_four_jobs() -> anyhow::Result<()> {
    let stage = Stage::set().await?;
    let client = stage.client().await?;
    for _ in 0..64 {
        submit(&client, "slow", "application/json", tensor(&[1.0])).await?;
    }
    let (name, message, details) = fault(submit(&client, "slow", "application/json", tensor(&[1.0])).await);
    assert_eq!((name.as_str(), limit(&details)), ("Overloaded", Some(("jobs_per_caller".into(), 64))), "{message}");
    assert!(details.contains_key("retry_after_ms"));
    // Others have their own.
    submit(&stage.client().await?, "digits", "image/png", seven()?).await?;
    Ok(())
}
