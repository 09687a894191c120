//! What can go wrong in this crate.

use std::io;
use std::path::PathBuf;

use crate::types::{NodeId, ShardId};

/// The result of most functions here.
pub type Result<T> = std::result::Result<T, ConsensusError>;

/// Why the node could not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConsensusError {
    /// The command asked for a term that the shard has left: the leader changed since. Nothing was changed.
    #[error("shard {shard} is at term {current}, and no longer at {expected}")]
    Rejected {
        /// The shard asked.
        shard: ShardId,
        /// The term that the command expected.
        expected: u64,
        /// The term in which it came to be applied.
        current: u64,
    },
    /// Another replica leads the shard, or none. Nothing was changed.
    #[error("shard {shard} is not led by this node")]
    NotLeader {
        /// The shard asked.
        shard: ShardId,
        /// The node to ask instead, if it is known.
        leader: Option<NodeId>,
    },
    /// The proposal was handed to raft and its fate is unknown: it may be applied yet, or be already.
    #[error("the outcome of a proposal to shard {shard} is unknown: {reason}")]
    Ambiguous {
        /// The shard asked.
        shard: ShardId,
        /// What happened.
        reason: String,
    },
    /// A key is not in the range of the shard that was asked. Nothing was changed.
    #[error("a key lies outside of the range of shard {shard}")]
    OutOfRange {
        /// The shard asked.
        shard: ShardId,
    },
    /// The shard was split after the command's shard had been looked up. Nothing was changed; the command's keys have
    /// to be looked up again, see [`crate::Node::rerouted`].
    #[error("shard {shard} was split before the command could be carried out")]
    Moved {
        /// The shard asked.
        shard: ShardId,
    },
    /// What was asked of a shard's replicas cannot be done as things are. Nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// The command is larger than a raft entry may be. Nothing was changed.
    #[error("a command of {size_bytes} bytes is larger than the limit of {limit_bytes}")]
    TooLarge {
        /// The command's encoded size.
        size_bytes: usize,
        /// What is allowed.
        limit_bytes: usize,
    },
    /// The file system is full. Nothing was changed.
    #[error("no space left on the device that holds the data directory")]
    DiskFull,
    /// The node is shutting down, or has stopped after a failure of its storage. Nothing was changed.
    #[error("the node has stopped: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
    /// A storage engine failed.
    #[error("storage: {0}")]
    Storage(String),
    /// Stored bytes are not what was written.
    #[error("stored data is corrupt: {0}")]
    Corrupt(String),
    /// The data directory cannot be used.
    #[error("data directory {}: {problem}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it, and what may help.
        problem: String,
    },
}

impl ConsensusError {
    /// Whether the same request may succeed when it is tried again, and trying again cannot apply it twice.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NotLeader { .. } => true,
            Self::Rejected { .. }
            | Self::Ambiguous { .. }
            | Self::OutOfRange { .. }
            | Self::Moved { .. }
            | Self::Refused(_)
            | Self::TooLarge { .. }
            | Self::DiskFull
            | Self::Stopped { .. }
            | Self::Storage(_)
            | Self::Corrupt(_)
            | Self::Directory { .. } => false,
        }
    }

    /// Whether the request may have been carried out, or may be yet.
    #[must_use]
    pub fn is_ambiguous(&self) -> bool {
        match self {
            Self::Ambiguous { .. } => true,
            Self::Rejected { .. }
            | Self::NotLeader { .. }
            | Self::OutOfRange { .. }
            | Self::Moved { .. }
            | Self::Refused(_)
            | Self::TooLarge { .. }
            | Self::DiskFull
            | Self::Stopped { .. }
            | Self::Storage(_)
            | Self::Corrupt(_)
            | Self::Directory { .. } => false,
        }
    }
}

impl From<io::Error> for ConsensusError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::StorageFull {
            return Self::DiskFull;
        }
        Self::Storage(error.to_string())
    }
}
