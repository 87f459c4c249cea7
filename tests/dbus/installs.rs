//! Installs of a language model: how far they are, how large it is, and whether it fits into memory.

use crate::client::{Options, PATIENCE, call, fault, hearthctl, limit, manager, model, printed, until, wait_for_name};
use anyhow::Context;
use futures_util::{FutureExt, StreamExt};
use hearth_tests::bus::{Bus, repository};
use hearth_tests::daemon::Home;
use std::fs::File;
use zbus::Variant;

const FILE: &str = "tests/peers/llm/fixtures/llama3-Q8_0.gguf";

#[tokio::test]
async fn who_installs_a_model_sees_how_far_it_is_and_how_large() -> anyhow::Result<()> {
    let (bus, home) = (Bus::start()?, Home::new()?);
    let _daemon = home.start(&format!("[dbus]\nbus = {:?}\n", bus.address()))?;
    let (client, other) = (bus.connect().await?, bus.connect().await?);
    wait_for_name(&client).await?;
    let (manager, others) = (manager(&client).await?, manager(&other).await?);
    let (mut news, mut overheard) = (manager.receive_signal("InstallProgress").await?, others.receive_signal("InstallProgress").await?);

    let file = File::open(repository(FILE))?;
    let bytes = file.metadata()?.len();
    let files = vec![("tiny-talker.gguf", Variant::from(zbus::Fd::from(&file)))];
    let installed: (String, String) = tokio::time::timeout(PATIENCE, call(&manager, "Install", &("", files, Options::new()))).await??;
    assert_eq!(installed.0, "tiny-talker");
    let mut stages = Vec::new();
    while let Some(message) = news.next().now_or_never().flatten() {
        let (stage, done, total): (String, u64, u64) = message.body().deserialize()?;
        assert!(done <= total, "{stage}: {done} of {total}");
        stages.push(stage);
    }
    // A stage that is over at once may not be told.
    let known = ["copying", "verifying", "repacking", "checking"];
    let places: Vec<Option<usize>> = stages.iter().map(|stage| known.iter().position(|name| name == stage)).collect();
    assert!(!places.is_empty() && places.iter().all(Option::is_some) && places.is_sorted(), "{stages:?}");
    assert!(overheard.next().now_or_never().is_none(), "progress is told to its caller alone");

    let size: (u64, u64, u64, f64) = model(&client, "tiny-talker").await?.get_property("Size").await?;
    assert!(size.0 == bytes && size.1 > 0 && size.2 > 0 && (8.5..9.0).contains(&size.3), "{size:?}");
    let shown = printed(&hearthctl(&bus, &["model", "show", "tiny-talker"])?);
    assert!(shown.contains("bits a weight; repacked"), "{shown}");
    Ok(())
}

#[tokio::test]
async fn a_language_model_that_does_not_fit_is_refused_with_what_would() -> anyhow::Result<()> {
    let (bus, home, folder) = (Bus::start()?, Home::new()?, tempfile::tempdir()?);
    let section = |models: &str| format!("preload = false\n{models}\n[dbus]\nbus = {:?}\n", bus.address());
    let client = bus.connect().await?;
    let manifest = "name = \"talker\"\nversion = \"1\"\nfile = \"talker.gguf\"\n\n[task]\nkind = \"chat\"\n";
    std::fs::write(folder.path().join("manifest.toml"), format!("{manifest}cache = 65536\n"))?;
    std::fs::copy(repository(FILE), folder.path().join("talker.gguf"))?;

    let daemon = home.start(&section("memory_mb = 1"))?;
    wait_for_name(&client).await?;
    let added = hearthctl(&bus, &["model", "add", &folder.path().to_string_lossy()])?;
    let warned = String::from_utf8_lossy(&added.stderr);
    assert!(added.status.success() && warned.contains("cannot be loaded") && warned.contains("would fit"), "{added:?}");
    let talker = model(&client, "talker").await?;
    let (name, message, details) = fault(call::<_, ()>(&talker, "Load", &(false,)).await);
    assert_eq!(name, "ModelFailed");
    assert_eq!(limit(&details), Some(("models_memory_bytes".into(), 1 << 20)));
    for told in ["for its weights", "keys and values of", "to compute with", "models.memory_mb", "models.overcommit"] {
        assert!(message.contains(told), "no {told:?} in {message}");
    }

    // What would fit, does.
    let installed = home.store().join("talker/1/manifest.toml");
    let tokens = message.split_once("context = ").and_then(|(_, rest)| rest.split_once(' ')).context("what would fit")?.0;
    std::fs::write(&installed, format!("{manifest}context = {tokens}\ncache = {tokens}\n"))?;
    let () = call(&manager(&client).await?, "Rescan", &()).await?;
    let () = tokio::time::timeout(PATIENCE, call(&talker, "Load", &(false,))).await??;
    drop(daemon);
    std::fs::copy(folder.path().join("manifest.toml"), &installed)?;

    // Asked for, it is loaded all the same.
    let _daemon = home.start(&section("memory_mb = 1\novercommit = [\"talker\"]"))?;
    wait_for_name(&client).await?;
    let talker = model(&client, "talker").await?;
    let () = tokio::time::timeout(PATIENCE, call(&talker, "Load", &(false,))).await??;
    until("the model is ready", async || Ok(talker.get_property::<String>("State").await? == "ready")).await?;
    assert!(talker.get_property::<u64>("MemoryBytes").await? > 1 << 20);
    Ok(())
}

#[tokio::test]
async fn a_template_that_runs_for_ever_is_found_before_anyone_talks() -> anyhow::Result<()> {
    let (bus, home) = (Bus::start()?, Home::new()?);
    let _daemon = home.start(&format!("[dbus]\nbus = {:?}\n", bus.address()))?;
    let client = bus.connect().await?;
    wait_for_name(&client).await?;
    let mut file = std::fs::read(repository(FILE))?;
    // As long as the template that it takes the place of.
    let (begins, ends) = (b"{{ bos_token }}{% for", b"{% endif %}");
    let begin = file.windows(begins.len()).position(|bytes| bytes == begins).context("the template")?;
    let length = file[begin..].windows(ends.len()).position(|bytes| bytes == ends).context("its end")? + ends.len();
    let mut endless = b"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}".to_vec();
    assert!(endless.len() <= length);
    endless.resize(length, b' ');
    file[begin..begin + length].copy_from_slice(&endless);

    let files = vec![("endless.gguf", Variant::from(file))];
    let (name, message, _) = fault(call::<_, (String, String)>(&manager(&client).await?, "Install", &("", files, Options::new())).await);
    assert!(name == "ModelFailed" && message.contains("it cannot be greeted"), "{name}: {message}");
    Ok(())
}
