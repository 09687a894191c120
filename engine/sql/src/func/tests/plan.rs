//! A small executor for the relations of a SELECT without tables.

use shardforge_types::{Datum, PgError, PgResult, compare};
use smallvec::SmallVec;

use crate::catalog::builtin::{AggregateKind, builtin};
use crate::exec::env::EvalEnv;
use crate::exec::eval::CompiledExpr;
use crate::func::aggregate::AggregateInfo;
use crate::func::{self, CallInfo};
use crate::ir::{Aggregate, ColId, Rel, Scalar, SortKey, TableFunction, Ty};

/// Rows with the ids of their columns.
pub(super) struct Rows {
    pub cols: Vec<ColId>,
    pub rows: Vec<Vec<Datum>>,
}

impl Rows {
    fn eval(&self, scalar: &Scalar, row: &[Datum], env: &EvalEnv) -> PgResult<Datum> {
        let place = |id: ColId| self.cols.iter().position(|col| *col == id);
        CompiledExpr::compile(scalar, &place)?.eval(&row.to_vec(), &[], env)
    }
}

/// The rows of a relation.
pub(super) fn run(rel: &Rel, env: &EvalEnv) -> PgResult<Rows> {
    match rel {
        Rel::Unit => Ok(Rows { cols: Vec::new(), rows: vec![Vec::new()] }),
        Rel::Values { cols, rows } => {
            let unit = Rows { cols: Vec::new(), rows: Vec::new() };
            let row = |row: &Vec<Scalar>| row.iter().map(|scalar| unit.eval(scalar, &[], env)).collect();
            let rows = rows.iter().map(row).collect::<PgResult<Vec<_>>>()?;
            Ok(Rows { cols: cols.iter().map(|col| col.id).collect(), rows })
        }
        Rel::Project { input, items } => {
            let input = run(input, env)?;
            let project =
                |row: &Vec<Datum>| items.iter().map(|(_, item)| input.eval(item, row, env)).collect();
            let rows = input.rows.iter().map(project).collect::<PgResult<Vec<_>>>()?;
            Ok(Rows { cols: items.iter().map(|(col, _)| col.id).collect(), rows })
        }
        Rel::Filter { input, predicate } => {
            let mut input = run(input, env)?;
            let mut rows = Vec::new();
            for row in std::mem::take(&mut input.rows) {
                if input.eval(predicate, &row, env)? == Datum::Bool(true) {
                    rows.push(row);
                }
            }
            Ok(Rows { cols: input.cols, rows })
        }
        Rel::ProjectSet { input, functions } => project_set(run(input, env)?, functions, env),
        Rel::FunctionScan { functions, ordinality: None } => {
            project_set(Rows { cols: Vec::new(), rows: vec![Vec::new()] }, functions, env)
        }
        Rel::Sort { input, keys } => {
            let mut input = run(input, env)?;
            sort(&mut input, keys, env)?;
            Ok(input)
        }
        Rel::Aggregate { input, groups, aggregates, .. } if groups.is_empty() => {
            let input = run(input, env)?;
            let row = aggregates.iter().map(|(_, call)| aggregate(&input, call, env));
            let rows = vec![row.collect::<PgResult<Vec<_>>>()?];
            Ok(Rows { cols: aggregates.iter().map(|(col, _)| col.id).collect(), rows })
        }
        other => Err(PgError::internal(format!("the test executor does not run {other:?}"))),
    }
}

/// The rows of the functions side by side, padded with NULL.
fn project_set(input: Rows, functions: &[TableFunction], env: &EvalEnv) -> PgResult<Rows> {
    let mut rows = Vec::new();
    for row in &input.rows {
        let mut sets = Vec::new();
        for function in functions {
            let args =
                function.args.iter().map(|arg| input.eval(arg, row, env)).collect::<PgResult<Vec<_>>>()?;
            let info = CallInfo {
                func: function.func,
                arg_types: function.args.iter().map(|arg| arg.ty).collect(),
                ret: function.cols.first().map_or(Ty::new(shardforge_types::oid::VOID), |col| col.ty),
                variadic: false,
            };
            let set = func::rows(function.func, &args, &info, function.cols.len(), env)?;
            sets.push(set.collect::<PgResult<Vec<_>>>()?);
        }
        for at in 0..sets.iter().map(Vec::len).max().unwrap_or(0) {
            let mut out = row.clone();
            for (set, function) in sets.iter().zip(functions) {
                match set.get(at) {
                    Some(values) => out.extend(values.iter().cloned()),
                    None => out.extend(vec![Datum::Null; function.cols.len()]),
                }
            }
            rows.push(out);
        }
    }
    let mut cols = input.cols;
    cols.extend(functions.iter().flat_map(|function| function.cols.iter().map(|col| col.id)));
    Ok(Rows { cols, rows })
}

fn sort(rows: &mut Rows, keys: &[SortKey], env: &EvalEnv) -> PgResult<()> {
    let mut keyed = Vec::new();
    for row in &rows.rows {
        let values = keys.iter().map(|key| rows.eval(&key.expr, row, env)).collect::<PgResult<Vec<_>>>()?;
        keyed.push((values, row.clone()));
    }
    keyed.sort_by(|(left, _), (right, _)| {
        let pairs = keys.iter().zip(left.iter().zip(right));
        let order =
            |(key, (left, right)): (&SortKey, (&Datum, &Datum))| match (left.is_null(), right.is_null()) {
                (false, false) if key.desc => compare::cmp(key.expr.ty.oid, right, left),
                (false, false) => compare::cmp(key.expr.ty.oid, left, right),
                (left, right) if key.nulls_first => right.cmp(&left),
                (left, right) => left.cmp(&right),
            };
        pairs.map(order).find(|order| order.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
    });
    rows.rows = keyed.into_iter().map(|(_, row)| row).collect();
    Ok(())
}

fn aggregate(input: &Rows, call: &Aggregate, env: &EvalEnv) -> PgResult<Datum> {
    let ordered_set = builtin().aggregate(call.func).is_some_and(|a| a.kind != AggregateKind::Normal);
    let aggregated: Vec<&Scalar> =
        if ordered_set { call.order_by.iter().map(|key| &key.expr).collect() } else { Vec::new() };
    let args: Vec<&Scalar> = call.args.iter().chain(aggregated).collect();
    let info = AggregateInfo {
        func: call.func,
        arg_types: args.iter().map(|arg| arg.ty).collect(),
        ret: call.ty,
        direct_args: if ordered_set { call.args.len() } else { 0 },
        order: call.order_by.iter().map(|key| (key.desc, key.nulls_first)).collect::<SmallVec<_>>(),
    };
    let mut rows = Rows { cols: input.cols.clone(), rows: input.rows.clone() };
    sort(&mut rows, &call.order_by, env)?;
    let factory = func::aggregate(call.func).ok_or_else(|| func::not_supported(call.func))?;
    let mut accumulator = factory(&info);
    let mut seen: Vec<Vec<Datum>> = Vec::new();
    for row in &rows.rows {
        if let Some(filter) = &call.filter
            && rows.eval(filter, row, env)? != Datum::Bool(true)
        {
            continue;
        }
        let values = args.iter().map(|arg| rows.eval(arg, row, env)).collect::<PgResult<Vec<_>>>()?;
        if call.distinct {
            if seen.contains(&values) {
                continue;
            }
            seen.push(values.clone());
        }
        accumulator.update(&values, env)?;
    }
    accumulator.finish(env)
}
