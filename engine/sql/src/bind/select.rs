//! SELECT: `transformSelectStmt` and `transformValuesClause`, and the plan that a query becomes.
//!
//! ```text
//!   FROM -> Filter (WHERE) -> Aggregate -> Filter (HAVING) -> Window
//!        -> Sort -> ProjectSet -> LockRows -> Limit -> Project
//! ```
//! When a sort key must not be computed twice, or rows are made DISTINCT, the projection comes before the sort
//! instead, and a second one drops the junk columns at the end.

use std::sync::Arc;

use shardforge_types::{Oid, PgError, PgResult, SqlState, oid};

use super::binder::{Binder, Clause, ColKind, SetCall};
use super::clause::{Grouping, SortItem};
use super::target::Target;
use super::walk::must_compute_once;
use crate::catalog::builtin::CastContext;
use crate::ir::{Col, ColId, Rel, RowLock, Scalar, ScalarKind, SortKey, Ty};
use crate::limits;
use crate::parse::ast;

/// A bound query.
#[derive(Clone, Debug)]
pub(super) struct Query {
    pub rel: Rel,
    pub cols: Vec<QueryCol>,
}

/// An output column of a query.
#[derive(Clone, Debug)]
pub(super) struct QueryCol {
    pub name: Arc<str>,
    pub col: Col,
    pub origin: (Oid, i16),
    /// Where its expression is written.
    pub pos: u32,
}

impl Query {
    /// The ids of its columns, by position.
    pub fn ids(&self) -> Vec<ColId> {
        self.cols.iter().map(|c| c.col.id).collect()
    }
}

impl Binder<'_> {
    /// Binds a query in the level that was pushed for it. Unless `resolve`, literals without a type stay so.
    pub fn select(&mut self, stmt: &ast::SelectStmt, resolve: bool) -> PgResult<Query> {
        if let Some(into) = &stmt.into {
            let message = "SELECT ... INTO is not allowed here";
            return Err(PgError::new(SqlState::SYNTAX_ERROR, message).at(into.relation.pos));
        }
        if let Some(with) = &stmt.with {
            self.with_clause(with)?;
        }
        let mut query = if stmt.set_op.is_some() {
            self.set_operation(stmt)?
        } else if !stmt.values.is_empty() {
            self.values_query(stmt, resolve)?
        } else {
            self.plain_select(stmt, resolve)?
        };
        let ctes = std::mem::take(&mut self.level().bound_ctes);
        if !ctes.is_empty() {
            let ctes = self.count_references(ctes);
            query.rel = Rel::With { ctes, body: Box::new(query.rel) };
        }
        Ok(query)
    }

    fn plain_select(&mut self, stmt: &ast::SelectStmt, resolve: bool) -> PgResult<Query> {
        if let Some(expr) = &stmt.as_of {
            let message = "AS OF SYSTEM TIME is only allowed in a query that is a statement of its own";
            return Err(PgError::not_supported(message)
                .hint("BEGIN AS OF SYSTEM TIME is for all statements of a transaction.")
                .at(expr.start()));
        }
        let mut rel = self.from_clause(&stmt.from)?;
        self.window_clause(&stmt.windows)?;
        let mut targets = self.target_list(&stmt.targets, Clause::Target)?;
        let predicate = match &stmt.where_clause {
            Some(expr) => {
                let expr = self.expr_in(expr, Clause::Where)?;
                Some(self.coerce_to_boolean(expr, "WHERE")?)
            }
            None => None,
        };
        let mut having = match &stmt.having {
            Some(expr) => {
                let expr = self.expr_in(expr, Clause::Having)?;
                Some(self.coerce_to_boolean(expr, "HAVING")?)
            }
            None => None,
        };
        let sort = self.order_by(&stmt.order_by, &mut targets)?;
        let grouping = self.group_by(stmt, &mut targets)?;
        let on = match &stmt.distinct {
            None => None,
            Some(ast::Distinct::All) => {
                self.check_distinct(&targets, &sort)?;
                None
            }
            Some(ast::Distinct::On(exprs)) => Some(self.distinct_on(exprs, &mut targets, &sort)?),
        };
        let limit = self.limit_clause(stmt)?;
        if resolve || stmt.distinct.is_some() {
            for target in &mut targets {
                target.expr = self.resolve_unknown(target.expr.clone())?;
            }
        }
        if !stmt.locking.is_empty() {
            self.check_locking(stmt)?;
        }
        let locks = self.locking(stmt, &mut rel, predicate.as_ref())?;
        if let Some(predicate) = predicate {
            rel = Rel::Filter { input: Box::new(rel), predicate };
        }
        if self.groups_rows(&grouping, having.is_some()) {
            if self.level().refers_to_itself && !self.level().aggregates.is_empty() {
                let message = "aggregate functions are not allowed in a recursive query's recursive term";
                return Err(PgError::new(SqlState::INVALID_RECURSION, message));
            }
            rel = self.expand_group_sets(rel, &grouping, &targets);
            rel = self.aggregate(rel, grouping, &mut targets, &mut having)?;
            for target in &mut targets {
                if !matches!(target.expr.kind, ScalarKind::Column(_)) {
                    target.origin = (Oid(0), 0);
                }
            }
            if let Some(predicate) = having {
                rel = Rel::Filter { input: Box::new(rel), predicate };
            }
        }
        let windows = std::mem::take(&mut self.level().window_calls);
        if !windows.is_empty() {
            rel = Rel::Window { input: Box::new(rel), functions: windows };
        }
        let plan = Output { targets, sort, distinct: stmt.distinct.is_some(), on, limit, locks };
        let mut query = self.output(rel, plan)?;
        self.finish_scans(&mut query.rel);
        Ok(query)
    }

    fn limit_clause(&mut self, stmt: &ast::SelectStmt) -> PgResult<Limits> {
        let limit = match &stmt.limit_count {
            // LIMIT ALL and LIMIT NULL are none.
            Some(ast::Expr::Const(ast::Const { value: ast::Value::Null, .. })) if !stmt.with_ties => None,
            Some(expr) => Some(self.limit_expr(expr, Clause::Limit)?),
            None => None,
        };
        let offset = match &stmt.limit_offset {
            Some(expr) => Some(self.limit_expr(expr, Clause::Offset)?),
            None => None,
        };
        if stmt.with_ties
            && let Some(Scalar { kind: ScalarKind::Const(shardforge_types::Datum::Null), .. }) = &limit
        {
            let message = "row count cannot be null in FETCH FIRST ... WITH TIES clause";
            return Err(PgError::new(SqlState::INVALID_ROW_COUNT_IN_LIMIT_CLAUSE, message));
        }
        Ok(Limits { limit, offset, with_ties: stmt.with_ties })
    }

    /// Puts what comes after grouping and windows above the relation.
    fn output(&mut self, rel: Rel, plan: Output) -> PgResult<Query> {
        let sort_exprs = || plan.sort.iter().map(|s| &plan.targets[s.target].expr);
        let once = sort_exprs().any(|e| !matches!(e.kind, ScalarKind::Column(_)) && must_compute_once(e));
        if plan.distinct || once {
            return self.project_then_sort(rel, plan);
        }
        let sorts_sets = sort_exprs().any(|e| self.uses_kind(e, ColKind::Set));
        let mut rel = rel;
        if sorts_sets {
            rel = self.expand_sets(rel);
        }
        let keys: Vec<SortKey> = plan
            .sort
            .iter()
            .map(|s| SortKey {
                expr: plan.targets[s.target].expr.clone(),
                desc: s.desc,
                nulls_first: s.nulls_first,
            })
            .collect();
        if !keys.is_empty() {
            rel = Rel::Sort { input: Box::new(rel), keys };
        }
        rel = self.expand_sets(rel);
        rel = plan.limit.above(lock_rows(rel, plan.locks));
        let targets: Vec<Target> = plan.targets.into_iter().filter(|t| !t.junk).collect();
        Ok(self.project(rel, targets))
    }

    /// Projection, DISTINCT, sort, limit, and a projection without the junk.
    fn project_then_sort(&mut self, rel: Rel, plan: Output) -> PgResult<Query> {
        let rel = self.expand_sets(rel);
        let visible: Vec<bool> = plan.targets.iter().map(|t| !t.junk).collect();
        let mut query = self.project(rel, plan.targets);
        if let (Rel::Project { items, .. }, false) = (&mut query.rel, plan.locks.is_empty()) {
            // The locks above need the keys of the rows.
            for lock in &plan.locks {
                let key = Col { id: lock.row_key, ty: Ty::new(oid::BYTEA) };
                items.push((key, Scalar::column(key.id, key.ty)));
            }
        }
        let column = |i: usize| Scalar::column(query.cols[i].col.id, query.cols[i].col.ty);
        let keys: Vec<SortKey> = plan
            .sort
            .iter()
            .map(|s| SortKey { expr: column(s.target), desc: s.desc, nulls_first: s.nulls_first })
            .collect();
        let on: Option<Vec<Scalar>> = plan.on.map(|on| on.into_iter().map(column).collect());
        let mut rel = query.rel;
        let sorted = |rel: Rel| match keys.is_empty() {
            true => rel,
            false => Rel::Sort { input: Box::new(rel), keys },
        };
        rel = match (plan.distinct, on) {
            // DISTINCT ON keeps the first row of each in the order of ORDER BY.
            (true, Some(on)) => Rel::Distinct { input: Box::new(sorted(rel)), on: Some(on) },
            (true, None) => sorted(Rel::Distinct { input: Box::new(rel), on: None }),
            (false, _) => sorted(rel),
        };
        rel = plan.limit.above(lock_rows(rel, plan.locks));
        query.rel = rel;
        if visible.iter().all(|v| *v) {
            return Ok(query);
        }
        let mut keep = visible.into_iter();
        query.cols.retain(|_| keep.next().unwrap_or(false));
        let items = query.cols.iter().map(|c| (c.col, Scalar::column(c.col.id, c.col.ty))).collect();
        query.rel = Rel::Project { input: Box::new(query.rel), items };
        Ok(query)
    }

    /// The projection of a select list. A plain column of this level keeps its id (the first time).
    pub fn project(&mut self, rel: Rel, targets: Vec<Target>) -> Query {
        let depth = self.level_depth();
        let mut items: Vec<(Col, Scalar)> = Vec::with_capacity(targets.len());
        let mut cols = Vec::with_capacity(targets.len());
        for target in targets {
            let kept = match target.expr.kind {
                ScalarKind::Column(id) if self.meta(id).depth == depth => {
                    let taken = items.iter().any(|(col, _)| col.id == id);
                    (!taken).then_some(Col { id, ty: target.expr.ty })
                }
                _ => None,
            };
            let col = kept.unwrap_or_else(|| self.new_col(target.expr.ty, ColKind::From));
            self.note_record_column(col.id, &target.expr);
            items.push((col, target.expr));
            cols.push(QueryCol { name: target.name, col, origin: target.origin, pos: target.pos });
        }
        Query { rel: Rel::Project { input: Box::new(rel), items }, cols }
    }

    fn uses_kind(&self, expr: &Scalar, kind: ColKind) -> bool {
        let depth = self.level_depth();
        let mut found = false;
        super::call::for_each_column(std::iter::once(expr), &mut |id, _| {
            let meta = self.meta(id);
            found |= meta.depth == depth && meta.kind == kind;
        });
        found
    }

    /// Puts the expansion of set-returning functions above a relation, inner ones first.
    pub fn expand_sets(&mut self, rel: Rel) -> Rel {
        let calls = std::mem::take(&mut self.level().set_calls);
        expand_calls(rel, calls)
    }

    /// Expands the set-returning functions that rows are grouped by: their rows are what is grouped.
    fn expand_group_sets(&mut self, rel: Rel, grouping: &Grouping, targets: &[Target]) -> Rel {
        let mut used: Vec<ColId> = Vec::new();
        let groups = grouping.targets.iter().map(|&target| &targets[target].expr);
        super::call::for_each_column(groups, &mut |id, _| used.push(id));
        let mut below = Vec::new();
        loop {
            let calls = &mut self.level().set_calls;
            let is_used = |call: &SetCall| call.function.cols.iter().any(|col| used.contains(&col.id));
            let Some(at) = calls.iter().position(is_used) else { break };
            let call = calls.remove(at);
            // So are those among its arguments.
            super::call::for_each_column(call.function.args.iter(), &mut |id, _| used.push(id));
            call.function.cols.iter().for_each(|col| self.adopt_col(col.id));
            below.push(call);
        }
        expand_calls(rel, below)
    }

    /// VALUES as a query (`transformValuesClause`).
    fn values_query(&mut self, stmt: &ast::SelectStmt, resolve: bool) -> PgResult<Query> {
        let width = stmt.values[0].len();
        limits::check_targets(width)?;
        let mut columns: Vec<Vec<Scalar>> = vec![Vec::with_capacity(stmt.values.len()); width];
        for row in &stmt.values {
            if row.len() != width {
                let at = row.first().map_or(stmt.pos, ast::Expr::start);
                let message = "VALUES lists must all be the same length";
                return Err(PgError::new(SqlState::SYNTAX_ERROR, message).at(at));
            }
            for (column, expr) in columns.iter_mut().zip(row) {
                column.push(self.expr_in(expr, Clause::Values)?);
            }
        }
        let mut cols = Vec::with_capacity(width);
        let mut unified = Vec::with_capacity(width);
        for (i, column) in columns.into_iter().enumerate() {
            let at = column.first().and_then(|e| e.pos).unwrap_or(stmt.pos);
            let keep_unknown =
                !resolve && column.iter().all(|e| e.ty.oid == oid::UNKNOWN) && column.len() == 1;
            let (column, ty) = if keep_unknown {
                let ty = column[0].ty;
                (column, ty)
            } else {
                self.unify(column, "VALUES")?
            };
            let col = self.new_col(ty, ColKind::From);
            let name = Arc::from(format!("column{}", i + 1));
            cols.push(QueryCol { name, col, origin: (Oid(0), 0), pos: at });
            unified.push(column.into_iter());
        }
        let rows =
            (0..stmt.values.len()).map(|_| unified.iter_mut().filter_map(Iterator::next).collect()).collect();
        let rel = Rel::Values { cols: cols.iter().map(|c| c.col).collect(), rows };
        let query = Query { rel, cols };
        if !stmt.locking.is_empty() {
            let message = format!("{} cannot be applied to VALUES", locking_name(stmt));
            return Err(PgError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
        }
        self.order_and_limit(query, stmt, "VALUES")
    }

    /// ORDER BY and LIMIT over columns that are already computed: of VALUES and of set operations.
    pub fn order_and_limit(&mut self, query: Query, stmt: &ast::SelectStmt, what: &str) -> PgResult<Query> {
        let mut targets: Vec<Target> = query
            .cols
            .iter()
            .map(|c| Target {
                name: c.name.clone(),
                expr: Scalar::column(c.col.id, c.col.ty),
                origin: c.origin,
                junk: false,
                pos: c.pos,
            })
            .collect();
        let visible = targets.len();
        self.name_output(&query);
        let sort = self.order_by(&stmt.order_by, &mut targets)?;
        if what != "VALUES"
            && let Some(junk) = targets.get(visible)
        {
            let message = format!("invalid {what} ORDER BY clause");
            return Err(PgError::new(SqlState::FEATURE_NOT_SUPPORTED, message)
                .detail("Only result column names can be used, not expressions or functions.")
                .hint("Add the expression/function to every SELECT, or move the UNION into a FROM clause.")
                .at(junk.pos));
        }
        self.level().namespace.clear();
        let limit = self.limit_clause(stmt)?;
        let keys: Vec<SortKey> = sort
            .into_iter()
            .map(|s| SortKey {
                expr: targets[s.target].expr.clone(),
                desc: s.desc,
                nulls_first: s.nulls_first,
            })
            .collect();
        let mut rel = query.rel;
        if !keys.is_empty() {
            rel = Rel::Sort { input: Box::new(rel), keys };
        }
        Ok(Query { rel: limit.above(rel), cols: query.cols })
    }

    /// Makes a query's output columns nameable, for its ORDER BY.
    fn name_output(&mut self, query: &Query) {
        use super::scope::{Columns, NsItem, Rte, RteColumn};
        let column = |c: &QueryCol| RteColumn {
            name: c.name.clone(),
            expr: Scalar::column(c.col.id, c.col.ty),
            origin: c.origin,
        };
        let rte = Rte {
            name: Arc::from("*SELECT*"),
            aliased: true,
            relation: None,
            columns: Columns::List(query.cols.iter().map(column).collect()),
            is_join: true,
            scalar_function: false,
            is_query: false,
            is_cte: false,
        };
        let level = self.level();
        level.rtes.push(rte);
        let rte = level.rtes.len() - 1;
        level.namespace = vec![NsItem { rel_visible: false, ..NsItem::visible(rte) }];
    }

    /// Converts an output column of a query to a type. A literal without a type is converted where it stands.
    pub fn coerce_output(
        &mut self,
        query: &mut Query,
        index: usize,
        target: Ty,
        context: &str,
    ) -> PgResult<()> {
        let column = &query.cols[index];
        if column.col.ty.oid == target.oid {
            return Ok(());
        }
        let pos = column.pos;
        let id = column.col.id;
        let is_unknown = column.col.ty.oid == oid::UNKNOWN;
        let slot = match &mut query.rel {
            Rel::Project { items, .. } => items.iter_mut().find(|(col, _)| col.id == id),
            _ => None,
        };
        let col = match slot {
            Some((_, expr)) if is_unknown || !matches!(expr.kind, ScalarKind::Column(_)) => {
                let value = std::mem::replace(expr, Scalar::bool(false));
                let value = Scalar { pos: value.pos.or(Some(pos)), ..value };
                let value = self.coerce_to_common(value, target.oid, context)?;
                let col = self.new_col(Ty::new(target.oid), ColKind::From);
                if let Rel::Project { items, .. } = &mut query.rel
                    && let Some(item) = items.iter_mut().find(|(c, _)| c.id == id)
                {
                    *item = (col, value);
                }
                col
            }
            _ => {
                let mut items = Vec::with_capacity(query.cols.len());
                let mut new = query.cols[index].col;
                for (i, column) in query.cols.iter().enumerate() {
                    let value = Scalar { pos: Some(pos), ..Scalar::column(column.col.id, column.col.ty) };
                    if i == index {
                        let value = self.coerce_to_common(value, target.oid, context)?;
                        new = self.new_col(Ty::new(target.oid), ColKind::From);
                        items.push((new, value));
                    } else {
                        items.push((column.col, Scalar { pos: None, ..value }));
                    }
                }
                let input = std::mem::replace(&mut query.rel, Rel::Unit);
                query.rel = Rel::Project { input: Box::new(input), items };
                new
            }
        };
        query.cols[index].col = col;
        Ok(())
    }

    /// Locks are taken on rows of tables: not where a row no longer stands for one.
    fn check_locking(&mut self, stmt: &ast::SelectStmt) -> PgResult<()> {
        let level = self.level();
        let what = if stmt.distinct.is_some() {
            "DISTINCT clause"
        } else if !stmt.group_by.is_empty() {
            "GROUP BY clause"
        } else if stmt.having.is_some() {
            "HAVING clause"
        } else if !level.aggregates.is_empty() {
            "aggregate functions"
        } else if !level.window_calls.is_empty() {
            "window functions"
        } else if !level.set_calls.is_empty() {
            "set-returning functions in the target list"
        } else {
            return Ok(());
        };
        let message = format!("{} is not allowed with {what}", locking_name(stmt));
        Err(PgError::new(SqlState::FEATURE_NOT_SUPPORTED, message))
    }

    /// Converts a value for assignment to a type, or says that it cannot be.
    pub fn try_assign(&mut self, expr: Scalar, target: Ty) -> PgResult<Result<Scalar, Scalar>> {
        self.coerce_to_target(expr, target, CastContext::Assignment)
    }
}

/// FOR UPDATE and its kin as they are called in errors.
pub(super) fn locking_name(stmt: &ast::SelectStmt) -> &'static str {
    stmt.locking.first().map_or("FOR UPDATE", |clause| strength_name(clause.strength))
}

/// A lock's clause as written.
pub(super) fn strength_name(strength: ast::LockStrength) -> &'static str {
    match strength {
        ast::LockStrength::KeyShare => "FOR KEY SHARE",
        ast::LockStrength::Share => "FOR SHARE",
        ast::LockStrength::NoKeyUpdate => "FOR NO KEY UPDATE",
        ast::LockStrength::Update => "FOR UPDATE",
    }
}

/// What comes after grouping and windows.
struct Output {
    targets: Vec<Target>,
    sort: Vec<SortItem>,
    distinct: bool,
    on: Option<Vec<usize>>,
    limit: Limits,
    locks: Vec<RowLock>,
}

struct Limits {
    limit: Option<Scalar>,
    offset: Option<Scalar>,
    with_ties: bool,
}

impl Limits {
    fn above(self, rel: Rel) -> Rel {
        if self.limit.is_none() && self.offset.is_none() {
            return rel;
        }
        Rel::Limit { input: Box::new(rel), limit: self.limit, offset: self.offset, with_ties: self.with_ties }
    }
}

fn lock_rows(rel: Rel, locks: Vec<RowLock>) -> Rel {
    if locks.is_empty() { rel } else { Rel::LockRows { input: Box::new(rel), locks } }
}

/// Puts the expansion of these calls above a relation, inner ones first.
fn expand_calls(mut rel: Rel, mut calls: Vec<SetCall>) -> Rel {
    calls.sort_by_key(|c| c.nesting);
    let mut calls = calls.into_iter().peekable();
    while let Some(first) = calls.next() {
        let nesting = first.nesting;
        let mut functions = vec![first.function];
        while let Some(next) = calls.next_if(|c| c.nesting == nesting) {
            functions.push(next.function);
        }
        rel = Rel::ProjectSet { input: Box::new(rel), functions };
    }
    rel
}
