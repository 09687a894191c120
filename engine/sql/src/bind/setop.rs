//! UNION, INTERSECT, EXCEPT: `transformSetOperationStmt`.

use shardforge_types::{Oid, PgError, PgResult, SqlState, oid};

use super::binder::{Binder, ColKind, Level, NoRecursion};
use super::coerce::{common_type, common_typmod};
use super::select::{Query, QueryCol, locking_name};
use crate::ir::{Rel, SetOpKind, Ty};
use crate::parse::ast;

/// Neither a set operation nor its sides can lock rows.
fn refuse_locking(stmt: &ast::SelectStmt) -> PgResult<()> {
    if stmt.locking.is_empty() {
        return Ok(());
    }
    let message = format!("{} is not allowed with UNION/INTERSECT/EXCEPT", locking_name(stmt));
    Err(PgError::new(SqlState::FEATURE_NOT_SUPPORTED, message))
}

impl Binder<'_> {
    /// A set operation with its ORDER BY and LIMIT.
    pub fn set_operation(&mut self, stmt: &ast::SelectStmt) -> PgResult<Query> {
        refuse_locking(stmt)?;
        let operation = stmt.set_op.as_ref();
        let operation =
            operation.ok_or_else(|| PgError::internal("a set operation has operands").at(stmt.pos))?;
        let query = self.set_tree(operation)?;
        self.order_and_limit(query, stmt, "UNION/INTERSECT/EXCEPT")
    }

    fn set_tree(&mut self, operation: &ast::SetOperation) -> PgResult<Query> {
        let (no_left, no_right) = match operation.op {
            ast::SetOp::Union => (None, None),
            ast::SetOp::Intersect if operation.all => {
                (Some(NoRecursion::Intersect), Some(NoRecursion::Intersect))
            }
            ast::SetOp::Intersect => (None, None),
            ast::SetOp::Except => (operation.all.then_some(NoRecursion::Except), Some(NoRecursion::Except)),
        };
        let left = self.without_recursion(no_left, |b| b.deeper(|b| b.set_operand(&operation.left)))?;
        let right = self.without_recursion(no_right, |b| b.deeper(|b| b.set_operand(&operation.right)))?;
        self.combine(operation, left, right)
    }

    /// One side: a set operation of its own, unless it has clauses that make it a query.
    fn set_operand(&mut self, stmt: &ast::SelectStmt) -> PgResult<Query> {
        if let Some(into) = &stmt.into {
            let message = "INTO is only allowed on first SELECT of UNION/INTERSECT/EXCEPT";
            return Err(PgError::new(SqlState::SYNTAX_ERROR, message).at(into.relation.pos));
        }
        refuse_locking(stmt)?;
        let is_query = !stmt.order_by.is_empty()
            || stmt.limit_count.is_some()
            || stmt.limit_offset.is_some()
            || stmt.with.is_some();
        match &stmt.set_op {
            Some(operation) if !is_query => self.set_tree(operation),
            _ => self.nested(Level::new(), |b| b.select(stmt, false)),
        }
    }

    /// Brings both sides to common types and joins them.
    pub fn combine(
        &mut self,
        operation: &ast::SetOperation,
        mut left: Query,
        mut right: Query,
    ) -> PgResult<Query> {
        let (kind, name) = match operation.op {
            ast::SetOp::Union => (SetOpKind::Union, "UNION"),
            ast::SetOp::Intersect => (SetOpKind::Intersect, "INTERSECT"),
            ast::SetOp::Except => (SetOpKind::Except, "EXCEPT"),
        };
        if left.cols.len() != right.cols.len() {
            let message = format!("each {name} query must have the same number of columns");
            let at = right.cols.first().map_or(operation.right.pos, |c| c.pos);
            return Err(PgError::new(SqlState::SYNTAX_ERROR, message).at(at));
        }
        let mut cols = Vec::with_capacity(left.cols.len());
        for i in 0..left.cols.len() {
            let (l, r) = (&left.cols[i], &right.cols[i]);
            let (lt, rt) = (l.col.ty, r.col.ty);
            let inputs = [(lt.oid, Some(l.pos)), (rt.oid, Some(r.pos))];
            let common: Oid = common_type(self.cx, &inputs, name)?;
            let typmod = common_typmod([lt, rt].into_iter(), common);
            let ty = Ty::new(common).with_typmod(typmod);
            let (pos, column_name) = (l.pos, l.name.clone());
            if !operation.all || kind != SetOpKind::Union {
                self.check_sortable(common, Some(r.pos), false)?;
            }
            self.coerce_output(&mut left, i, ty, name)?;
            self.coerce_output(&mut right, i, ty, name)?;
            let col = self.new_col(ty, ColKind::From);
            cols.push(QueryCol { name: column_name, col, origin: (Oid(0), 0), pos });
        }
        let rel = Rel::SetOp {
            op: kind,
            all: operation.all,
            cols: cols.iter().map(|c| c.col).collect(),
            left: (Box::new(left.rel), left.cols.iter().map(|c| c.col.id).collect()),
            right: (Box::new(right.rel), right.cols.iter().map(|c| c.col.id).collect()),
        };
        Ok(Query { rel, cols })
    }

    /// Output columns without a type become text.
    pub fn resolve_output(&mut self, query: &mut Query) -> PgResult<()> {
        for i in 0..query.cols.len() {
            if query.cols[i].col.ty.oid == oid::UNKNOWN {
                self.coerce_output(query, i, Ty::new(oid::TEXT), "SELECT")?;
            }
        }
        Ok(())
    }
}
