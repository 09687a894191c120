//! Schemas and relations by name: what `namespace.c` does for the parser.

use std::sync::Arc;

use shardforge_types::{Oid, PgError, PgResult, SqlState};

use super::BindContext;
use super::types::type_schemas;
use crate::catalog::builtin::{SystemRelation, system_relation_by_name};
use crate::catalog::well_known;
use crate::catalog::{Relation, SequenceDesc, TableDesc, ViewDesc};
use crate::parse::ast;

/// A relation that a name was found to mean.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// A table.
    Table(Arc<TableDesc>),
    /// A view.
    View(Arc<ViewDesc>),
    /// A sequence.
    Sequence(Arc<SequenceDesc>),
    /// An index; its name.
    Index(Oid, String),
    /// A table or view of the system.
    System(&'static SystemRelation),
}

impl Found {
    /// Oid in `pg_class`.
    pub fn oid(&self) -> Oid {
        match self {
            Found::Table(table) => table.oid,
            Found::View(view) => view.oid,
            Found::Sequence(sequence) => sequence.oid,
            Found::Index(oid, _) => *oid,
            Found::System(relation) => relation.oid,
        }
    }
}

/// The schema of a name; error 3F000 if there is none.
pub(super) fn schema_oid(cx: &BindContext<'_>, name: &str) -> PgResult<Oid> {
    find_schema(cx, name).ok_or_else(|| {
        PgError::new(SqlState::INVALID_SCHEMA_NAME, format!("schema \"{name}\" does not exist"))
    })
}

/// The schema of a name.
pub(super) fn find_schema(cx: &BindContext<'_>, name: &str) -> Option<Oid> {
    match name {
        "pg_catalog" => Some(well_known::PG_CATALOG),
        "pg_temp" if cx.temp_schema.is_some() => cx.temp_schema,
        "information_schema" => Some(well_known::INFORMATION_SCHEMA),
        _ => cx.catalog.schema_by_name(name).map(|schema| schema.oid),
    }
}

/// A three-part name must begin with the current database.
pub(super) fn check_database(cx: &BindContext<'_>, database: &str, whole: &str) -> PgResult<()> {
    if database == cx.database {
        return Ok(());
    }
    let message = format!("cross-database references are not implemented: {whole}");
    Err(PgError::new(SqlState::FEATURE_NOT_SUPPORTED, message))
}

/// The relation of a name in one schema.
pub(super) fn relation_in_schema(cx: &BindContext<'_>, schema: Oid, name: &str) -> Option<Found> {
    if let Some(relation) = cx.catalog.relation_by_name(schema, name) {
        return Some(match relation {
            Relation::Table(table) => Found::Table(table.clone()),
            Relation::View(view) => Found::View(view.clone()),
            Relation::Sequence(sequence) => Found::Sequence(sequence.clone()),
            Relation::Index(..) => Found::Index(relation.oid(), relation.name().to_owned()),
        });
    }
    let system = schema == well_known::PG_CATALOG || schema == well_known::INFORMATION_SCHEMA;
    if !system {
        return None;
    }
    let relation = system_relation_by_name(schema, name)?;
    Some(match relation.kind {
        b'i' => Found::Index(relation.oid, relation.name.to_owned()),
        _ => Found::System(relation),
    })
}

/// The relation that dotted names mean, by the search path if there is no schema among them.
pub(super) fn find_relation(
    cx: &BindContext<'_>,
    database: Option<&str>,
    schema: Option<&str>,
    name: &str,
) -> PgResult<Option<Found>> {
    if let (Some(database), Some(schema)) = (database, schema) {
        let quoted = format!("\"{database}.{schema}.{name}\"");
        check_database(cx, database, &quoted)?;
    }
    match schema {
        Some(schema) => Ok(find_schema(cx, schema).and_then(|schema| relation_in_schema(cx, schema, name))),
        None => Ok(type_schemas(cx).find_map(|schema| relation_in_schema(cx, schema, name))),
    }
}

/// The relation that a [`ast::RangeVar`] means; error 42P01 if there is none.
pub(super) fn open_relation(cx: &BindContext<'_>, name: &ast::RangeVar) -> PgResult<Found> {
    let found = find_relation(cx, name.catalog.as_deref(), name.schema.as_deref(), &name.name)
        .map_err(|e| e.or_at(name.pos))?;
    found.ok_or_else(|| {
        let message = match &name.schema {
            Some(schema) => format!("relation \"{schema}.{}\" does not exist", name.name),
            None => format!("relation \"{}\" does not exist", name.name),
        };
        PgError::new(SqlState::UNDEFINED_TABLE, message).at(name.pos)
    })
}
