//! Keeps a session with the broker: connects, and comes back when the connection breaks; meanwhile the work goes on.

use super::connection::{self, End};
use super::ledger::{Ledger, Receipt};
use super::outbox::{Bounds, Outbox};
use super::retry::Backoff;
use super::session::Session;
use super::status::SessionStatus;
use super::trouble;
use rumqttc::v5::mqttbytes::v5::Publish;
use std::collections::VecDeque;
use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// First and longest wait before another try to connect.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// A connection that stood this long was a good one: the next wait is the shortest again.
const STEADY: Duration = Duration::from_secs(10);

/// What a session does with what comes. Its methods are called from the task that polls the connection: none may wait.
pub(super) trait Work: Send {
    /// Something to do that did not come from the broker.
    type Input: Send;
    /// Waits for the next input; may be dropped while it waits without losing one.
    fn next(&mut self) -> impl Future<Output = Self::Input> + Send;
    /// Does it.
    fn happened(&mut self, input: Self::Input, post: &mut Post);
    /// A message came; `receipt` is to be settled once it is dealt with (none at QoS 0).
    fn arrived(&mut self, publish: Publish, receipt: Option<Receipt>, post: &mut Post);
    /// Connected, and the subscriptions were answered.
    fn subscribed(&mut self, post: &mut Post);
    /// The daemon leaves: take nothing more.
    fn leave(&mut self, post: &mut Post);
    /// Whether nothing is under way any more.
    fn is_idle(&self) -> bool;
}

/// What a session has to send.
pub(super) struct Post {
    pub(super) outbox: Outbox,
    pub(super) ledger: Ledger,
    /// Packet ids to acknowledge, in this order.
    pub(super) acks: VecDeque<u16>,
}

impl Post {
    /// These deliveries are dealt with: each is acknowledged as soon as those before it are.
    pub(super) fn settle(&mut self, receipts: impl IntoIterator<Item = Receipt>) {
        for receipt in receipts {
            self.acks.extend(self.ledger.settle(receipt));
        }
    }

    /// Whether everything was sent, and published.
    pub(super) fn is_empty(&self) -> bool {
        self.outbox.is_empty() && self.acks.is_empty()
    }
}

/// Keeps the session until the daemon leaves.
pub(super) async fn keep<W: Work>(session: Session, mut work: W, bounds: Bounds, shutdown: CancellationToken) {
    let mut post = Post { outbox: Outbox::new(bounds), ledger: Ledger::default(), acks: VecDeque::new() };
    let mut backoff = Backoff::new(RECONNECT);
    let tell = |error: &str| {
        let status = SessionStatus { error: Some(error.to_owned()), ..SessionStatus::default() };
        session.report.update(session.name, |s| *s = status);
    };
    while !shutdown.is_cancelled() {
        let began = Instant::now();
        let End::Lost(error) = connection::run(&session, &mut work, &mut post, &shutdown).await else { break };
        post.acks.clear();
        post.outbox.disconnected(trouble::broker_objected(&error));
        if began.elapsed() >= STEADY {
            backoff.reset();
        }
        let (why, pause) = (trouble::explain(&session, &error), backoff.next());
        tracing::warn!(session = session.name, retry_ms = pause.as_millis() as u64, "{why}");
        tell(&why);
        let wake = tokio::time::sleep(pause);
        tokio::pin!(wake);
        loop {
            // Work goes on without the broker; what it gives waits in the outbox.
            tokio::select! {
                () = &mut wake => break,
                () = shutdown.cancelled() => break,
                input = work.next() => work.happened(input, &mut post),
            }
        }
    }
    tell("the daemon has left the broker");
}
