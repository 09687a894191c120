//! Comments: those of users, else those that PostgreSQL ships with.

use shardforge_types::{Datum, Oid};

use super::lookup::rows_where;
use crate::catalog::CatalogSnapshot;
use crate::catalog::builtin::system_relation_by_name;
use crate::catalog::well_known::PG_CATALOG;

/// `obj_description(object, class)`; without a class any comment on an object of that oid.
pub fn comment(catalog: &CatalogSnapshot, object: Oid, class: Option<&str>) -> Option<String> {
    of(catalog, "pg_description", object, class, 0)
}

/// `col_description(table, attnum)`
pub fn column_comment(catalog: &CatalogSnapshot, table: Oid, attnum: i32) -> Option<String> {
    if attnum == 0 { None } else { of(catalog, "pg_description", table, Some("pg_class"), attnum) }
}

/// `shobj_description(object, class)`
pub fn shared_comment(catalog: &CatalogSnapshot, object: Oid, class: &str) -> Option<String> {
    of(catalog, "pg_shdescription", object, Some(class), 0)
}

fn of(catalog: &CatalogSnapshot, from: &str, object: Oid, class: Option<&str>, sub: i32) -> Option<String> {
    let class = match class {
        Some(class) => Some(system_relation_by_name(PG_CATALOG, class)?.oid),
        None => None,
    };
    let is_shared = from == "pg_shdescription";
    let columns: &[&str] =
        if is_shared { &["classoid", "description"] } else { &["classoid", "description", "objsubid"] };
    let rows = rows_where(catalog, from, columns, ("objoid", object));
    let matches = |row: &&Vec<Datum>| {
        let right_sub = is_shared || row[2].as_i64() == Some(i64::from(sub));
        right_sub && class.is_none_or(|class| row[0] == Datum::Oid(class.0))
    };
    rows.iter().find(matches)?[1].as_str().map(str::to_owned)
}
