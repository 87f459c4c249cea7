//! Clients in other languages and from the shell.

use crate::client::Stage;
use hearth_api::dbus::BUS_NAME;
use hearth_tests::bus::repository;
use std::process::Command;

const DIGITS: &str = "/org/hearthd/Inference1/model/digits";
const MANAGER: &str = "/org/hearthd/Inference1";

fn python(stage: &Stage, script: &str) -> anyhow::Result<String> {
    // The interpreter that Debian's python3-dbus and python3-gi belong to.
    stage.bus.run(
        "/usr/bin/python3",
        &["-c", script, &stage.bus.address(), &repository("models/bundled/digits/samples/7-0.png").display().to_string()],
    )
}

#[tokio::test]
async fn busctl_and_gdbus_read_the_interfaces_well() -> anyhow::Result<()> {
    let stage = Stage::set().await?;
    let address = format!("--address={}", stage.bus.address());
    let model = stage.bus.run("busctl", &[&address, "introspect", BUS_NAME, DIGITS])?;
    for line in [
        ".Infer method sva{sv} sva{sv} -",
        ".Submit method sva{sv} o -",
        ".Chat method sva{sv} oh -",
        ".Name property s \"digits\" const",
        ".Licence property s \"MIT OR Apache-2.0\" emits-change",
    ] {
        let found = model.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).any(|l| l == line);
        assert!(found, "{line}\n{model}");
    }
    let tree = stage.bus.run("busctl", &[&address, "tree", "--list", BUS_NAME])?;
    assert!(tree.lines().any(|l| l == DIGITS), "{tree}");
    let manager = stage.bus.run("gdbus", &["introspect", "--address", &stage.bus.address(), "-d", BUS_NAME, "-o", MANAGER])?;
    for part in ["GetHeadroom(in  u seconds,", "out d headroom);", "readonly s PerformanceDegraded = '';", "readonly s Node = 'test';"] {
        assert!(manager.contains(part), "{part}\n{manager}");
    }
    Ok(())
}

#[tokio::test]
async fn a_picture_is_answered_from_the_shell() -> anyhow::Result<()> {
    let stage = Stage::set().await?;
    let address = format!("--address={}", stage.bus.address());
    let picture: Vec<String> = crate::client::seven()?.iter().map(u8::to_string).collect();
    let length = picture.len().to_string();
    let mut arguments = vec![
        &*address,
        "--json=short",
        "call",
        BUS_NAME,
        DIGITS,
        "org.hearthd.Inference1.Model",
        "Infer",
        "sva{sv}",
        "image/png",
        "ay",
        &length,
    ];
    arguments.extend(picture.iter().map(String::as_str));
    arguments.push("0");
    let answer: serde_json::Value = serde_json::from_str(&stage.bus.run("busctl", &arguments)?)?;
    let result: Vec<u8> = serde_json::from_value(answer["data"][1]["data"].clone())?;
    let reply: serde_json::Value = serde_json::from_slice(&result)?;
    assert_eq!(reply["labels"][0]["label"], "7", "{reply}");
    assert_eq!(answer["data"][2]["batch"]["type"], "u");

    let refused = Command::new("busctl")
        .args([&address, "call", BUS_NAME, MANAGER, "org.hearthd.Inference1.Thermal", "GetHeadroom", "u", "999"])
        .output()?;
    assert!(String::from_utf8_lossy(&refused.stderr).contains("0 to 300"), "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn a_python_program_sends_bytes_and_a_sealed_memfd() -> anyhow::Result<()> {
    let stage = Stage::set().await?;
    let printed = python(
        &stage,
        r#"
import dbus, fcntl, json, os, sys
picture = open(sys.argv[2], "rb").read()
bus = dbus.bus.BusConnection(sys.argv[1])
model = dbus.Interface(bus.get_object("org.hearthd.Inference1", "/org/hearthd/Inference1/model/digits"), "org.hearthd.Inference1.Model")
options = dbus.Dictionary({"priority": "high", "timeout_ms": dbus.UInt32(10000)}, signature="sv")
kind, result, info = model.Infer("image/png", dbus.ByteArray(picture), options, byte_arrays=True)
print(kind, json.loads(result)["labels"][0]["label"], int(info["batch"]) >= 1)
memfd = os.memfd_create("picture", os.MFD_ALLOW_SEALING)
os.write(memfd, picture)
try:
    model.Infer("image/png", dbus.types.UnixFd(memfd), options)
except dbus.DBusException as error:
    print(error.get_dbus_name(), "F_SEAL_WRITE" in error.get_dbus_message())
fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
kind, result, info = model.Infer("image/png", dbus.types.UnixFd(memfd), options, byte_arrays=True)
print(json.loads(result)["labels"][0]["label"])
"#,
    )?;
    assert_eq!(printed, "application/json 7 True\norg.hearthd.Error.BadRequest True\n7\n");
    Ok(())
}

#[tokio::test]
async fn a_program_on_glib_hears_the_end_of_its_job() -> anyhow::Result<()> {
    let stage = Stage::set().await?;
    let printed = python(
        &stage,
        r#"
import json, sys
from gi.repository import Gio, GLib
picture = open(sys.argv[2], "rb").read()
flags = Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION
bus = Gio.DBusConnection.new_for_address_sync(sys.argv[1], flags, None, None)
name, path = "org.hearthd.Inference1", "/org/hearthd/Inference1/model/digits"
manager = Gio.DBusObjectManagerClient.new_sync(bus, Gio.DBusObjectManagerClientFlags.NONE, name, "/org/hearthd", None, None, None)
model = manager.get_interface(path, "org.hearthd.Inference1.Model")
print(model.get_cached_property("Task").unpack())
loop, ended = GLib.MainLoop(), {}
def finished(connection, sender, path, interface, signal, arguments):
    ended[path] = arguments.unpack()[0]
    loop.quit()
bus.signal_subscribe(name, "org.hearthd.Inference1.Job", "Finished", None, None, Gio.DBusSignalFlags.NONE, finished)
arguments = GLib.Variant("(sva{sv})", ("image/png", GLib.Variant("ay", picture), {}))
job, = model.call_sync("Submit", arguments, Gio.DBusCallFlags.NONE, -1, None).unpack()
if job not in ended:
    loop.run()
print(ended[job])
answer = bus.call_sync(name, job, "org.hearthd.Inference1.Job", "Result", None, None, Gio.DBusCallFlags.NONE, -1, None)
print(json.loads(bytes(answer.unpack()[1]))["labels"][0]["label"])
"#,
    )?;
    assert_eq!(printed, "classify\ndone\n7\n");
    Ok(())
}
