//! Subqueries in expressions: as semi-joins where they can be, else computed for each outer row by a plan of their own.

use std::sync::Arc;

use shardforge_types::{PgError, PgResult, oid};

use super::{Lowered, Lowering, types_of};
use crate::df::arrays::schema_of;
use crate::df::operators::{Correlated, SubqueryAnswer, SubqueryOp};
use crate::df::rewrite::push_down;
use crate::df::slots::Slots;
use crate::exec::eval::CompiledExpr;
use crate::ir::{Col, ColId, JoinKind, Rel, Scalar, ScalarKind, Subquery, SubqueryKind};

impl Lowering<'_> {
    /// EXISTS and IN as a top-level condition: a semi or anti join, when the subquery's correlation can become
    /// the join's condition. Gives the input back if not.
    pub(super) fn semi_join(
        &mut self,
        input: Lowered,
        conjunct: &Scalar,
    ) -> PgResult<Result<Lowered, Lowered>> {
        let Some((kind, inner, on)) = joined_subquery(conjunct) else { return Ok(Err(input)) };
        let inner = self.rel(&push_down(inner))?;
        Ok(Ok(self.join_plans(kind, input, inner, on)?))
    }

    /// Lowers a relation that may use columns of an outer row: these become parameters of a plan of its own.
    pub(super) fn correlated(&mut self, rel: &Rel, output: &[Col], outer: &[Col]) -> PgResult<Correlated> {
        let bound: Vec<(usize, Col)> = rel
            .free_columns()
            .into_iter()
            .filter_map(|col| outer.iter().position(|o| o.id == col.id).map(|at| (at, col)))
            .collect();
        let first = self.params;
        let mut rel = rel.clone();
        rel.substitute(&|id| parameter(&bound, first, id));
        let slots = Arc::new(Slots::default());
        let saved = (std::mem::replace(&mut self.slots, slots.clone()), self.params);
        self.params += bound.len() as u16;
        let lowered = self.query(&rel, output);
        (self.slots, self.params) = saved;
        let lowered = lowered?;
        Ok(Correlated {
            plan: lowered.plan,
            slots,
            types: types_of(output),
            outer: bound.into_iter().map(|(at, _)| at).collect(),
        })
    }

    /// Computes the subqueries of some expressions as columns of the input, and puts these in their place.
    pub(super) fn with_subqueries(
        &mut self,
        input: Lowered,
        scalars: &mut [&mut Scalar],
    ) -> PgResult<Lowered> {
        // Those that another one's test is made with come first.
        let mut input = input;
        loop {
            let mut found = Vec::new();
            for scalar in scalars.iter_mut() {
                self.extract_from_tests(scalar, &input.cols, &mut found)?;
            }
            if found.is_empty() {
                break;
            }
            input = self.compute(input, found);
        }
        let mut found = Vec::new();
        for scalar in scalars.iter_mut() {
            self.extract(scalar, &input.cols, &mut found)?;
        }
        Ok(if found.is_empty() { input } else { self.compute(input, found) })
    }

    /// The input with the answers of subqueries as more columns.
    fn compute(&mut self, input: Lowered, found: Vec<(Col, Correlated, SubqueryAnswer)>) -> Lowered {
        let mut cols = input.cols.clone();
        let mut subqueries = Vec::new();
        for (col, correlated, answer) in found {
            subqueries.push((correlated, answer, col.ty.oid));
            cols.push(col);
        }
        let operator = SubqueryOp {
            schema: schema_of(&cols),
            input_types: types_of(&input.cols),
            subqueries: Arc::new(subqueries),
            slots: self.slots.clone(),
        };
        self.operator(operator, cols, vec![input.plan])
    }

    /// Takes the subqueries out of what ANY and ALL compare, the innermost ones.
    fn extract_from_tests(
        &mut self,
        scalar: &mut Scalar,
        outer: &[Col],
        found: &mut Vec<(Col, Correlated, SubqueryAnswer)>,
    ) -> PgResult<()> {
        let has_such_test = |scalar: &Scalar| {
            scalar.any(&|part| matches!(&part.kind, ScalarKind::Subquery(sub) if test_has_subquery(sub)))
        };
        if let ScalarKind::Subquery(sub) = &mut scalar.kind {
            return match &mut sub.kind {
                SubqueryKind::Any(test) | SubqueryKind::All(test) if has_such_test(test) => {
                    self.extract_from_tests(test, outer, found)
                }
                SubqueryKind::Any(test) | SubqueryKind::All(test) => self.extract(test, outer, found),
                SubqueryKind::Scalar | SubqueryKind::Exists | SubqueryKind::Array => Ok(()),
            };
        }
        let mut result = Ok(());
        scalar.for_each_child_mut(&mut |child| {
            if result.is_ok() {
                result = self.extract_from_tests(child, outer, found);
            }
        });
        result
    }

    pub(super) fn extract(
        &mut self,
        scalar: &mut Scalar,
        outer: &[Col],
        found: &mut Vec<(Col, Correlated, SubqueryAnswer)>,
    ) -> PgResult<()> {
        if let ScalarKind::Subquery(sub) = &mut scalar.kind {
            let Subquery { kind, rel, cols } = &mut **sub;
            let output: Vec<Col> = {
                let all = rel.columns();
                cols.iter().filter_map(|id| all.iter().find(|col| col.id == *id).copied()).collect()
            };
            // The outer columns of an ANY or ALL test are bound like those of the subquery.
            let test = match kind {
                SubqueryKind::Any(test) | SubqueryKind::All(test) => Some(test.clone()),
                _ => None,
            };
            let mut correlated = self.correlated(rel, &output, outer)?;
            let answer = match (&*kind, test) {
                (SubqueryKind::Scalar, _) => SubqueryAnswer::Scalar,
                (SubqueryKind::Exists, _) => SubqueryAnswer::Exists,
                (SubqueryKind::Array, _) => {
                    SubqueryAnswer::Array(output.first().map_or(oid::TEXT, |col| col.ty.oid))
                }
                (quantifier, Some(mut test)) => {
                    let any = matches!(quantifier, SubqueryKind::Any(_));
                    let own: Vec<Col> = output.clone();
                    let mut bound: Vec<(usize, Col)> = Vec::new();
                    for used in test.used_columns() {
                        if own.iter().any(|col| col.id == used.id) {
                            continue;
                        }
                        if let Some(at) = outer.iter().position(|o| o.id == used.id) {
                            bound.push((at, used));
                        }
                    }
                    let first = self.params + correlated.outer.len() as u16;
                    test.substitute_deep(&|id| parameter(&bound, first, id));
                    correlated.outer.extend(bound.iter().map(|(at, _)| *at));
                    let test = CompiledExpr::compile(&test, &|id| own.iter().position(|col| col.id == id))?;
                    SubqueryAnswer::Quantified { test, any }
                }
                (_, None) => return Err(PgError::internal("a quantified subquery without test")),
            };
            let col = self.fresh(scalar.ty);
            found.push((col, correlated, answer));
            *scalar = Scalar::column(col.id, col.ty);
            return Ok(());
        }
        let mut result = Ok(());
        scalar.for_each_child_mut(&mut |child| {
            if result.is_ok() {
                result = self.extract(child, outer, found);
            }
        });
        result
    }
}

fn locks_rows(rel: &Rel) -> bool {
    let mut found = matches!(rel, Rel::LockRows { .. });
    rel.for_each_input(&mut |input| found |= locks_rows(input));
    found
}

/// EXISTS or IN as a semi or anti join: with which relation, on what conditions.
fn joined_subquery(conjunct: &Scalar) -> Option<(JoinKind, Rel, Vec<Scalar>)> {
    let (scalar, negated) = match &conjunct.kind {
        ScalarKind::Not(arg) => (&**arg, true),
        _ => (conjunct, false),
    };
    let ScalarKind::Subquery(sub) = &scalar.kind else { return None };
    let (sub, mut on) = match &sub.kind {
        // One that locks rows locks the row that it finds, and no other.
        SubqueryKind::Exists if !locks_rows(&sub.rel) => (sub, Vec::new()),
        SubqueryKind::Any(test) if !negated && !test.has_subquery() => (sub, vec![(**test).clone()]),
        _ => return None,
    };
    let (inner, correlated) = decorrelate(&sub.rel)?;
    on.extend(correlated);
    let is_constant = on.is_empty() && !negated && matches!(sub.kind, SubqueryKind::Exists);
    if on.iter().any(Scalar::has_subquery) || is_constant {
        return None;
    }
    Some((if negated { JoinKind::Anti } else { JoinKind::Semi }, inner, on))
}

/// Whether a condition is a semi or anti join, and on what conditions.
pub(super) fn semi_join_of(conjunct: &Scalar) -> Option<(JoinKind, Vec<Scalar>)> {
    joined_subquery(conjunct).map(|(kind, _, on)| (kind, on))
}

/// Whether what a subquery is compared with has subqueries of its own.
fn test_has_subquery(sub: &Subquery) -> bool {
    match &sub.kind {
        SubqueryKind::Any(test) | SubqueryKind::All(test) => test.has_subquery(),
        SubqueryKind::Scalar | SubqueryKind::Exists | SubqueryKind::Array => false,
    }
}

/// The parameter that stands for an outer column.
fn parameter(bound: &[(usize, Col)], first: u16, id: ColId) -> Option<Scalar> {
    let at = bound.iter().position(|(_, col)| col.id == id)?;
    Some(Scalar { kind: ScalarKind::Param(first + at as u16), ty: bound[at].1.ty, pos: None })
}

/// Takes the correlated conditions out of a subquery, if all its correlation is in filters over plain scans and
/// joins: the relation without them, and the conditions. The relation keeps its inputs' columns, since the
/// conditions need them.
fn decorrelate(rel: &Rel) -> Option<(Rel, Vec<Scalar>)> {
    if rel.free_columns().is_empty() {
        return Some((rel.clone(), Vec::new()));
    }
    match rel {
        Rel::Filter { input, predicate } => {
            let (inner, mut conditions) = decorrelate(input)?;
            let produced: Vec<ColId> = inner.columns().iter().map(|col| col.id).collect();
            let mut own = Vec::new();
            for conjunct in predicate.clone().conjuncts() {
                if conjunct.used_columns().iter().all(|col| produced.contains(&col.id)) {
                    own.push(conjunct);
                } else if conjunct.has_subquery() {
                    return None;
                } else {
                    conditions.push(conjunct);
                }
            }
            let inner = match own.is_empty() {
                true => inner,
                false => Rel::Filter { input: Box::new(inner), predicate: Scalar::and(own) },
            };
            Some((inner, conditions))
        }
        Rel::Project { input, items } => {
            let (inner, conditions) = decorrelate(input)?;
            let produced: Vec<Col> = inner.columns();
            let closed = |scalar: &Scalar| {
                scalar.used_columns().iter().all(|used| produced.iter().any(|col| col.id == used.id))
            };
            if !items.iter().all(|(_, scalar)| closed(scalar) && !scalar.has_subquery()) {
                return None;
            }
            if conditions.is_empty() {
                return Some((Rel::Project { input: Box::new(inner), items: items.clone() }, conditions));
            }
            // The conditions' columns pass through.
            let mut items = items.clone();
            for used in conditions.iter().flat_map(Scalar::used_columns) {
                let passes = produced.iter().any(|col| col.id == used.id);
                if passes && items.iter().all(|(col, _)| col.id != used.id) {
                    items.push((used, Scalar::column(used.id, used.ty)));
                }
            }
            Some((Rel::Project { input: Box::new(inner), items }, conditions))
        }
        _ => None,
    }
}
