//! Running portals; and SQL's cursors, which are portals with a query.

use std::sync::Arc;

use shardforge_pgwire::{CancelReason, Format, Responder};
use shardforge_types::{Datum, PgError, PgResult, SqlState};

use super::PgSession;
use super::execute::{Execution, Tag};
use super::portal::{CursorOptions, Portal, ROWS_AT_ONCE};
use super::statement::{Prepared, is_planned};
use super::timeouts::TimeLimit;
use super::wire::{WireColumn, WireSink, describe, fields};
use crate::ir::{OutputColumn, Ty};
use crate::parse::ast::{DeclareCursorStmt, FetchStmt, Statement};
use crate::plan::{PlannedKind, QueryCursor, RowBuffer, RowSink};

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
        let (engine, pid) = (self.engine.clone(), self.activity.pid);
        let prepared = portal.prepared.clone();
        let Some(stmt) = &prepared.stmt else { return Ok(Some(String::new())) };
        if let Statement::Transaction(transaction) = &**stmt {
            portal.is_over = true;
            // Never interrupted half-way: a commit is either not begun or finished.
            return Box::pin(self.transaction_statement(transaction)).await.map(Some);
        }
        let sent = {
            let _limit = timeout.map(|after| {
                TimeLimit::start(&engine.runtime, &cancel, CancelReason::StatementTimeout, after)
            });
            // Pinned here, and rare branches boxed: a future that is handed on is copied, with all that it may ever hold.
            let work = std::pin::pin!(async {
                if portal.execution.is_none() {
                    let execution = if is_planned(stmt) {
                        let execution = self.start(&prepared, portal.params.clone()).await?;
                        self.describe_late(&prepared, &execution.output, &portal.formats, out)?;
                        execution
                    } else {
                        if prepared.described_late
                            && let Some(fields) = &prepared.fields
                        {
                            out.row_description(fields, &portal.formats)?;
                        }
                        Box::pin(self.utility(stmt, &prepared.sql, &portal.params, &prepared.params, out))
                            .await?
                    };
                    // What returns rows can be asked for more of them, and has none.
                    portal.is_over = execution.cursor.is_none() && execution.output.is_empty();
                    portal.execution = Some(execution);
                }
                self.send(portal, max.unwrap_or(usize::MAX), out).await
            });
            Self::cancelable(&cancel, &engine, pid, work).await?
        };
        if max.is_some_and(|max| sent == max) && !portal.is_over {
            if portal.needs_snapshot() {
                portal.hold(self.ensure_txn().txn.hold_snapshot());
            }
            return Ok(None);
        }
        Ok(portal.execution.as_ref().map(Execution::tag))
    }

    /// Tells the client the columns of a statement that has begun to run, if it was not told them before.
    fn describe_late(
        &self,
        prepared: &Prepared,
        output: &[OutputColumn],
        formats: &[Format],
        out: &mut Responder,
    ) -> PgResult<()> {
        match &prepared.fields {
            Some(kept) if prepared.described_late && describe(kept, output) => {
                out.row_description(kept, formats)
            }
            Some(_) if prepared.described_late => out.row_description(&fields(output), formats),
            _ => Ok(()),
        }
    }

    /// Sends up to `max` rows of a portal that runs; answers how many.
    async fn send(&mut self, portal: &mut Portal, max: usize, out: &mut Responder) -> PgResult<usize> {
        let kept = portal.keeps_rows();
        let Some(execution) = &mut portal.execution else {
            return Err(PgError::internal("a portal without execution"));
        };
        if portal.columns.is_empty() {
            portal.columns = WireColumn::of(&execution.output, &portal.formats);
        }
        execution.sent = 0;
        if !kept {
            self.send_rows(execution, &portal.columns, max, out).await?;
            let sent = execution.sent as usize;
            portal.passed(sent, sent < max);
            return Ok(sent);
        }
        let env = self.eval_env();
        let mut sent = 0;
        loop {
            let wanted = (max - sent).min(ROWS_AT_ONCE);
            let mut rows = RowBuffer::new(&self.engine, "cursor");
            let count = Box::pin(portal.forward(wanted, Some(&mut rows))).await?;
            let mut sink = WireSink::new(out, &portal.columns, &env);
            while let Some(row) = rows.pop_front() {
                sink.row(&row)?;
            }
            sent += count;
            if let Some(execution) = &mut portal.execution {
                execution.sent = sent as u64;
            }
            if count < wanted || sent == max {
                return Ok(sent);
            }
            out.flush_if_full().await?;
        }
    }

    /// A number for a new portal.
    pub(super) fn next_portal(&mut self) -> u64 {
        self.portals_made += 1;
        self.portals_made
    }

    /// Rows that are locked are not kept, nor read twice.
    fn check_cursor_locks(&mut self, stmt: &DeclareCursorStmt, prepared: &Prepared) -> PgResult<()> {
        if stmt.query.locking.is_empty() {
            return Ok(());
        }
        let Some(lock) = self.plan_of(prepared)?.row_lock else { return Ok(()) };
        let (cursor, kind) = match (stmt.hold, stmt.scroll) {
            (true, _) => ("CURSOR WITH HOLD", "Holdable"),
            (false, Some(true)) => ("SCROLL CURSOR", "Scrollable"),
            (false, _) => return Ok(()),
        };
        Err(PgError::new(
            SqlState::FEATURE_NOT_SUPPORTED,
            format!("DECLARE {cursor} ... {lock} is not supported"),
        )
        .detail(format!("{kind} cursors must be READ ONLY.")))
    }

    /// DECLARE CURSOR.
    pub(super) async fn declare_cursor(
        &mut self,
        stmt: &DeclareCursorStmt,
        sql: &Arc<str>,
        params: &Arc<[Datum]>,
        types: &[Ty],
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
        let types: Vec<_> = types.iter().map(|ty| ty.oid).collect();
        let prepared = Arc::new(self.prepare(sql.clone(), Some(query), &types).await?);
        self.check_cursor_locks(stmt, &prepared)?;
        let mut portal = Portal::bound(prepared.clone(), params.clone(), Vec::new());
        portal.execution = Some(self.start(&prepared, params.clone()).await?);
        portal.number = self.next_portal();
        let planned = self.plan_of(&prepared)?;
        let PlannedKind::Query(plan) = &planned.kind else {
            return Err(PgError::internal("a cursor over something that is not a query"));
        };
        let options = CursorOptions { scroll: stmt.scroll, hold: stmt.hold, binary: stmt.binary };
        let held = self.ensure_txn().txn.hold_snapshot();
        let listed = crate::catalog::pg_catalog::Cursor {
            name: stmt.name.to_string(),
            statement: sql.to_string(),
            is_holdable: stmt.hold,
            is_binary: stmt.binary,
            is_scrollable: stmt.scroll.unwrap_or_else(|| plan.can_go_back()),
            creation_time: 0,
        };
        let listed = self.services.list_cursor(portal.number, listed);
        portal.declare(&options, held, plan, RowBuffer::new(&self.engine, "cursor"), listed);
        self.portals.insert(stmt.name.to_string(), portal);
        Ok(Execution::done("DECLARE CURSOR"))
    }

    /// Result columns of FETCH; `None` if there is no such cursor, or it has failed.
    pub(super) fn fetch_columns(&mut self, stmt: &FetchStmt) -> PgResult<Option<Vec<OutputColumn>>> {
        let Some(portal) = self.portals.get(&*stmt.portal).filter(|portal| !stmt.is_move && !portal.is_over)
        else {
            return Ok(None);
        };
        if let Some(execution) = &portal.execution {
            return Ok(Some(execution.output.to_vec()));
        }
        let prepared = portal.prepared.clone();
        match &prepared.stmt {
            Some(stmt) if is_planned(stmt) => Ok(Some(self.plan_of(&prepared)?.output.to_vec())),
            _ => Ok(None),
        }
    }

    /// The formats in which a simple query sends a statement's rows: those of the cursor, for FETCH.
    pub(super) fn simple_formats(&self, stmt: &Statement) -> Vec<Format> {
        match stmt {
            Statement::Fetch(fetch) if self.portals.get(&*fetch.portal).is_some_and(Portal::is_binary) => {
                vec![Format::Binary]
            }
            _ => Vec::new(),
        }
    }

    /// FETCH and MOVE.
    pub(super) async fn fetch(&mut self, stmt: &FetchStmt) -> PgResult<Execution> {
        let name = &*stmt.portal;
        let slot = self.portals.get_mut(name).ok_or_else(|| no_cursor(name))?;
        slot.check_runnable(name)?;
        // If this fails or is cancelled, what stays is a portal that has failed.
        let failed = slot.failed_twin();
        let mut portal = std::mem::replace(slot, failed);
        if portal.execution.is_none() {
            let prepared = portal.prepared.clone();
            if !prepared.stmt.as_deref().is_some_and(is_planned) {
                return Err(PgError::not_supported("FETCH from a portal that is not a query")
                    .hint("Read it with Execute messages."));
            }
            portal.execution = Some(self.start(&prepared, portal.params.clone()).await?);
        }
        if portal.needs_snapshot() {
            portal.hold(self.ensure_txn().txn.hold_snapshot());
        }
        let mut rows = RowBuffer::new(&self.engine, "FETCH");
        let into = if stmt.is_move { None } else { Some(&mut rows) };
        let count = portal.fetch(stmt.direction, stmt.count, into).await?;
        let output = portal.execution.as_ref().map(|execution| execution.output.clone()).unwrap_or_default();
        self.portals.insert(name.to_owned(), portal);
        if stmt.is_move {
            return Ok(Execution::done(format!("MOVE {count}")));
        }
        self.ensure_txn().txn.begin_statement();
        let cx = self.exec_context(Arc::new([]));
        Ok(Execution {
            output,
            cursor: Some(Box::new((QueryCursor::Rows(rows), cx))),
            tag: Tag::Counted("FETCH"),
            sent: 0,
        })
    }

    /// CLOSE.
    pub(super) fn close_cursor(&mut self, name: Option<&str>) -> PgResult<Execution> {
        match name {
            None => {
                self.portals.clear();
                Ok(Execution::done("CLOSE CURSOR ALL"))
            }
            Some(name) => match self.portals.remove(name) {
                Some(_) => Ok(Execution::done("CLOSE CURSOR")),
                None => Err(no_cursor(name)),
            },
        }
    }

    /// Before a transaction commits: reads what its cursors WITH HOLD leave behind.
    ///
    /// # Errors
    /// What their queries raise.
    pub(super) async fn persist_cursors(&mut self) -> PgResult<()> {
        for portal in self.portals.values_mut().filter(|portal| portal.must_be_persisted()) {
            portal.persist(RowBuffer::new(&self.engine, "cursor")).await?;
        }
        Ok(())
    }
}

fn no_cursor(name: &str) -> PgError {
    PgError::new(SqlState::INVALID_CURSOR_NAME, format!("cursor \"{name}\" does not exist"))
}
