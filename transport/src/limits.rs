//! Every limit of this crate, in one place. Those that a deployment or a test may want otherwise are fields of
//! [`Timing`] and [`TrafficLimits`]; the rest are constants.

use std::time::Duration;

use shardforge_runtime::Traffic;

/// Frames are added to a batch until it has this size. One large payload may take it beyond.
pub(crate) const BATCH_SIZE_BYTES: usize = 256 << 10;

/// A connection's window: what may be on its way, or wait at the receiver, without an acknowledgement.
pub(crate) const WINDOW_BYTES: u32 = 4 << 20;

/// The largest HTTP/2 frame. The default of 16 kB costs a header and a TLS record for each piece of a large payload.
pub(crate) const HTTP_FRAME_BYTES: u32 = 256 << 10;

/// Connections that others may have open to this node.
pub(crate) const CONNECTIONS_MAX: usize = 4096;

/// Connections of which it is not known yet who they come from.
pub(crate) const STRANGERS_MAX: usize = 64;

/// A connection that has not shown within this time that it comes from a node is closed. Joins fit into it.
pub(crate) const STRANGER_TIME_MAX: Duration = Duration::from_secs(30);

/// The largest request to join, and answer to one: keys, certificates, addresses.
pub(crate) const JOIN_SIZE_MAX_BYTES: usize = 64 << 10;

/// How long a node that joins waits for the answer.
pub(crate) const JOIN_TIME_MAX: Duration = Duration::from_secs(30);

/// How long things take that concern connections.
#[derive(Clone, Debug)]
pub struct Timing {
    /// A connection must be there, with TLS and the nodes' introductions, within this time.
    pub connect_max: Duration,
    /// The wait after a first failed attempt. It doubles with each further one.
    pub backoff_min: Duration,
    /// The longest wait between two attempts, so that a node that is back is found soon.
    pub backoff_max: Duration,
    /// A connection is tested this often when nothing else shows that it lives.
    pub ping_interval: Duration,
    /// A connection on which a test goes unanswered for this long is given up.
    pub silence_max: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect_max: Duration::from_secs(3),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(1),
            ping_interval: Duration::from_secs(1),
            silence_max: Duration::from_secs(3),
        }
    }
}

/// How many tunnels there may be, those that others open included.
#[derive(Clone, Debug)]
pub struct TunnelLimits {
    /// With one peer.
    pub per_peer_max: usize,
    /// With all of them.
    pub total_max: usize,
}

impl Default for TunnelLimits {
    fn default() -> Self {
        Self { per_peer_max: 4096, total_max: 8192 }
    }
}

/// What one kind of traffic to one peer may take.
#[derive(Clone, Debug)]
pub struct TrafficLimits {
    /// The largest request, and the largest answer.
    pub payload_bytes_max: usize,
    /// Requests that have not been sent yet may have this size together; at the receiver, requests that are being
    /// worked on and answers that have not been sent yet.
    pub queue_bytes_max: usize,
    /// Calls that may wait for their answers at once.
    pub calls_max: usize,
    /// A call waits this long for its answer. Its caller may give it up earlier.
    pub deadline: Duration,
}

impl TrafficLimits {
    /// The limits unless something else is said.
    #[must_use]
    pub const fn of(traffic: Traffic) -> Self {
        match traffic {
            Traffic::Control => Self {
                payload_bytes_max: 1 << 20,
                queue_bytes_max: 8 << 20,
                calls_max: 16 << 10,
                deadline: Duration::from_secs(5),
            },
            // A raft entry may hold 64 MiB, and goes with others.
            Traffic::Raft => Self {
                payload_bytes_max: 128 << 20,
                queue_bytes_max: 256 << 20,
                calls_max: 16 << 10,
                deadline: Duration::from_secs(10),
            },
            Traffic::Request => Self {
                payload_bytes_max: 128 << 20,
                queue_bytes_max: 256 << 20,
                calls_max: 16 << 10,
                deadline: Duration::from_secs(60),
            },
            // A shard is meant to have 256 MB and may be twice as large before it is split.
            Traffic::Bulk => Self {
                payload_bytes_max: 768 << 20,
                queue_bytes_max: 768 << 20,
                calls_max: 64,
                deadline: Duration::from_secs(300),
            },
        }
    }
}
