//! A gate between a daemon and its broker: can be shut, which cuts every connection, can hold back what the daemon says, and
//! notes the packets that come to it.

use anyhow::Context;
use bytes::BytesMut;
use rumqttc::v5::mqttbytes::v5::Packet;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the gate does with what comes to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// What the daemon says on this connection stays here.
    HoldBack(usize),
    Shut,
}

/// A packet that came to the gate.
#[derive(Debug, Clone)]
pub struct Passed {
    /// Which connection, counted from 0.
    pub connection: usize,
    /// From the daemon to the broker.
    pub outward: bool,
    /// The packet.
    pub packet: Packet,
}

/// See the module.
pub struct Gate {
    port: u16,
    state: watch::Sender<State>,
    passed: Arc<Mutex<Vec<Passed>>>,
    /// Packets so far.
    count: watch::Receiver<usize>,
    /// Connections that stand.
    standing: watch::Receiver<usize>,
}

impl Gate {
    /// An open gate to this port.
    pub async fn to(port: u16) -> anyhow::Result<Gate> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (state, of) = watch::channel(State::Open);
        let (counted, count) = watch::channel(0);
        let (stands, standing) = watch::channel(0);
        let passed = Arc::new(Mutex::new(Vec::new()));
        let gate = Gate { port: listener.local_addr()?.port(), state, passed: passed.clone(), count, standing };
        tokio::spawn(async move {
            for connection in 0.. {
                let Ok((inner, _)) = listener.accept().await else { return };
                // Dropped at once while the gate is shut.
                if *of.borrow() == State::Shut {
                    continue;
                }
                let Ok(outer) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
                let _ = inner.set_nodelay(true);
                let _ = outer.set_nodelay(true);
                let ((inner_read, inner_write), (outer_read, outer_write)) = (inner.into_split(), outer.into_split());
                let note = |outward| {
                    let (passed, counted) = (passed.clone(), counted.clone());
                    move |packet| {
                        passed.lock().expect("no note panics").push(Passed { connection, outward, packet });
                        counted.send_modify(|n| *n += 1);
                    }
                };
                let out = carry(inner_read, outer_write, of.clone(), move |state| state != State::HoldBack(connection), note(true));
                let back = carry(outer_read, inner_write, of.clone(), |_| true, note(false));
                let (mut of, stands) = (of.clone(), stands.clone());
                stands.send_modify(|n| *n += 1);
                tokio::spawn(async move {
                    tokio::select! {
                        () = out => {}
                        () = back => {}
                        _ = of.wait_for(|state| *state == State::Shut) => {}
                    }
                    stands.send_modify(|n| *n -= 1);
                });
            }
        });
        Ok(gate)
    }

    /// Where the daemon is to connect.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Cuts every connection and lets nobody through.
    pub async fn shut(&mut self) -> anyhow::Result<()> {
        self.state.send_replace(State::Shut);
        self.standing.wait_for(|standing| *standing == 0).await?;
        Ok(())
    }

    /// Lets nothing more through that the daemon says on this connection; what the broker says still passes.
    pub fn hold_back(&self, connection: usize) {
        self.state.send_replace(State::HoldBack(connection));
    }

    /// Lets through again.
    pub fn open(&self) {
        self.state.send_replace(State::Open);
    }

    /// What has passed so far.
    pub fn passed(&self) -> Vec<Passed> {
        self.passed.lock().expect("no note panics").clone()
    }

    /// Waits until `enough` says so of what has passed.
    pub async fn wait_for(&mut self, what: &str, enough: impl Fn(&[Passed]) -> bool) -> anyhow::Result<()> {
        let passed = self.passed.clone();
        let waiting = self.count.wait_for(|_| enough(&passed.lock().expect("no note panics")));
        tokio::time::timeout(super::client::PATIENCE, waiting).await.with_context(|| format!("not seen at the gate: {what}"))??;
        Ok(())
    }
}

/// Carries bytes one way until an end closes, and notes the packets in them. Passes them on while `may` allows it.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
    may: impl Fn(State) -> bool,
    note: impl Fn(Packet),
) {
    let (mut chunk, mut packets) = (vec![0; 64 * 1024], BytesMut::new());
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        packets.extend_from_slice(&chunk[..read]);
        // Noted before it is passed on: whoever sees its effect finds it here.
        while let Ok(packet) = Packet::read(&mut packets, None) {
            note(packet);
        }
        if state.wait_for(|state| may(*state)).await.is_err() || to.write_all(&chunk[..read]).await.is_err() {
            return;
        }
    }
}

/// The connections made with this client id, oldest first.
pub fn connections_of(passed: &[Passed], client_id: &str) -> Vec<usize> {
    let is_it = |p: &&Passed| matches!(&p.packet, Packet::Connect(connect, ..) if connect.client_id == client_id);
    passed.iter().filter(is_it).map(|p| p.connection).collect()
}

/// On one connection: packet ids of the QoS 1 messages that came to the daemon, and of its acknowledgements, in order.
pub fn deliveries(passed: &[Passed], connection: usize) -> (Vec<u16>, Vec<u16>) {
    let of = |p: &&Passed| p.connection == connection;
    let published = passed.iter().filter(of).filter_map(|p| match &p.packet {
        Packet::Publish(publish) if !p.outward && publish.pkid != 0 => Some(publish.pkid),
        _ => None,
    });
    let acknowledged = passed.iter().filter(of).filter_map(|p| match &p.packet {
        Packet::PubAck(puback) if p.outward => Some(puback.pkid),
        _ => None,
    });
    (published.collect(), acknowledged.collect())
}
