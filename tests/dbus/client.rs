//! A client of the door, as any program would write it.

use anyhow::{Context, bail};
use hearth_api::ModelName;
use hearth_api::dbus::{BUS_NAME, MANAGER_INTERFACE, MANAGER_PATH, MODEL_INTERFACE, ROOT_PATH, model_path};
use hearth_tests::bus::{Bus, repository};
use hearth_tests::daemon::{Hearthd, Home, program};
use hearth_tests::onnx;
use std::collections::HashMap;
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use zbus::proxy::CacheProperties;
use zbus::{Connection, DynamicType, OwnedVariant, Proxy, Variant};

/// A dictionary of options.
pub(crate) type Options<'a> = HashMap<&'a str, Variant<'a>>;
/// What Infer and Result return.
pub(crate) type Returned = (String, OwnedVariant, HashMap<String, OwnedVariant>);

/// How long the tests wait for what is sure to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A bus with a daemon that serves `digits`, `parts`, `negate` and `slow`.
pub(crate) struct Stage {
    pub(crate) daemon: Hearthd,
    pub(crate) bus: Bus,
    _home: Home,
}

/// A home with the models of the tests in its store.
pub(crate) fn home() -> anyhow::Result<Home> {
    let home = Home::new()?;
    home.put("negate", "1.0", onnx::negate)?;
    home.put("slow", "1.0", onnx::slow)?;
    home.put_bundled("digits")?;
    home.put_bundled("parts")?;
    Ok(home)
}

/// The picture of a seven.
pub(crate) fn seven() -> anyhow::Result<Vec<u8>> {
    Ok(std::fs::read(repository("models/bundled/digits/samples/7-0.png"))?)
}

/// A picture of parts.
pub(crate) fn parts() -> anyhow::Result<Vec<u8>> {
    Ok(std::fs::read(repository("models/bundled/parts/samples/00.png"))?)
}

impl Stage {
    /// Starts it, and waits until the daemon has its name.
    pub(crate) async fn set() -> anyhow::Result<Stage> {
        let (bus, home) = (Bus::start()?, home()?);
        // The first lines belong to [models]. Loading `slow` takes seconds, which nobody who does not ask for it waits for.
        let daemon = home.start(&format!(
            "preload = false\npinned = [\"digits\"]\n[limits]\nshutdown_seconds = 1\n[dbus]\nbus = {:?}\n",
            bus.address()
        ))?;
        let stage = Stage { daemon, bus, _home: home };
        wait_for_name(&stage.bus.connect().await?).await?;
        Ok(stage)
    }

    /// A client of its own.
    pub(crate) async fn client(&self) -> anyhow::Result<Connection> {
        self.bus.connect().await
    }
}

/// Waits until somebody owns the daemon's name.
pub(crate) async fn wait_for_name(connection: &Connection) -> anyhow::Result<()> {
    let bus = zbus::fdo::DBusProxy::new(connection).await?;
    let mut changes = bus.receive_name_owner_changed_with_args(&[(0, BUS_NAME)]).await?;
    if bus.name_has_owner(BUS_NAME.try_into()?).await? {
        return Ok(());
    }
    tokio::time::timeout(PATIENCE, async {
        while let Some(change) = futures_util::StreamExt::next(&mut changes).await {
            if change.args()?.new_owner().is_some() {
                return Ok(());
            }
        }
        bail!("the bus went away")
    })
    .await
    .context("hearthd did not come to the bus")?
}

/// A proxy that asks each time.
pub(crate) async fn proxy(connection: &Connection, path: &str, interface: &'static str) -> zbus::Result<Proxy<'static>> {
    zbus::proxy::Builder::new(connection)
        .destination(BUS_NAME)
        .path(path.to_owned())
        .interface(interface)
        .cache_properties(CacheProperties::No)
        .build()
        .await
}

/// A model's object.
pub(crate) async fn model(connection: &Connection, name: &str) -> zbus::Result<Proxy<'static>> {
    proxy(connection, &model_path(&ModelName::new(name).expect("a name of the tests")), MODEL_INTERFACE).await
}

/// The manager's object.
pub(crate) async fn manager(connection: &Connection) -> zbus::Result<Proxy<'static>> {
    proxy(connection, MANAGER_PATH, MANAGER_INTERFACE).await
}

/// The object manager.
pub(crate) async fn objects(connection: &Connection) -> zbus::Result<zbus::fdo::ObjectManagerProxy<'static>> {
    zbus::fdo::ObjectManagerProxy::builder(connection).destination(BUS_NAME).path(ROOT_PATH).build().await
}

/// Calls Infer.
pub(crate) async fn infer(model: &Proxy<'_>, content_type: &str, payload: Variant<'_>, options: Options<'_>) -> zbus::Result<Returned> {
    model.call("Infer", &(content_type, payload, options)).await
}

/// A tensor of one element, in the JSON form.
pub(crate) fn tensor(elements: &[f32]) -> Vec<u8> {
    let input = serde_json::json!({"name": "x", "datatype": "FP32", "shape": [1, elements.len()], "data": elements});
    serde_json::json!({ "inputs": [input] }).to_string().into_bytes()
}

/// An error of the daemon's: its name without the prefix, its message and its dictionary.
pub(crate) fn fault<T: std::fmt::Debug>(result: zbus::Result<T>) -> (String, String, HashMap<String, OwnedVariant>) {
    let Err(zbus::Error::MethodError(name, message, reply)) = result else { panic!("no named error: {result:?}") };
    let name = name.strip_prefix("org.hearthd.Error.").unwrap_or_else(|| panic!("{name}: {message:?}")).to_owned();
    let (_, details): (String, HashMap<String, OwnedVariant>) = reply.body().deserialize().expect("message and dictionary");
    (name, message.unwrap_or_default(), details)
}

/// The limit that an error names.
pub(crate) fn limit(details: &HashMap<String, OwnedVariant>) -> Option<(String, u64)> {
    let limit: HashMap<String, OwnedVariant> = details.get("limit")?.try_clone().ok()?.try_into().ok()?;
    let (name, value) = limit.into_iter().next()?;
    Some((name, u64::try_from(value).ok()?))
}

/// The count of faults of a kind.
pub(crate) async fn faults(connection: &Connection, kind: &str) -> anyhow::Result<u64> {
    let stats: HashMap<String, OwnedVariant> = manager(connection).await?.call("GetStats", &()).await?;
    let faults: HashMap<String, u64> = stats["faults"].try_clone()?.try_into()?;
    Ok(faults.get(kind).copied().unwrap_or_default())
}

/// Asks until the answer is the one, for counts that nobody announces.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let began = Instant::now();
    while !holds().await? {
        anyhow::ensure!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Calls a method and reads what it returns as `R`.
pub(crate) async fn call<B, R>(proxy: &Proxy<'_>, method: &str, body: &B) -> zbus::Result<R>
where
    B: serde::Serialize + DynamicType,
    R: for<'d> zbus::wire::DynamicDeserialize<'d>,
{
    proxy.call(method, body).await
}

/// Runs the control program on this bus.
pub(crate) fn hearthctl(bus: &Bus, arguments: &[&str]) -> anyhow::Result<Output> {
    Ok(Command::new(program("hearthctl")).args(arguments).args(["--bus", &bus.address()]).output()?)
}

/// What it printed, if it succeeded.
pub(crate) fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
