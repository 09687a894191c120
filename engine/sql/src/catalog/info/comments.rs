//! Comments: those of users, else those that PostgreSQL ships with.

use shardforge_types::{Datum, Oid};

use crate::catalog::CatalogSnapshot;
use crate::catalog::builtin::system_relation_by_name;
use crate::catalog::pg_catalog::{Equality, SessionView, SystemScan, scan};
use crate::catalog::well_known::{BOOTSTRAP_ROLE, PG_CATALOG};

/// Nobody in particular: descriptions do not depend on who reads them.
pub(super) struct Anyone;

impl SessionView for Anyone {
    fn user(&self) -> Oid {
        BOOTSTRAP_ROLE
    }

    fn search_path(&self) -> Vec<Oid> {
        vec![PG_CATALOG]
    }
}

/// The columns of the rows of a catalog where a column has a value.
pub(super) fn lookup(
    catalog: &CatalogSnapshot,
    table: &str,
    columns: &[&str],
    key: (&str, Oid),
) -> Vec<Vec<Datum>> {
    let Some(relation) = system_relation_by_name(PG_CATALOG, table) else { return Vec::new() };
    let attnum = |name: &str| relation.column(name).and_then(|n| i16::try_from(n + 1).ok()).unwrap_or(0);
    let columns: Vec<i16> = columns.iter().map(|c| attnum(c)).chain([attnum(key.0)]).collect();
    let equalities = [Equality { attnum: attnum(key.0), values: vec![Datum::Oid(key.1.0)] }];
    let rows = scan(&SystemScan {
        catalog,
        session: &Anyone,
        relation: relation.oid,
        columns: &columns,
        equalities: &equalities,
    });
    rows.into_iter().filter(|row| row.last() == Some(&Datum::Oid(key.1.0))).collect()
}

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
    let rows = lookup(catalog, from, columns, ("objoid", object));
    let matches = |row: &&Vec<Datum>| {
        let right_sub = is_shared || row[2].as_i64() == Some(i64::from(sub));
        right_sub && class.is_none_or(|class| row[0] == Datum::Oid(class.0))
    };
    rows.iter().find(matches)?[1].as_str().map(str::to_owned)
}
