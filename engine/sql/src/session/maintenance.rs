//! VACUUM and ANALYZE.
//!
//! Old versions are collected in the background, where writes are known to have left some. VACUUM looks everywhere
//! in its tables, and removes at once what no snapshot needs.
//! ANALYZE reads a sample of each table's rows and keeps per column what PostgreSQL keeps: the share of NULLs,
//! the number of distinct values, the most common ones, a histogram of the rest, and the correlation with
//! the storage order.

use std::sync::Arc;

use shardforge_kv::{ObjectLockMode, Visibility};
use shardforge_types::{Datum, Oid, PgError, PgResult, Severity, SqlState};

use super::PgSession;
use super::error::from_kv;
use super::execute::Execution;
use crate::catalog::builtin::{BTREE_AM, builtin};
use crate::catalog::{Change, ColumnStats, IndexDesc, IndexState, Relation, TableDesc, TableStats};
use crate::exec::env::Host;
use crate::func;
use crate::parse::ast::{Name, ReindexKind, ReindexStmt, VacuumStmt};
use crate::storage::{ScanRow, TableScan, whole_range};

/// Rows in a sample: 300 times the default statistics target of 100.
const SAMPLE_ROWS: usize = 30_000;
/// Most common values and histogram bounds kept for a column.
const STATISTICS_TARGET: usize = 100;

/// 42601 for an option that the statement does not have.
fn check_options(stmt: &VacuumStmt) -> PgResult<()> {
    const BOTH: &[&str] = &["verbose", "skip_locked", "buffer_usage_limit"];
    const VACUUM: &[&str] = &[
        "analyze",
        "freeze",
        "full",
        "disable_page_skipping",
        "index_cleanup",
        "process_main",
        "process_toast",
        "truncate",
        "parallel",
        "skip_database_stats",
        "only_database_stats",
    ];
    for option in &stmt.options {
        let name = &*option.name;
        if BOTH.contains(&name) || (stmt.is_vacuum && VACUUM.contains(&name)) {
            continue;
        }
        let word = if stmt.is_vacuum { "VACUUM" } else { "ANALYZE" };
        let message = format!("unrecognized {word} option \"{name}\"");
        return Err(PgError::new(SqlState::SYNTAX_ERROR, message).at(option.pos));
    }
    Ok(())
}

impl PgSession {
    /// VACUUM, ANALYZE.
    ///
    /// # Errors
    /// Whatever reading the tables raises.
    pub(super) async fn vacuum(&mut self, stmt: &VacuumStmt) -> PgResult<Execution> {
        check_options(stmt)?;
        if stmt.is_vacuum {
            self.require_no_block("VACUUM")?;
        }
        let mut tables = Vec::new();
        if stmt.relations.is_empty() {
            let catalog = self.catalog();
            tables.extend(catalog.tables().map(|table| (table.clone(), Vec::new())));
            tables.sort_by_key(|(table, _)| table.oid);
        }
        for (name, columns) in &stmt.relations {
            match crate::ddl::find_relation(self, name)? {
                Relation::Table(table) => {
                    check_columns(&table, columns)?;
                    tables.push((table, columns.clone()));
                }
                other => {
                    let word = if stmt.is_vacuum { "vacuum" } else { "analyze" };
                    self.services.notice(PgError::with_severity(
                        Severity::Warning,
                        SqlState::WARNING,
                        format!(
                            "skipping \"{}\" --- cannot {word} non-tables or special system tables",
                            other.name()
                        ),
                    ));
                }
            }
        }
        if stmt.is_vacuum {
            self.collect_garbage(&tables).await?;
        }
        let analyze = !stmt.is_vacuum || stmt.options.iter().any(|option| &*option.name == "analyze");
        if analyze {
            for (table, _) in tables {
                let wait = self.lock_wait();
                self.lock_table(table.oid, ObjectLockMode::ShareUpdateExclusive, wait).await?;
                if let Some(table) = self.catalog().table(table.oid).cloned() {
                    let stats = self.analyze(&table).await?;
                    self.record(Change::Stats(table.oid, stats))?;
                }
            }
        }
        Ok(Execution::done(if stmt.is_vacuum { "VACUUM" } else { "ANALYZE" }))
    }

    async fn collect_garbage(&self, tables: &[(Arc<TableDesc>, Vec<Name>)]) -> PgResult<()> {
        for (table, _) in tables {
            // A clustering primary key is where the rows are.
            let indexes = table.indexes.iter().map(|index| index.storage).filter(|at| *at != table.storage);
            for storage in std::iter::once(table.storage).chain(indexes) {
                let (start, end) = whole_range(storage);
                self.engine.store.collect_garbage_in(&start, &end).await.map_err(from_kv)?;
            }
        }
        Ok(())
    }

    /// Makes indexes good that CREATE INDEX CONCURRENTLY has left behind.
    async fn make_indexes_valid(
        &mut self,
        table: &TableDesc,
        indexes: &[IndexDesc],
        concurrently: bool,
    ) -> PgResult<()> {
        for index in indexes.iter().filter(|index| index.state != IndexState::Public) {
            if concurrently {
                crate::ddl::make_valid(self, table.oid, index.oid).await?;
            } else {
                crate::ddl::make_anew(self, table.oid, index.oid).await?;
            }
        }
        Ok(())
    }

    fn skip_invalid_indexes(&self, table: &TableDesc) {
        let catalog = self.engine.catalog.snapshot(self.database);
        let schema = catalog.as_ref().and_then(|catalog| catalog.schemas.get(&table.schema));
        let schema = schema.map_or("", |schema| schema.name.as_str());
        for index in table.indexes.iter().filter(|index| index.state != IndexState::Public) {
            let message = format!("skipping reindex of invalid index \"{schema}.{}\"", index.name);
            let warning = PgError::with_severity(
                Severity::Warning,
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                message,
            );
            self.services.notice(warning.hint("Use DROP INDEX or REINDEX INDEX."));
        }
    }

    /// REINDEX: indexes do not bloat here, so that there is nothing to do for those that are valid.
    ///
    /// # Errors
    /// 42P01, 3F000, 42809 and 0A000 as PostgreSQL raises them; 23505 if rows are not unique.
    pub(super) async fn reindex(&mut self, stmt: &ReindexStmt) -> PgResult<Execution> {
        let concurrently = stmt.options.iter().any(|option| &*option.name == "concurrently");
        if concurrently {
            self.require_no_block("REINDEX CONCURRENTLY")?;
        }
        let wrong = |message: String| Err(PgError::new(SqlState::WRONG_OBJECT_TYPE, message));
        match (stmt.kind, &stmt.relation) {
            (ReindexKind::Index, Some(name)) => match crate::ddl::find_relation(self, name)? {
                Relation::Index(table, position) => {
                    let index = &table.indexes[position..=position];
                    self.make_indexes_valid(&table, index, concurrently).await?;
                }
                other => return wrong(format!("\"{}\" is not an index", other.name())),
            },
            (ReindexKind::Table, Some(name)) => match crate::ddl::find_relation(self, name)? {
                Relation::Table(table) if concurrently => self.skip_invalid_indexes(&table),
                Relation::Table(table) => self.make_indexes_valid(&table, &table.indexes, false).await?,
                other => return wrong(format!("\"{}\" is not a table or materialized view", other.name())),
            },
            (ReindexKind::Schema, Some(name)) => {
                if self.catalog().schema_by_name(&name.name).is_none() {
                    let message = format!("schema \"{}\" does not exist", name.name);
                    return Err(PgError::new(SqlState::INVALID_SCHEMA_NAME, message));
                }
            }
            (_, Some(name)) if *name.name != *self.database_name => {
                let message = "can only reindex the currently open database";
                return Err(PgError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
            }
            _ => {}
        }
        Ok(Execution::done("REINDEX"))
    }

    async fn analyze(&mut self, table: &Arc<TableDesc>) -> PgResult<TableStats> {
        let env = self.eval_env();
        let layout = self.engine.layout(table, &env.catalog)?;
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
                if sample.len() < SAMPLE_ROWS {
                    sample.push(row);
                } else {
                    let place = self.engine.runtime.next_u64() % rows;
                    if let Some(slot) = sample.get_mut(place as usize) {
                        *slot = row;
                    }
                }
            }
            self.check_canceled()?;
        }
        sample.sort_by(|a, b| a.key.cmp(&b.key));
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
}

fn check_columns(table: &TableDesc, columns: &[Name]) -> PgResult<()> {
    match columns.iter().find(|name| table.column_by_name(name).is_none()) {
        None => Ok(()),
        Some(name) => Err(PgError::new(
            SqlState::UNDEFINED_COLUMN,
            format!("column \"{name}\" of relation \"{}\" does not exist", table.name),
        )),
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
