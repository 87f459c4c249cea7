//! A broker inside the process, for `hearthctl try` and a start without configuration: on loopback, with a random password,
//! keeping nothing. The only place that names it.

use crate::config::Secret;
use mqtt5::Result as BrokerResult;
use mqtt5::broker::config::StorageBackend;
use mqtt5::broker::{AuthProvider, AuthResult, BrokerConfig, BrokerShutdownHandle, MqttBroker, StorageConfig};
use mqtt5::packet::connect::ConnectPacket;
use mqtt5::protocol::v5::reason_codes::ReasonCode;
use std::fs::File;
use std::future::{Future, ready};
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// The only user.
const USER: &str = "hearth";
/// Deliveries to one client that may await their acknowledgement; the client's own receive maximum counts if it is lower.
const OUTBOUND_WINDOW: u16 = 4096;

/// A running broker; it stops when this is dropped.
pub struct EmbeddedBroker {
    address: SocketAddr,
    password: Secret,
    shutdown: BrokerShutdownHandle,
    task: JoinHandle<()>,
}

/// Why there is no broker.
#[derive(Debug, thiserror::Error)]
#[error("the embedded broker does not start: {0}")]
pub struct EmbeddedError(String);

impl EmbeddedBroker {
    /// Starts a broker on a free port of the loopback interface.
    pub async fn start() -> Result<EmbeddedBroker, EmbeddedError> {
        let failed = |error: &dyn std::fmt::Display| EmbeddedError(error.to_string());
        let password = random_password().map_err(|e| failed(&e))?;
        let storage = StorageConfig { enable_persistence: false, ..StorageConfig::new() }.with_backend(StorageBackend::Memory);
        let config = BrokerConfig::default()
            .with_bind_address(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .with_storage(storage)
            .with_sys_topics_enabled(false)
            .with_max_outbound_inflight(OUTBOUND_WINDOW);
        let mut broker =
            MqttBroker::with_config(config).await.map_err(|e| failed(&e))?.with_auth_provider(Arc::new(OneUser(password.clone())));
        let address = broker.local_addr().ok_or_else(|| failed(&"it has no address"))?;
        let shutdown = broker.shutdown_handle();
        let mut ready = broker.ready_receiver();
        let task = tokio::spawn(async move {
            if let Err(error) = broker.run().await {
                tracing::error!(%error, "the embedded broker has failed");
            }
        });
        ready.wait_for(|ready| *ready).await.map_err(|_| failed(&"it ended at once"))?;
        Ok(EmbeddedBroker { address, password, shutdown, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// User name and password, new at each start.
    pub fn login(&self) -> (&str, &Secret) {
        (USER, &self.password)
    }

    /// Stops it, and waits until it has stopped.
    pub async fn stop(mut self) {
        self.shutdown.shutdown();
        if let Err(error) = (&mut self.task).await {
            tracing::error!(%error, "the embedded broker did not stop cleanly");
        }
    }
}

impl Drop for EmbeddedBroker {
    fn drop(&mut self) {
        self.shutdown.shutdown();
    }
}

/// 128 bits from the kernel, in hexadecimal.
fn random_password() -> std::io::Result<Secret> {
    let mut bytes = [0u8; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(Secret(bytes.iter().map(|b| format!("{b:02x}")).collect()))
}

/// Lets in whoever knows the password. The broker's own password file hashes with Argon2, which takes 19 MB and tens of
/// milliseconds a connection, to protect a file that does not exist here.
struct OneUser(Secret);

impl AuthProvider for OneUser {
    fn authenticate<'a>(
        &'a self,
        connect: &'a ConnectPacket,
        _: SocketAddr,
    ) -> Pin<Box<dyn Future<Output = BrokerResult<AuthResult>> + Send + 'a>> {
        let known = connect.username.as_deref() == Some(USER) && connect.password.as_deref() == Some(self.0.0.as_bytes());
        let result = if known { AuthResult::success_with_user(USER) } else { AuthResult::fail(ReasonCode::BadUsernameOrPassword) };
        Box::pin(ready(Ok(result)))
    }

    fn authorize_publish<'a>(&'a self, _: &str, _: Option<&'a str>, _: &'a str) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(ready(true))
    }

    fn authorize_subscribe<'a>(&'a self, _: &str, _: Option<&'a str>, _: &'a str) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(ready(true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, Packet, SubscribeReasonCode};
    use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};

    fn client(broker: &EmbeddedBroker, password: &str) -> (AsyncClient, EventLoop) {
        let mut options = MqttOptions::new("test", broker.address().ip().to_string(), broker.address().port());
        options.set_credentials(USER, password);
        AsyncClient::new(options, 8)
    }

    /// Polls until `wanted` finds what it looks for.
    async fn wait<T>(events: &mut EventLoop, wanted: impl Fn(Packet) -> Option<T>) -> T {
        loop {
            if let Event::Incoming(packet) = events.poll().await.unwrap()
                && let Some(found) = wanted(packet)
            {
                return found;
            }
        }
    }

    #[tokio::test]
    async fn it_serves_who_knows_the_password_and_stops_when_told() {
        let broker = EmbeddedBroker::start().await.unwrap();
        assert!(broker.address().ip().is_loopback());
        let (_, mut events) = client(&broker, "wrong");
        let refused = events.poll().await.unwrap_err();
        assert!(matches!(refused, ConnectionError::ConnectionRefused(ConnectReturnCode::BadUserNamePassword)), "{refused:?}");

        let (client, mut events) = client(&broker, &broker.login().1.0);
        client.subscribe("a/#", QoS::AtLeastOnce).await.unwrap();
        let granted = wait(&mut events, |packet| if let Packet::SubAck(suback) = packet { Some(suback.return_codes) } else { None }).await;
        assert_eq!(granted, [SubscribeReasonCode::Success(QoS::AtLeastOnce)]);
        client.publish("a/b", QoS::AtLeastOnce, false, "hello").await.unwrap();
        let payload = wait(&mut events, |packet| if let Packet::Publish(publish) = packet { Some(publish.payload) } else { None }).await;
        assert_eq!(payload, "hello");

        let address = broker.address();
        broker.stop().await;
        assert!(tokio::net::TcpStream::connect(address).await.is_err());
    }
}
