//! GROUP BY, grouping sets and aggregate calls.

use std::sync::Arc;

use datafusion::logical_expr::AggregateUDF;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use shardforge_types::codec::key::KeyOrder;
use shardforge_types::{Oid, PgResult, oid};
use smallvec::SmallVec;

use super::{Expr, Lowered, Lowering};
use crate::catalog::builtin::{AggregateKind, builtin};
use crate::df::aggregate::{AggregateSpec, LibraryAggregate, Source};
use crate::df::arrays::{orders_natively, schema_of};
use crate::df::error::from_df;
use crate::df::expr::ExprLowering;
use crate::func;
use crate::func::aggregate::AggregateInfo;
use crate::ir::{Aggregate, Col, ColId, Rel, Scalar, ScalarKind, Ty};

impl Lowering<'_> {
    pub(super) fn aggregate(
        &mut self,
        input: &Rel,
        groups: &[(Col, Scalar)],
        sets: &[Vec<usize>],
        grouping: &[(Col, Vec<usize>)],
        aggregates: &[(Col, Aggregate)],
    ) -> PgResult<Lowered> {
        let mut output: Vec<Col> = groups.iter().map(|(col, _)| *col).collect();
        output.extend(grouping.iter().map(|(col, _)| *col));
        output.extend(aggregates.iter().map(|(col, _)| *col));
        if sets.is_empty() {
            let all: Vec<usize> = (0..groups.len()).collect();
            let lowered = self.rel(input)?;
            return self.group_by(lowered, groups, &all, grouping, aggregates, &output);
        }
        let mut plans = Vec::new();
        for set in sets {
            let lowered = self.rel(input)?;
            plans.push(self.group_by(lowered, groups, set, grouping, aggregates, &output)?.plan);
        }
        self.union(plans, &output)
    }

    /// Groups by the members of one grouping set; the other group columns are NULL.
    pub(super) fn group_by(
        &mut self,
        input: Lowered,
        groups: &[(Col, Scalar)],
        set: &[usize],
        grouping: &[(Col, Vec<usize>)],
        aggregates: &[(Col, Aggregate)],
        output: &[Col],
    ) -> PgResult<Lowered> {
        let mut groups = groups.to_vec();
        let mut aggregates = aggregates.to_vec();
        let mut scalars: Vec<&mut Scalar> = groups.iter_mut().map(|(_, scalar)| scalar).collect();
        for (_, aggregate) in &mut aggregates {
            scalars.extend(&mut aggregate.args);
            scalars.extend(aggregate.order_by.iter_mut().map(|key| &mut key.expr));
            scalars.extend(&mut aggregate.filter);
        }
        let input = self.with_subqueries(input, &mut scalars)?;
        let exprs = self.exprs(&input.cols);
        let schema = schema_of(&input.cols);
        let mut group_exprs = Vec::new();
        let mut calls = Vec::new();
        let mut cols = Vec::new();
        let mut firsts = Vec::new();
        for at in set {
            let (col, scalar) = &groups[*at];
            group_exprs.push((exprs.lower_key(scalar)?, format!("c{}", col.id.0)));
            if orders_natively(col.ty.oid) {
                cols.push(*col);
            } else {
                firsts.push((*col, scalar.clone()));
            }
        }
        let key_cols: Vec<Col> = {
            let mut next = self.next_col;
            let keyed = set.iter().map(|at| {
                let (col, _) = &groups[*at];
                if orders_natively(col.ty.oid) {
                    *col
                } else {
                    next += 1;
                    Col { id: ColId(next), ty: Ty::new(oid::BYTEA) }
                }
            });
            keyed.collect()
        };
        let mut all_cols = key_cols;
        for (col, scalar) in &firsts {
            let spec = AggregateSpec {
                source: Source::First,
                args: vec![col.ty.oid],
                distinct: false,
                order: Vec::new(),
                filter: false,
                ret: col.ty.oid,
                slots: self.slots.clone(),
            };
            let udaf = LibraryAggregate::new("any", spec);
            calls.push(call(udaf, vec![exprs.lower(scalar)?], &schema, col)?);
            all_cols.push(*col);
        }
        for (col, aggregate) in &aggregates {
            let (udaf, args) = self.aggregate_call(aggregate, &exprs)?;
            calls.push(call(udaf, args, &schema, col)?);
            all_cols.push(*col);
        }
        self.next_col += set.len() as u32;
        let filters = vec![None; calls.len()];
        let input_schema = input.plan.schema();
        let plan: Arc<dyn ExecutionPlan> = if calls.is_empty() && group_exprs.is_empty() {
            // GROUP BY () without aggregates: one row.
            self.rel(&Rel::Unit)?.plan
        } else {
            let group_by = PhysicalGroupBy::new_single(group_exprs);
            Arc::new(
                AggregateExec::try_new(
                    AggregateMode::Single,
                    group_by,
                    calls,
                    filters,
                    input.plan,
                    input_schema,
                )
                .map_err(from_df)?,
            )
        };
        let grouped = Lowered { plan, cols: all_cols };
        let items: Vec<(Col, Scalar)> = output
            .iter()
            .map(|col| {
                if let Some((_, listed)) = grouping.iter().find(|(g, _)| g.id == col.id) {
                    let bits = listed.iter().fold(0, |bits, at| (bits << 1) | i32::from(!set.contains(at)));
                    return (*col, Scalar::constant(shardforge_types::Datum::Int4(bits), col.ty));
                }
                if grouped.cols.iter().any(|g| g.id == col.id) {
                    return (*col, Scalar::column(col.id, col.ty));
                }
                (*col, Scalar::constant(shardforge_types::Datum::Null, col.ty))
            })
            .collect();
        self.project(grouped, &items)
    }

    pub(super) fn aggregate_call(
        &self,
        aggregate: &Aggregate,
        exprs: &ExprLowering<'_>,
    ) -> PgResult<(LibraryAggregate, Vec<Expr>)> {
        let factory = func::aggregate(aggregate.func).ok_or_else(|| func::not_supported(aggregate.func))?;
        let desc = builtin().aggregate(aggregate.func);
        let ordered_set = desc.is_some_and(|desc| desc.kind != AggregateKind::Normal);
        let name = builtin().proc_by_oid(aggregate.func).map_or("aggregate", |proc| proc.name);
        let mut arg_types: SmallVec<[Ty; 4]> = aggregate.args.iter().map(|arg| arg.ty).collect();
        let direct_args = aggregate.args.len();
        // What FILTER leaves out is not computed either: it may fail.
        let lower = |scalar: &Scalar| match &aggregate.filter {
            Some(filter) if !matches!(scalar.kind, ScalarKind::Column(_) | ScalarKind::Const(_)) => {
                let otherwise = Box::new(Scalar::constant(shardforge_types::Datum::Null, scalar.ty));
                let whens = vec![(filter.clone(), scalar.clone())];
                exprs.lower(&Scalar { kind: ScalarKind::Case { whens, otherwise }, ..scalar.clone() })
            }
            _ => exprs.lower(scalar),
        };
        let mut args: Vec<Expr> = match ordered_set {
            true => aggregate.args.iter().map(|arg| exprs.lower(arg)).collect::<PgResult<_>>()?,
            false => aggregate.args.iter().map(&lower).collect::<PgResult<_>>()?,
        };
        let orders: SmallVec<[(bool, bool); 2]> =
            aggregate.order_by.iter().map(|key| (key.desc, key.nulls_first)).collect();
        if ordered_set {
            // WITHIN GROUP: what the rows are sorted by are the values, too.
            for key in &aggregate.order_by {
                arg_types.push(key.expr.ty);
                args.push(lower(&key.expr)?);
            }
        }
        let value_types: Vec<Oid> = arg_types.iter().map(|ty| ty.oid).collect();
        let mut sort = Vec::new();
        for key in &aggregate.order_by {
            args.push(lower(&key.expr)?);
            let order = KeyOrder { descending: key.desc, nulls_first: key.nulls_first };
            sort.push((key.expr.ty.oid, order));
        }
        if let Some(filter) = &aggregate.filter {
            args.push(exprs.lower(filter)?);
        }
        let info = AggregateInfo {
            func: aggregate.func,
            arg_types,
            ret: aggregate.ty,
            direct_args: if ordered_set { direct_args } else { 0 },
            order: if ordered_set { orders } else { SmallVec::new() },
        };
        // An aggregate without arguments still has to see how many rows there are.
        if args.is_empty() {
            args.push(exprs.lower(&Scalar::bool(true))?);
        }
        let spec = AggregateSpec {
            source: Source::Library(factory, info),
            args: value_types,
            distinct: aggregate.distinct,
            order: sort,
            filter: aggregate.filter.is_some(),
            ret: aggregate.ty.oid,
            slots: self.slots.clone(),
        };
        Ok((LibraryAggregate::new(name, spec), args))
    }
}

fn call(
    udaf: LibraryAggregate,
    args: Vec<Expr>,
    schema: &datafusion::arrow::datatypes::SchemaRef,
    col: &Col,
) -> PgResult<Arc<datafusion::physical_expr::aggregate::AggregateFunctionExpr>> {
    AggregateExprBuilder::new(Arc::new(AggregateUDF::new_from_impl(udaf)), args)
        .schema(schema.clone())
        .alias(format!("c{}", col.id.0))
        .build()
        .map(Arc::new)
        .map_err(from_df)
}
