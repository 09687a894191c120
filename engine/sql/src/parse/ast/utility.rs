//! Everything else: transactions, settings, cursors, COPY, roles and privileges, functions, types, maintenance.

use super::{Constraint, Expr, Name, Names, RangeVar, SelectStmt, Statement, TypeName};

/// `name [= value]`, in an options list.
#[derive(Debug, Clone, PartialEq)]
pub struct DefElem {
    /// `toast` in `toast.autovacuum_enabled`.
    pub namespace: Option<Name>,
    /// The option, as written and folded to lower case.
    pub name: Name,
    /// Its value.
    pub arg: Option<DefArg>,
    /// `ADD`, `SET`, `DROP` in OPTIONS lists.
    pub action: DefAction,
    /// Byte position.
    pub pos: u32,
}

/// What is done to an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DefAction {
    /// None written.
    #[default]
    Unspecified,
    /// SET.
    Set,
    /// ADD.
    Add,
    /// DROP.
    Drop,
}

/// An option's value.
#[derive(Debug, Clone, PartialEq)]
pub enum DefArg {
    /// A word or a string.
    String(Name),
    /// An integer that fits 32 bits.
    Integer(i32),
    /// Another number.
    Float(Name),
    /// A flag that the grammar itself sets.
    Boolean(bool),
    /// A type that is more than one word without modifiers (that is a `String`).
    Type(TypeName),
    /// An operator or a dotted name.
    Names(Names),
    /// A list.
    List(Vec<DefArg>),
    /// A role.
    Role(RoleSpec),
    /// `*`.
    Star,
}

/// A role as written.
#[derive(Debug, Clone, PartialEq)]
pub enum RoleSpec {
    /// Its name.
    Name(Name),
    /// CURRENT_ROLE.
    CurrentRole,
    /// CURRENT_USER.
    CurrentUser,
    /// SESSION_USER.
    SessionUser,
    /// PUBLIC.
    Public,
}

/// BEGIN, COMMIT, and all that concerns transactions.
#[derive(Debug, Clone, PartialEq)]
pub struct TransactionStmt {
    /// Which.
    pub kind: TransactionKind,
    /// Byte position.
    pub pos: u32,
}

/// Which transaction statement.
#[derive(Debug, Clone, PartialEq)]
pub enum TransactionKind {
    /// BEGIN.
    Begin(TransactionModes),
    /// START TRANSACTION.
    Start(TransactionModes),
    /// COMMIT, END; `chain` with AND CHAIN.
    Commit {
        /// AND CHAIN.
        chain: bool,
    },
    /// ROLLBACK, ABORT.
    Rollback {
        /// AND CHAIN.
        chain: bool,
    },
    /// SAVEPOINT.
    Savepoint(Name),
    /// RELEASE.
    Release(Name),
    /// ROLLBACK TO.
    RollbackTo(Name),
    /// PREPARE TRANSACTION.
    Prepare(Name),
    /// COMMIT PREPARED.
    CommitPrepared(Name),
    /// ROLLBACK PREPARED.
    RollbackPrepared(Name),
}

/// Isolation levels as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IsolationLevel {
    /// READ UNCOMMITTED.
    ReadUncommitted,
    /// READ COMMITTED.
    ReadCommitted,
    /// REPEATABLE READ.
    RepeatableRead,
    /// SERIALIZABLE.
    Serializable,
}

/// The modes of BEGIN and SET TRANSACTION; the last word wins.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TransactionModes {
    /// ISOLATION LEVEL.
    pub isolation: Option<IsolationLevel>,
    /// `READ ONLY` (true), `READ WRITE` (false).
    pub read_only: Option<bool>,
    /// `DEFERRABLE` (true), `NOT DEFERRABLE` (false).
    pub deferrable: Option<bool>,
    /// `AS OF SYSTEM TIME`.
    pub as_of: Option<Box<Expr>>,
}

/// SET and RESET.
#[derive(Debug, Clone, PartialEq)]
pub struct VariableSetStmt {
    /// What is done.
    pub kind: VariableSetKind,
    /// SET LOCAL.
    pub local: bool,
    /// Byte position.
    pub pos: u32,
}

/// What SET does.
#[derive(Debug, Clone, PartialEq)]
pub enum VariableSetKind {
    /// `SET name = values`; `SET TIME ZONE`, `SET ROLE` and the like come as the setting they stand for.
    Value(Name, Vec<Expr>),
    /// `SET name TO DEFAULT`, also `SET TIME ZONE LOCAL`.
    Default(Name),
    /// `SET name FROM CURRENT`.
    Current(Name),
    /// `RESET name`.
    Reset(Name),
    /// RESET ALL.
    ResetAll,
    /// SET TRANSACTION.
    Transaction(TransactionModes),
    /// SET TRANSACTION SNAPSHOT.
    TransactionSnapshot(Name),
    /// SET SESSION CHARACTERISTICS AS TRANSACTION.
    SessionCharacteristics(TransactionModes),
}

/// SHOW; `all` is the name for SHOW ALL.
#[derive(Debug, Clone, PartialEq)]
pub struct VariableShowStmt {
    /// The setting, or `all`.
    pub name: Name,
    /// Byte position.
    pub pos: u32,
}

/// EXPLAIN.
#[derive(Debug, Clone, PartialEq)]
pub struct ExplainStmt {
    /// What is explained.
    pub query: Statement,
    /// `analyze`, `verbose`, `format`, ...
    pub options: Vec<DefElem>,
    /// Byte position.
    pub pos: u32,
}

/// COPY.
#[derive(Debug, Clone, PartialEq)]
pub struct CopyStmt {
    /// The table; absent when there is a query.
    pub relation: Option<RangeVar>,
    /// `COPY (query) TO`: a SELECT, INSERT, UPDATE, DELETE or MERGE.
    pub query: Option<Statement>,
    /// The columns.
    pub columns: Vec<Name>,
    /// FROM (true), TO (false).
    pub is_from: bool,
    /// Where from or to.
    pub target: CopyTarget,
    /// The options; the old syntax is mapped to the new (`format`, `delimiter`, `null`, `header`, `freeze`, `quote`,
    /// `escape`, `force_quote`, `force_not_null`, `force_null`, `encoding`).
    pub options: Vec<DefElem>,
    /// WHERE.
    pub where_clause: Option<Expr>,
    /// Byte position.
    pub pos: u32,
}

/// Where COPY reads or writes.
#[derive(Debug, Clone, PartialEq)]
pub enum CopyTarget {
    /// STDIN or STDOUT.
    Stdio,
    /// A file.
    File(Name),
    /// PROGRAM.
    Program(Name),
}

/// PREPARE.
#[derive(Debug, Clone, PartialEq)]
pub struct PrepareStmt {
    /// Its name.
    pub name: Name,
    /// The types of its parameters.
    pub arg_types: Vec<TypeName>,
    /// What is prepared.
    pub query: Statement,
    /// Byte position.
    pub pos: u32,
}

/// EXECUTE.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecuteStmt {
    /// Which.
    pub name: Name,
    /// With what.
    pub params: Vec<Expr>,
    /// Byte position.
    pub pos: u32,
}

/// DECLARE CURSOR.
#[derive(Debug, Clone, PartialEq)]
pub struct DeclareCursorStmt {
    /// Its name.
    pub name: Name,
    /// BINARY.
    pub binary: bool,
    /// `SCROLL` (true), `NO SCROLL` (false).
    pub scroll: Option<bool>,
    /// `INSENSITIVE` (true), `ASENSITIVE` (false).
    pub insensitive: Option<bool>,
    /// WITH HOLD.
    pub hold: bool,
    /// Its query.
    pub query: Box<SelectStmt>,
    /// Byte position.
    pub pos: u32,
}

/// FETCH and MOVE.
#[derive(Debug, Clone, PartialEq)]
pub struct FetchStmt {
    /// Where to.
    pub direction: FetchDirection,
    /// How many rows, or which row; `i64::MAX` for ALL.
    pub count: i64,
    /// The cursor.
    pub portal: Name,
    /// Whether it is MOVE.
    pub is_move: bool,
    /// Byte position.
    pub pos: u32,
}

/// Where FETCH goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchDirection {
    /// FORWARD, NEXT.
    Forward,
    /// BACKWARD, PRIOR.
    Backward,
    /// ABSOLUTE, FIRST (1), LAST (-1).
    Absolute,
    /// RELATIVE.
    Relative,
}

/// LOCK TABLE.
#[derive(Debug, Clone, PartialEq)]
pub struct LockStmt {
    /// The tables.
    pub relations: Vec<RangeVar>,
    /// The mode.
    pub mode: LockMode,
    /// NOWAIT.
    pub nowait: bool,
    /// Byte position.
    pub pos: u32,
}

/// The eight table lock modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockMode {
    /// ACCESS SHARE.
    AccessShare,
    /// ROW SHARE.
    RowShare,
    /// ROW EXCLUSIVE.
    RowExclusive,
    /// SHARE UPDATE EXCLUSIVE.
    ShareUpdateExclusive,
    /// SHARE.
    Share,
    /// SHARE ROW EXCLUSIVE.
    ShareRowExclusive,
    /// EXCLUSIVE.
    Exclusive,
    /// ACCESS EXCLUSIVE.
    AccessExclusive,
}

/// SET CONSTRAINTS.
#[derive(Debug, Clone, PartialEq)]
pub struct ConstraintsSetStmt {
    /// Which; empty for ALL.
    pub constraints: Vec<RangeVar>,
    /// DEFERRED.
    pub deferred: bool,
}

/// DISCARD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiscardMode {
    /// ALL.
    All,
    /// PLANS.
    Plans,
    /// SEQUENCES.
    Sequences,
    /// TEMP.
    Temp,
}

/// TRUNCATE.
#[derive(Debug, Clone, PartialEq)]
pub struct TruncateStmt {
    /// The tables.
    pub relations: Vec<RangeVar>,
    /// RESTART IDENTITY.
    pub restart_identity: bool,
    /// CASCADE.
    pub cascade: bool,
    /// Byte position.
    pub pos: u32,
}

/// VACUUM and ANALYZE.
#[derive(Debug, Clone, PartialEq)]
pub struct VacuumStmt {
    /// VACUUM (true), ANALYZE (false).
    pub is_vacuum: bool,
    /// `full`, `freeze`, `verbose`, `analyze`, `parallel`, ...
    pub options: Vec<DefElem>,
    /// The tables with their columns; empty: all.
    pub relations: Vec<(RangeVar, Vec<Name>)>,
    /// Byte position.
    pub pos: u32,
}

/// CLUSTER.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterStmt {
    /// The table; absent: all.
    pub relation: Option<RangeVar>,
    /// The index.
    pub index: Option<Name>,
    /// The options.
    pub options: Vec<DefElem>,
}

/// What REINDEX rebuilds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReindexKind {
    /// INDEX.
    Index,
    /// TABLE.
    Table,
    /// SCHEMA.
    Schema,
    /// SYSTEM.
    System,
    /// DATABASE.
    Database,
}

/// REINDEX.
#[derive(Debug, Clone, PartialEq)]
pub struct ReindexStmt {
    /// What.
    pub kind: ReindexKind,
    /// Which index, table, schema or database; optional for the last two.
    pub relation: Option<RangeVar>,
    /// The options, `concurrently` among them.
    pub options: Vec<DefElem>,
}

/// Kinds of objects, as DROP, COMMENT, ALTER and GRANT name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the words of SQL that name the kind")]
pub enum ObjectType {
    AccessMethod,
    Aggregate,
    Cast,
    Collation,
    Column,
    Conversion,
    Database,
    Domain,
    DomainConstraint,
    EventTrigger,
    Extension,
    ForeignDataWrapper,
    ForeignServer,
    ForeignTable,
    Function,
    Index,
    Language,
    LargeObject,
    MaterializedView,
    Operator,
    OperatorClass,
    OperatorFamily,
    ParameterAcl,
    Policy,
    Procedure,
    Publication,
    Role,
    Routine,
    Rule,
    Schema,
    Sequence,
    Statistics,
    Subscription,
    Table,
    TableConstraint,
    Tablespace,
    Transform,
    Trigger,
    TsConfiguration,
    TsDictionary,
    TsParser,
    TsTemplate,
    Type,
    UserMapping,
    View,
}

/// An object of any kind, named.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectName {
    /// Its kind.
    pub kind: ObjectType,
    /// Its dotted name; an operator's name comes last.
    pub names: Names,
    /// The argument types of a function, aggregate or operator (NONE is absent), where they were written; the two types
    /// of a cast.
    pub args: Option<Vec<Option<TypeName>>>,
    /// `ON table` of a trigger, rule, policy or constraint; `USING method` of an operator class; the type itself
    /// where the object is a type; `FOR type LANGUAGE` of a transform.
    pub of: Option<Names>,
    /// Byte position.
    pub pos: u32,
}

/// DROP of any object but roles and databases.
#[derive(Debug, Clone, PartialEq)]
pub struct DropStmt {
    /// What kind.
    pub kind: ObjectType,
    /// Which.
    pub objects: Vec<ObjectName>,
    /// IF EXISTS.
    pub if_exists: bool,
    /// CASCADE.
    pub cascade: bool,
    /// CONCURRENTLY.
    pub concurrently: bool,
    /// Byte position.
    pub pos: u32,
}

/// `COMMENT ON object IS text` and `SECURITY LABEL`.
#[derive(Debug, Clone, PartialEq)]
pub struct CommentStmt {
    /// On what.
    pub object: ObjectName,
    /// The text; absent for NULL.
    pub comment: Option<Name>,
    /// `SECURITY LABEL FOR provider`, when it is that statement.
    pub security_label: Option<Option<Name>>,
}

/// `ALTER object OWNER TO role`.
#[derive(Debug, Clone, PartialEq)]
pub struct AlterOwnerStmt {
    /// Which.
    pub object: ObjectName,
    /// To whom.
    pub new_owner: RoleSpec,
}

/// `ALTER object SET SCHEMA name`.
#[derive(Debug, Clone, PartialEq)]
pub struct AlterObjectSchemaStmt {
    /// Which.
    pub object: ObjectName,
    /// Where to.
    pub new_schema: Name,
    /// IF EXISTS.
    pub if_exists: bool,
}

/// CREATE ROLE, USER, GROUP.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateRoleStmt {
    /// Its name.
    pub name: Name,
    /// Whether USER was written, which implies LOGIN.
    pub is_user: bool,
    /// `password`, `superuser`, `createdb`, `inherit`, `canlogin`, `connectionlimit`, `validUntil`, `rolemembers`,
    /// ... as PostgreSQL names them.
    pub options: Vec<DefElem>,
    /// Byte position.
    pub pos: u32,
}

/// ALTER ROLE with options, and ALTER GROUP ... ADD / DROP USER.
#[derive(Debug, Clone, PartialEq)]
pub struct AlterRoleStmt {
    /// Which.
    pub role: RoleSpec,
    /// As of [`CreateRoleStmt`].
    pub options: Vec<DefElem>,
    /// Whether DROP USER was written.
    pub drop_members: bool,
    /// Byte position.
    pub pos: u32,
}

/// `ALTER ROLE ... [IN DATABASE d] SET ...`, `ALTER DATABASE ... SET ...`.
#[derive(Debug, Clone, PartialEq)]
pub struct AlterSettingStmt {
    /// The role; absent: ALL (or none, for ALTER DATABASE).
    pub role: Option<RoleSpec>,
    /// The database.
    pub database: Option<Name>,
    /// What is set.
    pub set: VariableSetStmt,
}

/// DROP ROLE.
#[derive(Debug, Clone, PartialEq)]
pub struct DropRoleStmt {
    /// Which.
    pub roles: Vec<RoleSpec>,
    /// IF EXISTS.
    pub if_exists: bool,
    /// Byte position.
    pub pos: u32,
}

/// A privilege with its columns; no name for ALL.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessPriv {
    /// `select`, `insert`, ...
    pub name: Option<Name>,
    /// `SELECT (a, b)`.
    pub columns: Vec<Name>,
}

/// What privileges are on.
#[derive(Debug, Clone, PartialEq)]
pub enum GrantTarget {
    /// Named objects.
    Objects(ObjectType, Vec<ObjectName>),
    /// `ALL TABLES IN SCHEMA ...`.
    AllInSchema(ObjectType, Vec<Name>),
    /// ALTER DEFAULT PRIVILEGES: objects to come.
    Defaults(ObjectType),
}

/// GRANT and REVOKE of privileges.
#[derive(Debug, Clone, PartialEq)]
pub struct GrantStmt {
    /// GRANT (true), REVOKE (false).
    pub is_grant: bool,
    /// The privileges; empty for ALL.
    pub privileges: Vec<AccessPriv>,
    /// On what.
    pub target: GrantTarget,
    /// To or from whom.
    pub grantees: Vec<RoleSpec>,
    /// WITH GRANT OPTION, GRANT OPTION FOR.
    pub grant_option: bool,
    /// GRANTED BY.
    pub grantor: Option<RoleSpec>,
    /// CASCADE.
    pub cascade: bool,
    /// Byte position.
    pub pos: u32,
}

/// GRANT and REVOKE of roles.
#[derive(Debug, Clone, PartialEq)]
pub struct GrantRoleStmt {
    /// GRANT (true), REVOKE (false).
    pub is_grant: bool,
    /// The roles.
    pub granted: Vec<AccessPriv>,
    /// To or from whom.
    pub grantees: Vec<RoleSpec>,
    /// `admin`, `inherit`, `set`.
    pub options: Vec<DefElem>,
    /// GRANTED BY.
    pub grantor: Option<RoleSpec>,
    /// CASCADE.
    pub cascade: bool,
    /// Byte position.
    pub pos: u32,
}

/// ALTER DEFAULT PRIVILEGES.
#[derive(Debug, Clone, PartialEq)]
pub struct AlterDefaultPrivilegesStmt {
    /// FOR ROLE.
    pub roles: Vec<RoleSpec>,
    /// IN SCHEMA.
    pub schemas: Vec<Name>,
    /// What is granted.
    pub action: GrantStmt,
}

/// CREATE DATABASE.
#[derive(Debug, Clone, PartialEq)]
pub struct CreatedbStmt {
    /// Its name.
    pub name: Name,
    /// The options.
    pub options: Vec<DefElem>,
    /// Byte position.
    pub pos: u32,
}

/// ALTER DATABASE with options.
#[derive(Debug, Clone, PartialEq)]
pub struct AlterDatabaseStmt {
    /// Which.
    pub name: Name,
    /// The options; `refresh_collversion` for REFRESH COLLATION VERSION, `tablespace` for SET TABLESPACE.
    pub options: Vec<DefElem>,
    /// Byte position.
    pub pos: u32,
}

/// DROP DATABASE.
#[derive(Debug, Clone, PartialEq)]
pub struct DropdbStmt {
    /// Which.
    pub name: Name,
    /// IF EXISTS.
    pub if_exists: bool,
    /// `force`.
    pub options: Vec<DefElem>,
    /// Byte position.
    pub pos: u32,
}

/// How an argument of a function is passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FunctionParameterMode {
    /// None written: IN.
    #[default]
    Default,
    /// IN.
    In,
    /// OUT.
    Out,
    /// INOUT.
    InOut,
    /// VARIADIC.
    Variadic,
    /// A column of RETURNS TABLE.
    Table,
}

/// A parameter of a function.
#[derive(Debug, Clone, PartialEq)]
pub struct FunctionParameter {
    /// Its name.
    pub name: Option<Name>,
    /// Its type.
    pub type_name: TypeName,
    /// How it is passed.
    pub mode: FunctionParameterMode,
    /// DEFAULT.
    pub default: Option<Expr>,
    /// Byte position.
    pub pos: u32,
}

/// CREATE FUNCTION and CREATE PROCEDURE.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateFunctionStmt {
    /// PROCEDURE.
    pub is_procedure: bool,
    /// OR REPLACE.
    pub replace: bool,
    /// Its name.
    pub name: Names,
    /// Its parameters, with the columns of RETURNS TABLE.
    pub parameters: Vec<FunctionParameter>,
    /// RETURNS.
    pub return_type: Option<TypeName>,
    /// `language`, `as`, `volatility`, `strict`, `security`, `cost`, ...
    pub options: Vec<DefElem>,
    /// The body in SQL: `RETURN expr` or `BEGIN ATOMIC ... END`.
    pub sql_body: Option<FunctionBody>,
    /// Byte position.
    pub pos: u32,
}

/// A body in the SQL standard's form.
#[derive(Debug, Clone, PartialEq)]
pub enum FunctionBody {
    /// RETURN.
    Return(Expr),
    /// BEGIN ATOMIC.
    Atomic(Vec<Statement>),
}

/// ALTER FUNCTION, PROCEDURE, ROUTINE with options.
#[derive(Debug, Clone, PartialEq)]
pub struct AlterFunctionStmt {
    /// Which.
    pub function: ObjectName,
    /// The options.
    pub options: Vec<DefElem>,
}

/// CREATE TYPE, in its forms.
#[derive(Debug, Clone, PartialEq)]
pub enum CreateTypeStmt {
    /// `AS (columns)`.
    Composite(Names, Vec<super::ColumnDefShort>),
    /// `AS ENUM (labels)`.
    Enum(Names, Vec<Name>),
    /// `AS RANGE (options)`.
    Range(Names, Vec<DefElem>),
    /// `(options)`: a base type; no options: a shell type.
    Base(Names, Vec<DefElem>),
}

/// ALTER TYPE ... ADD VALUE, RENAME VALUE.
#[derive(Debug, Clone, PartialEq)]
pub struct AlterEnumStmt {
    /// The type.
    pub type_name: Names,
    /// The value to rename; absent when one is added.
    pub old_value: Option<Name>,
    /// The new value.
    pub new_value: Name,
    /// `AFTER value` (true) or `BEFORE value` (false).
    pub neighbor: Option<(bool, Name)>,
    /// IF NOT EXISTS.
    pub if_not_exists: bool,
}

/// CREATE DOMAIN.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateDomainStmt {
    /// Its name.
    pub name: Names,
    /// The type it restricts.
    pub type_name: TypeName,
    /// COLLATE.
    pub collation: Option<super::CollateClause>,
    /// Its constraints.
    pub constraints: Vec<Constraint>,
    /// Byte position.
    pub pos: u32,
}

/// ALTER DOMAIN.
#[derive(Debug, Clone, PartialEq)]
pub struct AlterDomainStmt {
    /// Which.
    pub name: Names,
    /// What is done.
    pub action: AlterDomainAction,
}

/// What ALTER DOMAIN does.
#[derive(Debug, Clone, PartialEq)]
pub enum AlterDomainAction {
    /// SET DEFAULT, DROP DEFAULT.
    Default(Option<Expr>),
    /// SET NOT NULL (true), DROP NOT NULL (false).
    NotNull(bool),
    /// ADD constraint.
    AddConstraint(Constraint),
    /// DROP CONSTRAINT.
    DropConstraint {
        /// Which.
        name: Name,
        /// IF EXISTS.
        if_exists: bool,
        /// CASCADE.
        cascade: bool,
    },
    /// VALIDATE CONSTRAINT.
    ValidateConstraint(Name),
}

/// CREATE EXTENSION.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateExtensionStmt {
    /// Its name.
    pub name: Name,
    /// IF NOT EXISTS.
    pub if_not_exists: bool,
    /// `schema`, `new_version`, `cascade`.
    pub options: Vec<DefElem>,
}

/// CREATE TRIGGER.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateTrigStmt {
    /// OR REPLACE.
    pub replace: bool,
    /// CONSTRAINT.
    pub is_constraint: bool,
    /// Its name.
    pub name: Name,
    /// Its table.
    pub relation: RangeVar,
    /// `before`, `after`, `instead of`.
    pub timing: Name,
    /// `insert`, `update`, `delete`, `truncate`.
    pub events: Vec<Name>,
    /// `UPDATE OF columns`.
    pub columns: Vec<Name>,
    /// `FROM table` of a constraint trigger.
    pub constraint_relation: Option<RangeVar>,
    /// DEFERRABLE and its kin.
    pub attrs: super::ConstraintAttrs,
    /// `REFERENCING (is_new, is_table, name)`.
    pub transitions: Vec<(bool, bool, Name)>,
    /// FOR EACH ROW.
    pub row: bool,
    /// WHEN.
    pub when: Option<Expr>,
    /// The function.
    pub function: Names,
    /// Its arguments.
    pub args: Vec<Name>,
    /// Byte position.
    pub pos: u32,
}

/// `CALL f(...)`.
#[derive(Debug, Clone, PartialEq)]
pub struct CallStmt {
    /// The call.
    pub call: super::FuncCall,
}

/// `DO [LANGUAGE l] 'code'`.
#[derive(Debug, Clone, PartialEq)]
pub struct DoStmt {
    /// `as` and `language`.
    pub args: Vec<DefElem>,
}

/// A statement that is recognised to its end, for which nothing more than its words is kept: it is answered as
/// not supported, under the name that PostgreSQL's command tag gives it.
#[derive(Debug, Clone, PartialEq)]
pub struct OtherStmt {
    /// `CREATE RULE`, `ALTER SUBSCRIPTION`, ...
    pub tag: &'static str,
    /// Byte position.
    pub pos: u32,
}
