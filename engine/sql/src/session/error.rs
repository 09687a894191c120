//! Errors of the layers below, as a client sees them.

use std::sync::Arc;

use shardforge_kv::{Conflict, KvError};
use shardforge_types::{PgError, SqlState};

/// As [`from_kv`], for a row that was to be locked and not written: whatever became of it is called an update.
pub fn from_kv_row_lock(error: KvError) -> PgError {
    match error {
        KvError::SerializationFailure(conflict) if conflict.deleted => {
            let conflict = Conflict { deleted: false, ..(*conflict).clone() };
            from_kv(KvError::SerializationFailure(Arc::new(conflict)))
        }
        other => from_kv(other),
    }
}

/// A key-value error as a SQL error. Where other sessions had a part in it, the session that reports it says more:
/// `session/conflict.rs`.
pub fn from_kv(error: KvError) -> PgError {
    let message = error.to_string();
    match error {
        KvError::LockTimeout(_) | KvError::LockNotAvailable(_) => {
            PgError::new(SqlState::LOCK_NOT_AVAILABLE, message).caused_by(error)
        }
        KvError::Deadlock(_) => PgError::new(SqlState::T_R_DEADLOCK_DETECTED, message).caused_by(error),
        KvError::SerializationFailure(_) | KvError::ReadWriteConflict(_) => {
            PgError::new(SqlState::T_R_SERIALIZATION_FAILURE, message)
                .hint("The transaction might succeed if retried.")
                .caused_by(error)
        }
        KvError::LocksLost => PgError::new(SqlState::T_R_SERIALIZATION_FAILURE, message)
            .hint("The transaction might succeed if retried."),
        KvError::Ambiguous => PgError::new(SqlState::TRANSACTION_RESOLUTION_UNKNOWN, message)
            .hint("Read back what the transaction wrote before trying again."),
        KvError::TooManyLocks => PgError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message)
            .hint("Lock the table, or fewer of its rows."),
        KvError::NameInUse | KvError::TooManyPrepared(_) | KvError::NotPrepared | KvError::PreparedIsBusy => {
            PgError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
        }
        KvError::KeyTooLong(_) => PgError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message)
            .hint("Values that are indexed must be short."),
        KvError::SequenceExhausted { .. } => {
            PgError::new(SqlState::SEQUENCE_GENERATOR_LIMIT_EXCEEDED, message)
        }
        KvError::DiskFull => PgError::new(SqlState::DISK_FULL, "could not write: no space left on device")
            .hint("Check free disk space."),
        KvError::ShuttingDown => {
            PgError::new(SqlState::ADMIN_SHUTDOWN, "terminating connection due to administrator command")
        }
        KvError::SnapshotTooOld { .. } | KvError::SnapshotInFuture => {
            PgError::new(SqlState::INVALID_PARAMETER_VALUE, message)
        }
        KvError::Corrupt(_) => PgError::corrupted(message),
        KvError::InvalidState(_) => PgError::internal(message),
        KvError::Storage(_) => PgError::new(SqlState::IO_ERROR, message),
    }
}
