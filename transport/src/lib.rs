//! The network between the nodes of a cluster: [`shardforge_runtime::Network`] over gRPC with mutual TLS.
//!
//! ```text
//!   consensus, gateway                                            the other node
//!        | call(n2, Raft, request)                                     handler
//!        v                                                                ^
//!     Calls (queue, waiting)                                          Session, Answers
//!        |  batches of what is queued                                     |
//!     Link ---- one connection and stream for each kind of traffic ---> server
//! ```
//!
//! [`Transport`] is both ends. A node dials each of its peers four times, once for each kind of [`Traffic`], so that
//! neither a snapshot nor a slow request is in the way of a heartbeat: each has its own connection, window and queue.
//! The README says why it is so, and what it costs. What is no request goes through a [`Tunnel`].
//!
//! Invariants:
//! - Every call ends: with an answer, at its deadline, or with its connection. A call that is given up leaves nothing
//!   behind, here or there.
//! - Every queue has a limit in number and in bytes; what does not fit fails at once.
//! - Under TLS nobody but the node that a certificate names is taken for it.
//!
//! What may not be here: anything that knows what a request means.
//!
//! [`Traffic`]: shardforge_runtime::Traffic

mod answers;
mod calls;
pub mod certificates;
mod codec;
mod credentials;
mod dial;
mod error;
mod frame;
mod greeting;
mod handshake;
mod identity;
mod join;
mod limits;
mod link;
mod peer;
mod server;
mod session;
mod shared;
mod status;
#[cfg(test)]
mod tests;
mod tls;
pub mod token;
mod transport;
mod tunnel;
mod tunnels;
mod wire;

pub use credentials::Credentials;
pub use error::{CallError, TransportError};
pub use identity::{ClusterId, node_name};
pub use join::{Admission, JoinHandler, JoinRequest, Joined, join};
pub use limits::{Timing, TrafficLimits, TunnelLimits};
pub use shared::{Security, TransportOptions};
pub use status::{LinkCounts, LinkState, LinkStatus, PeerStatus, TunnelCounts};
pub use transport::Transport;
pub use tunnel::Tunnel;
pub use tunnels::TunnelHandler;
