//! Deferrable UNIQUE and PRIMARY KEY: rows with equal keys are let in, and looked at when they must not be there any
//! more.
//!
//! The index of such a constraint has entries that end with the row's key, as one that is not unique, so that several
//! can share a key for a while. Each new entry is looked at later: under a lock on the key it shares, there must be no
//! other. Whoever commits rows with the same key has looked under the same lock, so that of two transactions the
//! second finds the rows of the first.

use bytes::Bytes;
use shardforge_kv::{LockStrength, ScanRequest, Visibility};
use shardforge_types::codec::key;
use shardforge_types::{PgError, PgResult};

use super::relationship::newest;
use crate::plan::ExecContext;
use crate::session::error::from_kv;
use crate::storage::{RowChange, RowEvent, duplicate_key};

/// Looks at new entries of one constraint; answers the positions of those that are not alone, with their errors.
///
/// # Errors
/// What locks and the store raise.
pub async fn duplicates(cx: &ExecContext, events: &[&RowEvent]) -> PgResult<Vec<(usize, PgError)>> {
    let mut failed = Vec::new();
    for (position, event) in events.iter().enumerate() {
        let RowChange::UniqueLater { entry, unique_len } = &event.change else { continue };
        let Some(row_part) = cx.txn.get(entry, Visibility::Latest).await.map_err(from_kv)? else {
            // The row has been deleted or changed since.
            continue;
        };
        let shared = entry.slice(..*unique_len);
        cx.txn.lock_for_write(&shared, LockStrength::Update, cx.wait).await.map_err(from_kv)?;
        if has_other(cx, &shared, entry).await? {
            failed.push((position, duplicate(cx, event, &row_part).await?));
        }
        cx.env.session.host.check_canceled()?;
    }
    Ok(failed)
}

/// Whether there is another entry with the same key.
async fn has_other(cx: &ExecContext, shared: &Bytes, entry: &Bytes) -> PgResult<bool> {
    let end = Bytes::from(key::prefix_end(shared).unwrap_or_default());
    let mut request = ScanRequest::new(shared.clone()..end);
    request.limit_rows = 2;
    request.visibility = Visibility::Latest;
    loop {
        let page = cx.txn.scan(request.clone()).await.map_err(from_kv)?;
        if page.rows.iter().any(|(key, _)| key != entry) {
            return Ok(true);
        }
        match page.resume {
            Some(resume) => request = request.resumed(resume),
            None => return Ok(false),
        }
    }
}

async fn duplicate(cx: &ExecContext, event: &RowEvent, row_part: &[u8]) -> PgResult<PgError> {
    let gone = || PgError::internal("the table of a deferred constraint is gone");
    let table = newest(cx, event.table).ok_or_else(gone)?;
    let layout = cx.engine.layout(&table, &cx.env.catalog)?;
    let row_key = layout.key_of_entry(row_part);
    let stored = cx.txn.get(&row_key, Visibility::Latest).await.map_err(from_kv)?.ok_or_else(gone)?;
    let index = table.indexes.iter().find(|index| index.constraint == Some(event.constraint));
    Ok(duplicate_key(&layout, index.ok_or_else(gone)?, &layout.decode(&stored)?, &cx.env))
}
