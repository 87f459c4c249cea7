//! Who may manage models: root and the daemon's own user always; on the system bus whoever polkit lets; nobody else.

use super::{Link, Side};
use hearth_api::Fault;
use std::collections::HashMap;
use zbus::message::{Flags, Header};
use zbus::{Connection, Variant};

/// The polkit action, declared in `systemd/polkit-1/actions/org.hearthd.policy`.
const ACTION: &str = "org.hearthd.manage-models";
/// `AllowUserInteraction` of `CheckAuthorization`: polkit may ask for a password.
const ALLOW_USER_INTERACTION: u32 = 1;

impl Link {
    /// Lets the caller of this call manage models, or says who may.
    pub(super) async fn authorise(&self, connection: &Connection, call: &Header<'_>) -> Result<(), Fault> {
        let own = rustix::process::geteuid().as_raw();
        let user = match &self.side {
            Side::Peer { user, .. } => *user,
            Side::Bus { .. } => Some(bus_user(connection, call).await?),
        };
        match (&self.side, user) {
            (_, Some(user)) if user == own || user == 0 => Ok(()),
            (Side::Bus { polkit: true }, _) => ask_polkit(connection, call).await,
            _ => Err(Fault::unauthorized("managing models takes root or the daemon's own user")),
        }
    }
}

/// The user behind a caller, as the bus knows it.
async fn bus_user(connection: &Connection, call: &Header<'_>) -> Result<u32, Fault> {
    let unknown = |error: zbus::Error| Fault::unauthorized(format!("the bus does not say which user calls: {error}"));
    let sender = call.sender().ok_or_else(|| Fault::unauthorized("the call names no sender"))?;
    let bus = "org.freedesktop.DBus";
    let answer = connection
        .call_method(Some(bus), "/org/freedesktop/DBus", Some(bus), "GetConnectionUnixUser", &(sender.as_str()))
        .await
        .map_err(unknown)?;
    answer.body().deserialize().map_err(unknown)
}

async fn ask_polkit(connection: &Connection, call: &Header<'_>) -> Result<(), Fault> {
    let sender = call.sender().map(ToString::to_string).unwrap_or_default();
    let subject = ("system-bus-name", HashMap::from([("name", Variant::from(sender))]));
    let interactive = call.primary().flags().contains(Flags::ALLOW_INTERACTIVE_AUTH);
    let flags = if interactive { ALLOW_USER_INTERACTION } else { 0 };
    let details: HashMap<&str, &str> = HashMap::new();
    let answer = connection
        .call_method(
            Some("org.freedesktop.PolicyKit1"),
            "/org/freedesktop/PolicyKit1/Authority",
            Some("org.freedesktop.PolicyKit1.Authority"),
            "CheckAuthorization",
            &(subject, ACTION, details, flags, ""),
        )
        .await
        .map_err(|error| {
            Fault::unauthorized(format!(
                "managing models takes root, the daemon's own user, or polkit's consent, and polkit could not be asked: {error}"
            ))
        })?;
    let ((authorised, challenge, _),): ((bool, bool, HashMap<String, String>),) =
        answer.body().deserialize().map_err(|error| Fault::unauthorized(format!("polkit's answer cannot be read: {error}")))?;
    match (authorised, challenge) {
        (true, _) => Ok(()),
        (false, true) => Err(Fault::unauthorized(format!(
            "polkit wants to ask for a password for {ACTION}: call with interactive authorisation allowed, or as root"
        ))),
        (false, false) => Err(Fault::unauthorized(format!("polkit does not let this caller do {ACTION}"))),
    }
}
