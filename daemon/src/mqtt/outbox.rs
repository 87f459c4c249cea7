//! Messages on their way out, each kept until the broker has acknowledged it: queued is not sent, and sent is not
//! published. Keeps to the broker's receive maximum and packet size. Pure; the connection does the sending.

use super::ledger::Receipt;
use super::message::{Address, Message};
use crate::chunks::Unread;
use crate::scheduler::Key;
use hearth_api::Fault;
use rumqttc::v5::mqttbytes::QoS;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// A message that was on the head of the line this often when the broker closed the connection over it is given up.
const STRIKES: u8 = 3;

/// The n-th message ever put into the outbox.
type Number = u64;

/// A message, and what becomes free when the broker has it.
#[derive(Debug)]
struct Entry {
    message: Message,
    /// The request it answers.
    key: Option<Key>,
    /// For an answer: where a fault would go in its place.
    address: Option<Address>,
    receipts: Vec<Receipt>,
    strikes: u8,
    /// For a chunk: counts against its reader until it is sent.
    unread: Option<Unread>,
}

/// What to do next.
#[derive(Debug)]
pub(super) enum Next {
    /// Hand this to the connection, now.
    Send(Message),
    /// This could not be sent and never will be; its deliveries are over.
    GivenUp(Vec<Receipt>),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Outbox {
    entries: BTreeMap<Number, Entry>,
    next_number: Number,
    by_key: HashMap<Key, Number>,
    /// Not yet handed to the connection, oldest first.
    waiting: BTreeSet<Number>,
    /// Handed over; their packet ids are not known yet.
    handed: VecDeque<Number>,
    /// Sent with this packet id and not acknowledged.
    flying: HashMap<u16, Number>,
    /// The most messages handed over or flying.
    window: usize,
    /// The broker's limit on a packet.
    max_packet_bytes: Option<u32>,
    /// Of all but chunks.
    payload_bytes: usize,
    /// Chunks among the entries.
    chunks: usize,
    bounds: Bounds,
}

/// From where on the outbox counts as full: then no new work is taken, and replies at QoS 0 are dropped. Chunks do not count:
/// what is unread of a stream bounds them, and admission the streams.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) messages: usize,
    pub(super) payload_bytes: usize,
}

impl Outbox {
    /// An empty one; nothing leaves it before `connected`.
    pub(super) fn new(bounds: Bounds) -> Outbox {
        Outbox {
            entries: BTreeMap::new(),
            next_number: 0,
            by_key: HashMap::new(),
            waiting: BTreeSet::new(),
            handed: VecDeque::new(),
            flying: HashMap::new(),
            window: 0,
            max_packet_bytes: None,
            payload_bytes: 0,
            chunks: 0,
            bounds,
        }
    }

    /// Whether there is no room for what more work would give.
    pub(super) fn is_full(&self) -> bool {
        self.entries.len() - self.chunks >= self.bounds.messages || self.payload_bytes >= self.bounds.payload_bytes
    }

    /// Whether everything was published.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The connection stands: at most `window` messages may be on their way, none longer than the broker takes.
    pub(super) fn connected(&mut self, window: usize, max_packet_bytes: Option<u32>) {
        self.window = window;
        self.max_packet_bytes = max_packet_bytes;
    }

    /// The connection is gone: what was on its way waits again, in its old order. `blamed`: the broker (or its answer)
    /// ended it, so the oldest on its way may be the cause.
    pub(super) fn disconnected(&mut self, blamed: bool) {
        self.window = 0;
        if blamed
            && let Some(oldest) = self.flying.values().min()
            && let Some(entry) = self.entries.get_mut(oldest)
        {
            entry.strikes += 1;
        }
        self.handed.clear();
        self.flying.clear();
        let chunks: Vec<Number> = self.entries.iter().filter(|(_, entry)| entry.unread.is_some()).map(|(number, _)| *number).collect();
        for number in chunks {
            self.take(number);
        }
        self.waiting = self.entries.keys().copied().collect();
    }

    /// Takes in a piece of an answer. Without a connection it is dropped: the answer is not to wait for a broker that is away,
    /// and at its end it comes whole.
    pub(super) fn chunk(&mut self, message: Message, unread: Unread) {
        if self.window > 0 {
            self.insert(Entry { message, key: None, address: None, receipts: Vec::new(), strikes: 0, unread: Some(unread) });
        }
    }

    /// Takes in an answer; the receipts come back when it is published. A full outbox drops it at QoS 0, where nothing
    /// was promised.
    pub(super) fn answer(&mut self, key: Option<Key>, address: Address, message: Message, receipts: Vec<Receipt>) {
        if message.qos == QoS::AtMostOnce && self.is_full() {
            tracing::warn!(topic = %message.topic, "an answer at QoS 0 is dropped: {} messages wait for the broker", self.entries.len());
            return;
        }
        if let Some(key) = &key {
            self.by_key.insert(key.clone(), self.next_number);
        }
        self.insert(Entry { message, key, address: Some(address), receipts, strikes: 0, unread: None });
    }

    /// Takes in retained state; what waits for the same topic is out of date and gives way.
    pub(super) fn state(&mut self, message: Message) {
        let old = self.waiting.iter().copied().find(|n| self.entries.get(n).is_some_and(|e| e.message.topic == message.topic));
        if let Some(old) = old {
            self.take(old);
        }
        self.insert(Entry { message, key: None, address: None, receipts: Vec::new(), strikes: 0, unread: None });
    }

    /// A request was delivered again while its answer is still on its way: that answer settles this delivery too.
    pub(super) fn attach(&mut self, key: &Key, receipt: Receipt) -> bool {
        let entry = self.by_key.get(key).and_then(|n| self.entries.get_mut(n));
        if let Some(entry) = entry {
            entry.receipts.push(receipt);
            return true;
        }
        false
    }

    /// What can leave now; to be called until it gives `None`.
    pub(super) fn next(&mut self) -> Option<Next> {
        if self.handed.len() + self.flying.len() >= self.window {
            return None;
        }
        let number = self.waiting.pop_first()?;
        let entry = self.entries.get_mut(&number)?;
        if !fits(entry, self.max_packet_bytes) {
            let before = entry.message.payload.len();
            let goes = entry.give_way(self.max_packet_bytes);
            // A chunk stays as it is, and does not count.
            self.payload_bytes = self.payload_bytes + entry.message.payload.len() - before;
            if !goes {
                let entry = self.take(number)?;
                tracing::error!(topic = %entry.message.topic, "a message of {before} bytes is given up: the broker does not take it");
                return Some(Next::GivenUp(entry.receipts));
            }
        }
        self.handed.push_back(number);
        self.entries.get(&number).map(|e| Next::Send(e.message.clone()))
    }

    /// The message just given by `next` could not be handed over after all: it waits again.
    pub(super) fn not_handed_over(&mut self) {
        self.waiting.extend(self.handed.pop_back());
    }

    /// The connection has sent the oldest handed over, as this packet; 0 is QoS 0, which ends it.
    pub(super) fn sent(&mut self, packet_id: u16) {
        let Some(number) = self.handed.pop_front() else { return };
        if packet_id == 0 {
            self.take(number);
        } else {
            self.flying.insert(packet_id, number);
        }
    }

    /// The broker has acknowledged this packet. Gives the message and the receipts of what is over.
    pub(super) fn acknowledged(&mut self, packet_id: u16) -> Option<(Message, Vec<Receipt>)> {
        let number = self.flying.remove(&packet_id)?;
        self.take(number).map(|entry| (entry.message, entry.receipts))
    }

    fn insert(&mut self, entry: Entry) {
        match entry.unread {
            Some(_) => self.chunks += 1,
            None => self.payload_bytes += entry.message.payload.len(),
        }
        self.waiting.insert(self.next_number);
        self.entries.insert(self.next_number, entry);
        self.next_number += 1;
    }

    fn take(&mut self, number: Number) -> Option<Entry> {
        self.waiting.remove(&number);
        let entry = self.entries.remove(&number)?;
        match entry.unread {
            Some(_) => self.chunks -= 1,
            None => self.payload_bytes -= entry.message.payload.len(),
        }
        if let Some(key) = &entry.key
            && self.by_key.get(key) == Some(&number)
        {
            self.by_key.remove(key);
        }
        Some(entry)
    }
}

fn fits(entry: &Entry, max_packet_bytes: Option<u32>) -> bool {
    entry.strikes < STRIKES && max_packet_bytes.is_none_or(|max| entry.message.packet_bytes() <= max as usize)
}

impl Entry {
    /// Puts a small fault in the place of an answer that the broker does not take. Says whether that goes through.
    fn give_way(&mut self, max_packet_bytes: Option<u32>) -> bool {
        let Some(address) = &self.address else { return false };
        let bytes = self.message.packet_bytes();
        let fault = match max_packet_bytes {
            Some(max) if bytes > max as usize => {
                Fault::too_large(format!("the answer takes {bytes} bytes, the broker passes on at most {max}; ask for fewer outputs"))
                    .with_limit("broker_packet_bytes", u64::from(max))
            }
            _ => Fault::too_large(format!("the broker closed the connection {STRIKES} times over this answer of {bytes} bytes")),
        };
        let fault = Message::fault(address, fault);
        if fault.packet_bytes() >= bytes {
            return false;
        }
        self.message = fault;
        self.strikes = 0;
        fits(self, max_packet_bytes)
    }
}

#[cfg(test)]
mod tests;
