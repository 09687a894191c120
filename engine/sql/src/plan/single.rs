//! Recognises queries over one table (or none): what the fast path can run.

use shardforge_kv::LockStrength;
use shardforge_types::oid;

use crate::catalog::builtin::{Volatility, builtin};
use crate::ir::{Col, ColId, Rel, RowWait, Scalar, ScalarKind, Scan, SortKey};

/// `SELECT items FROM base WHERE conjuncts ORDER BY order LIMIT limit OFFSET offset FOR lock`, with all
/// expressions over the base's columns.
pub struct SingleTable<'a> {
    /// What is read.
    pub base: Base<'a>,
    /// WHERE.
    pub conjuncts: Vec<Scalar>,
    /// ORDER BY.
    pub order: Vec<SortKey>,
    /// Output columns; `None`: the base's own.
    pub items: Option<Vec<(Col, Scalar)>>,
    /// LIMIT.
    pub limit: Option<Scalar>,
    /// OFFSET.
    pub offset: Option<Scalar>,
    /// Row locks.
    pub lock: Option<(LockStrength, RowWait)>,
}

/// What a single-table query reads.
pub enum Base<'a> {
    /// One row without columns.
    Unit,
    /// Literal rows.
    Values(&'a [Col], &'a [Vec<Scalar>]),
    /// A table.
    Table(&'a Scan),
}

impl<'a> SingleTable<'a> {
    /// The query as a single-table query, or why it is none.
    pub fn recognise(rel: &'a Rel) -> Result<SingleTable<'a>, &'static str> {
        let query = flatten(rel)?;
        let scalars = query
            .conjuncts
            .iter()
            .chain(query.order.iter().map(|key| &key.expr))
            .chain(query.items.iter().flatten().map(|(_, scalar)| scalar))
            .chain(&query.limit)
            .chain(&query.offset);
        for scalar in scalars {
            if scalar.any(&|s| matches!(s.kind, ScalarKind::Subquery(_))) {
                return Err("subquery");
            }
        }
        if let Base::Values(_, rows) = &query.base
            && rows.iter().flatten().any(|s| s.any(&|s| matches!(s.kind, ScalarKind::Subquery(_))))
        {
            return Err("subquery");
        }
        Ok(query)
    }

    fn replace_columns(&self, scalar: &mut Scalar) -> Result<(), &'static str> {
        let Some(items) = &self.items else { return Ok(()) };
        let find = |id: ColId| items.iter().find(|(col, _)| col.id == id).map(|(_, scalar)| scalar.clone());
        if matches!(scalar.kind, ScalarKind::Column(_)) {
            scalar.substitute(&find);
            return Ok(());
        }
        // Substitution may copy an expression; one with effects must be computed once.
        let copies_effects = scalar.any(&|s| match s.kind {
            ScalarKind::Column(id) => find(id).is_some_and(|s| is_volatile(&s)),
            _ => false,
        });
        if copies_effects {
            return Err("volatile expression under another");
        }
        scalar.substitute(&find);
        Ok(())
    }
}

fn flatten(rel: &Rel) -> Result<SingleTable<'_>, &'static str> {
    let base = |base| SingleTable {
        base,
        conjuncts: Vec::new(),
        order: Vec::new(),
        items: None,
        limit: None,
        offset: None,
        lock: None,
    };
    let unlimited = |query: &SingleTable<'_>| query.limit.is_none() && query.offset.is_none();
    match rel {
        Rel::Unit => Ok(base(Base::Unit)),
        Rel::Values { cols, rows } => Ok(base(Base::Values(cols, rows))),
        Rel::Scan(scan) => Ok(base(Base::Table(scan))),
        Rel::Filter { input, predicate } => {
            let mut query = flatten(input)?;
            if !unlimited(&query) || query.lock.is_some() {
                return Err("filter above a limit");
            }
            let mut predicate = predicate.clone();
            query.replace_columns(&mut predicate)?;
            query.conjuncts.extend(predicate.conjuncts());
            Ok(query)
        }
        Rel::Project { input, items } => {
            let mut query = flatten(input)?;
            let mut items = items.clone();
            for (_, scalar) in &mut items {
                query.replace_columns(scalar)?;
            }
            query.items = Some(items);
            Ok(query)
        }
        Rel::Sort { input, keys } => {
            let mut query = flatten(input)?;
            if !unlimited(&query) || query.lock.is_some() {
                return Err("sort above a limit");
            }
            let mut keys = keys.clone();
            for key in &mut keys {
                query.replace_columns(&mut key.expr)?;
            }
            keys.append(&mut query.order);
            query.order = keys;
            Ok(query)
        }
        Rel::Limit { input, limit, offset, with_ties: false } => {
            let mut query = flatten(input)?;
            if !unlimited(&query) {
                return Err("limit above a limit");
            }
            query.limit.clone_from(limit);
            query.offset.clone_from(offset);
            Ok(query)
        }
        Rel::LockRows { input, locks } => {
            let mut query = flatten(input)?;
            let [lock] = &locks[..] else { return Err("locks on several tables") };
            if query.lock.is_some() || !unlimited(&query) {
                return Err("lock above a limit");
            }
            query.lock = Some((lock.strength, lock.wait));
            Ok(query)
        }
        Rel::Limit { .. } => Err("with ties"),
        Rel::SystemScan { .. } => Err("system catalog"),
        Rel::FunctionScan { .. } => Err("function in FROM"),
        Rel::ProjectSet { .. } => Err("set-returning function"),
        Rel::Join { .. } => Err("join"),
        Rel::Aggregate { .. } => Err("aggregate"),
        Rel::Window { .. } => Err("window function"),
        Rel::Distinct { .. } => Err("distinct"),
        Rel::SetOp { .. } => Err("set operation"),
        Rel::With { .. } | Rel::CteScan { .. } => Err("common table expression"),
        Rel::Modify(_) => Err("data-modifying common table expression"),
    }
}

/// True if evaluating the expression twice may differ or has effects.
pub fn is_volatile(scalar: &Scalar) -> bool {
    scalar.any(&|s| match &s.kind {
        ScalarKind::Call(call) => {
            builtin().proc_by_oid(call.func).is_none_or(|proc| proc.volatility == Volatility::Volatile)
        }
        ScalarKind::IoCast(arg) => arg.ty.oid == oid::REGCLASS,
        _ => false,
    })
}

/// True if a function of it other than `nextval` is volatile.
pub fn is_volatile_but_for_nextval(scalar: &Scalar) -> bool {
    scalar.any(&|s| match &s.kind {
        ScalarKind::Call(call) => {
            let proc = builtin().proc_by_oid(call.func);
            proc.is_none_or(|proc| proc.volatility == Volatility::Volatile && proc.name != "nextval")
        }
        _ => false,
    })
}
