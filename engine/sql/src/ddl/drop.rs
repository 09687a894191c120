//! DROP and TRUNCATE.

use std::sync::Arc;

use hashbrown::HashSet;
use shardforge_kv::ObjectLockMode;
use shardforge_types::{Oid, PgError, PgResult, SqlState};

use super::{concurrently, foreign_key, names};
use crate::catalog::{
    CatalogSnapshot, Change, IndexState, Relation, StorageId, TableDesc, TableKey, well_known,
};
use crate::parse::ast::{DropStmt, ObjectName, ObjectType, RangeVar, TruncateStmt};
use crate::session::PgSession;

/// DROP TABLE, VIEW, INDEX, SEQUENCE, SCHEMA.
///
/// # Errors
/// Whatever it raises; 2BP01 if something depends on the object and CASCADE was not written.
pub async fn drop_objects(session: &mut PgSession, stmt: &DropStmt) -> PgResult<()> {
    if stmt.concurrently {
        session.require_no_block("DROP INDEX CONCURRENTLY")?;
        let problem = match (stmt.objects.len(), stmt.cascade) {
            (2.., _) => Some("dropping multiple objects"),
            (_, true) => Some("CASCADE"),
            _ => None,
        };
        if let Some(problem) = problem {
            let message = format!("DROP INDEX CONCURRENTLY does not support {problem}");
            return Err(PgError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
        }
    }
    // What goes together does not keep each other.
    let mut together = Vec::new();
    if stmt.kind != ObjectType::Schema {
        for object in &stmt.objects {
            let range = RangeVar::from_names(&object.names, object.pos)?;
            together.extend(names::find_relation_if_exists(session, &range)?.map(|relation| relation.oid()));
        }
    }
    for object in &stmt.objects {
        if stmt.kind == ObjectType::Schema {
            drop_schema(session, object, stmt).await?;
        } else {
            drop_relation(session, object, stmt, &together).await?;
        }
    }
    Ok(())
}

/// 2BP01 if anything depends on what is to be dropped and CASCADE was not written; with it, a notice.
///
/// # Errors
/// 2BP01.
pub fn check_dependents(
    session: &PgSession,
    subject: &str,
    on: &str,
    dependents: &[String],
    cascade: bool,
) -> PgResult<()> {
    if dependents.is_empty() {
        return Ok(());
    }
    if cascade {
        session.notice_cascade(dependents);
        return Ok(());
    }
    let lines: Vec<String> = dependents.iter().map(|one| format!("{one} depends on {on}")).collect();
    Err(PgError::new(
        SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
        format!("cannot drop {subject} because other objects depend on it"),
    )
    .detail(lines.join("\n"))
    .hint("Use DROP ... CASCADE to drop the dependent objects too."))
}

/// What a relation is called in messages.
fn kind_word(kind: ObjectType) -> &'static str {
    match kind {
        ObjectType::Table => "table",
        ObjectType::View => "view",
        ObjectType::Index => "index",
        ObjectType::Sequence => "sequence",
        _ => "relation",
    }
}

/// A relation as messages about dependencies call it.
pub fn describe(catalog: &CatalogSnapshot, relation: &Relation) -> String {
    let kind = match relation {
        Relation::Table(_) => "table",
        Relation::Index(..) => "index",
        Relation::View(_) => "view",
        Relation::Sequence(_) => "sequence",
    };
    let schema = catalog.schemas.get(&relation.schema());
    match schema {
        Some(schema) if schema.oid != well_known::PUBLIC => {
            format!("{kind} {}.{}", schema.name, relation.name())
        }
        _ => format!("{kind} {}", relation.name()),
    }
}

async fn drop_relation(
    session: &mut PgSession,
    object: &ObjectName,
    stmt: &DropStmt,
    together: &[Oid],
) -> PgResult<()> {
    let range = RangeVar::from_names(&object.names, object.pos)?;
    let word = kind_word(stmt.kind);
    let Some(relation) = names::find_relation_if_exists(session, &range)? else {
        if stmt.if_exists {
            session.notice(format!("{word} \"{}\" does not exist, skipping", object.names.join(".")));
            return Ok(());
        }
        if let Some(system) = names::find_system_relation(&range) {
            let message = format!("permission denied: \"{}\" is a system catalog", system.name);
            return Err(PgError::new(SqlState::INSUFFICIENT_PRIVILEGE, message));
        }
        let state = match stmt.kind {
            ObjectType::Index => SqlState::UNDEFINED_OBJECT,
            _ => SqlState::UNDEFINED_TABLE,
        };
        return Err(PgError::new(state, format!("{word} \"{}\" does not exist", object.names.join("."))));
    };
    let fits = matches!(
        (stmt.kind, &relation),
        (ObjectType::Table, Relation::Table(_))
            | (ObjectType::View, Relation::View(_))
            | (ObjectType::Index, Relation::Index(..))
            | (ObjectType::Sequence, Relation::Sequence(_))
    );
    if !fits {
        let hint = match &relation {
            Relation::Table(_) => "Use DROP TABLE to remove a table.",
            Relation::View(_) => "Use DROP VIEW to remove a view.",
            Relation::Index(..) => "Use DROP INDEX to remove an index.",
            Relation::Sequence(_) => "Use DROP SEQUENCE to remove a sequence.",
        };
        let article = if word == "index" { "an" } else { "a" };
        return Err(PgError::new(
            SqlState::WRONG_OBJECT_TYPE,
            format!("\"{}\" is not {article} {word}", relation.name()),
        )
        .hint(hint));
    }
    let locked = match &relation {
        Relation::Index(table, _) => table.oid,
        other => other.oid(),
    };
    let wait = session.lock_wait();
    let mode = if stmt.concurrently {
        ObjectLockMode::ShareUpdateExclusive
    } else {
        ObjectLockMode::AccessExclusive
    };
    session.lock_table(locked, mode, wait).await?;
    let catalog = session.catalog();
    let Some(relation) = catalog.relation(relation.oid()).cloned() else {
        // It went while its lock was waited for: the name means another relation now, or none.
        return Box::pin(drop_relation(session, object, stmt, together)).await;
    };
    if stmt.concurrently
        && let Relation::Index(table, position) = &relation
    {
        check_no_constraint(table, *position)?;
        let subject = describe(&catalog, &relation);
        let dependents = depending(&catalog, &relation, together);
        check_dependents(session, &subject, &subject, &dependents, false)?;
        return concurrently::drop(session, table.oid, relation.oid()).await;
    }
    remove(session, &relation, stmt.cascade, together).await
}

/// What depends on a relation and would have to go with it: views that read it, columns that use a sequence.
fn dependents(catalog: &CatalogSnapshot, relation: &Relation) -> Vec<Relation> {
    let mut found = Vec::new();
    for other in catalog.relations.values() {
        if let Relation::View(view) = other
            && view.depends_on.contains(&relation.oid())
            && view.oid != relation.oid()
        {
            found.push(other.clone());
        }
    }
    found.sort_by_key(Relation::oid);
    found
}

/// The views that have to go with a relation, because they read it or one another, which they may do in a circle.
fn all_dependents(catalog: &CatalogSnapshot, relation: &Relation) -> Vec<Relation> {
    let mut found = dependents(catalog, relation);
    let mut seen: HashSet<Oid> = found.iter().map(Relation::oid).chain([relation.oid()]).collect();
    let mut next = 0;
    while next < found.len() {
        let more = dependents(catalog, &found[next]);
        found.extend(more.into_iter().filter(|view| seen.insert(view.oid())));
        next += 1;
    }
    found
}

/// Removes a relation whose lock is held, with what belongs to it and, with `cascade`, what depends on it; tells of
/// the latter. `together`: relations that go at the same time.
pub async fn remove(
    session: &mut PgSession,
    relation: &Relation,
    cascade: bool,
    together: &[Oid],
) -> PgResult<()> {
    let catalog = session.catalog();
    let subject = describe(&catalog, relation);
    let dependents = depending(&catalog, relation, together);
    check_dependents(session, &subject, &subject, &dependents, cascade)?;
    remove_all(session, relation).await
}

/// What depends on a relation and does not go anyway, as messages call it.
fn depending(catalog: &CatalogSnapshot, relation: &Relation, together: &[Oid]) -> Vec<String> {
    let views = all_dependents(catalog, relation);
    let views = views.iter().filter(|view| !together.contains(&view.oid()));
    let mut found: Vec<String> = views.map(|view| describe(catalog, view)).collect();
    let references = references(catalog, relation);
    let references = references.iter().filter(|(table, _)| !together.contains(&table.oid));
    found.extend(references.map(|dependent| foreign_key::described(catalog, dependent)));
    if let Relation::Sequence(sequence) = relation {
        for (table, attnum) in columns_using(catalog, sequence.oid) {
            let column = &table.column(attnum).name;
            found.push(format!("default value for column {column} of table {}", table.name));
        }
    }
    found
}

/// Removes a relation with all that depends on it.
async fn remove_all(session: &mut PgSession, relation: &Relation) -> PgResult<()> {
    let catalog = session.catalog();
    let defaults = match relation {
        Relation::Sequence(sequence) => columns_using(&catalog, sequence.oid),
        _ => Vec::new(),
    };
    for view in all_dependents(&catalog, relation) {
        session.record(Change::DropRelation(view.oid()))?;
    }
    foreign_key::drop_dependents(session, &references(&catalog, relation)).await?;
    for (table, attnum) in defaults {
        let mut changed = TableDesc::clone(&table);
        changed.columns[attnum as usize - 1].default = None;
        session.record_table(changed)?;
    }
    match relation {
        Relation::Table(table) => {
            foreign_key::check_nothing_pending(session, table, "DROP TABLE")?;
            for fk in table.foreign_keys.iter().filter(|fk| fk.ref_table != table.oid) {
                let wait = session.lock_wait();
                session.lock_table(fk.ref_table, ObjectLockMode::AccessExclusive, wait).await?;
            }
            let catalog = session.catalog();
            for sequence in owned_sequences(&catalog, table.oid, None) {
                session.record(Change::DropRelation(sequence))?;
            }
            drop_storage(session, table);
            session.record(Change::DropRelation(table.oid))
        }
        Relation::Index(table, position) => drop_index(session, table, *position),
        Relation::View(view) => session.record(Change::DropRelation(view.oid)),
        Relation::Sequence(sequence) => {
            if let Some((table, attnum, true)) = sequence.owned_by
                && let Some(table) = catalog.table(table)
            {
                return Err(PgError::new(
                    SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
                    format!(
                        "cannot drop sequence {} because column {} of table {} requires it",
                        sequence.name,
                        table.column(attnum).name,
                        table.name
                    ),
                )
                .hint(format!(
                    "You can drop column {} of table {} instead.",
                    table.column(attnum).name,
                    table.name
                )));
            }
            session.record(Change::DropRelation(sequence.oid))
        }
    }
}

/// The foreign keys of other tables, or for an index of all tables, that need a relation.
fn references(catalog: &CatalogSnapshot, relation: &Relation) -> Vec<foreign_key::Dependent> {
    match relation {
        Relation::Table(table) => {
            foreign_key::dependents(catalog, table.oid, &|other, _| other.oid != table.oid)
        }
        Relation::Index(table, position) => {
            let index = table.indexes[*position].oid;
            // Of a constraint's index the constraint has to be dropped, which asks again.
            let is_free = table.indexes[*position].constraint.is_none();
            foreign_key::dependents(catalog, table.oid, &|_, fk| is_free && fk.ref_index == index)
        }
        Relation::View(_) | Relation::Sequence(_) => Vec::new(),
    }
}

fn columns_using(catalog: &CatalogSnapshot, sequence: Oid) -> Vec<(std::sync::Arc<TableDesc>, i16)> {
    let call = format!("nextval({}::regclass)", sequence.0);
    let mut found = Vec::new();
    for table in catalog.tables() {
        for (attnum, column) in table.live_columns() {
            if column.default.as_ref().is_some_and(|default| default.sql.contains(&call)) {
                found.push((table.clone(), attnum));
            }
        }
    }
    found
}

/// Sequences that belong to a table, or to one of its columns.
pub fn owned_sequences(catalog: &CatalogSnapshot, table: Oid, attnum: Option<i16>) -> Vec<Oid> {
    let mut found: Vec<Oid> = catalog
        .relations
        .values()
        .filter_map(|relation| match relation {
            Relation::Sequence(sequence) => sequence.owned_by.map(|owner| (sequence.oid, owner)),
            _ => None,
        })
        .filter(|(_, (owner, column, _))| *owner == table && attnum.is_none_or(|a| a == *column))
        .map(|(oid, _)| oid)
        .collect();
    found.sort();
    found
}

/// 2BP01 for an index that is a constraint's.
fn check_no_constraint(table: &TableDesc, position: usize) -> PgResult<()> {
    let index = &table.indexes[position];
    if index.constraint.is_none() {
        return Ok(());
    }
    let message = format!(
        "cannot drop index {} because constraint {} on table {} requires it",
        index.name, index.name, table.name
    );
    Err(PgError::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message)
        .hint(format!("You can drop constraint {} on table {} instead.", index.name, table.name)))
}

/// Drops an index whose table is locked, and on which nothing depends any more.
///
/// # Errors
/// 2BP01 if it is a constraint's.
pub fn drop_index(session: &mut PgSession, table: &TableDesc, position: usize) -> PgResult<()> {
    check_no_constraint(table, position)?;
    // Foreign keys of the table itself may have gone with the index.
    let catalog = session.catalog();
    let mut changed = TableDesc::clone(catalog.table(table.oid).map_or(table, |table| table));
    let removed = changed.indexes.remove(position);
    session.ensure_txn().dropped_storage.push(removed.storage);
    session.record_table(changed)
}

fn storages(table: &TableDesc) -> Vec<StorageId> {
    table.secondary_indexes().map(|index| index.storage).chain([table.storage]).collect()
}

/// Gives a table's storage back once the transaction has committed.
pub fn drop_storage(session: &mut PgSession, table: &TableDesc) {
    let storages = storages(table);
    session.ensure_txn().dropped_storage.extend(storages);
}

/// Gives a descriptor fresh, empty storage for its rows and all indexes.
pub async fn fresh_storage(session: &mut PgSession, table: &mut TableDesc) -> PgResult<()> {
    table.storage = session.engine.next_storage_id().await?;
    let clustered = table.key == TableKey::Primary;
    for position in 0..table.indexes.len() {
        let is_rows = clustered && table.indexes[position].primary;
        table.indexes[position].storage =
            if is_rows { table.storage } else { session.engine.next_storage_id().await? };
        table.indexes[position].state = IndexState::Public;
    }
    Ok(())
}

async fn drop_schema(session: &mut PgSession, object: &ObjectName, stmt: &DropStmt) -> PgResult<()> {
    let name = object.names.join(".");
    let catalog = session.catalog();
    let Some(schema) = catalog.schema_by_name(&name).cloned() else {
        if stmt.if_exists {
            session.notice(format!("schema \"{name}\" does not exist, skipping"));
            return Ok(());
        }
        return Err(PgError::new(SqlState::INVALID_SCHEMA_NAME, format!("schema \"{name}\" does not exist")));
    };
    if schema.oid == well_known::PG_CATALOG || schema.oid == well_known::INFORMATION_SCHEMA {
        return Err(PgError::new(
            SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
            format!("cannot drop schema {name} because it is required by the database system"),
        ));
    }
    let mut inside: Vec<Relation> = catalog
        .relations
        .values()
        .filter(|relation| relation.schema() == schema.oid)
        .filter(|relation| match relation {
            Relation::Index(..) => false,
            Relation::Sequence(sequence) => sequence.owned_by.is_none(),
            _ => true,
        })
        .cloned()
        .collect();
    inside.sort_by_key(Relation::oid);
    let together: Vec<Oid> = inside.iter().map(Relation::oid).collect();
    let mut lines = Vec::new();
    let mut dropped = Vec::new();
    for relation in &inside {
        let subject = describe(&catalog, relation);
        lines.push(format!("{subject} depends on schema {name}"));
        dropped.push(subject.clone());
        for dependent in depending(&catalog, relation, &together) {
            if !dropped.contains(&dependent) {
                lines.push(format!("{dependent} depends on {subject}"));
                dropped.push(dependent);
            }
        }
    }
    if !inside.is_empty() && !stmt.cascade {
        return Err(PgError::new(
            SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
            format!("cannot drop schema {name} because other objects depend on it"),
        )
        .detail(lines.join("\n"))
        .hint("Use DROP ... CASCADE to drop the dependent objects too."));
    }
    session.notice_cascade(&dropped);
    for relation in inside {
        let wait = session.lock_wait();
        session.lock_table(relation.oid(), ObjectLockMode::AccessExclusive, wait).await?;
        // It may have changed since, or gone with a table that it reads.
        if let Some(relation) = session.catalog().relation(relation.oid()).cloned() {
            remove_all(session, &relation).await?;
        }
    }
    session.record(Change::DropSchema(schema.oid))
}

/// TRUNCATE: the table gets fresh, empty storage.
///
/// # Errors
/// Whatever it raises.
pub async fn truncate(session: &mut PgSession, stmt: &TruncateStmt) -> PgResult<()> {
    let mut tables: Vec<Arc<TableDesc>> = Vec::with_capacity(stmt.relations.len());
    for name in &stmt.relations {
        let table = session.lock_table_by_name(name, ObjectLockMode::AccessExclusive).await?;
        foreign_key::check_nothing_pending(session, &table, "TRUNCATE")?;
        if !tables.iter().any(|known| known.oid == table.oid) {
            tables.push(table);
        }
    }
    for other in foreign_key::truncated_with(session, &tables, stmt.cascade)? {
        let wait = session.lock_wait();
        session.lock_table(other.oid, ObjectLockMode::AccessExclusive, wait).await?;
        foreign_key::check_nothing_pending(session, &other, "TRUNCATE")?;
        tables.push(other);
    }
    for table in tables {
        // What it was when the lock was asked for may be out of date.
        let Some(table) = session.catalog().table(table.oid).cloned() else { continue };
        drop_storage(session, &table);
        let mut changed = TableDesc::clone(&table);
        fresh_storage(session, &mut changed).await?;
        session.record_table(changed)?;
        if stmt.restart_identity {
            let catalog = session.catalog();
            for oid in owned_sequences(&catalog, table.oid, None) {
                let sequence = super::sequence::lock(session, oid).await?;
                let mut options = super::sequence::SequenceOptions::of_type(sequence.ty);
                options.restart();
                super::sequence::change(session, sequence, &options).await?;
            }
        }
    }
    Ok(())
}
