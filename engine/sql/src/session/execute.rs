//! Running planned statements: locks, snapshot, rows.

use std::sync::Arc;

use shardforge_kv::{IsolationLevel, ObjectId, ObjectLockMode, TxnOptions, Visibility, WaitPolicy};
use shardforge_pgwire::{CancelReason, CancelToken, Responder};
use shardforge_types::{Datum, Oid, PgError, PgResult, SqlState};

use super::PgSession;
use super::conflict::Waited;
use super::error::from_kv;
use super::monitor::lock_kind::RELATION;
use super::monitor::process_id;
use super::statement::Prepared;
use super::timeouts::TimeLimit;
use super::transaction::SessionTxn;
use super::wire::{WireColumn, WireSink};
use crate::engine::Engine;
use crate::ir::OutputColumn;
use crate::parse::ast::Statement;
use crate::plan::{ExecContext, Planned, PlannedKind, QueryCursor};
use crate::ri;
use crate::storage::AfterQueue;

/// A statement that has begun to run.
pub struct Execution {
    /// Result columns; empty if it returns no rows.
    pub output: Arc<[OutputColumn]>,
    /// Rows to send. Boxed, because executions and the portals that hold them are moved about.
    pub cursor: Option<Box<(QueryCursor, ExecContext)>>,
    /// What CommandComplete says.
    pub tag: Tag,
    /// Rows sent since the client last asked for some.
    pub sent: u64,
}

/// A command tag.
pub enum Tag {
    /// Word and number of rows sent.
    Counted(&'static str),
    /// As it is.
    Fixed(String),
}

impl Execution {
    /// A statement that returned nothing.
    pub fn done(tag: impl Into<String>) -> Execution {
        Execution { output: Arc::default(), cursor: None, tag: Tag::Fixed(tag.into()), sent: 0 }
    }

    /// The command tag, once all rows are sent.
    pub fn tag(&self) -> String {
        match &self.tag {
            Tag::Counted(word) => format!("{word} {}", self.sent),
            Tag::Fixed(tag) => tag.clone(),
        }
    }
}

impl PgSession {
    /// The current transaction; opens an implicit one if there is none.
    pub(crate) fn ensure_txn(&mut self) -> &mut SessionTxn {
        let Self { txn, settings, env, engine, services, message_at, cancel, .. } = self;
        txn.get_or_insert_with(|| {
            let (isolation, read_only, limit) = settings.parsed(|parsed| {
                (parsed.default_isolation, parsed.default_read_only, parsed.transaction_timeout)
            });
            let options = TxnOptions { isolation, read_only, session: env.backend_pid as u64 };
            let txn = Arc::new(engine.store.begin(options));
            services.set_transaction(Some((txn.clone(), *message_at)));
            let mut txn = SessionTxn::new(txn, isolation, read_only, false, *message_at, engine);
            txn.limit = limit.map(|limit| {
                TimeLimit::start(&engine.runtime, cancel, CancelReason::TransactionTimeout, limit)
            });
            txn
        })
    }

    /// 25P02 in a failed transaction.
    pub(crate) fn check_not_failed(&self) -> PgResult<()> {
        match &self.txn {
            Some(txn) if txn.failed => Err(PgError::new(
                SqlState::IN_FAILED_SQL_TRANSACTION,
                "current transaction is aborted, commands ignored until end of transaction block",
            )),
            _ => Ok(()),
        }
    }

    /// How long statements wait for locks.
    pub(crate) fn lock_wait(&self) -> WaitPolicy {
        self.services.lock_wait()
    }

    /// Locks a table for the rest of the transaction.
    pub(crate) async fn lock_table(
        &mut self,
        table: Oid,
        mode: ObjectLockMode,
        wait: WaitPolicy,
    ) -> PgResult<()> {
        let object = ObjectId { class: self.database.0, kind: RELATION, id: u64::from(table.0) };
        let txn = self.ensure_txn();
        let as_of = txn.as_of;
        if !txn.txn.try_lock_object(object, mode).map_err(from_kv)? {
            let txn = txn.txn.clone();
            // Boxed, here and below: a query's future should not have room for what is rare.
            Box::pin(txn.lock_object(object, mode, wait)).await.map_err(from_kv)?;
        }
        if as_of.is_some() {
            Box::pin(self.check_as_it_was(table)).await?;
        }
        Ok(())
    }

    /// The plan of a prepared statement whose table locks are taken.
    ///
    /// # Errors
    /// What planning and the locks raise.
    pub(crate) async fn plan_with_locks(&mut self, prepared: &Prepared) -> PgResult<Arc<Planned>> {
        self.ensure_txn();
        let wait = self.lock_wait();
        let mut planned = self.plan_of(prepared)?;
        loop {
            let version = self.engine.catalog.version();
            for (table, mode) in &planned.table_locks {
                self.lock_table(*table, *mode, wait).await?;
            }
            // Whoever held a lock may have changed the table: plan again, until nothing changes meanwhile.
            if self.engine.catalog.version() == version {
                return Ok(planned);
            }
            let again = self.plan_of(prepared)?;
            if Arc::ptr_eq(&again, &planned) {
                return Ok(planned);
            }
            planned = again;
        }
    }

    /// Starts a prepared statement: takes its table locks, then a snapshot, then opens its cursor. A write runs to
    /// its end here.
    ///
    /// # Errors
    /// Whatever the statement raises, with byte positions.
    pub(crate) async fn start(&mut self, prepared: &Prepared, params: Arc<[Datum]>) -> PgResult<Execution> {
        if let Some(as_of) = &prepared.as_of {
            self.query_the_past(as_of)?;
        }
        let mut planned = self.plan_with_locks(prepared).await?;
        if let Some(for_snapshot) = self.plan_for_old_snapshot(prepared, &planned)? {
            planned = for_snapshot;
        }
        self.doing = match prepared.stmt.as_deref() {
            Some(Statement::Insert(_)) => "inserting",
            Some(Statement::Update(_) | Statement::Merge(_)) => "updating",
            Some(Statement::Delete(_)) => "deleting",
            _ => "locking",
        };
        let word = match prepared.stmt.as_deref() {
            Some(Statement::Insert(_)) => "INSERT",
            Some(Statement::Update(_)) => "UPDATE",
            Some(Statement::Delete(_)) => "DELETE",
            Some(Statement::Merge(_)) => "MERGE",
            _ => "SELECT",
        };
        self.run(&planned, params, word).await
    }

    /// Runs a plan whose tables are locked.
    ///
    /// # Errors
    /// Whatever the statement raises.
    pub(crate) async fn run(
        &mut self,
        planned: &Arc<Planned>,
        params: Arc<[Datum]>,
        word: &'static str,
    ) -> PgResult<Execution> {
        let txn = self.ensure_txn();
        if planned.writes && txn.read_only {
            let lock = planned.row_lock.filter(|_| word == "SELECT").map(|lock| format!(" {lock}"));
            let lock = lock.unwrap_or_default();
            return Err(PgError::new(
                SqlState::READ_ONLY_SQL_TRANSACTION,
                format!("cannot execute {word}{lock} in a read-only transaction"),
            ));
        }
        txn.used = true;
        txn.txn.begin_statement();
        self.check_serializable()?;
        if planned.writes {
            self.activity.writes();
        }
        let mut cx = self.exec_context(params);
        for (cte, plan) in &planned.first {
            let result = Box::pin(plan.run(&cx)).await?;
            Arc::make_mut(&mut cx.written).insert(*cte, Arc::new(result.rows));
        }
        match &planned.kind {
            PlannedKind::Query(plan) => {
                // The query reads at the statement's snapshot, which shows nothing of what this writes.
                ri::after_statement(&cx).await?;
                let cursor = QueryCursor::start(plan, &cx).await?;
                Ok(Execution {
                    output: planned.output.clone(),
                    cursor: Some(Box::new((cursor, cx))),
                    tag: Tag::Counted("SELECT"),
                    sent: 0,
                })
            }
            PlannedKind::Modify(word, plan) => {
                let result = Box::pin(plan.run(&cx)).await?;
                ri::after_statement(&cx).await?;
                self.check_serializable()?;
                let word = if *word == "INSERT" { "INSERT 0" } else { word };
                let (cursor, tag) = if plan.returns {
                    (Some(Box::new((QueryCursor::Rows(result.rows), cx))), Tag::Counted(word))
                } else {
                    (None, Tag::Fixed(format!("{word} {}", result.count)))
                };
                Ok(Execution { output: planned.output.clone(), cursor, tag, sent: 0 })
            }
        }
    }

    /// Fails as soon as it is certain that a SERIALIZABLE transaction cannot be committed, rather than at its end: it has
    /// written, and something that it has read was changed since.
    fn check_serializable(&self) -> PgResult<()> {
        match &self.txn {
            Some(txn) if txn.isolation == IsolationLevel::Serializable && txn.explicit => {
                if txn.txn.has_writes() { txn.txn.check_reads().map_err(from_kv) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    /// The surroundings of a statement whose snapshot is taken.
    pub(crate) fn exec_context(&mut self, params: Arc<[Datum]>) -> ExecContext {
        let env = self.eval_env();
        let wait = self.lock_wait();
        let engine = self.engine.clone();
        let txn = self.ensure_txn();
        ExecContext {
            txn: txn.txn.clone(),
            isolation: txn.isolation,
            visibility: Visibility::At(txn.txn.snapshot()),
            params,
            env,
            wait,
            written: Arc::default(),
            after: Arc::new(AfterQueue::new(&engine)),
            deferred: txn.deferred.clone(),
            engine,
        }
    }

    /// Sends rows of an execution, up to `max_rows` of them; true when there are no more.
    ///
    /// # Errors
    /// What the query raises, and 08006 when the client is gone.
    pub(crate) async fn send_rows(
        &self,
        execution: &mut Execution,
        columns: &[WireColumn],
        max_rows: usize,
        out: &mut Responder,
    ) -> PgResult<bool> {
        let Some((cursor, cx)) = execution.cursor.as_deref_mut() else { return Ok(true) };
        let mut left = max_rows;
        loop {
            let progress = cursor.fetch(cx, left, &mut WireSink::new(out, columns, &cx.env)).await?;
            execution.sent += progress.rows as u64;
            left -= progress.rows;
            if progress.done {
                execution.cursor = None;
                return Ok(true);
            }
            if left == 0 {
                return Ok(false);
            }
            out.flush_if_full().await?;
            self.cancel.check()?;
            // A query that finds its data in memory must not keep others from running.
            tokio::task::yield_now().await;
        }
    }

    /// Runs a future that stops when the statement is cancelled, or its time or its transaction's is over.
    ///
    /// # Errors
    /// What the cancellation says (with what was waited for then as its cause), or what the future raises.
    pub(crate) async fn cancelable<T>(
        cancel: &CancelToken,
        engine: &Engine,
        pid: i32,
        work: impl Future<Output = PgResult<T>>,
    ) -> PgResult<T> {
        cancel.check()?;
        let mut work = std::pin::pin!(work);
        tokio::select! {
            biased;
            result = &mut work => result,
            reason = cancel.canceled() => {
                let waits = engine.store.lock_waits();
                let own = waits.into_iter().find(|wait| process_id(wait.session) == pid);
                Err(match own {
                    Some(wait) => reason.error().caused_by(Waited(wait.target)),
                    None => reason.error(),
                })
            }
        }
    }
}
