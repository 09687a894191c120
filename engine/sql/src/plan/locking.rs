//! Locking a row that a query has read.

use shardforge_kv::{KvError, LockOutcome, LockStrength, WaitPolicy};
use shardforge_types::PgResult;

use super::context::ExecContext;
use crate::ir::RowWait;
use crate::session::error::from_kv_row_lock;

/// Locks a row by its key; `None` if another transaction has it and it is to be skipped.
///
/// # Errors
/// 55P03 under NOWAIT; what waiting for the lock raises.
pub async fn lock_row(
    cx: &ExecContext,
    key: &[u8],
    strength: LockStrength,
    wait: RowWait,
) -> PgResult<Option<LockOutcome>> {
    let policy = match wait {
        RowWait::Wait => cx.wait,
        RowWait::NoWait => WaitPolicy::NoWait,
        RowWait::SkipLocked => WaitPolicy::SkipLocked,
    };
    match cx.txn.lock(key, strength, policy).await {
        Ok(outcome) => Ok(Some(outcome)),
        Err(KvError::LockNotAvailable(_)) if wait == RowWait::SkipLocked => Ok(None),
        Err(error) => Err(from_kv_row_lock(error)),
    }
}
