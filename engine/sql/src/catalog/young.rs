//! Indexes that are younger than some snapshot in use.
//!
//! An index is filled with the rows as they are when it is made, in entries that are committed then; one that is made
//! concurrently can be read from the moment on at which it is said to be complete. A transaction whose
//! snapshot is older finds no entry there, neither of a row that is as it was nor of one that has changed since. So for
//! each new index of a table that was there before, the moment of its commit is kept, for as long as there may be such a
//! snapshot. A restart ends all snapshots, so that memory is the place for it.

use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashMap;
use parking_lot::Mutex;
use shardforge_kv::Timestamp;

use super::{CatalogSnapshot, Change, IndexState, RelationDesc, StorageId, TableDesc};

/// See the module's essay.
#[derive(Default)]
pub struct YoungIndexes {
    born: Mutex<HashMap<StorageId, Timestamp>>,
    /// How many there are: nearly always none, and then nothing is locked.
    count: AtomicUsize,
}

impl YoungIndexes {
    /// Notes the indexes that changes, committed at `commit_ts`, add to the tables of `before`. No snapshot can show
    /// what was before `oldest`.
    pub fn note(
        &self,
        before: Option<&CatalogSnapshot>,
        changes: &[Change],
        commit_ts: Timestamp,
        oldest: Timestamp,
    ) {
        let mut born = self.born.lock();
        born.retain(|_, born| *born > oldest);
        for change in changes {
            let Change::PutRelation(RelationDesc::Table(table)) = change else { continue };
            let Some(known) = before.and_then(|before| before.table(table.oid)) else { continue };
            let readable = |table: &TableDesc| {
                let public = table.indexes.iter().filter(|index| index.state == IndexState::Public);
                public.map(|index| index.storage).collect::<Vec<_>>()
            };
            let known = readable(known);
            for index in readable(table).into_iter().filter(|index| !known.contains(index)) {
                born.insert(index, commit_ts);
            }
        }
        self.count.store(born.len(), Ordering::Release);
    }

    /// Whether there are none, as nearly always.
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Whether an index lacks rows that a snapshot shows.
    pub fn is_younger(&self, index: StorageId, snapshot: Timestamp) -> bool {
        !self.is_empty() && self.born.lock().get(&index).is_some_and(|born| *born > snapshot)
    }
}
