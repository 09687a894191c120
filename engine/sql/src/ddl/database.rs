//! CREATE DATABASE and DROP DATABASE.

use shardforge_types::{Oid, PgError, PgResult, SqlState};

use super::create_table::arg_text;
use super::{role, unsupported};
use crate::catalog::change::database_rows;
use crate::catalog::{Change, DatabaseDesc, Relation, new_database_rows};
use crate::parse::ast::{CreatedbStmt, DropdbStmt, RoleSpec};
use crate::session::PgSession;
use crate::session::error::from_kv;

/// Oid of `pg_database`, the namespace of database names.
const PG_DATABASE: Oid = Oid(1262);

/// CREATE DATABASE.
///
/// # Errors
/// Whatever it raises.
pub async fn create(session: &mut PgSession, stmt: &CreatedbStmt) -> PgResult<()> {
    session.require_no_block("CREATE DATABASE")?;
    let mut owner = session.user;
    let mut desc_flags = (true, false);
    for option in &stmt.options {
        let text = option.arg.as_ref().map(arg_text).unwrap_or_default();
        match &*option.name {
            "owner" => owner = role::find(session, &RoleSpec::Name(text.into()))?.oid,
            "template" => {
                let catalog = session.catalog();
                let template = catalog.cluster.database_by_name(&text).ok_or_else(|| {
                    PgError::new(
                        SqlState::INVALID_CATALOG_NAME,
                        format!("template database \"{text}\" does not exist"),
                    )
                })?;
                let empty =
                    session.engine.catalog.snapshot(template.oid).is_none_or(|s| s.relations.is_empty());
                if !empty {
                    return Err(unsupported("CREATE DATABASE from a template that has objects"));
                }
            }
            "encoding"
                if !matches!(
                    text.to_ascii_lowercase().as_str(),
                    "utf8" | "utf-8" | "unicode" | "6" | "-1" | "default"
                ) =>
            {
                return Err(unsupported(&format!("encoding \"{text}\"")).hint("Use UTF8."));
            }
            "allow_connections" => desc_flags.0 = text != "false",
            "is_template" => desc_flags.1 = text == "true",
            _ => {}
        }
    }
    let name = stmt.name.to_string();
    session.lock_name(PG_DATABASE, &name).await?;
    if session.catalog().cluster.database_by_name(&name).is_some() {
        return Err(PgError::new(
            SqlState::DUPLICATE_DATABASE,
            format!("database \"{name}\" already exists"),
        ));
    }
    let oid = session.engine.next_oid().await?;
    let txn = session.ensure_txn().txn.clone();
    for change in new_database_rows() {
        if let (key, Some(value)) = change.row(oid)? {
            txn.put(key, value);
        }
    }
    session.record(Change::PutDatabase(DatabaseDesc {
        oid,
        name,
        owner,
        allow_connections: desc_flags.0,
        is_template: desc_flags.1,
    }))
}

/// DROP DATABASE.
///
/// # Errors
/// Whatever it raises; 55006 if somebody is connected to it.
pub async fn drop(session: &mut PgSession, stmt: &DropdbStmt) -> PgResult<()> {
    session.require_no_block("DROP DATABASE")?;
    let name = stmt.name.to_string();
    session.lock_name(PG_DATABASE, &name).await?;
    let catalog = session.catalog();
    let Some(database) = catalog.cluster.database_by_name(&name).cloned() else {
        if stmt.if_exists {
            session.notice(format!("database \"{name}\" does not exist, skipping"));
            return Ok(());
        }
        return Err(PgError::new(
            SqlState::INVALID_CATALOG_NAME,
            format!("database \"{name}\" does not exist"),
        ));
    };
    if database.oid == session.database {
        return Err(PgError::new(SqlState::OBJECT_IN_USE, "cannot drop the currently open database"));
    }
    if database.is_template {
        return Err(PgError::new(SqlState::WRONG_OBJECT_TYPE, "cannot drop a template database"));
    }
    let force = stmt.options.iter().any(|option| &*option.name == "force");
    session.evict_database(&name, force).await?;
    let txn = session.ensure_txn().txn.clone();
    if let Some(snapshot) = session.engine.catalog.snapshot(database.oid) {
        let storages: Vec<_> = snapshot
            .relations
            .values()
            .filter_map(|relation| match relation {
                Relation::Table(table) => Some(table.storage),
                Relation::Index(table, i) => Some(table.indexes[*i].storage),
                _ => None,
            })
            .collect();
        session.ensure_txn().dropped_storage.extend(storages);
    }
    for (start, end) in database_rows(database.oid) {
        let mut request = shardforge_kv::ScanRequest::new(start..end);
        request.visibility = shardforge_kv::Visibility::Current;
        loop {
            let page = txn.scan(request.clone()).await.map_err(from_kv)?;
            for (key, _) in page.rows {
                txn.delete(key);
            }
            match page.resume {
                Some(resume) => request = request.resumed(resume),
                None => break,
            }
        }
    }
    session.record(Change::DropDatabase(database.oid))
}
