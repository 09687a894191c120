//! Locking a row that a query has read.

use shardforge_kv::{KvError, LockOutcome, LockStrength, WaitPolicy};
use shardforge_types::PgResult;

use super::context::ExecContext;
use crate::ir::RowWait;
use crate::session::error::{from_kv, from_kv_row_lock};
use crate::storage::TableLayout;

/// Locks a row by its key; `None` if another transaction has it and it is to be skipped.
///
/// # Errors
/// 55P03 under NOWAIT; what waiting for the lock raises; 40001 for a row that is not as the transaction's only snapshot
/// shows it, in what the lock is about.
pub async fn lock_row(
    cx: &ExecContext,
    layout: &TableLayout,
    key: &[u8],
    strength: LockStrength,
    wait: RowWait,
) -> PgResult<Option<LockOutcome>> {
    let policy = match wait {
        RowWait::Wait => cx.wait,
        RowWait::NoWait => WaitPolicy::NoWait,
        RowWait::SkipLocked => WaitPolicy::SkipLocked,
    };
    let locked = if strength == LockStrength::KeyShare {
        lock_key(cx, layout, key, policy).await?
    } else {
        cx.txn.lock(key, strength, policy).await
    };
    match locked {
        Ok(outcome) => Ok(Some(outcome)),
        Err(KvError::LockNotAvailable(_)) if wait == RowWait::SkipLocked => Ok(None),
        Err(error) => Err(from_kv_row_lock(error)),
    }
}

/// FOR KEY SHARE: a row that has the same keys as in the snapshot is as it was, for those who changed the rest of it are
/// in nobody's way.
async fn lock_key(
    cx: &ExecContext,
    layout: &TableLayout,
    key: &[u8],
    policy: WaitPolicy,
) -> PgResult<Result<LockOutcome, KvError>> {
    let newest = match cx.txn.lock_newest(key, LockStrength::KeyShare, policy).await {
        Ok(newest) => newest,
        Err(error) => return Ok(Err(error)),
    };
    if !newest.changed {
        return Ok(cx.txn.settle().await.map(|()| newest));
    }
    if let Some(now) = &newest.current
        && let Some(before) = cx.txn.get(key, cx.visibility).await.map_err(from_kv)?
    {
        let (now, was) = (layout.view(now)?, layout.view(&before)?);
        let mut same_keys = true;
        for position in &layout.key_columns {
            same_keys &= now.column(*position)? == was.column(*position)?;
        }
        if same_keys {
            return Ok(Ok(LockOutcome { current: Some(before), changed: false, own: false }));
        }
    }
    Ok(cx.txn.lock(key, LockStrength::KeyShare, policy).await)
}
