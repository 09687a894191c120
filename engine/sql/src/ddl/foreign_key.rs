//! FOREIGN KEY constraints: their definition, and what depends on the keys that they reference.

use std::sync::Arc;

use shardforge_kv::ObjectLockMode;
use shardforge_types::{Oid, PgError, PgResult, SqlState};

use super::columns::{check_constraint_free, has_constraint};
use super::drop::describe;
use super::{names, unsupported};
use crate::catalog::builtin::{BTREE_AM, BtreeStrategy, builtin};
use crate::catalog::{
    CatalogSnapshot, ForeignKeyDesc, IndexDesc, IndexKey, IndexState, Persistence, ReferentialAction,
    Relation, TableDesc,
};
use crate::limits;
use crate::parse::ast::{
    Constraint, ConstraintAttrs, ConstraintKind, FkAction, FkMatch, ForeignKeyConstraint, Name, RangeVar,
};
use crate::ri;
use crate::session::PgSession;
use crate::storage::{RowChange, RowEvent};

/// Adds a FOREIGN KEY constraint to a descriptor, whose table is locked; answers its oid. `column`: the one of a column
/// constraint. The rows that are there are not looked at.
///
/// # Errors
/// 42830, 42804, 42703 and others, as `ATAddForeignKeyConstraint` raises them.
pub async fn add(
    session: &mut PgSession,
    table: &mut TableDesc,
    constraint: &Constraint,
    column: Option<&Name>,
) -> PgResult<Oid> {
    let ConstraintKind::ForeignKey(fk) = &constraint.kind else {
        return Err(PgError::internal("not a foreign key"));
    };
    if fk.period || fk.ref_period {
        return Err(unsupported("PERIOD in a foreign key").at(constraint.pos));
    }
    if let Some(name) = &constraint.name {
        check_constraint_free(table, name)?;
    }
    let own;
    let names: &[Name] = match column {
        Some(column) if fk.columns.is_empty() => {
            own = [column.clone()];
            &own
        }
        _ => &fk.columns,
    };
    let parent = lock_referenced(session, &fk.table).await?;
    // Of the table itself what the statement has made of it so far.
    let parent = if parent.oid == table.oid { Arc::new(table.clone()) } else { parent };
    check_persistence(table, &parent)?;
    let columns = columns_of(table, names)?;
    let on_delete_columns = columns_of(table, &fk.on_delete_columns)?;
    for (attnum, name) in on_delete_columns.iter().zip(&fk.on_delete_columns) {
        if !columns.contains(attnum) {
            let message =
                format!("column \"{name}\" referenced in ON DELETE SET action must be part of foreign key");
            return Err(PgError::new(SqlState::INVALID_COLUMN_REFERENCE, message));
        }
    }
    let (ref_columns, ref_index) = referenced_key(&parent, fk)?;
    check_generated(table, &columns, fk)?;
    if columns.len() != ref_columns.len() {
        let message = "number of referencing and referenced columns for foreign key disagree";
        return Err(PgError::new(SqlState::INVALID_FOREIGN_KEY, message));
    }
    let name = match &constraint.name {
        Some(name) => name.to_string(),
        None => chosen_name(session, table, names),
    };
    check_types(session, (table, &columns), (&parent, &ref_columns), &name)?;
    let enforced = constraint.attrs.enforced != Some(false);
    let desc = ForeignKeyDesc {
        oid: session.engine.next_oid().await?,
        name,
        columns,
        ref_table: parent.oid,
        ref_columns,
        ref_index,
        match_full: fk.match_type == FkMatch::Full,
        on_update: action(fk.on_update),
        on_delete: action(fk.on_delete),
        on_delete_columns,
        deferrable: constraint.attrs.is_deferrable(),
        initially_deferred: constraint.attrs.initially_deferred == Some(true),
        enforced,
        validated: enforced && !constraint.attrs.not_valid,
    };
    let oid = desc.oid;
    table.foreign_keys.push(desc);
    Ok(oid)
}

fn action(action: FkAction) -> ReferentialAction {
    match action {
        FkAction::NoAction => ReferentialAction::NoAction,
        FkAction::Restrict => ReferentialAction::Restrict,
        FkAction::Cascade => ReferentialAction::Cascade,
        FkAction::SetNull => ReferentialAction::SetNull,
        FkAction::SetDefault => ReferentialAction::SetDefault,
    }
}

/// Finds the referenced table and keeps others from writing to it.
async fn lock_referenced(session: &mut PgSession, name: &RangeVar) -> PgResult<Arc<TableDesc>> {
    let mut relation = match names::find_relation(session, name) {
        Ok(relation) => relation,
        Err(mut error) => {
            if let Some(system) = names::find_system_relation(name) {
                let message = format!("permission denied: \"{}\" is a system catalog", system.name);
                return Err(PgError::new(SqlState::INSUFFICIENT_PRIVILEGE, message));
            }
            error.fields_mut().position = None;
            return Err(error);
        }
    };
    loop {
        let Relation::Table(table) = &relation else {
            let message = format!("referenced relation \"{}\" is not a table", relation.name());
            return Err(PgError::new(SqlState::WRONG_OBJECT_TYPE, message));
        };
        let wait = session.lock_wait();
        session.lock_table(table.oid, ObjectLockMode::ShareRowExclusive, wait).await?;
        // It may have been changed or dropped, and another made in its place, while we waited.
        let now = names::find_relation(session, name)?;
        if let Relation::Table(found) = &now
            && found.oid == table.oid
        {
            return Ok(found.clone());
        }
        relation = now;
    }
}

fn check_persistence(table: &TableDesc, parent: &TableDesc) -> PgResult<()> {
    let refuse = |message: &str| Err(PgError::new(SqlState::INVALID_TABLE_DEFINITION, message));
    match (table.persistence, parent.persistence) {
        (Persistence::Permanent, Persistence::Unlogged | Persistence::Temporary) => {
            refuse("constraints on permanent tables may reference only permanent tables")
        }
        (Persistence::Unlogged, Persistence::Temporary) => {
            refuse("constraints on unlogged tables may reference only permanent or unlogged tables")
        }
        _ => Ok(()),
    }
}

fn columns_of(table: &TableDesc, names: &[Name]) -> PgResult<Vec<i16>> {
    let columns = names.iter().map(|name| {
        table.column_by_name(name).map(|(attnum, _)| attnum).ok_or_else(|| {
            let message = format!("column \"{name}\" referenced in foreign key constraint does not exist");
            PgError::new(SqlState::UNDEFINED_COLUMN, message)
        })
    });
    let columns = columns.collect::<PgResult<Vec<_>>>()?;
    limits::check_foreign_key_columns(columns.len())?;
    Ok(columns)
}

/// The referenced columns and the unique index over them.
fn referenced_key(parent: &TableDesc, fk: &ForeignKeyConstraint) -> PgResult<(Vec<i16>, Oid)> {
    if fk.ref_columns.is_empty() {
        let Some(index) = parent.primary_key() else {
            let message = format!("there is no primary key for referenced table \"{}\"", parent.name);
            return Err(PgError::new(SqlState::UNDEFINED_OBJECT, message));
        };
        if index.deferrable {
            let message =
                format!("cannot use a deferrable primary key for referenced table \"{}\"", parent.name);
            return Err(PgError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message));
        }
        let columns =
            plain_columns(index).ok_or_else(|| PgError::internal("a primary key over expressions"))?;
        return Ok((columns, index.oid));
    }
    let columns = columns_of(parent, &fk.ref_columns)?;
    if columns.iter().enumerate().any(|(i, column)| columns[..i].contains(column)) {
        let message = "foreign key referenced-columns list must not contain duplicates";
        return Err(PgError::new(SqlState::INVALID_FOREIGN_KEY, message));
    }
    let fits = |index: &&IndexDesc| {
        index.unique
            && index.state == IndexState::Public
            && index.predicate.is_none()
            && plain_columns(index)
                .is_some_and(|key| key.len() == columns.len() && key.iter().all(|c| columns.contains(c)))
    };
    let fitting = || parent.indexes.iter().filter(fits);
    match fitting().filter(|index| !index.deferrable).min_by_key(|index| index.oid) {
        Some(index) => Ok((columns, index.oid)),
        None if fitting().next().is_some() => {
            let message =
                format!("cannot use a deferrable unique constraint for referenced table \"{}\"", parent.name);
            Err(PgError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message))
        }
        None => {
            let message = format!(
                "there is no unique constraint matching given keys for referenced table \"{}\"",
                parent.name
            );
            Err(PgError::new(SqlState::INVALID_FOREIGN_KEY, message))
        }
    }
}

/// The columns of an index; `None` if it has expressions.
fn plain_columns(index: &IndexDesc) -> Option<Vec<i16>> {
    let column = |column: &crate::catalog::IndexColumn| match column.key {
        IndexKey::Column(attnum) => Some(attnum),
        IndexKey::Expression(_) => None,
    };
    index.columns.iter().map(column).collect()
}

/// A generated column cannot be set.
fn check_generated(table: &TableDesc, columns: &[i16], fk: &ForeignKeyConstraint) -> PgResult<()> {
    if !columns.iter().any(|attnum| table.column(*attnum).generated) {
        return Ok(());
    }
    let sets = |action| matches!(action, FkAction::SetNull | FkAction::SetDefault);
    let event = if sets(fk.on_update) || fk.on_update == FkAction::Cascade {
        "ON UPDATE"
    } else if sets(fk.on_delete) {
        "ON DELETE"
    } else {
        return Ok(());
    };
    let message = format!("invalid {event} action for foreign key constraint containing generated column");
    Err(PgError::new(SqlState::SYNTAX_ERROR, message))
}

fn check_types(
    session: &mut PgSession,
    (table, columns): (&TableDesc, &[i16]),
    (parent, ref_columns): (&TableDesc, &[i16]),
    name: &str,
) -> PgResult<()> {
    let env = session.eval_env();
    for (from, to) in columns.iter().zip(ref_columns) {
        let (from, to) = (table.column(*from), parent.column(*to));
        if ri::key_cast(from, to, &env)?.is_some() {
            continue;
        }
        let shown = |ty| session.with_bind_context(|cx| Ok(crate::bind::format_type(cx, ty, -1)));
        let mut shown = shown;
        let (from_type, to_type) = (shown(from.ty)?, shown(to.ty)?);
        let family = builtin().default_opclass(BTREE_AM, to.ty).map(|class| class.family);
        let equal = BtreeStrategy::Equal as i16;
        if family.is_some_and(|family| builtin().family_operator(family, to.ty, from.ty, equal).is_some()) {
            let message = format!("a foreign key from {from_type} to {to_type} is not supported yet");
            return Err(PgError::not_supported(message).hint("Use columns of the same type."));
        }
        let message = format!("foreign key constraint \"{name}\" cannot be implemented");
        return Err(PgError::new(SqlState::DATATYPE_MISMATCH, message).detail(format!(
            "Key columns \"{}\" of the referencing table and \"{}\" of the referenced table are of incompatible \
             types: {from_type} and {to_type}.",
            from.name, to.name
        )));
    }
    Ok(())
}

/// The name of a constraint that was given none: no other of the schema has it.
fn chosen_name(session: &mut PgSession, table: &TableDesc, columns: &[Name]) -> String {
    let catalog = session.catalog();
    let columns: Vec<String> = columns.iter().map(ToString::to_string).collect();
    let joined = names::joined_columns(&columns);
    names::choose(&table.name, Some(&joined), "fkey", |name| {
        has_constraint(table, name)
            || catalog.tables().any(|other| other.schema == table.schema && has_constraint(other, name))
    })
}

/// Checks the rows of a table against one of its foreign keys, if it is enforced and not NOT VALID.
///
/// # Errors
/// 23503; 42804 if the columns' types do not go together any more.
pub async fn validate(session: &mut PgSession, table: Oid, constraint: Oid) -> PgResult<()> {
    session.ensure_txn().txn.begin_statement();
    let cx = session.exec_context(Arc::new([]));
    let Some(child) = cx.env.catalog.table(table) else { return Ok(()) };
    let Some(fk) = child.foreign_key(constraint).filter(|fk| fk.enforced && fk.validated) else {
        return Ok(());
    };
    let Some(parent) = cx.env.catalog.table(fk.ref_table) else {
        return Err(PgError::internal("a referenced table is gone"));
    };
    check_types(session, (child, &fk.columns), (parent, &fk.ref_columns), &fk.name)?;
    ri::validate(&cx, fk, child, parent).await
}

/// ALTER CONSTRAINT; answers whether the rows have to be checked.
///
/// # Errors
/// 42704 if there is no such constraint, 42809 if it is none of this kind.
pub fn alter(table: &mut TableDesc, name: &str, attrs: &ConstraintAttrs) -> PgResult<Option<Oid>> {
    let relation = table.name.clone();
    if !table.foreign_keys.iter().any(|fk| fk.name == name) {
        let (state, what) = if has_constraint(table, name) {
            (SqlState::WRONG_OBJECT_TYPE, "is not a foreign key constraint")
        } else {
            (SqlState::UNDEFINED_OBJECT, "does not exist")
        };
        return Err(PgError::new(state, format!("constraint \"{name}\" of relation \"{relation}\" {what}")));
    }
    let mut check = None;
    for fk in table.foreign_keys.iter_mut().filter(|fk| fk.name == name) {
        if attrs.deferrable.is_some() || attrs.initially_deferred.is_some() {
            fk.deferrable = attrs.is_deferrable();
            fk.initially_deferred = attrs.initially_deferred == Some(true);
        }
        match attrs.enforced {
            Some(true) if !fk.enforced => {
                (fk.enforced, fk.validated) = (true, true);
                check = Some(fk.oid);
            }
            Some(false) => (fk.enforced, fk.validated) = (false, false),
            _ => {}
        }
    }
    Ok(check)
}

/// A foreign key with the table that has it.
pub type Dependent = (Arc<TableDesc>, ForeignKeyDesc);

/// The foreign keys that reference a table and that `uses` picks.
pub fn dependents(
    catalog: &CatalogSnapshot,
    table: Oid,
    uses: &dyn Fn(&TableDesc, &ForeignKeyDesc) -> bool,
) -> Vec<Dependent> {
    let referencing = catalog.referencing(table).iter();
    let found = referencing.filter_map(|(other, constraint)| {
        let other = catalog.table(*other)?;
        Some((other.clone(), other.foreign_key(*constraint)?.clone()))
    });
    found.filter(|(table, fk)| uses(table, fk)).collect()
}

/// A foreign key as messages about dependencies call it.
pub fn described(catalog: &CatalogSnapshot, (table, fk): &Dependent) -> String {
    format!("constraint {} on {}", fk.name, describe(catalog, &Relation::Table(table.clone())))
}

/// Drops foreign keys of other tables.
///
/// # Errors
/// What the locks raise.
pub async fn drop_dependents(session: &mut PgSession, dependents: &[Dependent]) -> PgResult<()> {
    for (table, fk) in dependents {
        let wait = session.lock_wait();
        session.lock_table(table.oid, ObjectLockMode::AccessExclusive, wait).await?;
        let catalog = session.catalog();
        let Some(table) = catalog.table(table.oid) else { continue };
        let mut changed = TableDesc::clone(table);
        changed.foreign_keys.retain(|other| other.oid != fk.oid);
        session.record_table(changed)?;
    }
    Ok(())
}

/// 2BP01 if foreign keys reference what is to be dropped and CASCADE was not written; with it they are dropped, with a
/// notice. `own` is the working copy of the table, from which its own foreign keys go.
///
/// # Errors
/// 2BP01; what locks raise.
pub async fn release(
    session: &mut PgSession,
    own: &mut TableDesc,
    (subject, on): (&str, &str),
    uses: &(dyn Fn(&ForeignKeyDesc) -> bool + Send + Sync),
    cascade: bool,
) -> PgResult<()> {
    let catalog = session.catalog();
    let is_other = |table: &TableDesc, fk: &ForeignKeyDesc| table.oid != own.oid && uses(fk);
    let mut found = dependents(&catalog, own.oid, &is_other);
    let this = Arc::new(own.clone());
    let itself = own.foreign_keys.iter().filter(|fk| fk.ref_table == own.oid && uses(fk));
    found.extend(itself.map(|fk| (this.clone(), fk.clone())));
    found.sort_by_key(|(_, fk)| fk.oid);
    let lines: Vec<String> = found.iter().map(|dependent| described(&catalog, dependent)).collect();
    super::drop::check_dependents(session, subject, on, &lines, cascade)?;
    own.foreign_keys.retain(|fk| !(fk.ref_table == own.oid && uses(fk)));
    found.retain(|(table, _)| table.oid != own.oid);
    drop_dependents(session, &found).await
}

/// The constraints that SET CONSTRAINTS names; none: ALL.
///
/// # Errors
/// 42704 for one that there is not, 42809 for one that is not deferrable.
pub fn deferrable_constraints(session: &mut PgSession, names: &[RangeVar]) -> PgResult<Vec<Oid>> {
    let catalog = session.catalog();
    let path = session.search_path(&catalog);
    let mut found = Vec::new();
    for name in names {
        let schemas = match &name.schema {
            Some(schema) => vec![names::schema_by_name(&catalog, schema)?],
            None => path.to_vec(),
        };
        let in_schema = |schema: &Oid| {
            let tables = catalog.tables().filter(|table| table.schema == *schema);
            tables.filter(|table| has_constraint(table, &name.name)).cloned().collect::<Vec<_>>()
        };
        let tables = schemas.iter().map(in_schema).find(|tables| !tables.is_empty());
        let Some(tables) = tables else {
            let message = format!("constraint \"{}\" does not exist", name.name);
            return Err(PgError::new(SqlState::UNDEFINED_OBJECT, message));
        };
        let before = found.len();
        for table in &tables {
            let named = table.foreign_keys.iter().filter(|fk| fk.name == *name.name);
            found.extend(named.filter(|fk| fk.deferrable).map(|fk| fk.oid));
            let named = table.indexes.iter().filter(|index| index.name == *name.name && index.deferrable);
            found.extend(named.filter_map(|index| index.constraint));
        }
        if found.len() == before {
            let message = format!("constraint \"{}\" is not deferrable", name.name);
            return Err(PgError::new(SqlState::WRONG_OBJECT_TYPE, message));
        }
    }
    Ok(found)
}

/// 55006 if rows of a table wait for a deferred check: `what` would pull the ground from under it.
///
/// # Errors
/// 55006.
pub fn check_nothing_pending(session: &mut PgSession, table: &TableDesc, what: &str) -> PgResult<()> {
    let catalog = session.catalog();
    let is_about = |event: &RowEvent| match event.change {
        RowChange::Referencing { .. } | RowChange::UniqueLater { .. } => event.table == table.oid,
        RowChange::Referenced { .. } => catalog
            .table(event.table)
            .and_then(|other| other.foreign_key(event.constraint))
            .is_some_and(|fk| fk.ref_table == table.oid),
    };
    if session.ensure_txn().deferred.lock().concerns(&is_about) {
        let message = format!("cannot {what} \"{}\" because it has pending trigger events", table.name);
        return Err(PgError::new(SqlState::OBJECT_IN_USE, message));
    }
    Ok(())
}

/// The tables that TRUNCATE of some tables has to include: those that reference them, and so on.
///
/// # Errors
/// 0A000 if there are any and CASCADE was not written.
pub fn truncated_with(
    session: &mut PgSession,
    tables: &[Arc<TableDesc>],
    cascade: bool,
) -> PgResult<Vec<Arc<TableDesc>>> {
    let catalog = session.catalog();
    let mut all: Vec<Arc<TableDesc>> = tables.to_vec();
    let mut next = 0;
    while next < all.len() {
        let table = all[next].clone();
        let others = dependents(&catalog, table.oid, &|_, _| true);
        for (other, _) in others {
            if all.iter().any(|known| known.oid == other.oid) {
                continue;
            }
            if !cascade {
                let message = "cannot truncate a table referenced in a foreign key constraint";
                return Err(PgError::not_supported(message)
                    .detail(format!("Table \"{}\" references \"{}\".", other.name, table.name))
                    .hint(format!(
                        "Truncate table \"{}\" at the same time, or use TRUNCATE ... CASCADE.",
                        other.name
                    )));
            }
            session.notice(format!("truncate cascades to table \"{}\"", other.name));
            all.push(other);
        }
        next += 1;
    }
    Ok(all.split_off(tables.len()))
}
