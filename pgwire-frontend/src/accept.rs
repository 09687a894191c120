//! Accepting connections from a listener, each to be served in a task of its own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Opens a listening socket. Keep-alive and no-delay are inherited by what it accepts.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_keepalive(true)?;
    socket.set_nodelay(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

/// Accepts until `closing` is over, at most `places` at once; what comes beyond waits in the kernel's queue. Returns when
/// the last connection has ended. `failed` is told of each that did not end by itself.
pub(crate) async fn accept<F>(
    listener: TcpListener,
    places: usize,
    closing: impl Future<Output = ()>,
    serve: impl Fn(TcpStream, SocketAddr) -> F,
    failed: impl Fn(),
) where
    F: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)));
    let mut connections = JoinSet::new();
    let ended = |ended: Result<(), tokio::task::JoinError>| {
        if let Err(error) = ended {
            failed();
            tracing::error!(%error, "the task of a connection failed");
        }
    };
    tokio::pin!(closing);
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        tokio::select! {
            biased;
            () = &mut closing => break,
            Some(result) = connections.join_next() => ended(result),
            (place, accepted) = accepted => match accepted {
                Ok((stream, peer)) => {
                    let serving = serve(stream, peer);
                    connections.spawn(async move {
                        serving.await;
                        drop(place);
                    });
                }
                // Out of file descriptors, most likely: they come back when connections end.
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    drop(listener);
    while let Some(result) = connections.join_next().await {
        ended(result);
    }
}
