//! Inserting many rows at once.
//!
//! The keys of all rows are made first, then locked together, which reads what is there with one cursor instead of a
//! seek a row, and then the rows are written:
//!
//! ```text
//!   check, keys   check, keys   check, keys   |   lock all   |   write   write   write
//! ```
//!
//! That is for rows that meet nothing. When one fails its checks, when two have the same key, when somebody else has a
//! key or its lock, nothing has been written yet: the rows are then inserted one by one, and wait and fail as such.

use bytes::Bytes;
use hashbrown::HashSet;
use shardforge_kv::{KvError, LockStrength, WaitPolicy};
use shardforge_types::{Datum, PgError, PgResult};

use super::write::{RowKeys, TableWriter};
use crate::session::error::from_kv;

/// Why rows could not all be inserted.
pub struct FailedRow {
    /// The position of the first that could not.
    pub row: usize,
    /// Its error.
    pub error: PgError,
}

impl TableWriter<'_> {
    /// Inserts rows as [`Self::insert`] does without arbiters, one after the other.
    ///
    /// # Errors
    /// As [`Self::insert`]. Some of the rows may have been written.
    pub async fn insert_many(&self, rows: &mut [Vec<Datum>]) -> Result<(), FailedRow> {
        let passed = rows.len() > 1 && rows.iter_mut().all(|row| self.check_row(row).is_ok());
        self.insert_passed(rows, passed).await
    }

    /// As [`Self::insert_many`], for rows that have passed [`Self::check_row`].
    ///
    /// # Errors
    /// As [`Self::insert`], without those of the check.
    pub async fn insert_checked(&self, rows: &mut [Vec<Datum>]) -> Result<(), FailedRow> {
        self.insert_passed(rows, rows.len() > 1).await
    }

    async fn insert_passed(&self, rows: &mut [Vec<Datum>], together: bool) -> Result<(), FailedRow> {
        if together && self.insert_together(rows).await.map_err(|error| FailedRow { row: 0, error })? {
            return Ok(());
        }
        for (position, row) in rows.iter_mut().enumerate() {
            let inserted = self.insert(row, &|_| false, LockStrength::KeyShare).await;
            inserted.map_err(|error| FailedRow { row: position, error })?;
        }
        Ok(())
    }

    /// Inserts rows that have passed their checks, if there is nothing in the way of any of them; false if there is, or
    /// an index has an error.
    async fn insert_together(&self, rows: &[Vec<Datum>]) -> PgResult<bool> {
        let mut keys = Vec::with_capacity(rows.len());
        for row in rows {
            match self.keys_of(row) {
                Ok(of_row) => keys.push(of_row),
                Err(_) => return Ok(false),
            }
        }
        let locks = self.locks_of(&keys);
        if !are_different(&locks) {
            return Ok(false);
        }
        let locked = self.txn.lock_many_for_write(&locks, LockStrength::Update, WaitPolicy::NoWait).await;
        match locked {
            Ok(outcomes) if outcomes.iter().all(|outcome| outcome.current.is_none()) => {}
            Ok(_) | Err(KvError::LockNotAvailable(_) | KvError::SerializationFailure(_)) => return Ok(false),
            Err(error) => return Err(from_kv(error)),
        }
        for (row, keys) in rows.iter().zip(keys) {
            self.store(row, keys)?;
        }
        Ok(true)
    }

    /// The keys that must be new, those of one index side by side: they may come in order then, or are put in order if
    /// they are spread over buckets.
    fn locks_of(&self, rows: &[RowKeys]) -> Vec<Bytes> {
        let mut locks = Vec::new();
        if self.layout.key.is_some() {
            locks.extend(rows.iter().map(|keys| keys.row.clone()));
            if self.layout.head.is_hashed() {
                locks.sort_unstable();
            }
        }
        for index in 0..self.layout.indexes.len() {
            let entries = rows.iter().flat_map(|keys| &keys.entries);
            let unique = entries.filter(|entry| entry.index == index && entry.must_be_unique);
            let first = locks.len();
            locks.extend(unique.map(|entry| entry.key.clone()));
            if self.layout.indexes[index].head.is_hashed() {
                locks[first..].sort_unstable();
            }
        }
        locks
    }
}

fn are_different(keys: &[Bytes]) -> bool {
    if keys.windows(2).all(|pair| pair[0] < pair[1]) {
        return true;
    }
    let mut seen = HashSet::with_capacity(keys.len());
    keys.iter().all(|key| seen.insert(key))
}
