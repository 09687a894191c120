//! ALTER ... RENAME and ALTER ... SET SCHEMA.

use shardforge_kv::ObjectLockMode;
use shardforge_types::{Oid, PgError, PgResult, SqlState};

use super::columns::{check_column_name, check_constraint_free};
use super::{check_free, names, role, unsupported};
use crate::catalog::{
    Change, IndexKey, Relation, RelationDesc, RoleDesc, SchemaDesc, SequenceDesc, TableDesc, ViewDesc,
};
use crate::parse::ast::{
    AlterObjectSchemaStmt, AlterTableObject, ObjectName, ObjectType, RangeVar, RenameStmt, RenameTarget,
    RoleSpec,
};
use crate::session::PgSession;

/// The command tag of a RENAME; `None` if it is not supported.
pub fn tag(target: &RenameTarget) -> Option<&'static str> {
    Some(match target {
        RenameTarget::Relation(object, _) | RenameTarget::Column(object, ..) => match object {
            AlterTableObject::Table => "ALTER TABLE",
            AlterTableObject::Index => "ALTER INDEX",
            AlterTableObject::Sequence => "ALTER SEQUENCE",
            AlterTableObject::View => "ALTER VIEW",
            _ => return None,
        },
        RenameTarget::TableConstraint(..) => "ALTER TABLE",
        RenameTarget::Object(ObjectName { kind: ObjectType::Schema, .. }) => "ALTER SCHEMA",
        RenameTarget::Object(ObjectName { kind: ObjectType::Role, .. }) => "ALTER ROLE",
        RenameTarget::Object(ObjectName { kind: ObjectType::Database, .. }) => "ALTER DATABASE",
        RenameTarget::DomainConstraint(..) | RenameTarget::Object(_) => return None,
    })
}

/// RENAME.
///
/// # Errors
/// Whatever it raises.
pub async fn rename(session: &mut PgSession, stmt: &RenameStmt) -> PgResult<()> {
    let new_name = stmt.new_name.to_string();
    match &stmt.target {
        RenameTarget::Relation(_, name) => {
            let Some(relation) = existing(session, name, stmt.if_exists).await? else { return Ok(()) };
            session.lock_name(relation.schema(), &new_name).await?;
            check_free(&session.catalog(), relation.schema(), &new_name)?;
            rename_relation(session, &relation, new_name)
        }
        RenameTarget::Column(_, name, column) => {
            let Some(relation) = existing(session, name, stmt.if_exists).await? else { return Ok(()) };
            rename_column(session, &relation, column, &new_name)
        }
        RenameTarget::TableConstraint(name, constraint) => {
            let table = session.lock_table_by_name(name, ObjectLockMode::AccessExclusive).await?;
            rename_constraint(session, &table, constraint, new_name).await
        }
        RenameTarget::Object(object) => rename_object(session, object, new_name).await,
        RenameTarget::DomainConstraint(..) => Err(unsupported("ALTER DOMAIN")),
    }
}

/// The relation, locked. Of an index nobody who reads or writes cares for the name.
async fn existing(session: &mut PgSession, name: &RangeVar, if_exists: bool) -> PgResult<Option<Relation>> {
    if if_exists && names::find_relation_if_exists(session, name)?.is_none() {
        session.notice(format!("relation \"{}\" does not exist, skipping", name.name));
        return Ok(None);
    }
    let mode = |relation: &Relation| match relation {
        Relation::Index(..) => ObjectLockMode::ShareUpdateExclusive,
        _ => ObjectLockMode::AccessExclusive,
    };
    session.lock_relation_by_name(name, &mode).await.map(Some)
}

fn rename_relation(session: &mut PgSession, relation: &Relation, name: String) -> PgResult<()> {
    match relation {
        Relation::Table(table) => session.record_table(TableDesc { name, ..TableDesc::clone(table) }),
        Relation::Index(table, position) => {
            let mut table = TableDesc::clone(table);
            table.indexes[*position].name = name;
            session.record_table(table)
        }
        Relation::View(view) => {
            let version = view.version + 1;
            let view = ViewDesc { name, version, ..ViewDesc::clone(view) };
            session.record(Change::PutRelation(RelationDesc::View(view)))
        }
        Relation::Sequence(sequence) => {
            let version = sequence.version + 1;
            let sequence = SequenceDesc { name, version, ..SequenceDesc::clone(sequence) };
            session.record(Change::PutRelation(RelationDesc::Sequence(sequence)))
        }
    }
}

fn rename_view_column(session: &mut PgSession, view: &ViewDesc, old: &str, new: &str) -> PgResult<()> {
    let mut view = ViewDesc::clone(view);
    if view.columns.iter().any(|(name, ..)| name == new) {
        let message = format!("column \"{new}\" of relation \"{}\" already exists", view.name);
        return Err(PgError::new(SqlState::DUPLICATE_COLUMN, message));
    }
    let Some((name, ..)) = view.columns.iter_mut().find(|(name, ..)| name == old) else {
        let message = format!("column \"{old}\" does not exist");
        return Err(PgError::new(SqlState::UNDEFINED_COLUMN, message));
    };
    *name = new.to_owned();
    view.version += 1;
    session.record(Change::PutRelation(RelationDesc::View(view)))
}

fn rename_column(session: &mut PgSession, relation: &Relation, old: &str, new: &str) -> PgResult<()> {
    let table = match relation {
        Relation::Table(table) => table,
        Relation::View(view) => return rename_view_column(session, view, old, new),
        _ => return Err(super::not_a_table(relation)),
    };
    let (attnum, _) = table.column_by_name(old).ok_or_else(|| {
        PgError::new(SqlState::UNDEFINED_COLUMN, format!("column \"{old}\" does not exist"))
    })?;
    check_column_name(new)?;
    if table.column_by_name(new).is_some() {
        return Err(PgError::new(
            SqlState::DUPLICATE_COLUMN,
            format!("column \"{new}\" of relation \"{}\" already exists", table.name),
        ));
    }
    let mut changed = TableDesc::clone(table);
    changed.columns[attnum as usize - 1].name = new.to_owned();
    // Expressions are kept as text: they follow the column's new name.
    let rename = |sql: &mut String| *sql = crate::catalog::info::rename_column(sql, old, new);
    for check in &mut changed.checks {
        rename(&mut check.sql);
    }
    for column in &mut changed.columns {
        if column.generated
            && let Some(default) = &mut column.default
        {
            rename(&mut default.sql);
        }
    }
    for index in &mut changed.indexes {
        for part in &mut index.columns {
            if let IndexKey::Expression(sql) = &mut part.key {
                rename(sql);
            }
        }
        if let Some(predicate) = &mut index.predicate {
            rename(predicate);
        }
    }
    session.record_table(changed)
}

async fn rename_constraint(
    session: &mut PgSession,
    table: &TableDesc,
    old: &str,
    new: String,
) -> PgResult<()> {
    check_constraint_free(table, &new)?;
    let mut changed = TableDesc::clone(table);
    if let Some(check) = changed.checks.iter_mut().find(|check| check.name == old) {
        check.name = new;
    } else if let Some(fk) = changed.foreign_keys.iter_mut().find(|fk| fk.name == old) {
        fk.name = new;
    } else if let Some(index) =
        changed.indexes.iter_mut().find(|index| index.constraint.is_some() && index.name == old)
    {
        session.lock_name(table.schema, &new).await?;
        check_free(&session.catalog(), table.schema, &new)?;
        index.name = new;
    } else if let Some(not_null) =
        changed.columns.iter_mut().filter_map(|c| c.not_null.as_mut()).find(|n| n.name == old)
    {
        not_null.name = new;
    } else {
        return Err(PgError::new(
            SqlState::UNDEFINED_OBJECT,
            format!("constraint \"{old}\" for table \"{}\" does not exist", table.name),
        ));
    }
    session.record_table(changed)
}

async fn rename_object(session: &mut PgSession, object: &ObjectName, new: String) -> PgResult<()> {
    let old = object.names.join(".");
    let catalog = session.catalog();
    match object.kind {
        ObjectType::Schema => {
            let schema = names::schema_by_name(&catalog, &old)?;
            session.lock_name(Oid(2615), &new).await?;
            if session.catalog().schema_by_name(&new).is_some() {
                return Err(PgError::new(
                    SqlState::DUPLICATE_SCHEMA,
                    format!("schema \"{new}\" already exists"),
                ));
            }
            let owner = catalog.schemas.get(&schema).map_or(session.user, |schema| schema.owner);
            session.record(Change::PutSchema(SchemaDesc { oid: schema, name: new, owner }))
        }
        ObjectType::Role => {
            let role = role::find(session, &RoleSpec::Name(old.as_str().into()))?;
            session.lock_name(Oid(1260), &new).await?;
            if session.catalog().cluster.role_by_name(&new).is_some() {
                return Err(PgError::new(
                    SqlState::DUPLICATE_OBJECT,
                    format!("role \"{new}\" already exists"),
                ));
            }
            session.record(Change::PutRole(RoleDesc { name: new, ..RoleDesc::clone(&role) }))
        }
        ObjectType::Database => {
            let Some(database) = catalog.cluster.database_by_name(&old) else {
                return Err(PgError::new(
                    SqlState::INVALID_CATALOG_NAME,
                    format!("database \"{old}\" does not exist"),
                ));
            };
            session.lock_name(Oid(1262), &new).await?;
            if session.catalog().cluster.database_by_name(&new).is_some() {
                return Err(PgError::new(
                    SqlState::DUPLICATE_DATABASE,
                    format!("database \"{new}\" already exists"),
                ));
            }
            let mut changed = crate::catalog::DatabaseDesc::clone(database);
            changed.name = new;
            session.record(Change::PutDatabase(changed))
        }
        _ => Err(unsupported("RENAME of this kind of object")),
    }
}

/// ALTER ... SET SCHEMA.
///
/// # Errors
/// Whatever it raises.
pub async fn set_schema(session: &mut PgSession, stmt: &AlterObjectSchemaStmt) -> PgResult<()> {
    let range = RangeVar::from_names(&stmt.object.names, stmt.object.pos)?;
    let Some(relation) = existing(session, &range, stmt.if_exists).await? else { return Ok(()) };
    let catalog = session.catalog();
    let schema = names::schema_by_name(&catalog, &stmt.new_schema)?;
    session.lock_name(schema, relation.name()).await?;
    check_free(&session.catalog(), schema, relation.name())?;
    match &relation {
        Relation::Table(table) => session.record_table(TableDesc { schema, ..TableDesc::clone(table) }),
        Relation::View(view) => {
            let version = view.version + 1;
            let view = ViewDesc { schema, version, ..ViewDesc::clone(view) };
            session.record(Change::PutRelation(RelationDesc::View(view)))
        }
        Relation::Sequence(sequence) => {
            let version = sequence.version + 1;
            let sequence = SequenceDesc { schema, version, ..SequenceDesc::clone(sequence) };
            session.record(Change::PutRelation(RelationDesc::Sequence(sequence)))
        }
        Relation::Index(..) => Err(unsupported("SET SCHEMA of an index")),
    }
}
