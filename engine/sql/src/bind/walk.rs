//! Walks over bound expressions that go into the relations of sub-selects, which the IR's own walk leaves out, and
//! the comparison of expressions by structure.

use shardforge_types::PgResult;

use super::binder::Binder;
use crate::ir::{
    Aggregate, CteBody, Frame, FrameBound, ModifyOp, Rel, Scalar, ScalarKind, SortKey, SubqueryKind,
    SubscriptIndex, WindowCall,
};

/// Whether a sub-select stands in the expression.
pub(super) fn contains_subquery(expr: &Scalar) -> bool {
    if matches!(expr.kind, ScalarKind::Subquery(_)) {
        return true;
    }
    let mut found = false;
    expr.for_each_child(&mut |child| found |= contains_subquery(child));
    found
}

/// Whether the expression uses a column of the given level, also from within sub-selects.
pub(super) fn uses_level(binder: &Binder<'_>, expr: &Scalar, depth: u32) -> bool {
    let mut found = false;
    visit(expr, &mut |e| {
        if let ScalarKind::Column(id) = e.kind
            && id != crate::ir::ColId::ELEMENT
        {
            found |= binder.meta(id).depth == depth;
        }
    });
    found
}

/// Calls `f` on the expression and everything below it, sub-selects included.
pub(super) fn visit(expr: &Scalar, f: &mut dyn FnMut(&Scalar)) {
    f(expr);
    expr.for_each_child(&mut |child| visit(child, f));
    if let ScalarKind::Subquery(sub) = &expr.kind {
        visit_rel(&sub.rel, f);
    }
}

/// Calls `f` on every expression of a relation, sub-selects included.
pub(super) fn visit_rel(rel: &Rel, f: &mut dyn FnMut(&Scalar)) {
    match rel {
        Rel::Unit | Rel::Scan(_) | Rel::SystemScan { .. } | Rel::CteScan { .. } => {}
        Rel::Values { rows, .. } => rows.iter().flatten().for_each(|e| visit(e, f)),
        Rel::FunctionScan { functions, .. } => {
            functions.iter().flat_map(|t| &t.args).for_each(|e| visit(e, f));
        }
        Rel::Filter { input, predicate } => {
            visit_rel(input, f);
            visit(predicate, f);
        }
        Rel::Project { input, items } => {
            visit_rel(input, f);
            items.iter().for_each(|(_, e)| visit(e, f));
        }
        Rel::ProjectSet { input, functions } => {
            visit_rel(input, f);
            functions.iter().flat_map(|t| &t.args).for_each(|e| visit(e, f));
        }
        Rel::Join { left, right, on, .. } => {
            visit_rel(left, f);
            visit_rel(right, f);
            visit(on, f);
        }
        Rel::Aggregate { input, groups, aggregates, .. } => {
            visit_rel(input, f);
            groups.iter().for_each(|(_, e)| visit(e, f));
            aggregates.iter().for_each(|(_, a)| visit_aggregate(a, f));
        }
        Rel::Window { input, functions } => {
            visit_rel(input, f);
            functions.iter().for_each(|(_, w)| visit_window(w, f));
        }
        Rel::Sort { input, keys } => {
            visit_rel(input, f);
            keys.iter().for_each(|k| visit(&k.expr, f));
        }
        Rel::Limit { input, limit, offset, .. } => {
            visit_rel(input, f);
            limit.iter().chain(offset).for_each(|e| visit(e, f));
        }
        Rel::Distinct { input, on } => {
            visit_rel(input, f);
            on.iter().flatten().for_each(|e| visit(e, f));
        }
        Rel::SetOp { left, right, .. } => {
            visit_rel(&left.0, f);
            visit_rel(&right.0, f);
        }
        Rel::With { ctes, body } => {
            for cte in ctes {
                match &cte.body {
                    CteBody::Plain(rel, _) => visit_rel(rel, f),
                    CteBody::Recursive { base, step, .. } => {
                        visit_rel(&base.0, f);
                        visit_rel(&step.0, f);
                    }
                }
            }
            visit_rel(body, f);
        }
        Rel::LockRows { input, .. } => visit_rel(input, f),
        Rel::Modify(modify) => {
            match &modify.op {
                ModifyOp::Insert { source, values, .. } => {
                    visit_rel(source, f);
                    values.iter().for_each(|(_, e)| visit(e, f));
                }
                ModifyOp::Update { source, assignments, .. } => {
                    visit_rel(source, f);
                    assignments.iter().for_each(|(_, e)| visit(e, f));
                }
                ModifyOp::Delete { source, .. } => visit_rel(source, f),
            }
            modify.returning.iter().for_each(|(_, e)| visit(e, f));
        }
    }
}

fn visit_aggregate(aggregate: &Aggregate, f: &mut dyn FnMut(&Scalar)) {
    aggregate.args.iter().chain(&aggregate.filter).for_each(|e| visit(e, f));
    aggregate.order_by.iter().for_each(|k| visit(&k.expr, f));
}

fn visit_window(call: &WindowCall, f: &mut dyn FnMut(&Scalar)) {
    call.args.iter().chain(&call.filter).chain(&call.partition_by).for_each(|e| visit(e, f));
    call.order_by.iter().for_each(|k| visit(&k.expr, f));
    for bound in [&call.frame.start, &call.frame.end] {
        if let FrameBound::Preceding(e) | FrameBound::Following(e) = bound {
            visit(e, f);
        }
    }
}

/// What a rewriting does with an expression that it meets.
pub(super) enum Rewrite {
    /// Leave it and go on below it.
    Descend,
    /// It has been replaced; what is below it is done.
    Done,
}

/// A rewriting: called on each expression, outermost first; `inner` tells that it stands within a sub-select.
pub(super) type Rewriter<'r> = dyn FnMut(&mut Scalar, bool) -> PgResult<Rewrite> + 'r;

/// Rewrites an expression in place, sub-selects included.
pub(super) fn rewrite(expr: &mut Scalar, inner: bool, f: &mut Rewriter<'_>) -> PgResult<()> {
    if let Rewrite::Done = f(expr, inner)? {
        return Ok(());
    }
    let all =
        |exprs: &mut [Scalar], f: &mut Rewriter<'_>| exprs.iter_mut().try_for_each(|e| rewrite(e, inner, f));
    match &mut expr.kind {
        ScalarKind::Column(_) | ScalarKind::Const(_) | ScalarKind::Param(_) => Ok(()),
        ScalarKind::Call(call) => all(&mut call.args, f),
        ScalarKind::And(args)
        | ScalarKind::Or(args)
        | ScalarKind::Coalesce(args)
        | ScalarKind::Row(args)
        | ScalarKind::MinMax { args, .. }
        | ScalarKind::Array { elems: args, .. } => all(args, f),
        ScalarKind::Not(arg)
        | ScalarKind::IsNull { arg, .. }
        | ScalarKind::BoolTest { arg, .. }
        | ScalarKind::IoCast(arg)
        | ScalarKind::Relabel(arg)
        | ScalarKind::ApplyTypmod { arg, .. }
        | ScalarKind::Field { arg, .. } => rewrite(arg, inner, f),
        ScalarKind::Distinct { left, right, .. } | ScalarKind::NullIf { left, right, .. } => {
            rewrite(left, inner, f)?;
            rewrite(right, inner, f)
        }
        ScalarKind::ArrayMap { arg, elem } => {
            rewrite(arg, inner, f)?;
            rewrite(elem, inner, f)
        }
        ScalarKind::ArrayOp { left, array, .. } => {
            rewrite(left, inner, f)?;
            rewrite(array, inner, f)
        }
        ScalarKind::InList { left, list, .. } => {
            rewrite(left, inner, f)?;
            all(list, f)
        }
        ScalarKind::Case { whens, otherwise } => {
            for (condition, result) in whens {
                rewrite(condition, inner, f)?;
                rewrite(result, inner, f)?;
            }
            rewrite(otherwise, inner, f)
        }
        ScalarKind::SubscriptSet { arg, indexes, value } => {
            rewrite(arg, inner, f)?;
            for index in indexes {
                match index {
                    SubscriptIndex::Index(i) => rewrite(i, inner, f)?,
                    SubscriptIndex::Slice(lower, upper) => {
                        for bound in lower.iter_mut().chain(upper) {
                            rewrite(bound, inner, f)?;
                        }
                    }
                }
            }
            rewrite(value, inner, f)
        }
        ScalarKind::Subscript { arg, indexes } => {
            rewrite(arg, inner, f)?;
            for index in indexes {
                match index {
                    SubscriptIndex::Index(i) => rewrite(i, inner, f)?,
                    SubscriptIndex::Slice(lower, upper) => {
                        for bound in lower.iter_mut().chain(upper) {
                            rewrite(bound, inner, f)?;
                        }
                    }
                }
            }
            Ok(())
        }
        ScalarKind::Subquery(sub) => {
            if let SubqueryKind::Any(test) | SubqueryKind::All(test) = &mut sub.kind {
                rewrite(test, inner, f)?;
            }
            rewrite_rel(&mut sub.rel, f)
        }
    }
}

/// Rewrites every expression of a relation in place.
pub(super) fn rewrite_rel(rel: &mut Rel, f: &mut Rewriter<'_>) -> PgResult<()> {
    match rel {
        Rel::Unit | Rel::Scan(_) | Rel::SystemScan { .. } | Rel::CteScan { .. } => Ok(()),
        Rel::Values { rows, .. } => rows.iter_mut().flatten().try_for_each(|e| rewrite(e, true, f)),
        Rel::FunctionScan { functions, .. } => {
            functions.iter_mut().flat_map(|t| &mut t.args).try_for_each(|e| rewrite(e, true, f))
        }
        Rel::Filter { input, predicate } => {
            rewrite_rel(input, f)?;
            rewrite(predicate, true, f)
        }
        Rel::Project { input, items } => {
            rewrite_rel(input, f)?;
            items.iter_mut().try_for_each(|(_, e)| rewrite(e, true, f))
        }
        Rel::ProjectSet { input, functions } => {
            rewrite_rel(input, f)?;
            functions.iter_mut().flat_map(|t| &mut t.args).try_for_each(|e| rewrite(e, true, f))
        }
        Rel::Join { left, right, on, .. } => {
            rewrite_rel(left, f)?;
            rewrite_rel(right, f)?;
            rewrite(on, true, f)
        }
        Rel::Aggregate { input, groups, aggregates, .. } => {
            rewrite_rel(input, f)?;
            groups.iter_mut().try_for_each(|(_, e)| rewrite(e, true, f))?;
            aggregates.iter_mut().try_for_each(|(_, a)| {
                a.args.iter_mut().chain(&mut a.filter).try_for_each(|e| rewrite(e, true, f))?;
                a.order_by.iter_mut().try_for_each(|k| rewrite(&mut k.expr, true, f))
            })
        }
        Rel::Window { input, functions } => {
            rewrite_rel(input, f)?;
            functions.iter_mut().try_for_each(|(_, w)| rewrite_window(w, true, f))
        }
        Rel::Sort { input, keys } => {
            rewrite_rel(input, f)?;
            keys.iter_mut().try_for_each(|k| rewrite(&mut k.expr, true, f))
        }
        Rel::Limit { input, limit, offset, .. } => {
            rewrite_rel(input, f)?;
            limit.iter_mut().chain(offset).try_for_each(|e| rewrite(e, true, f))
        }
        Rel::Distinct { input, on } => {
            rewrite_rel(input, f)?;
            on.iter_mut().flatten().try_for_each(|e| rewrite(e, true, f))
        }
        Rel::SetOp { left, right, .. } => {
            rewrite_rel(&mut left.0, f)?;
            rewrite_rel(&mut right.0, f)
        }
        Rel::With { ctes, body } => {
            for cte in ctes {
                match &mut cte.body {
                    CteBody::Plain(rel, _) => rewrite_rel(rel, f)?,
                    CteBody::Recursive { base, step, .. } => {
                        rewrite_rel(&mut base.0, f)?;
                        rewrite_rel(&mut step.0, f)?;
                    }
                }
            }
            rewrite_rel(body, f)
        }
        Rel::LockRows { input, .. } => rewrite_rel(input, f),
        // Data-modifying statements stand at the top level only: they see no outer columns.
        Rel::Modify(_) => Ok(()),
    }
}

/// Rewrites the expressions of a window call.
pub(super) fn rewrite_window(call: &mut WindowCall, inner: bool, f: &mut Rewriter<'_>) -> PgResult<()> {
    let plain = call.args.iter_mut().chain(&mut call.filter).chain(&mut call.partition_by);
    plain.into_iter().try_for_each(|e| rewrite(e, inner, f))?;
    call.order_by.iter_mut().try_for_each(|k| rewrite(&mut k.expr, inner, f))?;
    for bound in [&mut call.frame.start, &mut call.frame.end] {
        if let FrameBound::Preceding(e) | FrameBound::Following(e) = bound {
            rewrite(e, inner, f)?;
        }
    }
    Ok(())
}

/// Whether two expressions compute the same, by their form: positions do not count. Sub-selects are never the same.
pub(super) fn same_expr(a: &Scalar, b: &Scalar) -> bool {
    use ScalarKind as K;
    let all =
        |a: &[Scalar], b: &[Scalar]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_expr(a, b));
    if a.ty.oid != b.ty.oid || a.ty.typmod != b.ty.typmod {
        return false;
    }
    match (&a.kind, &b.kind) {
        (K::Column(a), K::Column(b)) => a == b,
        (K::Const(a), K::Const(b)) => a == b,
        (K::Param(a), K::Param(b)) => a == b,
        (K::Call(a), K::Call(b)) => a.func == b.func && all(&a.args, &b.args),
        (K::And(a), K::And(b))
        | (K::Or(a), K::Or(b))
        | (K::Coalesce(a), K::Coalesce(b))
        | (K::Row(a), K::Row(b)) => all(a, b),
        (K::MinMax { greatest: x, args: a }, K::MinMax { greatest: y, args: b }) => x == y && all(a, b),
        (K::Array { elems: a, nested: x }, K::Array { elems: b, nested: y }) => x == y && all(a, b),
        (K::Not(a), K::Not(b)) | (K::IoCast(a), K::IoCast(b)) | (K::Relabel(a), K::Relabel(b)) => {
            same_expr(a, b)
        }
        (K::IsNull { arg: a, negated: x }, K::IsNull { arg: b, negated: y }) => x == y && same_expr(a, b),
        (K::BoolTest { arg: a, value: v, negated: x }, K::BoolTest { arg: b, value: w, negated: y }) => {
            v == w && x == y && same_expr(a, b)
        }
        (
            K::Distinct { eq: e, left: l, right: r, negated: x },
            K::Distinct { eq: f, left: m, right: s, negated: y },
        ) => e == f && x == y && same_expr(l, m) && same_expr(r, s),
        (K::NullIf { eq: e, left: l, right: r }, K::NullIf { eq: f, left: m, right: s }) => {
            e == f && same_expr(l, m) && same_expr(r, s)
        }
        (K::Case { whens: v, otherwise: o }, K::Case { whens: w, otherwise: p }) => {
            v.len() == w.len()
                && v.iter().zip(w).all(|(a, b)| same_expr(&a.0, &b.0) && same_expr(&a.1, &b.1))
                && same_expr(o, p)
        }
        (K::ApplyTypmod { arg: a, explicit: x }, K::ApplyTypmod { arg: b, explicit: y }) => {
            x == y && same_expr(a, b)
        }
        (K::ArrayMap { arg: a, elem: e }, K::ArrayMap { arg: b, elem: f }) => {
            same_expr(a, b) && same_expr(e, f)
        }
        (K::Field { arg: a, index: i }, K::Field { arg: b, index: j }) => i == j && same_expr(a, b),
        (
            K::ArrayOp { func: f, any: x, left: l, array: r },
            K::ArrayOp { func: g, any: y, left: m, array: s },
        ) => f == g && x == y && same_expr(l, m) && same_expr(r, s),
        (K::InList { eq: e, left: l, list: a }, K::InList { eq: f, left: m, list: b }) => {
            e == f && same_expr(l, m) && all(a, b)
        }
        (K::Subscript { arg: a, indexes: i }, K::Subscript { arg: b, indexes: j }) => {
            same_expr(a, b) && i.len() == j.len() && i.iter().zip(j).all(|(a, b)| same_index(a, b))
        }
        _ => false,
    }
}

fn same_index(a: &SubscriptIndex, b: &SubscriptIndex) -> bool {
    let same = |a: &Option<Scalar>, b: &Option<Scalar>| match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => same_expr(a, b),
        _ => false,
    };
    match (a, b) {
        (SubscriptIndex::Index(a), SubscriptIndex::Index(b)) => same_expr(a, b),
        (SubscriptIndex::Slice(a, b), SubscriptIndex::Slice(c, d)) => same(a, c) && same(b, d),
        _ => false,
    }
}

/// Whether two sort keys are the same.
pub(super) fn same_key(a: &SortKey, b: &SortKey) -> bool {
    a.desc == b.desc && a.nulls_first == b.nulls_first && same_expr(&a.expr, &b.expr)
}

/// Whether two aggregate calls compute the same.
pub(super) fn same_aggregate(a: &Aggregate, b: &Aggregate) -> bool {
    let filters = match (&a.filter, &b.filter) {
        (None, None) => true,
        (Some(a), Some(b)) => same_expr(a, b),
        _ => false,
    };
    a.func == b.func
        && a.distinct == b.distinct
        && filters
        && a.args.len() == b.args.len()
        && a.args.iter().zip(&b.args).all(|(a, b)| same_expr(a, b))
        && a.order_by.len() == b.order_by.len()
        && a.order_by.iter().zip(&b.order_by).all(|(a, b)| same_key(a, b))
}

/// The frame that is used when none is written.
pub(super) fn default_frame() -> Frame {
    Frame {
        unit: crate::ir::FrameUnit::Range,
        start: FrameBound::UnboundedPreceding,
        end: FrameBound::CurrentRow,
    }
}

/// Whether evaluating the expression twice may give two results, or cost twice as much as it should.
pub(super) fn must_compute_once(expr: &Scalar) -> bool {
    let mut found = false;
    visit(expr, &mut |e| match &e.kind {
        ScalarKind::Subquery(_) => found = true,
        ScalarKind::Call(call) => {
            let volatility = crate::catalog::builtin::builtin().proc_by_oid(call.func).map(|p| p.volatility);
            found |= volatility == Some(crate::catalog::builtin::Volatility::Volatile);
        }
        _ => {}
    });
    found
}
