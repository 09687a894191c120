//! Replicated ordered shards.
//!
//! A [`Node`] holds replicas of [`Shard`]s. A shard is a range of keys and a raft group; it takes
//! [`Command`]s, lists of opaque writes, makes them durable on a majority of its replicas, and applies them in
//! one order everywhere. The README beside this file follows a proposal through it.
//!
//! Invariants:
//! - This crate does not know what a transaction is, nor what a key means beyond its order.
//! - What [`Shard::propose`] has acknowledged survives a crash of any minority of the nodes, or of the one.
//! - Time, randomness, tasks, files and network come from [`shardforge_runtime::Runtime`].

mod checksum;
mod cluster;
mod command;
mod directory;
mod engine;
mod error;
mod extent;
mod failure;
mod host;
pub mod limits;
mod maintenance;
mod members;
mod node;
mod proposer;
mod raft;
mod read;
mod records;
mod replica;
mod routing;
mod shard;
mod tenure;
#[cfg(test)]
mod tests;
mod types;

pub use checksum::Checksum;
pub use cluster::{
    AdmitRequest, Cluster, ClusterOptions, NewToken, NodeInfo, NodeLoad, NodeState, ReplicaChecksum,
    TokenCheck,
};
pub use command::{Applied, Command};
pub use engine::{
    CompactionFilter, Cursor, CursorOptions, Durability, Engine, EngineStats, Keep, MemoryEngine,
    MemoryStorage, Operation, Pinned, SharedFilter, Staging, Value, WriteBatch,
};
pub use error::{ConsensusError, Result};
pub use members::{Member, Members};
pub use node::{FatalHook, Node, NodeOptions, Storage};
pub use proposer::Submitted;
pub use raft::log_writer::LogWriterStats;
pub use read::ReadView;
pub use routing::ShardMap;
pub use shard::{Lineage, Shard};
pub use tenure::Tenure;
pub use types::{
    DATA_START, KeyRange, LOCAL_KEY_HEADER_BYTES, LOCAL_PREFIX, NodeId, ReplicaId, SYSTEM_PREFIX, ShardId,
};
