//! Rewrites before lowering: conditions move down to where their columns come from.

use hashbrown::HashSet;

use crate::ir::{ColId, JoinKind, Rel, Scalar};
use crate::plan::single::is_volatile;

/// Moves filters as far down as they can go, and the conditions of inner joins with them.
pub fn push_down(rel: Rel) -> Rel {
    push(rel, Vec::new())
}

fn ids(rel: &Rel) -> HashSet<ColId> {
    rel.columns().into_iter().map(|col| col.id).collect()
}

fn within(scalar: &Scalar, of: &HashSet<ColId>) -> bool {
    // Columns of enclosing queries do not count: they are constants here. A condition that uses none of the
    // input's columns stays where it is.
    scalar.used_columns().iter().all(|col| of.contains(&col.id))
}

fn filter(rel: Rel, conditions: Vec<Scalar>) -> Rel {
    if conditions.is_empty() {
        return rel;
    }
    Rel::Filter { input: Box::new(rel), predicate: Scalar::and(conditions) }
}

/// Takes conditions that hold above `rel` and puts them as deep as possible.
fn push(rel: Rel, mut conditions: Vec<Scalar>) -> Rel {
    match rel {
        Rel::Filter { input, predicate } => {
            conditions.extend(predicate.conjuncts());
            push(*input, conditions)
        }
        Rel::Join { kind, left, right, on, lateral } => join(kind, *left, *right, on, lateral, conditions),
        Rel::Project { input, items } => {
            // A condition over plain columns passes; one over computed columns stays above.
            let movable = |condition: &Scalar| {
                !is_volatile(condition)
                    && !condition.has_subquery()
                    && condition.used_columns().iter().all(|used| {
                        items
                            .iter()
                            .find(|(col, _)| col.id == used.id)
                            .is_none_or(|(_, scalar)| matches!(scalar.kind, crate::ir::ScalarKind::Column(_)))
                    })
            };
            let (down, up): (Vec<_>, Vec<_>) = conditions.into_iter().partition(movable);
            let down = down
                .into_iter()
                .map(|mut condition| {
                    condition.substitute_deep(&|id| {
                        items.iter().find(|(col, _)| col.id == id).map(|(_, scalar)| scalar.clone())
                    });
                    condition
                })
                .collect();
            filter(Rel::Project { input: Box::new(push(*input, down)), items }, up)
        }
        Rel::Sort { input, keys } => Rel::Sort { input: Box::new(push(*input, conditions)), keys },
        mut other => {
            other.for_each_input_mut(&mut |input| {
                let taken = std::mem::replace(input, Rel::Unit);
                *input = push(taken, Vec::new());
            });
            filter(other, conditions)
        }
    }
}

fn join(kind: JoinKind, left: Rel, right: Rel, on: Scalar, lateral: bool, above: Vec<Scalar>) -> Rel {
    let (left_ids, right_ids) = (ids(&left), ids(&right));
    let mut here = Vec::new();
    let (mut to_left, mut to_right, mut stay) = (Vec::new(), Vec::new(), Vec::new());
    let pushable = |condition: &Scalar| !is_volatile(condition) && !condition.has_subquery();
    let mut place = |condition: Scalar, left_ok: bool, right_ok: bool, rest: &mut Vec<Scalar>| {
        if left_ok && pushable(&condition) && within(&condition, &left_ids) {
            to_left.push(condition);
        } else if right_ok && !lateral && pushable(&condition) && within(&condition, &right_ids) {
            to_right.push(condition);
        } else {
            rest.push(condition);
        }
    };
    match kind {
        JoinKind::Inner => {
            for condition in above {
                // What has a subquery is evaluated above the join.
                if condition.has_subquery() || is_volatile(&condition) {
                    stay.push(condition);
                } else {
                    place(condition, true, true, &mut here);
                }
            }
            for condition in on.conjuncts() {
                place(condition, true, true, &mut here);
            }
        }
        JoinKind::Left | JoinKind::Semi | JoinKind::Anti => {
            above.into_iter().for_each(|condition| place(condition, true, false, &mut stay));
            on.conjuncts().into_iter().for_each(|condition| place(condition, false, true, &mut here));
        }
        JoinKind::Right => {
            above.into_iter().for_each(|condition| place(condition, false, true, &mut stay));
            on.conjuncts().into_iter().for_each(|condition| place(condition, true, false, &mut here));
        }
        JoinKind::Full => {
            stay = above;
            here = on.conjuncts();
        }
    }
    let joined = Rel::Join {
        kind,
        left: Box::new(push(left, to_left)),
        right: Box::new(push(right, to_right)),
        on: Scalar::and(here),
        lateral,
    };
    filter(joined, stay)
}
