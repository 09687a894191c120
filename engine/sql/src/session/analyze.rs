//! What ANALYZE finds out about a table: a sample of its rows, and per column what PostgreSQL keeps, which is the share of
//! NULLs, the number of distinct values, the most common ones, a histogram of the rest, and the correlation with the
//! storage order.

use std::sync::Arc;

use shardforge_kv::Visibility;
use shardforge_types::{Datum, Oid, PgResult};

use super::PgSession;
use crate::catalog::builtin::{BTREE_AM, builtin};
use crate::catalog::{ColumnStats, TableDesc, TableStats};
use crate::func;
use crate::storage::{ScanRow, TableScan};

/// Rows in a sample: 300 times the default statistics target of 100.
const SAMPLE_ROWS: usize = 30_000;
/// Most common values and histogram bounds kept for a column.
const STATISTICS_TARGET: usize = 100;

/// A table, read once.
struct Sample {
    /// How many rows it has.
    rows: u64,
    /// Of keys and values.
    bytes: u64,
    /// Some of the rows, in the order of their keys.
    sample: Vec<ScanRow>,
}

impl PgSession {
    /// The statistics of a table as it is now.
    ///
    /// # Errors
    /// What reading it raises.
    pub(super) async fn analyze(&mut self, table: &Arc<TableDesc>) -> PgResult<TableStats> {
        let Sample { rows, bytes, sample } = self.read_whole(table, SAMPLE_ROWS).await?;
        let env = self.eval_env();
        let layout = self.engine.layout(table, &env.catalog)?;
        let mut columns = Vec::new();
        for (attnum, column) in table.live_columns() {
            let mut values = Vec::with_capacity(sample.len());
            for row in &sample {
                values.push(layout.view(&row.value)?.column(attnum as usize - 1)?);
            }
            columns.push(column_stats(attnum, column.ty, &values, rows, &env));
        }
        Ok(TableStats { rows: rows as f64, bytes: bytes as f64, columns })
    }

    /// The statistics of a table with its size as it is now, and the rest as it was.
    ///
    /// # Errors
    /// What reading it raises.
    pub(super) async fn measure(&mut self, table: &Arc<TableDesc>) -> PgResult<TableStats> {
        let Sample { rows, bytes, .. } = self.read_whole(table, 0).await?;
        let known = self.catalog().stats.get(&table.oid).map(|stats| TableStats::clone(stats));
        Ok(TableStats { rows: rows as f64, bytes: bytes as f64, ..known.unwrap_or_default() })
    }

    /// Reads a table, and keeps a sample of so many rows at most.
    async fn read_whole(&mut self, table: &Arc<TableDesc>, sample_rows: usize) -> PgResult<Sample> {
        let catalog = self.catalog();
        let layout = self.engine.layout(table, &catalog)?;
        let txn = self.ensure_txn().txn.clone();
        txn.begin_statement();
        let mut scan = TableScan::whole(&layout, Visibility::Statement);
        let mut page: Vec<ScanRow> = Vec::new();
        let mut sample: Vec<ScanRow> = Vec::new();
        let (mut rows, mut bytes) = (0u64, 0u64);
        while !scan.is_done() {
            page.clear();
            scan.next_page(&txn, 1024, &mut page).await?;
            for row in page.drain(..) {
                rows += 1;
                bytes += (row.key.len() + row.value.len()) as u64;
                // Every row has the same chance to be in the sample.
                if sample.len() < sample_rows {
                    sample.push(row);
                } else if sample_rows > 0 {
                    let place = self.engine.runtime.next_u64() % rows;
                    if let Some(slot) = sample.get_mut(place as usize) {
                        *slot = row;
                    }
                }
            }
            self.check_canceled()?;
        }
        sample.sort_by(|a, b| layout.head.columns(&a.key).cmp(layout.head.columns(&b.key)));
        Ok(Sample { rows, bytes, sample })
    }
}

fn column_stats(
    attnum: i16,
    ty: Oid,
    values: &[Datum],
    table_rows: u64,
    env: &crate::exec::env::EvalEnv,
) -> ColumnStats {
    let mut stats = ColumnStats { attnum, ..ColumnStats::default() };
    if values.is_empty() {
        return stats;
    }
    let text = |value: &Datum| {
        let mut out = Vec::new();
        func::output(ty, value, env, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    };
    let total = values.len() as f64;
    let mut present: Vec<(usize, &Datum)> =
        values.iter().enumerate().filter(|(_, value)| !value.is_null()).collect();
    stats.null_frac = ((total - present.len() as f64) / total) as f32;
    let width: usize = present.iter().map(|(_, value)| text(value).len()).sum();
    stats.avg_width = width.checked_div(present.len()).unwrap_or(0) as i32;
    if present.is_empty() || builtin().default_opclass(BTREE_AM, ty).is_none() {
        return stats;
    }
    present.sort_by(|(_, a), (_, b)| shardforge_types::compare::cmp(ty, a, b));
    let mut groups: Vec<(usize, usize)> = Vec::new();
    for (i, (_, value)) in present.iter().enumerate() {
        match groups.last_mut() {
            Some((first, count)) if shardforge_types::compare::cmp(ty, present[*first].1, value).is_eq() => {
                *count += 1;
            }
            _ => groups.push((i, 1)),
        }
    }
    stats.n_distinct = distinct(&groups, present.len(), table_rows);
    stats.correlation = correlation(&present);
    let mut common: Vec<(usize, usize)> = groups.iter().copied().filter(|(_, count)| *count > 1).collect();
    common.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let average = present.len() as f64 / groups.len() as f64;
    let all_fit = common.len() == groups.len() && groups.len() <= STATISTICS_TARGET;
    if !all_fit {
        common.retain(|(_, count)| *count as f64 > average * 1.25);
    }
    common.truncate(STATISTICS_TARGET);
    stats.most_common = common
        .iter()
        .map(|(first, count)| (text(present[*first].1), (*count as f64 / total) as f32))
        .collect();
    let is_common = |first: &usize| common.iter().any(|(other, _)| other == first);
    let rest: Vec<&Datum> = groups
        .iter()
        .filter(|(first, _)| !is_common(first))
        .flat_map(|(first, count)| present[*first..*first + *count].iter().map(|(_, value)| *value))
        .collect();
    if rest.len() > 1 {
        let bounds = rest.len().min(STATISTICS_TARGET + 1);
        stats.histogram =
            (0..bounds).map(|i| text(rest[i * (rest.len() - 1) / (bounds - 1).max(1)])).collect();
    }
    stats
}

/// The number of distinct values, estimated from the sample as Haas and Stokes do; negative: a share of the rows.
fn distinct(groups: &[(usize, usize)], sampled: usize, table_rows: u64) -> f32 {
    let distinct = groups.len() as f64;
    let once = groups.iter().filter(|(_, count)| *count == 1).count() as f64;
    if once as usize == sampled {
        return -1.0;
    }
    let (n, rows) = (sampled as f64, (table_rows as f64).max(sampled as f64));
    let estimate = if once == 0.0 { distinct } else { n * distinct / (n - once + once * n / rows) };
    let estimate = estimate.clamp(distinct, rows).round();
    if estimate > 0.1 * rows { (-estimate / rows) as f32 } else { estimate as f32 }
}

/// Correlation of value order and storage order.
fn correlation(sorted: &[(usize, &Datum)]) -> f32 {
    let n = sorted.len() as f64;
    if sorted.len() < 2 {
        return 1.0;
    }
    let mut positions: Vec<(usize, usize)> =
        sorted.iter().enumerate().map(|(rank, (at, _))| (*at, rank)).collect();
    positions.sort_unstable();
    let sum: f64 = positions.iter().enumerate().map(|(i, (_, rank))| i as f64 * *rank as f64).sum();
    let mean = (n - 1.0) / 2.0;
    let variance = (n * n - 1.0) / 12.0;
    ((sum / n - mean * mean) / variance) as f32
}
