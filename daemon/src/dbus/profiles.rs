//! The profile that the user chose for the whole machine, where power-profiles-daemon is on the bus. It counts while neither the
//! configuration nor a caller has named a mode.
//! Source: the D-Bus interface of power-profiles-daemon, under its present name and its old one.

use crate::thermal::{Mode, Monitor};
use futures_util::{StreamExt, stream};
use zbus::{Connection, MatchRule, MessageStream, OwnedVariant, message};

/// Its names, which are those of its interface too, and its objects.
const SERVICES: [(&str, &str); 2] = [
    ("org.freedesktop.UPower.PowerProfiles", "/org/freedesktop/UPower/PowerProfiles"),
    ("net.hadess.PowerProfiles", "/net/hadess/PowerProfiles"),
];
const BUS: &str = "org.freedesktop.DBus";

/// Tells the monitor of the profile now, and whenever it changes; never ends before the connection does.
pub(super) async fn follow(connection: &Connection, monitor: &Monitor) {
    let mut news = match news(connection).await {
        Ok(news) => stream::select_all(news),
        Err(error) => {
            tracing::warn!("power profiles are not followed: {error}");
            return;
        }
    };
    loop {
        monitor.set_profile(now(connection).await);
        if news.next().await.is_none() {
            return;
        }
    }
}

/// Signals after which the profile may be another: a property changed, the service came or went.
async fn news(connection: &Connection) -> zbus::Result<Vec<MessageStream>> {
    let mut streams = Vec::new();
    for (service, path) in SERVICES {
        let signal = || MatchRule::builder().msg_type(message::Type::Signal);
        let changed = signal().path(path).interface("org.freedesktop.DBus.Properties").member("PropertiesChanged").build()?;
        let owned = signal().sender(BUS).interface(BUS).member("NameOwnerChanged").arg(0, service).build()?;
        for rule in [changed, owned] {
            streams.push(MessageStream::for_match_rule(rule, connection, None).await?);
        }
    }
    Ok(streams)
}

/// The mode of the profile now; none without the service, which is not started for this.
async fn now(connection: &Connection) -> Option<Mode> {
    for (service, path) in SERVICES {
        let owned = connection.call_method(Some(BUS), "/org/freedesktop/DBus", Some(BUS), "NameHasOwner", &(service)).await.ok()?;
        if !owned.body().deserialize::<bool>().unwrap_or(false) {
            continue;
        }
        let properties = Some("org.freedesktop.DBus.Properties");
        let answer = connection.call_method(Some(service), path, properties, "Get", &(service, "ActiveProfile")).await;
        let profile = answer.ok().and_then(|answer| String::try_from(answer.body().deserialize::<OwnedVariant>().ok()?).ok());
        return profile.as_deref().and_then(mode);
    }
    None
}

/// What a profile means here.
fn mode(profile: &str) -> Option<Mode> {
    match profile {
        "performance" => Some(Mode::Performance),
        "balanced" => Some(Mode::Balanced),
        "power-saver" => Some(Mode::Quiet),
        _ => None,
    }
}
