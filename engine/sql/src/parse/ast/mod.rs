//! The raw tree: what was written, before any name is looked up.
//!
//! Names and shapes follow PostgreSQL's `parsenodes.h` and `primnodes.h`, so that who knows those knows these; where C
//! needs a list of untyped nodes, here is an enum. Two rules hold everywhere:
//!
//! - `pos` is a **byte** offset into the text given to [`super::parse`]. It becomes a 1-based character position only
//!   when an error leaves for the client: [`super::error_position`].
//! - Identifiers are already folded to lower case and cut to 63 bytes, string literals already decoded.

mod cluster;
mod ddl;
mod expr;
mod query;
mod shard;
mod utility;

use std::sync::Arc;

use smallvec::SmallVec;

pub use cluster::*;
pub use ddl::*;
pub use expr::*;
pub use query::*;
pub use shard::*;
pub use utility::*;

/// An identifier or a string, cheap to clone.
pub type Name = Arc<str>;

/// A possibly qualified name: `[schema, table]`.
pub type Names = SmallVec<[Name; 1]>;

/// One statement of the text, and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct RawStatement {
    /// The statement.
    pub stmt: Statement,
    /// Byte offset of its first token.
    pub start: u32,
    /// Its length in bytes, without the semicolon and the blanks before it.
    pub len: u32,
}

/// A statement.
#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    /// SELECT, VALUES, TABLE.
    Select(Box<SelectStmt>),
    /// INSERT.
    Insert(Box<InsertStmt>),
    /// UPDATE.
    Update(Box<UpdateStmt>),
    /// DELETE.
    Delete(Box<DeleteStmt>),
    /// MERGE.
    Merge(Box<MergeStmt>),
    /// CREATE TABLE, CREATE FOREIGN TABLE.
    Create(Box<CreateStmt>),
    /// CREATE TABLE AS, CREATE MATERIALIZED VIEW.
    CreateTableAs(Box<CreateTableAsStmt>),
    /// REFRESH MATERIALIZED VIEW.
    RefreshMatView(Box<RefreshMatViewStmt>),
    /// ALTER TABLE, INDEX, VIEW, ...
    AlterTable(Box<AlterTableStmt>),
    /// CREATE INDEX.
    Index(Box<IndexStmt>),
    /// CREATE VIEW.
    View(Box<ViewStmt>),
    /// CREATE SEQUENCE.
    CreateSeq(Box<CreateSeqStmt>),
    /// ALTER SEQUENCE.
    AlterSeq(Box<AlterSeqStmt>),
    /// CREATE SCHEMA.
    CreateSchema(Box<CreateSchemaStmt>),
    /// RENAME.
    Rename(Box<RenameStmt>),
    /// OWNER TO, for objects that are not relations.
    AlterOwner(Box<AlterOwnerStmt>),
    /// SET SCHEMA.
    AlterObjectSchema(Box<AlterObjectSchemaStmt>),
    /// DROP.
    Drop(Box<DropStmt>),
    /// TRUNCATE.
    Truncate(Box<TruncateStmt>),
    /// COMMENT, SECURITY LABEL.
    Comment(Box<CommentStmt>),
    /// BEGIN, COMMIT, SAVEPOINT, ...
    Transaction(TransactionStmt),
    /// SET, RESET.
    VariableSet(Box<VariableSetStmt>),
    /// SHOW.
    VariableShow(VariableShowStmt),
    /// SHOW SHARDS.
    ShowShards(Box<ShowShardsStmt>),
    /// SHOW NODES, SHOW CLUSTER, SHOW CHECKSUMS.
    ShowCluster(ClusterShow),
    /// CREATE JOIN TOKEN, and for how long it is valid.
    CreateJoinToken(Option<Box<Expr>>),
    /// ALTER NODE.
    AlterNode(AlterNodeStmt),
    /// EXPLAIN.
    Explain(Box<ExplainStmt>),
    /// COPY.
    Copy(Box<CopyStmt>),
    /// PREPARE.
    Prepare(Box<PrepareStmt>),
    /// EXECUTE.
    Execute(Box<ExecuteStmt>),
    /// DEALLOCATE; absent: ALL.
    Deallocate(Option<Name>),
    /// DECLARE CURSOR.
    DeclareCursor(Box<DeclareCursorStmt>),
    /// FETCH, MOVE.
    Fetch(FetchStmt),
    /// CLOSE; absent: ALL.
    ClosePortal(Option<Name>),
    /// LOCK.
    Lock(Box<LockStmt>),
    /// SET CONSTRAINTS.
    ConstraintsSet(ConstraintsSetStmt),
    /// DISCARD.
    Discard(DiscardMode),
    /// VACUUM, ANALYZE.
    Vacuum(Box<VacuumStmt>),
    /// CLUSTER.
    Cluster(Box<ClusterStmt>),
    /// REINDEX.
    Reindex(Box<ReindexStmt>),
    /// CHECKPOINT.
    Checkpoint,
    /// LISTEN.
    Listen(Name),
    /// UNLISTEN; absent: all.
    Unlisten(Option<Name>),
    /// `NOTIFY channel [, payload]`.
    Notify(Name, Option<Name>),
    /// LOAD.
    Load(Name),
    /// CREATE ROLE, USER, GROUP.
    CreateRole(Box<CreateRoleStmt>),
    /// ALTER ROLE, USER, GROUP.
    AlterRole(Box<AlterRoleStmt>),
    /// ALTER ROLE ... SET, ALTER DATABASE ... SET.
    AlterSetting(Box<AlterSettingStmt>),
    /// DROP ROLE.
    DropRole(DropRoleStmt),
    /// GRANT and REVOKE of privileges.
    Grant(Box<GrantStmt>),
    /// GRANT and REVOKE of roles.
    GrantRole(Box<GrantRoleStmt>),
    /// ALTER DEFAULT PRIVILEGES.
    AlterDefaultPrivileges(Box<AlterDefaultPrivilegesStmt>),
    /// `REASSIGN OWNED BY roles TO role`.
    ReassignOwned(Vec<RoleSpec>, RoleSpec),
    /// `DROP OWNED BY roles [CASCADE]`.
    DropOwned(Vec<RoleSpec>, bool),
    /// CREATE DATABASE.
    Createdb(CreatedbStmt),
    /// ALTER DATABASE.
    AlterDatabase(AlterDatabaseStmt),
    /// DROP DATABASE.
    Dropdb(DropdbStmt),
    /// ALTER SYSTEM.
    AlterSystem(Box<VariableSetStmt>),
    /// CREATE FUNCTION, PROCEDURE.
    CreateFunction(Box<CreateFunctionStmt>),
    /// ALTER FUNCTION, PROCEDURE, ROUTINE.
    AlterFunction(Box<AlterFunctionStmt>),
    /// CREATE TYPE.
    CreateType(Box<CreateTypeStmt>),
    /// ALTER TYPE ... VALUE.
    AlterEnum(Box<AlterEnumStmt>),
    /// CREATE DOMAIN.
    CreateDomain(Box<CreateDomainStmt>),
    /// ALTER DOMAIN.
    AlterDomain(Box<AlterDomainStmt>),
    /// CREATE EXTENSION.
    CreateExtension(CreateExtensionStmt),
    /// CREATE TRIGGER.
    CreateTrig(Box<CreateTrigStmt>),
    /// CALL.
    Call(Box<CallStmt>),
    /// DO.
    Do(Box<DoStmt>),
    /// Anything else that PostgreSQL knows.
    Other(OtherStmt),
}
