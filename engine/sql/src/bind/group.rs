//! Grouping: `parseCheckAggregates` and the plan node that computes aggregates.
//!
//! After grouping a row stands for a group, so every expression above may use group expressions, aggregates, and
//! columns of outer queries; anything else is an error. Columns that the group determines (a primary key is among
//! the group columns) become group columns as well. What matched is replaced by the group's column.

use std::sync::Arc;

use shardforge_types::{PgError, PgResult, SqlState};

use super::binder::{AtMaybe, Binder, Clause, ColKind};
use super::clause::Grouping;
use super::scope::Columns;
use super::target::Target;
use super::walk::{Rewrite, rewrite, rewrite_window, same_expr};
use crate::catalog::IndexKey;
use crate::catalog::TableDesc;
use crate::ir::{Col, ColId, Rel, Scalar, ScalarKind};

/// The group columns, and what is found to be determined by them.
struct Groups {
    depth: u32,
    exprs: Vec<(Col, Scalar)>,
    sets: Vec<Vec<usize>>,
    /// Columns that the group determines, and the group columns made for them.
    determined: Vec<(ColId, Col)>,
}

impl Binder<'_> {
    /// Whether the current level groups its rows.
    pub fn groups_rows(&mut self, grouping: &Grouping, having: bool) -> bool {
        let level = self.level();
        grouping.present || having || !level.aggregates.is_empty() || !level.grouping.is_empty()
    }

    /// Puts the grouping above the input and rewrites everything that is computed above it.
    pub fn aggregate(
        &mut self,
        input: Rel,
        grouping: Grouping,
        targets: &mut [Target],
        having: &mut Option<Scalar>,
    ) -> PgResult<Rel> {
        let mut exprs = Vec::with_capacity(grouping.targets.len());
        for &target in &grouping.targets {
            let expr = targets[target].expr.clone();
            self.check_group_expr(&expr)?;
            let col = self.new_col(expr.ty, ColKind::Group);
            exprs.push((col, expr));
        }
        let mut groups =
            Groups { depth: self.level_depth(), exprs, sets: grouping.sets, determined: Vec::new() };
        for target in targets.iter_mut() {
            self.regroup(&mut target.expr, &mut groups)?;
        }
        if let Some(having) = having {
            self.regroup(having, &mut groups)?;
        }
        let mut windows = std::mem::take(&mut self.level().window_calls);
        for (_, call) in &mut windows {
            rewrite_window(call, false, &mut |e, inner| self.regroup_step(e, inner, &mut groups))?;
        }
        self.level().window_calls = windows;
        let mut sets = std::mem::take(&mut self.level().set_calls);
        for call in &mut sets {
            for arg in &mut call.function.args {
                self.regroup(arg, &mut groups)?;
            }
        }
        self.level().set_calls = sets;
        let grouping = self.grouping_calls(&groups)?;
        let aggregates = std::mem::take(&mut self.level().aggregates);
        Ok(Rel::Aggregate {
            input: Box::new(input),
            groups: groups.exprs,
            sets: groups.sets,
            grouping,
            aggregates,
        })
    }

    fn check_group_expr(&self, expr: &Scalar) -> PgResult<()> {
        let depth = self.level_depth();
        let mut error = None;
        super::call::for_each_column(std::iter::once(expr), &mut |id, pos| {
            let meta = self.meta(id);
            if meta.depth != depth || error.is_some() {
                return;
            }
            let clause = Clause::GroupBy.name();
            error = match meta.kind {
                ColKind::Group => {
                    let message = format!("aggregate functions are not allowed in {clause}");
                    Some(PgError::new(SqlState::GROUPING_ERROR, message).at_maybe(pos))
                }
                ColKind::Window => {
                    let message = format!("window functions are not allowed in {clause}");
                    Some(PgError::new(SqlState::WINDOWING_ERROR, message).at_maybe(pos))
                }
                ColKind::From | ColKind::Set => None,
            };
        });
        error.map_or(Ok(()), Err)
    }

    fn regroup(&mut self, expr: &mut Scalar, groups: &mut Groups) -> PgResult<()> {
        rewrite(expr, false, &mut |e, inner| self.regroup_step(e, inner, groups))
    }

    fn regroup_step(&mut self, expr: &mut Scalar, inner: bool, groups: &mut Groups) -> PgResult<Rewrite> {
        // Within sub-selects only plain columns are recognised.
        let is_column = matches!(expr.kind, ScalarKind::Column(_));
        if (!inner || is_column)
            && let Some((col, _)) = groups.exprs.iter().find(|(_, g)| same_expr(g, expr))
        {
            *expr = Scalar { pos: expr.pos, ..Scalar::column(col.id, col.ty) };
            return Ok(Rewrite::Done);
        }
        let ScalarKind::Column(id) = expr.kind else { return Ok(Rewrite::Descend) };
        if id == ColId::ELEMENT {
            return Ok(Rewrite::Done);
        }
        let meta = self.meta(id);
        if meta.depth != groups.depth || meta.kind != ColKind::From {
            return Ok(Rewrite::Done);
        }
        if let Some((_, col)) = groups.determined.iter().find(|(known, _)| *known == id) {
            *expr = Scalar { pos: expr.pos, ..Scalar::column(col.id, col.ty) };
            return Ok(Rewrite::Done);
        }
        if self.is_determined(id, groups) {
            let col = self.new_col(expr.ty, ColKind::Group);
            self.columns[col.id.0 as usize].depth = groups.depth;
            let group = groups.exprs.len();
            groups.exprs.push((col, Scalar { pos: None, ..expr.clone() }));
            groups.sets.iter_mut().for_each(|set| set.push(group));
            groups.determined.push((id, col));
            *expr = Scalar { pos: expr.pos, ..Scalar::column(col.id, col.ty) };
            return Ok(Rewrite::Done);
        }
        Err(self.ungrouped(id, inner, expr.pos))
    }

    fn ungrouped(&self, id: ColId, inner: bool, pos: Option<u32>) -> PgError {
        let (table, column) = self.column_name(id).unwrap_or_else(|| (Arc::from("?"), Arc::from("?")));
        let message = if inner {
            format!("subquery uses ungrouped column \"{table}.{column}\" from outer query")
        } else {
            format!(
                "column \"{table}.{column}\" must appear in the GROUP BY clause or be used in an aggregate function"
            )
        };
        PgError::new(SqlState::GROUPING_ERROR, message).at_maybe(pos)
    }

    /// Whether a column's table has its whole primary key among the group columns (of every set).
    fn is_determined(&self, id: ColId, groups: &Groups) -> bool {
        let Some((table, first)) = self.table_of(id, groups.depth) else { return false };
        let Some(key) = table.primary_key().filter(|key| !key.deferrable) else { return false };
        let grouped = |attnum: i16| {
            let wanted = ColId(first + attnum as u32 - 1);
            let group =
                groups.exprs.iter().position(|(_, g)| matches!(g.kind, ScalarKind::Column(c) if c == wanted));
            group.is_some_and(|group| groups.sets.iter().all(|set| set.contains(&group)))
        };
        key.columns.iter().all(|c| match c.key {
            IndexKey::Column(attnum) => grouped(attnum),
            IndexKey::Expression(_) => false,
        })
    }

    fn table_of(&self, id: ColId, depth: u32) -> Option<(Arc<TableDesc>, u32)> {
        self.levels[depth as usize - 1].rtes.iter().find_map(|rte| match &rte.columns {
            Columns::Table { table, first, .. }
                if (*first..*first + table.columns.len() as u32).contains(&id.0) =>
            {
                Some((table.clone(), *first))
            }
            _ => None,
        })
    }

    /// GROUPING() calls by the group expressions that they list.
    fn grouping_calls(&mut self, groups: &Groups) -> PgResult<Vec<(Col, Vec<usize>)>> {
        let calls = std::mem::take(&mut self.level().grouping);
        let mut found = Vec::with_capacity(calls.len());
        for (col, args) in calls {
            let mut indexes = Vec::with_capacity(args.len());
            for arg in args {
                let group = groups.exprs.iter().position(|(_, g)| same_expr(g, &arg));
                indexes.push(group.ok_or_else(|| {
                    let message =
                        "arguments to GROUPING must be grouping expressions of the associated query level";
                    PgError::new(SqlState::GROUPING_ERROR, message).at_maybe(arg.pos)
                })?);
            }
            found.push((col, indexes));
        }
        Ok(found)
    }
}
