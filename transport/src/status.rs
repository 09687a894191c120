//! What is seen of the transport from outside: for metrics, and for `node ls`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use shardforge_runtime::{NodeId, Traffic};

/// How a connection is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LinkState {
    /// There is none, because nothing was to be sent.
    Idle,
    /// It is being made; calls wait for it.
    Connecting,
    /// It is there.
    Connected,
    /// The last attempt failed, and calls fail at once. The next attempt comes by itself.
    Down(String),
}

impl LinkState {
    /// A word for it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Down(_) => "down",
        }
    }
}

/// A peer, as this node sees it. Whether it can be reached is what the link of [`Traffic::Control`] says.
#[derive(Clone, Debug)]
pub struct PeerStatus {
    /// The peer.
    pub node: NodeId,
    /// Where it is dialled.
    pub address: String,
    /// The connections to it, in the order of [`Traffic::ALL`].
    pub links: Vec<LinkStatus>,
}

impl PeerStatus {
    /// Whether the peer can be reached.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.link(Traffic::Control).state == LinkState::Connected
    }

    /// The connection for one kind of traffic.
    #[must_use]
    pub fn link(&self, traffic: Traffic) -> &LinkStatus {
        &self.links[traffic.index()]
    }
}

/// One connection to a peer. The counts are those since the peer became known, over all connections of this kind.
#[derive(Clone, Debug)]
pub struct LinkStatus {
    /// What it is for.
    pub traffic: Traffic,
    /// How it is.
    pub state: LinkState,
    /// The time that a ping and its answer took last; of [`Traffic::Control`] alone.
    pub round_trip: Option<Duration>,
    /// Calls that wait for their answers.
    pub calls: usize,
    /// The size of requests that have not been sent yet.
    pub queued_bytes: usize,
    /// What went out and came in.
    pub counts: LinkCounts,
}

/// What went over a connection.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct LinkCounts {
    /// Times that a connection was made.
    pub connects: u64,
    /// Times that none could be made.
    pub failed_connects: u64,
    /// Calls that failed without the peer's having answered: it was out of reach, silent, or too much was waiting.
    pub failed_calls: u64,
    /// gRPC messages sent; each holds all that was queued at its moment.
    pub batches_out: u64,
    /// gRPC messages received.
    pub batches_in: u64,
    /// Requests and notes sent.
    pub frames_out: u64,
    /// Answers received.
    pub frames_in: u64,
    /// Bytes sent, before TLS.
    pub bytes_out: u64,
    /// Bytes received, after TLS.
    pub bytes_in: u64,
}

/// The tunnels of a node, in both directions.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TunnelCounts {
    /// Those that are there now, or in the making.
    pub open: usize,
    /// All since the start.
    pub total: u64,
    /// Those for which there was no place here.
    pub refused: u64,
}

/// [`LinkCounts`] in the making.
#[derive(Default)]
pub(crate) struct Counters {
    connects: AtomicU64,
    failed_connects: AtomicU64,
    failed_calls: AtomicU64,
    batches_out: AtomicU64,
    batches_in: AtomicU64,
    frames_out: AtomicU64,
    frames_in: AtomicU64,
    bytes_out: AtomicU64,
    bytes_in: AtomicU64,
}

fn add(counter: &AtomicU64, amount: usize) {
    counter.fetch_add(u64::try_from(amount).unwrap_or(u64::MAX), Ordering::Relaxed);
}

impl Counters {
    pub(crate) fn connected(&self) {
        add(&self.connects, 1);
    }

    pub(crate) fn connect_failed(&self) {
        add(&self.failed_connects, 1);
    }

    pub(crate) fn call_failed(&self) {
        add(&self.failed_calls, 1);
    }

    pub(crate) fn sent(&self, frames: usize, bytes: usize) {
        add(&self.batches_out, 1);
        add(&self.frames_out, frames);
        add(&self.bytes_out, bytes);
    }

    pub(crate) fn received(&self, frames: usize, bytes: usize) {
        add(&self.batches_in, 1);
        add(&self.frames_in, frames);
        add(&self.bytes_in, bytes);
    }

    pub(crate) fn read(&self) -> LinkCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LinkCounts {
            connects: read(&self.connects),
            failed_connects: read(&self.failed_connects),
            failed_calls: read(&self.failed_calls),
            batches_out: read(&self.batches_out),
            batches_in: read(&self.batches_in),
            frames_out: read(&self.frames_out),
            frames_in: read(&self.frames_in),
            bytes_out: read(&self.bytes_out),
            bytes_in: read(&self.bytes_in),
        }
    }
}
