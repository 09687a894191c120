//! pg_stats: what ANALYZE found.

use shardforge_types::{Datum, oid};

use super::rows::{array, text_array};
use super::sequences::schema_name;
use super::{Producer, Rows, SystemScan};
use crate::catalog::ColumnStats;

pub(super) const PRODUCERS: &[(&str, Producer)] = &[("pg_stats", pg_stats)];

fn pg_stats(scan: &SystemScan<'_>, rows: &mut Rows) {
    let mut tables: Vec<_> = scan.catalog.tables().collect();
    tables.sort_unstable_by_key(|t| t.oid);
    for table in tables.into_iter().filter(|t| scan.may_be_name("tablename", &t.name)) {
        let Some(stats) = scan.catalog.stats.get(&table.oid) else { continue };
        for column in &stats.columns {
            let Some((_, desc)) = table.live_columns().find(|(attnum, _)| *attnum == column.attnum) else {
                continue;
            };
            rows.push(|r| {
                r.set("schemaname", schema_name(scan, table.schema)).set("tablename", &table.name);
                r.set("attname", &desc.name).set("inherited", false).set("null_frac", column.null_frac);
                r.set("avg_width", column.avg_width).set("n_distinct", column.n_distinct);
                r.set("correlation", column.correlation);
                set_values(column, r);
            });
        }
    }
}

fn set_values(column: &ColumnStats, r: &mut super::rows::RowBuilder<'_>) {
    if !column.most_common.is_empty() {
        r.set_with("most_common_vals", || {
            text_array(column.most_common.iter().map(|(value, _)| value.as_str()))
        });
        r.set_with("most_common_freqs", || {
            array(oid::FLOAT4, column.most_common.iter().map(|(_, share)| Datum::Float4(*share)))
        });
    }
    if !column.histogram.is_empty() {
        r.set_with("histogram_bounds", || text_array(column.histogram.iter().map(String::as_str)));
    }
}
