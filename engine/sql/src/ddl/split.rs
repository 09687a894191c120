//! ALTER TABLE and ALTER INDEX ... SPLIT AT: where shards begin.
//!
//! ```text
//!   SPLIT AT VALUES (1000), (2000)
//!
//!   ---- shard ------------->      ---- shard --|-- shard --|-- shard ->
//!                  the table                  1000        2000
//! ```
//!
//! A row of values stands for the place in the key's order before the first row whose key begins with them. It need not
//! have values for all columns of the key.
//!
//! A split is not part of the transaction: it is there at once, for everybody, and cannot be rolled back. That is why
//! the statement refuses to run in a transaction block. Of several splits, those that went before an error stay.
//!
//! Storage with hash buckets is split where each of them begins, once the transaction that has made it has committed
//! ([`FreshBuckets`]): what is rolled back leaves no shards behind.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use shardforge_kv::ObjectLockMode;
use shardforge_types::{Datum, Oid, PgError, PgResult, SqlState};

use super::names;
use crate::bind;
use crate::catalog::{Change, IndexColumn, IndexKey, Relation, RelationDesc, StorageId, TableDesc};
use crate::engine::Engine;
use crate::exec::env::EvalEnv;
use crate::exec::eval::{CompiledExpr, NoRow};
use crate::ir::Ty;
use crate::limits::check_splits;
use crate::parse::ast::{AlterTableObject, AlterTableStmt, Expr, RangeVar};
use crate::session::PgSession;
use crate::session::error::from_kv;
use crate::storage::Stored;

/// SPLIT AT of a table or an index.
///
/// # Errors
/// 25001 in a transaction block, 42809 for a table that was called an index, 0A000 for a table whose rows have no key,
/// 42601 for more values than the key has columns, 54000 for too many splits, what the values raise.
pub async fn split_at(session: &mut PgSession, stmt: &AlterTableStmt, rows: &[Vec<Expr>]) -> PgResult<()> {
    session.require_no_block(match stmt.object {
        AlterTableObject::Index => "ALTER INDEX ... SPLIT AT",
        _ => "ALTER TABLE ... SPLIT AT",
    })?;
    check_splits(rows.len())?;
    let relation = lock_relation(session, &stmt.relation).await?;
    if stmt.object == AlterTableObject::Index && matches!(relation, Relation::Table(_)) {
        let message = format!("\"{}\" is not an index", relation.name());
        return Err(PgError::new(SqlState::WRONG_OBJECT_TYPE, message));
    }
    let stored =
        Stored::of(&relation).ok_or_else(|| PgError::internal("a relation without storage is split"))?;
    let Some(columns) = stored.key_columns() else {
        let message = format!("the rows of table \"{}\" have no key to split at", stored.table.name);
        return Err(PgError::not_supported(message)
            .hint("A table is split by its primary key. The indexes of a table can be split too."));
    };
    let env = session.eval_env();
    let mut places = Vec::with_capacity(rows.len());
    for row in rows {
        places.extend(stored.boundaries(&values(session, &stored.table, columns, row, &env)?));
    }
    check_splits(places.len())?;
    for place in places {
        session.engine.store.split(&place).await.map_err(from_kv)?;
        session.check_canceled()?;
    }
    Ok(())
}

/// The places where buckets begin that a transaction has made.
#[derive(Default)]
pub struct FreshBuckets(Vec<Bytes>);

impl FreshBuckets {
    /// Those that there will be in a database once changes of its catalog are committed, and are not there before.
    pub fn of(engine: &Engine, database: Oid, changes: &[Change]) -> FreshBuckets {
        let mut tables: BTreeMap<Oid, Option<&TableDesc>> = BTreeMap::new();
        for change in changes {
            match change {
                Change::PutRelation(RelationDesc::Table(table)) => tables.insert(table.oid, Some(table)),
                Change::DropRelation(oid) => tables.insert(*oid, None),
                _ => None,
            };
        }
        let mut places = Vec::new();
        for table in tables.into_values().flatten().filter(|table| table.is_spread()) {
            let before = engine.catalog.snapshot(database);
            let known = before.as_ref().and_then(|catalog| catalog.table(table.oid));
            let known: Vec<StorageId> =
                known.into_iter().flat_map(Stored::all_of).map(|stored| stored.storage()).collect();
            let fresh = Arc::new(table.clone());
            let fresh = Stored::all_of(&fresh).filter(|stored| !known.contains(&stored.storage()));
            places.extend(fresh.flat_map(|stored| stored.bucket_starts()));
        }
        FreshBuckets(places)
    }

    /// Gives each bucket a shard of its own. One that has none serves all the same.
    pub async fn split(self, engine: &Engine) {
        for place in self.0 {
            if let Err(error) = engine.store.split(&place).await {
                tracing::warn!(%error, "a hash bucket has no shard of its own");
                return;
            }
        }
    }
}

/// Finds a table or index and keeps other definitions of it away; reads and writes go on.
async fn lock_relation(session: &mut PgSession, name: &RangeVar) -> PgResult<Relation> {
    loop {
        let relation = names::find_relation(session, name)?;
        let (Relation::Table(table) | Relation::Index(table, _)) = &relation else {
            return Err(super::not_a_table(&relation));
        };
        let wait = session.lock_wait();
        session.lock_table(table.oid, ObjectLockMode::ShareUpdateExclusive, wait).await?;
        // It may have been dropped, and another made in its place, while we waited.
        let now = names::find_relation(session, name)?;
        if now.oid() == relation.oid() {
            return Ok(now);
        }
    }
}

/// The values of a row of SPLIT AT, as the key's leading columns have them.
fn values(
    session: &mut PgSession,
    table: &TableDesc,
    columns: &[IndexColumn],
    row: &[Expr],
    env: &EvalEnv,
) -> PgResult<Vec<Datum>> {
    if let Some(extra) = row.get(columns.len()) {
        let message = format!("SPLIT AT has more values than the key has columns ({})", columns.len());
        return Err(PgError::new(SqlState::SYNTAX_ERROR, message).at(extra.pos()));
    }
    let mut values = Vec::with_capacity(row.len());
    for (expr, column) in row.iter().zip(columns) {
        let (name, ty) = match &column.key {
            IndexKey::Column(attnum) => {
                let column = table.column(*attnum);
                let ty = Ty { oid: column.ty, typmod: column.typmod, collation: column.collation };
                (column.name.as_str(), ty)
            }
            IndexKey::Expression(sql) => (sql.as_str(), Ty::new(column.ty)),
        };
        let scalar = session.with_bind_context(|cx| bind::bind_key_value(expr, name, ty, cx))?;
        let value = CompiledExpr::compile(&scalar, &|_| None)?.eval(&NoRow, &[], env)?;
        values.push(value);
    }
    Ok(values)
}
