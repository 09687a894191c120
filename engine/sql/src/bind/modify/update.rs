//! UPDATE and DELETE: `transformUpdateStmt`, `transformDeleteStmt`.

use shardforge_types::{PgError, PgResult, SqlState, oid};

use super::Target;
use crate::bind::binder::{Binder, Clause, ColKind, Level};
use crate::bind::scope::NsItem;
use crate::bind::select::QueryCol;
use crate::bind::types::column_ty;
use crate::bind::walk::contains_subquery;
use crate::ir::{
    Col, ColId, JoinKind, Modify, ModifyOp, Rel, Scalar, ScalarKind, Scan, Subquery, SubqueryKind, Ty,
};
use crate::parse::ast::{self, Expr};

/// The rows that an UPDATE or DELETE is about.
struct Source {
    rel: Rel,
    row_key: Col,
    recheck: Option<Scalar>,
}

impl Binder<'_> {
    /// UPDATE with everything that belongs to it.
    pub fn update(&mut self, stmt: &ast::UpdateStmt) -> PgResult<(Modify, Vec<QueryCol>)> {
        if let Some(with) = &stmt.with {
            self.with_clause(with)?;
        }
        let target = self.target_table(&stmt.relation, "update")?;
        let source = self.source(&target, &stmt.from, stmt.where_clause.as_ref())?;
        let (returning, cols) = self.returning(stmt.returning.as_ref(), &target, target.new)?;
        let assignments = self.assignments(&stmt.set, &target)?;
        let mut rel = source.rel;
        self.finish_scans(&mut rel);
        let ctes = std::mem::take(&mut self.level().bound_ctes);
        let modify = Modify {
            ctes: self.count_references(ctes),
            new_cols: target.cols(target.new),
            old_cols: target.cols(target.old),
            table: target.table,
            op: ModifyOp::Update {
                source: rel,
                row_key: source.row_key.id,
                assignments,
                recheck: source.recheck,
            },
            returning,
        };
        Ok((modify, cols))
    }

    /// DELETE with everything that belongs to it.
    pub fn delete(&mut self, stmt: &ast::DeleteStmt) -> PgResult<(Modify, Vec<QueryCol>)> {
        if let Some(with) = &stmt.with {
            self.with_clause(with)?;
        }
        let target = self.target_table(&stmt.relation, "delete from")?;
        let source = self.source(&target, &stmt.using, stmt.where_clause.as_ref())?;
        let (returning, cols) = self.returning(stmt.returning.as_ref(), &target, target.old)?;
        let mut rel = source.rel;
        self.finish_scans(&mut rel);
        let uses_new = target.cols(target.new).iter().any(|(col, _)| self.meta(col.id).used);
        let ctes = std::mem::take(&mut self.level().bound_ctes);
        let modify = Modify {
            ctes: self.count_references(ctes),
            new_cols: if uses_new { target.cols(target.new) } else { Vec::new() },
            old_cols: target.cols(target.old),
            table: target.table,
            op: ModifyOp::Delete { source: rel, row_key: source.row_key.id, recheck: source.recheck },
            returning,
        };
        Ok((modify, cols))
    }

    /// The written table's rows, joined with FROM or USING, and filtered.
    fn source(
        &mut self,
        target: &Target,
        from: &[ast::TableRef],
        predicate: Option<&Expr>,
    ) -> PgResult<Source> {
        let row_key = self.new_col(Ty::new(oid::BYTEA), ColKind::From);
        let scan = Scan {
            table: target.table.clone(),
            cols: target.cols(target.old),
            row_key: Some(row_key),
            tableoid: None,
            alias: self.level().rtes[target.rte].name.to_string(),
        };
        let mut rel = Rel::Scan(scan);
        // FROM cannot see the written table, not even from within LATERAL items.
        let item = NsItem::visible(target.rte);
        self.level().namespace = vec![NsItem { lateral_only: true, lateral_ok: false, ..item }];
        if !from.is_empty() {
            let right = self.from_clause(from)?;
            rel = Rel::Join {
                kind: JoinKind::Inner,
                left: Box::new(rel),
                right: Box::new(right),
                on: Scalar::bool(true),
                lateral: false,
            };
        }
        self.level().namespace.iter_mut().for_each(|n| {
            n.lateral_only = false;
            n.lateral_ok = true;
        });
        let mut recheck = None;
        if let Some(expr) = predicate {
            let bound = self.expr_in(expr, Clause::Where)?;
            let predicate = self.coerce_to_boolean(bound, "WHERE")?;
            // Sub-selects are not evaluated again for a row that changed meanwhile.
            let parts: Vec<Scalar> =
                predicate.clone().conjuncts().into_iter().filter(|p| !contains_subquery(p)).collect();
            recheck = (!parts.is_empty()).then(|| Scalar::and(parts));
            rel = Rel::Filter { input: Box::new(rel), predicate };
        }
        Ok(Source { rel, row_key, recheck })
    }

    /// SET: the assigned attributes and their new values (`transformUpdateTargetList`).
    pub fn assignments(&mut self, set: &[ast::SetClause], target: &Target) -> PgResult<Vec<(i16, Scalar)>> {
        let mut assigned: Vec<(i16, Scalar)> = Vec::with_capacity(set.len());
        let mut row_source: Option<&Expr> = None;
        for clause in set {
            let value = match &clause.value {
                Expr::SetToDefault(_) => None,
                Expr::MultiAssignRef(reference) => {
                    row_source = reference.source.as_ref().or(row_source);
                    let source = row_source.ok_or_else(|| {
                        PgError::internal("a row assignment has a source").at(reference.pos)
                    })?;
                    self.row_item(source, reference)?
                }
                value => {
                    let bound = self.expr_in(value, Clause::UpdateSource)?;
                    Some(Scalar { pos: Some(value.start()), ..bound })
                }
            };
            let attnum = self.assigned_column(&clause.target, target)?;
            let column = target.table.column(attnum);
            let before = assigned.iter().position(|(a, _)| *a == attnum);
            if !clause.target.path.is_empty()
                && let Some(value) = value.clone()
            {
                // Parts of a column are assigned one after the other.
                let old = match before {
                    Some(place) => assigned.swap_remove(place).1,
                    None => self.old_column(target, attnum, column_ty(column)),
                };
                let value = self.assign_part(old, &column.name, &clause.target.path, value)?;
                assigned.push((attnum, value));
                continue;
            }
            if before.is_some() {
                let message = format!("multiple assignments to same column \"{}\"", column.name);
                return Err(PgError::new(SqlState::SYNTAX_ERROR, message));
            }
            let always = column.identity.is_some_and(|i| i.always);
            if value.is_some() && (column.generated || always) {
                let message = format!("column \"{}\" can only be updated to DEFAULT", column.name);
                let what = if column.generated {
                    "a generated column"
                } else {
                    "an identity column defined as GENERATED ALWAYS"
                };
                let detail = format!("Column \"{}\" is {what}.", column.name);
                return Err(PgError::new(SqlState::GENERATED_ALWAYS, message).detail(detail));
            }
            let value = match value {
                Some(value) => self.assign(value, &column.name, column_ty(column))?,
                // A generated column is computed anew anyway.
                None if column.generated => continue,
                None => self.column_default(&target.table, attnum)?,
            };
            assigned.push((attnum, value));
        }
        Ok(assigned)
    }

    fn assigned_column(&self, column: &ast::ColumnTarget, target: &Target) -> PgResult<i16> {
        let found = self.target_column(target, column).map_err(|error| {
            let is_alias = self.levels.last().is_some_and(|l| l.rtes[target.rte].name == column.name);
            if is_alias && !column.path.is_empty() {
                return error.hint("SET target columns cannot be qualified with the relation name.");
            }
            error
        })?;
        Ok(found)
    }

    /// A column of the row as it is.
    fn old_column(&mut self, target: &Target, attnum: i16, ty: Ty) -> Scalar {
        let column = Scalar::column(ColId(target.old + attnum as u32 - 1), ty);
        self.mark_used(&column);
        column
    }

    /// One column of `(a, b) = source`; `None` for DEFAULT.
    fn row_item(&mut self, source: &Expr, reference: &ast::MultiAssignRef) -> PgResult<Option<Scalar>> {
        let (index, count) = (reference.index as usize, reference.count as usize);
        let mismatch = |pos: u32| {
            PgError::new(SqlState::SYNTAX_ERROR, "number of columns does not match number of values").at(pos)
        };
        match source {
            Expr::RowExpr(row)
                if row.args.iter().any(|arg| matches!(arg, Expr::ColumnRef(column) if column.star)) =>
            {
                let mut fields = self.in_clause(Clause::UpdateSource, |b| b.row_fields_of(&row.args))?;
                if fields.len() != count {
                    return Err(mismatch(row.pos));
                }
                Ok(Some(fields.swap_remove(index)))
            }
            Expr::RowExpr(row) => {
                if row.args.len() != count {
                    return Err(mismatch(row.pos));
                }
                match &row.args[index] {
                    Expr::SetToDefault(_) => Ok(None),
                    value => {
                        let bound = self.expr_in(value, Clause::UpdateSource)?;
                        Ok(Some(Scalar { pos: Some(value.start()), ..bound }))
                    }
                }
            }
            Expr::SubLink(link) if link.kind == ast::SubLinkKind::Expr => {
                // Each column has its own copy of the sub-select.
                let query = self.in_clause(Clause::UpdateSource, |b| {
                    b.nested(Level::new(), |b| b.select(&link.subselect, true))
                })?;
                if query.cols.len() != count {
                    return Err(mismatch(link.pos));
                }
                let col = query.cols[index].col;
                let subquery = Subquery { kind: SubqueryKind::Scalar, rel: query.rel, cols: vec![col.id] };
                let kind = ScalarKind::Subquery(Box::new(subquery));
                Ok(Some(Scalar { kind, ty: col.ty, pos: Some(link.pos) }))
            }
            other => {
                let message =
                    "source for a multiple-column UPDATE item must be a sub-SELECT or ROW() expression";
                Err(PgError::new(SqlState::FEATURE_NOT_SUPPORTED, message).at(other.start()))
            }
        }
    }

    /// A row assignment outside of SET.
    pub fn multi_assign_ref(&mut self, reference: &ast::MultiAssignRef) -> PgResult<Scalar> {
        Err(PgError::new(SqlState::SYNTAX_ERROR, "a row assignment is allowed in SET only").at(reference.pos))
    }
}
