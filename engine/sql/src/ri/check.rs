//! Referencing rows: is there what they reference?

use std::sync::Arc;

use hashbrown::HashMap;
use shardforge_kv::{IsolationLevel, KvError, LockStrength, Visibility, WaitPolicy};
use shardforge_types::{Datum, PgResult};

use super::relationship::{Key, Relationship, Target};
use crate::catalog::{ForeignKeyDesc, TableDesc};
use crate::plan::ExecContext;
use crate::session::error::{from_kv, from_kv_row_lock};
use crate::storage::{RowChange, RowEvent, TableScan};

/// Looks for what events of one constraint reference, each key once; answers the positions of those that are not
/// satisfied, in order.
///
/// # Errors
/// What locks and the store raise.
pub async fn unsatisfied(cx: &ExecContext, rel: &Relationship, events: &[&RowEvent]) -> PgResult<Vec<usize>> {
    let mut found: HashMap<Vec<u8>, bool> = HashMap::new();
    let mut failed = Vec::new();
    for (position, event) in events.iter().enumerate() {
        let RowChange::Referencing { row_key, key } = &event.change else { continue };
        // NULLs come here with MATCH FULL alone, which wants all or none of them.
        let wanted = if key.iter().any(Datum::is_null) { None } else { rel.key(key, &cx.env)? };
        let there = match wanted {
            None => false,
            Some(wanted) => match found.get(&wanted.bytes) {
                Some(there) => *there,
                None => {
                    let there = lock_referenced(cx, rel, &wanted).await?;
                    found.insert(wanted.bytes, there);
                    there
                }
            },
        };
        if !there && still_references(cx, rel, row_key, key).await? {
            failed.push(position);
        }
        cx.env.session.host.check_canceled()?;
    }
    Ok(failed)
}

/// Whether a row with these referencing values is still there: if it has been deleted or changed since, nothing is
/// wrong with what it referenced.
async fn still_references(
    cx: &ExecContext,
    rel: &Relationship,
    row_key: &[u8],
    key: &[Datum],
) -> PgResult<bool> {
    let Some(stored) = cx.txn.get(row_key, Visibility::Latest).await.map_err(from_kv)? else {
        return Ok(false);
    };
    let row = rel.child_layout.view(&stored)?;
    for (attnum, value) in rel.fk.columns.iter().zip(key) {
        if row.column(*attnum as usize - 1)? != *value {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Locks the row with a key so that it stays: false if there is none.
///
/// Under READ COMMITTED the newest version counts. A transaction with one snapshot must find the row there too, and
/// may not find that it has lost its key since; what else of it has changed does not matter.
async fn lock_referenced(cx: &ExecContext, rel: &Relationship, key: &Key) -> PgResult<bool> {
    let target = rel.target(key);
    if let Target::Row(row_key) = &target {
        match cx.txn.lock_newest(row_key, LockStrength::KeyShare, WaitPolicy::NoWait).await {
            // Changed since the snapshot: the rest has to look into that.
            Ok(outcome) if outcome.changed && has_one_snapshot(cx) => {}
            Ok(outcome) => return Ok(outcome.current.is_some()),
            Err(KvError::LockNotAvailable(_)) => {}
            Err(error) => return Err(from_kv(error)),
        }
    }
    let visibility = if has_one_snapshot(cx) { Visibility::Current } else { Visibility::Latest };
    let (Target::Row(place) | Target::Entry(place)) = &target;
    // Not to wait for somebody who is only just inserting it.
    let Some(there) = cx.txn.get(place, visibility).await.map_err(from_kv)? else { return Ok(false) };
    let row_key = match &target {
        Target::Row(row_key) => row_key.clone(),
        Target::Entry(_) => rel.parent_layout.key_of_entry(&there),
    };
    let outcome = cx.txn.lock_newest(&row_key, LockStrength::KeyShare, cx.wait).await;
    let outcome = outcome.map_err(|error| from_kv(error).context(rel.lock_statement(&cx.env)))?;
    let kept = match (&target, &outcome.current) {
        (_, None) => false,
        (Target::Row(_), Some(_)) => true,
        (Target::Entry(_), Some(stored)) => rel.row_has_key(stored, key)?,
    };
    if !kept && has_one_snapshot(cx) {
        // It has changed since the snapshot: the lock for writing refuses it, and says who changed it.
        let refused = cx.txn.lock_for_write(&row_key, LockStrength::KeyShare, cx.wait).await;
        refused.map_err(|error| from_kv_row_lock(error).context(rel.lock_statement(&cx.env)))?;
    }
    Ok(kept)
}

fn has_one_snapshot(cx: &ExecContext) -> bool {
    matches!(cx.isolation, IsolationLevel::RepeatableRead | IsolationLevel::Serializable)
}

/// Whether there is a row with a key at this moment, own writes included.
///
/// # Errors
/// What the store raises.
pub async fn is_referenced_there(cx: &ExecContext, rel: &Relationship, key: &Key) -> PgResult<bool> {
    let (Target::Row(place) | Target::Entry(place)) = rel.target(key);
    Ok(cx.txn.get(&place, Visibility::Latest).await.map_err(from_kv)?.is_some())
}

/// Checks all rows of the referencing table. Both tables are locked against writes.
///
/// # Errors
/// 23503 for the first row whose key is not there.
pub async fn validate(
    cx: &ExecContext,
    fk: &ForeignKeyDesc,
    child: &Arc<TableDesc>,
    parent: &Arc<TableDesc>,
) -> PgResult<()> {
    let rel = &Relationship::new(cx, fk.clone(), child.clone(), parent.clone())?;
    let mut scan = TableScan::whole(&rel.child_layout, Visibility::Latest);
    let mut rows = Vec::new();
    let mut known = LastKeys::default();
    while !scan.is_done() {
        rows.clear();
        scan.next_page(&cx.txn, VALIDATED_ROWS, &mut rows).await?;
        for row in &rows {
            let view = rel.child_layout.view(&row.value)?;
            let columns = rel.fk.columns.iter();
            let values = columns.map(|n| view.column(*n as usize - 1)).collect::<PgResult<Vec<_>>>()?;
            let nulls = values.iter().filter(|value| value.is_null()).count();
            if nulls == values.len() || (nulls > 0 && !rel.fk.match_full) {
                continue;
            }
            let there = match rel.key(&values, &cx.env)? {
                _ if nulls > 0 => false,
                None => false,
                Some(key) if known.contains(&key.bytes) => true,
                Some(key) => {
                    let there = is_referenced_there(cx, rel, &key).await?;
                    known.add(key.bytes);
                    there
                }
            };
            if !there {
                return Err(rel.missing(&values, &cx.env));
            }
        }
        cx.env.session.host.check_canceled()?;
    }
    Ok(())
}

/// Rows validated at a time.
const VALIDATED_ROWS: usize = 1024;

/// Keys that were found lately: referencing rows often repeat a few.
#[derive(Default)]
struct LastKeys(hashbrown::HashSet<Vec<u8>>);

impl LastKeys {
    const KEYS_MAX: usize = 4096;

    fn contains(&self, key: &[u8]) -> bool {
        self.0.contains(key)
    }

    fn add(&mut self, key: Vec<u8>) {
        if self.0.len() >= Self::KEYS_MAX {
            self.0.clear();
        }
        self.0.insert(key);
    }
}
