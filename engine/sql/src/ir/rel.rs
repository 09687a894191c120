//! Relations.

use std::sync::Arc;

use shardforge_types::Oid;

use super::{Scalar, Ty};
use crate::catalog::TableDesc;

/// A column of one statement's plan. Unique within the statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ColId(pub u32);

impl ColId {
    /// The element that [`super::ScalarKind::ArrayMap`] maps.
    pub const ELEMENT: ColId = ColId(u32::MAX);
}

/// A column that a relation produces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Col {
    /// Its id.
    pub id: ColId,
    /// Its type.
    pub ty: Ty,
}

/// A relation: a multiset of rows (a sequence, above [`Rel::Sort`]).
#[derive(Clone, Debug)]
pub enum Rel {
    /// One row without columns: what SELECT without FROM reads.
    Unit,
    /// Literal rows. Every row has one scalar a column.
    Values {
        /// Output columns.
        cols: Vec<Col>,
        /// Rows of expressions.
        rows: Vec<Vec<Scalar>>,
    },
    /// A stored table.
    Scan(Scan),
    /// A virtual table of pg_catalog or information_schema.
    SystemScan {
        /// Oid of the relation in `pg_class`.
        relation: Oid,
        /// Produced columns with their attribute numbers (1-based).
        cols: Vec<(Col, i16)>,
    },
    /// Functions in FROM; several make ROWS FROM, joined by position.
    FunctionScan {
        /// The functions with the columns that each yields.
        functions: Vec<TableFunction>,
        /// WITH ORDINALITY: an int8 column counting from 1.
        ordinality: Option<Col>,
    },
    /// Rows for which the predicate is true.
    Filter {
        /// Input.
        input: Box<Rel>,
        /// Boolean.
        predicate: Scalar,
    },
    /// Computes columns; produces these only. An item may be a plain column, which keeps its id.
    Project {
        /// Input.
        input: Box<Rel>,
        /// Output columns and what computes them.
        items: Vec<(Col, Scalar)>,
    },
    /// Set-returning functions in the select list, in lock step (shorter ones are padded with NULL).
    /// Produces the input's columns and one column a function.
    ProjectSet {
        /// Input.
        input: Box<Rel>,
        /// The functions; their arguments may use the input's columns.
        functions: Vec<TableFunction>,
    },
    /// A join. Produces left's columns, then right's (semi and anti joins: left's only).
    Join {
        /// Which join.
        kind: JoinKind,
        /// Left input.
        left: Box<Rel>,
        /// Right input. May use left's columns when `lateral`.
        right: Box<Rel>,
        /// Join condition; TRUE for a cross join.
        on: Scalar,
        /// The right side is correlated with the left one.
        lateral: bool,
    },
    /// Grouping. Produces the group columns and one column an aggregate. Without group columns it
    /// yields exactly one row.
    Aggregate {
        /// Input.
        input: Box<Rel>,
        /// Group expressions.
        groups: Vec<(Col, Scalar)>,
        /// GROUPING SETS as indexes into `groups`; empty for a plain GROUP BY.
        sets: Vec<Vec<usize>>,
        /// GROUPING(...) calls: column and the group indexes that it lists.
        grouping: Vec<(Col, Vec<usize>)>,
        /// Aggregates.
        aggregates: Vec<(Col, Aggregate)>,
    },
    /// Window functions. Produces the input's columns and one column a function.
    Window {
        /// Input.
        input: Box<Rel>,
        /// Functions over windows.
        functions: Vec<(Col, WindowCall)>,
    },
    /// Orders the rows.
    Sort {
        /// Input.
        input: Box<Rel>,
        /// Keys, most significant first.
        keys: Vec<SortKey>,
    },
    /// LIMIT and OFFSET (int8 expressions without columns). A NULL limit is none.
    Limit {
        /// Input.
        input: Box<Rel>,
        /// LIMIT.
        limit: Option<Scalar>,
        /// OFFSET.
        offset: Option<Scalar>,
        /// FETCH ... WITH TIES: the input is a Sort.
        with_ties: bool,
    },
    /// DISTINCT over all columns, or DISTINCT ON the given ones (the first row of each in input order).
    Distinct {
        /// Input.
        input: Box<Rel>,
        /// DISTINCT ON expressions; None for DISTINCT.
        on: Option<Vec<Scalar>>,
    },
    /// UNION, INTERSECT, EXCEPT. The inputs' columns are matched by position and have equal types.
    SetOp {
        /// Which.
        op: SetOpKind,
        /// ALL.
        all: bool,
        /// Output columns.
        cols: Vec<Col>,
        /// Left input and its columns by position.
        left: (Box<Rel>, Vec<ColId>),
        /// Right input and its columns by position.
        right: (Box<Rel>, Vec<ColId>),
    },
    /// Common table expressions around a body.
    With {
        /// In order; each may refer to earlier ones.
        ctes: Vec<Cte>,
        /// The query.
        body: Box<Rel>,
    },
    /// A reference to a common table expression.
    CteScan {
        /// Which.
        cte: CteId,
        /// Fresh output columns, matching the expression's columns by position.
        cols: Vec<Col>,
    },
    /// Locks the rows of the given scans (FOR UPDATE ...) and re-checks them. The scans below carry a
    /// [`Scan::row_key`] column each.
    LockRows {
        /// Input.
        input: Box<Rel>,
        /// What to lock, how.
        locks: Vec<RowLock>,
    },
    /// A data-modifying statement with RETURNING, inside WITH.
    Modify(Box<super::Modify>),
}

/// A scan of a stored table.
#[derive(Clone, Debug)]
pub struct Scan {
    /// The table as of planning.
    pub table: Arc<TableDesc>,
    /// Produced columns with their attribute numbers (1-based, as in `pg_attribute`).
    pub cols: Vec<(Col, i16)>,
    /// If set, an extra bytea column with the primary index key of the row: what LockRows and
    /// ModifyTable address rows by.
    pub row_key: Option<Col>,
    /// `tableoid` if used.
    pub tableoid: Option<Col>,
    /// TABLESAMPLE is not part of this stage; alias for EXPLAIN.
    pub alias: String,
}

/// A function in FROM or a set-returning function in the select list.
#[derive(Clone, Debug)]
pub struct TableFunction {
    /// Function oid.
    pub func: Oid,
    /// Arguments.
    pub args: Vec<Scalar>,
    /// Columns it yields: one, or the fields of a composite result.
    pub cols: Vec<Col>,
    /// Returns a set; otherwise it yields exactly one row.
    pub retset: bool,
    /// Name for EXPLAIN.
    pub name: String,
}

/// Kinds of joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum JoinKind {
    Inner,
    Left,
    Right,
    Full,
    Semi,
    Anti,
}

/// Kinds of set operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum SetOpKind {
    Union,
    Intersect,
    Except,
}

/// A sort key.
#[derive(Clone, Debug)]
pub struct SortKey {
    /// What to sort by.
    pub expr: Scalar,
    /// DESC.
    pub desc: bool,
    /// NULLS FIRST.
    pub nulls_first: bool,
}

/// An aggregate call.
#[derive(Clone, Debug)]
pub struct Aggregate {
    /// Oid of the aggregate in `pg_proc`.
    pub func: Oid,
    /// Arguments; for ordered-set aggregates the direct ones, the aggregated ones are in `order_by`.
    pub args: Vec<Scalar>,
    /// DISTINCT inside the call.
    pub distinct: bool,
    /// ORDER BY inside the call, or WITHIN GROUP.
    pub order_by: Vec<SortKey>,
    /// FILTER (WHERE ...).
    pub filter: Option<Scalar>,
    /// Result type.
    pub ty: Ty,
}

/// A window function call.
#[derive(Clone, Debug)]
pub struct WindowCall {
    /// Oid of the window function or aggregate.
    pub func: Oid,
    /// Arguments.
    pub args: Vec<Scalar>,
    /// FILTER, for aggregates.
    pub filter: Option<Scalar>,
    /// PARTITION BY.
    pub partition_by: Vec<Scalar>,
    /// ORDER BY.
    pub order_by: Vec<SortKey>,
    /// Frame.
    pub frame: Frame,
    /// Result type.
    pub ty: Ty,
}

/// A window frame.
#[derive(Clone, Debug)]
pub struct Frame {
    /// ROWS, RANGE or GROUPS.
    pub unit: FrameUnit,
    /// Start.
    pub start: FrameBound,
    /// End.
    pub end: FrameBound,
}

/// Frame units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum FrameUnit {
    Rows,
    Range,
    Groups,
}

/// Frame bounds.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum FrameBound {
    UnboundedPreceding,
    Preceding(Scalar),
    CurrentRow,
    Following(Scalar),
    UnboundedFollowing,
}

/// Identifies a common table expression within a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CteId(pub u32);

/// A common table expression.
#[derive(Clone, Debug)]
pub struct Cte {
    /// Its id.
    pub id: CteId,
    /// Its name, for EXPLAIN.
    pub name: String,
    /// Output columns.
    pub cols: Vec<Col>,
    /// What it computes.
    pub body: CteBody,
    /// MATERIALIZED / NOT MATERIALIZED as written.
    pub materialized: Option<bool>,
    /// How often it is referred to.
    pub references: usize,
}

/// The body of a common table expression.
#[derive(Clone, Debug)]
pub enum CteBody {
    /// A query; its columns by position.
    Plain(Box<Rel>, Vec<ColId>),
    /// WITH RECURSIVE: base UNION [ALL] step, where step scans the expression itself.
    Recursive {
        /// The non-recursive term and its columns.
        base: (Box<Rel>, Vec<ColId>),
        /// The recursive term and its columns.
        step: (Box<Rel>, Vec<ColId>),
        /// UNION ALL.
        all: bool,
    },
}

/// What LockRows locks.
#[derive(Clone, Debug)]
pub struct RowLock {
    /// The table.
    pub table: Arc<TableDesc>,
    /// The column with the row's key, see [`Scan::row_key`].
    pub row_key: ColId,
    /// How strongly.
    pub strength: shardforge_kv::LockStrength,
    /// NOWAIT / SKIP LOCKED.
    pub wait: RowWait,
    /// Rows may be locked before they are asked for, because all of them will be.
    pub ahead: bool,
}

/// What to do when a row is locked by another transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowWait {
    /// Wait, up to `lock_timeout`.
    Wait,
    /// Error 55P03.
    NoWait,
    /// Leave the row out.
    SkipLocked,
}
