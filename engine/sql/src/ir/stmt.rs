//! Bound statements that read and write tables.

use std::sync::Arc;

use shardforge_kv::LockStrength;

use super::{Col, ColId, Rel, RowLock, RowWait, Scalar, Ty};
use crate::catalog::TableDesc;

/// A bound SELECT, INSERT, UPDATE or DELETE.
#[derive(Clone, Debug)]
pub struct Statement {
    /// What to do.
    pub kind: StatementKind,
    /// The columns sent to the client; empty when there is no result set.
    pub output: Vec<OutputColumn>,
    /// Types of `$1`, `$2`, ...
    pub params: Vec<Ty>,
    /// Versions of the tables that the plan depends on, see [`crate::catalog::Dependency`].
    pub dependencies: Vec<crate::catalog::Dependency>,
    /// Tables to lock before execution with the lock mode that PostgreSQL takes.
    pub table_locks: Vec<(shardforge_types::Oid, shardforge_kv::ObjectLockMode)>,
    /// True if it writes, or locks rows: refused in read-only transactions. (Functions that write, such as nextval,
    /// refuse themselves.)
    pub writes: bool,
    /// The first of its locking clauses, such as FOR UPDATE.
    pub row_lock: Option<&'static str>,
}

/// Reads or writes.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one a statement")]
pub enum StatementKind {
    /// SELECT, VALUES, TABLE.
    Query(Rel),
    /// INSERT, UPDATE, DELETE, possibly with WITH around it.
    Modify(Modify),
}

/// A column of the result.
#[derive(Clone, Debug)]
pub struct OutputColumn {
    /// Name as the client sees it.
    pub name: String,
    /// The relation's column.
    pub col: Col,
    /// Table and attribute it comes from, for RowDescription; 0 if computed.
    pub origin: (shardforge_types::Oid, i16),
}

/// A data-modifying statement.
#[derive(Clone, Debug)]
pub struct Modify {
    /// Common table expressions around it.
    pub ctes: Vec<super::Cte>,
    /// The table written.
    pub table: Arc<TableDesc>,
    /// Which write.
    pub op: ModifyOp,
    /// RETURNING: expressions over `new_cols` / `old_cols` (and the source's columns for UPDATE FROM
    /// and DELETE USING).
    pub returning: Vec<(Col, Scalar)>,
    /// Ids under which RETURNING, CHECK-free expressions and ON CONFLICT see the new row: one a live
    /// column, with its attribute number.
    pub new_cols: Vec<(Col, i16)>,
    /// Ids of the old row (UPDATE, DELETE, ON CONFLICT DO UPDATE).
    pub old_cols: Vec<(Col, i16)>,
}

impl Modify {
    /// Lets the source of an UPDATE or DELETE lock its rows, and check those again that have changed meanwhile.
    pub fn lock_source(&mut self) {
        let (source, row_key, recheck, strength) = match &mut self.op {
            ModifyOp::Insert { .. } => return,
            // Whoever writes the row takes the stronger lock if a key changes.
            ModifyOp::Update { source, row_key, recheck, .. } => {
                (source, row_key, recheck, LockStrength::NoKeyUpdate)
            }
            ModifyOp::Delete { source, row_key, recheck } => (source, row_key, recheck, LockStrength::Update),
        };
        let lock = RowLock {
            table: self.table.clone(),
            row_key: *row_key,
            strength,
            wait: RowWait::Wait,
            ahead: true,
        };
        let input = Box::new(std::mem::replace(source, Rel::Unit));
        *source = Rel::LockRows { input, locks: vec![lock] };
        *recheck = None;
    }
}

/// The kinds of writes.
#[derive(Clone, Debug)]
pub enum ModifyOp {
    /// INSERT.
    Insert {
        /// The rows to insert: VALUES or a query; the columns by position of `targets`.
        source: Rel,
        /// One scalar a live column of the table, in attribute order, over the source's columns; the
        /// column default (or identity, or NULL) where the statement gives none.
        values: Vec<(i16, Scalar)>,
        /// ON CONFLICT.
        on_conflict: Option<OnConflict>,
    },
    /// UPDATE.
    Update {
        /// Yields, per target row: the old row's columns (`old_cols` ids), [`Modify::row_key`]'s column
        /// and whatever FROM contributes. Already filtered by WHERE.
        source: Rel,
        /// Column with the row's primary key bytes.
        row_key: ColId,
        /// Assigned columns and their new values over the source's columns.
        assignments: Vec<(i16, Scalar)>,
        /// The WHERE clause over old columns (and FROM's), to re-check a row that changed meanwhile;
        /// None: always true.
        recheck: Option<Scalar>,
    },
    /// DELETE.
    Delete {
        /// As for UPDATE.
        source: Rel,
        /// As for UPDATE.
        row_key: ColId,
        /// As for UPDATE.
        recheck: Option<Scalar>,
    },
}

/// ON CONFLICT.
#[derive(Clone, Debug)]
pub struct OnConflict {
    /// Oids of the unique indexes that arbitrate; empty: all (DO NOTHING without a target).
    pub arbiters: Vec<shardforge_types::Oid>,
    /// DO UPDATE; None for DO NOTHING.
    pub update: Option<ConflictUpdate>,
}

/// ON CONFLICT DO UPDATE.
#[derive(Clone, Debug)]
pub struct ConflictUpdate {
    /// Ids of the row proposed for insertion (EXCLUDED), one a live column.
    pub excluded: Vec<(Col, i16)>,
    /// Assignments over `old_cols` (the existing row) and `excluded`.
    pub assignments: Vec<(i16, Scalar)>,
    /// WHERE over the same.
    pub filter: Option<Scalar>,
}
