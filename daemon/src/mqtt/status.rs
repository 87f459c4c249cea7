//! How the door stands with the broker, for whoever asks: systemd's status line, `info`, `hearthctl doctor`.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use tokio::sync::watch;

/// The sessions, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// `control`, `infer`, `chat` and, where the node serves in a fleet, `groups`.
    pub sessions: BTreeMap<String, SessionStatus>,
}

/// How one session stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStatus {
    /// Connected, and every subscription answered.
    pub subscribed: bool,
    /// Subscriptions that the broker refused, and why.
    pub refused: BTreeMap<String, String>,
    /// Why it is not connected.
    pub error: Option<String>,
    /// How many subscriptions stand.
    pub subscriptions: usize,
}

impl Status {
    /// Whether requests can come: on every session that takes any, whose subscriptions the broker may have refused, but not all of them.
    pub fn serves(&self) -> bool {
        let work = || self.sessions.iter().filter(|(name, _)| *name != "control").map(|(_, session)| session);
        work().all(|session| session.subscribed) && work().any(|session| session.subscriptions > 0)
    }

    /// Whether everything is as configured.
    pub fn is_whole(&self) -> bool {
        !self.sessions.is_empty() && self.sessions.values().all(|s| s.subscribed && s.refused.is_empty())
    }

    /// Every subscription refused, and why.
    pub fn refused(&self) -> BTreeMap<&str, &str> {
        self.sessions.values().flat_map(|s| &s.refused).map(|(filter, why)| (filter.as_str(), why.as_str())).collect()
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_whole() {
            return f.write_str("connected");
        }
        if self.sessions.values().all(|session| *session == SessionStatus::default()) {
            return f.write_str("connecting");
        }
        let mut gap = "";
        for (name, session) in &self.sessions {
            let refused: Vec<&str> = session.refused.keys().map(String::as_str).collect();
            match &session.error {
                Some(error) => write!(f, "{gap}{name}: {error}")?,
                None if !refused.is_empty() => write!(f, "{gap}{name}: may not subscribe to {}", refused.join(", "))?,
                None if !session.subscribed => write!(f, "{gap}{name}: connecting")?,
                None => continue,
            }
            gap = "; ";
        }
        Ok(())
    }
}

/// Where the sessions write how they stand.
#[derive(Debug, Clone)]
pub(super) struct Report(pub(super) watch::Sender<Status>);

impl Report {
    /// Changes what is told of a session.
    pub(super) fn update(&self, name: &str, change: impl FnOnce(&mut SessionStatus)) {
        self.0.send_if_modified(|status| {
            let old = status.sessions.get(name).cloned();
            let session = status.sessions.entry(name.to_owned()).or_default();
            change(session);
            old.as_ref() != Some(session)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_and_what_is_right_is_not() {
        let (sender, receiver) = watch::channel(Status::default());
        let report = Report(sender);
        assert_eq!(receiver.borrow().to_string(), "connecting");
        ["control", "infer", "chat"].into_iter().for_each(|name| report.update(name, |_| ()));
        assert_eq!(receiver.borrow().to_string(), "connecting");
        ["control", "chat"].into_iter().for_each(|name| report.update(name, |s| (s.subscribed, s.subscriptions) = (true, 1)));
        assert!(!receiver.borrow().serves(), "what goes to infer would be lost");
        report.update("infer", |s| s.error = Some("no broker at localhost:1883".into()));
        assert_eq!(receiver.borrow().to_string(), "infer: no broker at localhost:1883");
        report.update("infer", |s| {
            *s = SessionStatus { subscribed: true, ..SessionStatus::default() };
            s.refused.insert("hearth/n/infer/#".into(), "not authorised".into());
        });
        assert_eq!(receiver.borrow().to_string(), "infer: may not subscribe to hearth/n/infer/#");
        assert!(receiver.borrow().serves(), "talks can come");
        report.update("infer", |s| (s.refused.clear(), s.subscriptions = 1).1);
        assert_eq!(receiver.borrow().to_string(), "connected");
        assert!(receiver.borrow().serves());
    }
}
