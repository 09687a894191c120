//! ORDER BY, GROUP BY, DISTINCT, LIMIT: `parse_clause.c`.
//!
//! ORDER BY, GROUP BY and DISTINCT ON name items of the select list: by position, by output name, or by an
//! expression. An expression that is no item yet is added as a *junk* item, which is computed and not returned.

use std::sync::Arc;

use shardforge_types::{Oid, PgError, PgResult, SqlState, oid};

use super::binder::{Binder, Clause};
use super::operator::find_binary;
use super::target::Target;
use super::walk::{same_expr, uses_level};
use crate::catalog::builtin::{BtreeStrategy, builtin};
use crate::ir::{Scalar, SortKey};
use crate::parse::ast::{self, Expr};

/// A sort key as an item of the select list.
#[derive(Clone, Copy, Debug)]
pub(super) struct SortItem {
    pub target: usize,
    pub desc: bool,
    pub nulls_first: bool,
}

/// GROUP BY: which items of the select list, and in which sets.
#[derive(Clone, Debug, Default)]
pub(super) struct Grouping {
    /// Items of the select list, each once.
    pub targets: Vec<usize>,
    /// GROUPING SETS as indexes into `targets`; empty for a plain GROUP BY.
    pub sets: Vec<Vec<usize>>,
    /// Whether there is a GROUP BY at all.
    pub present: bool,
}

impl Binder<'_> {
    /// The item that an expression of ORDER BY, GROUP BY or DISTINCT ON means (`findTargetlistEntrySQL92`).
    pub fn find_target(&mut self, expr: &Expr, targets: &mut Vec<Target>, clause: Clause) -> PgResult<usize> {
        match expr {
            Expr::ColumnRef(reference) if reference.names.len() == 1 && !reference.star => {
                let name = &reference.names[0];
                // GROUP BY prefers a column of FROM to an output name.
                let in_from = clause == Clause::GroupBy
                    && self.in_clause(clause, |b| b.column_of_this_level(name, reference.pos))?;
                if !in_from && let Some(found) = named_target(name, targets, clause, reference.pos)? {
                    return Ok(found);
                }
            }
            Expr::Const(constant) => {
                let ast::Value::Integer(position) = constant.value else {
                    let message = format!("non-integer constant in {}", clause.name());
                    return Err(PgError::new(SqlState::SYNTAX_ERROR, message).at(constant.pos));
                };
                let visible = targets.iter().enumerate().filter(|(_, t)| !t.junk).map(|(i, _)| i);
                let index = usize::try_from(position).ok().and_then(|p| p.checked_sub(1));
                return index.and_then(|i| visible.clone().nth(i)).ok_or_else(|| {
                    let message = format!("{} position {position} is not in select list", clause.name());
                    PgError::new(SqlState::INVALID_COLUMN_REFERENCE, message).at(constant.pos)
                });
            }
            _ => {}
        }
        let bound = self.expr_in(expr, clause)?;
        if let Some(found) = targets.iter().position(|t| same_expr(&t.expr, &bound)) {
            return Ok(found);
        }
        targets.push(Target {
            name: Arc::from("?column?"),
            expr: bound,
            origin: (Oid(0), 0),
            junk: true,
            pos: expr.start(),
        });
        Ok(targets.len() - 1)
    }

    /// Whether FROM of this level has a column of the name.
    fn column_of_this_level(&mut self, name: &str, pos: u32) -> PgResult<bool> {
        use super::scope::ColumnMatch;
        let level = self.level();
        let mut found = 0;
        for item in level.namespace.iter().filter(|i| i.cols_visible) {
            match level.rtes[item.rte].find_column(name) {
                ColumnMatch::None => {}
                ColumnMatch::One(_) => found += 1,
                ColumnMatch::Many => found += 2,
            }
        }
        if found > 1 {
            let message = format!("column reference \"{name}\" is ambiguous");
            return Err(PgError::new(SqlState::AMBIGUOUS_COLUMN, message).at(pos));
        }
        Ok(found == 1)
    }

    /// ORDER BY of a query.
    pub fn order_by(&mut self, items: &[ast::SortBy], targets: &mut Vec<Target>) -> PgResult<Vec<SortItem>> {
        let mut sort: Vec<SortItem> = Vec::with_capacity(items.len());
        for item in items {
            let target = self.find_target(&item.expr, targets, Clause::OrderBy)?;
            let (desc, nulls_first) = self.add_sort_target(item, targets, target)?;
            if !sort.iter().any(|s| s.target == target) {
                sort.push(SortItem { target, desc, nulls_first });
            }
        }
        Ok(sort)
    }

    fn add_sort_target(
        &mut self,
        item: &ast::SortBy,
        targets: &mut [Target],
        target: usize,
    ) -> PgResult<(bool, bool)> {
        let entry = &mut targets[target];
        if entry.expr.ty.oid == oid::UNKNOWN {
            entry.expr = self.resolve_unknown(entry.expr.clone())?;
        }
        let (ty, pos) = (entry.expr.ty.oid, item.expr.start());
        self.direction(item, ty, pos)
    }

    /// Descending and NULLS FIRST of a sort item over a type.
    fn direction(&self, item: &ast::SortBy, ty: Oid, pos: u32) -> PgResult<(bool, bool)> {
        let desc = match &item.dir {
            ast::SortDir::Default | ast::SortDir::Asc => {
                self.check_sortable(ty, Some(pos), true)?;
                false
            }
            ast::SortDir::Desc => {
                self.check_sortable(ty, Some(pos), true)?;
                true
            }
            ast::SortDir::Using(names) => {
                let operator = find_binary(self.cx, names, ty, ty, Some(item.pos))?;
                match builtin().btree_strategy(operator.oid) {
                    Some((_, BtreeStrategy::Less)) => false,
                    Some((_, BtreeStrategy::Greater)) => true,
                    _ => {
                        let message =
                            format!("operator {} is not a valid ordering operator", names.join("."));
                        return Err(PgError::new(SqlState::WRONG_OBJECT_TYPE, message)
                            .hint("Ordering operators must be \"<\" or \">\" members of btree operator families.")
                            .at(item.pos));
                    }
                }
            }
        };
        let nulls_first = match item.nulls {
            ast::SortNulls::Default => desc,
            ast::SortNulls::First => true,
            ast::SortNulls::Last => false,
        };
        Ok((desc, nulls_first))
    }

    /// A sort key of an aggregate or a window.
    pub fn sort_key(&mut self, expr: Scalar, item: &ast::SortBy) -> PgResult<SortKey> {
        let expr = self.resolve_unknown(expr)?;
        let (desc, nulls_first) = self.direction(item, expr.ty.oid, item.expr.start())?;
        Ok(SortKey { expr, desc, nulls_first })
    }

    /// GROUP BY.
    pub fn group_by(&mut self, stmt: &ast::SelectStmt, targets: &mut Vec<Target>) -> PgResult<Grouping> {
        let mut grouping = Grouping { present: !stmt.group_by.is_empty(), ..Grouping::default() };
        let plain = stmt.group_by.iter().all(|item| matches!(item, ast::GroupItem::Expr(_)));
        let mut sets: Vec<Vec<usize>> = vec![Vec::new()];
        for item in &stmt.group_by {
            let item_sets = self.group_item(item, targets, &mut grouping.targets)?;
            if sets.len().saturating_mul(item_sets.len()) > 4096 {
                let message = "too many grouping sets present (maximum 4096)";
                return Err(PgError::new(SqlState::STATEMENT_TOO_COMPLEX, message).at(stmt.pos));
            }
            sets = sets
                .iter()
                .flat_map(|set| item_sets.iter().map(|more| union(set, more)).collect::<Vec<_>>())
                .collect();
        }
        if !plain {
            if stmt.group_distinct {
                let mut seen: Vec<Vec<usize>> = Vec::with_capacity(sets.len());
                for set in sets {
                    let mut sorted = set.clone();
                    sorted.sort_unstable();
                    if !seen.contains(&sorted) {
                        seen.push(sorted);
                    }
                }
                sets = seen;
            }
            // GROUP BY () alone is one group of everything.
            let trivial = matches!(&sets[..], [only] if only.is_empty());
            grouping.sets = if trivial { Vec::new() } else { sets };
        }
        Ok(grouping)
    }

    fn group_item(
        &mut self,
        item: &ast::GroupItem,
        targets: &mut Vec<Target>,
        groups: &mut Vec<usize>,
    ) -> PgResult<Vec<Vec<usize>>> {
        match item {
            ast::GroupItem::Empty => Ok(vec![Vec::new()]),
            ast::GroupItem::Expr(expr) => Ok(vec![self.group_exprs(expr, targets, groups)?]),
            ast::GroupItem::Rollup(exprs, _) => {
                let parts = self.group_parts(exprs, targets, groups)?;
                let prefix = |n: usize| parts[..n].iter().fold(Vec::new(), |set, part| union(&set, part));
                Ok((0..=parts.len()).rev().map(prefix).collect())
            }
            ast::GroupItem::Cube(exprs, pos) => {
                let parts = self.group_parts(exprs, targets, groups)?;
                if parts.len() > 12 {
                    let message = "CUBE is limited to 12 elements";
                    return Err(PgError::new(SqlState::TOO_MANY_COLUMNS, message).at(*pos));
                }
                let subset = |mask: usize| {
                    let chosen =
                        parts.iter().enumerate().filter(|(i, _)| mask & (1 << (parts.len() - 1 - i)) != 0);
                    chosen.fold(Vec::new(), |set, (_, part)| union(&set, part))
                };
                Ok((0..1usize << parts.len()).rev().map(subset).collect())
            }
            ast::GroupItem::Sets(items, _) => {
                let mut sets = Vec::with_capacity(items.len());
                for item in items {
                    sets.extend(self.deeper(|b| b.group_item(item, targets, groups))?);
                }
                Ok(sets)
            }
        }
    }

    fn group_parts(
        &mut self,
        exprs: &[Expr],
        targets: &mut Vec<Target>,
        groups: &mut Vec<usize>,
    ) -> PgResult<Vec<Vec<usize>>> {
        exprs.iter().map(|expr| self.group_exprs(expr, targets, groups)).collect()
    }

    /// One expression, or several in parentheses.
    fn group_exprs(
        &mut self,
        expr: &Expr,
        targets: &mut Vec<Target>,
        groups: &mut Vec<usize>,
    ) -> PgResult<Vec<usize>> {
        let mut set = Vec::new();
        match expr {
            Expr::RowExpr(row) if !row.explicit => {
                for expr in &row.args {
                    set = union(&set, &self.group_exprs(expr, targets, groups)?);
                }
            }
            expr => {
                let target = self.find_target(expr, targets, Clause::GroupBy)?;
                if targets[target].expr.ty.oid == oid::UNKNOWN {
                    targets[target].expr = self.resolve_unknown(targets[target].expr.clone())?;
                }
                self.check_sortable(targets[target].expr.ty.oid, Some(expr.start()), false)?;
                let group = match groups.iter().position(|g| *g == target) {
                    Some(group) => group,
                    None => {
                        groups.push(target);
                        groups.len() - 1
                    }
                };
                set.push(group);
            }
        }
        Ok(set)
    }

    /// DISTINCT: every ORDER BY item must be in the select list.
    pub fn check_distinct(&self, targets: &[Target], sort: &[SortItem]) -> PgResult<()> {
        if let Some(item) = sort.iter().find(|s| targets[s.target].junk) {
            let message = "for SELECT DISTINCT, ORDER BY expressions must appear in select list";
            return Err(
                PgError::new(SqlState::INVALID_COLUMN_REFERENCE, message).at(targets[item.target].pos)
            );
        }
        for target in targets.iter().filter(|t| !t.junk) {
            self.check_sortable(target.expr.ty.oid, Some(target.pos), false)?;
        }
        Ok(())
    }

    /// DISTINCT ON: its items must be the first ones of ORDER BY, in any order.
    pub fn distinct_on(
        &mut self,
        exprs: &[Expr],
        targets: &mut Vec<Target>,
        sort: &[SortItem],
    ) -> PgResult<Vec<usize>> {
        let mut on = Vec::with_capacity(exprs.len());
        let mut places = Vec::with_capacity(exprs.len());
        for expr in exprs {
            let target = self.find_target(expr, targets, Clause::DistinctOn)?;
            if targets[target].expr.ty.oid == oid::UNKNOWN {
                targets[target].expr = self.resolve_unknown(targets[target].expr.clone())?;
            }
            self.check_sortable(targets[target].expr.ty.oid, Some(expr.start()), false)?;
            if !on.contains(&target) {
                on.push(target);
                places.push(expr.start());
            }
        }
        let mismatch = |pos: u32| {
            let message = "SELECT DISTINCT ON expressions must match initial ORDER BY expressions";
            PgError::new(SqlState::INVALID_COLUMN_REFERENCE, message).at(pos)
        };
        let mut skipped = false;
        for item in sort {
            if on.contains(&item.target) {
                if skipped {
                    return Err(mismatch(targets[item.target].pos));
                }
            } else {
                skipped = true;
            }
        }
        if skipped && let Some(i) = on.iter().position(|t| !sort.iter().any(|s| s.target == *t)) {
            return Err(mismatch(places[i]));
        }
        Ok(on)
    }

    /// LIMIT or OFFSET.
    pub fn limit_expr(&mut self, expr: &Expr, clause: Clause) -> PgResult<Scalar> {
        let bound = self.expr_in(expr, clause)?;
        let bound = self.coerce_to_specific(bound, oid::INT8, clause.name())?;
        let depth = self.level_depth();
        if uses_level(self, &bound, depth) {
            let message = format!("argument of {} must not contain variables", clause.name());
            return Err(PgError::new(SqlState::INVALID_COLUMN_REFERENCE, message).at(expr.start()));
        }
        Ok(bound)
    }
}

fn named_target(name: &str, targets: &[Target], clause: Clause, pos: u32) -> PgResult<Option<usize>> {
    let mut found: Option<usize> = None;
    for (i, target) in targets.iter().enumerate().filter(|(_, t)| !t.junk && *t.name == *name) {
        match found {
            Some(first) if !same_expr(&targets[first].expr, &target.expr) => {
                let message = format!("{} \"{name}\" is ambiguous", clause.name());
                return Err(PgError::new(SqlState::AMBIGUOUS_COLUMN, message).at(pos));
            }
            Some(_) => {}
            None => found = Some(i),
        }
    }
    Ok(found)
}

fn union(set: &[usize], more: &[usize]) -> Vec<usize> {
    let mut all = set.to_vec();
    all.extend(more.iter().filter(|i| !set.contains(i)));
    all
}
