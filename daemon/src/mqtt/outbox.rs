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
mod tests {
    use super::super::ledger::Ledger;
    use super::*;
    use crate::chunks::Behind;
    use crate::scheduler::Door;
    use hearth_api::FaultBody;
    use proptest::prelude::*;

    const ROOMY: Bounds = Bounds { messages: 1000, payload_bytes: 1 << 20 };

    fn address(qos: QoS) -> Address {
        Address { topic: "hearth/reply/me".into(), correlation: Some("c".into()), qos, id: None, model: None }
    }

    fn key(name: &str) -> Key {
        Key { door: Door::Mqtt, reply_to: "hearth/reply/me".into(), correlation: name.to_owned().into() }
    }

    fn message(address: &Address, bytes: usize) -> Message {
        Message { payload: vec![b'x'; bytes].into(), ..Message::fault(address, Fault::internal("")) }
    }

    fn answer(outbox: &mut Outbox, name: &str, bytes: usize, receipts: Vec<Receipt>) {
        let to = address(QoS::AtLeastOnce);
        let message = Message { payload: name.repeat(bytes).into(), ..message(&to, 0) };
        outbox.answer(Some(key(name)), to, message, receipts);
    }

    fn leaving(outbox: &mut Outbox) -> Vec<Message> {
        std::iter::from_fn(|| match outbox.next()? {
            Next::Send(message) => Some(message),
            Next::GivenUp(_) => panic!("given up"),
        })
        .collect()
    }

    fn kind(message: &Message) -> String {
        serde_json::from_slice::<FaultBody>(&message.payload).unwrap().fault.kind.to_string()
    }

    #[test]
    fn chunks_leave_in_order_before_their_answer_and_wait_for_no_broker_that_is_away() {
        let (mut ledger, mut outbox) = (Ledger::default(), Outbox::new(Bounds { messages: 1, payload_bytes: 1 << 20 }));
        let (to, behind) = (address(QoS::AtLeastOnce), Behind::default());
        let chunk = |text: &str| (Message::chunk(&to, text.to_owned().into()), behind.unread(text.len()));
        let (message, unread) = chunk("before the connection");
        outbox.chunk(message, unread);
        assert_eq!(behind.bytes(), 0);
        outbox.connected(2, None);
        for text in ["0", "1", "2"] {
            let (message, unread) = chunk(text);
            outbox.chunk(message, unread);
        }
        assert!(!outbox.is_full() && behind.bytes() == 3);
        answer(&mut outbox, "a", 1, vec![ledger.arrived(1)]);
        assert!(outbox.is_full());
        let mut sent = Vec::new();
        for _ in 0..2 {
            sent.extend(leaving(&mut outbox).into_iter().map(|m| (m.payload, m.qos)));
            outbox.sent(0);
            outbox.sent(0);
        }
        let (zero, one) = (QoS::AtMostOnce, QoS::AtLeastOnce);
        assert_eq!(sent, [("0".into(), zero), ("1".into(), zero), ("2".into(), zero), ("a".into(), one)]);
        assert_eq!(behind.bytes(), 0);
    }

    #[test]
    fn a_broken_connection_ends_its_chunks_and_no_answer() {
        let (mut ledger, mut outbox) = (Ledger::default(), Outbox::new(ROOMY));
        let behind = Behind::default();
        outbox.connected(1, None);
        for _ in 0..2 {
            outbox.chunk(Message::chunk(&address(QoS::AtLeastOnce), "c".into()), behind.unread(1));
        }
        answer(&mut outbox, "a", 1, vec![ledger.arrived(1)]);
        assert_eq!(leaving(&mut outbox).len(), 1);
        outbox.disconnected(false);
        assert_eq!(behind.bytes(), 0, "its writer need not wait for a reader that cannot read");
        // One that the broker would not take is left out.
        outbox.connected(1, Some(200));
        outbox.chunk(Message::chunk(&address(QoS::AtLeastOnce), vec![b'x'; 300].into()), behind.unread(300));
        assert_eq!(leaving(&mut outbox)[0].payload, "a");
        outbox.sent(1);
        assert!(outbox.acknowledged(1).is_some());
        assert!(matches!(outbox.next(), Some(Next::GivenUp(receipts)) if receipts.is_empty()));
        assert!(outbox.is_empty() && outbox.chunks == 0 && outbox.payload_bytes == 0 && behind.bytes() == 0);
    }

    #[test]
    fn an_answer_is_kept_until_the_broker_has_it() {
        let (mut ledger, mut outbox) = (Ledger::default(), Outbox::new(ROOMY));
        answer(&mut outbox, "a", 1, vec![ledger.arrived(1)]);
        answer(&mut outbox, "b", 1, Vec::new());
        outbox.connected(10, None);
        assert_eq!(leaving(&mut outbox).len(), 2);
        outbox.sent(1);
        // The broker is killed: one was sent, one only handed over. Both leave again, in order, on the next connection.
        outbox.disconnected(false);
        assert!(outbox.next().is_none());
        outbox.connected(10, None);
        let again: Vec<_> = leaving(&mut outbox).into_iter().map(|m| m.payload).collect();
        assert_eq!(again, ["a", "b"]);
        outbox.sent(1);
        outbox.sent(2);
        assert_eq!(outbox.acknowledged(1).unwrap().1.len(), 1);
        assert!(outbox.acknowledged(1).is_none());
        assert!(outbox.acknowledged(2).is_some() && outbox.is_empty());
    }

    #[test]
    fn a_delivery_that_comes_again_waits_for_the_same_answer() {
        let (mut ledger, mut outbox) = (Ledger::default(), Outbox::new(ROOMY));
        answer(&mut outbox, "a", 1, vec![ledger.arrived(1)]);
        ledger.reconnected();
        assert!(outbox.attach(&key("a"), ledger.arrived(1)));
        assert!(!outbox.attach(&key("b"), ledger.arrived(2)));
        outbox.connected(10, None);
        leaving(&mut outbox);
        outbox.sent(1);
        let (_, receipts) = outbox.acknowledged(1).unwrap();
        assert_eq!(receipts.into_iter().flat_map(|r| ledger.settle(r).collect::<Vec<_>>()).collect::<Vec<_>>(), [1]);
        assert!(!outbox.attach(&key("a"), ledger.arrived(3)));
    }

    #[test]
    fn an_answer_over_the_brokers_limit_becomes_a_small_fault() {
        let mut outbox = Outbox::new(ROOMY);
        answer(&mut outbox, "a", 5000, Vec::new());
        outbox.connected(10, Some(1000));
        let left = leaving(&mut outbox);
        assert_eq!(kind(&left[0]), "too-large");
        assert!(left[0].packet_bytes() <= 1000 && left[0].properties.correlation_data.as_deref() == Some(b"c"));
        // Where even the fault is over the limit there is nothing to send; the delivery is over all the same.
        let mut ledger = Ledger::default();
        outbox.connected(10, Some(20));
        answer(&mut outbox, "b", 5000, vec![ledger.arrived(1)]);
        assert!(matches!(outbox.next(), Some(Next::GivenUp(receipts)) if receipts.len() == 1));
    }

    #[test]
    fn an_answer_that_ends_the_connection_again_and_again_is_given_up() {
        let mut outbox = Outbox::new(ROOMY);
        answer(&mut outbox, "a", 5000, Vec::new());
        answer(&mut outbox, "b", 5000, Vec::new());
        let mut tries = 0;
        let last = loop {
            outbox.connected(10, None);
            let left = leaving(&mut outbox);
            if left[0].payload.starts_with(b"{") {
                break left;
            }
            tries += 1;
            outbox.sent(1);
            outbox.sent(2);
            outbox.disconnected(true);
        };
        assert_eq!((tries, kind(&last[0])), (u32::from(STRIKES), "too-large".to_owned()));
        assert!(last[1].payload.starts_with(b"b"), "the answers behind it are not touched");
    }

    #[test]
    fn state_that_was_overtaken_is_not_sent() {
        let mut outbox = Outbox::new(ROOMY);
        for payload in ["1", "2", "3"] {
            outbox.state(Message::retained("hearth/n/stats", QoS::AtMostOnce, payload));
        }
        outbox.state(Message::retained("hearth/n/info", QoS::AtLeastOnce, "i"));
        outbox.connected(10, None);
        let left: Vec<_> = leaving(&mut outbox).into_iter().map(|m| m.payload).collect();
        assert_eq!(left, ["3", "i"]);
    }

    #[test]
    fn a_full_outbox_says_so_and_drops_what_was_promised_to_nobody() {
        let mut outbox = Outbox::new(Bounds { messages: 2, payload_bytes: 100 });
        answer(&mut outbox, "a", 101, Vec::new());
        assert!(outbox.is_full());
        let to = address(QoS::AtMostOnce);
        outbox.answer(Some(key("b")), to.clone(), message(&to, 1), Vec::new());
        answer(&mut outbox, "c", 1, Vec::new());
        outbox.connected(10, None);
        assert_eq!(leaving(&mut outbox).len(), 2, "the one at QoS 0 is gone, those at QoS 1 are not");
    }

    #[derive(Debug, Clone)]
    enum Step {
        Answer(bool, u16),
        Connect(u8),
        Disconnect(bool),
        Send,
        Acknowledge(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (any::<bool>(), 0..400u16).prop_map(|(sure, bytes)| Step::Answer(sure, bytes)),
            2 => (1..8u8).prop_map(Step::Connect),
            1 => any::<bool>().prop_map(Step::Disconnect),
            6 => Just(Step::Send),
            6 => any::<usize>().prop_map(Step::Acknowledge),
        ];
        prop::collection::vec(step, 0..150)
    }

    proptest! {
        /// However connections break: each QoS 1 answer ends exactly once, never more than the window is on its way, and
        /// nothing over the broker's limit leaves.
        #[test]
        fn every_promised_answer_ends_exactly_once(steps in steps()) {
            const LIMIT: u32 = 350;
            let (mut ledger, mut outbox) = (Ledger::default(), Outbox::new(Bounds { messages: 40, payload_bytes: 8000 }));
            let (mut window, mut handed, mut flying, mut next_id) = (None, VecDeque::new(), Vec::new(), 1u16);
            let (mut promised, mut ended) = (0usize, 0usize);
            let close = vec![Step::Connect(7)].into_iter().chain(std::iter::repeat_n([Step::Send, Step::Acknowledge(0)], 400).flatten());
            for step in steps.into_iter().chain(close) {
                match step {
                    Step::Answer(sure, bytes) => {
                        let to = address(if sure { QoS::AtLeastOnce } else { QoS::AtMostOnce });
                        let receipts = if sure { vec![ledger.arrived(1)] } else { Vec::new() };
                        promised += receipts.len();
                        outbox.answer(None, to.clone(), message(&to, bytes.into()), receipts);
                    }
                    Step::Connect(size) => if window.is_none() {
                        window = Some(usize::from(size));
                        next_id = 1;
                        outbox.connected(size.into(), Some(LIMIT));
                    },
                    Step::Disconnect(blamed) => if window.take().is_some() {
                        handed.clear();
                        flying.clear();
                        outbox.disconnected(blamed);
                    },
                    Step::Send => if let Some(window) = window {
                        while let Some(next) = outbox.next() {
                            match next {
                                Next::Send(message) => {
                                    prop_assert!(message.packet_bytes() <= LIMIT as usize);
                                    handed.push_back(message.qos);
                                }
                                Next::GivenUp(receipts) => ended += receipts.len(),
                            }
                        }
                        prop_assert!(handed.len() + flying.len() <= window);
                        if let Some(qos) = handed.pop_front() {
                            let id = if qos == QoS::AtMostOnce { 0 } else { next_id };
                            if id != 0 {
                                flying.push(id);
                                next_id += 1;
                            }
                            outbox.sent(id);
                        }
                    },
                    Step::Acknowledge(index) => if !flying.is_empty() {
                        let id = flying.swap_remove(index % flying.len());
                        let (_, receipts) = outbox.acknowledged(id).expect("it is on its way");
                        ended += receipts.len();
                    },
                }
            }
            prop_assert_eq!(ended, promised);
            prop_assert!(outbox.is_empty() && outbox.payload_bytes == 0 && outbox.by_key.is_empty());
        }
    }
}
