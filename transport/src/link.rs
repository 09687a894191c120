//! A link: the way to one peer for one kind of traffic, with whatever connection it has at the time.
//!
//! ```text
//!            a call comes            the peer answers
//!     Idle ---------------> Connecting -----------> Connected
//!      ^                        |                       |
//!      |  the wait is over      | it does not           | the connection breaks
//!      +----------------- Down <+ <---------------------+  (at once again, if it had lasted)
//! ```
//!
//! The link for control traffic is never idle: it is dialled as soon as the peer is known, and again and again, so
//! that it shows whether the peer is alive: while it is down, calls of every kind fail at once. Otherwise calls wait
//! for the next attempt at a connection, and fail with it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::Stream;
use hyper::Uri;
use hyper::http::uri::PathAndQuery;
use parking_lot::Mutex;
use shardforge_runtime::{NodeId, Traffic};
use tokio::sync::{Notify, watch};
use tokio::time::MissedTickBehavior;
use tonic::Request;
use tonic::client::Grpc;
use tonic::codec::Streaming;

use crate::calls::Calls;
use crate::codec::{EXCHANGE_PATH, RawCodec};
use crate::dial::{Connection, DialTls, dial, status_text};
use crate::error::CallError;
use crate::frame::{Batch, Frame, Frames};
use crate::handshake::{self, Hello, Parties};
use crate::identity::node_name;
use crate::limits::Timing;
use crate::shared::{Security, Shared};
use crate::status::{Counters, LinkState, LinkStatus};
use crate::tls;

pub(crate) struct Link {
    shared: Arc<Shared>,
    node: NodeId,
    address: String,
    traffic: Traffic,
    /// The calls of the present connection, or of the next one.
    calls: Mutex<Arc<Calls>>,
    state: watch::Sender<LinkState>,
    /// A call came.
    wanted: Notify,
    /// The peer was seen.
    seen: Notify,
    counters: Arc<Counters>,
    /// In nanoseconds; 0 before the first.
    round_trip: AtomicU64,
}

/// A stream to the peer, and the connection that it runs over.
struct Established {
    answers: Streaming<Bytes>,
    _connection: Connection,
}

impl Link {
    pub(crate) fn new(shared: Arc<Shared>, node: NodeId, address: &str, traffic: Traffic) -> Arc<Self> {
        let calls = Calls::new(node, traffic, shared.limits(traffic).clone());
        Arc::new(Self {
            shared,
            node,
            address: address.to_owned(),
            traffic,
            calls: Mutex::new(calls),
            state: watch::Sender::new(LinkState::Idle),
            wanted: Notify::new(),
            seen: Notify::new(),
            counters: Arc::default(),
            round_trip: AtomicU64::new(0),
        })
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn call(&self, request: Bytes) -> Result<Bytes, CallError> {
        let answer = async {
            let call = self.calls().start(request)?;
            self.wanted.notify_one();
            call.answer().await
        };
        answer.await.inspect_err(|error| {
            if !matches!(error, CallError::Remote { .. }) {
                self.counters.call_failed();
            }
        })
    }

    /// Counts a call that was not even begun, because the peer is out of reach.
    pub(crate) fn count_failed_call(&self) {
        self.counters.call_failed();
    }

    /// Fails where the peer is known to be out of reach.
    pub(crate) fn check_up(&self) -> Result<(), CallError> {
        match &*self.state.borrow() {
            LinkState::Down(reason) => Err(CallError::Down { node: self.node, reason: reason.clone() }),
            LinkState::Idle | LinkState::Connecting | LinkState::Connected => Ok(()),
        }
    }

    pub(crate) fn state(&self) -> watch::Receiver<LinkState> {
        self.state.subscribe()
    }

    pub(crate) fn status(&self) -> LinkStatus {
        let (calls, queued_bytes) = self.calls().depth();
        let round_trip = self.round_trip.load(Ordering::Relaxed);
        LinkStatus {
            traffic: self.traffic,
            state: self.state.borrow().clone(),
            round_trip: (round_trip > 0).then(|| Duration::from_nanos(round_trip)),
            calls,
            queued_bytes,
            counts: self.counters.read(),
        }
    }

    /// Ends the wait for the next attempt, if there is one.
    pub(crate) fn nudge(&self) {
        self.seen.notify_waiters();
    }

    /// Keeps a connection to the peer, for as long as this future is polled.
    pub(crate) async fn run(self: Arc<Self>) {
        let _end = End(&self);
        // Attempts that failed, or that led to a connection that broke at once.
        let mut failures = 0;
        loop {
            if self.traffic != Traffic::Control {
                while self.calls().is_idle() {
                    self.wanted.notified().await;
                }
            }
            if failures == 0 || self.traffic != Traffic::Control {
                self.state.send_replace(LinkState::Connecting);
            }
            let calls = self.calls();
            let reason = match self.connect(&calls).await {
                Ok(established) => {
                    self.counters.connected();
                    self.state.send_replace(LinkState::Connected);
                    if self.traffic == Traffic::Control {
                        self.shared.nudge(self.node);
                    }
                    tracing::info!(peer = %self.node, address = self.address, traffic = %self.traffic, "connected");
                    let since = Instant::now();
                    let reason = self.exchange(established, &calls).await;
                    tracing::info!(
                        peer = %self.node, address = self.address, traffic = %self.traffic, reason,
                        "the connection was lost"
                    );
                    if since.elapsed() >= self.shared.options.timing.backoff_max {
                        failures = 0;
                        self.state.send_replace(LinkState::Idle);
                        self.renew(&reason);
                        continue;
                    }
                    reason
                }
                Err(reason) => {
                    self.counters.connect_failed();
                    self.tell_failure(failures, &reason);
                    reason
                }
            };
            failures += 1;
            // In this order: a call that comes in between fails with the old ones.
            self.state.send_replace(LinkState::Down(reason.clone()));
            self.renew(&reason);
            let wait = backoff(&self.shared.options.timing, failures, rand::random());
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.seen.notified() => {}
            }
            if self.traffic != Traffic::Control {
                self.state.send_replace(LinkState::Idle);
            }
        }
    }

    fn calls(&self) -> Arc<Calls> {
        Arc::clone(&self.calls.lock())
    }

    /// Fails all calls, and begins anew.
    fn renew(&self, reason: &str) {
        let new = Calls::new(self.node, self.traffic, self.shared.limits(self.traffic).clone());
        let old = std::mem::replace(&mut *self.calls.lock(), new);
        old.close(reason);
    }

    /// One line for a peer that goes away, not one for each attempt to reach it.
    fn tell_failure(&self, failures: u32, reason: &str) {
        let told = matches!(&*self.state.borrow(), LinkState::Down(before) if before == reason);
        if self.traffic == Traffic::Control && (failures == 0 || !told) {
            tracing::warn!(
                peer = %self.node, address = self.address, traffic = %self.traffic, reason,
                "the peer cannot be reached"
            );
        }
    }

    async fn connect(&self, calls: &Arc<Calls>) -> Result<Established, String> {
        let options = &self.shared.options;
        let tls = match &options.security {
            Security::Plaintext => DialTls::None,
            Security::Tls(credentials) => {
                let name = tls::server_name(options.cluster, self.node).map_err(|error| error.to_string())?;
                DialTls::With(Arc::clone(&credentials.current().client), name)
            }
        };
        let connection = dial(&self.address, tls, &options.timing).await?;
        let hello = Hello {
            version: handshake::VERSION,
            parties: Parties { cluster: options.cluster, from: options.node, to: self.node },
            traffic: self.traffic,
        };
        let introduction = self.introduce(connection, &hello, calls);
        match tokio::time::timeout(options.timing.connect_max, introduction).await {
            Ok(result) => result,
            Err(_elapsed) => Err(format!("no introduction within {:?}", options.timing.connect_max)),
        }
    }

    async fn introduce(
        &self,
        mut connection: Connection,
        hello: &Hello,
        calls: &Arc<Calls>,
    ) -> Result<Established, String> {
        let batches = Batches { calls: Arc::clone(calls), counters: Arc::clone(&self.counters) };
        let mut request = Request::new(batches);
        hello.write(request.metadata_mut());
        let origin = Uri::builder()
            .scheme("http")
            .authority(node_name(hello.parties.cluster, hello.parties.to))
            .path_and_query("/")
            .build()
            .map_err(|error| error.to_string())?;
        let mut client = Grpc::with_origin(&mut connection, origin)
            .max_decoding_message_size(self.shared.message_bytes_max(self.traffic));
        client.ready().await.map_err(|error| error.to_string())?;
        let path = PathAndQuery::from_static(EXCHANGE_PATH);
        let response = client
            .streaming(request, path, RawCodec::<Batch>::default())
            .await
            .map_err(|status| status_text(&status))?;
        handshake::check_welcome(response.metadata(), hello.parties)?;
        Ok(Established { answers: response.into_inner(), _connection: connection })
    }

    /// Hands answers to their callers until the connection breaks; says how it did.
    async fn exchange(&self, mut established: Established, calls: &Calls) -> String {
        let timing = &self.shared.options.timing;
        let control = self.traffic == Traffic::Control;
        let mut ticks = tokio::time::interval(timing.ping_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        let mut ping = control.then(|| calls.ping());
        loop {
            tokio::select! {
                message = established.answers.message() => match message {
                    Ok(Some(message)) => match self.take(message, calls) {
                        Ok(false) => {}
                        Ok(true) => {
                            if let Some(sent) = ping.take() {
                                let nanos = u64::try_from(sent.elapsed().as_nanos()).unwrap_or(u64::MAX);
                                self.round_trip.store(nanos.max(1), Ordering::Relaxed);
                            }
                        }
                        Err(reason) => return reason,
                    },
                    Ok(None) => return "the peer closed it".to_owned(),
                    Err(status) => return status_text(&status),
                },
                // Connections of all kinds are tested by HTTP/2's own pings. This one is answered by the peer's
                // transport, so it also notices a process that no longer gets anything done.
                _ = ticks.tick(), if control => match ping {
                    None => ping = Some(calls.ping()),
                    Some(sent) if sent.elapsed() >= timing.silence_max => {
                        return format!("the peer has been silent for {:?}", timing.silence_max);
                    }
                    Some(_) => {}
                },
            }
        }
    }

    /// Takes in a message. Says whether it held the answer to a ping.
    fn take(&self, message: Bytes, calls: &Calls) -> Result<bool, String> {
        let bytes = message.len();
        let (mut count, mut pong) = (0, false);
        for frame in Frames(message) {
            count += 1;
            match frame.map_err(|malformed| malformed.to_string())? {
                Frame::Answer { id, payload } => calls.answered(id, Ok(payload)),
                Frame::Failure { id, kind, message } => {
                    calls.answered(id, Err(CallError::Remote { node: self.node, kind, message }));
                }
                Frame::Pong { .. } => pong = true,
                Frame::Request { .. } | Frame::Cancel { .. } | Frame::Ping { .. } => {
                    return Err("the peer asks on a stream that is for its answers".to_owned());
                }
            }
        }
        self.counters.received(count, bytes);
        Ok(pong)
    }
}

/// Ends the calls of a link that is no longer run.
struct End<'a>(&'a Link);

impl Drop for End<'_> {
    fn drop(&mut self) {
        let reason = "it is not a peer any more";
        self.0.state.send_replace(LinkState::Down(reason.to_owned()));
        self.0.calls().close(reason);
    }
}

/// How long to wait after some failures: twice as long each time, up to a limit, less a random part of up to a half,
/// so that nodes that lost a peer at the same moment do not come back at the same moment.
fn backoff(timing: &Timing, failures: u32, random: u32) -> Duration {
    let doubled = timing.backoff_min.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let longest = doubled.min(timing.backoff_max);
    longest.mul_f64(1.0 - f64::from(random) / f64::from(u32::MAX) / 2.0)
}

/// What is sent over a connection: the calls as they come, in batches.
struct Batches {
    calls: Arc<Calls>,
    counters: Arc<Counters>,
}

impl Stream for Batches {
    type Item = Batch;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Batch>> {
        let batch = std::task::ready!(self.calls.poll_batch(cx));
        if let Some(batch) = &batch {
            self.counters.sent(batch.frames.len(), batch.size);
        }
        Poll::Ready(batch)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::backoff;
    use crate::limits::Timing;

    #[test]
    fn waits_grow_up_to_a_limit_and_differ() {
        let timing = Timing {
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(1),
            ..Timing::default()
        };
        let longest: Vec<_> = (1..=6).map(|failures| backoff(&timing, failures, 0).as_millis()).collect();
        assert_eq!(longest, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(backoff(&timing, 1, u32::MAX), Duration::from_millis(50));
        assert_eq!(backoff(&timing, u32::MAX, 0), Duration::from_secs(1));
    }
}
