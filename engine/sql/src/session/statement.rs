//! Prepared statements: text, tree, and the plan that is kept while the catalog stays the same.

use std::sync::Arc;

use parking_lot::Mutex;
use shardforge_kv::{IsolationLevel, ObjectLockMode, Timestamp};
use shardforge_pgwire::{CancelReason, FieldDesc};
use shardforge_types::{Oid, PgError, PgResult, SqlState};

use super::PgSession;
use super::timeouts::TimeLimit;
use super::wire::{describe, fields};
use crate::bind::{self, Unbound};
use crate::ir::Ty;
use crate::parse::ast::{Expr, Statement};
use crate::plan::{Planned, Planner};

/// A prepared statement.
pub struct Prepared {
    /// Its text.
    pub sql: Arc<str>,
    /// The raw tree, without AS OF SYSTEM TIME; `None` for an empty statement.
    pub stmt: Option<Arc<Statement>>,
    /// AS OF SYSTEM TIME.
    pub as_of: Option<Box<Expr>>,
    /// Parameter types: given by the client, or inferred.
    pub params: Vec<Ty>,
    /// Result columns; `None` if it returns no rows.
    pub fields: Option<Arc<[FieldDesc]>>,
    /// The client hears of the columns when the statement has its locks, as in a simple query: until then they may
    /// become others.
    pub described_late: bool,
    plan: Mutex<Option<CachedPlan>>,
}

#[derive(Clone)]
struct CachedPlan {
    planned: Arc<Planned>,
    search_path: Arc<[Oid]>,
    /// Catalog version at which the plan was last found valid.
    valid_at: u64,
}

/// True for statements that the binder and the planner handle.
pub fn is_planned(stmt: &Statement) -> bool {
    matches!(
        stmt,
        Statement::Select(_)
            | Statement::Insert(_)
            | Statement::Update(_)
            | Statement::Delete(_)
            | Statement::Merge(_)
    )
}

/// Takes AS OF SYSTEM TIME out of a query. It is about the transaction that the query runs in, not about the query.
fn take_as_of(stmt: &mut Arc<Statement>) -> Option<Box<Expr>> {
    let Statement::Select(select) = &**stmt else { return None };
    select.as_of.as_ref()?;
    match Arc::make_mut(stmt) {
        Statement::Select(select) => select.as_of.take(),
        _ => None,
    }
}

/// The planned statement inside a utility statement whose parameters are the utility's own.
fn query_within(stmt: &Statement) -> Option<Statement> {
    match stmt {
        Statement::DeclareCursor(declare) => Some(Statement::Select(declare.query.clone())),
        Statement::Explain(explain) if is_planned(&explain.query) => Some(explain.query.clone()),
        _ => None,
    }
}

impl PgSession {
    /// Prepares a statement: binds and plans it, which finds its parameter types and result columns.
    ///
    /// # Errors
    /// What binding and planning raise, with byte positions.
    pub(crate) async fn prepare(
        &mut self,
        sql: Arc<str>,
        mut stmt: Option<Arc<Statement>>,
        param_types: &[Oid],
    ) -> PgResult<Prepared> {
        let as_of = stmt.as_mut().and_then(take_as_of);
        let mut prepared = Prepared {
            sql,
            stmt,
            as_of,
            params: Vec::new(),
            fields: None,
            described_late: false,
            plan: Mutex::new(None),
        };
        let Some(stmt) = prepared.stmt.clone() else { return Ok(prepared) };
        if is_planned(&stmt) {
            let (planned, search_path, version) = self.plan_or_wait(&stmt, param_types.to_vec()).await?;
            prepared.params.clone_from(&planned.params);
            prepared.fields = (!planned.output.is_empty() || matches!(*stmt, Statement::Select(_)))
                .then(|| fields(&planned.output).into());
            *prepared.plan.lock() =
                Some(CachedPlan { planned: Arc::new(planned), search_path, valid_at: version });
        } else if let Some(query) = query_within(&stmt) {
            prepared.params = self.plan_or_wait(&query, param_types.to_vec()).await?.0.params;
            prepared.fields = self.utility_columns(&stmt)?.map(|columns| fields(&columns).into());
        } else {
            prepared.params = param_types.iter().map(|oid| Ty::new(*oid)).collect();
            prepared.fields = self.utility_columns(&stmt)?.map(|columns| fields(&columns).into());
        }
        Ok(prepared)
    }

    /// The plan of a prepared statement: the kept one, or a new one if what it depends on has changed.
    ///
    /// # Errors
    /// What planning raises; 0A000 if the result's columns would change.
    pub(crate) fn plan_of(&mut self, prepared: &Prepared) -> PgResult<Arc<Planned>> {
        let Some(stmt) = &prepared.stmt else {
            return Err(PgError::internal("an empty statement has no plan"));
        };
        let catalog = self.catalog();
        let search_path = self.search_path(&catalog);
        let own_changes = self.txn.as_ref().is_some_and(|txn| !txn.changes.is_empty());
        let kept = prepared.plan.lock().clone();
        if let Some(kept) = kept
            && (Arc::ptr_eq(&kept.search_path, &search_path) || *kept.search_path == *search_path)
        {
            if kept.valid_at == catalog.version && !own_changes {
                return Ok(kept.planned);
            }
            if catalog.satisfies(&kept.planned.dependencies) {
                if !own_changes && let Some(plan) = &mut *prepared.plan.lock() {
                    plan.valid_at = catalog.version;
                }
                return Ok(kept.planned);
            }
        }
        let param_types = prepared.params.iter().map(|ty| ty.oid).collect();
        let now = self.plan_now(stmt, param_types);
        let (planned, search_path, version) = now.map_err(|unbound| unbound.error)?;
        let same_columns = match &prepared.fields {
            Some(old) => describe(old, &planned.output),
            None => planned.output.is_empty(),
        };
        if !same_columns && !prepared.described_late {
            return Err(PgError::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                "cached plan must not change result type",
            ));
        }
        let planned = Arc::new(planned);
        if !own_changes {
            *prepared.plan.lock() =
                Some(CachedPlan { planned: planned.clone(), search_path, valid_at: version });
        }
        Ok(planned)
    }

    /// The plan of a prepared statement for the transaction's only snapshot, if that is older than an index of the
    /// tables that the kept plan reads; `None` if the kept plan will do.
    ///
    /// # Errors
    /// What binding and planning raise.
    pub(crate) fn plan_for_old_snapshot(
        &mut self,
        prepared: &Prepared,
        kept: &Planned,
    ) -> PgResult<Option<Arc<Planned>>> {
        if self.engine.all_indexes_are_old() {
            return Ok(None);
        }
        let txn = self.txn.as_ref().filter(|txn| txn.isolation != IsolationLevel::ReadCommitted);
        let Some(read_ts) = txn.and_then(|txn| txn.txn.read_timestamp()) else { return Ok(None) };
        let catalog = self.catalog();
        let tables = kept.dependencies.iter().filter_map(|found| catalog.table(found.relation));
        let mut indexes = tables.flat_map(|table| &table.indexes);
        let Some(stmt) = &prepared.stmt else { return Ok(None) };
        if indexes.all(|index| self.engine.is_readable_at(index, read_ts)) {
            return Ok(None);
        }
        let param_types = prepared.params.iter().map(|ty| ty.oid).collect();
        let planned = self.plan_at(stmt, param_types, Some(read_ts));
        Ok(Some(Arc::new(planned.map_err(|unbound| unbound.error)?.0)))
    }

    /// Binds and plans a statement that is new.
    ///
    /// PostgreSQL locks a table when it meets its name, so a statement that goes wrong behind that has waited for whoever
    /// is changing the table. The same here: an error stands once the tables that had been found are locked, and nothing
    /// has changed meanwhile.
    ///
    /// # Errors
    /// What binding, planning and the locks raise.
    async fn plan_or_wait(
        &mut self,
        stmt: &Statement,
        param_types: Vec<Oid>,
    ) -> PgResult<(Planned, Arc<[Oid]>, u64)> {
        loop {
            let version = self.engine.catalog.version();
            let unbound = match self.plan_now(stmt, param_types.clone()) {
                Ok(planned) => return Ok(planned),
                Err(unbound) => unbound,
            };
            if !unbound.table_locks.is_empty() {
                Box::pin(self.lock_tables_found(&unbound.table_locks)).await?;
            }
            if self.engine.catalog.version() == version {
                return Err(unbound.error);
            }
        }
    }

    async fn lock_tables_found(&mut self, tables: &[(Oid, ObjectLockMode)]) -> PgResult<()> {
        let (cancel, engine, pid) = (self.cancel.clone(), self.engine.clone(), self.activity.pid);
        let timeout = self.settings.parsed(|parsed| parsed.statement_timeout);
        let _limit = timeout
            .map(|after| TimeLimit::start(&engine.runtime, &cancel, CancelReason::StatementTimeout, after));
        let wait = self.lock_wait();
        let lock = async {
            for (table, mode) in tables {
                self.lock_table(*table, *mode, wait).await?;
            }
            Ok(())
        };
        Self::cancelable(&cancel, &engine, pid, lock).await
    }

    /// Binds and plans a statement against the newest catalog.
    ///
    /// # Errors
    /// What binding and planning raise.
    fn plan_now(
        &mut self,
        stmt: &Statement,
        param_types: Vec<Oid>,
    ) -> Result<(Planned, Arc<[Oid]>, u64), Unbound> {
        self.plan_at(stmt, param_types, None)
    }

    /// As `plan_now`; with a snapshot, for that one and no later one.
    fn plan_at(
        &mut self,
        stmt: &Statement,
        param_types: Vec<Oid>,
        reads_at: Option<Timestamp>,
    ) -> Result<(Planned, Arc<[Oid]>, u64), Unbound> {
        let catalog = self.catalog();
        let search_path = self.search_path(&catalog);
        let io = self.settings.parsed(|parsed| parsed.io.clone());
        let database = self.database_name.clone();
        let cx = self.bind_context(&catalog, &search_path, &io, &database, param_types);
        let bound = bind::bind_statement(stmt, &cx)?;
        let planned = Planner { engine: &self.engine, catalog: &catalog, reads_at }.plan(bound);
        let planned = planned.map_err(|error| Unbound { error, table_locks: Vec::new() })?;
        Ok((planned, search_path, catalog.version))
    }
}
