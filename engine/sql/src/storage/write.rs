//! [`TableWriter`]: changes rows together with their index entries, and enforces the table's constraints.
//!
//! Every write locks what it writes first: the row's key, and the entry of each unique index. A lock on
//! an absent key keeps others from inserting it, so what is read under the lock stays true until commit;
//! that is how uniqueness holds without a second look at commit.
//!
//! How strongly a row is locked follows PostgreSQL, so that foreign keys do not make writers wait for each other:
//! an update that leaves the keys alone takes NO KEY UPDATE, and a row whose key an insert finds taken is locked no
//! more than KEY SHARE.

use bytes::Bytes;
use shardforge_kv::{IsolationLevel, KvError, LockOutcome, LockStrength, Transaction, WaitPolicy};
use shardforge_types::{Datum, PgError, PgResult, SqlState};

use super::check::{key_text, schema_name};
use super::events::{AfterQueue, RowChange, RowEvent, Watch};
use super::layout::{IndexEntry, IndexLayout, TableLayout};
use super::scan::entry_value;
use crate::catalog::{CatalogSnapshot, IndexDesc, IndexState};
use crate::engine::Engine;
use crate::exec::env::EvalEnv;
use crate::plan::ExecContext;
use crate::session::error::from_kv;

/// Writes rows of one table.
pub struct TableWriter<'a> {
    pub(super) txn: &'a Transaction,
    pub(super) layout: &'a TableLayout,
    env: &'a EvalEnv,
    wait: WaitPolicy,
    engine: &'a Engine,
    watch: Watch,
    after: &'a AfterQueue,
}

/// What became of an insert.
#[derive(Debug)]
pub enum InsertOutcome {
    /// The row is in, under this key.
    Inserted(Bytes),
    /// A row with an equal key of an arbiter index is there; it is locked.
    Conflict {
        /// Key of the existing row.
        row_key: Bytes,
    },
}

/// Where a new row lies.
pub(super) struct RowKeys {
    pub(super) row: Bytes,
    pub(super) entries: Vec<EntryKey>,
}

/// The key of an index entry.
pub(super) struct EntryKey {
    /// Position in [`TableLayout::indexes`].
    pub(super) index: usize,
    pub(super) key: Bytes,
    pub(super) must_be_unique: bool,
    unique_len: Option<usize>,
}

impl<'a> TableWriter<'a> {
    /// A writer for a statement.
    pub fn new(cx: &'a ExecContext, layout: &'a TableLayout) -> TableWriter<'a> {
        TableWriter {
            txn: &cx.txn,
            layout,
            env: &cx.env,
            wait: cx.wait,
            engine: &cx.engine,
            watch: Watch::of(&layout.table, &cx.env.catalog),
            after: &cx.after,
        }
    }

    /// Has the writer note events that a newer catalog wants too.
    pub fn watch_also(&mut self, catalog: &CatalogSnapshot) {
        self.watch.add(&self.layout.table, catalog);
    }
}

impl TableWriter<'_> {
    /// Inserts a row (one value a column, dropped ones NULL, generated ones computed here).
    ///
    /// `arbiter` says whether a duplicate in an index (by position in [`crate::catalog::TableDesc::indexes`]) is a
    /// conflict to report rather than error 23505; the row that is there is locked `strength` then.
    ///
    /// # Errors
    /// 23502, 23514, 23505, and what locks and the store raise.
    pub async fn insert(
        &self,
        row: &mut [Datum],
        arbiter: &(dyn Fn(usize) -> bool + Send + Sync),
        strength: LockStrength,
    ) -> PgResult<InsertOutcome> {
        self.check_row(row)?;
        let keys = self.keys_of(row)?;
        if self.layout.key.is_some() {
            let is_arbiter = arbiter(0);
            if self.claim(&keys.row, is_arbiter.then_some(strength)).await?.is_some() {
                if is_arbiter {
                    return Ok(InsertOutcome::Conflict { row_key: keys.row });
                }
                return Err(self.duplicate(&self.layout.table.indexes[0], row).await);
            }
        }
        for entry in keys.entries.iter().filter(|entry| entry.must_be_unique) {
            let Some(row_key) = self.claim_entry(&entry.key).await? else { continue };
            let index = &self.layout.indexes[entry.index];
            if arbiter(index.position) {
                self.lock(&row_key, strength).await?;
                return Ok(InsertOutcome::Conflict { row_key });
            }
            return Err(self.duplicate(self.layout.index_desc(index), row).await);
        }
        let row_key = keys.row.clone();
        self.store(row, keys)?;
        Ok(InsertOutcome::Inserted(row_key))
    }

    /// Computes the generated columns of a row that is to be inserted, and checks its NOT NULL and CHECK constraints.
    ///
    /// # Errors
    /// 23502, 23514, and what the expressions raise.
    pub fn check_row(&self, row: &mut [Datum]) -> PgResult<()> {
        self.layout.check_row(row, self.env)
    }

    /// The keys of a new row that has passed its checks, and of its index entries.
    pub(super) fn keys_of(&self, row: &[Datum]) -> PgResult<RowKeys> {
        let row_key = self.layout.row_key(row, || self.engine.next_row_id());
        let mut entries = Vec::with_capacity(self.layout.indexes.len());
        for (index, layout) in self.layout.indexes.iter().enumerate() {
            if layout.state == IndexState::DeleteOnly {
                continue;
            }
            if let Some(entry) = layout.entry(row, &row_key, self.env)? {
                let IndexEntry { key, must_be_unique, unique_len } = entry;
                entries.push(EntryKey { index, key: Bytes::from(key), must_be_unique, unique_len });
            }
        }
        Ok(RowKeys { row: row_key, entries })
    }

    /// Writes a new row with its index entries; those that must be new are locked, and are.
    pub(super) fn store(&self, row: &[Datum], keys: RowKeys) -> PgResult<()> {
        self.txn.put(keys.row.clone(), self.layout.encode(row));
        for EntryKey { index, key, must_be_unique, unique_len } in keys.entries {
            self.note_unique(&self.layout.indexes[index], &key, must_be_unique, unique_len)?;
            self.txn.put(key, entry_value(&keys.row));
        }
        self.watch.inserted(self.after, &keys.row, row)
    }

    /// Locks a row's key that is to be inserted; answers the row that is there already. Such a row is locked as
    /// `expected` says, if that would be nothing unusual, and KEY SHARE at most otherwise, so that those who reference
    /// it do not wait.
    async fn claim(&self, key: &Bytes, expected: Option<LockStrength>) -> PgResult<Option<Bytes>> {
        if expected.is_none() {
            match self.txn.lock_newest(key, LockStrength::Update, WaitPolicy::NoWait).await {
                Ok(found) => return self.in_the_way(key, found, false).await,
                Err(KvError::LockNotAvailable(_)) => {}
                Err(error) => return Err(from_kv(error)),
            }
        }
        if self.txn.peek(key).await.map_err(from_kv)?.is_some() {
            let found = match expected {
                Some(strength) => self.lock(key, strength).await?,
                None => self.lock_newest(key, LockStrength::KeyShare).await?,
            };
            if found.current.is_some() {
                return self.in_the_way(key, found, false).await;
            }
        }
        let found = self.lock_newest(key, LockStrength::Update).await?;
        self.in_the_way(key, found, expected.is_some()).await
    }

    /// What stands in the way of an insertion. It is a conflict, to a statement that goes on with that row (`goes_on`),
    /// when the transaction has one snapshot and that does not show it; and to a SERIALIZABLE transaction that has read
    /// that there is no such row.
    async fn in_the_way(&self, key: &Bytes, found: LockOutcome, goes_on: bool) -> PgResult<Option<Bytes>> {
        if found.changed && found.current.is_some() {
            if goes_on {
                self.lock(key, LockStrength::KeyShare).await?;
            } else if self.txn.isolation() == IsolationLevel::Serializable {
                self.txn.learn_of(key).await.map_err(from_kv)?;
            }
        }
        Ok(found.current)
    }

    /// Locks what is no row that the statement has read: its newest version counts, whatever the snapshot.
    async fn lock_newest(&self, key: &Bytes, strength: LockStrength) -> PgResult<LockOutcome> {
        self.txn.lock_newest(key, strength, self.wait).await.map_err(from_kv)
    }

    /// Locks the entry of a unique index that is to be inserted; answers the key of the row that has it already,
    /// which is locked KEY SHARE.
    async fn claim_entry(&self, key: &Bytes) -> PgResult<Option<Bytes>> {
        let found = self.lock_newest(key, LockStrength::Update).await?.current;
        let Some(existing) = found else { return Ok(None) };
        // Whoever is deleting that row, or giving it another key, has not locked the entry.
        self.lock_newest(&self.layout.key_of_entry(&existing), LockStrength::KeyShare).await?;
        let found = self.lock_newest(key, LockStrength::Update).await?;
        let existing = self.in_the_way(key, found, false).await?;
        Ok(existing.map(|existing| self.layout.key_of_entry(&existing)))
    }

    /// How strongly a row must be locked for an update: UPDATE if a key changes, else NO KEY UPDATE.
    pub fn strength_for_update(&self, old: &[Datum], new: &[Datum]) -> LockStrength {
        let same = |position: &usize| old[*position] == new[*position];
        if self.layout.key_columns.iter().all(same) {
            LockStrength::NoKeyUpdate
        } else {
            LockStrength::Update
        }
    }

    /// Replaces a row whose key the caller has locked. Returns the key under which it is now.
    ///
    /// # Errors
    /// As [`Self::insert`].
    pub async fn update(&self, row_key: &Bytes, old: &[Datum], new: &mut [Datum]) -> PgResult<Bytes> {
        self.layout.check_row(new, self.env)?;
        if self.strength_for_update(old, new) == LockStrength::Update {
            self.lock(row_key, LockStrength::Update).await?;
        }
        let new_key = match &self.layout.key {
            Some(_) => self.layout.row_key(new, || 0),
            None => row_key.clone(),
        };
        let moved = new_key != *row_key;
        if moved {
            if self.claim(&new_key, None).await?.is_some() {
                return Err(self.duplicate(&self.layout.table.indexes[0], new).await);
            }
        }
        for index in &self.layout.indexes {
            self.move_entry(index, (row_key, old), (&new_key, new)).await?;
        }
        let value = self.layout.encode(new);
        if moved {
            self.txn.move_row(row_key.clone(), new_key.clone(), value);
        } else {
            self.txn.put(new_key.clone(), value);
        }
        self.watch.updated(self.after, (row_key, old), (&new_key, new))?;
        Ok(new_key)
    }

    /// Whether [`Self::delete`] does without the row's values.
    pub fn deletes_by_key(&self) -> bool {
        self.layout.indexes.is_empty() && self.watch.ignores_deletes()
    }

    /// Deletes a row whose key the caller has locked.
    ///
    /// # Errors
    /// What index expressions raise.
    pub async fn delete(&self, row_key: &Bytes, old: &[Datum]) -> PgResult<()> {
        for index in &self.layout.indexes {
            if let Some(entry) = self.entry_of_old(index, old, row_key)? {
                self.remove_entry(index, entry, row_key).await?;
            }
        }
        self.txn.delete(row_key.clone());
        self.watch.deleted(self.after, old)
    }

    /// The entry of a row that is there, if it has one. One that cannot be computed has never been made: for want of
    /// it an index is not valid.
    fn entry_of_old(
        &self,
        index: &IndexLayout,
        old: &[Datum],
        row_key: &Bytes,
    ) -> PgResult<Option<IndexEntry>> {
        match index.entry(old, row_key, self.env) {
            Err(_) if index.state != IndexState::Public => Ok(None),
            found => found,
        }
    }

    /// Removes a row's entry. While a unique index is being made rows may still have equal keys: then the entry may be
    /// another row's, and stays.
    async fn remove_entry(&self, index: &IndexLayout, entry: IndexEntry, row_key: &Bytes) -> PgResult<()> {
        let key = Bytes::from(entry.key);
        if entry.must_be_unique && index.state != IndexState::Public {
            let found = self.lock_newest(&key, LockStrength::Update).await?.current;
            if found.is_none_or(|value| self.layout.key_of_entry(&value) != *row_key) {
                return Ok(());
            }
        }
        self.txn.delete(key);
        Ok(())
    }

    /// Locks a row for change and returns its newest version, which may not be durable yet: what is told of it
    /// before the commit, beyond that it was overwritten, waits for [`Transaction::settle`].
    ///
    /// # Errors
    /// What locks raise.
    pub async fn lock(&self, key: &Bytes, strength: LockStrength) -> PgResult<LockOutcome> {
        self.txn.lock_for_write(key, strength, self.wait).await.map_err(from_kv)
    }

    /// Where a row is that [`Self::lock`] has found changed, and what it is there, if others have changed its key.
    ///
    /// # Errors
    /// What locks raise; 40001 when too many rows have moved at once.
    pub async fn follow(
        &self,
        key: &Bytes,
        strength: LockStrength,
    ) -> PgResult<Option<(Bytes, LockOutcome)>> {
        self.txn.follow(key, strength, self.wait).await.map_err(from_kv)
    }

    /// As [`Self::lock`], for many rows.
    ///
    /// # Errors
    /// What locks raise.
    pub async fn lock_many(&self, keys: &[Bytes], strength: LockStrength) -> PgResult<Vec<LockOutcome>> {
        self.txn.lock_many_for_write(keys, strength, self.wait).await.map_err(from_kv)
    }

    async fn move_entry(
        &self,
        index: &IndexLayout,
        (old_key, old): (&Bytes, &[Datum]),
        (new_key, new): (&Bytes, &[Datum]),
    ) -> PgResult<()> {
        let before = self.entry_of_old(index, old, old_key)?;
        let after = match index.state {
            IndexState::DeleteOnly => None,
            IndexState::WriteOnly | IndexState::Public => index.entry(new, new_key, self.env)?,
        };
        let mut same_entry = matches!((&before, &after), (Some(a), Some(b)) if a.key == b.key);
        if same_entry && old_key == new_key {
            return Ok(());
        }
        // The entry may be another row's (see `remove_entry`).
        same_entry &= index.state == IndexState::Public;
        if let Some(before) = before
            && !same_entry
        {
            self.remove_entry(index, before, old_key).await?;
        }
        let Some(after) = after else { return Ok(()) };
        let key = Bytes::from(after.key);
        if after.must_be_unique && !same_entry && self.claim_entry(&key).await?.is_some() {
            return Err(self.duplicate(self.layout.index_desc(index), new).await);
        }
        if !same_entry {
            self.note_unique(index, &key, after.must_be_unique, after.unique_len)?;
        }
        self.txn.put(key, entry_value(new_key));
        Ok(())
    }

    /// Notes an entry of a deferrable unique constraint, which is looked at later.
    fn note_unique(&self, index: &IndexLayout, entry: &Bytes, now: bool, len: Option<usize>) -> PgResult<()> {
        let constraint = self.layout.index_desc(index).constraint;
        if let (false, Some(unique_len), Some(constraint)) = (now, len, constraint) {
            let change = RowChange::UniqueLater { entry: entry.clone(), unique_len };
            self.after.push(RowEvent { constraint, table: self.layout.table.oid, change })?;
        }
        Ok(())
    }

    /// The error for a key that is there already, and stays there.
    async fn duplicate(&self, index: &IndexDesc, row: &[Datum]) -> PgError {
        if let Err(error) = self.txn.settle().await {
            return from_kv(error);
        }
        duplicate_key(self.layout, index, row, self.env)
    }
}

/// 23505: a row's key is there already.
pub fn duplicate_key(layout: &TableLayout, index: &IndexDesc, row: &[Datum], env: &EvalEnv) -> PgError {
    PgError::new(
        SqlState::UNIQUE_VIOLATION,
        format!("duplicate key value violates unique constraint \"{}\"", index.name),
    )
    .detail(format!("Key {} already exists.", key_text(layout, index, row, env)))
    .schema(schema_name(layout, env))
    .table(&*layout.table.name)
    .constraint(&*index.name)
}
