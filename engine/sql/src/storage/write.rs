//! [`TableWriter`]: changes rows together with their index entries, and enforces the table's constraints.
//!
//! Every write locks what it writes first: the row's key, and the entry of each unique index. A lock on
//! an absent key keeps others from inserting it, so what is read under the lock stays true until commit;
//! that is how uniqueness holds without a second look at commit.

use bytes::Bytes;
use shardforge_kv::{LockOutcome, LockStrength, Transaction, WaitPolicy};
use shardforge_types::{Datum, PgError, PgResult, SqlState};

use super::check::{key_text, schema_name};
use super::layout::{IndexLayout, TableLayout};
use super::scan::entry_value;
use crate::catalog::IndexDesc;
use crate::exec::env::EvalEnv;
use crate::session::error::from_kv;

/// Writes rows of one table.
pub struct TableWriter<'a> {
    /// The transaction.
    pub txn: &'a Transaction,
    /// The table.
    pub layout: &'a TableLayout,
    /// For expressions of indexes and checks, and for values in error messages.
    pub env: &'a EvalEnv,
    /// How long to wait for locks.
    pub wait: WaitPolicy,
    /// Hands out hidden row ids.
    pub next_row_id: &'a (dyn Fn() -> u64 + Send + Sync),
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

impl TableWriter<'_> {
    /// Inserts a row (one value a column, dropped ones NULL, generated ones computed here).
    ///
    /// `arbiter` says whether a duplicate in an index (by position in [`crate::catalog::TableDesc::indexes`]) is a
    /// conflict to report rather than error 23505.
    ///
    /// # Errors
    /// 23502, 23514, 23505, and what locks and the store raise.
    pub async fn insert(
        &self,
        row: &mut [Datum],
        arbiter: &(dyn Fn(usize) -> bool + Send + Sync),
    ) -> PgResult<InsertOutcome> {
        self.layout.check_row(row, self.env)?;
        let row_key = self.layout.row_key(row, self.next_row_id);
        if self.layout.key.is_some() {
            let found = self.lock(&row_key).await?;
            if found.current.is_some() {
                if arbiter(0) {
                    return Ok(InsertOutcome::Conflict { row_key });
                }
                return Err(self.duplicate(&self.layout.table.indexes[0], row).await);
            }
        }
        let mut entries = Vec::with_capacity(self.layout.indexes.len());
        for index in &self.layout.indexes {
            let Some(entry) = index.entry(row, &row_key, self.env)? else { continue };
            let key = Bytes::from(entry.key);
            if entry.must_be_unique
                && let Some(existing) = self.lock(&key).await?.current
            {
                if arbiter(index.position) {
                    let row_key = self.layout.key_of_entry(&existing);
                    self.lock(&row_key).await?;
                    return Ok(InsertOutcome::Conflict { row_key });
                }
                return Err(self.duplicate(self.layout.index_desc(index), row).await);
            }
            entries.push(key);
        }
        self.txn.put(row_key.clone(), self.layout.encode(row));
        for key in entries {
            self.txn.put(key, entry_value(&row_key));
        }
        Ok(InsertOutcome::Inserted(row_key))
    }

    /// Replaces a row whose key the caller has locked. Returns the key under which it is now.
    ///
    /// # Errors
    /// As [`Self::insert`].
    pub async fn update(&self, row_key: &Bytes, old: &[Datum], new: &mut [Datum]) -> PgResult<Bytes> {
        self.layout.check_row(new, self.env)?;
        let new_key = match &self.layout.key {
            Some(_) => self.layout.row_key(new, || 0),
            None => row_key.clone(),
        };
        let moved = new_key != *row_key;
        if moved {
            if self.lock(&new_key).await?.current.is_some() {
                return Err(self.duplicate(&self.layout.table.indexes[0], new).await);
            }
            self.txn.delete(row_key.clone());
        }
        for index in &self.layout.indexes {
            self.move_entry(index, (row_key, old), (&new_key, new)).await?;
        }
        self.txn.put(new_key.clone(), self.layout.encode(new));
        Ok(new_key)
    }

    /// Deletes a row whose key the caller has locked.
    ///
    /// # Errors
    /// What index expressions raise.
    pub fn delete(&self, row_key: &Bytes, old: &[Datum]) -> PgResult<()> {
        for index in &self.layout.indexes {
            if let Some(entry) = index.entry(old, row_key, self.env)? {
                self.txn.delete(Bytes::from(entry.key));
            }
        }
        self.txn.delete(row_key.clone());
        Ok(())
    }

    /// Locks a row for change and returns its newest version, which may not be durable yet: what is told of it
    /// before the commit, beyond that it was overwritten, waits for [`Transaction::settle`].
    ///
    /// # Errors
    /// What locks raise.
    pub async fn lock(&self, key: &Bytes) -> PgResult<LockOutcome> {
        self.txn.lock_for_write(key, LockStrength::Update, self.wait).await.map_err(from_kv)
    }

    async fn move_entry(
        &self,
        index: &IndexLayout,
        (old_key, old): (&Bytes, &[Datum]),
        (new_key, new): (&Bytes, &[Datum]),
    ) -> PgResult<()> {
        let before = index.entry(old, old_key, self.env)?;
        let after = index.entry(new, new_key, self.env)?;
        let same_entry = matches!((&before, &after), (Some(a), Some(b)) if a.key == b.key);
        if same_entry && old_key == new_key {
            return Ok(());
        }
        if let Some(before) = before
            && !same_entry
        {
            self.txn.delete(Bytes::from(before.key));
        }
        let Some(after) = after else { return Ok(()) };
        let key = Bytes::from(after.key);
        if after.must_be_unique && !same_entry && self.lock(&key).await?.current.is_some() {
            return Err(self.duplicate(self.layout.index_desc(index), new).await);
        }
        self.txn.put(key, entry_value(new_key));
        Ok(())
    }

    /// The error for a key that is there already, and stays there.
    async fn duplicate(&self, index: &IndexDesc, row: &[Datum]) -> PgError {
        if let Err(error) = self.txn.settle().await {
            return from_kv(error);
        }
        PgError::new(
            SqlState::UNIQUE_VIOLATION,
            format!("duplicate key value violates unique constraint \"{}\"", index.name),
        )
        .detail(format!("Key {} already exists.", key_text(self.layout, index, row, self.env)))
        .schema(schema_name(self.layout, self.env))
        .table(&*self.layout.table.name)
        .constraint(&*index.name)
    }
}
