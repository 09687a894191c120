//! The gateway: takes clients on any node, and brings each to the node that serves SQL.
//!
//! ```text
//!                       Route::Local   -> the frontend of this node
//!   client -> Gateway <  Route::Remote  -> a tunnel -> accept_tunnel of the gateway there -> its frontend
//!                       Route::Unknown -> waits for another route; after a while: FATAL 57P03
//! ```
//!
//! It owns the port for as long as the process lives, while frontends come and go with the times that a node is primary.
//! Whoever knows the primary says so through a watch channel. Cancel requests travel like any connection, and find all
//! sessions where they arrive.
//!
//! Invariants
//! - A connection is forwarded once: what comes through a tunnel is served here or refused, and the node that was
//!   refused looks for another route.
//! - Nothing is read from a client before it is certain who serves it.
//! - When the primary cannot be reached any more, or another node has become it, its forwarded connections are closed
//!   without a word. What the statements under way have come to is not known here, and an error would say that it
//!   is; a connection that is lost says what is true, and every client knows what to make of it.
//! - The number of connections and of those that wait for a route is bounded, and so is how long they wait.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures::future::BoxFuture;
use shardforge_types::{PgError, PgResult, SqlState};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::accept::accept;
use crate::cancel::CancelReason;
use crate::connection::{shutting_down, turn_away};
use crate::doors::{Doors, Phase};
use crate::encode::{self, fatal};
use crate::forward::{self, Verdict};
use crate::frontend::{Serve, Service};
use crate::limits::{FAREWELL_TIMEOUT, FORWARD_TIMEOUT, ROUTE_RETRY_INTERVAL};
use crate::transport::Stream;

/// Who serves SQL at present.
#[derive(Clone, Default)]
pub enum Route {
    /// Nobody, as far as is known.
    #[default]
    Unknown,
    /// This node.
    Local(Arc<dyn Service>),
    /// Another node.
    Remote(u64),
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Route::Unknown => f.write_str("Unknown"),
            Route::Local(_) => f.write_str("Local"),
            Route::Remote(node) => write!(f, "Remote({node})"),
        }
    }
}

/// Opens a stream to another node, where it is given to [`Gateway::accept_tunnel`].
pub type Dial = Arc<dyn Fn(u64) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> + Send + Sync>;

/// What an operator may set.
#[derive(Debug, Clone)]
pub struct GatewayOptions {
    /// Connections at once, wherever they are served: of clients here, and as many again that other nodes forward. Should
    /// be more than any frontend takes, since it is the frontend that tells a client so. Further ones wait
    /// in the kernel's queue.
    pub connections_max: usize,
    /// How many of them may wait for somebody who serves them.
    pub waiting_max: usize,
    /// How long they wait.
    pub wait_max: Duration,
}

impl Default for GatewayOptions {
    fn default() -> GatewayOptions {
        GatewayOptions { connections_max: 4096, waiting_max: 1024, wait_max: Duration::from_secs(10) }
    }
}

/// What a gateway counts since its start.
#[derive(Debug, Default)]
pub struct GatewayMetrics {
    forwarded_now: AtomicU64,
    forwarded: AtomicU64,
    broken: AtomicU64,
    waiting_now: AtomicU64,
    refused: AtomicU64,
}

impl GatewayMetrics {
    /// Connections that are forwarded to another node at this moment.
    pub fn forwarded_now(&self) -> u64 {
        self.forwarded_now.load(Relaxed)
    }

    /// Connections that were forwarded.
    pub fn forwarded_total(&self) -> u64 {
        self.forwarded.load(Relaxed)
    }

    /// Forwarded connections that ended with their primary or their tunnel.
    pub fn broken_total(&self) -> u64 {
        self.broken.load(Relaxed)
    }

    /// Connections that wait for somebody who serves them.
    pub fn waiting_now(&self) -> u64 {
        self.waiting_now.load(Relaxed)
    }

    /// Connections that nobody served.
    pub fn refused_total(&self) -> u64 {
        self.refused.load(Relaxed)
    }
}

/// One more, for as long as this is held.
struct Gauge<'a>(&'a AtomicU64);

impl<'a> Gauge<'a> {
    fn of(gauge: &'a AtomicU64) -> Gauge<'a> {
        gauge.fetch_add(1, Relaxed);
        Gauge(gauge)
    }
}

impl Drop for Gauge<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// See the module's documentation. Cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    shared: Arc<Shared>,
}

struct Shared {
    options: GatewayOptions,
    routes: watch::Receiver<Route>,
    dial: Dial,
    waiting: Semaphore,
    /// Connections that other nodes have forwarded to this one.
    arrivals: Semaphore,
    /// Connections that wait or are forwarded; those that are served here are the frontend's.
    doors: Doors,
    metrics: Arc<GatewayMetrics>,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Shared { options, routes, metrics, .. } = &*self.shared;
        f.debug_struct("Gateway")
            .field("options", options)
            .field("route", &*routes.borrow())
            .field("metrics", metrics)
            .finish_non_exhaustive()
    }
}

/// Where a connection goes.
enum Way {
    Here(Serve),
    Through(u64, Box<dyn Stream>),
}

impl Gateway {
    /// A gateway that does not listen yet. `routes` always holds who serves SQL at present; the gateway ends with its
    /// sender.
    pub fn new(options: GatewayOptions, routes: watch::Receiver<Route>, dial: Dial) -> Gateway {
        let places = |count: usize| Semaphore::new(count.min(Semaphore::MAX_PERMITS));
        let shared = Shared {
            waiting: places(options.waiting_max),
            arrivals: places(options.connections_max),
            options,
            routes,
            dial,
            doors: Doors::default(),
            metrics: Arc::default(),
        };
        Gateway { shared: Arc::new(shared) }
    }

    /// What was counted so far.
    pub fn metrics(&self) -> &Arc<GatewayMetrics> {
        &self.shared.metrics
    }

    /// Accepts clients until [`Gateway::shutdown`] is called, and returns when the last of them has ended.
    pub async fn serve(&self, listener: TcpListener) {
        let serve = |stream, peer| {
            let gateway = self.clone();
            async move { gateway.serve_stream(stream, peer).await }
        };
        let closing = self.shared.doors.reached(Phase::Closing);
        accept(listener, self.shared.options.connections_max, closing, serve, || {}).await;
    }

    /// Brings one client, which comes from `peer`, to who serves it, and returns when it has ended.
    pub async fn serve_stream(&self, stream: impl Stream + 'static, peer: SocketAddr) {
        let Shared { doors, metrics, .. } = &*self.shared;
        let client: Box<dyn Stream> = Box::new(stream);
        let place = doors.enter();
        let found = if place.is_some() { self.find(peer).await } else { Err(shutting_down()) };
        match found {
            Ok(Way::Here(serve)) => {
                drop(place);
                serve(client, peer).await;
            }
            Ok(Way::Through(node, tunnel)) => self.forward(client, tunnel, node, peer).await,
            Err(error) => {
                metrics.refused.fetch_add(1, Relaxed);
                tracing::info!(%peer, %error, "connection refused");
                turn_away(client, error, Arc::default()).await;
            }
        }
    }

    /// Serves a connection that another node forwards, if SQL is served here, and returns when it has ended.
    pub async fn accept_tunnel(&self, stream: impl Stream + 'static) {
        let mut tunnel: Box<dyn Stream> = Box::new(stream);
        let peer = match timeout(FORWARD_TIMEOUT, forward::read_peer(&mut tunnel)).await {
            Ok(Ok(peer)) => peer,
            Ok(Err(error)) => return tracing::warn!(%error, "a tunnel was closed"),
            Err(_elapsed) => return tracing::warn!("a tunnel was closed: nothing came through it"),
        };
        let place = self.shared.arrivals.try_acquire();
        let route = self.shared.routes.borrow().clone();
        let admitted = match (&place, route) {
            (Err(_), _) => Err(Verdict::Busy),
            (Ok(_), Route::Local(service)) => service.admit().ok_or(Verdict::NotPrimary),
            (Ok(_), Route::Unknown | Route::Remote(_)) => Err(Verdict::NotPrimary),
        };
        let verdict = admitted.as_ref().map_or_else(|verdict| *verdict, |_| Verdict::Served);
        let told = timeout(FORWARD_TIMEOUT, forward::answer(&mut tunnel, verdict)).await;
        match (told, admitted) {
            (Ok(Ok(())), Ok(serve)) => serve(tunnel, peer).await,
            (Ok(Ok(())), Err(_refused)) => {
                // What was said arrives also if this fails, or the other side has gone.
                let _ = timeout(FORWARD_TIMEOUT, tunnel.shutdown()).await;
            }
            (Ok(Err(_)) | Err(_), _) => tracing::debug!(%peer, "a tunnel broke before it was used"),
        }
    }

    /// Takes no more clients, and sends those away that still wait. Forwarded ones end as soon as their primary has done
    /// what they have asked for, at the latest when `grace` is over. Returns when they have ended. Those that are served on this
    /// node end with its frontend.
    pub async fn shutdown(&self, grace: Duration) {
        let doors = &self.shared.doors;
        doors.close();
        if timeout(grace, doors.emptied()).await.is_err() {
            doors.advance(Phase::Gone);
            doors.emptied().await;
        }
    }

    /// Finds out who serves a client, and waits for that if need be.
    async fn find(&self, peer: SocketAddr) -> PgResult<Way> {
        let Shared { options, doors, metrics, waiting, .. } = &*self.shared;
        let deadline = Instant::now() + options.wait_max;
        let mut routes = self.shared.routes.clone();
        let mut place = None;
        loop {
            let route = routes.borrow_and_update().clone();
            // Unless another route comes first.
            let next = match &route {
                Route::Unknown => deadline,
                Route::Local(_) | Route::Remote(_) => deadline.min(Instant::now() + ROUTE_RETRY_INTERVAL),
            };
            match route {
                Route::Unknown => {}
                Route::Local(service) => {
                    if let Some(serve) = service.admit() {
                        return Ok(Way::Here(serve));
                    }
                }
                Route::Remote(node) => {
                    let reached = tokio::select! {
                        reached = timeout_at(deadline, self.reach(node, peer)) => reached,
                        () = doors.reached(Phase::Closing) => return Err(shutting_down()),
                    };
                    match reached {
                        Ok(Ok((Verdict::Served, tunnel))) => return Ok(Way::Through(node, tunnel)),
                        Ok(Ok((Verdict::Busy, _))) => return Err(too_many()),
                        Ok(Ok((Verdict::NotPrimary, _))) => tracing::debug!(node, "not the primary"),
                        Ok(Err(error)) => tracing::debug!(node, %error, "the primary cannot be reached"),
                        Err(_elapsed) => return Err(nobody_serves()),
                    }
                }
            }
            if place.is_none() {
                let permit = waiting.try_acquire().map_err(|_| too_many())?;
                place = Some((permit, Gauge::of(&metrics.waiting_now)));
            }
            tokio::select! {
                changed = routes.changed() => if changed.is_err() {
                    return Err(shutting_down());
                },
                () = sleep_until(next) => if Instant::now() >= deadline {
                    return Err(nobody_serves());
                },
                () = doors.reached(Phase::Closing) => return Err(shutting_down()),
            }
        }
    }

    /// Asks another node to serve a client.
    async fn reach(&self, node: u64, peer: SocketAddr) -> io::Result<(Verdict, Box<dyn Stream>)> {
        let mut tunnel = (self.shared.dial)(node).await?;
        let verdict = timeout(FORWARD_TIMEOUT, forward::ask(&mut tunnel, peer)).await??;
        Ok((verdict, tunnel))
    }

    /// Lets a client and its primary talk.
    async fn forward(&self, client: Box<dyn Stream>, tunnel: Box<dyn Stream>, node: u64, peer: SocketAddr) {
        let Shared { doors, metrics, routes, .. } = &*self.shared;
        metrics.forwarded.fetch_add(1, Relaxed);
        let _now = Gauge::of(&metrics.forwarded_now);
        let mut routes = routes.clone();
        let elsewhere = |route: &Route| match route {
            Route::Unknown => false,
            Route::Local(_) => true,
            Route::Remote(other) => *other != node,
        };
        let ended = tokio::select! {
            biased;
            ended = forward::copy(client, tunnel, doors) => ended,
            // Where nobody says any more who is primary, this one still is as far as is known.
            Ok(_) = routes.wait_for(elsewhere) => Err(io::Error::other("another node is the primary now")),
            () = doors.reached(Phase::Gone) => Err(io::Error::other("this node is stopping")),
        };
        match ended {
            Ok(client) => {
                let farewell = goodbye(client, doors.is_closed());
                let _ = timeout(FAREWELL_TIMEOUT, farewell).await;
            }
            Err(error) => {
                metrics.broken.fetch_add(1, Relaxed);
                tracing::debug!(node, %peer, %error, "a forwarded connection broke");
            }
        }
    }
}

/// Closes a client's connection after the primary has said all; when this node is the cause, the client is told.
async fn goodbye(mut client: Box<dyn Stream>, stopping: bool) -> io::Result<()> {
    if stopping {
        let mut message = Vec::new();
        encode::error(&mut message, &CancelReason::Terminate.error());
        client.write_all(&message).await?;
    }
    client.shutdown().await
}

fn nobody_serves() -> PgError {
    fatal(SqlState::CANNOT_CONNECT_NOW, "the database system is not yet accepting connections")
        .detail("No node of the cluster serves SQL at present.")
        .hint("A new primary takes over within seconds while most of the nodes run. Try again.")
}

fn too_many() -> PgError {
    fatal(SqlState::TOO_MANY_CONNECTIONS, "sorry, too many clients already")
}
