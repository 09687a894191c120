//! CLUSTER, and ALTER TABLE ... CLUSTER ON: the index by which a table is to be ordered.
//!
//! Rows lie in the order of their primary key, whatever their table is clustered on, so that no row is moved. What is
//! kept is the mark (`pg_index.indisclustered`) that CLUSTER without an index goes by; the table is locked as if it were
//! rewritten, so that scripts that count on nobody reading or writing it meanwhile are right.

use shardforge_kv::ObjectLockMode;
use shardforge_types::{Oid, PgError, PgResult, SqlState};

use super::find_relation;
use crate::catalog::{IndexState, Relation, TableDesc};
use crate::parse::ast::{ClusterStmt, Name, RangeVar};
use crate::session::{PgSession, boolean_option};

/// CLUSTER.
///
/// # Errors
/// 42P01, 42501, 42704, 42809 and 0A000 as PostgreSQL raises them.
pub async fn cluster(session: &mut PgSession, stmt: &ClusterStmt) -> PgResult<()> {
    for option in &stmt.options {
        if &*option.name != "verbose" {
            let message = format!("unrecognized CLUSTER option \"{}\"", option.name);
            return Err(PgError::new(SqlState::SYNTAX_ERROR, message).at(option.pos));
        }
        boolean_option(option)?;
    }
    match &stmt.relation {
        Some(name) => cluster_table(session, name, stmt.index.as_ref()).await,
        None => cluster_all(session).await,
    }
}

async fn cluster_table(session: &mut PgSession, name: &RangeVar, index: Option<&Name>) -> PgResult<()> {
    match &find_relation(session, name)? {
        Relation::Table(table) => session.require_maintain(table.oid, "table", &table.name)?,
        other => {
            let message = format!("\"{}\" is not a table or materialized view", other.name());
            return Err(PgError::new(SqlState::WRONG_OBJECT_TYPE, message));
        }
    }
    let table = session.lock_table_by_name(name, ObjectLockMode::AccessExclusive).await?;
    let Some(index) = index else {
        if table.indexes.iter().any(|index| index.clustered) {
            return Ok(());
        }
        let message = format!("there is no previously clustered index for table \"{}\"", table.name);
        return Err(PgError::new(SqlState::UNDEFINED_OBJECT, message));
    };
    let position = clusterable(session, &table, index)?;
    if table.indexes[position].clustered {
        return Ok(());
    }
    let mut changed = TableDesc::clone(&table);
    mark(&mut changed, Some(position));
    session.record_table(changed)
}

/// CLUSTER without a table: all that are clustered and that the role may maintain, each in a transaction of its own.
async fn cluster_all(session: &mut PgSession) -> PgResult<()> {
    session.require_no_block("CLUSTER")?;
    let catalog = session.catalog();
    let mut tables: Vec<(Oid, String)> = catalog
        .tables()
        .filter(|table| table.indexes.iter().any(|index| index.clustered))
        .map(|table| (table.oid, table.name.clone()))
        .collect();
    tables.sort_unstable();
    for (table, name) in tables {
        if !session.may_maintain(table) {
            let message = format!("permission denied to cluster \"{name}\", skipping it");
            session.warn(SqlState::WARNING, &message);
            continue;
        }
        session.commit().await?;
        let wait = session.lock_wait();
        session.lock_table(table, ObjectLockMode::AccessExclusive, wait).await?;
    }
    Ok(())
}

/// The position of an index that a table can be clustered on.
///
/// # Errors
/// 42704, 42809, 0A000.
pub fn clusterable(session: &mut PgSession, table: &TableDesc, name: &str) -> PgResult<usize> {
    let Some(position) = table.indexes.iter().position(|index| index.name == name) else {
        let catalog = session.catalog();
        return Err(match catalog.relation_by_name(table.schema, name) {
            Some(_) => PgError::new(
                SqlState::WRONG_OBJECT_TYPE,
                format!("\"{name}\" is not an index for table \"{}\"", table.name),
            ),
            None => PgError::new(
                SqlState::UNDEFINED_OBJECT,
                format!("index \"{name}\" for table \"{}\" does not exist", table.name),
            ),
        });
    };
    let index = &table.indexes[position];
    if index.predicate.is_some() {
        return Err(PgError::not_supported(format!("cannot cluster on partial index \"{name}\"")));
    }
    if index.state != IndexState::Public {
        return Err(PgError::not_supported(format!("cannot cluster on invalid index \"{name}\"")));
    }
    Ok(position)
}

/// Makes an index, or none, the one that its table is clustered on.
pub fn mark(table: &mut TableDesc, position: Option<usize>) {
    for (other, index) in table.indexes.iter_mut().enumerate() {
        index.clustered = Some(other) == position;
    }
}
