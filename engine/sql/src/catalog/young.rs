//! Indexes that are younger than some snapshot in use.
//!
//! An index is filled with the rows as they are when it is made, in entries that are committed then. A transaction whose
//! snapshot is older finds no entry there, neither of a row that is as it was nor of one that has changed since. So for
//! each new index of a table that was there before, the moment of its commit is kept, for as long as there may be such a
//! snapshot. A restart ends all snapshots, so that memory is the place for it.

use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashMap;
use parking_lot::Mutex;
use shardforge_kv::Timestamp;

use super::{CatalogSnapshot, Change, RelationDesc, StorageId};

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
            let is_known = |storage| known.indexes.iter().any(|index| index.storage == storage);
            for index in table.indexes.iter().filter(|index| !is_known(index.storage)) {
                born.insert(index.storage, commit_ts);
            }
        }
        self.count.store(born.len(), Ordering::Release);
    }

    /// When an index was committed, if that is not long ago.
    pub fn born(&self, index: StorageId) -> Option<Timestamp> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.born.lock().get(&index).copied()
    }
}
