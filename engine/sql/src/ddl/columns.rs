//! Columns and constraints: from the raw tree to descriptors.

use std::sync::Arc;

use shardforge_types::{Oid, PgError, PgResult, SqlState, oid};

use crate::bind;
use crate::catalog::builtin::{Volatility, builtin};
use crate::catalog::{
    CheckDesc, ColumnDesc, DefaultDesc, IndexColumn, IndexDesc, IndexKey, IndexState, NotNull, TableDesc,
};
use crate::ddl::{options, unsupported};
use crate::ir::{ColId, Scalar, ScalarKind, Ty};
use crate::limits;
use crate::parse::ast::{ColumnDef, Constraint, ConstraintKind, Expr, IndexConstraint, TypeName};
use crate::session::PgSession;

/// A column type written in DDL: `serial` and its kin stand for an integer with a sequence.
pub struct WrittenType {
    /// The type.
    pub ty: Ty,
    /// `serial`, `bigserial`, `smallserial`.
    pub serial: bool,
}

/// Adds a column to a table; its attribute number.
///
/// # Errors
/// 54011 if the table has too many.
pub fn push_column(table: &mut TableDesc, column: ColumnDesc) -> PgResult<i16> {
    limits::check_columns(table.columns.len() + 1)?;
    table.columns.push(column);
    Ok(table.columns.len() as i16)
}

/// Resolves a written type.
///
/// # Errors
/// 42704 and others, with positions; 42P16 for pseudo-types.
pub fn column_type(session: &mut PgSession, column: &str, name: &TypeName) -> PgResult<WrittenType> {
    if let [single] = &name.names[..]
        && name.array_bounds.is_empty()
    {
        let ty = match &**single {
            "serial" | "serial4" => Some(oid::INT4),
            "bigserial" | "serial8" => Some(oid::INT8),
            "smallserial" | "serial2" => Some(oid::INT2),
            _ => None,
        };
        if let Some(ty) = ty {
            return Ok(WrittenType { ty: Ty::new(ty), serial: true });
        }
    }
    let ty = session.with_bind_context(|cx| bind::resolve_type(name, cx))?;
    let desc = crate::catalog::builtin::builtin().type_by_oid(ty.oid);
    if desc.is_none_or(|desc| desc.kind == crate::catalog::builtin::TypeKind::Pseudo) {
        let shown = desc.map_or_else(String::new, |desc| desc.name.to_string());
        return Err(PgError::new(
            SqlState::INVALID_TABLE_DEFINITION,
            format!("column \"{column}\" has pseudo-type {shown}"),
        ));
    }
    let base = desc.map(|desc| desc.basetype).filter(|base| base.is_valid());
    if !shardforge_types::io::is_supported(base.unwrap_or(ty.oid)) {
        let message = format!("type {} is not supported", shardforge_types::type_name(ty.oid));
        return Err(
            PgError::not_supported(message).hint("Values of this type can be neither read nor written yet.")
        );
    }
    Ok(WrittenType { ty, serial: false })
}

/// A column without constraints.
pub fn plain_column(name: &str, ty: Ty) -> ColumnDesc {
    ColumnDesc {
        name: name.to_owned(),
        ty: ty.oid,
        typmod: ty.typmod,
        collation: ty.collation,
        dropped: false,
        not_null: None,
        default: None,
        missing: None,
        identity: None,
        generated: false,
    }
}

/// Names that system columns have.
pub fn check_column_name(name: &str) -> PgResult<()> {
    if matches!(name, "tableoid" | "cmax" | "xmax" | "cmin" | "xmin" | "ctid") {
        return Err(PgError::new(
            SqlState::DUPLICATE_COLUMN,
            format!("column name \"{name}\" conflicts with a system column name"),
        ));
    }
    Ok(())
}

/// A DEFAULT, bound to the column's type and brought to the form that is stored.
///
/// # Errors
/// What binding raises: 42804 for a type that cannot be assigned, 0A000 for column references, ...
pub async fn default_desc(
    session: &mut PgSession,
    column: &ColumnDesc,
    expr: &Expr,
) -> PgResult<DefaultDesc> {
    let ty = Ty { oid: column.ty, typmod: column.typmod, collation: column.collation };
    let scalar = session.with_bind_context(|cx| bind::bind_default(expr, &column.name, ty, cx))?;
    let sql = session.with_bind_context(|cx| Ok(bind::deparse(&scalar, &|_| None, cx.catalog)))?;
    Ok(DefaultDesc { oid: session.engine.next_oid().await?, sql })
}

/// An expression whose value is stored: as [`table_expression`], and 42P17 with `message` if its value may change.
pub fn immutable_expression(
    session: &mut PgSession,
    table: &TableDesc,
    expr: &Expr,
    boolean: bool,
    message: &str,
) -> PgResult<(String, Ty, Vec<i16>)> {
    session.with_bind_context(|cx| {
        let (scalar, _) = bind::bind_table_expression(expr, table, cx)?;
        if scalar.any(&|part| !is_immutable(part)) {
            return Err(PgError::new(SqlState::INVALID_OBJECT_DEFINITION, message));
        }
        Ok(())
    })?;
    table_expression(session, table, expr, boolean)
}

/// Whether a node of an expression, its operands aside, always gives the same value.
fn is_immutable(scalar: &Scalar) -> bool {
    // Functions of SQL that only cast an operand to text: PostgreSQL looks at the cast, as they are inlined.
    const ANY_TO_TEXT: [Oid; 2] = [Oid(2003), Oid(2004)];
    let is_immutable = |function: Oid| {
        builtin().proc_by_oid(function).is_none_or(|proc| proc.volatility == Volatility::Immutable)
    };
    let prints_alike = |ty: Oid| builtin().type_by_oid(ty).is_none_or(|desc| is_immutable(desc.output));
    match &scalar.kind {
        ScalarKind::Call(call) if ANY_TO_TEXT.contains(&call.func) => {
            call.args.iter().all(|arg| prints_alike(arg.ty.oid))
        }
        ScalarKind::Call(call) => is_immutable(call.func),
        ScalarKind::ArrayOp { func, .. } => is_immutable(*func),
        ScalarKind::IoCast(arg) => {
            let reads_alike =
                builtin().type_by_oid(scalar.ty.oid).is_none_or(|desc| is_immutable(desc.input));
            prints_alike(arg.ty.oid) && reads_alike
        }
        _ => true,
    }
}

/// A condition or generated column over a table's columns, in the form that is stored.
///
/// # Errors
/// What binding raises.
pub fn table_expression(
    session: &mut PgSession,
    table: &TableDesc,
    expr: &Expr,
    boolean: bool,
) -> PgResult<(String, Ty, Vec<i16>)> {
    session.with_bind_context(|cx| {
        let catalog = cx.catalog;
        let (scalar, cols) = bind::bind_table_expression(expr, table, cx)?;
        if boolean && scalar.ty.oid != oid::BOOL {
            return Err(PgError::new(
                SqlState::DATATYPE_MISMATCH,
                format!(
                    "argument of CHECK must be type boolean, not type {}",
                    shardforge_types::type_name(scalar.ty.oid)
                ),
            ));
        }
        let name_of = |id: ColId| {
            cols.iter().find(|(col, _)| col.id == id).map(|(_, attnum)| table.column(*attnum).name.clone())
        };
        let mut used = Vec::new();
        collect_columns(&scalar, &cols, &mut used);
        Ok((bind::deparse(&scalar, &name_of, catalog), scalar.ty, used))
    })
}

fn collect_columns(scalar: &crate::ir::Scalar, cols: &[(crate::ir::Col, i16)], used: &mut Vec<i16>) {
    if let crate::ir::ScalarKind::Column(id) = scalar.kind
        && let Some((_, attnum)) = cols.iter().find(|(col, _)| col.id == id)
        && !used.contains(attnum)
    {
        used.push(*attnum);
    }
    scalar.for_each_child(&mut |child| collect_columns(child, cols, used));
}

/// Marks a column NOT NULL.
pub async fn set_not_null(
    session: &mut PgSession,
    table: &mut TableDesc,
    attnum: i16,
    name: Option<&str>,
) -> PgResult<()> {
    let position = attnum as usize - 1;
    if table.columns[position].not_null.is_some() {
        return Ok(());
    }
    let name = match name {
        Some(name) => {
            check_constraint_free(table, name)?;
            name.to_owned()
        }
        None => {
            let column = table.columns[position].name.clone();
            super::names::choose(&table.name, Some(&column), "not_null", |name| has_constraint(table, name))
        }
    };
    let oid = session.engine.next_oid().await?;
    table.columns[position].not_null = Some(NotNull { oid, name });
    Ok(())
}

/// True if a constraint of the table has this name.
pub fn has_constraint(table: &TableDesc, name: &str) -> bool {
    table.checks.iter().any(|check| check.name == name)
        || table.foreign_keys.iter().any(|fk| fk.name == name)
        || table.indexes.iter().any(|index| index.constraint.is_some() && index.name == name)
        || table.columns.iter().any(|column| column.not_null.as_ref().is_some_and(|n| n.name == name))
}

/// 42710 if a constraint of the table has this name.
pub fn check_constraint_free(table: &TableDesc, name: &str) -> PgResult<()> {
    if has_constraint(table, name) {
        return Err(PgError::new(
            SqlState::DUPLICATE_OBJECT,
            format!("constraint \"{name}\" for relation \"{}\" already exists", table.name),
        ));
    }
    Ok(())
}

/// Adds a CHECK constraint to a descriptor.
pub async fn add_check(
    session: &mut PgSession,
    table: &mut TableDesc,
    constraint: &Constraint,
    expr: &Expr,
) -> PgResult<()> {
    if constraint.attrs.enforced == Some(false) {
        return Err(unsupported("NOT ENFORCED").at(constraint.pos));
    }
    let (sql, _, used) = table_expression(session, table, expr, true)?;
    let name = match &constraint.name {
        Some(name) => {
            check_constraint_free(table, name)?;
            name.to_string()
        }
        None => {
            // A check on one column is named after it.
            let column = match used[..] {
                [attnum] => Some(table.column(attnum).name.clone()),
                _ => None,
            };
            super::names::choose(&table.name, column.as_deref(), "check", |name| has_constraint(table, name))
        }
    };
    let oid = session.engine.next_oid().await?;
    table.checks.push(CheckDesc { oid, name, sql, validated: !constraint.attrs.not_valid });
    Ok(())
}

/// Adds the index of a PRIMARY KEY or UNIQUE constraint to a descriptor. Its storage is fresh; of a primary
/// key on a table that has no rows yet, the caller makes the table clustered by it, unless it is deferrable.
pub async fn add_key(
    session: &mut PgSession,
    table: &mut TableDesc,
    constraint: &Constraint,
    index: &IndexConstraint,
    columns: &[Arc<str>],
    (primary, nulls_not_distinct): (bool, bool),
) -> PgResult<()> {
    if index.without_overlaps {
        return Err(unsupported("WITHOUT OVERLAPS"));
    }
    if index.using_index.is_some() {
        return Err(unsupported("a constraint USING INDEX"));
    }
    if primary && table.primary_key().is_some() {
        return Err(PgError::new(
            SqlState::INVALID_TABLE_DEFINITION,
            format!("multiple primary keys for table \"{}\" are not allowed", table.name),
        )
        .at(constraint.pos));
    }
    let mut key = Vec::new();
    let mut names = Vec::new();
    for name in columns {
        let (attnum, column) = key_column(table, name).map_err(|error| error.at(constraint.pos))?;
        if key.iter().any(|k: &IndexColumn| k.key == IndexKey::Column(attnum)) {
            let what = if primary { "primary key" } else { "unique" };
            return Err(PgError::new(
                SqlState::DUPLICATE_COLUMN,
                format!("column \"{name}\" appears twice in {what} constraint"),
            )
            .at(constraint.pos));
        }
        check_indexable(column.ty)?;
        names.push(column.name.clone());
        key.push(IndexColumn {
            key: IndexKey::Column(attnum),
            ty: column.ty,
            desc: false,
            nulls_first: false,
        });
    }
    let include = index
        .including
        .iter()
        .map(|name| key_column(table, name).map(|(attnum, _)| attnum))
        .collect::<PgResult<Vec<_>>>()?;
    limits::check_index_columns(key.len() + include.len())?;
    let with = options::of_index(&index.options)?;
    names.extend(include.iter().map(|attnum| table.column(*attnum).name.clone()));
    if primary {
        for part in &key {
            if let IndexKey::Column(attnum) = part.key {
                set_not_null(session, table, attnum, None).await?;
            }
        }
    }
    let catalog = session.catalog();
    let taken: Vec<String> =
        table.indexes.iter().map(|i| i.name.clone()).chain([table.name.clone()]).collect();
    let name = match &constraint.name {
        Some(name) => {
            if taken.iter().any(|t| **t == **name) {
                return Err(PgError::new(
                    SqlState::DUPLICATE_TABLE,
                    format!("relation \"{name}\" already exists"),
                ));
            }
            super::check_free(&catalog, table.schema, name)?;
            check_constraint_free(table, name)?;
            name.to_string()
        }
        None if primary => {
            super::names::choose_relation_name(&catalog, table.schema, &taken, &table.name, None, "pkey")
        }
        None => {
            let joined = super::names::joined_columns(&names);
            super::names::choose_relation_name(
                &catalog,
                table.schema,
                &taken,
                &table.name,
                Some(&joined),
                "key",
            )
        }
    };
    session.lock_name(table.schema, &name).await?;
    let desc = IndexDesc {
        oid: session.engine.next_oid().await?,
        name,
        storage: session.engine.next_storage_id().await?,
        columns: key,
        include,
        unique: true,
        nulls_not_distinct,
        primary,
        constraint: Some(session.engine.next_oid().await?),
        deferrable: constraint.attrs.is_deferrable(),
        initially_deferred: constraint.attrs.initially_deferred == Some(true),
        predicate: None,
        state: IndexState::Public,
        clustered: false,
        buckets: options::buckets(session, &with)?,
        options: with,
    };
    if primary {
        table.indexes.insert(0, desc);
    } else {
        table.indexes.push(desc);
    }
    Ok(())
}

fn key_column<'t>(table: &'t TableDesc, name: &str) -> PgResult<(i16, &'t ColumnDesc)> {
    table.column_by_name(name).ok_or_else(|| {
        PgError::new(SqlState::UNDEFINED_COLUMN, format!("column \"{name}\" named in key does not exist"))
    })
}

/// 42704 for types that have no btree order.
pub fn check_indexable(ty: Oid) -> PgResult<()> {
    use crate::catalog::builtin::{BTREE_AM, builtin};
    if builtin().default_opclass(BTREE_AM, ty).is_some() {
        return Ok(());
    }
    Err(PgError::new(
        SqlState::UNDEFINED_OBJECT,
        format!(
            "data type {} has no default operator class for access method \"btree\"",
            shardforge_types::type_name(ty)
        ),
    )
    .hint("You must specify an operator class for the index or define a default operator class for the data type."))
}

/// Constraints of a column definition that are not supported.
pub fn check_supported(column: &ColumnDef) -> PgResult<()> {
    for constraint in &column.constraints {
        match &constraint.kind {
            ConstraintKind::ForeignKey(_) => {}
            ConstraintKind::Exclusion(_) => return Err(unsupported("EXCLUDE").at(constraint.pos)),
            ConstraintKind::Generated { stored: false, .. } => {
                return Err(unsupported("a virtual generated column")
                    .hint("Write STORED after the expression.")
                    .at(constraint.pos));
            }
            _ if constraint.attrs.enforced == Some(false) => {
                return Err(unsupported("NOT ENFORCED").at(constraint.pos));
            }
            _ => {}
        }
    }
    Ok(())
}
