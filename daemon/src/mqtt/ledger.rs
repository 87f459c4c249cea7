//! The order of acknowledgements: a session's deliveries that await theirs, oldest first. Pure; sends nothing.

use std::collections::VecDeque;

/// One delivery, on one connection. On any later connection it means nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Receipt {
    connection: u64,
    place: u64,
}

/// Deliveries not yet acknowledged. MQTT 5 wants PUBACKs in the order in which the PUBLISHes came (MQTT-4.6.0-2), so
/// only what stands at the head can be released.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    connection: u64,
    /// Place of the oldest in `waiting`.
    head: u64,
    /// Packet id, and whether its request is over.
    waiting: VecDeque<(u16, bool)>,
}

impl Ledger {
    /// A new connection: every receipt so far is void, the broker delivers again what was not acknowledged.
    pub(super) fn reconnected(&mut self) {
        self.connection += 1;
        self.head = 0;
        self.waiting.clear();
    }

    /// Notes a delivery.
    pub(super) fn arrived(&mut self, packet_id: u16) -> Receipt {
        let receipt = Receipt { connection: self.connection, place: self.head + self.waiting.len() as u64 };
        self.waiting.push_back((packet_id, false));
        receipt
    }

    /// Its request is over. Gives the packet ids that can be acknowledged now, in order; none for a void receipt.
    pub(super) fn settle(&mut self, receipt: Receipt) -> impl Iterator<Item = u16> + '_ {
        if receipt.connection == self.connection
            && let Some(entry) = receipt.place.checked_sub(self.head).and_then(|i| self.waiting.get_mut(usize::try_from(i).ok()?))
        {
            entry.1 = true;
        }
        std::iter::from_fn(|| {
            let (packet_id, _) = self.waiting.pop_front_if(|(_, over)| *over)?;
            self.head += 1;
            Some(packet_id)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_late_head_holds_the_rest_back() {
        let mut ledger = Ledger::default();
        let [a, b, c] = [7, 3, 9].map(|id| ledger.arrived(id));
        assert_eq!(ledger.settle(b).count(), 0);
        assert_eq!(ledger.settle(a).collect::<Vec<_>>(), [7, 3]);
        assert_eq!(ledger.settle(a).count(), 0);
        assert_eq!(ledger.settle(c).collect::<Vec<_>>(), [9]);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Arrive,
        Settle(prop::sample::Index),
        Reconnect,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            8 => Just(Step::Arrive),
            8 => any::<prop::sample::Index>().prop_map(Step::Settle),
            1 => Just(Step::Reconnect),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn acks_leave_in_order_of_arrival_once_and_on_their_own_connection(steps in steps()) {
            let mut ledger = Ledger::default();
            let mut next_id = 0u16;
            let mut receipts: Vec<Receipt> = Vec::new();
            let mut current: Vec<(u16, Receipt)> = Vec::new();
            let mut acknowledged: Vec<u16> = Vec::new();
            let mut settled: Vec<Receipt> = Vec::new();
            for step in steps {
                match step {
                    Step::Arrive => {
                        next_id += 1;
                        let receipt = ledger.arrived(next_id);
                        receipts.push(receipt);
                        current.push((next_id, receipt));
                    }
                    Step::Settle(index) if !receipts.is_empty() => {
                        let receipt = receipts[index.index(receipts.len())];
                        settled.push(receipt);
                        acknowledged.extend(ledger.settle(receipt));
                    }
                    Step::Settle(_) => {}
                    Step::Reconnect => {
                        ledger.reconnected();
                        current.clear();
                        acknowledged.clear();
                    }
                }
                // What is acknowledged on this connection is exactly its longest settled prefix.
                let prefix: Vec<u16> = current.iter().take_while(|(_, r)| settled.contains(r)).map(|(id, _)| *id).collect();
                prop_assert_eq!(&acknowledged, &prefix);
            }
        }
    }
}
