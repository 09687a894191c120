//! Row locks: what is locked above a query, and the query that checks a changed row again.
//!
//! The check is the query itself with its row in place of each table:
//!
//! ```text
//!   LockRows a                        Filter a.x < b.y
//!     Filter a.x < b.y       =>         Join  a.id = b.id
//!       Join a.id = b.id                  Project $1 AS a.id, $2 AS a.x, ...   (the newest version)
//!         Scan a                          Project $4 AS b.id, $5 AS b.y        (as it was)
//!         Scan b
//! ```
//!
//! It is a correlated subquery over that row, so that joins, expressions and subqueries mean in it what they mean
//! everywhere. What is not a table and cannot be looked into (grouped sub-selects, functions, WITH queries) keeps its
//! row, as a table that is not locked. Subqueries read their tables again, at the statement's snapshot. But EXISTS and IN
//! that are semi-joins are joins here as in PostgreSQL: the row that they found stays the same, so what the two rows were
//! matched by must not have changed; and where NOT EXISTS has found no row there still is none.

use datafusion::logical_expr::Operator;
use shardforge_types::{PgError, PgResult, oid};

use super::subquery::semi_join_of;
use super::{Lowered, Lowering, types_of};
use crate::df::arrays::schema_of;
use crate::df::expr::comparison;
use crate::df::locking::{LockRowsOp, LockTarget};
use crate::ir::{Col, JoinKind, Rel, RowLock, Scalar, ScalarKind, Scan, Ty};

impl Lowering<'_> {
    /// Locks above a relation.
    pub(super) fn lock_rows(&mut self, input: &Rel, locks: &[RowLock]) -> PgResult<Lowered> {
        let no_key = || PgError::internal("a row that is locked has no key");
        let mut input = input.clone();
        self.keep_columns(&mut input, false);
        let lowered = self.rel(&input)?;
        let position = |id| lowered.cols.iter().position(|col| col.id == id);
        let targets = locks
            .iter()
            .map(|lock| {
                let scan = scan_of(&input, lock).ok_or_else(no_key)?;
                let columns = scan.cols.iter();
                let columns = columns
                    .filter_map(|(col, attnum)| Some((position(col.id)?, *attnum as usize - 1)))
                    .collect();
                Ok(LockTarget {
                    layout: self.planner.layout(&lock.table)?,
                    key: position(lock.row_key).ok_or_else(no_key)?,
                    columns,
                    strength: lock.strength,
                    wait: lock.wait,
                })
            })
            .collect::<PgResult<_>>()?;
        let outer: Vec<Col> = lowered.cols.iter().map(|col| self.fresh(col.ty)).collect();
        let before: Vec<Col> = lowered.cols.iter().map(|col| self.fresh(col.ty)).collect();
        let row = Row { cols: &lowered.cols, outer: &outer, before: &before };
        let recheck = row.in_place_of(&input);
        let recheck = self.correlated(&recheck, &lowered.cols, &[&outer[..], &before[..]].concat())?;
        let operator = LockRowsOp {
            schema: schema_of(&lowered.cols),
            types: types_of(&lowered.cols),
            targets,
            recheck,
            ahead: locks.iter().all(|lock| lock.ahead),
            slots: self.slots.clone(),
        };
        Ok(self.operator(operator, lowered.cols, vec![lowered.plan]))
    }

    /// Lets projections pass on all that they are computed from, and tells rows of a nullable side from none.
    fn keep_columns(&mut self, rel: &mut Rel, nullable: bool) {
        match rel {
            Rel::Scan(scan) if nullable && scan.row_key.is_none() => {
                scan.row_key = Some(self.fresh(Ty::new(oid::BYTEA)));
            }
            Rel::Filter { input, .. } | Rel::Sort { input, .. } => self.keep_columns(input, nullable),
            Rel::Project { input, items } => {
                self.keep_columns(input, nullable);
                for col in input.columns() {
                    if items.iter().all(|(item, _)| item.id != col.id) {
                        items.push((col, Scalar::column(col.id, col.ty)));
                    }
                }
            }
            Rel::Join { kind, left, right, .. } => {
                self.keep_columns(left, nullable || matches!(kind, JoinKind::Right | JoinKind::Full));
                self.keep_columns(right, nullable || matches!(kind, JoinKind::Left | JoinKind::Full));
            }
            _ => {}
        }
    }
}

/// The scan that a lock is about, where its rows are not yet grouped, cut off or locked.
fn scan_of<'a>(rel: &'a Rel, lock: &RowLock) -> Option<&'a Scan> {
    match rel {
        Rel::Scan(scan) => scan.row_key.is_some_and(|key| key.id == lock.row_key).then_some(scan),
        Rel::Filter { input, .. } | Rel::Sort { input, .. } | Rel::Project { input, .. } => {
            scan_of(input, lock)
        }
        Rel::Join { left, right, .. } => scan_of(left, lock).or_else(|| scan_of(right, lock)),
        _ => None,
    }
}

/// A row of a query, and the ids under which the query that checks it again refers to its values: those to be checked,
/// and those that it had before.
struct Row<'a> {
    cols: &'a [Col],
    outer: &'a [Col],
    before: &'a [Col],
}

impl Row<'_> {
    /// The relation with the row in place of its tables.
    fn in_place_of(&self, rel: &Rel) -> Rel {
        match rel {
            Rel::Filter { input, predicate } => {
                let conjuncts = predicate.clone().conjuncts().into_iter();
                let conditions = conjuncts.flat_map(|conjunct| self.condition(conjunct)).collect();
                Rel::Filter { input: Box::new(self.in_place_of(input)), predicate: Scalar::and(conditions) }
            }
            // One row needs no order.
            Rel::Sort { input, .. } => self.in_place_of(input),
            Rel::Project { input, items } => {
                Rel::Project { input: Box::new(self.in_place_of(input)), items: items.clone() }
            }
            Rel::Join { kind, left, right, on, lateral } => {
                let side = |side: &Rel, nullable: bool| {
                    Box::new(if nullable { self.if_present(side) } else { self.in_place_of(side) })
                };
                Rel::Join {
                    kind: *kind,
                    left: side(left, matches!(kind, JoinKind::Right | JoinKind::Full)),
                    // The row does not have the columns of what was only tested.
                    right: match kind {
                        JoinKind::Semi | JoinKind::Anti => right.clone(),
                        _ => side(right, matches!(kind, JoinKind::Left | JoinKind::Full)),
                    },
                    on: on.clone(),
                    lateral: *lateral,
                }
            }
            other => {
                let cols = other.columns();
                let items = cols.iter().filter_map(|col| Some((*col, self.value(col)?))).collect();
                Rel::Project { input: Box::new(Rel::Unit), items }
            }
        }
    }

    /// As [`Self::in_place_of`], without a row where the outer join had found none.
    fn if_present(&self, side: &Rel) -> Rel {
        let null = |value: Scalar| Scalar {
            kind: ScalarKind::IsNull { arg: Box::new(value), negated: false },
            ty: Ty::new(oid::BOOL),
            pos: None,
        };
        let absent = side.columns().iter().filter_map(|col| self.value(col)).map(null).collect();
        let predicate = Scalar {
            kind: ScalarKind::Not(Box::new(Scalar::and(absent))),
            ty: Ty::new(oid::BOOL),
            pos: None,
        };
        Rel::Filter { input: Box::new(self.in_place_of(side)), predicate }
    }

    /// What is checked of a condition.
    fn condition(&self, conjunct: Scalar) -> Vec<Scalar> {
        match semi_join_of(&conjunct) {
            None => vec![conjunct],
            Some((JoinKind::Anti, _)) => Vec::new(),
            Some((_, on)) => {
                let mut conditions: Vec<Scalar> = on.iter().filter_map(|on| self.matched_by(on)).collect();
                conditions.push(conjunct);
                conditions
            }
        }
    }

    /// That the side of an equality that is computed from this row is equal to what it was.
    fn matched_by(&self, on: &Scalar) -> Option<Scalar> {
        let ScalarKind::Call(call) = &on.kind else { return None };
        let (Operator::Eq, a, b) = comparison(call.func, &call.args)? else { return None };
        let own = |id| self.cols.iter().any(|own| own.id == id);
        let is_own = |side: &Scalar| side.used_columns().iter().all(|col| own(col.id));
        let side = match (a.used_columns().is_empty() || b.used_columns().is_empty(), is_own(a), is_own(b)) {
            (false, true, false) => a,
            (false, false, true) => b,
            _ => return None,
        };
        let mut before = side.clone();
        before.substitute_deep(&|id| {
            let at = self.cols.iter().position(|own| own.id == id)?;
            Some(Scalar::column(self.before[at].id, self.before[at].ty))
        });
        (a.ty.oid == b.ty.oid).then(|| Scalar::call(call.func, vec![side.clone(), before], on.ty))
    }

    fn value(&self, col: &Col) -> Option<Scalar> {
        let at = self.cols.iter().position(|own| own.id == col.id)?;
        Some(Scalar::column(self.outer[at].id, self.outer[at].ty))
    }
}
