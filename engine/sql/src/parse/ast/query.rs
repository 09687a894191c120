//! Queries and what changes rows: SELECT, VALUES, set operations, INSERT, UPDATE, DELETE, MERGE.

use super::{Expr, Name, Names, OnCommit, TypeName};

/// SELECT, VALUES, or a set operation over two of them.
///
/// As in PostgreSQL one struct serves all three: `set_op` is present for a set operation (then `targets` and
/// what follows up to `windows` is empty), `values` is non-empty for VALUES.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SelectStmt {
    /// `DISTINCT`, `DISTINCT ON (...)`.
    pub distinct: Option<Distinct>,
    /// `SELECT ... INTO table`.
    pub into: Option<Box<IntoClause>>,
    /// The select list.
    pub targets: Vec<ResTarget>,
    /// The FROM list.
    pub from: Vec<TableRef>,
    /// `AS OF SYSTEM TIME`, after FROM.
    pub as_of: Option<Box<Expr>>,
    /// WHERE.
    pub where_clause: Option<Expr>,
    /// GROUP BY.
    pub group_by: Vec<GroupItem>,
    /// `GROUP BY DISTINCT`.
    pub group_distinct: bool,
    /// HAVING.
    pub having: Option<Expr>,
    /// `WINDOW name AS (...)`.
    pub windows: Vec<WindowDef>,
    /// The rows of VALUES.
    pub values: Vec<Vec<Expr>>,
    /// The set operation whose result this is.
    pub set_op: Option<Box<SetOperation>>,
    /// ORDER BY.
    pub order_by: Vec<SortBy>,
    /// OFFSET.
    pub limit_offset: Option<Expr>,
    /// LIMIT or FETCH FIRST; `LIMIT ALL` is a NULL constant.
    pub limit_count: Option<Expr>,
    /// `FETCH FIRST n ROWS WITH TIES`.
    pub with_ties: bool,
    /// `FOR UPDATE` and its kin.
    pub locking: Vec<LockingClause>,
    /// WITH.
    pub with: Option<WithClause>,
    /// Byte position of the first word (SELECT, VALUES, TABLE or WITH).
    pub pos: u32,
}

/// What `SELECT` keeps of equal rows.
#[derive(Debug, Clone, PartialEq)]
pub enum Distinct {
    /// `DISTINCT`.
    All,
    /// `DISTINCT ON (...)`.
    On(Vec<Expr>),
}

/// Which set operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetOp {
    /// UNION.
    Union,
    /// INTERSECT.
    Intersect,
    /// EXCEPT.
    Except,
}

/// `left op [ALL] right`.
#[derive(Debug, Clone, PartialEq)]
pub struct SetOperation {
    /// Which one.
    pub op: SetOp,
    /// Whether duplicates stay.
    pub all: bool,
    /// The left query.
    pub left: SelectStmt,
    /// The right query.
    pub right: SelectStmt,
    /// Byte position of the operator.
    pub pos: u32,
}

/// An item of a select list or RETURNING list.
#[derive(Debug, Clone, PartialEq)]
pub struct ResTarget {
    /// `AS name`.
    pub name: Option<Name>,
    /// The expression; `*` is a [`super::ColumnRef`] with `star`.
    pub value: Expr,
    /// Byte position of the expression.
    pub pos: u32,
}

/// A target column of INSERT or UPDATE: `a`, `a[1]`, `a.f`.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnTarget {
    /// The column.
    pub name: Name,
    /// The part of it that is assigned.
    pub path: Vec<super::IndirectionElem>,
    /// Byte position.
    pub pos: u32,
}

/// `target = value` in SET; multi-column assignments have a [`super::MultiAssignRef`] for each column.
#[derive(Debug, Clone, PartialEq)]
pub struct SetClause {
    /// What is assigned.
    pub target: ColumnTarget,
    /// Its new value.
    pub value: Expr,
}

/// A table's name as written.
#[derive(Debug, Clone, PartialEq)]
pub struct RangeVar {
    /// The database, when three parts were written.
    pub catalog: Option<Name>,
    /// The schema.
    pub schema: Option<Name>,
    /// The table.
    pub name: Name,
    /// Whether descendants count: false after ONLY.
    pub inherit: bool,
    /// `TEMP`, `UNLOGGED` where a table is created.
    pub persistence: Persistence,
    /// `AS alias`.
    pub alias: Option<Alias>,
    /// Byte position.
    pub pos: u32,
}

/// How long and how safely a relation is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Persistence {
    /// As any table.
    #[default]
    Permanent,
    /// For the session.
    Temporary,
    /// Without write-ahead log.
    Unlogged,
}

/// `AS name (columns)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Alias {
    /// The alias.
    pub name: Name,
    /// Its column names.
    pub columns: Vec<Name>,
}

/// An item of FROM.
#[derive(Debug, Clone, PartialEq)]
pub enum TableRef {
    /// A table.
    Table(RangeVar),
    /// A sub-select.
    Subselect(Box<RangeSubselect>),
    /// A function, or ROWS FROM.
    Function(Box<RangeFunction>),
    /// A join.
    Join(Box<JoinExpr>),
    /// `table TABLESAMPLE method (args)`.
    Sample(Box<RangeTableSample>),
    /// `XMLTABLE(...)` or `JSON_TABLE(...)`, recognised and kept as text.
    TableFunc(Box<RangeTableFunc>),
}

/// `[LATERAL] (query) AS alias`.
#[derive(Debug, Clone, PartialEq)]
pub struct RangeSubselect {
    /// Whether LATERAL was written.
    pub lateral: bool,
    /// The query.
    pub subquery: SelectStmt,
    /// Its alias, optional since PostgreSQL 16.
    pub alias: Option<Alias>,
    /// Byte position of the parenthesis.
    pub pos: u32,
}

/// `[LATERAL] f(x) [WITH ORDINALITY] AS alias (columns)`, or `ROWS FROM (f(x), g(y))`.
#[derive(Debug, Clone, PartialEq)]
pub struct RangeFunction {
    /// Whether LATERAL was written.
    pub lateral: bool,
    /// WITH ORDINALITY.
    pub ordinality: bool,
    /// Whether ROWS FROM was written.
    pub rows_from: bool,
    /// The functions; each with its own column definitions (in ROWS FROM).
    pub functions: Vec<(Expr, Vec<ColumnDefShort>)>,
    /// Its alias.
    pub alias: Option<Alias>,
    /// `AS (a int, b text)`.
    pub column_defs: Vec<ColumnDefShort>,
    /// Byte position.
    pub pos: u32,
}

/// `name type [COLLATE c]` in a column definition list.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnDefShort {
    /// The column.
    pub name: Name,
    /// Its type.
    pub type_name: TypeName,
    /// Its collation.
    pub collation: Option<super::CollateClause>,
    /// Byte position.
    pub pos: u32,
}

/// Which join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinType {
    /// `[INNER] JOIN`, `CROSS JOIN`.
    Inner,
    /// `LEFT JOIN`.
    Left,
    /// `FULL JOIN`.
    Full,
    /// `RIGHT JOIN`.
    Right,
}

/// `left JOIN right ON ... | USING (...)`. CROSS JOIN has no condition at all.
#[derive(Debug, Clone, PartialEq)]
pub struct JoinExpr {
    /// Which join.
    pub kind: JoinType,
    /// Whether NATURAL was written.
    pub natural: bool,
    /// The left side.
    pub left: TableRef,
    /// The right side.
    pub right: TableRef,
    /// `USING (columns)`.
    pub using: Vec<Name>,
    /// `USING (...) AS alias`.
    pub using_alias: Option<Alias>,
    /// `ON condition`.
    pub on: Option<Expr>,
    /// `(a JOIN b) AS alias`.
    pub alias: Option<Alias>,
    /// Byte position of the first word of the join.
    pub pos: u32,
}

/// `table TABLESAMPLE method (args) [REPEATABLE (seed)]`.
#[derive(Debug, Clone, PartialEq)]
pub struct RangeTableSample {
    /// The table.
    pub relation: RangeVar,
    /// The method's name.
    pub method: Names,
    /// Its arguments.
    pub args: Vec<Expr>,
    /// `REPEATABLE (seed)`.
    pub repeatable: Option<Expr>,
    /// Byte position of the method.
    pub pos: u32,
}

/// `XMLTABLE(...)`, `JSON_TABLE(...)`.
#[derive(Debug, Clone, PartialEq)]
pub struct RangeTableFunc {
    /// `xmltable` or `json_table`.
    pub name: Name,
    /// Whether LATERAL was written.
    pub lateral: bool,
    /// The text between the parentheses.
    pub text: Name,
    /// Its alias.
    pub alias: Option<Alias>,
    /// Byte position.
    pub pos: u32,
}

/// An item of GROUP BY.
#[derive(Debug, Clone, PartialEq)]
pub enum GroupItem {
    /// An expression, a position or an output name.
    Expr(Expr),
    /// `()`.
    Empty,
    /// `ROLLUP (...)`.
    Rollup(Vec<Expr>, u32),
    /// `CUBE (...)`.
    Cube(Vec<Expr>, u32),
    /// `GROUPING SETS (...)`.
    Sets(Vec<GroupItem>, u32),
}

/// An item of ORDER BY.
#[derive(Debug, Clone, PartialEq)]
pub struct SortBy {
    /// What to sort by.
    pub expr: Expr,
    /// Its direction.
    pub dir: SortDir,
    /// Where nulls go.
    pub nulls: SortNulls,
    /// Byte position of the operator of USING, else of the expression.
    pub pos: u32,
}

/// A sort direction.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum SortDir {
    /// None written: ascending.
    #[default]
    Default,
    /// ASC.
    Asc,
    /// DESC.
    Desc,
    /// `USING operator`.
    Using(Names),
}

/// Where nulls go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SortNulls {
    /// Last for ascending, first for descending order.
    #[default]
    Default,
    /// NULLS FIRST.
    First,
    /// NULLS LAST.
    Last,
}

/// A window: `OVER name` (only `name`), `OVER (...)`, or an item of the WINDOW clause.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowDef {
    /// Its own name in the WINDOW clause, or the name in `OVER name`.
    pub name: Option<Name>,
    /// The window it is built on: `(base PARTITION BY ...)`.
    pub base: Option<Name>,
    /// PARTITION BY.
    pub partition_by: Vec<Expr>,
    /// ORDER BY.
    pub order_by: Vec<SortBy>,
    /// The frame, if one was written.
    pub frame: Option<Box<WindowFrame>>,
    /// Byte position.
    pub pos: u32,
}

/// `ROWS BETWEEN ... AND ... [EXCLUDE ...]`.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowFrame {
    /// What the bounds count.
    pub units: FrameUnits,
    /// Where it begins.
    pub start: FrameBound,
    /// Where it ends; CURRENT ROW when none was written.
    pub end: FrameBound,
    /// Whether BETWEEN was written.
    pub between: bool,
    /// What is left out.
    pub exclude: FrameExclusion,
    /// Byte position.
    pub pos: u32,
}

/// What a frame's bounds count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameUnits {
    /// RANGE.
    Range,
    /// ROWS.
    Rows,
    /// GROUPS.
    Groups,
}

/// An end of a frame.
#[derive(Debug, Clone, PartialEq)]
pub enum FrameBound {
    /// UNBOUNDED PRECEDING.
    UnboundedPreceding,
    /// `n PRECEDING`.
    Preceding(Expr),
    /// CURRENT ROW.
    CurrentRow,
    /// `n FOLLOWING`.
    Following(Expr),
    /// UNBOUNDED FOLLOWING.
    UnboundedFollowing,
}

/// What a frame leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FrameExclusion {
    /// Nothing.
    #[default]
    NoOthers,
    /// The current row.
    CurrentRow,
    /// The current row and its peers.
    Group,
    /// The current row's peers.
    Ties,
}

/// How strongly FOR UPDATE and its kin lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockStrength {
    /// FOR KEY SHARE.
    KeyShare,
    /// FOR SHARE.
    Share,
    /// FOR NO KEY UPDATE.
    NoKeyUpdate,
    /// FOR UPDATE.
    Update,
}

/// What to do when a row is locked by another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockWait {
    /// Wait.
    Block,
    /// SKIP LOCKED.
    Skip,
    /// NOWAIT.
    Error,
}

/// `FOR UPDATE [OF tables] [NOWAIT | SKIP LOCKED]`.
#[derive(Debug, Clone, PartialEq)]
pub struct LockingClause {
    /// How strongly.
    pub strength: LockStrength,
    /// Which tables; all when empty.
    pub relations: Vec<RangeVar>,
    /// What if locked.
    pub wait: LockWait,
    /// Byte position of FOR.
    pub pos: u32,
}

/// `WITH [RECURSIVE] ...`.
#[derive(Debug, Clone, PartialEq)]
pub struct WithClause {
    /// Whether RECURSIVE was written.
    pub recursive: bool,
    /// Its queries.
    pub ctes: Vec<CommonTableExpr>,
    /// Byte position.
    pub pos: u32,
}

/// `name (columns) AS [NOT MATERIALIZED] (statement)`.
#[derive(Debug, Clone, PartialEq)]
pub struct CommonTableExpr {
    /// Its name.
    pub name: Name,
    /// Its column names.
    pub columns: Vec<Name>,
    /// `MATERIALIZED` (true), `NOT MATERIALIZED` (false).
    pub materialized: Option<bool>,
    /// A SELECT, INSERT, UPDATE, DELETE or MERGE.
    pub query: super::Statement,
    /// SEARCH.
    pub search: Option<CteSearch>,
    /// CYCLE.
    pub cycle: Option<Box<CteCycle>>,
    /// Byte position of the name.
    pub pos: u32,
}

/// `SEARCH DEPTH | BREADTH FIRST BY columns SET column`.
#[derive(Debug, Clone, PartialEq)]
pub struct CteSearch {
    /// Whether BREADTH was written.
    pub breadth_first: bool,
    /// The columns to order by.
    pub columns: Vec<Name>,
    /// The column that holds the order.
    pub seq_column: Name,
    /// Byte position.
    pub pos: u32,
}

/// `CYCLE columns SET mark [TO value DEFAULT default] USING path`.
#[derive(Debug, Clone, PartialEq)]
pub struct CteCycle {
    /// The columns that are compared.
    pub columns: Vec<Name>,
    /// The column that marks a cycle.
    pub mark_column: Name,
    /// Its value in a cycle; TRUE when not written.
    pub mark_value: Expr,
    /// Its value elsewhere; FALSE when not written.
    pub mark_default: Expr,
    /// The column that holds the path.
    pub path_column: Name,
    /// Byte position.
    pub pos: u32,
}

/// Where SELECT INTO and CREATE TABLE AS put their rows.
#[derive(Debug, Clone, PartialEq)]
pub struct IntoClause {
    /// The new table.
    pub relation: RangeVar,
    /// Its column names.
    pub columns: Vec<Name>,
    /// `USING access_method`.
    pub access_method: Option<Name>,
    /// `WITH (...)`.
    pub options: Vec<super::DefElem>,
    /// ON COMMIT.
    pub on_commit: OnCommit,
    /// TABLESPACE.
    pub tablespace: Option<Name>,
    /// WITH NO DATA.
    pub skip_data: bool,
}

/// INSERT.
#[derive(Debug, Clone, PartialEq)]
pub struct InsertStmt {
    /// The table, with its alias.
    pub relation: RangeVar,
    /// The target columns.
    pub columns: Vec<ColumnTarget>,
    /// The rows; absent for DEFAULT VALUES.
    pub source: Option<Box<SelectStmt>>,
    /// `OVERRIDING ... VALUE`.
    pub overriding: Option<Overriding>,
    /// ON CONFLICT.
    pub on_conflict: Option<Box<OnConflictClause>>,
    /// RETURNING.
    pub returning: Option<ReturningClause>,
    /// WITH.
    pub with: Option<WithClause>,
    /// Byte position.
    pub pos: u32,
}

/// `OVERRIDING { SYSTEM | USER } VALUE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overriding {
    /// OVERRIDING SYSTEM VALUE.
    System,
    /// OVERRIDING USER VALUE.
    User,
}

/// `ON CONFLICT [target] DO NOTHING | DO UPDATE SET ...`.
#[derive(Debug, Clone, PartialEq)]
pub struct OnConflictClause {
    /// Which unique index arbitrates.
    pub infer: Option<InferClause>,
    /// `DO UPDATE SET`; absent for DO NOTHING.
    pub update: Option<OnConflictUpdate>,
    /// Byte position of ON.
    pub pos: u32,
}

/// `DO UPDATE SET ... [WHERE ...]`.
#[derive(Debug, Clone, PartialEq)]
pub struct OnConflictUpdate {
    /// The assignments.
    pub set: Vec<SetClause>,
    /// WHERE.
    pub where_clause: Option<Expr>,
}

/// `(columns) [WHERE ...]` or `ON CONSTRAINT name`.
#[derive(Debug, Clone, PartialEq)]
pub struct InferClause {
    /// The index's columns.
    pub elements: Vec<super::IndexElem>,
    /// The index's predicate.
    pub where_clause: Option<Expr>,
    /// ON CONSTRAINT.
    pub constraint: Option<Name>,
    /// Byte position.
    pub pos: u32,
}

/// `RETURNING [WITH (OLD AS o, NEW AS n)] list`.
#[derive(Debug, Clone, PartialEq)]
pub struct ReturningClause {
    /// `OLD AS name`.
    pub old_alias: Option<Name>,
    /// `NEW AS name`.
    pub new_alias: Option<Name>,
    /// What is returned.
    pub targets: Vec<ResTarget>,
    /// Byte position.
    pub pos: u32,
}

/// UPDATE.
#[derive(Debug, Clone, PartialEq)]
pub struct UpdateStmt {
    /// The table, with its alias.
    pub relation: RangeVar,
    /// SET.
    pub set: Vec<SetClause>,
    /// FROM.
    pub from: Vec<TableRef>,
    /// WHERE.
    pub where_clause: Option<Expr>,
    /// RETURNING.
    pub returning: Option<ReturningClause>,
    /// WITH.
    pub with: Option<WithClause>,
    /// Byte position.
    pub pos: u32,
}

/// DELETE.
#[derive(Debug, Clone, PartialEq)]
pub struct DeleteStmt {
    /// The table, with its alias.
    pub relation: RangeVar,
    /// USING.
    pub using: Vec<TableRef>,
    /// WHERE.
    pub where_clause: Option<Expr>,
    /// RETURNING.
    pub returning: Option<ReturningClause>,
    /// WITH.
    pub with: Option<WithClause>,
    /// Byte position.
    pub pos: u32,
}

/// MERGE.
#[derive(Debug, Clone, PartialEq)]
pub struct MergeStmt {
    /// The table that is changed.
    pub relation: RangeVar,
    /// What it is merged with.
    pub source: TableRef,
    /// How rows are matched.
    pub on: Expr,
    /// What is done.
    pub whens: Vec<MergeWhenClause>,
    /// RETURNING.
    pub returning: Option<ReturningClause>,
    /// WITH.
    pub with: Option<WithClause>,
    /// Byte position.
    pub pos: u32,
}

/// `WHEN [NOT] MATCHED [BY ...] [AND ...] THEN ...`.
#[derive(Debug, Clone, PartialEq)]
pub struct MergeWhenClause {
    /// Which rows.
    pub kind: MergeMatchKind,
    /// AND.
    pub condition: Option<Expr>,
    /// THEN.
    pub action: MergeAction,
    /// Byte position of WHEN.
    pub pos: u32,
}

/// Which rows a WHEN concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MergeMatchKind {
    /// MATCHED.
    Matched,
    /// NOT MATCHED BY SOURCE.
    NotMatchedBySource,
    /// NOT MATCHED [BY TARGET].
    NotMatchedByTarget,
}

/// What a WHEN does.
#[derive(Debug, Clone, PartialEq)]
pub enum MergeAction {
    /// DO NOTHING.
    Nothing,
    /// DELETE.
    Delete,
    /// UPDATE SET.
    Update(Vec<SetClause>),
    /// `INSERT (columns) [OVERRIDING ...] VALUES (...)`; no values: DEFAULT VALUES.
    Insert {
        /// The target columns.
        columns: Vec<ColumnTarget>,
        /// OVERRIDING.
        overriding: Option<Overriding>,
        /// The values.
        values: Vec<Expr>,
    },
}

impl RangeVar {
    /// A relation by its dotted name: `table`, `schema.table` or `database.schema.table`.
    ///
    /// # Errors
    /// 42601 for more parts than that.
    pub fn from_names(names: &[Name], pos: u32) -> shardforge_types::PgResult<RangeVar> {
        let (catalog, schema, name) = match names {
            [name] => (None, None, name),
            [schema, name] => (None, Some(schema), name),
            [catalog, schema, name] => (Some(catalog), Some(schema), name),
            _ => {
                return Err(shardforge_types::PgError::new(
                    shardforge_types::SqlState::SYNTAX_ERROR,
                    format!("improper relation name (too many dotted names): {}", names.join(".")),
                ));
            }
        };
        Ok(RangeVar {
            catalog: catalog.cloned(),
            schema: schema.cloned(),
            name: name.clone(),
            inherit: true,
            persistence: Persistence::default(),
            alias: None,
            pos,
        })
    }
}

impl SelectStmt {
    /// `SELECT columns FROM table`; all columns if none are named.
    pub fn of_table(relation: &RangeVar, columns: &[Name]) -> SelectStmt {
        let column = |names: Names, star: bool| ResTarget {
            name: None,
            value: Expr::ColumnRef(super::ColumnRef { names, star, pos: 0 }),
            pos: 0,
        };
        let targets = if columns.is_empty() {
            vec![column(Names::new(), true)]
        } else {
            columns.iter().map(|name| column(Names::from_elem(name.clone(), 1), false)).collect()
        };
        SelectStmt { targets, from: vec![TableRef::Table(relation.clone())], ..SelectStmt::default() }
    }
}
