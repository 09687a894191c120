//! Rows and keys that a statement keeps, on the account of `query_memory`.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use hashbrown::HashSet;
use shardforge_types::{Datum, PgResult};

use crate::df::MemoryAccount;
use crate::engine::Engine;
use crate::func::aggregate::heap_size;

/// Rows in order.
pub struct RowBuffer {
    rows: VecDeque<Vec<Datum>>,
    /// `None` for the few rows that a utility statement answers.
    account: Option<MemoryAccount>,
}

impl RowBuffer {
    /// For the rows of a statement; `purpose` is for the message when there is no more memory.
    pub fn new(engine: &Engine, purpose: &'static str) -> RowBuffer {
        RowBuffer { rows: VecDeque::new(), account: Some(engine.df.account(purpose)) }
    }

    /// Appends a row.
    ///
    /// # Errors
    /// 53200 if the memory for queries is used up.
    pub fn push(&mut self, row: Vec<Datum>) -> PgResult<()> {
        if let Some(account) = &mut self.account {
            account.grow(row_size(&row))?;
        }
        self.rows.push_back(row);
        Ok(())
    }

    /// Takes the first row out.
    pub fn pop_front(&mut self) -> Option<Vec<Datum>> {
        let row = self.rows.pop_front()?;
        if let Some(account) = &mut self.account {
            account.shrink(row_size(&row));
        }
        Some(row)
    }

    /// Some of them; positions past the end are an error of the caller.
    pub fn range(&self, positions: Range<usize>) -> impl DoubleEndedIterator<Item = &Vec<Datum>> {
        self.rows.range(positions)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl From<Vec<Vec<Datum>>> for RowBuffer {
    fn from(rows: Vec<Vec<Datum>>) -> RowBuffer {
        RowBuffer { rows: rows.into(), account: None }
    }
}

fn row_size(row: &[Datum]) -> usize {
    size_of::<Vec<Datum>>() + row.iter().map(|value| size_of::<Datum>() + heap_size(value)).sum::<usize>()
}

/// Keys that a statement has come across.
pub struct KeySet {
    keys: HashSet<Bytes>,
    account: MemoryAccount,
}

impl KeySet {
    /// An empty set; `purpose` is for the message when there is no more memory.
    pub fn new(engine: &Engine, purpose: &'static str) -> KeySet {
        KeySet { keys: HashSet::new(), account: engine.df.account(purpose) }
    }

    /// Adds a key; false if it was there.
    ///
    /// # Errors
    /// 53200 if the memory for queries is used up.
    pub fn insert(&mut self, key: Bytes) -> PgResult<bool> {
        let size = key.len() + KEY_OVERHEAD;
        let is_new = self.keys.insert(key);
        if is_new {
            self.account.grow(size)?;
        }
        Ok(is_new)
    }

    /// Whether a key is in the set.
    pub fn contains(&self, key: &Bytes) -> bool {
        self.keys.contains(key)
    }
}

/// What a key costs beside its bytes: its handle, its allocation, and the table's free places.
const KEY_OVERHEAD: usize = 80;
