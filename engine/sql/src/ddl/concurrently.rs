//! CREATE, DROP and REINDEX INDEX CONCURRENTLY: indexes that come and go while rows are written.
//!
//! ```text
//!   CREATE   commit DeleteOnly -> wait for writers -> commit WriteOnly -> wait for writers
//!            -> an entry for each row, a batch a transaction -> commit Public
//!   DROP     commit WriteOnly -> wait for readers and writers -> commit DeleteOnly -> wait for writers -> drop
//! ```
//!
//! Between two steps the command waits for the transactions that hold the table in a mode that goes with writing (or
//! with reading): they may work with the descriptor before. Whoever locks the table later finds the new one. So at most
//! two states that follow one another are in use, and no writer adds an entry that another one, who knows less, fails to
//! remove. A snapshot that is older than the last step does not read by the index (`catalog/young.rs`), so that nobody
//! has to be waited for on its account.
//!
//! A batch locks its rows FOR SHARE, makes their entries of their newest versions, and commits: nobody changes a row
//! while its entry is made, and whoever changes it later finds the entry. It never waits while it holds a lock; a row
//! that somebody else has is waited for alone, and tried again. So it is part of no deadlock.
//!
//! For the whole time the session holds the table in SHARE UPDATE EXCLUSIVE mode. What fails, or a crash, leaves an index
//! that is not read (`indisvalid` is false), as in PostgreSQL: to be dropped, or made good by REINDEX.

use std::sync::Arc;

use bytes::Bytes;
use shardforge_kv::{
    KvError, LockStrength, ObjectId, ObjectLockMode, SessionLocks, Transaction, TxnOptions, Visibility,
    WaitPolicy,
};
use shardforge_types::{Oid, PgError, PgResult, SqlState};

use super::drop::drop_index;
use super::fill::{could_not_create, fill_index};
use crate::catalog::{IndexDesc, IndexState, TableDesc};
use crate::exec::env::EvalEnv;
use crate::session::error::from_kv;
use crate::session::lock_kind::RELATION;
use crate::session::{PgSession, ShownProgress};
use crate::storage::{IndexLayout, ScanRow, TableLayout, TableScan, entry_value};

/// Rows whose entries are made in one transaction: their writers wait for it.
const BATCH_ROWS: usize = 512;

/// CREATE INDEX CONCURRENTLY: `index` is in its first state. The table is locked by the transaction, which ends here.
///
/// # Errors
/// 23505 if the rows are not unique, and what the index's expressions raise; the index is invalid then.
pub async fn create(session: &mut PgSession, table: &Arc<TableDesc>, index: IndexDesc) -> PgResult<()> {
    let work = Work::begin(session, table.oid, index.oid).await?;
    let progress = session.show_progress("CREATE INDEX CONCURRENTLY", table.oid, index.oid);
    let mut changed = TableDesc::clone(table);
    changed.indexes.push(index);
    session.record_table(changed)?;
    session.commit().await?;
    work.make(session, &progress).await
}

/// REINDEX CONCURRENTLY of an index that is not valid.
///
/// # Errors
/// As [`create`].
pub async fn make_valid(session: &mut PgSession, table: Oid, index: Oid) -> PgResult<()> {
    let work = Work::begin(session, table, index).await?;
    let progress = session.show_progress("REINDEX CONCURRENTLY", table, index);
    work.find(session)?;
    session.commit().await?;
    work.make(session, &progress).await
}

/// REINDEX CONCURRENTLY of a table's indexes that are valid: nothing is made anew, but it waits as PostgreSQL does, which
/// lets writers go before the new index and then, twice, all who may know the old one. The table is locked by the
/// transaction, which ends here.
///
/// # Errors
/// What the waits raise.
pub async fn outwait(session: &mut PgSession, table: Oid) -> PgResult<()> {
    let work = Work::begin(session, table, table).await?;
    let progress = session.show_progress("REINDEX CONCURRENTLY", table, Oid(0));
    session.commit().await?;
    progress.phase("waiting for writers before build");
    work.wait_for_writers(session).await?;
    progress.phase("waiting for readers before marking dead");
    work.wait_for_readers(session).await?;
    progress.phase("waiting for readers before dropping");
    work.wait_for_readers(session).await
}

/// REINDEX of an index that is not valid: it is made within the transaction, and nobody writes the table meanwhile.
///
/// # Errors
/// 23505 if the rows are not unique, and what the index's expressions raise.
pub async fn make_anew(session: &mut PgSession, table: Oid, index: Oid) -> PgResult<()> {
    let wait = session.lock_wait();
    session.lock_table(table, ObjectLockMode::Share, wait).await?;
    let (table, position) = find_index(session, table, index)?;
    let mut changed = TableDesc::clone(&table);
    let made = &mut changed.indexes[position];
    let before = std::mem::replace(&mut made.storage, session.engine.next_storage_id().await?);
    made.state = IndexState::Public;
    session.ensure_txn().dropped_storage.push(before);
    session.record_table(changed.clone())?;
    fill_index(session, "REINDEX", &table, Arc::new(changed), position).await
}

/// DROP INDEX CONCURRENTLY of an index on which nothing depends. The table is locked by the transaction, which ends
/// here.
///
/// # Errors
/// What the store raises.
pub async fn drop(session: &mut PgSession, table: Oid, index: Oid) -> PgResult<()> {
    let work = Work::begin(session, table, index).await?;
    let (found, position) = work.find(session)?;
    // Of one that a failure has left behind, writers may keep up less.
    if found.indexes[position].state == IndexState::Public {
        work.set_state(session, IndexState::WriteOnly).await?;
        work.wait_for_readers(session).await?;
    }
    work.set_state(session, IndexState::DeleteOnly).await?;
    work.wait_for_readers(session).await?;
    let (table, position) = work.find(session)?;
    drop_index(session, &table, position)?;
    session.commit().await
}

/// A table as it is now, and the position of one of its indexes.
fn find_index(session: &mut PgSession, table: Oid, index: Oid) -> PgResult<(Arc<TableDesc>, usize)> {
    let catalog = session.catalog();
    let table = catalog.table(table).cloned();
    let position = table.as_ref().and_then(|table| table.indexes.iter().position(|i| i.oid == index));
    table.zip(position).ok_or_else(|| {
        PgError::new(SqlState::UNDEFINED_OBJECT, format!("could not open relation with OID {}", index.0))
    })
}

/// A command at work on an index.
struct Work {
    table: Oid,
    index: Oid,
    object: ObjectId,
    session: u64,
    /// Keeps other definitions away from the table between the command's transactions.
    lock: SessionLocks,
}

impl Work {
    async fn begin(session: &mut PgSession, table: Oid, index: Oid) -> PgResult<Work> {
        let object = ObjectId { class: session.database.0, kind: RELATION, id: u64::from(table.0) };
        let number = session.ensure_txn().txn.options().session;
        let lock = session.engine.store.session_locks(number);
        let wait = session.lock_wait();
        lock.lock(object, ObjectLockMode::ShareUpdateExclusive, wait).await.map_err(from_kv)?;
        Ok(Work { table, index, object, session: number, lock })
    }

    fn find(&self, session: &mut PgSession) -> PgResult<(Arc<TableDesc>, usize)> {
        find_index(session, self.table, self.index)
    }

    async fn set_state(&self, session: &mut PgSession, state: IndexState) -> PgResult<()> {
        let (table, position) = self.find(session)?;
        let mut changed = TableDesc::clone(&table);
        changed.indexes[position].state = state;
        session.record_table(changed)?;
        session.commit().await
    }

    /// Waits for the transactions that may write the table with a descriptor of before.
    async fn wait_for_writers(&self, session: &PgSession) -> PgResult<()> {
        self.wait_for(session, ObjectLockMode::Share).await
    }

    /// As [`Self::wait_for_writers`], also for those that may read it.
    async fn wait_for_readers(&self, session: &PgSession) -> PgResult<()> {
        self.wait_for(session, ObjectLockMode::AccessExclusive).await
    }

    async fn wait_for(&self, session: &PgSession, mode: ObjectLockMode) -> PgResult<()> {
        let limits = session.services.lock_limits();
        self.lock.wait_for_holders(self.object, mode, limits).await.map_err(from_kv)
    }

    /// Makes the index; one that cannot be made holds no writer up.
    async fn make(&self, session: &mut PgSession, progress: &ShownProgress) -> PgResult<()> {
        let made = self.fill(session, progress).await;
        if made.is_err() {
            session.rollback().await;
            if let Err(error) = self.set_state(session, IndexState::DeleteOnly).await {
                tracing::warn!(%error, "an index that could not be made goes on to be kept up");
            }
        }
        made
    }

    /// From an index that writers at most remove entries from to one that can be read.
    async fn fill(&self, session: &mut PgSession, progress: &ShownProgress) -> PgResult<()> {
        progress.phase("waiting for writers before build");
        self.wait_for_writers(session).await?;
        self.set_state(session, IndexState::WriteOnly).await?;
        progress.phase("waiting for writers before validation");
        self.wait_for_writers(session).await?;
        progress.phase("building index");
        let (table, position) = self.find(session)?;
        let catalog = session.catalog();
        let layout = session.engine.layout(&table, &catalog)?;
        let index = layout
            .indexes
            .iter()
            .find(|index| index.position == position)
            .ok_or_else(|| PgError::internal("the new index has no layout"))?;
        let env = session.eval_env();
        let fill = Fill { layout: &layout, index, env: &env };
        let mut scan = TableScan::whole(&layout, Visibility::Statement);
        let mut rows: Vec<ScanRow> = Vec::new();
        while !scan.is_done() {
            rows.clear();
            let txn = self.transaction(session);
            scan.next_page(&txn, BATCH_ROWS, &mut rows).await?;
            progress.rows(rows.len());
            let mut busy = Vec::new();
            for row in &rows {
                if fill.add(&txn, &row.key).await?.is_some() {
                    busy.push(row.key.clone());
                }
            }
            txn.commit().await.map_err(from_kv)?;
            for row in busy {
                self.add_alone(session, &fill, &row).await?;
            }
            session.check_canceled()?;
        }
        self.set_state(session, IndexState::Public).await
    }

    /// Adds the entry of a row that others have locked, or whose entry they have: waits for them, holding nothing.
    async fn add_alone(&self, session: &PgSession, fill: &Fill<'_>, row: &Bytes) -> PgResult<()> {
        loop {
            let txn = self.transaction(session);
            let Some(busy) = fill.add(&txn, row).await? else {
                return txn.commit().await.map(|_| ()).map_err(from_kv);
            };
            txn.rollback().await.map_err(from_kv)?;
            let waits = self.transaction(session);
            let locked = waits.lock_newest(&busy, LockStrength::Share, session.lock_wait()).await;
            locked.map_err(from_kv)?;
            waits.rollback().await.map_err(from_kv)?;
        }
    }

    fn transaction(&self, session: &PgSession) -> Transaction {
        let txn = session.engine.store.begin(TxnOptions { session: self.session, ..TxnOptions::default() });
        txn.begin_statement();
        txn
    }
}

/// Makes entries.
struct Fill<'a> {
    layout: &'a TableLayout,
    index: &'a IndexLayout,
    env: &'a EvalEnv,
}

impl Fill<'_> {
    /// Adds the entry of a row's newest version, under its lock. Answers the key that somebody else has locked, if that
    /// keeps it from being done now.
    async fn add(&self, txn: &Transaction, row: &Bytes) -> PgResult<Option<Bytes>> {
        let current = match try_lock(txn, row, LockStrength::Share).await? {
            Ok(current) => current,
            Err(busy) => return Ok(Some(busy)),
        };
        // Deleted meanwhile.
        let Some(current) = current else { return Ok(None) };
        let values = self.layout.decode(&current)?;
        let Some(entry) = self.index.entry(&values, row, self.env)? else { return Ok(None) };
        let key = Bytes::from(entry.key);
        if entry.must_be_unique {
            match try_lock(txn, &key, LockStrength::Update).await? {
                Err(busy) => return Ok(Some(busy)),
                Ok(Some(other)) if self.layout.key_of_entry(&other) != *row => {
                    return Err(could_not_create(self.layout, self.index.position, &values, self.env));
                }
                Ok(_) => {}
            }
        }
        txn.put(key, entry_value(row));
        Ok(None)
    }
}

/// What a key holds now, under a lock that is to be had at once; else the key.
async fn try_lock(
    txn: &Transaction,
    key: &Bytes,
    strength: LockStrength,
) -> PgResult<Result<Option<Bytes>, Bytes>> {
    match txn.lock_newest(key, strength, WaitPolicy::NoWait).await {
        Ok(outcome) => Ok(Ok(outcome.current)),
        Err(KvError::LockNotAvailable(_)) => Ok(Err(key.clone())),
        Err(error) => Err(from_kv(error)),
    }
}
