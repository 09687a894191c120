//! The views of the SQL standard, over the same catalogs: `information_schema`.
//!
//! The rows follow PostgreSQL's own definitions of these views (`data/catalog/view_definitions.tsv` has them).

mod columns;
mod constraints;
mod relations;
mod routines;

use hashbrown::HashMap;
use shardforge_types::{Datum, Oid};

use super::views::{name_of, names};
use super::{Producer, SystemScan};

pub(super) const PRODUCERS: &[(&str, Producer)] = &[
    ("information_schema_catalog_name", relations::catalog_name),
    ("enabled_roles", relations::enabled_roles),
    ("schemata", relations::schemata),
    ("tables", relations::tables),
    ("views", relations::views),
    ("sequences", relations::sequences),
    ("columns", columns::columns),
    ("table_constraints", constraints::table_constraints),
    ("check_constraints", constraints::check_constraints),
    ("key_column_usage", constraints::key_column_usage),
    ("constraint_column_usage", constraints::constraint_column_usage),
    ("constraint_table_usage", constraints::constraint_table_usage),
    ("referential_constraints", constraints::referential_constraints),
    ("routines", routines::routines),
];

fn yes_or_no(yes: bool) -> &'static str {
    if yes { "YES" } else { "NO" }
}

/// The name of the current database.
fn database<'a>(scan: &SystemScan<'a>) -> Option<&'a str> {
    scan.catalog.cluster.databases.get(&scan.catalog.database).map(|d| d.name.as_str())
}

/// A relation with columns: what most of the views begin with.
struct Class {
    oid: Oid,
    name: Datum,
    schema: Datum,
    kind: u8,
    persistence: u8,
}

/// The tables and views, reduced by the hints on `table_schema` and `table_name`.
fn classes(scan: &SystemScan<'_>) -> Vec<Class> {
    let schemas = names(scan, "pg_namespace", "oid", "nspname");
    let hint: Vec<_> =
        scan.hint("table_name").map(|values| ("relname", values.to_vec())).into_iter().collect();
    let columns = ["oid", "relname", "relnamespace", "relkind", "relpersistence"];
    let class = |row: Vec<Datum>| match &row[..] {
        [Datum::Oid(oid), name, schema, Datum::Char(kind @ (b'r' | b'v')), Datum::Char(persistence)] => {
            let schema = name_of(&schemas, schema);
            let in_schema = scan.may_be_name("table_schema", schema.as_str().unwrap_or_default());
            let class = || Class {
                oid: Oid(*oid),
                name: name.clone(),
                schema,
                kind: *kind,
                persistence: *persistence,
            };
            in_schema.then(class)
        }
        _ => None,
    };
    scan.read("pg_class", &columns, &hint).into_iter().filter_map(class).collect()
}

/// The relations of [`classes`] by oid.
fn classes_by_oid(scan: &SystemScan<'_>) -> HashMap<i64, Class> {
    classes(scan).into_iter().map(|class| (i64::from(class.oid.0), class)).collect()
}
