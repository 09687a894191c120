//! From a bound statement to a plan.

use std::sync::Arc;

use shardforge_kv::ObjectLockMode;
use shardforge_types::{Oid, PgError, PgResult};

use super::fast::FastSelect;
use super::modify::ModifyPlan;
use super::query::QueryPlan;
use super::single::SingleTable;
use crate::catalog::{CatalogSnapshot, Dependency, TableDesc};
use crate::engine::Engine;
use crate::ir::{Col, OutputColumn, Rel, Statement, StatementKind, Ty};
use crate::storage::TableLayout;

/// A statement ready to run, any number of times, while its dependencies hold.
pub struct Planned {
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
}

impl Planner<'_> {
    /// Plans a bound statement.
    ///
    /// # Errors
    /// What is not supported, and expressions that do not compile.
    pub fn plan(&self, statement: Statement) -> PgResult<Planned> {
        let Statement { kind, output, params, dependencies, table_locks, writes } = statement;
        let kind = match &kind {
            StatementKind::Query(rel) => {
                let cols: Vec<Col> = output.iter().map(|column| column.col).collect();
                PlannedKind::Query(self.query(rel, &cols, params.len())?)
            }
            StatementKind::Modify(modify) => {
                if !modify.ctes.is_empty() {
                    return Err(PgError::not_supported(
                        "WITH in front of a data-modifying statement is not supported yet",
                    )
                    .hint("Move the common table expression into the statement's query."));
                }
                let layout = self.layout(&modify.table)?;
                let mut plan_source = |rel: &Rel| {
                    let cols = rel.columns();
                    Ok((self.query(rel, &cols, params.len())?, cols))
                };
                let tag = match &modify.op {
                    crate::ir::ModifyOp::Insert { .. } => "INSERT",
                    crate::ir::ModifyOp::Update { .. } => "UPDATE",
                    crate::ir::ModifyOp::Delete { .. } => "DELETE",
                };
                PlannedKind::Modify(tag, ModifyPlan::plan(modify, layout, &mut plan_source)?)
            }
        };
        let output = output.into();
        Ok(Planned { kind, output, params, dependencies, table_locks, writes })
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
        self.engine.layout(table, self.catalog)
    }
}
