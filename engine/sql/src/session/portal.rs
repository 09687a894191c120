//! Portals: bound statements, their rows, and where among them the client stands.
//!
//! A portal is made by Bind or by DECLARE, and read by Execute, FETCH and MOVE alike. Most run once from end to
//! end: their rows go from the plan to the connection, and none is kept. A portal that can move backward keeps
//! rows, from the beginning if SCROLL was asked for, otherwise from the first step back on: then its query runs
//! again, at the same snapshot, up to where the client stands.
//!
//! ```text
//!                    position 0     1     2     3
//!   at_start ->  |  before first | row | row | row |  after last  <- at_end (position 3)
//! ```
//!
//! Positions and their edges follow PostgreSQL's `pquery.c`: a portal is at its end only once a movement asked for
//! more rows than there were.

use std::sync::Arc;

use shardforge_kv::HeldSnapshot;
use shardforge_pgwire::{FieldDesc, Format};
use shardforge_types::{Datum, PgError, PgResult, SqlState};

use super::execute::Execution;
use super::services::ListedCursor;
use super::statement::Prepared;
use super::wire::WireColumn;
use crate::parse::ast::FetchDirection;
use crate::plan::{Collect, Discard, ExecContext, QueryCursor, QueryPlan, RowBuffer};

/// A bound statement.
pub struct Portal {
    /// Its statement; a cursor's is the query.
    pub prepared: Arc<Prepared>,
    /// As Bind asked for.
    pub formats: Vec<Format>,
    /// Values of `$1`, `$2`, ...
    pub params: Arc<[Datum]>,
    /// How Execute sends its rows.
    pub columns: Vec<WireColumn>,
    /// Once it has begun to run.
    pub execution: Option<Execution>,
    /// It has failed, or run to its end and cannot go on.
    pub is_over: bool,
    /// Counts the session's portals, so that a savepoint knows those that came after it.
    pub number: u64,
    position: usize,
    at_start: bool,
    at_end: bool,
    cursor: Option<Box<Cursor>>,
}

/// What only portals have that are read bit by bit.
#[derive(Default)]
struct Cursor {
    /// Keeps the versions that it reads from garbage collection between two reads.
    held: Option<HeldSnapshot>,
    backward: Backward,
    /// Rows read so far, but for the first `base`.
    kept: Option<RowBuffer>,
    base: usize,
    hold: bool,
    /// Its transaction has ended: all its rows are kept.
    outlives: bool,
    binary: bool,
    /// Goes when it does.
    _listed: Option<ListedCursor>,
}

/// Whether a portal can move backward.
#[derive(Default)]
enum Backward {
    #[default]
    No,
    /// Its rows are kept.
    Kept,
    /// The query can run again up to where the client stands.
    Again(QueryPlan, Box<ExecContext>),
}

/// What DECLARE asked for.
pub struct CursorOptions {
    /// SCROLL, NO SCROLL, or what the plan allows.
    pub scroll: Option<bool>,
    /// WITH HOLD.
    pub hold: bool,
    /// BINARY.
    pub binary: bool,
}

impl Portal {
    /// A portal of a prepared statement.
    pub fn bound(prepared: Arc<Prepared>, params: Arc<[Datum]>, formats: Vec<Format>) -> Portal {
        Portal {
            prepared,
            formats,
            params,
            columns: Vec::new(),
            execution: None,
            is_over: false,
            number: 0,
            position: 0,
            at_start: true,
            at_end: false,
            cursor: None,
        }
    }

    /// Makes a portal whose query has begun a SQL cursor. `plan` is the query's, `rows` an empty buffer.
    pub fn declare(
        &mut self,
        options: &CursorOptions,
        held: HeldSnapshot,
        plan: &QueryPlan,
        rows: RowBuffer,
        listed: ListedCursor,
    ) {
        let context = match &self.execution {
            Some(Execution { cursor: Some(running), .. }) if plan.can_go_back() => Some(running.1.clone()),
            _ => None,
        };
        let (backward, kept) = match (options.scroll, context) {
            (Some(false), _) | (None, None) => (Backward::No, None),
            (_, Some(context)) => (Backward::Again(plan.clone(), Box::new(context)), None),
            (Some(true), None) => (Backward::Kept, Some(rows)),
        };
        self.cursor = Some(Box::new(Cursor {
            held: Some(held),
            backward,
            kept,
            base: 0,
            hold: options.hold,
            outlives: false,
            binary: options.binary,
            _listed: Some(listed),
        }));
    }

    /// What stays of a portal that fails while it runs.
    pub fn failed_twin(&self) -> Portal {
        let mut twin = Portal::bound(self.prepared.clone(), self.params.clone(), self.formats.clone());
        twin.is_over = true;
        twin.number = self.number;
        if self.outlives_transaction() {
            twin.cursor = Some(Box::new(Cursor { outlives: true, ..Cursor::default() }));
        }
        twin
    }

    /// Result columns; `None` if it returns no rows.
    pub fn fields(&self) -> Option<Arc<[FieldDesc]>> {
        self.prepared.fields.clone()
    }

    /// WITH HOLD, and its transaction has committed.
    pub fn outlives_transaction(&self) -> bool {
        self.cursor.as_ref().is_some_and(|cursor| cursor.outlives)
    }

    /// WITH HOLD, and its transaction is still open.
    pub fn must_be_persisted(&self) -> bool {
        self.cursor.as_ref().is_some_and(|cursor| cursor.hold && !cursor.outlives) && !self.is_over
    }

    /// Whether FETCH sends its rows in binary.
    pub fn is_binary(&self) -> bool {
        self.cursor.as_ref().is_some_and(|cursor| cursor.binary)
    }

    /// True if Execute has to send rows from those kept rather than from the plan.
    pub fn keeps_rows(&self) -> bool {
        self.cursor.as_ref().is_some_and(|cursor| cursor.kept.is_some())
    }

    /// Whether it waits, somewhere in its rows, without protection from garbage collection.
    pub fn needs_snapshot(&self) -> bool {
        self.execution.as_ref().is_some_and(|execution| execution.cursor.is_some())
            && self.cursor.as_ref().is_none_or(|cursor| cursor.held.is_none())
    }

    /// Keeps what its query sees from garbage collection.
    pub fn hold(&mut self, snapshot: HeldSnapshot) {
        self.cursor.get_or_insert_default().held = Some(snapshot);
    }

    /// 55000 if it cannot run, or not any more.
    pub fn check_runnable(&self, name: &str) -> PgResult<()> {
        if !self.is_over {
            return Ok(());
        }
        Err(PgError::new(
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("portal \"{name}\" cannot be run"),
        ))
    }

    /// Takes note of rows that went from the plan to the client.
    pub fn passed(&mut self, rows: usize, at_end: bool) {
        self.position += rows;
        self.at_start &= rows == 0;
        self.at_end |= at_end;
    }

    /// FETCH and MOVE: hands rows to `into`, answers how many they are.
    ///
    /// # Errors
    /// 55000 for a step back if it can only go forward; what its query raises.
    pub async fn fetch(
        &mut self,
        direction: FetchDirection,
        count: i64,
        into: Option<&mut RowBuffer>,
    ) -> PgResult<usize> {
        let is_all = count == i64::MAX;
        let distance = if is_all { usize::MAX } else { count.unsigned_abs() as usize };
        match direction {
            FetchDirection::Forward | FetchDirection::Backward | FetchDirection::Relative if count == 0 => {
                self.current(into).await
            }
            FetchDirection::Forward if count > 0 => self.forward(distance, into).await,
            FetchDirection::Backward if count < 0 => self.forward(distance, into).await,
            FetchDirection::Forward | FetchDirection::Backward => {
                if into.is_none() && is_all {
                    return self.move_to_start().await;
                }
                self.backward(distance, into).await
            }
            FetchDirection::Relative if count > 0 => {
                self.forward(distance - 1, None).await?;
                self.forward(1, into).await
            }
            FetchDirection::Relative => {
                self.backward(distance - 1, None).await?;
                self.backward(1, into).await
            }
            FetchDirection::Absolute if count < 0 => {
                self.forward(usize::MAX, None).await?;
                self.backward(distance - 1, None).await?;
                self.backward(1, into).await
            }
            FetchDirection::Absolute if count == 0 => {
                self.rewind().await?;
                Ok(0)
            }
            FetchDirection::Absolute => {
                if distance <= self.position || (self.at_end && distance == self.position + 1) {
                    self.rewind().await?;
                }
                self.forward(distance - 1 - self.position, None).await?;
                self.forward(1, into).await
            }
        }
    }

    /// The row that the client stands on, once more.
    async fn current(&mut self, into: Option<&mut RowBuffer>) -> PgResult<usize> {
        if self.at_start || self.at_end {
            return Ok(0);
        }
        if into.is_some() {
            self.backward(1, None).await?;
            return self.forward(1, into).await;
        }
        Ok(1)
    }

    async fn move_to_start(&mut self) -> PgResult<usize> {
        let passed = if self.at_end { self.position } else { self.position.saturating_sub(1) };
        self.rewind().await?;
        Ok(passed)
    }

    /// Moves forward over up to `count` rows; answers how many there were.
    ///
    /// # Errors
    /// What the query raises.
    pub async fn forward(&mut self, count: usize, into: Option<&mut RowBuffer>) -> PgResult<usize> {
        if self.at_end || count == 0 {
            return Ok(0);
        }
        let rows = if self.keeps_rows() {
            self.forward_kept(count, into).await?
        } else {
            self.forward_live(count, into).await?
        };
        self.passed(rows, rows < count);
        Ok(rows)
    }

    async fn forward_live(&mut self, count: usize, mut into: Option<&mut RowBuffer>) -> PgResult<usize> {
        let Some(execution) = &mut self.execution else { return Ok(0) };
        let types: Arc<[_]> = execution.output.iter().map(|column| column.col.ty.oid).collect();
        let mut passed = 0;
        while passed < count {
            let Some((cursor, cx)) = execution.cursor.as_deref_mut() else { break };
            let wanted = (count - passed).min(ROWS_AT_ONCE);
            let progress = match &mut into {
                None => cursor.fetch(cx, wanted, &mut Discard).await?,
                Some(rows) => {
                    let mut sink = Collect::new(types.clone());
                    let progress = cursor.fetch(cx, wanted, &mut sink).await?;
                    sink.rows.into_iter().try_for_each(|row| rows.push(row))?;
                    progress
                }
            };
            passed += progress.rows;
            cx.env.session.host.check_canceled()?;
            if progress.done {
                execution.cursor = None;
            }
        }
        Ok(passed)
    }

    async fn forward_kept(&mut self, count: usize, into: Option<&mut RowBuffer>) -> PgResult<usize> {
        self.keep_up_to(self.position.saturating_add(count)).await?;
        let position = self.position;
        let Some(Cursor { kept: Some(kept), base, backward, .. }) = self.cursor.as_deref_mut() else {
            return Ok(0);
        };
        let first = position - *base;
        let rows = count.min(kept.len() - first);
        if let Some(into) = into {
            kept.range(first..first + rows).try_for_each(|row| into.push(row.clone()))?;
        }
        if matches!(backward, Backward::No) {
            // Nobody comes back to them.
            for _ in 0..first + rows {
                kept.pop_front();
            }
            *base += first + rows;
        }
        Ok(rows)
    }

    /// Moves backward over up to `count` rows; answers how many there were.
    async fn backward(&mut self, count: usize, into: Option<&mut RowBuffer>) -> PgResult<usize> {
        self.check_scroll()?;
        if self.at_start || count == 0 {
            return Ok(0);
        }
        self.start_keeping().await?;
        // The row that the client stands on, counted from 1.
        let current = if self.at_end { self.position + 1 } else { self.position };
        let rows = count.min(current - 1);
        if let (Some(into), Some(Cursor { kept: Some(kept), .. })) = (into, self.cursor.as_deref()) {
            kept.range(current - 1 - rows..current - 1).rev().try_for_each(|row| into.push(row.clone()))?;
        }
        self.at_end &= rows == 0;
        if rows < count {
            self.at_start = true;
            self.position = 0;
        } else {
            self.position = current - rows;
        }
        Ok(rows)
    }

    async fn rewind(&mut self) -> PgResult<()> {
        if self.at_start && !self.at_end {
            return Ok(());
        }
        self.check_scroll()?;
        self.start_keeping().await?;
        (self.position, self.at_start, self.at_end) = (0, true, false);
        Ok(())
    }

    fn check_scroll(&self) -> PgResult<()> {
        match self.cursor.as_deref() {
            Some(Cursor { backward: Backward::Kept | Backward::Again(..), .. }) => Ok(()),
            _ => {
                Err(PgError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "cursor can only scan forward")
                    .hint("Declare it with SCROLL option to enable backward scan."))
            }
        }
    }

    /// Before the first step back: runs the query again up to where the client stands, and keeps its rows.
    async fn start_keeping(&mut self) -> PgResult<()> {
        let Some(cursor) = self.cursor.as_deref_mut() else { return Ok(()) };
        let Backward::Again(plan, cx) = &cursor.backward else { return Ok(()) };
        cursor.kept = Some(RowBuffer::new(&cx.engine, "cursor"));
        let again = QueryCursor::start(plan, cx).await?;
        if let Some(execution) = &mut self.execution {
            execution.cursor = Some(Box::new((again, (**cx).clone())));
        }
        cursor.backward = Backward::Kept;
        self.keep_up_to(if self.at_end { usize::MAX } else { self.position }).await
    }

    /// Reads until that many rows of the result are known, or all.
    async fn keep_up_to(&mut self, count: usize) -> PgResult<()> {
        let Some(Cursor { kept: Some(kept), base, .. }) = self.cursor.as_deref_mut() else { return Ok(()) };
        let Some(execution) = &mut self.execution else { return Ok(()) };
        let types: Arc<[_]> = execution.output.iter().map(|column| column.col.ty.oid).collect();
        while *base + kept.len() < count {
            let Some((cursor, cx)) = execution.cursor.as_deref_mut() else { break };
            let mut sink = Collect::new(types.clone());
            let wanted = (count - *base - kept.len()).min(ROWS_AT_ONCE);
            let progress = cursor.fetch(cx, wanted, &mut sink).await?;
            sink.rows.into_iter().try_for_each(|row| kept.push(row))?;
            cx.env.session.host.check_canceled()?;
            if progress.done {
                execution.cursor = None;
            }
        }
        Ok(())
    }

    /// Reads all the rows of a cursor WITH HOLD, which its transaction leaves behind.
    ///
    /// # Errors
    /// What the query raises.
    pub async fn persist(&mut self, rows: RowBuffer) -> PgResult<()> {
        self.start_keeping().await?;
        let Some(cursor) = self.cursor.as_deref_mut() else { return Ok(()) };
        if cursor.kept.is_none() {
            cursor.kept = Some(rows);
            cursor.base = self.position;
        }
        self.keep_up_to(usize::MAX).await?;
        if let Some(cursor) = self.cursor.as_deref_mut() {
            cursor.held = None;
            cursor.outlives = true;
        }
        Ok(())
    }
}

/// Rows read between two looks at whether the statement was cancelled.
pub const ROWS_AT_ONCE: usize = 1024;
