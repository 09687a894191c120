//! The system catalogs as tables: `pg_catalog` and `information_schema`.
//!
//! Clients read PostgreSQL's catalogs with SQL of their own (psql's `\d` alone sends a dozen joins), so the catalogs
//! must look like tables: the same names, oids, columns and rows. None is stored. A scan makes the rows that it was
//! asked for, from three sources:
//!
//! ```text
//!   data/catalog/*.tsv   what every PostgreSQL has      statics.rs   rows kept as text, found by a lazy index
//!   CatalogSnapshot      what users made                relations.rs, constraints.rs, cluster.rs, ...
//!   SessionView          what is going on               activity.rs, settings.rs
//!                                  |
//!   SystemScan { relation, columns, equalities } --> scan() --> rows of just those columns
//! ```
//!
//! A catalog's rows are those of its file, if there is one, and those of its producer. The views (`pg_tables`,
//! `information_schema.columns`) are producers that read the catalogs below them through the same [`SystemScan`]. A
//! relation without either has the right columns and no rows.
//!
//! Invariants
//! - [`Equality`] is a hint: it keeps a lookup by oid or name from making all rows, as an index would. Rows that do not
//!   match may still come; the executor filters.
//! - Rows come in a fixed order (by key within each source), so that equal questions have equal answers.
//! - A producer names its columns and sets those that matter; the rest is NULL, or the zero of a NOT NULL column.

mod activity;
mod cluster;
mod constraints;
mod depend;
mod hints;
mod information_schema;
mod relations;
mod rows;
mod sequences;
mod session;
mod settings;
mod statics;
mod statistics;
mod types;
mod views;

use hashbrown::HashMap;
use shardforge_types::{Datum, Oid};
use std::sync::LazyLock;

use super::CatalogSnapshot;
use super::builtin::{SystemRelation, system_relation, system_relation_by_name};
use super::well_known::{INFORMATION_SCHEMA, PG_CATALOG};
pub use hints::Hints;
pub(crate) use rows::{Rows, acl};
pub use session::{
    Activity, Cursor, HeldLock, IndexProgress, PreparedStatement, PreparedXact, SessionView, TableActivity,
};
pub(crate) use views::system_view_definition;

/// "This column equals one of these values": what lets a scan look up instead of listing.
#[derive(Clone, Debug)]
pub struct Equality {
    /// The column's attribute number.
    pub attnum: i16,
    /// The values. NULLs match nothing.
    pub values: Vec<Datum>,
}

/// A scan of one system relation.
#[derive(Clone, Copy)]
pub struct SystemScan<'a> {
    /// The objects.
    pub catalog: &'a CatalogSnapshot,
    /// Who asks, and what is going on.
    pub session: &'a dyn SessionView,
    /// The relation's oid.
    pub relation: Oid,
    /// The wanted columns, by attribute number, in the order of the rows' values.
    pub columns: &'a [i16],
    /// Hints; all hold.
    pub equalities: &'a [Equality],
}

/// Makes the rows of one relation that are not in its data file.
type Producer = fn(&SystemScan<'_>, &mut Rows);

/// The rows of a system relation. One that does not exist has none.
pub fn scan(scan: &SystemScan<'_>) -> Vec<Vec<Datum>> {
    let Some(relation) = system_relation(scan.relation) else { return Vec::new() };
    let mut rows = Rows::new(relation, scan.columns);
    statics::produce(relation, scan, &mut rows);
    if let Some(producer) = PRODUCERS.get(&relation.oid) {
        producer(scan, &mut rows);
    }
    rows.finish()
}

impl<'a> SystemScan<'a> {
    /// The values that a column may have, if a hint says so.
    pub(crate) fn hint(&self, column: &str) -> Option<&'a [Datum]> {
        let attnum = system_relation(self.relation)?.column(column)? + 1;
        let equality = self.equalities.iter().find(|e| usize::try_from(e.attnum) == Ok(attnum))?;
        Some(&equality.values)
    }

    /// The oids that an oid column may have, if a hint says so.
    pub(crate) fn oid_hint(&self, column: &str) -> Option<Vec<Oid>> {
        let number = |d: &Datum| d.as_i64().and_then(|n| u32::try_from(n).ok()).map(Oid);
        self.hint(column).map(|values| values.iter().filter_map(number).collect())
    }

    /// Whether an oid column may have this value.
    pub(crate) fn may_be_oid(&self, column: &str, oid: Oid) -> bool {
        self.hint(column).is_none_or(|values| values.iter().any(|v| v.as_i64() == Some(i64::from(oid.0))))
    }

    /// Whether a name column may have this value.
    pub(crate) fn may_be_name(&self, column: &str, name: &str) -> bool {
        self.hint(column).is_none_or(|values| values.iter().any(|v| v.as_str() == Some(name)))
    }

    /// Reads another catalog of `pg_catalog`, for a view over it: the named columns of the rows where each of `where_`
    /// holds (as a hint).
    pub(crate) fn read(
        &self,
        catalog: &str,
        columns: &[&str],
        where_: &[(&str, Vec<Datum>)],
    ) -> Vec<Vec<Datum>> {
        let Some(relation) = system_relation_by_name(PG_CATALOG, catalog) else { return Vec::new() };
        let attnum = |name: &str| relation.column(name).and_then(|n| i16::try_from(n + 1).ok()).unwrap_or(0);
        let columns: Vec<i16> = columns.iter().map(|c| attnum(c)).collect();
        let equality = |(column, values): &(&str, Vec<Datum>)| Equality {
            attnum: attnum(column),
            values: values.clone(),
        };
        let equalities: Vec<Equality> = where_.iter().map(equality).collect();
        scan(&SystemScan { relation: relation.oid, columns: &columns, equalities: &equalities, ..*self })
    }
}

static PRODUCERS: LazyLock<HashMap<Oid, Producer>> = LazyLock::new(|| {
    let schemas = [
        (
            PG_CATALOG,
            [activity::PRODUCERS, cluster::PRODUCERS, constraints::PRODUCERS, depend::PRODUCERS].concat(),
        ),
        (PG_CATALOG, [relations::PRODUCERS, sequences::PRODUCERS, settings::PRODUCERS].concat()),
        (PG_CATALOG, [statistics::PRODUCERS, types::PRODUCERS, views::PRODUCERS].concat()),
        (INFORMATION_SCHEMA, information_schema::PRODUCERS.to_vec()),
    ];
    let mut producers = HashMap::new();
    for (schema, list) in schemas {
        for (name, producer) in list {
            let relation: Option<&SystemRelation> = system_relation_by_name(schema, name);
            let relation = relation.unwrap_or_else(|| panic!("there is no system relation {name}"));
            producers.insert(relation.oid, producer);
        }
    }
    producers
});

#[cfg(test)]
pub(crate) mod tests;
