//! One connection to the broker: subscribes, carries messages both ways, acknowledges, says goodbye. The only place that
//! polls rumqttc; it never waits for a publish.

use super::link::{Post, Work};
use super::outbox::Next;
use super::retry::Backoff;
use super::session::{OUTGOING_WINDOW, Session};
use super::status::SessionStatus;
use super::trouble::refusal;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAck, Packet, PubAck, PubAckReason, Publish, SubAck, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, ConnectionError, Event};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// First and longest wait before a refused subscription is asked for again.
const RESUBSCRIBE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How a connection ended.
pub(super) enum End {
    /// As it should.
    Left,
    /// It broke.
    Lost(ConnectionError),
}

/// See the module.
struct Connection<'a, W> {
    session: &'a Session,
    work: &'a mut W,
    post: &'a mut Post,
    client: AsyncClient,
    /// Subscriptions (places in the session's list) asked for by the SUBSCRIBE under way.
    asked: Vec<usize>,
    /// The first SUBSCRIBE was answered.
    announced: bool,
    /// Subscriptions refused, and when they are asked for again.
    refused: Vec<usize>,
    again: Option<Instant>,
    backoff: Backoff,
    /// By when we are gone.
    leave_by: Option<Instant>,
    said_goodbye: bool,
}

/// Runs a connection until it breaks, or until the daemon has left.
pub(super) async fn run<W: Work>(session: &Session, work: &mut W, post: &mut Post, shutdown: &CancellationToken) -> End {
    // Room for an acknowledgement of each delivery, each answer in the window, and the subscriptions: sending never waits.
    let room = usize::from(session.receive_maximum) + usize::from(OUTGOING_WINDOW) + 8;
    // A new event loop for each connection: what rumqttc keeps from the last one (a collision, packet ids beyond a smaller
    // window) does harm, and the outbox knows what to send again.
    let (client, mut events) = AsyncClient::new(session.options.clone(), room);
    let mut connection = Connection {
        session,
        work,
        post,
        client,
        asked: Vec::new(),
        announced: false,
        refused: Vec::new(),
        again: None,
        backoff: Backoff::new(RESUBSCRIBE),
        leave_by: None,
        said_goodbye: false,
    };
    loop {
        let event = {
            // Kept until it is done: a poll that is dropped half-way may lose a packet.
            let poll = events.poll();
            tokio::pin!(poll);
            loop {
                connection.send();
                connection.close();
                tokio::select! {
                    event = &mut poll => break event,
                    input = connection.work.next() => connection.work.happened(input, connection.post),
                    () = shutdown.cancelled(), if connection.leave_by.is_none() => connection.leave(),
                    () = at(connection.again) => {
                        let refused = std::mem::take(&mut connection.refused);
                        connection.subscribe(refused);
                    }
                    () = at(connection.leave_by) => {
                        tracing::warn!(session = session.name, "left before all was published; the broker delivers it again");
                        return End::Left;
                    }
                }
            }
        };
        match event {
            Ok(Event::Outgoing(Outgoing::Disconnect)) => return End::Left,
            Ok(event) => connection.event(event),
            Err(_) if connection.leave_by.is_some() => return End::Left,
            Err(error) => return End::Lost(error),
        }
    }
}

impl<W: Work> Connection<'_, W> {
    fn event(&mut self, event: Event) {
        match event {
            Event::Incoming(Packet::ConnAck(connack)) => self.connected(&connack),
            Event::Incoming(Packet::SubAck(suback)) => self.subscribed(&suback),
            Event::Incoming(Packet::Publish(publish)) => {
                let receipt = (publish.qos != QoS::AtMostOnce).then(|| self.post.ledger.arrived(publish.pkid));
                self.work.arrived(publish, receipt, self.post);
            }
            Event::Incoming(Packet::PubAck(puback)) => self.published(&puback),
            Event::Outgoing(Outgoing::Publish(packet_id)) => self.post.outbox.sent(packet_id),
            _ => {}
        }
    }

    fn connected(&mut self, connack: &ConnAck) {
        let properties = connack.properties.as_ref();
        let allowed = properties.and_then(|p| p.receive_max).unwrap_or(u16::MAX).min(OUTGOING_WINDOW);
        // One less than allowed: at the broker's receive maximum rumqttc takes nothing more from us, acknowledgements included.
        let window = usize::from(allowed.saturating_sub(1).max(1));
        self.post.outbox.connected(window, properties.and_then(|p| p.max_packet_size));
        self.post.ledger.reconnected();
        tracing::info!(session = self.session.name, resumed = connack.session_present, window, "connected to the broker");
        // Also where the session was kept: the subscriptions may have been others, and a broker that restarted may have
        // lost some.
        self.subscribe((0..self.session.filters.len()).collect());
    }

    fn subscribe(&mut self, which: Vec<usize>) {
        self.again = None;
        match self.client.try_subscribe_many(self.session.subscriptions(&which)) {
            Ok(()) => self.asked = which,
            Err(error) => {
                tracing::error!(session = self.session.name, %error, "cannot subscribe");
                self.refused = which;
                self.again = Some(Instant::now() + self.backoff.next());
            }
        }
    }

    fn subscribed(&mut self, suback: &SubAck) {
        let asked = std::mem::take(&mut self.asked);
        self.refused.clear();
        let mut status = SessionStatus { subscribed: true, ..SessionStatus::default() };
        for (place, code) in asked.into_iter().zip(&suback.return_codes) {
            let filter = &self.session.filters[place];
            if let Some(why) = refusal(code) {
                tracing::error!(session = self.session.name, filter, "the broker refuses a subscription: {why}");
                status.refused.insert(filter.clone(), why.to_owned());
                self.refused.push(place);
            } else if matches!(code, SubscribeReasonCode::Success(QoS::AtMostOnce)) {
                tracing::warn!(session = self.session.name, filter, "the broker grants only QoS 0: requests may be lost");
            }
        }
        status.subscriptions = self.session.filters.len() - self.refused.len();
        if self.refused.is_empty() {
            self.backoff.reset();
        } else {
            self.again = Some(Instant::now() + self.backoff.next());
        }
        self.session.report.update(self.session.name, |s| *s = status);
        if !std::mem::replace(&mut self.announced, true) {
            self.work.subscribed(self.post);
        }
    }

    fn published(&mut self, puback: &PubAck) {
        let Some((message, receipts)) = self.post.outbox.acknowledged(puback.pkid) else { return };
        if !matches!(puback.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers) {
            // Sending it again would meet the same answer, so this is its end.
            tracing::error!(topic = %message.topic, reason = ?puback.reason, "the broker refuses a message");
        }
        self.post.settle(receipts);
    }

    /// Hands over all that may leave now. The channel has room for it; should it not, what is left waits for the next turn.
    fn send(&mut self) {
        while let Some(next) = self.post.outbox.next() {
            match next {
                Next::GivenUp(receipts) => self.post.settle(receipts),
                Next::Send(m) => {
                    let sent = self.client.try_publish_with_properties(&*m.topic, m.qos, m.retain, m.payload, m.properties);
                    if sent.is_err() {
                        self.post.outbox.not_handed_over();
                        break;
                    }
                }
            }
        }
        while let Some(packet_id) = self.post.acks.front() {
            let delivery = Publish { pkid: *packet_id, qos: QoS::AtLeastOnce, ..Publish::default() };
            if self.client.try_ack(&delivery).is_err() {
                break;
            }
            self.post.acks.pop_front();
        }
    }

    fn leave(&mut self) {
        self.leave_by = Some(Instant::now() + self.session.leave_within);
        self.work.leave(self.post);
        if self.session.shared {
            for filter in &self.session.filters {
                // Should it not go out, the session's expiry does the same, later.
                let _ = self.client.try_unsubscribe(filter.clone());
            }
        }
    }

    /// Once all is done and published, says goodbye.
    fn close(&mut self) {
        if self.leave_by.is_some() && !self.said_goodbye && self.work.is_idle() && self.post.is_empty() {
            self.said_goodbye = self.client.try_disconnect().is_ok();
        }
    }
}

/// At this time; never, if there is none.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending::<()>().await,
    }
}
