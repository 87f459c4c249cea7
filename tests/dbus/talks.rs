//! Chat: a job and a pipe of lines. What the pipe does does not depend on the model, so most of it is asked of small ones.

use crate::client::{Options, PATIENCE, Stage, call, fault, faults, hearthctl, model, proxy, tensor, until};
use anyhow::Context;
use hearth_api::dbus::JOB_INTERFACE;
use hearth_api::{FaultBody, FaultKind, Reply};
use hearth_tests::bus::sealed;
use std::os::fd::OwnedFd;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use zbus::{Connection, Fd, OwnedObjectPath, Proxy, Variant};

/// Calls Chat; gives the job's object and the pipe.
async fn chat(
    client: &Connection,
    name: &str,
    content_type: &str,
    payload: impl Into<Variant<'_>>,
) -> zbus::Result<(Proxy<'static>, OwnedFd)> {
    let arguments = (content_type, payload.into(), Options::new());
    let (job, pipe): (OwnedObjectPath, zbus::OwnedFd) = call(&model(client, name).await?, "Chat", &arguments).await?;
    Ok((proxy(client, job.as_str(), JOB_INTERFACE).await?, pipe.into()))
}

/// Waits until the job's object goes.
async fn gone(job: &Proxy<'_>) -> anyhow::Result<()> {
    until("the job's object goes", async || Ok(job.get_property::<String>("State").await.is_err())).await
}

/// Every line of the pipe, up to its end.
async fn lines(pipe: OwnedFd) -> anyhow::Result<Vec<String>> {
    let mut text = String::new();
    let mut pipe = pipe::Receiver::from_owned_fd(pipe)?;
    tokio::time::timeout(PATIENCE, pipe.read_to_string(&mut text)).await.context("the pipe does not end")??;
    Ok(text.lines().map(str::to_owned).collect())
}

#[tokio::test]
async fn the_last_line_is_the_reply_and_the_job_goes_with_it() -> anyhow::Result<()> {
    let stage = Stage::set().await?;
    let client = stage.client().await?;
    let big = format!("{}{}", String::from_utf8(tensor(&[3.0]))?, " ".repeat(17_000));
    for payload in [Variant::from(tensor(&[3.0])), Variant::from(Fd::from(sealed(big.as_bytes())?))] {
        let (job, pipe) = chat(&client, "negate", "", payload).await?;
        let told = lines(pipe).await?;
        assert_eq!(told.len(), 1, "{told:?}");
        let reply: Reply = serde_json::from_str(&told[0])?;
        assert_eq!(reply.model.as_str(), "negate");
        gone(&job).await?;
    }
    // So a caller may have any number of talks, one after the other.
    for _ in 0..70 {
        lines(chat(&client, "negate", "", tensor(&[3.0])).await?.1).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_last_line_is_the_fault_where_there_is_no_reply() -> anyhow::Result<()> {
    let stage = Stage::set().await?;
    let client = stage.client().await?;
    let (job, pipe) = chat(&client, "negate", "", "not its kind of payload".as_bytes().to_vec()).await?;
    let lines = lines(pipe).await?;
    let body: FaultBody = serde_json::from_str(&lines[0])?;
    assert_eq!((lines.len(), body.fault.kind), (1, FaultKind::BadRequest), "{lines:?}");
    assert_eq!((body.model.as_ref().map(|m| m.as_str()), body.id.is_some()), (Some("negate"), true));
    gone(&job).await?;

    let (name, message, _) = fault(chat(&client, "negate", "image/png", vec![1u8]).await.map(|_| ()));
    assert!(name == "BadRequest" && message.contains("application/json or text/plain"), "{message}");
    Ok(())
}

#[tokio::test]
async fn a_talk_ends_when_it_is_cancelled_its_pipe_closed_or_its_caller_gone() -> anyhow::Result<()> {
    let stage = Stage::set().await?;
    let (client, watch) = (stage.client().await?, stage.client().await?);
    let slow = || chat(&client, "slow", "", tensor(&[1.0]));
    let (job, pipe) = slow().await?;
    let () = call(&job, "Cancel", &()).await?;
    let body: FaultBody = serde_json::from_str(&lines(pipe).await?[0])?;
    assert_eq!(body.fault.kind, FaultKind::Cancelled);

    let (job, pipe) = slow().await?;
    drop(pipe);
    gone(&job).await?;
    until("a closed pipe cancels", async || Ok(faults(&watch, "cancelled").await? == 2)).await?;

    let (job, pipe) = slow().await?;
    let seen = proxy(&watch, job.path().as_str(), JOB_INTERFACE).await?;
    drop(job);
    client.close().await?;
    gone(&seen).await?;
    let body: FaultBody = serde_json::from_str(&lines(pipe).await?[0])?;
    assert_eq!(body.fault.kind, FaultKind::Cancelled);
    Ok(())
}

#[tokio::test]
async fn hearthctl_says_why_a_model_does_not_talk() -> anyhow::Result<()> {
    let stage = Stage::set().await?;
    for (model, says) in [("digits", "digits does not talk, its task is classify"), ("llama", "no model is called llama")] {
        let output = hearthctl(&stage.bus, &["chat", model, "lamp on"])?;
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(says), "{error}");
    }
    Ok(())
}
