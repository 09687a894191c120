//! BEGIN, COMMIT, ROLLBACK, savepoints, and the implicit transactions around single statements.

use std::sync::Arc;

use shardforge_kv::{CommitInfo, IsolationLevel, KvError, ObjectLockMode, TxnOptions};
use shardforge_pgwire::CancelReason;
use shardforge_types::{PgError, PgResult, Severity, SqlState};

use super::PgSession;
use super::error::from_kv;
use super::listen::Ready;
use super::portal::Portal;
use super::timeouts::TimeLimit;
use super::transaction::SessionTxn;
use crate::ddl::{self, FreshBuckets};
use crate::notify::commit_lock;
use crate::parse::ast::{self, ConstraintsSetStmt, TransactionKind, TransactionModes, TransactionStmt};
use crate::ri;

impl PgSession {
    /// A transaction statement; answers its command tag.
    ///
    /// # Errors
    /// 25001 and its kin; at COMMIT, whatever keeps the transaction from committing.
    pub(crate) async fn transaction_statement(&mut self, stmt: &TransactionStmt) -> PgResult<String> {
        let tag = match &stmt.kind {
            TransactionKind::Begin(modes) => {
                self.begin(modes).await?;
                "BEGIN"
            }
            TransactionKind::Start(modes) => {
                self.begin(modes).await?;
                "START TRANSACTION"
            }
            TransactionKind::Commit { chain } => return self.commit_statement(*chain).await,
            TransactionKind::Rollback { chain } => return self.rollback_statement(*chain).await,
            TransactionKind::Savepoint(name) => {
                self.require_block("SAVEPOINT")?;
                let mark = self.settings.mark();
                let portals = self.portals_made;
                let pending = self.services.listener.mark();
                self.ensure_txn().savepoint(name.to_string(), mark, portals, pending);
                "SAVEPOINT"
            }
            TransactionKind::Release(name) => {
                self.require_block("RELEASE SAVEPOINT")?;
                let txn = self.ensure_txn();
                let position = txn.find_savepoint(name).ok_or_else(|| no_savepoint(name))?;
                txn.release(position)?;
                "RELEASE"
            }
            TransactionKind::RollbackTo(name) => {
                self.require_block("ROLLBACK TO SAVEPOINT")?;
                let txn = self.ensure_txn();
                let position = txn.find_savepoint(name).ok_or_else(|| no_savepoint(name))?;
                let frame = txn.rollback_to(position)?;
                let (mark, portals, pending) = (frame.settings, frame.portals, frame.pending);
                self.services.listener.rollback_to(pending);
                self.settings.rollback_to(mark);
                self.portals.retain(|_, portal| portal.number <= portals || portal.outlives_transaction());
                self.search_path = None;
                "ROLLBACK"
            }
            TransactionKind::Prepare(gid) => self.prepare_transaction(gid).await?,
            TransactionKind::CommitPrepared(gid) => {
                self.commit_prepared(gid).await?;
                "COMMIT PREPARED"
            }
            TransactionKind::RollbackPrepared(gid) => {
                self.rollback_prepared(gid).await?;
                "ROLLBACK PREPARED"
            }
        };
        Ok(tag.to_owned())
    }

    async fn begin(&mut self, modes: &TransactionModes) -> PgResult<()> {
        if let Some(txn) = &mut self.txn {
            if txn.explicit {
                self.warn(SqlState::ACTIVE_SQL_TRANSACTION, "there is already a transaction in progress");
            }
            txn_mut(&mut self.txn)?.explicit = true;
            return self.set_transaction_modes(modes);
        }
        let as_of = modes.as_of.as_ref().map(|expr| self.past_timestamp(expr)).transpose()?;
        self.open_transaction(modes, None);
        if let Some(at) = as_of
            && let Err(error) = self.travel_to(at)
        {
            self.rollback().await;
            return Err(error);
        }
        Ok(())
    }

    fn open_transaction(&mut self, modes: &TransactionModes, previous: Option<(IsolationLevel, bool, bool)>) {
        let (isolation, read_only, deferrable) = previous.unwrap_or_else(|| {
            let deferrable = self.settings.show("default_transaction_deferrable").as_deref() == Some("on");
            self.settings.parsed(|parsed| (parsed.default_isolation, parsed.default_read_only, deferrable))
        });
        let isolation = modes.isolation.map_or(isolation, isolation_level);
        let read_only = modes.read_only.unwrap_or(read_only);
        let options = TxnOptions { isolation, read_only, session: self.env.backend_pid as u64 };
        let txn = Arc::new(self.engine.store.begin(options));
        self.services.set_transaction(Some((txn.clone(), self.message_at)));
        let mut txn = SessionTxn::new(txn, isolation, read_only, true, self.message_at, &self.engine);
        txn.limit = self.transaction_limit();
        txn.deferrable = modes.deferrable.unwrap_or(deferrable);
        self.services.set_deferrable(txn.deferrable);
        self.txn = Some(txn);
    }

    /// `transaction_timeout`, from now on.
    fn transaction_limit(&self) -> Option<TimeLimit> {
        let limit = self.settings.parsed(|parsed| parsed.transaction_timeout)?;
        let reason = CancelReason::TransactionTimeout;
        Some(TimeLimit::start(&self.engine.runtime, &self.cancel, reason, limit))
    }

    /// SET has changed `transaction_timeout`: it begins anew in the open transaction.
    pub(crate) fn limit_transaction(&mut self) {
        let limit = self.transaction_limit();
        if let Some(txn) = &mut self.txn {
            txn.limit = limit;
        }
    }

    /// SET TRANSACTION, and BEGIN's modes inside an implicit transaction.
    ///
    /// # Errors
    /// 25001 if a query has run already, or a savepoint is open.
    pub(crate) fn set_transaction_modes(&mut self, modes: &TransactionModes) -> PgResult<()> {
        if let Some(expr) = &modes.as_of {
            let at = self.past_timestamp(expr)?;
            return self.travel_to(at);
        }
        let txn = self.ensure_txn();
        let (used, in_savepoint) = (txn.used, !txn.savepoints.is_empty());
        let refused = |message: &str| Err(PgError::new(SqlState::ACTIVE_SQL_TRANSACTION, message));
        if txn.as_of.is_some() && (modes.isolation.is_some() || modes.read_only == Some(false)) {
            return refused("a transaction AS OF SYSTEM TIME is read only and has one snapshot");
        }
        if let Some(isolation) = modes.isolation.map(isolation_level)
            && isolation != txn.isolation
        {
            if used {
                return refused("SET TRANSACTION ISOLATION LEVEL must be called before any query");
            }
            if in_savepoint {
                return refused("SET TRANSACTION ISOLATION LEVEL must not be called in a subtransaction");
            }
            txn.txn.set_isolation(isolation).map_err(from_kv)?;
            txn.isolation = isolation;
        }
        if let Some(read_only) = modes.read_only {
            if txn.read_only && !read_only {
                if in_savepoint {
                    return refused("cannot set transaction read-write mode inside a read-only transaction");
                }
                if used {
                    return refused("transaction read-write mode must be set before any query");
                }
            }
            txn.read_only = read_only;
            txn.txn.set_read_only(read_only);
        }
        if let Some(deferrable) = modes.deferrable {
            if in_savepoint {
                return refused("SET TRANSACTION [NOT] DEFERRABLE cannot be called within a subtransaction");
            }
            if used {
                return refused("SET TRANSACTION [NOT] DEFERRABLE must be called before any query");
            }
            txn.deferrable = deferrable;
            self.services.set_deferrable(deferrable);
        }
        Ok(())
    }

    async fn commit_statement(&mut self, chain: bool) -> PgResult<String> {
        let Some(txn) = &self.txn else {
            return self.no_transaction(chain, "COMMIT");
        };
        if !txn.explicit && chain {
            return self.no_transaction(chain, "COMMIT");
        }
        if !txn.explicit {
            self.warn(SqlState::NO_ACTIVE_SQL_TRANSACTION, "there is no transaction in progress");
        }
        let (failed, modes) = (txn.failed, (txn.isolation, txn.read_only, txn.deferrable));
        if failed {
            self.rollback().await;
        } else {
            self.commit().await?;
        }
        if chain {
            self.open_transaction(&TransactionModes::default(), Some(modes));
        }
        Ok(if failed { "ROLLBACK" } else { "COMMIT" }.to_owned())
    }

    async fn rollback_statement(&mut self, chain: bool) -> PgResult<String> {
        let Some(txn) = &self.txn else {
            return self.no_transaction(chain, "ROLLBACK");
        };
        if !txn.explicit && chain {
            return self.no_transaction(chain, "ROLLBACK");
        }
        if !txn.explicit {
            self.warn(SqlState::NO_ACTIVE_SQL_TRANSACTION, "there is no transaction in progress");
        }
        let modes = (txn.isolation, txn.read_only, txn.deferrable);
        self.rollback().await;
        if chain {
            self.open_transaction(&TransactionModes::default(), Some(modes));
        }
        Ok("ROLLBACK".to_owned())
    }

    fn no_transaction(&mut self, chain: bool, word: &str) -> PgResult<String> {
        if chain {
            return Err(PgError::new(
                SqlState::NO_ACTIVE_SQL_TRANSACTION,
                format!("{word} AND CHAIN can only be used in transaction blocks"),
            ));
        }
        self.warn(SqlState::NO_ACTIVE_SQL_TRANSACTION, "there is no transaction in progress");
        Ok(word.to_owned())
    }

    /// Commits the open transaction: data, then the catalog, then the end of locks.
    ///
    /// # Errors
    /// What keeps it from committing; it is rolled back then (or, for 08007, its outcome is unknown).
    pub(crate) async fn commit(&mut self) -> PgResult<()> {
        if let Err(error) = self.before_commit().await {
            self.rollback().await;
            return Err(error);
        }
        let notifications = match self.prepare_notifications().await {
            Ok(notifications) => notifications,
            Err(error) => {
                self.rollback().await;
                return Err(error);
            }
        };
        let Some(mut txn) = self.txn.take() else { return Ok(()) };
        self.portals.retain(|_, portal| portal.outlives_transaction());
        let changes = std::mem::take(&mut txn.changes);
        if !changes.is_empty() {
            self.search_path = None;
        }
        let dropped = std::mem::take(&mut txn.dropped_storage);
        let fresh = FreshBuckets::of(&self.engine, self.database, &changes);
        let result = if changes.is_empty() && notifications.is_none() {
            txn.txn.commit().await
        } else {
            let (engine, database) = (self.engine.clone(), self.database);
            let listener = self.services.listener.clone();
            let publish = move |commit_ts| {
                if !changes.is_empty() {
                    engine.publish(database, &changes, commit_ts);
                }
                if let Some(notifications) = notifications {
                    listener.committed(notifications);
                }
            };
            txn.txn.commit_with(publish).await
        };
        self.committed(&txn, &result);
        result.map_err(from_kv)?;
        for storage in dropped {
            self.engine.reclaim(storage);
        }
        fresh.split(&self.engine).await;
        Ok(())
    }

    /// Commits the open transaction where that is no work, as at the end of a query; false, and nothing is done, where
    /// it is some.
    ///
    /// # Errors
    /// As [`Self::commit`].
    fn commit_reads(&mut self) -> PgResult<bool> {
        let Some(txn) = &self.txn else { return Ok(true) };
        let is_work = !txn.changes.is_empty()
            || !txn.deferred.lock().is_empty()
            || self.services.listener.is_pending()
            || self.portals.values().any(Portal::must_be_persisted);
        if is_work {
            return Ok(false);
        }
        let result = match txn.txn.commit_reads() {
            Ok(None) => return Ok(false),
            Ok(Some(info)) => Ok(info),
            Err(error) => Err(error),
        };
        if let Some(txn) = self.txn.take() {
            self.portals.retain(|_, portal| portal.outlives_transaction());
            self.committed(&txn, &result);
        }
        result.map(|_| true).map_err(from_kv)
    }

    /// The store has committed the transaction, or could not.
    fn committed(&self, txn: &SessionTxn, result: &Result<CommitInfo, KvError>) {
        if let Ok(commit) = result {
            self.engine.sessions.committed(&self.activity, &txn.txn, commit.commit_ts);
        }
        self.settings.end_transaction(result.is_ok());
        self.services.set_transaction(None);
    }

    /// What the transaction's LISTEN and NOTIFY do when it commits. With messages to deliver it is the only one of
    /// its database from here to the end of its commit.
    async fn prepare_notifications(&mut self) -> PgResult<Option<Ready>> {
        let Some(pending) = self.services.listener.take_pending() else { return Ok(None) };
        if pending.notifies() {
            let lock = commit_lock(self.database);
            let wait = self.lock_wait();
            let txn = self.ensure_txn().txn.clone();
            txn.lock_object(lock, ObjectLockMode::AccessExclusive, wait).await.map_err(from_kv)?;
        }
        self.services.listener.prepare(pending).map(Some)
    }

    /// What may keep a transaction from committing: its deferred constraints, and the queries of cursors that outlive
    /// it. Unlike the commit itself it can be cancelled.
    async fn before_commit(&mut self) -> PgResult<()> {
        self.check_deferred().await?;
        if self.portals.values().any(Portal::must_be_persisted) {
            Box::pin(self.persist_cursors()).await?;
        }
        Ok(())
    }

    /// Checks the constraints that were deferred.
    pub(super) async fn check_deferred(&mut self) -> PgResult<()> {
        if self.txn.as_ref().is_some_and(|txn| !txn.deferred.lock().is_empty()) {
            let (cancel, engine, pid) = (self.cancel.clone(), self.engine.clone(), self.activity.pid);
            self.ensure_txn().txn.begin_statement();
            let cx = self.exec_context(Arc::new([]));
            let checks = Box::pin(ri::at_commit(&cx));
            Self::cancelable(&cancel, &engine, pid, checks).await?;
        }
        Ok(())
    }

    /// SET CONSTRAINTS.
    ///
    /// # Errors
    /// 42704 for a constraint that there is not, 42809 for one that is not deferrable; what its check raises.
    pub(crate) async fn constraints_statement(&mut self, stmt: &ConstraintsSetStmt) -> PgResult<()> {
        if self.txn.as_ref().is_none_or(|txn| !txn.explicit) {
            self.warn(
                SqlState::NO_ACTIVE_SQL_TRANSACTION,
                "SET CONSTRAINTS can only be used in transaction blocks",
            );
        }
        let constraints = ddl::deferrable_constraints(self, &stmt.constraints)?;
        let txn = self.ensure_txn();
        txn.used = true;
        txn.txn.begin_statement();
        let cx = self.exec_context(Arc::new([]));
        ri::set_constraints(&cx, &constraints, stmt.deferred).await
    }

    /// Rolls the open transaction back, if there is one.
    pub(crate) async fn rollback(&mut self) {
        let Some(txn) = self.txn.take() else { return };
        self.portals.retain(|_, portal| portal.outlives_transaction());
        if let Err(error) = txn.txn.rollback().await {
            tracing::warn!(%error, "a transaction did not roll back cleanly");
        }
        self.settings.end_transaction(false);
        self.services.set_transaction(None);
        self.search_path = None;
    }

    /// Ends an implicit transaction at the end of a message or a pipeline.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub(crate) async fn end_implicit(&mut self) -> PgResult<()> {
        match &self.txn {
            Some(txn) if !txn.explicit && txn.failed => {
                Box::pin(self.rollback()).await;
                Ok(())
            }
            Some(txn) if !txn.explicit => match self.commit_reads()? {
                true => Ok(()),
                // Boxed: a query's future should not have room for a commit.
                false => Box::pin(self.commit()).await,
            },
            Some(_) => Ok(()),
            None => {
                if self.settings.mark() > 0 {
                    self.settings.end_transaction(true);
                }
                Ok(())
            }
        }
    }

    /// A statement failed: its transaction block fails, an implicit transaction is rolled back.
    pub(crate) async fn statement_failed(&mut self) {
        self.portals.remove("");
        match &mut self.txn {
            Some(txn) if txn.explicit => match txn.fail().await {
                Ok(true) => self.services.set_transaction(None),
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "a failed transaction did not let go of its locks"),
            },
            Some(_) => self.rollback().await,
            None => self.settings.end_transaction(false),
        }
    }

    pub(crate) fn require_block(&self, what: &str) -> PgResult<()> {
        match &self.txn {
            Some(txn) if txn.explicit => Ok(()),
            _ => Err(PgError::new(
                SqlState::NO_ACTIVE_SQL_TRANSACTION,
                format!("{what} can only be used in transaction blocks"),
            )),
        }
    }

    pub(crate) fn warn(&self, sqlstate: SqlState, message: &str) {
        use crate::exec::env::Host;
        self.services.notice(PgError::with_severity(Severity::Warning, sqlstate, message));
    }
}

fn txn_mut(txn: &mut Option<SessionTxn>) -> PgResult<&mut SessionTxn> {
    txn.as_mut().ok_or_else(|| PgError::internal("no transaction"))
}

fn no_savepoint(name: &str) -> PgError {
    PgError::new(SqlState::S_E_INVALID_SPECIFICATION, format!("savepoint \"{name}\" does not exist"))
}

/// PostgreSQL treats READ UNCOMMITTED as READ COMMITTED.
pub(crate) fn isolation_level(level: ast::IsolationLevel) -> IsolationLevel {
    match level {
        ast::IsolationLevel::ReadUncommitted | ast::IsolationLevel::ReadCommitted => {
            IsolationLevel::ReadCommitted
        }
        ast::IsolationLevel::RepeatableRead => IsolationLevel::RepeatableRead,
        ast::IsolationLevel::Serializable => IsolationLevel::Serializable,
    }
}
