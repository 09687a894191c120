//! Portals: bound statements that run now, or bit by bit; and SQL's cursors, which are portals with a query.

use std::sync::Arc;

use shardforge_pgwire::{FieldDesc, Format, Responder};
use shardforge_types::{Datum, PgError, PgResult, SqlState};

use super::PgSession;
use super::execute::{Execution, Tag};
use super::statement::{Prepared, is_planned};
use super::wire::{WireColumn, fields};
use crate::ir::OutputColumn;
use crate::parse::ast::{DeclareCursorStmt, FetchDirection, FetchStmt, Statement};
use crate::plan::{Collect, ExecContext, QueryCursor};

/// A bound statement.
pub struct Portal {
    source: Source,
    /// As Bind asked for.
    pub formats: Vec<Format>,
    params: Arc<[Datum]>,
    columns: Vec<WireColumn>,
    execution: Option<Execution>,
    finished: bool,
}

enum Source {
    /// From the protocol.
    Prepared(Arc<Prepared>),
    /// DECLARE CURSOR.
    Cursor(Box<SqlCursor>),
}

/// The state of a SQL cursor: the rows seen so far are kept when it can go back.
struct SqlCursor {
    output: Arc<[OutputColumn]>,
    live: Option<(QueryCursor, ExecContext)>,
    rows: Vec<Vec<Datum>>,
    /// Rows before this one have been given up (a cursor that cannot go back).
    dropped: usize,
    /// 0 before the first row, n on the n-th.
    position: usize,
    scroll: bool,
    hold: bool,
    sql: Arc<str>,
}

impl Portal {
    /// A portal of a prepared statement.
    pub fn bound(prepared: Arc<Prepared>, params: Arc<[Datum]>, formats: Vec<Format>) -> Portal {
        Portal {
            source: Source::Prepared(prepared),
            formats,
            params,
            columns: Vec::new(),
            execution: None,
            finished: false,
        }
    }

    /// Result columns; `None` if it returns no rows.
    pub fn fields(&self) -> Option<Arc<[FieldDesc]>> {
        match &self.source {
            Source::Prepared(prepared) => prepared.fields.clone(),
            Source::Cursor(cursor) => Some(fields(&cursor.output).into()),
        }
    }

    /// The statement's text.
    pub fn sql(&self) -> Arc<str> {
        match &self.source {
            Source::Prepared(prepared) => prepared.sql.clone(),
            Source::Cursor(cursor) => cursor.sql.clone(),
        }
    }

    /// True for a text without statement.
    pub fn is_empty_statement(&self) -> bool {
        matches!(&self.source, Source::Prepared(prepared) if prepared.stmt.is_none())
    }

    /// WITH HOLD: outlives its transaction.
    pub fn is_held(&self) -> bool {
        matches!(&self.source, Source::Cursor(cursor) if cursor.hold)
    }

    /// Made by DECLARE.
    pub fn is_cursor(&self) -> bool {
        matches!(self.source, Source::Cursor(_))
    }
}

impl PgSession {
    /// Runs a portal, or goes on with it: the command tag when it is done, `None` when `max` rows were sent.
    ///
    /// # Errors
    /// Whatever the statement raises.
    pub(super) async fn run_portal(
        &mut self,
        portal: &mut Portal,
        max: Option<usize>,
        out: &mut Responder,
    ) -> PgResult<Option<String>> {
        let cancel = self.cancel.clone();
        let timeout = self.settings.parsed(|parsed| parsed.statement_timeout);
        let runtime = self.engine.runtime.clone();
        let Source::Prepared(prepared) = &portal.source else {
            return Err(PgError::new(SqlState::FEATURE_NOT_SUPPORTED, "a SQL cursor is read with FETCH"));
        };
        let prepared = prepared.clone();
        let Some(stmt) = &prepared.stmt else { return Ok(Some(String::new())) };
        if let Statement::Transaction(transaction) = &**stmt {
            // Never interrupted half-way: a commit is either not begun or finished.
            return self.transaction_statement(transaction).await.map(Some);
        }
        if portal.finished {
            if is_planned(stmt) && prepared.fields.is_some() {
                return Ok(Some(portal.execution.as_ref().map_or_else(String::new, Execution::tag)));
            }
            return Err(PgError::new(
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                "portal cannot be run anymore",
            ));
        }
        let work = async {
            if portal.execution.is_none() {
                let execution = if is_planned(stmt) {
                    self.start(&prepared, portal.params.clone()).await?
                } else {
                    self.utility(stmt, &prepared.sql, &portal.params, out).await?
                };
                portal.columns = WireColumn::of(&execution.output, &portal.formats);
                portal.execution = Some(execution);
            }
            let Some(execution) = &mut portal.execution else {
                return Err(PgError::internal("a portal without execution"));
            };
            self.send_rows(execution, &portal.columns, max.unwrap_or(usize::MAX), out).await
        };
        let done = Self::cancelable(&cancel, timeout, &runtime, work).await?;
        if !done {
            return Ok(None);
        }
        portal.finished = true;
        Ok(portal.execution.as_ref().map(Execution::tag))
    }

    /// DECLARE CURSOR.
    pub(super) async fn declare_cursor(
        &mut self,
        stmt: &DeclareCursorStmt,
        sql: &Arc<str>,
    ) -> PgResult<Execution> {
        let in_block = self.txn.as_ref().is_some_and(|txn| txn.explicit);
        if !in_block && !stmt.hold {
            return Err(PgError::new(
                SqlState::NO_ACTIVE_SQL_TRANSACTION,
                "DECLARE CURSOR can only be used in transaction blocks",
            ));
        }
        if self.portals.contains_key(&*stmt.name) {
            return Err(PgError::new(
                SqlState::DUPLICATE_CURSOR,
                format!("cursor \"{}\" already exists", stmt.name),
            ));
        }
        let query = Arc::new(Statement::Select(stmt.query.clone()));
        let prepared = self.prepare(sql.clone(), Some(query), &[], true).await?;
        let mut execution = self.start(&prepared, Arc::new([])).await?;
        let mut cursor = SqlCursor {
            output: std::mem::take(&mut execution.output),
            live: execution.cursor.take(),
            rows: Vec::new(),
            dropped: 0,
            position: 0,
            scroll: stmt.scroll == Some(true) || (stmt.scroll.is_none() && stmt.hold),
            hold: stmt.hold,
            sql: sql.clone(),
        };
        if stmt.hold {
            // Its rows must outlive the transaction.
            cursor.scroll = stmt.scroll != Some(false);
            cursor.read_to(usize::MAX).await?;
        }
        let formats = if stmt.binary { vec![Format::Binary] } else { Vec::new() };
        let portal = Portal {
            source: Source::Cursor(Box::new(cursor)),
            formats,
            params: Arc::new([]),
            columns: Vec::new(),
            execution: None,
            finished: false,
        };
        self.portals.insert(stmt.name.to_string(), portal);
        Ok(Execution::done("DECLARE CURSOR"))
    }

    /// Result columns of FETCH.
    pub(super) fn fetch_columns(&self, stmt: &FetchStmt) -> PgResult<Option<Vec<OutputColumn>>> {
        match self.portals.get(&*stmt.portal).map(|portal| &portal.source) {
            Some(Source::Cursor(cursor)) if !stmt.is_move => Ok(Some(cursor.output.to_vec())),
            Some(Source::Cursor(_)) => Ok(None),
            _ => Err(no_cursor(&stmt.portal)),
        }
    }

    /// FETCH and MOVE.
    pub(super) async fn fetch(&mut self, stmt: &FetchStmt) -> PgResult<Execution> {
        let cx = {
            self.ensure_txn().txn.begin_statement();
            self.exec_context(Arc::new([]))
        };
        let Some(Portal { source: Source::Cursor(cursor), .. }) = self.portals.get_mut(&*stmt.portal) else {
            return Err(no_cursor(&stmt.portal));
        };
        let rows = cursor.fetch(stmt.direction, stmt.count).await?;
        let count = rows.len();
        if stmt.is_move {
            return Ok(Execution::done(format!("MOVE {count}")));
        }
        Ok(Execution {
            output: cursor.output.clone(),
            cursor: Some((QueryCursor::Rows(rows.into()), cx)),
            tag: Tag::Fixed(format!("FETCH {count}")),
            sent: 0,
        })
    }

    /// CLOSE.
    pub(super) fn close_cursor(&mut self, name: Option<&str>) -> PgResult<Execution> {
        match name {
            None => {
                self.portals.retain(|_, portal| !portal.is_cursor());
                Ok(Execution::done("CLOSE CURSOR ALL"))
            }
            Some(name) => match self.portals.remove(name) {
                Some(_) => Ok(Execution::done("CLOSE CURSOR")),
                None => Err(no_cursor(name)),
            },
        }
    }
}

fn no_cursor(name: &str) -> PgError {
    PgError::new(SqlState::INVALID_CURSOR_NAME, format!("cursor \"{name}\" does not exist"))
}

impl SqlCursor {
    /// Reads rows until `count` of them are known or there are no more.
    async fn read_to(&mut self, count: usize) -> PgResult<()> {
        while self.dropped + self.rows.len() < count {
            let Some((cursor, cx)) = &mut self.live else { return Ok(()) };
            let types = self.output.iter().map(|column| column.col.ty.oid).collect();
            let mut sink = Collect::new(types);
            let wanted = count - self.dropped - self.rows.len();
            let progress = cursor.fetch(cx, wanted, &mut sink).await?;
            self.rows.append(&mut sink.rows);
            if progress.done {
                self.live = None;
            }
            if self.rows.len() > CURSOR_ROWS_MAX {
                return Err(PgError::new(
                    SqlState::PROGRAM_LIMIT_EXCEEDED,
                    format!("a cursor that can move backward holds more than {CURSOR_ROWS_MAX} rows"),
                )
                .hint("Declare it with NO SCROLL and without HOLD."));
            }
        }
        Ok(())
    }

    fn known(&self) -> usize {
        self.dropped + self.rows.len()
    }

    async fn fetch(&mut self, direction: FetchDirection, count: i64) -> PgResult<Vec<Vec<Datum>>> {
        match direction {
            FetchDirection::Forward if count > 0 => {
                self.forward(usize::try_from(count).unwrap_or(usize::MAX)).await
            }
            FetchDirection::Forward if count == 0 => self.absolute(self.position).await,
            FetchDirection::Forward => self.backward(count.unsigned_abs()),
            FetchDirection::Backward if count > 0 => self.backward(count.unsigned_abs()),
            FetchDirection::Backward if count == 0 => self.absolute(self.position).await,
            FetchDirection::Backward => {
                self.forward(usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX)).await
            }
            FetchDirection::Absolute if count >= 0 => {
                self.absolute(usize::try_from(count).unwrap_or(usize::MAX)).await
            }
            FetchDirection::Absolute => {
                self.read_to(usize::MAX).await?;
                let back = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
                self.absolute((self.known() + 1).saturating_sub(back)).await
            }
            FetchDirection::Relative => {
                let target = (self.position as i64).saturating_add(count).max(0);
                self.absolute(target as usize).await
            }
        }
    }

    async fn forward(&mut self, count: usize) -> PgResult<Vec<Vec<Datum>>> {
        let target = self.position.saturating_add(count);
        self.read_to(target).await?;
        let end = target.min(self.known());
        let first = self.position.min(self.known()) - self.dropped;
        let rows = self.rows[first..end - self.dropped].to_vec();
        self.position = if end < target { self.known() + 1 } else { end };
        if !self.scroll {
            let done = end - self.dropped;
            // The current row stays, for FETCH RELATIVE 0.
            self.dropped += done.saturating_sub(1);
            self.rows.drain(..done.saturating_sub(1));
        }
        Ok(rows)
    }

    fn backward(&mut self, count: u64) -> PgResult<Vec<Vec<Datum>>> {
        self.check_scroll()?;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let last = self.position.saturating_sub(1).min(self.known());
        let first = last.saturating_sub(count);
        let rows: Vec<_> = self.rows[first..last].iter().rev().cloned().collect();
        self.position = if last - first < count { 0 } else { first + 1 };
        Ok(rows)
    }

    async fn absolute(&mut self, target: usize) -> PgResult<Vec<Vec<Datum>>> {
        if target < self.position {
            self.check_scroll()?;
        }
        if target > self.position {
            let skipped = target - self.position;
            let mut rows = self.forward(skipped).await?;
            let reached = rows.len() == skipped;
            return Ok(rows.pop().filter(|_| reached).into_iter().collect());
        }
        self.position = target;
        if target == 0 || target > self.known() || target <= self.dropped {
            return Ok(Vec::new());
        }
        Ok(vec![self.rows[target - 1 - self.dropped].clone()])
    }

    fn check_scroll(&self) -> PgResult<()> {
        if self.scroll {
            return Ok(());
        }
        Err(PgError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "cursor can only scan forward")
            .hint("Declare it with SCROLL option to enable backward scan."))
    }
}

/// Rows that a cursor keeps in memory at most.
const CURSOR_ROWS_MAX: usize = 5_000_000;
