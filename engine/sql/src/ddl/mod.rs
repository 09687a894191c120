//! Data definition: CREATE, ALTER, DROP, TRUNCATE, COMMENT, roles, databases.
//!
//! A statement locks the objects it changes as PostgreSQL does, reads their newest descriptors, and records
//! [`Change`]s: rows of the catalog in the session's transaction, visible to the session at once and to others
//! when the transaction commits. New indexes and rewritten tables are filled in the same transaction; storage
//! that is no longer used is given back after the commit. So all of it rolls back.

mod alter_table;
mod cluster;
mod columns;
mod comment;
mod concurrently;
mod create_table;
mod database;
mod drop;
mod fill;
mod foreign_key;
mod index;
mod names;
mod options;
mod rename;
mod role;
mod schema;
mod sequence;
mod split;
mod view;

use std::sync::Arc;

use bytes::Bytes;
use shardforge_kv::{LockStrength, ObjectLockMode};
use shardforge_types::{Oid, PgError, PgResult, Severity, SqlState};

pub use concurrently::{make_anew, make_valid, outwait};
pub use foreign_key::deferrable_constraints;
pub use names::{find_relation, find_relation_if_exists};
pub use split::FreshBuckets;

use crate::catalog::change::name_lock_key;
use crate::catalog::{CatalogSnapshot, Change, Relation, RelationDesc, TableDesc};
use crate::exec::env::Host;
use crate::parse::ast::{ObjectType, RangeVar, Statement};
use crate::session::PgSession;
use crate::session::error::from_kv;

/// The command tag of a DDL statement; `None` if it is not one that is supported.
pub fn command_tag(stmt: &Statement) -> Option<&'static str> {
    Some(match stmt {
        Statement::Create(_) => "CREATE TABLE",
        Statement::CreateTableAs(stmt) if stmt.materialized_view => return None,
        Statement::CreateTableAs(_) => "CREATE TABLE AS",
        Statement::AlterTable(stmt) => match stmt.object {
            crate::parse::ast::AlterTableObject::Index => "ALTER INDEX",
            crate::parse::ast::AlterTableObject::Sequence => "ALTER SEQUENCE",
            crate::parse::ast::AlterTableObject::View => "ALTER VIEW",
            _ => "ALTER TABLE",
        },
        Statement::Index(_) => "CREATE INDEX",
        Statement::View(_) => "CREATE VIEW",
        Statement::CreateSeq(_) => "CREATE SEQUENCE",
        Statement::AlterSeq(_) => "ALTER SEQUENCE",
        Statement::CreateSchema(_) => "CREATE SCHEMA",
        Statement::Rename(stmt) => rename::tag(&stmt.target)?,
        Statement::AlterObjectSchema(_) => "ALTER TABLE",
        Statement::Drop(stmt) => match stmt.kind {
            ObjectType::Table => "DROP TABLE",
            ObjectType::Index => "DROP INDEX",
            ObjectType::View => "DROP VIEW",
            ObjectType::Sequence => "DROP SEQUENCE",
            ObjectType::Schema => "DROP SCHEMA",
            _ => return None,
        },
        Statement::Truncate(_) => "TRUNCATE TABLE",
        Statement::Cluster(_) => "CLUSTER",
        Statement::Comment(_) => "COMMENT",
        Statement::CreateRole(_) => "CREATE ROLE",
        Statement::AlterRole(_) => "ALTER ROLE",
        Statement::DropRole(_) => "DROP ROLE",
        Statement::GrantRole(stmt) => {
            if stmt.is_grant {
                "GRANT ROLE"
            } else {
                "REVOKE ROLE"
            }
        }
        Statement::Createdb(_) => "CREATE DATABASE",
        Statement::Dropdb(_) => "DROP DATABASE",
        _ => return None,
    })
}

/// Runs a DDL statement; answers its command tag.
///
/// # Errors
/// Whatever it raises, with byte positions.
pub async fn execute(session: &mut PgSession, stmt: &Statement, sql: &Arc<str>) -> PgResult<String> {
    let tag = command_tag(stmt).unwrap_or_default().to_owned();
    match stmt {
        Statement::Create(stmt) => create_table::create(session, stmt).await?,
        Statement::CreateTableAs(stmt) => return create_table::create_as(session, stmt, sql).await,
        Statement::AlterTable(stmt) => alter_table::alter(session, stmt).await?,
        Statement::Index(stmt) => index::create(session, stmt).await?,
        Statement::View(stmt) => view::create(session, stmt).await?,
        Statement::CreateSeq(stmt) => sequence::create(session, stmt).await?,
        Statement::AlterSeq(stmt) => sequence::alter(session, stmt).await?,
        Statement::CreateSchema(stmt) => schema::create(session, stmt, sql).await?,
        Statement::Rename(stmt) => rename::rename(session, stmt).await?,
        Statement::AlterObjectSchema(stmt) => rename::set_schema(session, stmt).await?,
        Statement::Drop(stmt) => drop::drop_objects(session, stmt).await?,
        Statement::Truncate(stmt) => drop::truncate(session, stmt).await?,
        Statement::Cluster(stmt) => cluster::cluster(session, stmt).await?,
        Statement::Comment(stmt) => comment::comment(session, stmt).await?,
        Statement::CreateRole(stmt) => role::create(session, stmt).await?,
        Statement::AlterRole(stmt) => role::alter(session, stmt).await?,
        Statement::DropRole(stmt) => role::drop(session, stmt).await?,
        Statement::GrantRole(stmt) => role::grant(session, stmt).await?,
        Statement::Createdb(stmt) => database::create(session, stmt).await?,
        Statement::Dropdb(stmt) => database::drop(session, stmt).await?,
        _ => return Err(PgError::internal("not a data definition statement")),
    }
    Ok(tag)
}

impl PgSession {
    /// Records a change of the catalog in the transaction.
    pub(crate) fn record(&mut self, change: Change) -> PgResult<()> {
        let (key, value) = change.row(self.database)?;
        let txn = self.ensure_txn();
        match value {
            Some(value) => txn.txn.put(key, value),
            None => txn.txn.delete(key),
        }
        txn.changes.push(change);
        Ok(())
    }

    /// Records the new state of a table, with the next version.
    pub(crate) fn record_table(&mut self, mut table: TableDesc) -> PgResult<()> {
        table.version += 1;
        self.record(Change::PutRelation(RelationDesc::Table(table)))
    }

    /// Keeps others from making an object of this name in a namespace until the transaction ends.
    pub(crate) async fn lock_name(&mut self, namespace: Oid, name: &str) -> PgResult<()> {
        let key: Bytes = name_lock_key(self.database, namespace, name);
        let wait = self.lock_wait();
        let txn = self.ensure_txn().txn.clone();
        txn.lock(&key, LockStrength::Update, wait).await.map_err(from_kv)?;
        Ok(())
    }

    /// Finds a table, locks it, and returns its newest descriptor.
    pub(crate) async fn lock_table_by_name(
        &mut self,
        name: &RangeVar,
        mode: ObjectLockMode,
    ) -> PgResult<Arc<TableDesc>> {
        match self.lock_relation_by_name(name, &|_| mode).await? {
            Relation::Table(table) => Ok(table),
            other => Err(not_a_table(&other)),
        }
    }

    /// Finds a relation, locks it (an index by its table), and returns its newest descriptor.
    pub(crate) async fn lock_relation_by_name(
        &mut self,
        name: &RangeVar,
        mode: &(dyn Fn(&Relation) -> ObjectLockMode + Send + Sync),
    ) -> PgResult<Relation> {
        loop {
            let relation = find_relation(self, name)?;
            let locked = match &relation {
                Relation::Index(table, _) => table.oid,
                other => other.oid(),
            };
            let wait = self.lock_wait();
            self.lock_table(locked, mode(&relation), wait).await?;
            // It may have been changed or dropped, and another made in its place, while we waited.
            let now = find_relation(self, name)?;
            if now.oid() == relation.oid() {
                return Ok(now);
            }
        }
    }

    /// Raises a notice about what CASCADE takes along.
    pub(crate) fn notice_cascade(&self, dropped: &[String]) {
        match dropped {
            [] => {}
            [one] => self.notice(format!("drop cascades to {one}")),
            many => {
                let lines: Vec<String> = many.iter().map(|one| format!("drop cascades to {one}")).collect();
                let message = format!("drop cascades to {} other objects", many.len());
                let notice =
                    PgError::with_severity(Severity::Notice, SqlState::SUCCESSFUL_COMPLETION, message);
                self.services.notice(notice.detail(lines.join("\n")));
            }
        }
    }

    /// Raises a notice.
    pub(crate) fn notice(&self, message: impl Into<String>) {
        self.services.notice(PgError::with_severity(
            Severity::Notice,
            SqlState::SUCCESSFUL_COMPLETION,
            message,
        ));
    }
}

pub(crate) fn not_a_table(relation: &Relation) -> PgError {
    PgError::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{}\" is not a table", relation.name()))
}

/// 42P07 if a relation of this name exists.
pub(crate) fn check_free(catalog: &CatalogSnapshot, schema: Oid, name: &str) -> PgResult<()> {
    match catalog.relation_by_name(schema, name) {
        Some(_) => {
            Err(PgError::new(SqlState::DUPLICATE_TABLE, format!("relation \"{name}\" already exists")))
        }
        None => Ok(()),
    }
}

/// 0A000 for a clause.
pub(crate) fn unsupported(what: &str) -> PgError {
    PgError::not_supported(format!("{what} is not supported yet"))
        .hint("docs/compatibility.md lists what is supported.")
}
