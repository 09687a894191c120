//! Names: where new objects go, and which object a name means.

use shardforge_types::{Oid, PgError, PgResult, SqlState};

use super::check_free;
use crate::catalog::builtin::{SystemRelation, system_relation_by_name};
use crate::catalog::{CatalogSnapshot, Relation, well_known};
use crate::parse::ast::{Persistence, RangeVar};
use crate::session::PgSession;

/// Longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 63;

/// The schema in which a new object is made.
///
/// # Errors
/// 3F000.
pub fn creation_schema(session: &mut PgSession, name: &RangeVar) -> PgResult<Oid> {
    if name.persistence == Persistence::Temporary {
        return Err(super::unsupported("CREATE TEMPORARY TABLE"));
    }
    let catalog = session.catalog();
    check_database(session, name)?;
    match &name.schema {
        Some(schema) => {
            let found = schema_by_name(&catalog, schema).map_err(|error| error.at(name.pos))?;
            check_not_system(found, schema)?;
            Ok(found)
        }
        None => {
            let explicit = session.settings.parsed(|parsed| parsed.search_path.clone());
            let path = session.search_path(&catalog);
            let named_pg_catalog = explicit.iter().any(|name| name == "pg_catalog");
            path.iter()
                .copied()
                .find(|schema| named_pg_catalog || *schema != well_known::PG_CATALOG)
                .ok_or_else(|| {
                    PgError::new(SqlState::INVALID_SCHEMA_NAME, "no schema has been selected to create in")
                        .at(name.pos)
                })
        }
    }
}

fn check_not_system(schema: Oid, name: &str) -> PgResult<()> {
    if schema == well_known::PG_CATALOG || schema == well_known::INFORMATION_SCHEMA {
        return Err(PgError::new(
            SqlState::INSUFFICIENT_PRIVILEGE,
            format!("permission denied to create objects in schema \"{name}\""),
        )
        .detail("System catalog modifications are currently disallowed."));
    }
    Ok(())
}

/// The schema of a name.
///
/// # Errors
/// 3F000.
pub fn schema_by_name(catalog: &CatalogSnapshot, name: &str) -> PgResult<Oid> {
    catalog.schema_by_name(name).map(|schema| schema.oid).ok_or_else(|| {
        PgError::new(SqlState::INVALID_SCHEMA_NAME, format!("schema \"{name}\" does not exist"))
    })
}

fn check_database(session: &PgSession, name: &RangeVar) -> PgResult<()> {
    match &name.catalog {
        Some(database) if **database != *session.database_name => Err(PgError::new(
            SqlState::FEATURE_NOT_SUPPORTED,
            format!(
                "cross-database references are not implemented: \"{database}.{}.{}\"",
                name.schema.as_deref().unwrap_or(""),
                name.name
            ),
        )
        .at(name.pos)),
        _ => Ok(()),
    }
}

/// The relation that a name means.
///
/// # Errors
/// 42P01, 3F000.
pub fn find_relation(session: &mut PgSession, name: &RangeVar) -> PgResult<Relation> {
    match find_relation_if_exists(session, name)? {
        Some(relation) => Ok(relation),
        None => {
            let shown = match &name.schema {
                Some(schema) => format!("{schema}.{}", name.name),
                None => name.name.to_string(),
            };
            Err(PgError::new(SqlState::UNDEFINED_TABLE, format!("relation \"{shown}\" does not exist"))
                .at(name.pos))
        }
    }
}

/// As [`find_relation`]; `None` if there is none (an unknown schema included).
///
/// # Errors
/// 0A000 for another database.
pub fn find_relation_if_exists(session: &mut PgSession, name: &RangeVar) -> PgResult<Option<Relation>> {
    check_database(session, name)?;
    let catalog = session.catalog();
    let found = match &name.schema {
        Some(schema) => catalog
            .schema_by_name(schema)
            .and_then(|schema| catalog.relation_by_name(schema.oid, &name.name))
            .cloned(),
        None => {
            let path = session.search_path(&catalog);
            path.iter().find_map(|schema| catalog.relation_by_name(*schema, &name.name)).cloned()
        }
    };
    Ok(found)
}

/// A free relation name made of parts as PostgreSQL does: `table_column_label`, cut to fit, with a number
/// behind it when it is taken.
pub fn choose_relation_name(
    catalog: &CatalogSnapshot,
    schema: Oid,
    taken: &[String],
    table: &str,
    column: Option<&str>,
    label: &str,
) -> String {
    choose(table, column, label, |name| {
        taken.iter().any(|t| t == name) || check_free(catalog, schema, name).is_err()
    })
}

/// As [`choose_relation_name`], where `taken` alone says what is taken.
pub fn choose(table: &str, column: Option<&str>, label: &str, taken: impl Fn(&str) -> bool) -> String {
    for pass in 0u32.. {
        let label = if pass == 0 { label.to_owned() } else { format!("{label}{pass}") };
        let name = make_object_name(table, column, &label);
        if !taken(&name) {
            return name;
        }
    }
    unreachable!("some number is free")
}

fn make_object_name(name1: &str, name2: Option<&str>, label: &str) -> String {
    let overhead = label.len() + 1 + usize::from(name2.is_some());
    let available = NAME_BYTES_MAX.saturating_sub(overhead);
    let (mut len1, mut len2) = (name1.len(), name2.map_or(0, str::len));
    while len1 + len2 > available {
        if len1 > len2 {
            len1 -= 1;
        } else {
            len2 -= 1;
        }
    }
    let first = &name1[..name1.floor_char_boundary(len1)];
    match name2 {
        Some(name2) => format!("{first}_{}_{label}", &name2[..name2.floor_char_boundary(len2)]),
        None => format!("{first}_{label}"),
    }
}

/// The name of an index over these columns: PostgreSQL joins their names, up to its name length.
pub fn joined_columns(columns: &[String]) -> String {
    let mut joined = String::new();
    for column in columns {
        if !joined.is_empty() {
            joined.push('_');
        }
        joined.push_str(column);
        if joined.len() >= NAME_BYTES_MAX {
            break;
        }
    }
    joined.truncate(joined.floor_char_boundary(NAME_BYTES_MAX));
    joined
}

/// The relation of the system that a name means.
pub fn find_system_relation(name: &RangeVar) -> Option<&'static SystemRelation> {
    let schema = match name.schema.as_deref() {
        None | Some("pg_catalog") => well_known::PG_CATALOG,
        Some("information_schema") => well_known::INFORMATION_SCHEMA,
        Some(_) => return None,
    };
    system_relation_by_name(schema, &name.name)
}
