//! From a bound statement to a plan.

use std::sync::Arc;

use shardforge_kv::{ObjectLockMode, Timestamp};
use shardforge_types::{Oid, PgResult};

use super::fast::FastSelect;
use super::hoist::hoist_subqueries;
use super::modify::ModifyPlan;
use super::query::QueryPlan;
use super::single::SingleTable;
use crate::catalog::{CatalogSnapshot, Dependency, IndexState, TableDesc};
use crate::engine::Engine;
use crate::ir::{
    Col, Cte, CteBody, CteId, Modify, ModifyOp, OutputColumn, Rel, Statement, StatementKind, Ty,
};
use crate::storage::TableLayout;

/// A statement ready to run, any number of times, while its dependencies hold.
pub struct Planned {
    /// The data-modifying statements of its WITH, which run first, in order.
    pub first: Vec<(CteId, ModifyPlan)>,
    /// How it runs.
    pub kind: PlannedKind,
    /// The result's columns; empty for a write without RETURNING.
    pub output: Arc<[OutputColumn]>,
    /// Parameter types.
    pub params: Vec<Ty>,
    /// What it was planned against.
    pub dependencies: Vec<Dependency>,
    /// Table locks to take first.
    pub table_locks: Vec<(Oid, ObjectLockMode)>,
    /// Refused in a read-only transaction.
    pub writes: bool,
    /// The first of its locking clauses, such as FOR UPDATE.
    pub row_lock: Option<&'static str>,
}

/// How a statement runs.
pub enum PlannedKind {
    /// Rows come from a query.
    Query(QueryPlan),
    /// A write: the word of its command tag, and the plan.
    Modify(&'static str, ModifyPlan),
}

/// Plans statements against one catalog snapshot.
pub struct Planner<'a> {
    /// The server: caches table layouts.
    pub engine: &'a Arc<Engine>,
    /// The catalog that the statement was bound with.
    pub catalog: &'a Arc<CatalogSnapshot>,
    /// The snapshot that the plan is for, if that is one of before: the plan reads by no index that is younger.
    pub reads_at: Option<Timestamp>,
}

impl Planner<'_> {
    /// Plans a bound statement.
    ///
    /// # Errors
    /// What is not supported, and expressions that do not compile.
    pub fn plan(&self, statement: Statement) -> PgResult<Planned> {
        let Statement { kind, output, params, dependencies, table_locks, writes, row_lock } = statement;
        let mut first = Vec::new();
        let kind = match &kind {
            StatementKind::Query(rel) => {
                if let Rel::With { ctes, .. } = rel {
                    first = self.writes_of(ctes, params.len())?;
                }
                let cols: Vec<Col> = output.iter().map(|column| column.col).collect();
                PlannedKind::Query(self.query(rel, &cols, params.len())?)
            }
            StatementKind::Modify(modify) => {
                first = self.writes_of(&modify.ctes, params.len())?;
                let tag = match &modify.op {
                    ModifyOp::Insert { .. } => "INSERT",
                    ModifyOp::Update { .. } => "UPDATE",
                    ModifyOp::Delete { .. } => "DELETE",
                };
                PlannedKind::Modify(tag, self.modify(modify, &modify.ctes, params.len())?)
            }
        };
        let output = output.into();
        Ok(Planned { first, kind, output, params, dependencies, table_locks, writes, row_lock })
    }

    /// Plans the data-modifying statements among common table expressions.
    fn writes_of(&self, ctes: &[Cte], params: usize) -> PgResult<Vec<(CteId, ModifyPlan)>> {
        let mut writes = Vec::new();
        for (i, cte) in ctes.iter().enumerate() {
            if let CteBody::Plain(rel, _) = &cte.body
                && let Rel::Modify(modify) = &**rel
            {
                // It sees the expressions before it, and those of a WITH of its own.
                let visible: Vec<Cte> = ctes[..i].iter().chain(&modify.ctes).cloned().collect();
                writes.push((cte.id, self.modify(modify, &visible, params)?));
            }
        }
        Ok(writes)
    }

    /// Plans a write whose queries may read the given common table expressions.
    fn modify(&self, modify: &Modify, ctes: &[Cte], params: usize) -> PgResult<ModifyPlan> {
        let plan = self.modify_as(modify.clone(), ctes, params)?;
        let is_insert = matches!(modify.op, ModifyOp::Insert { .. });
        if is_insert || matches!(plan.source, QueryPlan::Fast(_)) {
            return Ok(plan);
        }
        // Rows of a join, or with subqueries in their conditions, are locked and checked again by the query.
        let mut locking = modify.clone();
        locking.lock_source();
        self.modify_as(locking, ctes, params)
    }

    fn modify_as(&self, mut modify: Modify, ctes: &[Cte], params: usize) -> PgResult<ModifyPlan> {
        let layout = self.layout(&modify.table)?;
        hoist_subqueries(&mut modify)?;
        let mut plan_source = |rel: &Rel| {
            let cols = rel.columns();
            let plan = if ctes.is_empty() {
                self.query(rel, &cols, params)?
            } else {
                let body = Box::new(rel.clone());
                self.query(&Rel::With { ctes: ctes.to_vec(), body }, &cols, params)?
            };
            Ok((plan, cols))
        };
        ModifyPlan::plan(&modify, layout, &mut plan_source)
    }

    /// Plans a query whose rows have the given columns, in this order.
    ///
    /// # Errors
    /// As [`Self::plan`].
    pub fn query(&self, rel: &Rel, output: &[Col], params: usize) -> PgResult<QueryPlan> {
        let reason = match SingleTable::recognise(rel) {
            Err(reason) => reason,
            Ok(query) => match FastSelect::plan(query, output, &|scan| self.layout(&scan.table))? {
                Ok(plan) => return Ok(QueryPlan::Fast(Arc::new(plan))),
                Err(reason) => reason,
            },
        };
        let plan = crate::df::DfPlan::plan(rel, output, params, self)?;
        Ok(QueryPlan::DataFusion(Arc::new(plan), reason))
    }

    /// A table's layout.
    ///
    /// # Errors
    /// If an expression of its descriptor no longer compiles.
    pub fn layout(&self, table: &Arc<TableDesc>) -> PgResult<Arc<TableLayout>> {
        let Some(read_ts) = self.reads_at else { return self.engine.layout(table, self.catalog) };
        let mut then = TableDesc::clone(table);
        for index in &mut then.indexes {
            if index.state == IndexState::Public && !self.engine.is_readable_at(index, read_ts) {
                index.state = IndexState::WriteOnly;
            }
        }
        self.engine.layout(&Arc::new(then), self.catalog)
    }
}
