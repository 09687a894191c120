//! Reading a catalog without a session.

use shardforge_types::{Datum, Oid};

use crate::catalog::CatalogSnapshot;
use crate::catalog::builtin::system_relation_by_name;
use crate::catalog::pg_catalog::{Equality, SessionView, SystemScan, scan};
use crate::catalog::well_known::{BOOTSTRAP_ROLE, PG_CATALOG};

/// Nobody in particular: definitions do not depend on who reads them.
struct Anyone;

impl SessionView for Anyone {
    fn user(&self) -> Oid {
        BOOTSTRAP_ROLE
    }

    fn search_path(&self) -> Vec<Oid> {
        vec![PG_CATALOG]
    }
}

/// The named columns of the rows of a catalog of `pg_catalog` where an oid column has a value; that column comes last.
pub(crate) fn rows_where(
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
