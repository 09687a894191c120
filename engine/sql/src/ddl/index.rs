//! CREATE INDEX.

use std::sync::Arc;

use shardforge_kv::ObjectLockMode;
use shardforge_types::{PgError, PgResult, SqlState};

use super::columns::{check_indexable, immutable_expression};
use super::{check_free, concurrently, fill, names, options, unsupported};
use crate::catalog::{IndexColumn, IndexDesc, IndexKey, IndexState, TableDesc};
use crate::limits;
use crate::parse::ast::{self, IndexStmt, SortNulls};
use crate::session::PgSession;

/// CREATE INDEX.
///
/// # Errors
/// Whatever it raises; 23505 if the rows are not unique.
pub async fn create(session: &mut PgSession, stmt: &IndexStmt) -> PgResult<()> {
    if stmt.concurrently {
        session.require_no_block("CREATE INDEX CONCURRENTLY")?;
    }
    check_method(stmt.access_method.as_deref())?;
    let mode = match stmt.concurrently {
        true => ObjectLockMode::ShareUpdateExclusive,
        false => ObjectLockMode::Share,
    };
    let table = session.lock_table_by_name(&stmt.relation, mode).await?;
    let mut keys = Vec::new();
    let mut column_names = Vec::new();
    for element in &stmt.elements {
        let (key, name) = index_column(session, &table, element)?;
        keys.push(key);
        column_names.push(name);
    }
    let mut include = Vec::new();
    for element in &stmt.including {
        let ast::IndexKey::Column(name) = &element.key else {
            return Err(PgError::not_supported("expressions are not supported in included columns"));
        };
        include.push(find_column(&table, name)?);
        column_names.push(name.to_string());
    }
    limits::check_index_columns(keys.len() + include.len())?;
    let with = options::of_index(&stmt.options)?;
    let predicate = match &stmt.where_clause {
        None => None,
        Some(expr) => {
            let message = "functions in index predicate must be marked IMMUTABLE";
            Some(immutable_expression(session, &table, expr, true, message)?.0)
        }
    };
    let catalog = session.catalog();
    let name = match &stmt.name {
        Some(name) => {
            session.lock_name(table.schema, name).await?;
            let catalog = session.catalog();
            if let Err(error) = check_free(&catalog, table.schema, name) {
                if stmt.if_not_exists {
                    session.notice(format!("relation \"{name}\" already exists, skipping"));
                    return Ok(());
                }
                return Err(error);
            }
            name.to_string()
        }
        None => {
            let joined = names::joined_columns(&column_names);
            let name =
                names::choose_relation_name(&catalog, table.schema, &[], &table.name, Some(&joined), "idx");
            session.lock_name(table.schema, &name).await?;
            name
        }
    };
    let index = IndexDesc {
        oid: session.engine.next_oid().await?,
        name,
        storage: session.engine.next_storage_id().await?,
        columns: keys,
        include,
        unique: stmt.unique,
        nulls_not_distinct: stmt.nulls_not_distinct,
        primary: false,
        constraint: None,
        deferrable: false,
        initially_deferred: false,
        predicate,
        state: if stmt.concurrently { IndexState::DeleteOnly } else { IndexState::Public },
        clustered: false,
        buckets: options::buckets(session, &with)?,
        options: with,
    };
    if stmt.concurrently {
        return concurrently::create(session, &table, index).await;
    }
    let mut changed = TableDesc::clone(&table);
    changed.indexes.push(index);
    let position = changed.indexes.len() - 1;
    session.record_table(changed.clone())?;
    fill::fill_index(session, "CREATE INDEX", &table, Arc::new(changed), position).await
}

fn check_method(method: Option<&str>) -> PgResult<()> {
    match method {
        None | Some("btree" | "hash") => Ok(()),
        Some(method @ ("gin" | "gist" | "spgist" | "brin")) => {
            Err(unsupported(&format!("access method \"{method}\"")))
        }
        Some(method) => Err(PgError::new(
            SqlState::UNDEFINED_OBJECT,
            format!("access method \"{method}\" does not exist"),
        )),
    }
}

fn find_column(table: &TableDesc, name: &str) -> PgResult<i16> {
    table
        .column_by_name(name)
        .map(|(attnum, _)| attnum)
        .ok_or_else(|| PgError::new(SqlState::UNDEFINED_COLUMN, format!("column \"{name}\" does not exist")))
}

/// A key column, and the name that an automatic index name has for it.
fn index_column(
    session: &mut PgSession,
    table: &TableDesc,
    element: &ast::IndexElem,
) -> PgResult<(IndexColumn, String)> {
    let (key, ty, name) = match &element.key {
        ast::IndexKey::Column(name) => {
            let attnum = find_column(table, name)?;
            (IndexKey::Column(attnum), table.column(attnum).ty, name.to_string())
        }
        ast::IndexKey::Expr(expr) => {
            let message = "functions in index expression must be marked IMMUTABLE";
            let (sql, ty, _) = immutable_expression(session, table, expr, false, message)?;
            let name = crate::catalog::info::expression_name(&sql);
            (IndexKey::Expression(sql), ty.oid, name)
        }
    };
    check_indexable(ty)?;
    let desc = element.descending == Some(true);
    let nulls_first = match element.nulls {
        SortNulls::Default => desc,
        SortNulls::First => true,
        SortNulls::Last => false,
    };
    Ok((IndexColumn { key, ty, desc, nulls_first }, name))
}
