//! How openraft is bound to our storage, our clock and our network.
//!
//! ```text
//!   Proposer --client_write_ff--> RaftCore --append--> GroupLog --> LogWriter (one thread a node)
//!                                    ^                                  | one synced write for all groups
//!                                    +-------------- IOFlushed ---------+
//!                                    |
//!                                    +--> state machine worker --> StateMachine::apply --> kvdb, replies
//! ```
//!
//! Nothing outside of this module and the shard sees an openraft type.
//!
//! Invariants:
//! - Votes and entries of a group reach the disk in the order in which openraft issued them.
//! - An entry's effects and the record that it was applied are one write to `kvdb`.
//! - A log entry is purged only when `kvdb` has made its effects durable.

pub(crate) mod batch;
pub(crate) mod codec;
pub(crate) mod log_store;
pub(crate) mod log_writer;
pub(crate) mod network;
pub(crate) mod runtime;
pub(crate) mod snapshot;
pub(crate) mod state_machine;
pub(crate) mod transfer;

#[cfg(test)]
mod suite;

use std::fmt;

use openraft::RaftTypeConfig;
use openraft::alias::{CommittedLeaderIdOf, LogIdOf, SnapshotMetaOf, StoredMembershipOf, VoteOf};
use openraft::impls::leader_id_std::LeaderId;
use openraft::raft::responder::Responder;
use serde::{Deserialize, Serialize};

use crate::types::ReplicaId;

pub(crate) use batch::{BatchOutcome, CommandBatch};

/// Where a replica lives: openraft keeps it in the membership, beside the replica's id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Placement {
    pub node: u64,
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.node)
    }
}

/// The types that we run openraft with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct TypeConfig;

impl RaftTypeConfig for TypeConfig {
    type D = CommandBatch;
    type R = BatchOutcome;
    type NodeId = ReplicaId;
    type Node = Placement;
    type Term = u64;
    type LeaderId = LeaderId<u64, ReplicaId>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = openraft::EntryPayload<CommandBatch, ReplicaId, Placement>;
    type Entry = openraft::impls::Entry<CommittedLeaderIdOf<Self>, Self::Payload>;
    type AsyncRuntime = runtime::RaftRuntime;
    type Responder<T>
        = Callback<T>
    where
        T: openraft::OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: openraft::OptionalSend + 'static;
    type ErrorSource = openraft::AnyError;
}

pub(crate) type Raft = openraft::Raft<TypeConfig, state_machine::StateMachine>;
pub(crate) type Metrics = openraft::metrics::RaftServerMetrics<TypeConfig>;
pub(crate) type AllMetrics = openraft::RaftMetrics<TypeConfig>;
pub(crate) type LogId = LogIdOf<TypeConfig>;
pub(crate) type Vote = VoteOf<TypeConfig>;
pub(crate) type Entry = <TypeConfig as RaftTypeConfig>::Entry;
pub(crate) type SnapshotMeta = SnapshotMetaOf<TypeConfig>;
pub(crate) type Members = openraft::Membership<ReplicaId, Placement>;
pub(crate) type StoredMembership = StoredMembershipOf<TypeConfig>;

/// What openraft calls with the result of a proposal. Dropped uncalled, the outcome is unknown.
pub(crate) struct Callback<T>(Box<dyn FnOnce(T) + Send>);

impl<T> Callback<T> {
    pub(crate) fn new(call: impl FnOnce(T) + Send + 'static) -> Self {
        Self(Box::new(call))
    }
}

impl<T: openraft::OptionalSend + 'static> Responder<TypeConfig, T> for Callback<T> {
    fn on_complete(self, result: T) {
        (self.0)(result);
    }
}
