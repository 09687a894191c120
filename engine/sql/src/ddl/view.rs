//! CREATE VIEW.

use std::sync::Arc;

use shardforge_kv::ObjectLockMode;
use shardforge_types::{Oid, PgError, PgResult, SqlState, oid};

use super::{check_free, names, unsupported};
use crate::bind;
use crate::catalog::{Change, Relation, RelationDesc, ViewDesc};
use crate::func::ident::quote_identifier;
use crate::limits;
use crate::parse::ast::{Statement, ViewStmt};
use crate::session::PgSession;

/// CREATE [OR REPLACE] VIEW.
///
/// # Errors
/// Whatever it raises.
pub async fn create(session: &mut PgSession, stmt: &ViewStmt) -> PgResult<()> {
    if stmt.check_option.is_some() {
        return Err(unsupported("WITH CHECK OPTION"));
    }
    let schema = names::creation_schema(session, &stmt.view)?;
    let name = stmt.view.name.to_string();
    session.lock_name(schema, &name).await?;
    let (query, sql) = match stmt.recursive {
        true => recursive_query(stmt)?,
        false => (Arc::new(Statement::Select(stmt.query.clone())), stmt.query_text.clone()),
    };
    let prepared = session.prepare(sql.clone(), Some(query), &[]).await?;
    if prepared.as_of.is_some() {
        return Err(unsupported("AS OF SYSTEM TIME in a view"));
    }
    let planned = session.plan_with_locks(&prepared).await?;
    if stmt.columns.len() > planned.output.len() {
        return Err(PgError::new(
            SqlState::SYNTAX_ERROR,
            "CREATE VIEW specifies more column names than columns",
        ));
    }
    let mut columns: Vec<(String, Oid, i32, Oid)> = Vec::new();
    for (i, column) in planned.output.iter().enumerate() {
        let name = stmt.columns.get(i).map_or_else(|| column.name.clone(), ToString::to_string);
        if columns.iter().any(|(other, ..)| *other == name) {
            return Err(PgError::new(
                SqlState::DUPLICATE_COLUMN,
                format!("column \"{name}\" specified more than once"),
            ));
        }
        let ty = column.col.ty;
        let ty_oid = if ty.oid == oid::UNKNOWN { oid::TEXT } else { ty.oid };
        columns.push((name, ty_oid, ty.typmod, ty.collation));
    }
    limits::check_columns(columns.len())?;
    if let Some(Relation::View(view)) = session.catalog().relation_by_name(schema, &name)
        && stmt.replace
    {
        let (view, wait) = (view.oid, session.lock_wait());
        session.lock_table(view, ObjectLockMode::AccessExclusive, wait).await?;
    }
    let catalog = session.catalog();
    let existing = match catalog.relation_by_name(schema, &name) {
        Some(Relation::View(view)) if stmt.replace => Some(view.clone()),
        Some(relation) if stmt.replace => {
            return Err(PgError::new(
                SqlState::WRONG_OBJECT_TYPE,
                format!("\"{}\" is not a view", relation.name()),
            ));
        }
        _ => {
            check_free(&catalog, schema, &name)?;
            None
        }
    };
    if let Some(old) = &existing {
        check_replaceable(session, old, &columns)?;
    }
    let search_path = session.search_path(&catalog).to_vec();
    let depends_on = planned.dependencies.iter().map(|dependency| dependency.relation).collect();
    let desc = match existing {
        Some(old) => ViewDesc {
            version: old.version + 1,
            columns,
            sql: sql.to_string(),
            search_path,
            depends_on,
            ..ViewDesc::clone(&old)
        },
        None => ViewDesc {
            oid: session.engine.next_oid().await?,
            row_type: session.engine.next_oid().await?,
            schema,
            name,
            owner: session.user,
            version: 1,
            columns,
            sql: sql.to_string(),
            search_path,
            depends_on,
        },
    };
    session.record(Change::PutRelation(RelationDesc::View(desc)))
}

/// A replaced view keeps its columns; new ones may follow.
fn check_replaceable(
    session: &mut PgSession,
    old: &ViewDesc,
    new: &[(String, Oid, i32, Oid)],
) -> PgResult<()> {
    let invalid = |message: String| Err(PgError::new(SqlState::INVALID_TABLE_DEFINITION, message));
    if new.len() < old.columns.len() {
        return invalid("cannot drop columns from view".to_owned());
    }
    for ((old_name, old_ty, old_typmod, _), (new_name, new_ty, new_typmod, _)) in old.columns.iter().zip(new)
    {
        if old_name != new_name {
            return Err(PgError::new(
                SqlState::INVALID_TABLE_DEFINITION,
                format!("cannot change name of view column \"{old_name}\" to \"{new_name}\""),
            )
            .hint("Use ALTER VIEW ... RENAME COLUMN ... to change name of view column instead."));
        }
        if (old_ty, old_typmod) != (new_ty, new_typmod) {
            let message = session.with_bind_context(|cx| {
                Ok(format!(
                    "cannot change data type of view column \"{old_name}\" from {} to {}",
                    bind::format_type(cx, *old_ty, *old_typmod),
                    bind::format_type(cx, *new_ty, *new_typmod)
                ))
            })?;
            return invalid(message);
        }
    }
    Ok(())
}

/// The query of `CREATE RECURSIVE VIEW name (columns) AS query`.
fn recursive_query(stmt: &ViewStmt) -> PgResult<(Arc<Statement>, Arc<str>)> {
    let name = quote_identifier(&stmt.view.name);
    let columns: Vec<String> = stmt.columns.iter().map(|column| quote_identifier(column)).collect();
    let columns = columns.join(", ");
    let query = stmt.query_text.trim().trim_end_matches(';');
    let sql = format!("WITH RECURSIVE {name}({columns}) AS (\n{query}\n)\nSELECT {columns} FROM {name}");
    let statement = crate::parse::parse(&sql)?.into_iter().next();
    let statement = statement.ok_or_else(|| PgError::internal("a recursive view without query"))?;
    Ok((Arc::new(statement.stmt), sql.into()))
}
