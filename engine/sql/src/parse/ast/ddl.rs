//! Statements that define tables, and what belongs to tables: indexes, constraints, views, sequences.

use super::{
    CollateClause, DefElem, Expr, IntoClause, Name, Names, ObjectName, RangeVar, RoleSpec, SelectStmt,
    SortNulls, Statement, TypeName,
};

/// ON COMMIT of a temporary table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnCommit {
    /// None written.
    #[default]
    None,
    /// PRESERVE ROWS.
    PreserveRows,
    /// DELETE ROWS.
    DeleteRows,
    /// DROP.
    Drop,
}

/// CREATE TABLE; also CREATE FOREIGN TABLE, when `foreign` is present.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateStmt {
    /// The table, with its persistence.
    pub relation: RangeVar,
    /// Columns, constraints and LIKEs in the order written.
    pub elements: Vec<TableElement>,
    /// INHERITS, or the parent of PARTITION OF.
    pub inherits: Vec<RangeVar>,
    /// `PARTITION OF parent FOR VALUES ...`.
    pub partition_bound: Option<PartitionBound>,
    /// PARTITION BY.
    pub partition_by: Option<PartitionSpec>,
    /// `OF type`.
    pub of_type: Option<TypeName>,
    /// `USING method`.
    pub access_method: Option<Name>,
    /// `WITH (...)`.
    pub options: Vec<DefElem>,
    /// ON COMMIT.
    pub on_commit: OnCommit,
    /// TABLESPACE.
    pub tablespace: Option<Name>,
    /// IF NOT EXISTS.
    pub if_not_exists: bool,
    /// `SERVER name OPTIONS (...)` of a foreign table.
    pub foreign: Option<(Name, Vec<DefElem>)>,
    /// Byte position.
    pub pos: u32,
}

/// What stands between CREATE TABLE's parentheses.
#[derive(Debug, Clone, PartialEq)]
pub enum TableElement {
    /// A column.
    Column(ColumnDef),
    /// A table constraint.
    Constraint(Constraint),
    /// `LIKE table INCLUDING ...`.
    Like(TableLikeClause),
}

/// A column of CREATE TABLE or ADD COLUMN.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnDef {
    /// Its name.
    pub name: Name,
    /// Its type; absent in `OF type` tables and partitions.
    pub type_name: Option<TypeName>,
    /// `STORAGE ...`.
    pub storage: Option<Name>,
    /// `COMPRESSION ...`.
    pub compression: Option<Name>,
    /// COLLATE.
    pub collation: Option<CollateClause>,
    /// Its constraints, DEFAULT and NOT NULL included.
    pub constraints: Vec<Constraint>,
    /// `OPTIONS (...)` of a foreign table's column.
    pub fdw_options: Vec<DefElem>,
    /// Byte position.
    pub pos: u32,
}

/// A constraint of a column, table or domain.
#[derive(Debug, Clone, PartialEq)]
pub struct Constraint {
    /// CONSTRAINT name.
    pub name: Option<Name>,
    /// What it demands.
    pub kind: ConstraintKind,
    /// DEFERRABLE, NOT ENFORCED and their kin.
    pub attrs: ConstraintAttrs,
    /// Byte position of its first word.
    pub pos: u32,
}

/// The words after a constraint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConstraintAttrs {
    /// `DEFERRABLE` (true), `NOT DEFERRABLE` (false).
    pub deferrable: Option<bool>,
    /// `INITIALLY DEFERRED` (true), `INITIALLY IMMEDIATE` (false).
    pub initially_deferred: Option<bool>,
    /// NOT VALID.
    pub not_valid: bool,
    /// NO INHERIT.
    pub no_inherit: bool,
    /// `ENFORCED` (true), `NOT ENFORCED` (false).
    pub enforced: Option<bool>,
}

impl ConstraintAttrs {
    /// DEFERRABLE, which INITIALLY DEFERRED says too.
    pub fn is_deferrable(&self) -> bool {
        self.deferrable == Some(true) || self.initially_deferred == Some(true)
    }
}

/// What a constraint demands.
#[derive(Debug, Clone, PartialEq)]
pub enum ConstraintKind {
    /// NULL.
    Null,
    /// NOT NULL; with the column when it is a table constraint.
    NotNull(Option<Name>),
    /// DEFAULT.
    Default(Expr),
    /// `GENERATED ... AS IDENTITY (options)`.
    Identity {
        /// ALWAYS (true), BY DEFAULT (false).
        always: bool,
        /// The sequence's options.
        options: Vec<DefElem>,
    },
    /// `GENERATED ALWAYS AS (expr)`.
    Generated {
        /// The expression.
        expr: Expr,
        /// STORED; virtual otherwise.
        stored: bool,
    },
    /// CHECK.
    Check(Expr),
    /// PRIMARY KEY.
    PrimaryKey(IndexConstraint),
    /// UNIQUE; `nulls_not_distinct` with NULLS NOT DISTINCT.
    Unique {
        /// Whether nulls equal each other.
        nulls_not_distinct: bool,
        /// The index.
        index: IndexConstraint,
    },
    /// `EXCLUDE USING method (element WITH operator, ...)`.
    Exclusion(Box<ExclusionConstraint>),
    /// REFERENCES, FOREIGN KEY.
    ForeignKey(Box<ForeignKeyConstraint>),
}

/// The index behind PRIMARY KEY or UNIQUE.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct IndexConstraint {
    /// The columns; empty for a column constraint.
    pub columns: Vec<Name>,
    /// `WITHOUT OVERLAPS` after the last column.
    pub without_overlaps: bool,
    /// INCLUDE.
    pub including: Vec<Name>,
    /// `WITH (...)`.
    pub options: Vec<DefElem>,
    /// `USING INDEX TABLESPACE`.
    pub tablespace: Option<Name>,
    /// `USING INDEX name`.
    pub using_index: Option<Name>,
}

/// EXCLUDE.
#[derive(Debug, Clone, PartialEq)]
pub struct ExclusionConstraint {
    /// USING.
    pub access_method: Option<Name>,
    /// Elements with their operators.
    pub elements: Vec<(IndexElem, Names)>,
    /// INCLUDE, WITH and tablespace.
    pub index: IndexConstraint,
    /// WHERE.
    pub where_clause: Option<Expr>,
}

/// REFERENCES.
#[derive(Debug, Clone, PartialEq)]
pub struct ForeignKeyConstraint {
    /// The referencing columns; empty for a column constraint.
    pub columns: Vec<Name>,
    /// `PERIOD` before the last referencing column.
    pub period: bool,
    /// The referenced table.
    pub table: RangeVar,
    /// The referenced columns; empty: its primary key.
    pub ref_columns: Vec<Name>,
    /// `PERIOD` before the last referenced column.
    pub ref_period: bool,
    /// MATCH.
    pub match_type: FkMatch,
    /// ON UPDATE.
    pub on_update: FkAction,
    /// ON DELETE.
    pub on_delete: FkAction,
    /// `ON DELETE SET NULL (columns)`.
    pub on_delete_columns: Vec<Name>,
}

/// MATCH of a foreign key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FkMatch {
    /// MATCH SIMPLE.
    #[default]
    Simple,
    /// MATCH FULL.
    Full,
    /// MATCH PARTIAL, which PostgreSQL knows but refuses.
    Partial,
}

/// What a foreign key does when its target goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FkAction {
    /// NO ACTION.
    #[default]
    NoAction,
    /// RESTRICT.
    Restrict,
    /// CASCADE.
    Cascade,
    /// SET NULL.
    SetNull,
    /// SET DEFAULT.
    SetDefault,
}

/// `LIKE table INCLUDING ...`.
#[derive(Debug, Clone, PartialEq)]
pub struct TableLikeClause {
    /// The table.
    pub relation: RangeVar,
    /// `(true, what)` for INCLUDING, `(false, what)` for EXCLUDING, in order.
    pub options: Vec<(bool, LikeOption)>,
    /// Byte position.
    pub pos: u32,
}

/// What LIKE copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LikeOption {
    /// COMMENTS.
    Comments,
    /// COMPRESSION.
    Compression,
    /// CONSTRAINTS.
    Constraints,
    /// DEFAULTS.
    Defaults,
    /// IDENTITY.
    Identity,
    /// GENERATED.
    Generated,
    /// INDEXES.
    Indexes,
    /// STATISTICS.
    Statistics,
    /// STORAGE.
    Storage,
    /// ALL.
    All,
}

/// `PARTITION BY strategy (elements)`.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionSpec {
    /// `list`, `range`, `hash`, as written.
    pub strategy: Name,
    /// The partition key.
    pub params: Vec<IndexElem>,
    /// Byte position.
    pub pos: u32,
}

/// FOR VALUES.
#[derive(Debug, Clone, PartialEq)]
pub enum PartitionBound {
    /// DEFAULT.
    Default,
    /// `IN (...)`.
    List(Vec<Expr>),
    /// `FROM (...) TO (...)`; MINVALUE and MAXVALUE are column references of that name.
    Range(Vec<Expr>, Vec<Expr>),
    /// `WITH (MODULUS m, REMAINDER r)`.
    Hash(i32, i32),
}

/// CREATE TABLE AS, CREATE MATERIALIZED VIEW.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateTableAsStmt {
    /// A SELECT or EXECUTE.
    pub query: Statement,
    /// Where to.
    pub into: IntoClause,
    /// Whether it is a materialized view.
    pub materialized_view: bool,
    /// IF NOT EXISTS.
    pub if_not_exists: bool,
    /// Byte position.
    pub pos: u32,
}

/// REFRESH MATERIALIZED VIEW.
#[derive(Debug, Clone, PartialEq)]
pub struct RefreshMatViewStmt {
    /// CONCURRENTLY.
    pub concurrently: bool,
    /// WITH NO DATA.
    pub skip_data: bool,
    /// The view.
    pub relation: RangeVar,
}

/// CREATE INDEX.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexStmt {
    /// Its name.
    pub name: Option<Name>,
    /// Its table.
    pub relation: RangeVar,
    /// USING.
    pub access_method: Option<Name>,
    /// Its key.
    pub elements: Vec<IndexElem>,
    /// INCLUDE.
    pub including: Vec<IndexElem>,
    /// UNIQUE.
    pub unique: bool,
    /// NULLS NOT DISTINCT.
    pub nulls_not_distinct: bool,
    /// CONCURRENTLY.
    pub concurrently: bool,
    /// IF NOT EXISTS.
    pub if_not_exists: bool,
    /// `WITH (...)`.
    pub options: Vec<DefElem>,
    /// TABLESPACE.
    pub tablespace: Option<Name>,
    /// WHERE.
    pub where_clause: Option<Expr>,
    /// Byte position.
    pub pos: u32,
}

/// A column or expression of an index, or of a partition key.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexElem {
    /// What is indexed.
    pub key: IndexKey,
    /// COLLATE.
    pub collation: Names,
    /// The operator class.
    pub opclass: Names,
    /// The operator class's options.
    pub opclass_options: Vec<DefElem>,
    /// `ASC` (false), `DESC` (true).
    pub descending: Option<bool>,
    /// NULLS FIRST, NULLS LAST.
    pub nulls: SortNulls,
    /// Byte position.
    pub pos: u32,
}

/// What an [`IndexElem`] indexes.
#[derive(Debug, Clone, PartialEq)]
pub enum IndexKey {
    /// A column.
    Column(Name),
    /// An expression.
    Expr(Expr),
}

/// CREATE [OR REPLACE] VIEW.
#[derive(Debug, Clone, PartialEq)]
pub struct ViewStmt {
    /// The view, with its persistence.
    pub view: RangeVar,
    /// Its column names.
    pub columns: Vec<Name>,
    /// Its query.
    pub query: Box<SelectStmt>,
    /// The query's text.
    pub query_text: Name,
    /// OR REPLACE.
    pub replace: bool,
    /// RECURSIVE.
    pub recursive: bool,
    /// `WITH (...)`.
    pub options: Vec<DefElem>,
    /// WITH CHECK OPTION.
    pub check_option: Option<CheckOption>,
    /// Byte position.
    pub pos: u32,
}

/// `WITH [CASCADED | LOCAL] CHECK OPTION`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckOption {
    /// CASCADED, the default.
    Cascaded,
    /// LOCAL.
    Local,
}

/// CREATE SEQUENCE.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateSeqStmt {
    /// The sequence, with its persistence.
    pub sequence: RangeVar,
    /// `as`, `increment`, `minvalue`, `maxvalue`, `start`, `cache`, `cycle`, `owned_by`, ...
    pub options: Vec<DefElem>,
    /// IF NOT EXISTS.
    pub if_not_exists: bool,
    /// Byte position.
    pub pos: u32,
}

/// ALTER SEQUENCE.
#[derive(Debug, Clone, PartialEq)]
pub struct AlterSeqStmt {
    /// The sequence.
    pub sequence: RangeVar,
    /// As of [`CreateSeqStmt`], and `restart`.
    pub options: Vec<DefElem>,
    /// IF EXISTS.
    pub if_exists: bool,
    /// Byte position.
    pub pos: u32,
}

/// CREATE SCHEMA.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateSchemaStmt {
    /// Its name; absent: the role's.
    pub name: Option<Name>,
    /// AUTHORIZATION.
    pub authorization: Option<RoleSpec>,
    /// What is created in it at once.
    pub elements: Vec<Statement>,
    /// IF NOT EXISTS.
    pub if_not_exists: bool,
    /// Byte position.
    pub pos: u32,
}

/// What an ALTER TABLE was written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlterTableObject {
    /// TABLE.
    Table,
    /// INDEX.
    Index,
    /// SEQUENCE.
    Sequence,
    /// VIEW.
    View,
    /// MATERIALIZED VIEW.
    MaterializedView,
    /// FOREIGN TABLE.
    ForeignTable,
    /// TYPE, for composite types.
    Type,
}

/// ALTER TABLE, and ALTER INDEX / VIEW / SEQUENCE / ... where they share its commands.
#[derive(Debug, Clone, PartialEq)]
pub struct AlterTableStmt {
    /// What kind was named.
    pub object: AlterTableObject,
    /// Which one.
    pub relation: RangeVar,
    /// What to do, in order.
    pub commands: Vec<AlterTableCmd>,
    /// IF EXISTS.
    pub if_exists: bool,
    /// Byte position.
    pub pos: u32,
}

/// One command of ALTER TABLE, with its byte position.
#[derive(Debug, Clone, PartialEq)]
pub struct AlterTableCmd {
    /// What to do.
    pub kind: AlterTableKind,
    /// Byte position of the command.
    pub pos: u32,
}

/// What one command of ALTER TABLE does.
#[derive(Debug, Clone, PartialEq)]
pub enum AlterTableKind {
    /// `ADD COLUMN [IF NOT EXISTS]` (also ADD ATTRIBUTE).
    AddColumn {
        /// The column.
        column: ColumnDef,
        /// IF NOT EXISTS.
        if_not_exists: bool,
        /// CASCADE (of ADD ATTRIBUTE).
        cascade: bool,
    },
    /// `DROP COLUMN [IF EXISTS] name [CASCADE]` (also DROP ATTRIBUTE).
    DropColumn {
        /// The column.
        name: Name,
        /// IF EXISTS.
        if_exists: bool,
        /// CASCADE.
        cascade: bool,
    },
    /// `ALTER COLUMN name TYPE type` (also ALTER ATTRIBUTE).
    AlterColumnType {
        /// The column.
        name: Name,
        /// Its new type.
        type_name: TypeName,
        /// COLLATE.
        collation: Option<CollateClause>,
        /// USING.
        using: Option<Expr>,
        /// CASCADE (of ALTER ATTRIBUTE).
        cascade: bool,
    },
    /// `ALTER COLUMN name SET DEFAULT expr` or `DROP DEFAULT`.
    ColumnDefault(Name, Option<Expr>),
    /// SET NOT NULL.
    SetNotNull(Name),
    /// DROP NOT NULL.
    DropNotNull(Name),
    /// `SET EXPRESSION AS (expr)`.
    SetExpression(Name, Expr),
    /// `DROP EXPRESSION [IF EXISTS]`.
    DropExpression(Name, bool),
    /// SET STATISTICS; by column name or number, absent: DEFAULT.
    SetStatistics(ColumnNameOrNumber, Option<i32>),
    /// `ALTER COLUMN name SET (options)`.
    SetColumnOptions(Name, Vec<DefElem>),
    /// `ALTER COLUMN name RESET (options)`.
    ResetColumnOptions(Name, Vec<DefElem>),
    /// SET STORAGE; absent: DEFAULT.
    SetStorage(Name, Option<Name>),
    /// SET COMPRESSION; absent: DEFAULT.
    SetCompression(Name, Option<Name>),
    /// `ADD GENERATED ... AS IDENTITY`.
    AddIdentity(Name, Constraint),
    /// `SET GENERATED ...`, `SET seq option`, `RESTART`.
    SetIdentity(Name, Vec<DefElem>),
    /// `DROP IDENTITY [IF EXISTS]`.
    DropIdentity(Name, bool),
    /// `ALTER COLUMN name OPTIONS (...)`.
    AlterColumnFdwOptions(Name, Vec<DefElem>),
    /// ADD constraint.
    AddConstraint(Constraint),
    /// ALTER CONSTRAINT.
    AlterConstraint(Name, ConstraintAttrs),
    /// `ALTER CONSTRAINT name INHERIT` (true: the constraint becomes inheritable).
    AlterConstraintInherit(Name),
    /// VALIDATE CONSTRAINT.
    ValidateConstraint(Name),
    /// `DROP CONSTRAINT [IF EXISTS] name [CASCADE]`.
    DropConstraint {
        /// The constraint.
        name: Name,
        /// IF EXISTS.
        if_exists: bool,
        /// CASCADE.
        cascade: bool,
    },
    /// SET WITHOUT OIDS.
    DropOids,
    /// CLUSTER ON.
    ClusterOn(Name),
    /// SET WITHOUT CLUSTER.
    DropCluster,
    /// `SET LOGGED` (true), `SET UNLOGGED` (false).
    SetLogged(bool),
    /// ENABLE and DISABLE TRIGGER or RULE.
    TriggerState {
        /// Whether it is a rule.
        rule: bool,
        /// What it becomes.
        state: TriggerState,
        /// Which; absent for ALL and USER.
        name: Option<Name>,
        /// `USER`: all but constraint triggers.
        user_only: bool,
    },
    /// INHERIT.
    Inherit(RangeVar),
    /// NO INHERIT.
    NoInherit(RangeVar),
    /// `OF type`.
    OfType(TypeName),
    /// NOT OF.
    NotOf,
    /// OWNER TO.
    OwnerTo(RoleSpec),
    /// SET ACCESS METHOD; absent: DEFAULT.
    SetAccessMethod(Option<Name>),
    /// SET TABLESPACE.
    SetTablespace(Name),
    /// `SET (options)`.
    SetOptions(Vec<DefElem>),
    /// `RESET (options)`.
    ResetOptions(Vec<DefElem>),
    /// REPLICA IDENTITY.
    ReplicaIdentity(ReplicaIdentity),
    /// `ENABLE`, `DISABLE`, `FORCE`, `NO FORCE` ROW LEVEL SECURITY.
    RowSecurity(RowSecurity),
    /// OPTIONS of a foreign table.
    FdwOptions(Vec<DefElem>),
    /// `ATTACH PARTITION name FOR VALUES ...` (an index has no bound).
    AttachPartition(RangeVar, Option<PartitionBound>),
    /// DETACH PARTITION.
    DetachPartition {
        /// Which.
        name: RangeVar,
        /// CONCURRENTLY.
        concurrently: bool,
        /// FINALIZE.
        finalize: bool,
    },
    /// `SPLIT AT VALUES (a), (b), ...`.
    SplitAt(Vec<Vec<Expr>>),
}

/// Columns of an index have numbers only.
#[derive(Debug, Clone, PartialEq)]
pub enum ColumnNameOrNumber {
    /// A name.
    Name(Name),
    /// A number from 1.
    Number(i32),
}

/// What ENABLE and DISABLE make of a trigger or rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TriggerState {
    /// ENABLE.
    Enable,
    /// ENABLE ALWAYS.
    Always,
    /// ENABLE REPLICA.
    Replica,
    /// DISABLE.
    Disable,
}

/// REPLICA IDENTITY.
#[derive(Debug, Clone, PartialEq)]
pub enum ReplicaIdentity {
    /// DEFAULT.
    Default,
    /// FULL.
    Full,
    /// NOTHING.
    Nothing,
    /// USING INDEX.
    Index(Name),
}

/// Row level security's switches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowSecurity {
    /// ENABLE.
    Enable,
    /// DISABLE.
    Disable,
    /// FORCE.
    Force,
    /// NO FORCE.
    NoForce,
}

/// `ALTER ... RENAME TO` of any object, column, constraint or attribute.
#[derive(Debug, Clone, PartialEq)]
pub struct RenameStmt {
    /// What is renamed.
    pub target: RenameTarget,
    /// Its new name.
    pub new_name: Name,
    /// IF EXISTS.
    pub if_exists: bool,
    /// CASCADE (of RENAME ATTRIBUTE).
    pub cascade: bool,
    /// Byte position.
    pub pos: u32,
}

/// What a RENAME names.
#[derive(Debug, Clone, PartialEq)]
pub enum RenameTarget {
    /// A table, view, index, sequence, materialized view or foreign table.
    Relation(AlterTableObject, RangeVar),
    /// A column (or attribute) of a relation.
    Column(AlterTableObject, RangeVar, Name),
    /// A constraint of a table.
    TableConstraint(RangeVar, Name),
    /// A constraint of a domain.
    DomainConstraint(Names, Name),
    /// Any other object.
    Object(ObjectName),
}
