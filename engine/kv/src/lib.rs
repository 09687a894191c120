//! MVCC, locks and transactions over replicated shards.
//!
//! ```text
//!   Store::begin -> Transaction
//!                     begin_statement            a snapshot
//!                     get, multi_get, scan       own writes over the snapshot's versions
//!                     lock, lock_object          rows, tables, advisory keys
//!                     put, delete                buffered
//!                     savepoint, rollback_to
//!                     commit                     one round of the log, of one shard or of several
//!                     prepare                    the same, and a PreparedTransaction commits it, or rolls it back
//! ```
//!
//! The README beside this file follows these calls through the modules.
//!
//! Invariants:
//! - This crate does not know what a table is: keys and values are bytes, objects are numbers.
//! - A snapshot never changes: whoever reads at a timestamp reads the same for ever.
//! - Readers never wait for transactions, only (for a round of the log) for commits that are being applied.
//! - What a transaction wrote in one shard is committed by one command there. If it lies in several it is committed when
//!   each of them has its part, and whoever asks later can tell from what is stored (`txn/commit.rs`, `recovery.rs`).
//! - A shard may be split at any time; who was about to write to it finds out and looks again, and nobody else notices.
//! - Time, tasks and storage come from the crates below, so that every test is deterministic.

mod buffer;
mod encoding;
mod error;
mod gc;
pub mod limits;
mod locks;
mod moved;
#[cfg(not(feature = "mutations"))]
mod mutations;
#[cfg(feature = "mutations")]
pub mod mutations;
mod mvcc;
mod page;
mod pending;
mod prepared;
mod record;
mod recovery;
mod resolve;
mod routing;
mod sequence;
mod session;
mod shards;
mod snapshots;
mod spilled;
mod splitter;
mod store;
#[cfg(test)]
mod tests;
mod time;
mod txn;
mod types;
mod watched;

pub use encoding::VERSION_SUFFIX_BYTES;
pub use error::{Conflict, DeadlockReport, DeadlockWait, KvError, Result};
pub use prepared::{PreparedInfo, PreparedTransaction};
pub use sequence::{SequenceOptions, SequenceRange, SequenceState};
pub use session::SessionLocks;
pub use shards::ShardInfo;
pub use store::{Store, StoreStats};
pub use time::Timestamp;
pub use txn::{HeldSnapshot, Savepoint, Transaction};
pub use types::{
    CommitInfo, IsolationLevel, KvOptions, LockBlocker, LockInfo, LockOutcome, LockStrength, LockTarget,
    LockWaitInfo, ObjectId, ObjectLockMode, ScanPage, ScanRequest, Snapshot, TxnId, TxnOptions, Visibility,
    WaitLimits, WaitPolicy,
};
