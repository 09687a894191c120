//! What happens after a statement because of the rows that it wrote.
//!
//! PostgreSQL fires AFTER triggers when a statement has written all its rows; foreign keys are such triggers.
//! Here a [`TableWriter`](super::TableWriter) notes a [`RowEvent`] in the statement's [`AfterQueue`] for each row
//! that somebody wants to hear of ([`Watch`]), and `ri` takes them out at the statement's end.
//!
//! An event holds the values of the key and nothing else of the row: a queue may be long.

use bytes::Bytes;
use parking_lot::Mutex;
use shardforge_types::{Datum, Oid, PgResult};

use crate::catalog::{CatalogSnapshot, ForeignKeyDesc, TableDesc};
use crate::df::MemoryAccount;
use crate::engine::Engine;
use crate::func::aggregate::heap_size;

/// A row was written, and a constraint wants to know.
#[derive(Clone, Debug)]
pub struct RowEvent {
    /// The constraint.
    pub constraint: Oid,
    /// The table that has it: for a foreign key the referencing one.
    pub table: Oid,
    /// What happened.
    pub change: RowChange,
}

/// What happened to the row.
#[derive(Clone, Debug)]
pub enum RowChange {
    /// A referencing row came to be: it, and its key must be there on the other side.
    Referencing {
        /// The row.
        row_key: Bytes,
        /// Its referencing columns.
        key: Box<[Datum]>,
    },
    /// A row got a key that must turn out unique.
    UniqueLater {
        /// Its entry in the constraint's index.
        entry: Bytes,
        /// Length of the part that no other entry may share.
        unique_len: usize,
    },
    /// A key that others may reference is gone.
    Referenced {
        /// The referenced columns as they were.
        old: Box<[Datum]>,
        /// As they are now; `None` if the row was deleted.
        new: Option<Box<[Datum]>>,
    },
}

impl RowEvent {
    /// Memory that the event takes, in bytes.
    pub fn size(&self) -> usize {
        let values = |key: &[Datum]| key.iter().map(|v| size_of::<Datum>() + heap_size(v)).sum::<usize>();
        let own = match &self.change {
            RowChange::Referencing { row_key, key } => row_key.len() + values(key),
            RowChange::UniqueLater { entry, .. } => entry.len(),
            RowChange::Referenced { old, new } => values(old) + new.as_deref().map_or(0, values),
        };
        size_of::<RowEvent>() + own + ALLOCATIONS
    }
}

/// What an event's own allocations cost beside their bytes.
const ALLOCATIONS: usize = 48;

/// The events of one statement, in the order in which they happened.
pub struct AfterQueue {
    state: Mutex<Queued>,
}

struct Queued {
    events: Vec<RowEvent>,
    /// How many there were when they were last looked at before the end of the statement.
    left: usize,
    account: MemoryAccount,
}

impl AfterQueue {
    /// An empty queue, on the account of `query_memory`.
    pub fn new(engine: &Engine) -> AfterQueue {
        let account = engine.df.account("pending constraint checks");
        AfterQueue { state: Mutex::new(Queued { events: Vec::new(), left: 0, account }) }
    }

    /// Appends an event.
    ///
    /// # Errors
    /// 53200 if the memory for queries is used up.
    pub fn push(&self, event: RowEvent) -> PgResult<()> {
        let mut state = self.state.lock();
        state.account.grow(event.size())?;
        state.events.push(event);
        Ok(())
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.state.lock().events.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many events make it worth to look at them before the end of the statement: `at_least`, and twice as many
    /// as could not be done with the last time.
    pub fn next_look(&self, at_least: usize) -> usize {
        at_least.max(2 * self.state.lock().left)
    }

    /// The events have been looked at; those that are in the queue now have to wait.
    pub fn looked(&self) {
        let mut state = self.state.lock();
        state.left = state.events.len();
    }

    /// Takes all events out.
    pub fn take(&self) -> Vec<RowEvent> {
        let mut state = self.state.lock();
        let events = std::mem::take(&mut state.events);
        state.account.shrink(events.iter().map(RowEvent::size).sum());
        events
    }
}

/// Which rows of a table somebody wants to hear of. Empty for most tables, and then it costs nothing.
#[derive(Default)]
pub struct Watch {
    /// Foreign keys of the table.
    referencing: Vec<Watched>,
    /// Keys of the table that foreign keys reference.
    referenced: Vec<Watched>,
}

struct Watched {
    constraint: Oid,
    table: Oid,
    positions: Vec<usize>,
    match_full: bool,
    deferrable: bool,
}

impl Watch {
    /// The events that a table's rows give rise to.
    pub fn of(table: &TableDesc, catalog: &CatalogSnapshot) -> Watch {
        let mut watch = Watch::default();
        for fk in table.foreign_keys.iter().filter(|fk| fk.enforced) {
            watch.referencing.push(Watched::new(fk, table.oid, &fk.columns));
        }
        watch.referencing.sort_unstable_by_key(|watched| watched.constraint);
        watch.add(table, catalog);
        watch
    }

    /// Adds the foreign keys of a catalog that reference the table.
    pub fn add(&mut self, table: &TableDesc, catalog: &CatalogSnapshot) {
        for (other, constraint) in catalog.referencing(table.oid) {
            let fk = catalog.table(*other).and_then(|other| other.foreign_key(*constraint));
            if let Some(fk) = fk.filter(|fk| fk.enforced)
                && !self.referenced.iter().any(|known| known.constraint == fk.oid)
            {
                self.referenced.push(Watched::new(fk, *other, &fk.ref_columns));
            }
        }
    }

    /// Whether [`Self::deleted`] has nothing to note, whatever the row.
    pub fn ignores_deletes(&self) -> bool {
        self.referenced.is_empty()
    }

    /// Notes a row that was inserted.
    ///
    /// # Errors
    /// As [`AfterQueue::push`].
    pub fn inserted(&self, queue: &AfterQueue, row_key: &Bytes, row: &[Datum]) -> PgResult<()> {
        for watched in &self.referencing {
            if watched.must_be_checked(row) {
                queue.push(watched.referencing(row_key, row))?;
            }
        }
        Ok(())
    }

    /// Notes a row that was replaced.
    ///
    /// # Errors
    /// As [`AfterQueue::push`].
    pub fn updated(
        &self,
        queue: &AfterQueue,
        old: (&Bytes, &[Datum]),
        new: (&Bytes, &[Datum]),
    ) -> PgResult<()> {
        let ((old_key, old), (new_key, new)) = (old, new);
        for watched in &self.referenced {
            if watched.changed(old, new) && !watched.any_null(old) {
                queue.push(watched.referenced(old, Some(new)))?;
            }
        }
        for watched in &self.referencing {
            // A check that is still to come looks for the row where it was: one that has moved is noted anew.
            let lost = watched.deferrable && old_key != new_key;
            if (lost || watched.changed(old, new)) && watched.must_be_checked(new) {
                queue.push(watched.referencing(new_key, new))?;
            }
        }
        Ok(())
    }

    /// Notes a row that was deleted.
    ///
    /// # Errors
    /// As [`AfterQueue::push`].
    pub fn deleted(&self, queue: &AfterQueue, old: &[Datum]) -> PgResult<()> {
        for watched in &self.referenced {
            if !watched.any_null(old) {
                queue.push(watched.referenced(old, None))?;
            }
        }
        Ok(())
    }
}

impl Watched {
    fn new(fk: &ForeignKeyDesc, table: Oid, columns: &[i16]) -> Watched {
        Watched {
            constraint: fk.oid,
            table,
            positions: columns.iter().map(|attnum| *attnum as usize - 1).collect(),
            match_full: fk.match_full,
            deferrable: fk.deferrable,
        }
    }

    fn values(&self, row: &[Datum]) -> Box<[Datum]> {
        self.positions.iter().map(|position| row[*position].clone()).collect()
    }

    fn changed(&self, old: &[Datum], new: &[Datum]) -> bool {
        self.positions.iter().any(|position| old[*position] != new[*position])
    }

    fn any_null(&self, row: &[Datum]) -> bool {
        self.positions.iter().any(|position| row[*position].is_null())
    }

    /// A key with NULLs references nothing; with MATCH FULL all of it must be NULL.
    fn must_be_checked(&self, row: &[Datum]) -> bool {
        if self.match_full {
            self.positions.iter().any(|position| !row[*position].is_null())
        } else {
            !self.any_null(row)
        }
    }

    fn referencing(&self, row_key: &Bytes, row: &[Datum]) -> RowEvent {
        let change = RowChange::Referencing { row_key: row_key.clone(), key: self.values(row) };
        RowEvent { constraint: self.constraint, table: self.table, change }
    }

    fn referenced(&self, old: &[Datum], new: Option<&[Datum]>) -> RowEvent {
        let change = RowChange::Referenced { old: self.values(old), new: new.map(|new| self.values(new)) };
        RowEvent { constraint: self.constraint, table: self.table, change }
    }
}
