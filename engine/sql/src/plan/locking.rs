//! Locking a row that a query has read.

use bytes::Bytes;
use shardforge_kv::{KvError, LockOutcome, LockStrength, Visibility, WaitPolicy};
use shardforge_types::PgResult;

use super::context::ExecContext;
use crate::ir::RowWait;
use crate::session::error::{from_kv, from_kv_row_lock};
use crate::storage::TableLayout;

/// A row that was locked.
pub struct LockedRow {
    /// Where it is, if others have changed its key.
    pub moved_to: Option<Bytes>,
    /// What it is.
    pub outcome: LockOutcome,
}

/// Locks a row by its key; `None` if another transaction has it and it is to be skipped. The outcome is about the row as
/// the query sees it: a cursor's may be older than what the transaction did since, and than what others committed; and
/// WITH may have changed rows.
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
) -> PgResult<Option<LockedRow>> {
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
    let locked = match locked {
        Ok(outcome) if outcome.changed => followed(cx, key, strength, policy, outcome).await,
        Ok(outcome) => Ok(LockedRow { moved_to: None, outcome }),
        Err(error) => Err(error),
    };
    let locked = match locked {
        Ok(locked) => locked,
        Err(KvError::LockNotAvailable(_)) if wait == RowWait::SkipLocked => return Ok(None),
        Err(error) => return Err(from_kv_row_lock(error)),
    };
    // What WITH has changed was changed by the same statement.
    let is_changed = locked.outcome.own && !cx.written.is_empty();
    let is_newest = cx.visibility == Visibility::At(cx.txn.snapshot());
    if locked.moved_to.is_some() || (is_newest && !is_changed) {
        return Ok(Some(locked));
    }
    let outcome = Box::pin(since_then(cx, layout, key, strength, locked.outcome)).await?;
    Ok(Some(LockedRow { moved_to: None, outcome }))
}

/// A row that has changed, where it is now.
async fn followed(
    cx: &ExecContext,
    key: &[u8],
    strength: LockStrength,
    policy: WaitPolicy,
    outcome: LockOutcome,
) -> Result<LockedRow, KvError> {
    let now = cx.txn.follow(key, strength, policy).await?;
    cx.txn.settle().await?;
    Ok(match now {
        Some((key, outcome)) => LockedRow { moved_to: Some(key), outcome },
        None => LockedRow { moved_to: None, outcome },
    })
}

/// A locked row beside what a query has seen of it that does not see the newest of it.
async fn since_then(
    cx: &ExecContext,
    layout: &TableLayout,
    key: &[u8],
    strength: LockStrength,
    now: LockOutcome,
) -> PgResult<LockOutcome> {
    let before = cx.txn.get(key, cx.visibility).await.map_err(from_kv)?;
    if now.current == before {
        return Ok(LockOutcome { changed: false, ..now });
    }
    // What the transaction itself has changed since does not belong to the query any more.
    if now.own {
        return Ok(LockOutcome { current: None, changed: true, own: true });
    }
    if strength == LockStrength::KeyShare && has_same_keys(layout, now.current.as_ref(), before.as_ref())? {
        return Ok(LockOutcome { current: before, changed: false, own: false });
    }
    Ok(LockOutcome { changed: true, ..now })
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
    let before = cx.txn.get(key, cx.visibility).await.map_err(from_kv)?;
    if !cx.txn.is_elsewhere(key).map_err(from_kv)?
        && has_same_keys(layout, newest.current.as_ref(), before.as_ref())?
    {
        return Ok(Ok(LockOutcome { current: before, changed: false, own: false }));
    }
    Ok(cx.txn.lock(key, LockStrength::KeyShare, policy).await)
}

/// Whether a row is there in both versions, with the same values of all columns that keys are made of.
fn has_same_keys(layout: &TableLayout, now: Option<&Bytes>, before: Option<&Bytes>) -> PgResult<bool> {
    let (Some(now), Some(before)) = (now, before) else { return Ok(false) };
    let (now, before) = (layout.view(now)?, layout.view(before)?);
    for position in &layout.key_columns {
        if now.column(*position)? != before.column(*position)? {
            return Ok(false);
        }
    }
    Ok(true)
}
