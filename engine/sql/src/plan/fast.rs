//! The fast path: single-table queries without DataFusion and without Arrow.
//!
//! Rows go from the store's bytes to the sink column by column; a column that the query returns as it is
//! stored is never decoded. Conditions and computed columns are evaluated by [`CompiledExpr`].
//!
//! A query is planned here when its order, if it wants one, is that of the access path.

use std::collections::VecDeque;
use std::sync::Arc;

use shardforge_kv::{IsolationLevel, LockStrength};
use shardforge_types::{Datum, Oid, PgError, PgResult, SqlState};

use super::context::{ExecContext, Progress};
use super::locking::{LockedRow, lock_row};
use super::single::{Base, SingleTable};
use super::sink::{Field, OutputRow, RowSink};
use crate::exec::eval::{CompiledExpr, NoRow, RowSource};
use crate::ir::{Col, ColId, RowWait, Scalar, ScalarKind, Scan};
use crate::storage::{AccessPath, ScanRow, StoredRow, TableLayout, TableScan, choose, order_of};

/// A planned single-table query.
pub struct FastSelect {
    /// What is read.
    pub source: FastSource,
    /// What the access path does not enforce.
    pub filter: Option<CompiledExpr>,
    /// Output columns.
    pub items: Vec<Item>,
    /// Types of the output columns.
    pub types: Arc<[Oid]>,
    limit: Option<CompiledExpr>,
    offset: Option<CompiledExpr>,
    lock: Option<(LockStrength, RowWait)>,
}

/// What a fast query reads.
pub enum FastSource {
    /// One row without columns.
    Unit,
    /// Literal rows.
    Values(Vec<Vec<CompiledExpr>>),
    /// A table.
    Table {
        /// The table.
        layout: Arc<TableLayout>,
        /// Which part of it.
        path: AccessPath,
        /// Backwards.
        reverse: bool,
    },
}

/// An output column.
pub enum Item {
    /// A column of the source by position.
    Column(usize),
    /// Computed.
    Expr(CompiledExpr),
}

impl FastSelect {
    /// Plans a single-table query. `Err` of the inner result says why it is not for the fast path.
    ///
    /// # Errors
    /// If an expression does not compile.
    pub fn plan(
        query: SingleTable<'_>,
        output: &[Col],
        layout_of: &dyn Fn(&Scan) -> PgResult<Arc<TableLayout>>,
    ) -> PgResult<Result<FastSelect, &'static str>> {
        let SingleTable { base, mut conjuncts, order, items, limit, offset, lock } = query;
        let constant = |scalar: Option<Scalar>| -> PgResult<Option<CompiledExpr>> {
            scalar.map(|s| CompiledExpr::compile(&s, &|_| None)).transpose()
        };
        let (limit, offset) = (constant(limit)?, constant(offset)?);
        let mut base_items = Vec::new();
        let (source, resolve): (FastSource, Box<dyn Fn(ColId) -> Option<usize> + '_>) = match base {
            Base::Unit => (FastSource::Unit, Box::new(|_| None)),
            Base::Values(cols, rows) => {
                if !order.is_empty() {
                    return Ok(Err("sorted values"));
                }
                let rows = rows
                    .iter()
                    .map(|row| row.iter().map(|s| CompiledExpr::compile(s, &|_| None)).collect())
                    .collect::<PgResult<_>>()?;
                base_items.extend(cols.iter().copied());
                let position = move |id| cols.iter().position(|col| col.id == id);
                (FastSource::Values(rows), Box::new(position))
            }
            Base::Table(scan) => {
                let layout = layout_of(scan)?;
                base_items.extend(scan.cols.iter().map(|(col, _)| *col));
                base_items.extend(scan.row_key);
                base_items.extend(scan.tableoid);
                let resolve = move |id| scan_position(scan, id);
                let column_of = |id| resolve(id).filter(|position| *position < scan.table.columns.len());
                let (path, enforced) = choose(&layout, &conjuncts, &column_of, &order)?;
                let Some(reverse) = order_of(&layout, &path, &order, &column_of) else {
                    return Ok(Err("order needs a sort"));
                };
                let mut position = 0;
                conjuncts.retain(|_| {
                    position += 1;
                    !enforced.contains(&(position - 1))
                });
                (FastSource::Table { layout, path, reverse }, Box::new(resolve))
            }
        };
        let items = items.unwrap_or_else(|| {
            base_items.into_iter().map(|col| (col, Scalar::column(col.id, col.ty))).collect()
        });
        let types = output.iter().map(|col| col.ty.oid).collect();
        let items = output
            .iter()
            .map(|col| {
                items
                    .iter()
                    .find(|(item, _)| item.id == col.id)
                    .map(|(_, scalar)| scalar.clone())
                    .ok_or_else(|| PgError::internal("the query does not produce an output column"))
            })
            .collect::<PgResult<Vec<_>>>()?
            .into_iter()
            .map(|scalar| match scalar.kind {
                ScalarKind::Column(id) if resolve(id).is_some() => {
                    Ok(Item::Column(resolve(id).unwrap_or_default()))
                }
                _ => Ok(Item::Expr(CompiledExpr::compile(&scalar, &*resolve)?)),
            })
            .collect::<PgResult<_>>()?;
        let filter = match conjuncts.is_empty() {
            true => None,
            false => Some(CompiledExpr::compile(&Scalar::and(conjuncts), &*resolve)?),
        };
        drop(resolve);
        Ok(Ok(FastSelect { source, filter, items, types, limit, offset, lock }))
    }

    /// True if at most one row of one table is read, by its key.
    pub fn is_point(&self) -> bool {
        matches!(&self.source, FastSource::Table { path, .. } if path.point && path.alternatives.is_empty())
    }

    /// See [`super::QueryPlan::can_go_back`].
    pub fn can_go_back(&self) -> bool {
        self.lock.is_none() && !matches!(self.source, FastSource::Unit)
    }

    /// True if LIMIT or OFFSET is given: the rows read are not all that the filter selects.
    pub fn is_limited(&self) -> bool {
        self.limit.is_some() || self.offset.is_some()
    }
}

impl FastSelect {
    /// The plan as EXPLAIN shows it.
    pub fn explain(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut indent = String::new();
        if self.limit.is_some() || self.offset.is_some() {
            lines.push("Limit".to_owned());
            indent = "  ->  ".to_owned();
        }
        let pad = " ".repeat(indent.len() + 2);
        match &self.source {
            FastSource::Unit => lines.push(format!("{indent}Result (fast path)")),
            FastSource::Values(rows) => {
                lines.push(format!("{indent}Values Scan (fast path, {} rows)", rows.len()));
            }
            FastSource::Table { layout, path, reverse } => {
                let table = &layout.table.name;
                let index = match path.index {
                    Some(i) => Some(layout.index_desc(&layout.indexes[i])),
                    None if layout.key.is_some() && !path.is_full() => layout.table.primary_key(),
                    None => None,
                };
                let back = if *reverse { " Backward" } else { "" };
                lines.push(match (index, path.point) {
                    (Some(index), true) if path.alternatives.is_empty() => {
                        format!("{indent}Point Get using {} on {table} (fast path)", index.name)
                    }
                    (Some(index), true) => {
                        format!("{indent}Batch Get using {} on {table} (fast path)", index.name)
                    }
                    (Some(index), false) => {
                        format!("{indent}Index Scan{back} using {} on {table} (fast path)", index.name)
                    }
                    (None, _) => format!("{indent}Seq Scan{back} on {table} (fast path)"),
                });
                if let Some(index) = index
                    && !path.is_full()
                {
                    let columns = index.columns.iter().take(path.prefix.len() + 1).map(|c| match &c.key {
                        crate::catalog::IndexKey::Column(attnum) => layout.table.column(*attnum).name.clone(),
                        crate::catalog::IndexKey::Expression(sql) => sql.clone(),
                    });
                    let columns: Vec<String> = columns.collect();
                    lines.push(format!("{pad}Key: {}", columns.join(", ")));
                }
            }
        }
        if self.filter.is_some() {
            lines.push(format!("{pad}Filter: yes"));
        }
        if self.lock.is_some() {
            lines.insert(0, "LockRows".to_owned());
            for line in &mut lines[1..] {
                line.insert_str(0, "  ");
            }
        }
        lines
    }
}

/// Position of a scan's column in a [`SourceRow`]: table columns first, then the row key, then tableoid.
pub fn scan_position(scan: &Scan, id: ColId) -> Option<usize> {
    if let Some((_, attnum)) = scan.cols.iter().find(|(col, _)| col.id == id) {
        return Some(*attnum as usize - 1);
    }
    let columns = scan.table.columns.len();
    if scan.row_key.is_some_and(|col| col.id == id) {
        return Some(columns);
    }
    scan.tableoid.is_some_and(|col| col.id == id).then_some(columns + 1)
}

/// A stored row with its system columns.
pub struct SourceRow<'a> {
    stored: StoredRow<'a>,
    layout: &'a TableLayout,
    key: &'a [u8],
}

impl<'a> SourceRow<'a> {
    /// Views a row read by a scan.
    ///
    /// # Errors
    /// XX001 if the bytes are damaged.
    pub fn new(layout: &'a TableLayout, row: &'a ScanRow) -> PgResult<SourceRow<'a>> {
        Ok(SourceRow { stored: layout.view(&row.value)?, layout, key: &row.key })
    }
}

impl RowSource for SourceRow<'_> {
    fn column(&self, index: usize) -> PgResult<Datum> {
        match index.checked_sub(self.layout.types.len()) {
            None => self.stored.column(index),
            Some(0) => Ok(Datum::bytea(self.key)),
            Some(_) => Ok(Datum::Oid(self.layout.table.oid.0)),
        }
    }
}

/// A fast query being run.
pub struct FastCursor {
    plan: Arc<FastSelect>,
    scan: Option<TableScan>,
    page: VecDeque<ScanRow>,
    next_value: usize,
    skip: u64,
    left: u64,
}

impl FastCursor {
    /// Evaluates the keys, LIMIT and OFFSET.
    ///
    /// # Errors
    /// What these expressions raise; 2201W and 2201X for negative ones.
    pub fn start(plan: Arc<FastSelect>, cx: &ExecContext) -> PgResult<FastCursor> {
        let scan = match &plan.source {
            FastSource::Table { layout, path, reverse } => Some(cx.scan(layout, path, *reverse)?),
            FastSource::Unit | FastSource::Values(_) => None,
        };
        let skip = count(
            plan.offset.as_ref(),
            &NoRow,
            cx,
            SqlState::INVALID_ROW_COUNT_IN_RESULT_OFFSET_CLAUSE,
            "OFFSET",
        )?;
        let left =
            count(plan.limit.as_ref(), &NoRow, cx, SqlState::INVALID_ROW_COUNT_IN_LIMIT_CLAUSE, "LIMIT")?;
        let (skip, left) = (skip.unwrap_or(0), left.unwrap_or(u64::MAX));
        Ok(FastCursor { plan, scan, page: VecDeque::new(), next_value: 0, skip, left })
    }

    /// Sends up to `max` rows, or fewer: what is there without a long wait.
    ///
    /// # Errors
    /// What expressions, locks and the store raise.
    pub async fn fetch(
        &mut self,
        cx: &ExecContext,
        max: usize,
        sink: &mut dyn RowSink,
    ) -> PgResult<Progress> {
        let mut sent = 0;
        let plan = self.plan.clone();
        let done = |rows| Ok(Progress { rows, done: true });
        match &plan.source {
            FastSource::Unit | FastSource::Values(_) => {
                let unit = [Vec::new()];
                let rows = if let FastSource::Values(rows) = &plan.source { &rows[..] } else { &unit[..] };
                while sent < max && self.left > 0 {
                    let Some(row) = rows.get(self.next_value) else { return done(sent) };
                    self.next_value += 1;
                    let values = row
                        .iter()
                        .map(|e| e.eval(&NoRow, &cx.params, &cx.env))
                        .collect::<PgResult<Vec<_>>>()?;
                    if plan.passes(&values, cx)? && self.count_in() {
                        sink.row(&FastRow { plan: &plan, row: &values, stored: None, cx })?;
                        sent += 1;
                    }
                }
                Ok(Progress { rows: sent, done: self.left == 0 || self.next_value >= rows.len() })
            }
            FastSource::Table { layout, .. } => {
                while sent < max && self.left > 0 {
                    let Some(mut row) = self.page.pop_front() else {
                        let Some(scan) = self.scan.as_mut().filter(|scan| !scan.is_done()) else {
                            return done(sent);
                        };
                        if sent > 0 && self.page.is_empty() && !plan.is_point() && sent >= PAGE_SENT_MIN {
                            break;
                        }
                        let wanted = plan.page_rows(self.skip.saturating_add(self.left), max);
                        let mut rows = Vec::new();
                        scan.next_page(&cx.txn, wanted, &mut rows).await?;
                        self.page = rows.into();
                        continue;
                    };
                    if !plan.passes(&SourceRow::new(layout, &row)?, cx)? {
                        continue;
                    }
                    if let Some((strength, wait)) = plan.lock
                        && !Box::pin(plan.lock_row(layout, &mut row, strength, wait, cx)).await?
                    {
                        continue;
                    }
                    // What OFFSET skips is locked too, as in PostgreSQL.
                    if self.skip > 0 {
                        self.skip -= 1;
                        continue;
                    }
                    self.left -= 1;
                    let source = SourceRow::new(layout, &row)?;
                    sink.row(&FastRow { plan: &plan, row: &source, stored: Some(&source.stored), cx })?;
                    sent += 1;
                }
                let exhausted = self.page.is_empty() && self.scan.as_ref().is_none_or(TableScan::is_done);
                Ok(Progress { rows: sent, done: self.left == 0 || exhausted })
            }
        }
    }

    /// Counts a row against OFFSET and LIMIT; false if OFFSET skips it.
    fn count_in(&mut self) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.left -= 1;
        true
    }
}

impl FastSelect {
    fn passes(&self, row: &dyn RowSource, cx: &ExecContext) -> PgResult<bool> {
        match &self.filter {
            None => Ok(true),
            Some(filter) => Ok(filter.eval(row, &cx.params, &cx.env)? == Datum::Bool(true)),
        }
    }

    /// Locks a row and re-reads it; false if it is gone, no longer matches, or is skipped.
    async fn lock_row(
        &self,
        layout: &TableLayout,
        row: &mut ScanRow,
        strength: LockStrength,
        wait: RowWait,
        cx: &ExecContext,
    ) -> PgResult<bool> {
        let Some(LockedRow { moved_to, outcome }) = lock_row(cx, layout, &row.key, strength, wait).await?
        else {
            return Ok(false);
        };
        if !outcome.changed {
            return Ok(true);
        }
        debug_assert!(outcome.own || cx.isolation == IsolationLevel::ReadCommitted);
        let Some(value) = outcome.current else { return Ok(false) };
        row.value = value;
        let has_moved = moved_to.is_some();
        if let Some(key) = moved_to {
            row.key = key;
        }
        let newest = SourceRow::new(layout, row)?;
        // The path's own conditions are part of the key or index that led here: check them again too.
        Ok(self.passes(&newest, cx)? && self.still_on_path(layout, row, has_moved, cx)?)
    }

    /// Whether a row that changed meanwhile still satisfies the conditions that the access path enforced.
    fn still_on_path(
        &self,
        layout: &TableLayout,
        row: &ScanRow,
        has_moved: bool,
        cx: &ExecContext,
    ) -> PgResult<bool> {
        let FastSource::Table { path, .. } = &self.source else { return Ok(true) };
        let spans = || path.spans(layout, &cx.params, &cx.env);
        let Some(index) = path.index else {
            return Ok(!has_moved || spans()?.iter().any(|span| span.contains(&row.key)));
        };
        let values = layout.decode(&row.value)?;
        let Some(entry) = layout.indexes[index].entry(&values, &row.key, &cx.env)? else { return Ok(false) };
        Ok(spans()?.iter().any(|span| span.contains(&entry.key)))
    }

    fn page_rows(&self, needed: u64, max: usize) -> usize {
        if self.filter.is_some() {
            return PAGE_ROWS;
        }
        usize::try_from(needed).unwrap_or(usize::MAX).min(max).min(PAGE_ROWS)
    }
}

/// A row of the result: stored columns pass through undecoded, others are computed.
struct FastRow<'a> {
    plan: &'a FastSelect,
    row: &'a dyn RowSource,
    stored: Option<&'a StoredRow<'a>>,
    cx: &'a ExecContext,
}

impl OutputRow for FastRow<'_> {
    fn columns(&self) -> usize {
        self.plan.items.len()
    }

    fn field(&self, index: usize, emit: &mut dyn FnMut(Field<'_>) -> PgResult<()>) -> PgResult<()> {
        let value = match &self.plan.items[index] {
            Item::Column(position) => {
                if let Some(bytes) = self.stored.and_then(|row| row.stored(*position)) {
                    return emit(bytes?.map_or(Field::Null, Field::Stored));
                }
                self.row.column(*position)?
            }
            Item::Expr(expr) => expr.eval(self.row, &self.cx.params, &self.cx.env)?,
        };
        emit(if value.is_null() { Field::Null } else { Field::Value(&value) })
    }
}

/// Evaluates LIMIT or OFFSET over a row; `None` if absent or NULL.
pub fn count(
    expr: Option<&CompiledExpr>,
    row: &dyn RowSource,
    cx: &ExecContext,
    state: SqlState,
    clause: &str,
) -> PgResult<Option<u64>> {
    let Some(expr) = expr else { return Ok(None) };
    match expr.eval(row, &cx.params, &cx.env)? {
        Datum::Null => Ok(None),
        value => match value.as_i64().map(u64::try_from) {
            Some(Ok(count)) => Ok(Some(count)),
            _ => Err(PgError::new(state, format!("{clause} must not be negative"))),
        },
    }
}

/// Rows read at a time.
const PAGE_ROWS: usize = 1000;
/// A fetch that has sent this many rows returns rather than read another page, so that the connection
/// can drain.
const PAGE_SENT_MIN: usize = 256;
