//! What can go wrong in this crate.
//!
//! The SQL layer turns each into a SQLSTATE; [`KvError::is_retryable`] and [`KvError::is_ambiguous`] say
//! what a caller may do about it.

use std::sync::Arc;

use bytes::Bytes;
use shardforge_consensus::ConsensusError;

use crate::time::Timestamp;
use crate::types::{LockTarget, ObjectId, TxnId};

/// The result of this crate's operations.
pub type Result<T, E = KvError> = std::result::Result<T, E>;

/// What can go wrong.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KvError {
    /// `lock_timeout` ran out (55P03).
    #[error("canceling statement due to lock timeout")]
    LockTimeout(LockTarget),
    /// NOWAIT, or a row to skip under SKIP LOCKED (55P03).
    #[error("could not obtain lock")]
    LockNotAvailable(LockTarget),
    /// The transaction was chosen to break a circle of waits (40P01).
    #[error("deadlock detected")]
    Deadlock(Arc<DeadlockReport>),
    /// Another transaction got there first, REPEATABLE READ and above (40001).
    #[error("could not serialize access due to concurrent {}", if .0.deleted { "delete" } else { "update" })]
    SerializationFailure(Arc<Conflict>),
    /// What a SERIALIZABLE transaction read has changed before its commit (40001).
    #[error("could not serialize access due to read/write dependencies among transactions")]
    ReadWriteConflict(Arc<Conflict>),
    /// The leader changed between the taking of the locks and the commit; nothing was committed (40001): the same
    /// transaction may be run again, in another session, as this one is about to be closed.
    #[error("could not serialize access: the leader of a shard changed before the commit")]
    LocksLost,
    /// Whether the commit took effect could not be learnt (08007). The store serves nothing more.
    #[error("the outcome of the commit is unknown")]
    Ambiguous,
    /// A past state was asked for that garbage collection has begun to take apart (22023).
    #[error("the state asked for is older than what is kept")]
    SnapshotTooOld {
        /// The oldest state that can be read.
        oldest: Timestamp,
    },
    /// A state was asked for that is still to come (22023).
    #[error("the state asked for lies in the future")]
    SnapshotInFuture,
    /// The transaction has ended, or was never allowed to write: a mistake of the caller.
    #[error("{0}")]
    InvalidState(&'static str),
    /// A key is longer than [`crate::limits::KEY_BYTES_MAX`].
    #[error("a key of {0} bytes is too long")]
    KeyTooLong(usize),
    /// A sequence has no further value (2200H); whether its maximum was reached, else its minimum.
    #[error("the sequence has reached its {}", if *.ascending { "maximum" } else { "minimum" })]
    SequenceExhausted {
        /// Whether it counts upwards.
        ascending: bool,
    },
    /// Another transaction is prepared under this name, or just being prepared (42710).
    #[error("a transaction is prepared under this name already")]
    NameInUse,
    /// As many transactions are prepared as may be (53200).
    #[error("{0} transactions are prepared, and no more may be")]
    TooManyPrepared(usize),
    /// The transaction holds more locks than can be kept with it (54000).
    #[error("the transaction holds too many locks to be prepared")]
    TooManyLocks,
    /// No transaction is prepared under this name (42704).
    #[error("no transaction is prepared under this name")]
    NotPrepared,
    /// Somebody else is about to end the prepared transaction (55000).
    #[error("the prepared transaction is busy")]
    PreparedIsBusy,
    /// No space left on the disk (53100).
    #[error("the disk is full")]
    DiskFull,
    /// The store has stopped: the node is shutting down, has failed, or another one is to serve from now on (57P01, as a
    /// client expects of a server that closes its session and may be asked again elsewhere).
    #[error("the node is shutting down")]
    ShuttingDown,
    /// What is stored cannot be read (XX001).
    #[error("stored data is corrupt: {0}")]
    Corrupt(&'static str),
    /// The storage or the shard failed (58030).
    #[error(transparent)]
    Storage(Arc<ConsensusError>),
}

impl KvError {
    /// Whether the same transaction, run again from its start, may succeed.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Deadlock(_)
            | Self::SerializationFailure(_)
            | Self::ReadWriteConflict(_)
            | Self::LocksLost => true,
            Self::LockTimeout(_)
            | Self::LockNotAvailable(_)
            | Self::Ambiguous
            | Self::SnapshotTooOld { .. }
            | Self::SnapshotInFuture
            | Self::InvalidState(_)
            | Self::KeyTooLong(_)
            | Self::SequenceExhausted { .. }
            | Self::NameInUse
            | Self::TooManyPrepared(_)
            | Self::TooManyLocks
            | Self::NotPrepared
            | Self::PreparedIsBusy
            | Self::DiskFull
            | Self::ShuttingDown
            | Self::Corrupt(_)
            | Self::Storage(_) => false,
        }
    }

    /// Whether the transaction may have been committed nevertheless.
    #[must_use]
    pub const fn is_ambiguous(&self) -> bool {
        match self {
            Self::Ambiguous => true,
            Self::LockTimeout(_)
            | Self::LockNotAvailable(_)
            | Self::Deadlock(_)
            | Self::SerializationFailure(_)
            | Self::ReadWriteConflict(_)
            | Self::LocksLost
            | Self::SnapshotTooOld { .. }
            | Self::SnapshotInFuture
            | Self::InvalidState(_)
            | Self::KeyTooLong(_)
            | Self::SequenceExhausted { .. }
            | Self::NameInUse
            | Self::TooManyPrepared(_)
            | Self::TooManyLocks
            | Self::NotPrepared
            | Self::PreparedIsBusy
            | Self::DiskFull
            | Self::ShuttingDown
            | Self::Corrupt(_)
            | Self::Storage(_) => false,
        }
    }
}

impl From<ConsensusError> for KvError {
    fn from(error: ConsensusError) -> Self {
        match error {
            ConsensusError::Rejected { .. } | ConsensusError::NotLeader { .. } => Self::LocksLost,
            ConsensusError::Ambiguous { .. } => Self::Ambiguous,
            ConsensusError::DiskFull => Self::DiskFull,
            ConsensusError::Stopped { .. } => Self::ShuttingDown,
            other => Self::Storage(Arc::new(other)),
        }
    }
}

/// A row that another transaction changed, and committed, before this one could have its way with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The row's key.
    pub key: Bytes,
    /// When the other one committed.
    pub commit_ts: Timestamp,
    /// Whether it deleted the row.
    pub deleted: bool,
}

/// The circle of waits that a deadlock consists of; the first wait is the victim's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadlockReport {
    /// Each waits for the next, the last one for the first.
    pub waits: Vec<DeadlockWait>,
}

/// One side of a deadlock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadlockWait {
    /// The session that waits.
    pub session: u64,
    /// PostgreSQL's name of the mode it wants.
    pub mode: &'static str,
    /// What it wants to lock.
    pub target: LockTarget,
    /// The session it waits for.
    pub blocked_by: u64,
    /// That session's transaction, when it is one that blocks.
    pub blocking_transaction: Option<TxnId>,
}

impl DeadlockWait {
    /// The wait as PostgreSQL words it in DETAIL. `object` names an object as in "relation 1 of database 2".
    #[must_use]
    pub fn detail(&self, object: impl Fn(ObjectId) -> String) -> String {
        let what = match (&self.target, self.blocking_transaction) {
            (LockTarget::Object(id), _) => format!("{} on {}", self.mode, object(*id)),
            // A row's lock is waited for as PostgreSQL does it: as the end of its holder.
            (LockTarget::Transaction(holder), _) => format!("ShareLock on transaction {holder}"),
            (LockTarget::Row(_), Some(holder)) => format!("ShareLock on transaction {holder}"),
            (LockTarget::Row(_), None) => format!("{} on a row", self.mode),
        };
        format!("Process {} waits for {what}; blocked by process {}.", self.session, self.blocked_by)
    }
}
