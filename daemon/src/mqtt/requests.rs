//! Requests of the infer, chat and group sessions: into the engine, their pieces into chunks and their endings into answers.

use super::ledger::Receipt;
use super::link::{Post, Work};
use super::message::{Address, Message};
use super::request::{self, Asked, Ids, Rules};
use crate::chunks::{self, Chunk};
use crate::engine::{Ending, Engine, Submission};
use crate::scheduler::Key;
use hearth_api::{ContentType, Fault, Request, RequestId};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Publish;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::mpsc;

/// When a caller may try again that found the outbox full.
const OUTBOX_RETRY: Duration = Duration::from_millis(500);

/// Bytes of chunks that the broker may be behind with, for each answer.
const UNREAD_BYTES: usize = 64 * 1024;

/// A request that the engine works on.
struct Running {
    address: Address,
    asked: ContentType,
    /// Its deliveries: more than one where the broker delivered again.
    receipts: Vec<Receipt>,
}

/// A request that is well formed.
struct Taken {
    key: Key,
    request: Request,
    address: Address,
    chat: bool,
}

/// See the module.
pub(super) struct Requests {
    engine: Engine,
    rules: Rules,
    ids: Ids,
    running: HashMap<Key, Running>,
    /// What comes from the engine's threads: of each of `running` one ending, and chunks as long as not too much of them is
    /// unread.
    making: mpsc::UnboundedSender<Input>,
    made: mpsc::UnboundedReceiver<Input>,
    cancelled: broadcast::Receiver<RequestId>,
    leaving: bool,
}

/// What does not come from the broker.
pub(super) enum Input {
    /// The engine has made a piece of an answer.
    Chunk(Key, Chunk),
    /// The engine is through with a request.
    Ended(Key, Ending),
    /// The control session was told to cancel this.
    Cancel(RequestId),
}

impl Requests {
    /// Requests held to `rules`, handed to `engine`.
    pub(super) fn new(engine: Engine, rules: Rules, cancelled: broadcast::Receiver<RequestId>) -> Requests {
        let (making, made) = mpsc::unbounded_channel();
        Requests { engine, rules, ids: Ids::new(), running: HashMap::new(), making, made, cancelled, leaving: false }
    }

    fn take(&mut self, asked: Taken, again: bool, receipt: Option<Receipt>, post: &mut Post) {
        let Taken { key, request, address, chat } = asked;
        // Its answer may be on its way already. Only where the broker says that it delivers again: a caller may use an id anew.
        if again && receipt.is_some_and(|receipt| post.outbox.attach(&key, receipt)) {
            return;
        }
        match self.running.entry(key.clone()) {
            Entry::Occupied(mut running) => {
                let running = running.get_mut();
                running.receipts.extend(receipt);
                if address.qos == QoS::AtLeastOnce {
                    running.address.qos = QoS::AtLeastOnce;
                }
                return;
            }
            Entry::Vacant(_) if post.outbox.is_full() => {
                let fault = Fault::overloaded("the broker takes answers too slowly, too many wait for it").retry_after(OUTBOX_RETRY);
                post.outbox.answer(None, address.clone(), Message::fault(&address, fault), receipt.into_iter().collect());
                return;
            }
            Entry::Vacant(place) => {
                let asked = request.payload.content_type;
                place.insert(Running { address, asked, receipts: receipt.into_iter().collect() });
            }
        }
        self.submit(key, request, chat);
    }

    fn submit(&self, key: Key, request: Request, chat: bool) {
        let (made, of) = (self.making.clone(), key.clone());
        let (stream, closing) = chat
            .then(|| {
                let (made, of) = (made.clone(), key.clone());
                // A broker that is slow makes the model wait, and only the deadline ends it.
                chunks::stream(&request, UNREAD_BYTES, move |chunk| made.send(Input::Chunk(of.clone(), chunk)).is_ok())
            })
            .unzip();
        let deliver = Box::new(move |ending| {
            if let Some(closing) = closing {
                closing.close(&ending);
            }
            // Nobody listens once the session has left; then the broker delivers again.
            let _ = made.send(Input::Ended(of, ending));
        });
        self.engine.submit(Submission { key, request, stream, deliver });
    }

    fn chunk(&self, key: &Key, chunk: Chunk, post: &mut Post) {
        if let Some(running) = self.running.get(key) {
            post.outbox.chunk(Message::chunk(&running.address, chunk.json), chunk.unread);
        }
    }

    fn end(&mut self, key: Key, ending: Ending, post: &mut Post) {
        let Some(Running { address, asked, receipts }) = self.running.remove(&key) else { return };
        let message = match ending {
            Ending::Answered(reply) => Message::reply(&address, &reply, asked),
            Ending::Failed(fault) => Message::fault(&address, fault),
            // Not acknowledged, so delivered again, to us or to another of the fleet.
            Ending::HandedBack if address.qos == QoS::AtLeastOnce => return,
            Ending::HandedBack => Message::fault(&address, leaving()),
        };
        post.outbox.answer(Some(key), address, message, receipts);
    }
}

/// What a request at QoS 0 is told while the daemon leaves: nobody delivers it again.
fn leaving() -> Fault {
    Fault::cancelled("the daemon is shutting down; send the request again, at QoS 1 to have the broker do so")
}

impl Work for Requests {
    type Input = Input;

    async fn next(&mut self) -> Input {
        loop {
            tokio::select! {
                Some(made) = self.made.recv() => return made,
                id = self.cancelled.recv() => match id {
                    Ok(id) => return Input::Cancel(id),
                    Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "cancellations came faster than they could be read"),
                    // The control session is gone; only what the engine makes can come.
                    Err(RecvError::Closed) => match self.made.recv().await {
                        Some(made) => return made,
                        None => unreachable!("a sender is kept beside the receiver"),
                    },
                },
            }
        }
    }

    fn happened(&mut self, input: Input, post: &mut Post) {
        match input {
            Input::Chunk(key, chunk) => self.chunk(&key, chunk, post),
            Input::Ended(key, ending) => self.end(key, ending, post),
            Input::Cancel(id) => {
                for (key, _) in self.running.iter().filter(|(_, running)| running.address.id.as_ref() == Some(&id)) {
                    self.engine.cancel(key);
                }
            }
        }
    }

    fn arrived(&mut self, publish: Publish, receipt: Option<Receipt>, post: &mut Post) {
        if publish.retain {
            // It would run again at each subscription, for ever.
            let topic = String::from_utf8_lossy(&publish.topic);
            tracing::warn!(%topic, "a retained request is ignored; publish requests without retain, and clear this one with an empty retained message");
            return post.settle(receipt);
        }
        let Asked { address, request, chat } = request::read(&publish, &self.rules, &mut self.ids);
        let fault = match request {
            // Not acknowledged, so delivered again, to the next run or to another of the fleet.
            Ok(_) if self.leaving && receipt.is_some() => return,
            Ok(_) if self.leaving => leaving(),
            Ok((key, request)) => return self.take(Taken { key, request, address, chat }, publish.dup, receipt, post),
            Err(fault) => fault,
        };
        let message = Message::fault(&address, fault);
        post.outbox.answer(None, address, message, receipt.into_iter().collect());
    }

    fn subscribed(&mut self, _: &mut Post) {}

    fn leave(&mut self, _: &mut Post) {
        self.leaving = true;
    }

    fn is_idle(&self) -> bool {
        self.running.is_empty()
    }
}
