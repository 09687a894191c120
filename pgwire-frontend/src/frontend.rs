//! A frontend: what connections have in common, and how they all end.
//!
//! ```text
//!   accepting ── shutdown ──> closed: idle connections end (57P01), running statements go on
//!                                └── after the grace period ──> all are interrupted ──> none is left
//! ```

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::accept::{self, accept};
use crate::backend::Backend;
use crate::connection::{self, shutting_down};
use crate::doors::{Doors, Phase};
use crate::fair::Fair;
use crate::limits::{AUTHENTICATION_TIMEOUT, CONNECTIONS_OVER_LIMIT_MAX, FAREWELL_TIMEOUT};
use crate::metrics::Metrics;
use crate::registry::ConnectionRegistry;
use crate::transport::Stream;

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
    pub(crate) doors: Doors,
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
            doors: Doors::default(),
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
        accept::bind(address)
    }

    /// Accepts connections until [`Frontend::shutdown`] is called, and returns when the last one has ended.
    pub async fn serve(&self, listener: TcpListener) {
        let places = self.shared.options.max_connections + CONNECTIONS_OVER_LIMIT_MAX;
        let serve = |stream, peer| {
            let frontend = self.clone();
            async move { frontend.serve_stream(stream, peer).await }
        };
        let closing = self.shared.doors.reached(Phase::Closing);
        accept(listener, places, closing, serve, || self.shared.metrics.panic()).await;
    }

    /// Serves one client, which speaks over any stream of bytes and comes from `peer`. After
    /// [`Frontend::shutdown`] it is told so.
    pub async fn serve_stream(&self, stream: impl Stream + 'static, peer: SocketAddr) {
        match self.admit() {
            Some(serve) => serve(Box::new(stream), peer).await,
            None => {
                let metrics = Arc::clone(&self.shared.metrics);
                connection::turn_away(Box::new(stream), shutting_down(), metrics).await;
            }
        }
    }

    /// Takes no more connections, ends idle ones at once (57P01), and the others when their statement ends or `grace`
    /// is over. Then all are interrupted, whatever they wait for; what does not end even so is dropped where it stands.
    ///
    /// Returns when the last one is gone. From then on nothing here uses the backend, so that what is under it
    /// can be closed.
    pub async fn shutdown(&self, grace: Duration) {
        let Shared { doors, registry, .. } = &*self.shared;
        doors.close();
        registry.close();
        if timeout(grace, doors.emptied()).await.is_ok() {
            return;
        }
        doors.advance(Phase::Ending);
        registry.terminate_all();
        if timeout(FAREWELL_TIMEOUT * 2, doors.emptied()).await.is_ok() {
            return;
        }
        tracing::warn!(connections = doors.inside(), "connections did not end in time and are dropped");
        doors.advance(Phase::Gone);
        doors.emptied().await;
    }
}

impl<B: Backend> Service for Frontend<B> {
    fn admit(&self) -> Option<Serve> {
        let place = self.shared.doors.enter()?;
        let shared = Arc::clone(&self.shared);
        let serve = move |stream, peer| {
            let serving = async move {
                // Lets go of `shared` before the place is given back.
                connection::serve(shared, stream, peer).await;
                drop(place);
            };
            Fair::new(serving).boxed()
        };
        Some(Box::new(serve))
    }
}

/// What takes connections: a [`Frontend`], whatever its backend is.
pub trait Service: Send + Sync + 'static {
    /// A place for a connection, and the way to serve it there; `None` when there will be none any more.
    fn admit(&self) -> Option<Serve>;
}

/// Serves the one connection that a [`Service`] has admitted: its stream, and where the client is.
pub type Serve = Box<dyn FnOnce(Box<dyn Stream>, SocketAddr) -> BoxFuture<'static, ()> + Send>;
