//! What systemd hears of us: ready, status, reload, stopping, and the watchdog that only a living step loop feeds.

use crate::engine::Engine;
use crate::mqtt::Status;
use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Tells systemd; without systemd this does nothing.
fn tell(state: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd was not told");
    }
}

/// Everything is up.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Keeps the line in `systemctl status` at how the broker stands, as long as that is told.
pub(crate) async fn follow(mut broker: watch::Receiver<Status>) {
    loop {
        let line = format!("serving; broker: {}", *broker.borrow_and_update());
        tell(&[NotifyState::Status(&line)]);
        if broker.changed().await.is_err() {
            return;
        }
    }
}

/// A reload begins; `ready` ends it. The time goes along, as systemd 253 and later want it of `Type=notify-reload`.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "no monotonic clock"),
    }
}

/// The end begins.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Feeds the watchdog, twice in its period, as long as the step loop moves: a hung engine is restarted.
pub(crate) async fn watchdog(engine: Engine, shutdown: CancellationToken) {
    let Some(period) = sd_notify::watchdog_enabled() else { return };
    let mut ticks = tokio::time::interval(period / 2);
    let mut last = None;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let beat = engine.heartbeat();
        if last != Some(beat) {
            tell(&[NotifyState::Watchdog]);
        } else {
            tracing::error!("the step loop has not moved; systemd is not told that we live");
        }
        last = Some(beat);
    }
}
