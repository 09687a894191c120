//! What memory must know when a store is opened: the newest timestamps, and the transactions with provisional versions.
//!
//! ```text
//!   record      marks of its attempt           the transaction
//!   PENDING                                    died before its commit: garbage
//!   STAGING     in all the other shards        is committed: what its client may have been told
//!   STAGING     not in all                     was never acknowledged, nor ever will be: garbage
//!   PREPARED    in all the other shards        is prepared: it has its locks again
//!   PREPARED    not in all                     was never acknowledged: garbage
//!   COMMITTED                                  is committed
//!   none        somewhere                      was cleaned up behind, or has left versions only: garbage
//! ```
//!
//! This decides nothing that has to be written down before it is acted upon. When a tenure has begun and is settled, all shards
//! have carried out whatever is in their logs, and nothing that was under way elsewhere, or here before, can come any more: it was
//! of other terms. So what is missing now is missing for good. Who asks again, after another crash, gets the same answer: a record is settled or removed
//! before the first of its marks is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use shardforge_consensus::{Cursor, ReadView, ShardId};

use crate::encoding;
use crate::error::Result;
use crate::gc::Abandoned;
use crate::mutations::{Mutation, is_on};
use crate::pending::PendingCommit;
use crate::record::{Record, RecordStatus, decode_mark};
use crate::resolve::Resolution;
use crate::spilled::SpillStatus;
use crate::store::Shared;
use crate::time::Timestamp;
use crate::types::TxnId;

/// Takes from the store what memory must know; see the module's essay.
pub(crate) fn recover(shared: &Shared) -> Result<()> {
    let map = shared.node.shards();
    let mut marks: BTreeMap<TxnId, BTreeMap<ShardId, u32>> = BTreeMap::new();
    for shard in map.data() {
        shared.read(shard, |view| {
            let mut cursor = local(view, shard.id(), encoding::RECEIPTS)?;
            if cursor.seek_to_last()? {
                let newest = encoding::receipt_ts(cursor.key())?;
                shared.last_commit.fetch_max(newest.as_u64(), Ordering::SeqCst);
                if !is_on(Mutation::ClockStartsBehind) {
                    shared.clock.forward(newest);
                }
            }
            let mut cursor = local(view, shard.id(), encoding::MARKS)?;
            let mut more = cursor.seek_to_first()?;
            while more {
                let attempt = decode_mark(cursor.value())?;
                marks.entry(encoding::local_txn(cursor.key())?).or_default().insert(shard.id(), attempt);
                more = cursor.next()?;
            }
            Ok(())
        })?;
    }
    let mut recorded = BTreeSet::new();
    for shard in map.data() {
        shared.read(shard, |view| {
            let mut cursor = local(view, shard.id(), encoding::RECORDS)?;
            let mut more = cursor.seek_to_first()?;
            while more {
                let txn = encoding::local_txn(cursor.key())?;
                let record = Record::decode(cursor.value())?;
                let newest = record.commit_ts.max(record.versions_ts);
                shared.clock.forward(Timestamp::from_u64(txn.0).max(newest));
                shared.settle(txn, shard.id(), record, marks.get(&txn))?;
                recorded.insert(txn);
                more = cursor.next()?;
            }
            Ok(())
        })?;
    }
    for (txn, shards) in marks.into_iter().filter(|(txn, _)| !recorded.contains(txn)) {
        shared.clock.forward(Timestamp::from_u64(txn.0));
        let shards: Vec<ShardId> = shards.into_keys().collect();
        if let Some(&anchor) = shards.first() {
            shared.garbage.abandoned(Abandoned { txn, anchor, shards });
        }
    }
    Ok(())
}

/// A cursor over a part of a shard's local space.
fn local(view: ReadView<'_>, id: ShardId, part: ([u8; 1], [u8; 1])) -> Result<Box<dyn Cursor + '_>> {
    Ok(view.local_cursor(id.local_key(&part.0), id.local_key(&part.1))?)
}

impl Shared {
    /// Decides what became of a transaction, by its record and its marks.
    fn settle(
        &self,
        txn: TxnId,
        anchor: ShardId,
        record: Record,
        marks: Option<&BTreeMap<ShardId, u32>>,
    ) -> Result<()> {
        let attempt = record.attempt;
        let has_mark = |shard: &ShardId| marks.and_then(|marks| marks.get(shard)) == Some(&attempt);
        if record.status == RecordStatus::Prepared && record.shards.iter().all(has_mark) {
            return self.restore_prepared(txn, anchor, record);
        }
        let Record { status, commit_ts, versions_ts, ignored, shards, rows, .. } = record;
        let left_over = marks.is_some_and(|marks| !marks.is_empty());
        let committed = match status {
            RecordStatus::Pending | RecordStatus::Prepared => false,
            RecordStatus::Staging => shards.iter().all(has_mark),
            RecordStatus::Committed => true,
        };
        if !committed {
            let shards = marks.map(|marks| marks.keys().copied().collect()).unwrap_or_default();
            self.garbage.abandoned(Abandoned { txn, anchor, shards });
            return Ok(());
        }
        self.last_commit.fetch_max(commit_ts.as_u64(), Ordering::SeqCst);
        let state = if rows.is_some() { SpillStatus::Resolving } else { SpillStatus::Committed };
        self.spilled.load(txn, state(commit_ts), ignored.clone());
        if status == RecordStatus::Staging || left_over || rows.is_some() {
            let versions = rows.map(|rows| {
                let writes = rows.into_iter().map(|row| (row, None)).collect();
                PendingCommit::new(txn, writes, false)
            });
            let others = marks.map(|marks| marks.keys().copied().collect()).unwrap_or_default();
            self.resolutions.push(Resolution {
                txn,
                anchor,
                others,
                commit_ts,
                versions_ts,
                ignored,
                versions,
            });
        }
        Ok(())
    }
}
