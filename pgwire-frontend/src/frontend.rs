//! The listener: accepts connections, runs each in a task of its own, and ends them all at shutdown.
//!
//! ```text
//!   accepting ── shutdown ──> closed: idle connections end (57P01), running statements go on
//!                                └── after the grace period ──> all are interrupted ──> none is left
//! ```

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::backend::Backend;
use crate::connection;
use crate::limits::{AUTHENTICATION_TIMEOUT, CONNECTIONS_OVER_LIMIT_MAX, FAREWELL_TIMEOUT};
use crate::metrics::Metrics;
use crate::registry::ConnectionRegistry;

/// What an operator may set.
#[derive(Debug, Clone)]
pub struct FrontendOptions {
    /// Connections at once, those for superusers included.
    pub max_connections: usize,
    /// How many of them only a superuser may take.
    pub superuser_reserved_connections: usize,
    /// From the connection to the end of the authentication.
    pub authentication_timeout: Duration,
}

impl Default for FrontendOptions {
    fn default() -> FrontendOptions {
        FrontendOptions {
            max_connections: 100,
            superuser_reserved_connections: 3,
            authentication_timeout: AUTHENTICATION_TIMEOUT,
        }
    }
}

/// Serves the PostgreSQL protocol for a backend. Cheap to clone.
#[derive(Debug)]
pub struct Frontend<B> {
    pub(crate) shared: Arc<Shared<B>>,
}

impl<B> Clone for Frontend<B> {
    fn clone(&self) -> Frontend<B> {
        Frontend { shared: Arc::clone(&self.shared) }
    }
}

/// What all connections have in common.
#[derive(Debug)]
pub(crate) struct Shared<B> {
    pub(crate) backend: Arc<B>,
    pub(crate) options: FrontendOptions,
    pub(crate) registry: Arc<ConnectionRegistry>,
    pub(crate) metrics: Arc<Metrics>,
    closing: Notify,
}

impl<B: Backend> Frontend<B> {
    /// A frontend that does not listen yet.
    pub fn new(backend: Arc<B>, mut options: FrontendOptions) -> Frontend<B> {
        options.max_connections = options.max_connections.max(1);
        options.superuser_reserved_connections =
            options.superuser_reserved_connections.min(options.max_connections - 1);
        let shared = Shared {
            backend,
            options,
            registry: Arc::default(),
            metrics: Arc::default(),
            closing: Notify::new(),
        };
        Frontend { shared: Arc::new(shared) }
    }

    /// All connections.
    pub fn registry(&self) -> &Arc<ConnectionRegistry> {
        &self.shared.registry
    }

    /// What was counted so far.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    /// Opens a listening socket. Keep-alive and no-delay are inherited by what it accepts.
    pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.set_keepalive(true)?;
        socket.set_nodelay(true)?;
        socket.bind(address)?;
        socket.listen(1024)
    }

    /// Accepts connections until [`Frontend::shutdown`] is called, and returns when the last one has ended.
    pub async fn serve(&self, listener: TcpListener) {
        let places = self.shared.options.max_connections + CONNECTIONS_OVER_LIMIT_MAX;
        let places = Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)));
        let closing = self.shared.closing.notified();
        tokio::pin!(closing);
        let mut connections = JoinSet::new();
        loop {
            let accepted = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (place, listener.accept().await)
            };
            tokio::select! {
                biased;
                () = &mut closing => break,
                Some(ended) = connections.join_next() => {
                    if let Err(error) = ended {
                        self.shared.metrics.panic();
                        tracing::error!(%error, "the task of a connection failed");
                    }
                }
                (place, accepted) = accepted => match accepted {
                    Ok((stream, peer)) => {
                        let shared = Arc::clone(&self.shared);
                        connections.spawn(async move {
                            connection::serve(shared, Box::new(stream), peer).await;
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
        while connections.join_next().await.is_some() {}
    }

    /// Stops accepting, ends idle connections at once, and the others when their statement ends or `grace` is
    /// over. Returns when all have ended, or a little after `grace`.
    pub async fn shutdown(&self, grace: Duration) {
        self.shared.closing.notify_one();
        self.shared.registry.close();
        if timeout(grace, self.emptied()).await.is_ok() {
            return;
        }
        self.shared.registry.terminate_all();
        if timeout(FAREWELL_TIMEOUT * 2, self.emptied()).await.is_err() {
            tracing::warn!(connections = self.shared.registry.len(), "connections did not end in time");
        }
    }

    async fn emptied(&self) {
        while !self.shared.registry.is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
    }
}
