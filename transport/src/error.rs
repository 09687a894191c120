//! What can go wrong: when a transport is set up, and when a node is called.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use shardforge_runtime::{NodeId, Traffic};

use crate::token::TokenError;

/// Why a transport, its certificates or a join did not come about.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The system refused something.
    #[error("could not {action}: {source}")]
    Io {
        /// What was tried.
        action: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file with a key can be read by others than its owner.
    #[error("{} can be read by others than its owner: its mode must be 0600", .0.display())]
    KeyIsOpen(PathBuf),
    /// A certificate or key is not what it should be.
    #[error("{0}")]
    Certificate(String),
    /// A join token is of no use.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The node that was asked to let this one join did not.
    #[error("{address} did not let this node join: {reason}")]
    JoinRefused {
        /// The node that was asked.
        address: String,
        /// What it said.
        reason: String,
    },
}

impl TransportError {
    pub(crate) fn io(action: impl Into<String>, source: io::Error) -> Self {
        Self::Io { action: action.into(), source }
    }
}

/// Why a call got no answer. It is inside of the `io::Error` that a call returns.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody has said where the node is.
    #[error("the address of {0} is not known")]
    Unknown(NodeId),
    /// The node cannot be reached at present, so nothing was sent.
    #[error("{node} is out of reach: {reason}")]
    Down {
        /// The node.
        node: NodeId,
        /// What the last attempt to reach it ended with.
        reason: String,
    },
    /// The connection broke while the call was under way.
    #[error("the connection to {node} was lost: {reason}")]
    Lost {
        /// The node.
        node: NodeId,
        /// How it was lost.
        reason: String,
        /// Whether the request may have reached the node.
        sent: bool,
    },
    /// No answer came in time.
    #[error("{node} did not answer a {traffic} request within {limit:?}")]
    Deadline {
        /// The node.
        node: NodeId,
        /// The request's kind.
        traffic: Traffic,
        /// How long it was waited.
        limit: Duration,
        /// Whether the request may have reached the node.
        sent: bool,
    },
    /// More is queued for the node than may be.
    #[error("too much is waiting for {node}: {calls} {traffic} requests, {bytes} bytes of them not yet sent")]
    Full {
        /// The node.
        node: NodeId,
        /// The request's kind.
        traffic: Traffic,
        /// Calls of this kind that wait for their answers.
        calls: usize,
        /// What of them has not been sent yet.
        bytes: usize,
    },
    /// The request is larger than any may be.
    #[error("a {traffic} request of {size} bytes is larger than the {size_max} that one may have")]
    TooLarge {
        /// The request's kind.
        traffic: Traffic,
        /// Its size in bytes.
        size: usize,
        /// The largest size.
        size_max: usize,
    },
    /// The node answered that it could not do it.
    #[error("{node}: {message}")]
    Remote {
        /// The node.
        node: NodeId,
        /// The kind of its error.
        kind: io::ErrorKind,
        /// What it said.
        message: String,
    },
}

impl CallError {
    /// Whether the request may have been carried out. Where this is false, it certainly was not.
    #[must_use]
    pub fn is_ambiguous(&self) -> bool {
        match self {
            Self::Unknown(_) | Self::Down { .. } | Self::Full { .. } | Self::TooLarge { .. } => false,
            Self::Lost { sent, .. } | Self::Deadline { sent, .. } => *sent,
            Self::Remote { kind, .. } => *kind != io::ErrorKind::ResourceBusy,
        }
    }

    fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Unknown(_) => io::ErrorKind::NotFound,
            Self::Down { .. } => io::ErrorKind::HostUnreachable,
            Self::Lost { .. } => io::ErrorKind::ConnectionReset,
            Self::Deadline { .. } => io::ErrorKind::TimedOut,
            Self::Full { .. } => io::ErrorKind::ResourceBusy,
            Self::TooLarge { .. } => io::ErrorKind::FileTooLarge,
            Self::Remote { kind, .. } => *kind,
        }
    }
}

impl From<CallError> for io::Error {
    fn from(error: CallError) -> Self {
        Self::new(error.kind(), error)
    }
}
