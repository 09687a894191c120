//! From relations to physical plans.
//!
//! Lowering is direct: each relation becomes DataFusion's physical operator, or one of our own where PostgreSQL's
//! semantics need it. There is no logical plan in between, so nothing is renamed, coerced or folded on the way, and
//! planning costs microseconds. What an optimizer would do is done on relations ([`super::rewrite`]) or here:
//! access paths, join keys, semi-joins for EXISTS and IN, projection of unused columns.
//!
//! Aggregates and subqueries have modules of their own below this one.

mod aggregate;
mod locking;
mod subquery;

use std::sync::Arc;

use datafusion::arrow::compute::SortOptions;
use datafusion::common::{JoinSide, JoinType, NullEquality};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::utils::{ColumnIndex, JoinFilter};
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, PartitionMode};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use hashbrown::HashMap;
use shardforge_types::{Oid, PgError, PgResult, oid};

use super::arrays::{orders_natively, schema_of};
use super::ctes::{CteRows, CteScanOp, RecursiveOp, WorkTable, WorkTableOp, WrittenOp};
use super::error::from_df;
use super::expr::{ExprLowering, comparison};
use super::operator::{Operator, OperatorExec, giving_way};
use super::operators::{
    AppendOp, DistinctOp, FunctionScanOp, LateralOp, LimitOp, ProjectSetOp, ScanOp, SetOp, SystemScanOp,
    TableCall, ValuesOp,
};
use super::rewrite::push_down;
use super::slots::Slots;
use crate::catalog::pg_catalog::Hints;
use crate::exec::eval::CompiledExpr;
use crate::func::CallInfo;
use crate::ir::{
    Col, ColId, Cte, CteBody, CteId, JoinKind, Rel, Scalar, ScalarKind, Scan, SetOpKind, SortKey,
    TableFunction, Ty,
};
use crate::plan::Planner;
use crate::storage::choose;

/// A physical plan and the columns that it yields.
pub struct Lowered {
    /// The plan: one partition.
    pub plan: Arc<dyn ExecutionPlan>,
    /// Its columns, in order.
    pub cols: Vec<Col>,
}

/// Lowers the relations of one plan instance.
pub struct Lowering<'a> {
    planner: &'a Planner<'a>,
    slots: Arc<Slots>,
    /// Parameters so far: the statement's, and those that stand for outer columns.
    params: u16,
    next_col: u32,
    ctes: HashMap<CteId, CteSource>,
}

/// Where a reference to a common table expression reads from.
#[derive(Clone)]
enum CteSource {
    /// Computed once, kept.
    Kept { name: String, plan: Arc<dyn ExecutionPlan>, rows: Arc<CteRows>, slots: Arc<Slots> },
    /// The recursive term's view of the round before.
    Working(Arc<WorkTable>),
}

type Expr = Arc<dyn PhysicalExpr>;

impl<'a> Lowering<'a> {
    /// Lowers with these slots; `params` parameters are the statement's own.
    pub fn new(planner: &'a Planner<'a>, slots: Arc<Slots>, params: u16) -> Lowering<'a> {
        // Columns made while lowering get ids that the binder does not reach.
        Lowering { planner, slots, params, next_col: 1 << 30, ctes: HashMap::new() }
    }

    /// Lowers a query whose rows have the given columns, in this order.
    ///
    /// # Errors
    /// 0A000 for what is not supported; expressions that do not compile.
    pub fn query(&mut self, rel: &Rel, output: &[Col]) -> PgResult<Lowered> {
        let lowered = self.rel(&push_down(rel.clone()))?;
        self.select(lowered, output)
    }

    /// Reorders and drops columns.
    fn select(&self, lowered: Lowered, output: &[Col]) -> PgResult<Lowered> {
        if lowered.cols.len() == output.len() && lowered.cols.iter().zip(output).all(|(a, b)| a.id == b.id) {
            return Ok(lowered);
        }
        let items = output.iter().map(|col| (*col, Scalar::column(col.id, col.ty))).collect::<Vec<_>>();
        self.project(lowered, &items)
    }

    fn fresh(&mut self, ty: Ty) -> Col {
        self.next_col += 1;
        Col { id: ColId(self.next_col), ty }
    }

    fn operator(
        &self,
        operator: impl Operator,
        cols: Vec<Col>,
        inputs: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Lowered {
        let plan = OperatorExec::new(Arc::new(operator), schema_of(&cols), inputs);
        Lowered { plan: Arc::new(plan), cols }
    }

    fn exprs<'b>(&'b self, input: &'b [Col]) -> ExprLowering<'b> {
        ExprLowering { input, slots: &self.slots }
    }

    fn rel(&mut self, rel: &Rel) -> PgResult<Lowered> {
        match rel {
            Rel::Unit => Ok(self.operator(
                ValuesOp {
                    schema: schema_of(&[]),
                    types: Arc::new([]),
                    rows: vec![Vec::new()],
                    slots: self.slots.clone(),
                },
                Vec::new(),
                Vec::new(),
            )),
            Rel::Values { cols, rows } => self.values(cols, rows),
            Rel::Scan(scan) => self.scan(scan, &mut Vec::new()),
            Rel::SystemScan { relation, cols } => self.system_scan(*relation, cols, Hints::default()),
            Rel::FunctionScan { functions, ordinality } => self.function_scan(functions, *ordinality),
            Rel::Filter { input, predicate } => self.filter(input, predicate),
            Rel::Project { input, items } => {
                let lowered = self.rel(input)?;
                let mut items = items.clone();
                let mut scalars: Vec<&mut Scalar> = items.iter_mut().map(|(_, scalar)| scalar).collect();
                let lowered = self.with_subqueries(lowered, &mut scalars)?;
                self.project(lowered, &items)
            }
            Rel::ProjectSet { input, functions } => self.project_set(input, functions),
            Rel::Join { kind, left, right, on, lateral } => self.join(*kind, left, right, on, *lateral),
            Rel::Aggregate { input, groups, sets, grouping, aggregates } => {
                self.aggregate(input, groups, sets, grouping, aggregates)
            }
            Rel::Window { .. } => Err(PgError::not_supported("window functions are not supported yet")
                .hint("Use GROUP BY, or a correlated subquery.")),
            Rel::Sort { input, keys } => {
                let lowered = self.rel(input)?;
                self.sort(lowered, keys, None)
            }
            Rel::Limit { input, limit, offset, with_ties } => {
                self.limit(input, limit.as_ref(), offset.as_ref(), *with_ties)
            }
            Rel::Distinct { input, on } => self.distinct(input, on.as_deref()),
            Rel::SetOp { op, all, cols, left, right } => self.set_op(*op, *all, cols, left, right),
            Rel::With { ctes, body } => {
                for cte in ctes {
                    self.cte(cte)?;
                }
                self.rel(body)
            }
            Rel::CteScan { cte, cols } => self.cte_scan(*cte, cols),
            Rel::LockRows { input, locks } => self.lock_rows(input, locks),
            // The planner has made a plan of its own of it; its rows are there when this one runs.
            Rel::Modify(_) => Err(PgError::internal("a data-modifying statement inside a query")),
        }
    }

    fn values(&mut self, cols: &[Col], rows: &[Vec<Scalar>]) -> PgResult<Lowered> {
        if rows.iter().flatten().any(Scalar::has_subquery) {
            return self.values_with_subqueries(cols, rows);
        }
        let rows = rows
            .iter()
            .map(|row| row.iter().map(|scalar| CompiledExpr::compile(scalar, &|_| None)).collect())
            .collect::<PgResult<_>>()?;
        let operator =
            ValuesOp { schema: schema_of(cols), types: types_of(cols), rows, slots: self.slots.clone() };
        Ok(self.operator(operator, cols.to_vec(), Vec::new()))
    }

    /// Each row as a projection of the single row, one after the other.
    fn values_with_subqueries(&mut self, cols: &[Col], rows: &[Vec<Scalar>]) -> PgResult<Lowered> {
        let mut plans = Vec::new();
        for row in rows {
            let items = cols.iter().copied().zip(row.iter().cloned()).collect();
            plans.push(self.rel(&Rel::Project { input: Box::new(Rel::Unit), items })?.plan);
        }
        self.union(plans, cols)
    }

    fn union(&self, mut plans: Vec<Arc<dyn ExecutionPlan>>, cols: &[Col]) -> PgResult<Lowered> {
        if plans.len() == 1 {
            return Ok(Lowered { plan: plans.remove(0), cols: cols.to_vec() });
        }
        Ok(self.operator(AppendOp { schema: schema_of(cols) }, cols.to_vec(), plans))
    }

    /// A scan; conditions that its access path enforces are taken out of `conjuncts`.
    fn scan(&mut self, scan: &Scan, conjuncts: &mut Vec<Scalar>) -> PgResult<Lowered> {
        let layout = self.planner.layout(&scan.table)?;
        let column_of = |id: ColId| {
            scan.cols.iter().find(|(col, _)| col.id == id).map(|(_, attnum)| *attnum as usize - 1)
        };
        let (path, enforced) = choose(&layout, conjuncts, &column_of, &[])?;
        let mut position = 0;
        conjuncts.retain(|_| {
            position += 1;
            !enforced.contains(&(position - 1))
        });
        let width = layout.types.len();
        let mut cols: Vec<Col> = scan.cols.iter().map(|(col, _)| *col).collect();
        let mut positions: Vec<usize> = scan.cols.iter().map(|(_, attnum)| *attnum as usize - 1).collect();
        if let Some(col) = scan.row_key {
            cols.push(col);
            positions.push(width);
        }
        if let Some(col) = scan.tableoid {
            cols.push(col);
            positions.push(width + 1);
        }
        let index = match path.index {
            Some(i) => Some(&layout.index_desc(&layout.indexes[i]).name),
            None if !path.is_full() => layout.table.primary_key().map(|index| &index.name),
            None => None,
        };
        let description = match index {
            Some(index) => format!("Index Scan using {index} on {}", scan.alias),
            None => format!("Seq Scan on {}", scan.alias),
        };
        let operator = ScanOp {
            schema: schema_of(&cols),
            positions,
            types: types_of(&cols),
            layout,
            path,
            description,
            slots: self.slots.clone(),
        };
        Ok(self.operator(operator, cols, Vec::new()))
    }

    fn system_scan(&mut self, relation: Oid, cols: &[(Col, i16)], hints: Hints) -> PgResult<Lowered> {
        let columns: Vec<Col> = cols.iter().map(|(col, _)| *col).collect();
        let name = crate::catalog::builtin::system_relation(relation)
            .map_or_else(|| relation.0.to_string(), |desc| desc.name.to_owned());
        let operator = SystemScanOp {
            schema: schema_of(&columns),
            types: types_of(&columns),
            relation,
            columns: cols.iter().map(|(_, attnum)| *attnum).collect(),
            hints,
            name,
            slots: self.slots.clone(),
        };
        Ok(self.operator(operator, columns, Vec::new()))
    }

    fn calls(&self, functions: &[TableFunction], input: &[Col]) -> PgResult<Arc<Vec<TableCall>>> {
        let position = |id: ColId| input.iter().position(|col| col.id == id);
        let calls = functions
            .iter()
            .map(|function| {
                let args = function
                    .args
                    .iter()
                    .map(|arg| CompiledExpr::compile(arg, &position))
                    .collect::<PgResult<Vec<_>>>()?;
                let ret = match &function.cols[..] {
                    [one] => one.ty,
                    _ => Ty::new(oid::RECORD),
                };
                let info = CallInfo {
                    func: function.func,
                    arg_types: function.args.iter().map(|arg| arg.ty).collect(),
                    ret,
                    variadic: false,
                };
                Ok(TableCall {
                    func: function.func,
                    info,
                    args,
                    width: function.cols.len(),
                    retset: function.retset,
                })
            })
            .collect::<PgResult<Vec<_>>>()?;
        Ok(Arc::new(calls))
    }

    fn function_scan(&mut self, functions: &[TableFunction], ordinality: Option<Col>) -> PgResult<Lowered> {
        let mut functions = functions.to_vec();
        let input = self.rel(&Rel::Unit)?;
        let mut scalars: Vec<&mut Scalar> =
            functions.iter_mut().flat_map(|function| &mut function.args).collect();
        if scalars.iter().any(|scalar| scalar.has_subquery()) {
            let input = self.with_subqueries(input, &mut scalars)?;
            if ordinality.is_some() {
                return Err(PgError::not_supported("WITH ORDINALITY over a subquery is not supported yet"));
            }
            let cols: Vec<Col> =
                functions.iter().flat_map(|function| function.cols.iter().copied()).collect();
            let expanded = self.expand(input, &functions)?;
            return self.select(expanded, &cols);
        }
        let mut cols: Vec<Col> =
            functions.iter().flat_map(|function| function.cols.iter().copied()).collect();
        cols.extend(ordinality);
        let names: Vec<&str> = functions.iter().map(|function| &*function.name).collect();
        let operator = FunctionScanOp {
            schema: schema_of(&cols),
            types: types_of(&cols),
            calls: self.calls(&functions, &[])?,
            ordinality: ordinality.is_some(),
            name: names.join(", "),
            slots: self.slots.clone(),
        };
        Ok(self.operator(operator, cols, Vec::new()))
    }

    fn project_set(&mut self, input: &Rel, functions: &[TableFunction]) -> PgResult<Lowered> {
        let lowered = self.rel(input)?;
        let mut functions = functions.to_vec();
        let mut scalars: Vec<&mut Scalar> =
            functions.iter_mut().flat_map(|function| &mut function.args).collect();
        let lowered = self.with_subqueries(lowered, &mut scalars)?;
        self.expand(lowered, &functions)
    }

    fn expand(&mut self, input: Lowered, functions: &[TableFunction]) -> PgResult<Lowered> {
        let calls = self.calls(functions, &input.cols)?;
        let mut cols = input.cols.clone();
        cols.extend(functions.iter().flat_map(|function| function.cols.iter().copied()));
        let operator = ProjectSetOp {
            schema: schema_of(&cols),
            types: types_of(&cols),
            input_types: types_of(&input.cols),
            calls,
            slots: self.slots.clone(),
        };
        Ok(self.operator(operator, cols, vec![input.plan]))
    }

    fn project(&self, input: Lowered, items: &[(Col, Scalar)]) -> PgResult<Lowered> {
        let exprs = self.exprs(&input.cols);
        let list = items
            .iter()
            .map(|(col, scalar)| Ok((exprs.lower(scalar)?, format!("c{}", col.id.0))))
            .collect::<PgResult<Vec<_>>>()?;
        let cols = items.iter().map(|(col, _)| *col).collect();
        let plan = ProjectionExec::try_new(list, input.plan).map_err(from_df)?;
        Ok(Lowered { plan: Arc::new(plan), cols })
    }

    fn filter(&mut self, input: &Rel, predicate: &Scalar) -> PgResult<Lowered> {
        let mut conjuncts = predicate.clone().conjuncts();
        let mut lowered = match input {
            Rel::Scan(scan) => {
                // Conditions with subqueries cannot choose a path.
                let (mut plain, with): (Vec<_>, Vec<_>) =
                    conjuncts.into_iter().partition(|conjunct| !conjunct.has_subquery());
                let lowered = self.scan(scan, &mut plain)?;
                plain.extend(with);
                conjuncts = plain;
                lowered
            }
            Rel::SystemScan { relation, cols } => {
                let plain = conjuncts.iter().filter(|conjunct| !conjunct.has_subquery()).cloned().collect();
                let hints = Hints::of(&Scalar::and(plain), cols);
                self.system_scan(*relation, cols, hints)?
            }
            input => self.rel(input)?,
        };
        let (plain, with): (Vec<_>, Vec<_>) = conjuncts.into_iter().partition(|c| !c.has_subquery());
        lowered = self.apply_filter(lowered, plain)?;
        let mut rest = Vec::new();
        for conjunct in with {
            match self.semi_join(lowered, &conjunct)? {
                Ok(joined) => lowered = joined,
                Err(same) => {
                    lowered = same;
                    rest.push(conjunct);
                }
            }
        }
        if rest.is_empty() {
            return Ok(lowered);
        }
        let cols = lowered.cols.clone();
        let mut scalars: Vec<&mut Scalar> = rest.iter_mut().collect();
        let extended = self.with_subqueries(lowered, &mut scalars)?;
        let filtered = self.apply_filter(extended, rest)?;
        self.select(filtered, &cols)
    }

    fn apply_filter(&self, input: Lowered, conditions: Vec<Scalar>) -> PgResult<Lowered> {
        if conditions.is_empty() {
            return Ok(input);
        }
        let predicate = self.exprs(&input.cols).lower(&Scalar::and(conditions))?;
        let plan = FilterExec::try_new(predicate, input.plan).map_err(from_df)?;
        Ok(Lowered { plan: Arc::new(plan), cols: input.cols })
    }

    fn join(
        &mut self,
        kind: JoinKind,
        left: &Rel,
        right: &Rel,
        on: &Scalar,
        lateral: bool,
    ) -> PgResult<Lowered> {
        let left = self.rel(left)?;
        if lateral {
            return self.lateral(kind, left, right, on);
        }
        let right = self.rel(right)?;
        if !on.has_subquery() {
            return self.join_plans(kind, left, right, on.clone().conjuncts());
        }
        if kind != JoinKind::Inner {
            return Err(PgError::not_supported(
                "a subquery in the condition of an outer join is not supported yet",
            )
            .hint("Move the condition into a subquery of its own."));
        }
        let joined = self.join_plans(kind, left, right, Vec::new())?;
        let cols = joined.cols.clone();
        let mut on = on.clone();
        let extended = self.with_subqueries(joined, &mut [&mut on])?;
        let filtered = self.apply_filter(extended, vec![on])?;
        self.select(filtered, &cols)
    }

    fn join_plans(
        &mut self,
        kind: JoinKind,
        left: Lowered,
        right: Lowered,
        on: Vec<Scalar>,
    ) -> PgResult<Lowered> {
        let has = |cols: &[Col], scalar: &Scalar| {
            let used = scalar.used_columns();
            !used.is_empty() && used.iter().all(|u| cols.iter().any(|col| col.id == u.id))
        };
        let mut keys: Vec<(Scalar, Scalar)> = Vec::new();
        let mut rest = Vec::new();
        for condition in on {
            let pair = match &condition.kind {
                ScalarKind::Call(call) => match comparison(call.func, &call.args) {
                    Some((datafusion::logical_expr::Operator::Eq, a, b)) if a.ty.oid == b.ty.oid => {
                        if has(&left.cols, a) && has(&right.cols, b) {
                            Some((a.clone(), b.clone()))
                        } else if has(&left.cols, b) && has(&right.cols, a) {
                            Some((b.clone(), a.clone()))
                        } else {
                            None
                        }
                    }
                    _ => None,
                },
                _ => None,
            };
            match pair {
                Some(pair) => keys.push(pair),
                None => rest.push(condition),
            }
        }
        let join_type = match kind {
            JoinKind::Inner => JoinType::Inner,
            JoinKind::Left => JoinType::Left,
            JoinKind::Right => JoinType::Right,
            JoinKind::Full => JoinType::Full,
            JoinKind::Semi => JoinType::LeftSemi,
            JoinKind::Anti => JoinType::LeftAnti,
        };
        let mut cols = left.cols.clone();
        if !matches!(kind, JoinKind::Semi | JoinKind::Anti) {
            cols.extend(right.cols.iter().copied());
        }
        if keys.is_empty() {
            let filter = self.join_filter(&left.cols, &right.cols, rest)?;
            let plan = NestedLoopJoinExec::try_new(left.plan, right.plan, filter, &join_type, None)
                .map_err(from_df)?;
            return Ok(Lowered { plan: giving_way(Arc::new(plan)), cols });
        }
        // Keys are columns of their own, whose bytes are equal when the values are.
        let (left_keys, right_keys): (Vec<Scalar>, Vec<Scalar>) = keys.into_iter().unzip();
        let (left, left_at) = self.with_keys(left, left_keys)?;
        let (right, right_at) = self.with_keys(right, right_keys)?;
        let on = left_at
            .iter()
            .zip(&right_at)
            .map(|(l, r)| (column(&left.cols, *l), column(&right.cols, *r)))
            .collect();
        let filter = self.join_filter(&left.cols, &right.cols, rest)?;
        let mut all = left.cols.clone();
        if !matches!(kind, JoinKind::Semi | JoinKind::Anti) {
            all.extend(right.cols.iter().copied());
        }
        let plan = HashJoinExec::try_new(
            left.plan,
            right.plan,
            on,
            filter,
            &join_type,
            None,
            PartitionMode::CollectLeft,
            NullEquality::NullEqualsNothing,
            false,
        )
        .map_err(from_df)?;
        self.select(Lowered { plan: giving_way(Arc::new(plan)), cols: all }, &cols)
    }

    /// Adds a column for each key that is not one already; answers the keys' positions.
    fn with_keys(&mut self, input: Lowered, keys: Vec<Scalar>) -> PgResult<(Lowered, Vec<usize>)> {
        let mut cols = input.cols.clone();
        let mut list: Vec<(Expr, String)> =
            (0..cols.len()).map(|i| (column(&cols, i), format!("c{}", cols[i].id.0))).collect();
        let mut positions = Vec::new();
        for key in keys {
            if let ScalarKind::Column(id) = key.kind
                && orders_natively(key.ty.oid)
                && let Some(position) = input.cols.iter().position(|col| col.id == id)
            {
                positions.push(position);
                continue;
            }
            let expr = self.exprs(&input.cols).lower_key(&key)?;
            let ty = if orders_natively(key.ty.oid) { key.ty } else { Ty::new(oid::BYTEA) };
            let col = self.fresh(ty);
            positions.push(cols.len());
            cols.push(col);
            list.push((expr, format!("c{}", col.id.0)));
        }
        if cols.len() == input.cols.len() {
            return Ok((input, positions));
        }
        let plan = ProjectionExec::try_new(list, input.plan).map_err(from_df)?;
        Ok((Lowered { plan: Arc::new(plan), cols }, positions))
    }

    fn join_filter(
        &self,
        left: &[Col],
        right: &[Col],
        conditions: Vec<Scalar>,
    ) -> PgResult<Option<JoinFilter>> {
        if conditions.is_empty() {
            return Ok(None);
        }
        let condition = Scalar::and(conditions);
        let mut cols = Vec::new();
        let mut indices = Vec::new();
        for used in condition.used_columns() {
            for (side, list) in [(JoinSide::Left, left), (JoinSide::Right, right)] {
                if let Some(index) = list.iter().position(|col| col.id == used.id) {
                    cols.push(list[index]);
                    indices.push(ColumnIndex { index, side });
                    break;
                }
            }
        }
        let expr = self.exprs(&cols).lower(&condition)?;
        Ok(Some(JoinFilter::new(expr, indices, schema_of(&cols))))
    }

    fn lateral(&mut self, kind: JoinKind, left: Lowered, right: &Rel, on: &Scalar) -> PgResult<Lowered> {
        if !matches!(kind, JoinKind::Inner | JoinKind::Left) {
            return Err(PgError::new(
                shardforge_types::SqlState::INVALID_COLUMN_REFERENCE,
                "a lateral reference is not allowed on this side of the join",
            ));
        }
        let right_cols = right.columns();
        let correlated = self.correlated(right, &right_cols, &left.cols)?;
        let mut cols = left.cols.clone();
        cols.extend(right_cols);
        let conditions = on.clone().conjuncts();
        let on = if conditions.is_empty() {
            None
        } else {
            let condition = Scalar::and(conditions);
            Some(CompiledExpr::compile(&condition, &|id| cols.iter().position(|col| col.id == id))?)
        };
        let operator = LateralOp {
            schema: schema_of(&cols),
            left_types: types_of(&left.cols),
            right: Arc::new(correlated),
            on,
            outer_join: kind == JoinKind::Left,
            slots: self.slots.clone(),
        };
        Ok(self.operator(operator, cols, vec![left.plan]))
    }

    fn sort(&mut self, input: Lowered, keys: &[SortKey], fetch: Option<usize>) -> PgResult<Lowered> {
        let output = input.cols.clone();
        let mut keys = keys.to_vec();
        let mut scalars: Vec<&mut Scalar> = keys.iter_mut().map(|key| &mut key.expr).collect();
        let input = self.with_subqueries(input, &mut scalars)?;
        let exprs = keys.iter().map(|key| key.expr.clone()).collect();
        let (input, positions) = self.with_keys(input, exprs)?;
        let sort_exprs: Vec<PhysicalSortExpr> = keys
            .iter()
            .zip(&positions)
            .map(|(key, position)| {
                let options = SortOptions { descending: key.desc, nulls_first: key.nulls_first };
                PhysicalSortExpr::new(column(&input.cols, *position), options)
            })
            .collect();
        let Some(ordering) = LexOrdering::new(sort_exprs) else { return Ok(input) };
        let plan = SortExec::new(ordering, input.plan).with_fetch(fetch);
        self.select(Lowered { plan: Arc::new(plan), cols: input.cols }, &output)
    }

    fn limit(
        &mut self,
        input: &Rel,
        limit: Option<&Scalar>,
        offset: Option<&Scalar>,
        with_ties: bool,
    ) -> PgResult<Lowered> {
        let mut limit = limit.cloned();
        let mut offset = offset.cloned();
        let bounds = self.limit_bounds(limit.as_mut(), offset.as_mut())?;
        let bound_cols: &[Col] = bounds.as_ref().map_or(&[], |bounds| &bounds.cols);
        let compile = |scalar: &Option<Scalar>| {
            let position = |id: ColId| bound_cols.iter().position(|col| col.id == id);
            scalar.as_ref().map(|s| CompiledExpr::compile(s, &position)).transpose()
        };
        let (limit_expr, offset_expr) = (compile(&limit)?, compile(&offset)?);
        // A constant limit lets the sort keep no more than it needs.
        let constant = |expr: &Option<CompiledExpr>, default: Option<usize>| match expr {
            None => default,
            Some(expr) => expr.as_const().and_then(|v| v.as_i64()).and_then(|v| usize::try_from(v).ok()),
        };
        let fetch = match (constant(&limit_expr, None), constant(&offset_expr, Some(0))) {
            (Some(limit), Some(offset)) if !with_ties => limit.checked_add(offset),
            _ => None,
        };
        let mut ties = None;
        let lowered = match input {
            Rel::Sort { input: inner, keys } => {
                let lowered = self.rel(inner)?;
                let lowered = self.sort(lowered, keys, fetch)?;
                if with_ties {
                    let exprs = keys.iter().map(|key| key.expr.clone()).collect();
                    let (lowered, positions) = self.with_keys(lowered, exprs)?;
                    ties = Some(positions.iter().map(|p| (*p, lowered.cols[*p].ty.oid)).collect());
                    lowered
                } else {
                    lowered
                }
            }
            input => self.rel(input)?,
        };
        let output = input.columns();
        let cols = lowered.cols.clone();
        let bound_types = types_of(bound_cols);
        let operator =
            LimitOp { limit: limit_expr, offset: offset_expr, ties, bound_types, slots: self.slots.clone() };
        let inputs = std::iter::once(lowered.plan).chain(bounds.map(|bounds| bounds.plan)).collect();
        let limited = self.operator(operator, cols, inputs);
        self.select(limited, &output)
    }

    /// One row with the answers of the subqueries in LIMIT and OFFSET, which refer to its columns from then on.
    fn limit_bounds(
        &mut self,
        limit: Option<&mut Scalar>,
        offset: Option<&mut Scalar>,
    ) -> PgResult<Option<Lowered>> {
        let mut scalars: Vec<&mut Scalar> = limit.into_iter().chain(offset).collect();
        if !scalars.iter().any(|scalar| scalar.has_subquery()) {
            return Ok(None);
        }
        let unit = self.rel(&Rel::Unit)?;
        self.with_subqueries(unit, &mut scalars).map(Some)
    }

    fn distinct(&mut self, input: &Rel, on: Option<&[Scalar]>) -> PgResult<Lowered> {
        let lowered = self.rel(input)?;
        let output = lowered.cols.clone();
        let (lowered, keys) = match on {
            None => {
                let keys = output.iter().enumerate().map(|(i, col)| (i, col.ty.oid)).collect();
                (lowered, keys)
            }
            Some(on) => {
                let (lowered, positions) = self.with_keys(lowered, on.to_vec())?;
                let keys = positions.iter().map(|p| (*p, lowered.cols[*p].ty.oid)).collect();
                (lowered, keys)
            }
        };
        let cols = lowered.cols.clone();
        let distinct = self.operator(DistinctOp { keys }, cols, vec![lowered.plan]);
        self.select(distinct, &output)
    }

    fn set_op(
        &mut self,
        op: SetOpKind,
        all: bool,
        cols: &[Col],
        left: &(Box<Rel>, Vec<ColId>),
        right: &(Box<Rel>, Vec<ColId>),
    ) -> PgResult<Lowered> {
        let mut sides = Vec::new();
        for (rel, ids) in [left, right] {
            let lowered = self.rel(rel)?;
            let items: Vec<(Col, Scalar)> =
                cols.iter().zip(ids).map(|(col, id)| (*col, Scalar::column(*id, col.ty))).collect();
            sides.push(self.project(lowered, &items)?.plan);
        }
        match op {
            SetOpKind::Union => {
                let union = self.union(sides, cols)?;
                if all {
                    return Ok(union);
                }
                let keys = cols.iter().enumerate().map(|(i, col)| (i, col.ty.oid)).collect();
                Ok(self.operator(DistinctOp { keys }, cols.to_vec(), vec![union.plan]))
            }
            SetOpKind::Intersect | SetOpKind::Except => {
                let operator = SetOp {
                    except: op == SetOpKind::Except,
                    all,
                    types: types_of(cols),
                    schema: schema_of(cols),
                };
                Ok(self.operator(operator, cols.to_vec(), sides))
            }
        }
    }

    fn cte(&mut self, cte: &Cte) -> PgResult<()> {
        let project = |lowering: &Self, lowered: Lowered, ids: &[ColId]| {
            let items: Vec<(Col, Scalar)> =
                cte.cols.iter().zip(ids).map(|(col, id)| (*col, Scalar::column(*id, col.ty))).collect();
            lowering.project(lowered, &items)
        };
        let plan = match &cte.body {
            CteBody::Plain(rel, ids) if matches!(**rel, Rel::Modify(_)) => {
                let cols = rel.columns();
                let operator = WrittenOp {
                    schema: schema_of(&cols),
                    types: types_of(&cols),
                    cte: cte.id,
                    slots: self.slots.clone(),
                };
                let lowered = self.operator(operator, cols, Vec::new());
                project(self, lowered, ids)?.plan
            }
            CteBody::Plain(rel, ids) => {
                let lowered = self.rel(rel)?;
                project(self, lowered, ids)?.plan
            }
            CteBody::Recursive { base, step, all } => {
                let table = Arc::new(WorkTable::default());
                let lowered = self.rel(&base.0)?;
                let base_plan = project(self, lowered, &base.1)?.plan;
                self.ctes.insert(cte.id, CteSource::Working(table.clone()));
                let lowered = self.rel(&step.0)?;
                let step_plan = project(self, lowered, &step.1)?.plan;
                let operator = RecursiveOp {
                    schema: schema_of(&cte.cols),
                    types: types_of(&cte.cols),
                    base: base_plan,
                    step: step_plan,
                    table,
                    all: *all,
                    slots: self.slots.clone(),
                };
                self.operator(operator, cte.cols.clone(), Vec::new()).plan
            }
        };
        let rows = Arc::new(CteRows::default());
        self.slots.keep(&rows);
        let source = CteSource::Kept { name: cte.name.clone(), plan, rows, slots: self.slots.clone() };
        self.ctes.insert(cte.id, source);
        Ok(())
    }

    fn cte_scan(&mut self, cte: CteId, cols: &[Col]) -> PgResult<Lowered> {
        let source = self
            .ctes
            .get(&cte)
            .cloned()
            .ok_or_else(|| PgError::internal("unknown common table expression"))?;
        Ok(match source {
            CteSource::Working(table) => {
                self.operator(WorkTableOp { schema: schema_of(cols), table }, cols.to_vec(), Vec::new())
            }
            CteSource::Kept { name, plan, rows, slots } => {
                let operator = CteScanOp { schema: schema_of(cols), name, plan, rows, slots };
                self.operator(operator, cols.to_vec(), Vec::new())
            }
        })
    }
}

fn column(cols: &[Col], position: usize) -> Expr {
    Arc::new(Column::new(&format!("c{}", cols[position].id.0), position))
}

/// Types of columns.
pub fn types_of(cols: &[Col]) -> Arc<[Oid]> {
    cols.iter().map(|col| col.ty.oid).collect()
}
