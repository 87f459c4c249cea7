//! The control session: cancellations in, the daemon's state out. It never waits for work.

use super::ledger::Receipt;
use super::link::{Post, Work};
use super::request::read_cancel;
use super::retained::{Now, Retained};
use super::status::Status;
use crate::engine::Snapshot;
use crate::thermal::Heat;
use hearth_api::RequestId;
use hearth_api::topics::Incoming;
use rumqttc::v5::mqttbytes::v5::Publish;
use std::sync::Arc;
use tokio::sync::{broadcast, watch};

/// See the module.
pub(super) struct Control {
    pub(super) retained: Retained,
    pub(super) snapshot: watch::Receiver<Arc<Snapshot>>,
    pub(super) heat: watch::Receiver<Heat>,
    pub(super) status: watch::Receiver<Status>,
    /// To the sessions that have requests.
    pub(super) cancel: broadcast::Sender<RequestId>,
    pub(super) leaving: bool,
}

impl Control {
    fn publish(&mut self, post: &mut Post) {
        let (snapshot, heat) = (self.snapshot.borrow_and_update().clone(), self.heat.borrow_and_update().clone());
        let status = self.status.borrow_and_update().clone();
        let now = Now { snapshot: &snapshot, heat: &heat, status: &status, leaving: self.leaving };
        for message in self.retained.changes(&now) {
            post.outbox.state(message);
        }
    }
}

impl Work for Control {
    type Input = ();

    async fn next(&mut self) {
        // A sender that is gone will not change anything any more; the others still may.
        let changed = tokio::select! {
            Ok(()) = self.snapshot.changed() => true,
            Ok(()) = self.heat.changed() => true,
            Ok(()) = self.status.changed() => true,
            else => false,
        };
        if !changed {
            std::future::pending::<()>().await;
        }
    }

    fn happened(&mut self, (): (), post: &mut Post) {
        self.publish(post);
    }

    fn arrived(&mut self, publish: Publish, receipt: Option<Receipt>, post: &mut Post) {
        post.settle(receipt);
        let topic = String::from_utf8_lossy(&publish.topic);
        if self.retained.topics.parse(&topic) != Ok(Incoming::Cancel) {
            if !publish.payload.is_empty() {
                self.retained.seen(&topic);
                self.publish(post);
            }
            return;
        }
        match read_cancel(&publish.payload) {
            Ok(_) if publish.retain => tracing::warn!("a retained cancellation is ignored"),
            Ok(id) => {
                tracing::debug!(%id, "cancel");
                // No receiver: no session has requests.
                let _ = self.cancel.send(id);
            }
            Err(fault) => tracing::warn!("{fault}"),
        }
    }

    fn subscribed(&mut self, post: &mut Post) {
        self.retained.forget();
        self.publish(post);
    }

    fn leave(&mut self, post: &mut Post) {
        self.leaving = true;
        self.publish(post);
    }

    fn is_idle(&self) -> bool {
        true
    }
}
