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
