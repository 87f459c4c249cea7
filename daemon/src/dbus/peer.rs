//! Without a bus daemon: a unix socket, each connection to it a caller of its own, with the same objects.

use super::caller::Callers;
use super::objects::Objects;
use super::{Door, Link, OpenError, Side, leave, until_open};
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zbus::{Guid, connection};

/// Peers at a time; more wait to be let in.
const PEERS: usize = 256;
/// How long a peer may take to introduce itself.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Listens until `shutdown` is cancelled, and serves each that connects until it leaves.
pub(super) async fn serve(path: &Path, door: &Arc<Door>, tried: &CancellationToken, shutdown: &CancellationToken) {
    let Some(listener) = until_open(tried, shutdown, move || std::future::ready(listen(path))).await else { return };
    tracing::info!("serving peers on {}", path.display());
    let (peers, places) = (TaskTracker::new(), Arc::new(Semaphore::new(PEERS)));
    let accept = async || {
        let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
        listener.accept().await.map(|(stream, _)| (stream, place))
    };
    let mut number = 0u64;
    while let Some(accepted) = shutdown.run_until_cancelled(accept()).await {
        match accepted {
            Ok((stream, place)) => {
                number += 1;
                let peer = serve_peer(stream, format!("peer-{number}").into(), door.clone(), shutdown.clone());
                peers.spawn(async move {
                    if let Err(error) = peer.await {
                        tracing::debug!(%error, "a peer was not served");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                // Out of descriptors, mostly: others have to leave first.
                tracing::warn!(%error, "a peer could not be let in");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    // Gone already, if somebody tidied up.
    let _ = std::fs::remove_file(path);
    peers.close();
    peers.wait().await;
}

/// A socket that a daemon left behind when it was killed is replaced; one that is served is not.
fn listen(path: &Path) -> Result<UnixListener, OpenError> {
    let failed = |source| OpenError::Socket { path: path.to_owned(), source };
    match StdStream::connect(path) {
        Ok(_) => return Err(OpenError::SocketTaken { path: path.to_owned() }),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => std::fs::remove_file(path).map_err(failed)?,
        Err(_) => {}
    }
    UnixListener::bind(path).map_err(failed)
}

async fn serve_peer(stream: UnixStream, name: Arc<str>, door: Arc<Door>, shutdown: CancellationToken) -> zbus::Result<()> {
    let user = stream.peer_cred().ok().map(|credentials| credentials.uid());
    let callers = Callers::new(door.engine.clone());
    let link = Arc::new(Link { door, callers: callers.clone(), side: Side::Peer { name: name.clone(), user } });
    let builder = connection::Builder::unix_stream(stream.into_std()?).server(Guid::generate()).p2p();
    let (objects, builder) = Objects::serve(link, builder);
    let connection = tokio::time::timeout(HANDSHAKE, builder.build())
        .await
        .map_err(|_| zbus::Error::Handshake(format!("the peer did not introduce itself within {HANDSHAKE:?}")))??;
    if shutdown.run_until_cancelled(objects.follow(&connection)).await.is_some() {
        callers.leave(&name);
    } else {
        leave(connection, &callers).await;
    }
    Ok(())
}
