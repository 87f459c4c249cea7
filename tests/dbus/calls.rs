//! Inference by one call, and what is wrong with a call.

use crate::client::{Options, Stage, fault, home, infer, limit, manager, model, seven, tensor, until, wait_for_name};
use hearth_api::dbus::INLINE_BYTES;
use hearth_api::tensor::Tensor;
use hearth_api::{Answer, Reply};
use hearth_tests::bus::{Bus, bytes, memfd, sealed};
use rustix::fs::SealFlags;
use rustix::process::Signal;
use std::collections::HashMap;
use zbus::{Fd, OwnedObjectPath, OwnedVariant, Variant};

#[tokio::test]
async fn a_picture_is_answered_by_bytes_and_by_sealed_memfd() -> anyhow::Result<()> {
    let stage = Stage::set().await?;
    let (client, picture) = (stage.client().await?, seven()?);
    let digits = model(&client, "digits").await?;
    for (content_type, payload) in [
        ("image/png", Variant::from(picture.clone())),
        ("", Variant::from(picture.clone())),
        ("image/png", Variant::from(Fd::from(sealed(&picture)?))),
    ] {
        let options = Options::from([("id", Variant::from("press-7")), ("priority", Variant::from("high"))]);
        let (result_type, result, info) = infer(&digits, content_type, payload, options).await?;
        assert_eq!(result_type, "application/json");
        let reply: Reply = serde_json::from_slice(&bytes(result)?)?;
        let Answer::Labels { labels } = &reply.answer else { panic!("{reply:?}") };
        assert_eq!((labels[0].label.as_str(), reply.id.as_str()), ("7", "press-7"));
        assert_eq!((<&str>::try_from(&*info["id"])?, u32::try_from(&*info["batch"])?), ("press-7", reply.batch));
        assert_eq!(u64::try_from(&*info["computed_us"])?, reply.timings.computed_us);
    }
    Ok(())
}

#[tokio::test]
async fn large_tensors_go_both_ways_as_sealed_memfds() -> anyhow::Result<()> {
    let stage = Stage::set().await?;
    let client = stage.client().await?;
    let negate = model(&client, "negate").await?;
    let elements: Vec<f32> = (0..INLINE_BYTES).map(|i| i as f32).collect();
    let x = Tensor::from_f32("x", vec![1, elements.len()], &elements);
    let (payload, header) = hearth_api::tensor::to_binary(serde_json::Map::new(), std::slice::from_ref(&x));
    // The request says inputs where an answer says outputs.
    let payload = String::from_utf8_lossy(&payload[..header])
        .replacen("outputs", "inputs", 1)
        .into_bytes()
        .into_iter()
        .chain(payload[header..].iter().copied());
    let payload: Vec<u8> = payload.collect();
    let options = Options::from([("header_length", Variant::from(header as u64 - 1))]);
    let (result_type, result, info) = infer(&negate, "application/octet-stream", Fd::from(sealed(&payload)?).into(), options).await?;
    assert_eq!(result_type, "application/octet-stream");
    assert!(matches!(*result, Variant::Fd(_)), "over {INLINE_BYTES} bytes");
    let (result, header) = (bytes(result)?, u64::try_from(&*info["header_length"])? as usize);
    let head: serde_json::Value = serde_json::from_slice(&result[..header])?;
    assert_eq!(head["outputs"][0]["name"], "y");
    let y: Vec<f32> = result[header..].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four"))).collect();
    assert_eq!(y, elements.iter().map(|e| -e).collect::<Vec<f32>>());
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_with_a_call_is_a_named_error() -> anyhow::Result<()> {
    let stage = Stage::set().await?;
    let client = stage.client().await?;
    let digits = model(&client, "digits").await?;
    let all = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW;
    let (plain, growing, huge) = (memfd(b"x", SealFlags::empty())?, memfd(b"x", all - SealFlags::GROW)?, memfd(&[0; 100], all)?);
    rustix::fs::ftruncate(&memfd(b"", SealFlags::empty())?, 0)?;
    let unsealed = "F_SEAL_WRITE, F_SEAL_SHRINK, F_SEAL_GROW missing";
    let none = Options::new;
    for (payload, content_type, options, name, says) in [
        (Variant::from(Fd::from(&plain)), "image/png", none(), "BadRequest", unsealed),
        (Variant::from(Fd::from(&growing)), "image/png", none(), "BadRequest", "F_SEAL_GROW missing"),
        (Variant::from(Fd::from(&huge)), "image/png", none(), "BadRequest", "image/png"),
        (Variant::from(vec![0u8; INLINE_BYTES + 1]), "image/png", none(), "TooLarge", "travels as h"),
        (Variant::from("text"), "text/plain", none(), "BadRequest", "variant of s"),
        (Variant::from(vec![1u8]), "video/mp4", none(), "BadRequest", "video/mp4"),
        (Variant::from(vec![1u8]), "", none(), "BadRequest", "send a content type"),
        (Variant::from(vec![1u8]), "image/png", Options::from([("speed", Variant::from(1u8))]), "BadRequest", "\"speed\" is not known"),
        (Variant::from(vec![1u8]), "image/png", Options::from([("timeout_ms", Variant::from(0u32))]), "BadRequest", "timeout_ms"),
        (
            Variant::from(vec![1u8]),
            "image/png",
            Options::from([("header_length", Variant::from(1u32))]),
            "BadRequest",
            "header_length belongs to",
        ),
        (Variant::from(Vec::<u8>::new()), "image/png", none(), "BadRequest", ""),
    ] {
        let (found, message, details) = fault(infer(&digits, content_type, payload, options).await);
        assert_eq!(found, name, "{message}");
        assert!(message.contains(says), "{message}");
        let kind = <&str>::try_from(&*details["kind"])?;
        assert_eq!(kind, if name == "TooLarge" { "too-large" } else { "bad-request" });
        assert_eq!(<&str>::try_from(&*details["whose"])?, "caller");
    }
    let (_, _, details) = fault(infer(&digits, "image/png", vec![0u8; INLINE_BYTES + 1].into(), none()).await);
    assert_eq!(limit(&details), Some(("inline_bytes".into(), INLINE_BYTES as u64)));
    Ok(())
}

#[tokio::test]
async fn a_payload_over_the_limit_is_refused_before_it_is_read() -> anyhow::Result<()> {
    let (bus, home) = (Bus::start()?, home()?);
    let _daemon = home.start(&format!("[dbus]\nbus = {:?}\n[limits]\npayload_kb = 64\n", bus.address()))?;
    let client = bus.connect().await?;
    wait_for_name(&client).await?;
    let (name, message, details) =
        fault(infer(&model(&client, "digits").await?, "image/png", Fd::from(sealed(&[0; 65_537])?).into(), Options::new()).await);
    assert_eq!((name.as_str(), limit(&details)), ("TooLarge", Some(("payload_bytes".into(), 65_536))), "{message}");
    Ok(())
}

#[tokio::test]
async fn a_deadline_passes_before_the_bus_gives_up() -> anyhow::Result<()> {
    let stage = Stage::set().await?;
    let client = stage.client().await?;
    let slow = model(&client, "slow").await?;
    // The first is at work for seconds; the second waits behind it.
    let ahead = tokio::spawn({
        let slow = slow.clone();
        async move { infer(&slow, "application/json", tensor(&[1.0]).into(), Options::new()).await }
    });
    let options = Options::from([("timeout_ms", Variant::from(300u32))]);
    let (name, message, _) = fault(infer(&slow, "application/json", tensor(&[1.0]).into(), options).await);
    assert_eq!(name, "DeadlineExceeded", "{message}");
    ahead.abort();
    Ok(())
}

#[tokio::test]
async fn a_caller_withdraws_its_own_request_by_id_and_nobody_else_does() -> anyhow::Result<()> {
    let stage = Stage::set().await?;
    let (client, other) = (stage.client().await?, stage.client().await?);
    let slow = model(&client, "slow").await?;
    let mine = tokio::spawn(async move {
        infer(&slow, "application/json", tensor(&[1.0]).into(), Options::from([("id", Variant::from("mine"))])).await
    });
    let (manager, stranger) = (manager(&client).await?, manager(&other).await?);
    until("the request is known by its id", async || {
        let from_stranger: bool = stranger.call("Cancel", &("mine",)).await?;
        assert!(!from_stranger);
        Ok(manager.call::<_, _, bool>("Cancel", &("mine",)).await?)
    })
    .await?;
    let (name, message, _) = fault(mine.await?);
    assert_eq!(name, "Cancelled", "{message}");
    Ok(())
}

#[tokio::test]
async fn pending_calls_are_told_that_the_daemon_stops() -> anyhow::Result<()> {
    let mut stage = Stage::set().await?;
    let client = stage.client().await?;
    let slow = model(&client, "slow").await?;
    let calls: Vec<_> = (0..4)
        .map(|_| {
            let slow = slow.clone();
            tokio::spawn(async move { infer(&slow, "application/json", tensor(&[1.0]).into(), Options::new()).await })
        })
        .collect();
    until("the calls are pending", async || {
        let stats: HashMap<String, OwnedVariant> = manager(&client).await?.call("GetStats", &()).await?;
        Ok(u64::try_from(&*stats["received"])? >= 4)
    })
    .await?;
    stage.daemon.signal(Signal::TERM)?;
    for call in calls {
        match call.await? {
            Ok(_) => {}
            failed => assert_eq!(fault(failed).0, "Cancelled"),
        }
    }
    assert!(stage.daemon.wait()?.success());
    Ok(())
}

#[tokio::test]
async fn the_daemon_comes_back_to_a_bus_that_was_restarted() -> anyhow::Result<()> {
    let mut stage = Stage::set().await?;
    stage.bus.restart()?;
    let client = stage.client().await?;
    wait_for_name(&client).await?;
    infer(&model(&client, "digits").await?, "image/png", seven()?.into(), Options::new()).await?;
    Ok(())
}

#[tokio::test]
async fn the_manager_lists_what_is_installed() -> anyhow::Result<()> {
    let stage = Stage::set().await?;
    let client = stage.client().await?;
    let models: Vec<(OwnedObjectPath, String, String, String)> = manager(&client).await?.call("ListModels", &()).await?;
    let listed: Vec<(&str, &str, &str)> =
        models.iter().map(|(path, name, version, _)| (path.as_str(), name.as_str(), version.as_str())).collect();
    assert_eq!(
        listed,
        [
            ("/org/hearthd/Inference1/model/digits", "digits", "1.0.0"),
            ("/org/hearthd/Inference1/model/negate", "negate", "1.0"),
            ("/org/hearthd/Inference1/model/parts", "parts", "1.0.0"),
            ("/org/hearthd/Inference1/model/slow", "slow", "1.0"),
        ]
    );
    Ok(())
}
