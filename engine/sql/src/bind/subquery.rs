//! Sub-selects in expressions: `transformSubLink`.

use shardforge_types::{PgError, PgResult, SqlState, oid};

use super::binder::{Binder, Clause, Level, NoRecursion};
use super::select::Query;
use super::types::{array_type, type_name};
use crate::ir::{ColId, Scalar, ScalarKind, Subquery, SubqueryKind, Ty};
use crate::parse::ast;

impl Binder<'_> {
    /// A sub-select of any kind.
    pub fn sub_link(&mut self, link: &ast::SubLink) -> PgResult<Scalar> {
        let query = self.sub_select(link)?;
        let pos = link.pos;
        match link.kind {
            ast::SubLinkKind::Exists => Ok(finish(SubqueryKind::Exists, query, Ty::new(oid::BOOL), pos)),
            ast::SubLinkKind::Expr => {
                let ty = single_column(&query, pos)?;
                Ok(finish(SubqueryKind::Scalar, query, ty, pos))
            }
            ast::SubLinkKind::Array => {
                let elem = single_column(&query, pos)?;
                // An array of arrays has one more dimension, and the same type.
                let array = array_type(self.cx, elem.oid)
                    .or_else(|| super::types::element_type(self.cx, elem.oid).map(|_| elem.oid))
                    .ok_or_else(|| {
                        let name = type_name(self.cx, elem.oid);
                        PgError::new(
                            SqlState::UNDEFINED_OBJECT,
                            format!("could not find array type for data type {name}"),
                        )
                        .at(pos)
                    })?;
                Ok(finish(SubqueryKind::Array, query, Ty::new(array), pos))
            }
            ast::SubLinkKind::Any | ast::SubLinkKind::All => {
                let test = link.test.as_ref();
                let test = test.ok_or_else(|| PgError::internal("ANY has a left side").at(pos))?;
                let left = match test {
                    ast::Expr::RowExpr(row) => self.row_fields_of(&row.args)?,
                    test => vec![self.expr(test)?],
                };
                let equals = [ast::Name::from("=")];
                let names: &[ast::Name] = if link.op_name.is_empty() { &equals } else { &link.op_name };
                let test = Box::new(self.test_against(names, left, &query, pos)?);
                let kind = if link.kind == ast::SubLinkKind::Any {
                    SubqueryKind::Any(test)
                } else {
                    SubqueryKind::All(test)
                };
                Ok(finish(kind, query, Ty::new(oid::BOOL), pos))
            }
        }
    }

    /// `(a, b) op (SELECT ...)`: the sub-select yields at most one row.
    pub fn row_compare_sub_link(
        &mut self,
        names: &[ast::Name],
        left: Vec<Scalar>,
        link: &ast::SubLink,
        op_pos: u32,
    ) -> PgResult<Scalar> {
        let query = self.sub_select(link)?;
        if left.len() == 1 {
            let ty = single_column(&query, link.pos)?;
            let right = finish(SubqueryKind::Scalar, query, ty, link.pos);
            return self.row_comparison(names, left, vec![right], Some(op_pos));
        }
        // The comparison becomes the one column of the sub-select.
        let test = self.test_against(names, left, &query, link.pos)?;
        let col = self.new_col(Ty::new(oid::BOOL), super::binder::ColKind::From);
        let rel = crate::ir::Rel::Project { input: Box::new(query.rel), items: vec![(col, test)] };
        let subquery = Subquery { kind: SubqueryKind::Scalar, rel, cols: vec![col.id] };
        Ok(Scalar {
            kind: ScalarKind::Subquery(Box::new(subquery)),
            ty: Ty::new(oid::BOOL),
            pos: Some(link.pos),
        })
    }

    fn sub_select(&mut self, link: &ast::SubLink) -> PgResult<Query> {
        if let Clause::Standalone(clause) = self.level().clause {
            let message = format!("cannot use subquery in {}", clause.trim_end_matches('s'));
            return Err(PgError::new(SqlState::FEATURE_NOT_SUPPORTED, message).at(link.pos));
        }
        self.without_recursion(Some(NoRecursion::Subquery), |b| {
            b.nested(Level::new(), |b| b.select(&link.subselect, true))
        })
    }

    fn test_against(
        &mut self,
        names: &[ast::Name],
        left: Vec<Scalar>,
        query: &Query,
        pos: u32,
    ) -> PgResult<Scalar> {
        let count = |what: &str| {
            PgError::new(SqlState::SYNTAX_ERROR, format!("subquery has too {what} columns")).at(pos)
        };
        if left.len() < query.cols.len() {
            return Err(count("many"));
        }
        if left.len() > query.cols.len() {
            return Err(count("few"));
        }
        let right =
            query.cols.iter().map(|c| Scalar { pos: Some(pos), ..Scalar::column(c.col.id, c.col.ty) });
        self.row_comparison(names, left, right.collect(), Some(pos))
    }
}

fn single_column(query: &Query, pos: u32) -> PgResult<Ty> {
    match &query.cols[..] {
        [column] => Ok(column.col.ty),
        _ => Err(PgError::new(SqlState::SYNTAX_ERROR, "subquery must return only one column").at(pos)),
    }
}

fn finish(kind: SubqueryKind, query: Query, ty: Ty, pos: u32) -> Scalar {
    let cols: Vec<ColId> = query.cols.iter().map(|c| c.col.id).collect();
    let subquery = Subquery { kind, rel: query.rel, cols };
    Scalar { kind: ScalarKind::Subquery(Box::new(subquery)), ty, pos: Some(pos) }
}
