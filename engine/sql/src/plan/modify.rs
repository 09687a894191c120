//! INSERT, UPDATE and DELETE.
//!
//! A writing statement reads its rows first (from the fast path or from DataFusion, at the statement's
//! snapshot), then locks, re-checks and writes each. Nothing is written before its row's lock is held, and
//! the statement never sees its own writes: its reads are at an earlier command number.
//!
//! Re-checking follows READ COMMITTED: when the locked row turns out newer than the snapshot, the WHERE
//! clause and the new values are evaluated again on the newest version of that row alone. Under REPEATABLE
//! READ the store answers such a lock with a serialization failure instead.
//!
//! Expressions of a writing statement see one row of three parts:
//!
//! ```text
//!   0 .. n            the old row, by column position
//!   n .. 2n           the new row (for ON CONFLICT DO UPDATE: the row proposed, EXCLUDED)
//!   2n ..             columns of FROM / USING, or of INSERT's source
//! ```

use std::sync::Arc;

use bytes::Bytes;
use shardforge_kv::{IsolationLevel, LockOutcome, LockStrength, Visibility};
use shardforge_types::{Datum, Oid, PgError, PgResult, SqlState};

use super::context::ExecContext;
use super::fast::FastSource;
use super::query::{QueryCursor, QueryPlan};
use super::rows::{KeySet, RowBuffer};
use super::sink::Collect;
use crate::exec::eval::CompiledExpr;
use crate::ir::{Col, ColId, Modify, ModifyOp, OnConflict};
use crate::ri;
use crate::session::error::from_kv;
use crate::storage::{InsertOutcome, TableLayout, TableScan, TableWriter};

/// A planned INSERT, UPDATE or DELETE.
pub struct ModifyPlan {
    /// The table written.
    pub layout: Arc<TableLayout>,
    /// Yields the rows to insert, or the row keys to change.
    pub source: QueryPlan,
    /// What to do with them.
    pub op: ModifyKind,
    /// RETURNING, over the three-part row.
    pub returning: Vec<CompiledExpr>,
    /// There is a RETURNING clause.
    pub returns: bool,
    source_width: usize,
}

/// The kinds of writes.
pub enum ModifyKind {
    /// INSERT.
    Insert {
        /// Column positions and their values, over the source's columns (part three).
        values: Vec<(usize, CompiledExpr)>,
        /// ON CONFLICT.
        conflict: Option<ConflictPlan>,
    },
    /// UPDATE.
    Update {
        /// Position of the row key in the source.
        row_key: usize,
        /// Column positions and their new values.
        assignments: Vec<(usize, CompiledExpr)>,
        /// WHERE, for rows that changed meanwhile.
        recheck: Option<CompiledExpr>,
    },
    /// DELETE.
    Delete {
        /// Position of the row key in the source.
        row_key: usize,
        /// WHERE, for rows that changed meanwhile.
        recheck: Option<CompiledExpr>,
    },
}

/// ON CONFLICT.
pub struct ConflictPlan {
    /// Positions of the arbiter indexes in the table's list; empty: all.
    arbiters: Vec<usize>,
    /// DO UPDATE: assignments and WHERE.
    update: Option<(Vec<(usize, CompiledExpr)>, Option<CompiledExpr>)>,
}

/// What a writing statement did.
pub struct ModifyResult {
    /// Rows written, for the command tag.
    pub count: u64,
    /// RETURNING's rows.
    pub rows: RowBuffer,
    /// Some row was locked and then not overwritten.
    passed_over: bool,
}

impl ModifyPlan {
    /// Plans a write; `plan_source` plans the query that feeds it and answers its output columns.
    ///
    /// # Errors
    /// If an expression does not compile.
    pub fn plan(
        modify: &Modify,
        layout: Arc<TableLayout>,
        plan_source: &mut dyn FnMut(&crate::ir::Rel) -> PgResult<(QueryPlan, Vec<Col>)>,
    ) -> PgResult<ModifyPlan> {
        let source_rel = match &modify.op {
            ModifyOp::Insert { source, .. }
            | ModifyOp::Update { source, .. }
            | ModifyOp::Delete { source, .. } => source,
        };
        let (source, source_cols) = plan_source(source_rel)?;
        let n = layout.types.len();
        let excluded: &[(Col, i16)] = match &modify.op {
            ModifyOp::Insert { on_conflict: Some(OnConflict { update: Some(update), .. }), .. } => {
                &update.excluded
            }
            _ => &[],
        };
        let position_in = |cols: &[(Col, i16)], id: ColId| {
            cols.iter().find(|(col, _)| col.id == id).map(|(_, attnum)| *attnum as usize - 1)
        };
        let resolve = |id: ColId| {
            position_in(&modify.old_cols, id)
                .or_else(|| position_in(&modify.new_cols, id).map(|p| n + p))
                .or_else(|| position_in(excluded, id).map(|p| n + p))
                .or_else(|| source_cols.iter().position(|col| col.id == id).map(|p| 2 * n + p))
        };
        let compile = |scalar: &crate::ir::Scalar| CompiledExpr::compile(scalar, &resolve);
        let assignments = |list: &[(i16, crate::ir::Scalar)]| -> PgResult<Vec<(usize, CompiledExpr)>> {
            list.iter().map(|(attnum, scalar)| Ok((*attnum as usize - 1, compile(scalar)?))).collect()
        };
        let key_position = |id: ColId| {
            source_cols
                .iter()
                .position(|col| col.id == id)
                .ok_or_else(|| PgError::internal("the source of a write has no row key"))
        };
        let op = match &modify.op {
            ModifyOp::Insert { values, on_conflict, .. } => ModifyKind::Insert {
                values: assignments(values)?,
                conflict: on_conflict
                    .as_ref()
                    .map(|conflict| -> PgResult<ConflictPlan> {
                        let arbiters = conflict.arbiters.iter().map(|oid| index_position(&layout, *oid));
                        let update = match &conflict.update {
                            None => None,
                            Some(update) => Some((
                                assignments(&update.assignments)?,
                                update.filter.as_ref().map(&compile).transpose()?,
                            )),
                        };
                        Ok(ConflictPlan { arbiters: arbiters.collect::<PgResult<_>>()?, update })
                    })
                    .transpose()?,
            },
            ModifyOp::Update { row_key, assignments: list, recheck, .. } => ModifyKind::Update {
                row_key: key_position(*row_key)?,
                assignments: assignments(list)?,
                recheck: recheck.as_ref().map(&compile).transpose()?,
            },
            ModifyOp::Delete { row_key, recheck, .. } => ModifyKind::Delete {
                row_key: key_position(*row_key)?,
                recheck: recheck.as_ref().map(&compile).transpose()?,
            },
        };
        let returning = modify.returning.iter().map(|(_, s)| compile(s)).collect::<PgResult<Vec<_>>>()?;
        let returns = !returning.is_empty();
        Ok(ModifyPlan { layout, source, op, returning, returns, source_width: source_cols.len() })
    }

    /// The plan as EXPLAIN shows it.
    pub fn explain(&self, word: &str, verbose: bool) -> Vec<String> {
        let mut chars = word.chars();
        let title: String = chars.next().into_iter().chain(chars.flat_map(char::to_lowercase)).collect();
        let mut lines = vec![format!("{title} on {}", self.layout.table.name)];
        for (i, line) in self.source.explain(verbose).into_iter().enumerate() {
            lines.push(if i == 0 { format!("  ->  {line}") } else { format!("      {line}") });
        }
        lines
    }

    /// Runs the statement to its end.
    ///
    /// Rows that it overwrites may come from commits that are not durable yet. Whatever tells the client more of
    /// them than their number (values, errors, rows that do not qualify any more) waits until they are.
    ///
    /// # Errors
    /// What expressions, constraints, locks and the store raise.
    pub async fn run(&self, cx: &ExecContext) -> PgResult<ModifyResult> {
        let outcome = self.change_rows(cx).await;
        if self.returns || outcome.as_ref().map_or(true, |result| result.passed_over) {
            cx.txn.settle().await.map_err(from_kv)?;
        }
        outcome
    }

    async fn change_rows(&self, cx: &ExecContext) -> PgResult<ModifyResult> {
        let mut run = Run {
            plan: self,
            cx,
            writer: TableWriter::new(cx, &self.layout),
            result: ModifyResult {
                count: 0,
                rows: RowBuffer::new(&cx.engine, "RETURNING"),
                passed_over: false,
            },
            seen: KeySet::new(&cx.engine, "rows written"),
            old: Vec::new(),
        };
        if let Some(key) = self.single_key(cx)? {
            let source = vec![Datum::Null; self.source_width];
            run.lock_and_change(key, source, true).await?;
            return Ok(run.result);
        }
        let mut cursor = QueryCursor::start(&self.source, cx).await?;
        loop {
            let mut batch = Collect::new(self.source.types());
            let progress = cursor.fetch(cx, SOURCE_ROWS, &mut batch).await?;
            match &self.op {
                ModifyKind::Insert { values, conflict: None } => run.insert_all(batch.rows, values).await?,
                ModifyKind::Insert { values, conflict: Some(conflict) } => {
                    for row in batch.rows {
                        run.insert(row, values, conflict).await?;
                    }
                }
                ModifyKind::Update { row_key, .. } | ModifyKind::Delete { row_key, .. } => {
                    run.change_all(batch.rows, *row_key).await?;
                }
            }
            cx.env.session.host.check_canceled()?;
            ri::during_statement(cx).await?;
            if progress.done {
                return Ok(run.result);
            }
        }
    }

    /// The key of the only row that an UPDATE or DELETE can touch, when it is known before reading. Such a
    /// statement locks first and reads the newest version at once; in READ COMMITTED that is as if it had
    /// begun at that moment.
    fn single_key(&self, cx: &ExecContext) -> PgResult<Option<Bytes>> {
        if cx.isolation != IsolationLevel::ReadCommitted || matches!(self.op, ModifyKind::Insert { .. }) {
            return Ok(None);
        }
        let QueryPlan::Fast(select) = &self.source else { return Ok(None) };
        let FastSource::Table { layout, path, .. } = &select.source else { return Ok(None) };
        if !select.is_point() || select.is_limited() || layout.table.oid != self.layout.table.oid {
            return Ok(None);
        }
        let scan = TableScan::start(layout, path, false, Visibility::Statement, &cx.params, &cx.env)?;
        Ok(scan.single_key())
    }
}

struct Run<'a> {
    plan: &'a ModifyPlan,
    cx: &'a ExecContext,
    writer: TableWriter<'a>,
    result: ModifyResult,
    /// Rows that this statement has changed already.
    seen: KeySet,
    old: Vec<Datum>,
}

impl Run<'_> {
    async fn insert_all(
        &mut self,
        sources: Vec<Vec<Datum>>,
        values: &[(usize, CompiledExpr)],
    ) -> PgResult<()> {
        let mut rows = Vec::with_capacity(sources.len());
        let mut kept = Vec::new();
        let mut failed = Ok(());
        for source in sources {
            match self.new_row(source, values) {
                Ok((new, source)) => {
                    rows.push(new);
                    if self.plan.returns {
                        kept.push(source);
                    }
                }
                // Reported when the rows before it are in: one of them may have an error of its own.
                Err(error) => {
                    failed = Err(error);
                    break;
                }
            }
        }
        self.writer.insert_many(&mut rows).await.map_err(|failed| failed.error)?;
        failed?;
        if !self.plan.returns {
            self.result.count += rows.len() as u64;
            return Ok(());
        }
        let n = self.plan.layout.types.len();
        for (new, source) in rows.into_iter().zip(kept) {
            self.count(vec![Datum::Null; n], new, source)?;
        }
        Ok(())
    }

    /// The row that INSERT makes of a source row, and the source row.
    fn new_row(
        &mut self,
        source: Vec<Datum>,
        values: &[(usize, CompiledExpr)],
    ) -> PgResult<(Vec<Datum>, Vec<Datum>)> {
        let n = self.plan.layout.types.len();
        let row = &mut self.old;
        row.clear();
        row.resize(2 * n, Datum::Null);
        row.extend(source);
        let mut new = vec![Datum::Null; n];
        for (position, expr) in values {
            new[*position] = expr.eval(&*row, &self.cx.params, &self.cx.env)?;
        }
        Ok((new, row.split_off(2 * n)))
    }

    async fn insert(
        &mut self,
        source: Vec<Datum>,
        values: &[(usize, CompiledExpr)],
        conflict: &ConflictPlan,
    ) -> PgResult<()> {
        let (mut new, source) = self.new_row(source, values)?;
        let arbiter = |index: usize| conflict.arbiters.is_empty() || conflict.arbiters.contains(&index);
        let strength = match &conflict.update {
            None => LockStrength::KeyShare,
            Some((assignments, _)) if self.changes_key(assignments) => LockStrength::Update,
            Some(_) => LockStrength::NoKeyUpdate,
        };
        match self.writer.insert(&mut new, &arbiter, strength).await? {
            InsertOutcome::Inserted(key) => {
                if conflict.update.is_some() {
                    self.seen.insert(key)?;
                }
                self.count(vec![Datum::Null; new.len()], new, source)
            }
            InsertOutcome::Conflict { row_key } => match &conflict.update {
                None => {
                    self.result.passed_over = true;
                    Ok(())
                }
                Some((assignments, filter)) => {
                    self.update_conflicting(row_key, new, source, assignments, filter.as_ref()).await
                }
            },
        }
    }

    async fn update_conflicting(
        &mut self,
        row_key: Bytes,
        excluded: Vec<Datum>,
        source: Vec<Datum>,
        assignments: &[(usize, CompiledExpr)],
        filter: Option<&CompiledExpr>,
    ) -> PgResult<()> {
        if self.seen.contains(&row_key) {
            return Err(PgError::new(
                SqlState::CARDINALITY_VIOLATION,
                "ON CONFLICT DO UPDATE command cannot affect row a second time",
            )
            .hint(
                "Ensure that no rows proposed for insertion within the same command have duplicate constrained values.",
            ));
        }
        let Some(current) = self.writer.lock(&row_key, LockStrength::NoKeyUpdate).await?.current else {
            return Err(PgError::new(
                SqlState::T_R_SERIALIZATION_FAILURE,
                "could not serialize access due to concurrent update",
            ));
        };
        let old = self.plan.layout.decode(&current)?;
        let mut row = old.clone();
        row.extend(excluded);
        row.extend_from_slice(&source);
        if let Some(filter) = filter
            && filter.eval(&row, &self.cx.params, &self.cx.env)? != Datum::Bool(true)
        {
            self.result.passed_over = true;
            return Ok(());
        }
        let mut new = old.clone();
        for (position, expr) in assignments {
            new[*position] = expr.eval(&row, &self.cx.params, &self.cx.env)?;
        }
        let key = self.writer.update(&row_key, &old, &mut new).await?;
        self.seen.insert(key)?;
        self.count(old, new, source)
    }

    /// Updates or deletes the rows of a batch, each once.
    async fn change_all(&mut self, rows: Vec<Vec<Datum>>, row_key: usize) -> PgResult<()> {
        let mut keys = Vec::with_capacity(rows.len());
        let mut sources = Vec::with_capacity(rows.len());
        for row in rows {
            if let Datum::Bytea(key) = &row[row_key] {
                let key = Bytes::copy_from_slice(key);
                if !self.seen.contains(&key) {
                    keys.push(key);
                    sources.push(row);
                }
            }
        }
        let outcomes = match self.strength_of_all() {
            Some(strength) => {
                let locked = self.writer.lock_many(&keys, strength).await?;
                locked.into_iter().map(|outcome| Some((strength, outcome))).collect()
            }
            None => vec![None; keys.len()],
        };
        for ((key, source), outcome) in keys.into_iter().zip(sources).zip(outcomes) {
            // The batch may hold a row twice.
            if self.seen.contains(&key) {
                continue;
            }
            match outcome {
                Some(locked) => self.change(key, source, locked, false).await?,
                None => self.lock_and_change(key, source, false).await?,
            }
        }
        Ok(())
    }

    async fn lock_and_change(&mut self, key: Bytes, source: Vec<Datum>, locked_first: bool) -> PgResult<()> {
        let strength = self.strength(&key, &source).await?;
        let outcome = self.writer.lock(&key, strength).await?;
        self.change(key, source, (strength, outcome), locked_first).await
    }

    /// Whether WITH has changed a row already: a statement changes a row once.
    async fn is_changed_by_statement(&self, key: &[u8], current: &Bytes) -> PgResult<bool> {
        if self.cx.written.is_empty() {
            return Ok(false);
        }
        let before = self.cx.txn.get(key, self.cx.visibility).await.map_err(from_kv)?;
        Ok(before.as_ref() != Some(current))
    }

    /// Updates or deletes one row, which is locked. `locked_first`: the source was not read, so the conditions that
    /// it would have checked still have to be.
    async fn change(
        &mut self,
        mut key: Bytes,
        source: Vec<Datum>,
        (strength, mut outcome): (LockStrength, LockOutcome),
        locked_first: bool,
    ) -> PgResult<()> {
        let plan = self.plan;
        if outcome.changed
            && let Some(now) = self.writer.follow(&key, strength).await?
        {
            (key, outcome) = now;
        }
        let Some(current) = outcome.current else {
            self.result.passed_over = true;
            return Ok(());
        };
        if outcome.own && self.is_changed_by_statement(&key, &current).await? {
            self.result.passed_over = true;
            return Ok(());
        }
        let check_again = outcome.changed || locked_first;
        let looks_at_row = match &plan.op {
            ModifyKind::Delete { recheck, .. } => {
                plan.returns || !self.writer.deletes_by_key() || (check_again && recheck.is_some())
            }
            ModifyKind::Insert { .. } | ModifyKind::Update { .. } => true,
        };
        let old = if looks_at_row { plan.layout.decode(&current)? } else { Vec::new() };
        let n = plan.layout.types.len();
        let mut row = std::mem::take(&mut self.old);
        row.clear();
        row.extend_from_slice(&old);
        row.resize(2 * n, Datum::Null);
        row.extend(source);
        let (assignments, recheck) = match &plan.op {
            ModifyKind::Update { assignments, recheck, .. } => (Some(assignments), recheck),
            ModifyKind::Delete { recheck, .. } => (None, recheck),
            ModifyKind::Insert { .. } => return Err(PgError::internal("an insert changes no rows")),
        };
        if check_again
            && let Some(recheck) = recheck
            && recheck.eval(&row, &self.cx.params, &self.cx.env)? != Datum::Bool(true)
        {
            self.result.passed_over = true;
            self.old = row;
            return Ok(());
        }
        let remember = !locked_first && !matches!(plan.source, QueryPlan::Fast(_));
        let new = match assignments {
            None => {
                self.writer.delete(&key, &old).await?;
                if remember {
                    self.seen.insert(key)?;
                }
                vec![Datum::Null; n]
            }
            Some(assignments) => {
                let mut new = old.clone();
                for (position, expr) in assignments {
                    new[*position] = expr.eval(&row, &self.cx.params, &self.cx.env)?;
                }
                self.writer.update(&key, &old, &mut new).await?;
                if remember {
                    self.seen.insert(key)?;
                }
                new
            }
        };
        if !plan.returns {
            self.result.count += 1;
            self.old = row;
            return Ok(());
        }
        let source = row.split_off(2 * n);
        self.count(old, new, source)
    }

    /// Whether an update assigns to columns that a foreign key could reference.
    fn changes_key(&self, assignments: &[(usize, CompiledExpr)]) -> bool {
        assignments.iter().any(|(position, _)| self.plan.layout.key_columns.contains(position))
    }

    /// How strongly to lock any row before it is changed, if that is the same for all.
    fn strength_of_all(&self) -> Option<LockStrength> {
        match &self.plan.op {
            ModifyKind::Update { assignments, .. } if self.changes_key(assignments) => None,
            ModifyKind::Update { .. } => Some(LockStrength::NoKeyUpdate),
            ModifyKind::Insert { .. } | ModifyKind::Delete { .. } => Some(LockStrength::Update),
        }
    }

    /// How strongly to lock a row before it is changed. An update that assigns to key columns may leave them as they
    /// are: that is found out on the newest version, before the lock. Should another version be there under the lock,
    /// the writer locks the row as it must be.
    async fn strength(&self, key: &Bytes, source: &[Datum]) -> PgResult<LockStrength> {
        if let Some(strength) = self.strength_of_all() {
            return Ok(strength);
        }
        let ModifyKind::Update { assignments, .. } = &self.plan.op else { return Ok(LockStrength::Update) };
        let newest = self.cx.txn.get(key, Visibility::Latest).await.map_err(from_kv)?;
        let Some(newest) = newest else { return Ok(LockStrength::Update) };
        let old = self.plan.layout.decode(&newest)?;
        let mut row = old.clone();
        row.resize(2 * old.len(), Datum::Null);
        row.extend_from_slice(source);
        let mut new = old.clone();
        for (position, expr) in assignments {
            if self.plan.layout.key_columns.contains(position) {
                match expr.eval(&row, &self.cx.params, &self.cx.env) {
                    Ok(value) => new[*position] = value,
                    // It is raised under the lock, if the row still is to be updated.
                    Err(_) => return Ok(LockStrength::Update),
                }
            }
        }
        Ok(self.writer.strength_for_update(&old, &new))
    }

    /// Counts a written row and computes RETURNING.
    fn count(&mut self, old: Vec<Datum>, new: Vec<Datum>, source: Vec<Datum>) -> PgResult<()> {
        self.result.count += 1;
        if self.plan.returns {
            let mut row = old;
            row.extend(new);
            row.extend(source);
            let returned = self
                .plan
                .returning
                .iter()
                .map(|expr| expr.eval(&row, &self.cx.params, &self.cx.env))
                .collect::<PgResult<_>>()?;
            self.result.rows.push(returned)?;
        }
        Ok(())
    }
}

fn index_position(layout: &TableLayout, index: Oid) -> PgResult<usize> {
    layout
        .table
        .indexes
        .iter()
        .position(|i| i.oid == index)
        .ok_or_else(|| PgError::internal(format!("index {} is not of this table", index.0)))
}

/// Rows taken from the source at a time.
const SOURCE_ROWS: usize = 1024;
