//! The views of pg_catalog over relations: pg_tables, pg_views, pg_indexes, pg_rules.

use std::borrow::Cow;

use hashbrown::HashMap;
use shardforge_types::{Datum, Oid};

use super::{Producer, Rows, SystemScan};
use crate::catalog::builtin::data;
use crate::catalog::builtin::tsv::Tsv;
use crate::catalog::{Relation, info};

pub(super) const PRODUCERS: &[(&str, Producer)] =
    &[("pg_tables", pg_tables), ("pg_views", pg_views), ("pg_indexes", pg_indexes)];

/// The names of all schemas or roles by oid, for joining them.
pub(super) fn names(scan: &SystemScan<'_>, catalog: &str, oid: &str, name: &str) -> HashMap<i64, Datum> {
    let pair = |row: Vec<Datum>| Some((row.first()?.as_i64()?, row.get(1)?.clone()));
    scan.read(catalog, &[oid, name], &[]).into_iter().filter_map(pair).collect()
}

/// The name for an oid.
pub(super) fn name_of(names: &HashMap<i64, Datum>, oid: &Datum) -> Datum {
    oid.as_i64().and_then(|oid| names.get(&oid)).cloned().unwrap_or(Datum::Null)
}

/// A hint on a column of a view, as one on the column of the catalog that it shows.
fn pass_hint(scan: &SystemScan<'_>, column: &str, as_: &'static str) -> Vec<(&'static str, Vec<Datum>)> {
    scan.hint(column).map(|values| (as_, values.to_vec())).into_iter().collect()
}

fn pg_tables(scan: &SystemScan<'_>, rows: &mut Rows) {
    let schemas = names(scan, "pg_namespace", "oid", "nspname");
    let roles = names(scan, "pg_authid", "oid", "rolname");
    let columns = [
        "relkind",
        "relnamespace",
        "relname",
        "relowner",
        "relhasindex",
        "relhasrules",
        "relhastriggers",
        "relrowsecurity",
    ];
    for class in scan.read("pg_class", &columns, &pass_hint(scan, "tablename", "relname")) {
        let [Datum::Char(b'r' | b'p'), schema, name, owner, index, rules, triggers, security] = &class[..]
        else {
            continue;
        };
        rows.push(|r| {
            r.set("schemaname", name_of(&schemas, schema)).set("tablename", name.clone());
            r.set("tableowner", name_of(&roles, owner)).set("hasindexes", index.clone());
            r.set("hasrules", rules.clone())
                .set("hastriggers", triggers.clone())
                .set("rowsecurity", security.clone());
        });
    }
}

/// The definition of a view of the system.
pub(crate) fn system_view_definition(view: Oid) -> Option<Cow<'static, str>> {
    let tsv = Tsv::new(data::VIEW_DEFINITIONS);
    (0..tsv.len()).find(|row| tsv.field(*row, 0).parse() == Ok(view.0)).and_then(|row| tsv.row(row).text(1))
}

fn pg_views(scan: &SystemScan<'_>, rows: &mut Rows) {
    let schemas = names(scan, "pg_namespace", "oid", "nspname");
    let roles = names(scan, "pg_authid", "oid", "rolname");
    let columns = ["relkind", "oid", "relnamespace", "relname", "relowner"];
    for class in scan.read("pg_class", &columns, &pass_hint(scan, "viewname", "relname")) {
        let [Datum::Char(b'v'), Datum::Oid(oid), schema, name, owner] = &class[..] else { continue };
        rows.push(|r| {
            r.set("schemaname", name_of(&schemas, schema)).set("viewname", name.clone());
            r.set("viewowner", name_of(&roles, owner));
            r.set_with("definition", || info::view_definition(scan.catalog, Oid(*oid)));
        });
    }
}

fn pg_indexes(scan: &SystemScan<'_>, rows: &mut Rows) {
    let schemas = names(scan, "pg_namespace", "oid", "nspname");
    let tables: HashMap<i64, Vec<Datum>> = {
        let hint = pass_hint(scan, "tablename", "relname");
        let table = |row: Vec<Datum>| Some((row.first()?.as_i64()?, row));
        scan.read("pg_class", &["oid", "relname", "relnamespace"], &hint)
            .into_iter()
            .filter_map(table)
            .collect()
    };
    let hint: Vec<Datum> = tables.keys().filter_map(|oid| u32::try_from(*oid).ok()).map(Datum::Oid).collect();
    for index in scan.read("pg_index", &["indexrelid", "indrelid"], &[("indrelid", hint)]) {
        let [Datum::Oid(index), Datum::Oid(table)] = index[..] else { continue };
        let Some(table) = tables.get(&i64::from(table)) else { continue };
        let name = match scan.catalog.relation(Oid(index)) {
            Some(relation @ Relation::Index(..)) => relation.name(),
            _ => crate::catalog::builtin::system_relation(Oid(index)).map_or("", |r| r.name),
        };
        if scan.may_be_name("indexname", name) {
            rows.push(|r| {
                r.set("schemaname", name_of(&schemas, &table[2])).set("tablename", table[1].clone());
                r.set("indexname", name)
                    .set_with("indexdef", || info::index_definition(scan.catalog, Oid(index)));
            });
        }
    }
}
