//! Select lists: `parse_target.c`. Expansion of `*`, and the names of output columns.

use std::sync::Arc;

use shardforge_types::{Oid, PgError, PgResult, SqlState};

use super::binder::{Binder, Clause};
use super::expr::take_field;
use super::scope::{FoundColumn, row_fields};
use super::types::type_name;
use crate::ir::{Scalar, ScalarKind};
use crate::limits;
use crate::parse::ast::{self, Expr};

/// An item of a select list, or something that ORDER BY and its like added to it.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub name: Arc<str>,
    pub expr: Scalar,
    pub origin: (Oid, i16),
    /// Not part of the result.
    pub junk: bool,
    /// Where the item is written.
    pub pos: u32,
}

impl Binder<'_> {
    /// A select list (`transformTargetList`).
    pub fn target_list(&mut self, targets: &[ast::ResTarget], clause: Clause) -> PgResult<Vec<Target>> {
        let mut bound = Vec::with_capacity(targets.len());
        for target in targets {
            match &target.value {
                Expr::ColumnRef(reference) if reference.star => {
                    for (name, found) in self.in_clause(clause, |b| b.expand_star(reference))? {
                        let FoundColumn { expr, origin } = found;
                        bound.push(Target { name, expr, origin, junk: false, pos: target.pos });
                    }
                }
                Expr::Indirection(indirection)
                    if matches!(indirection.path.last(), Some(ast::IndirectionElem::Star)) =>
                {
                    bound.extend(self.in_clause(clause, |b| b.expand_row(indirection))?);
                }
                value => {
                    let (expr, origin) = match value {
                        Expr::ColumnRef(reference) => {
                            let found = self.in_clause(clause, |b| b.column_ref(reference))?;
                            (found.expr, found.origin)
                        }
                        value => {
                            let expr = self.expr_in(value, clause)?;
                            let origin = self.origin_of(&expr);
                            (expr, origin)
                        }
                    };
                    let name = target.name.clone().unwrap_or_else(|| column_name(value));
                    bound.push(Target { name, expr, origin, junk: false, pos: value.start() });
                }
            }
        }
        limits::check_targets(bound.len())?;
        Ok(bound)
    }

    /// The origin of an expression that turned out to be a plain column.
    fn origin_of(&self, expr: &Scalar) -> (Oid, i16) {
        match expr.kind {
            ScalarKind::Column(id) => self.column_origin(id),
            _ => (Oid(0), 0),
        }
    }

    /// `*` or `t.*` as the columns it stands for.
    pub fn expand_star(&mut self, reference: &ast::ColumnRef) -> PgResult<Vec<(Arc<str>, FoundColumn)>> {
        let pos = reference.pos;
        let (schema, relation) = match &reference.names[..] {
            [] => return self.expand_all(pos),
            [relation] => (None, relation),
            [schema, relation] => (Some(schema), relation),
            [database, schema, relation] => {
                let whole = reference.names.join(".");
                super::relation::check_database(self.cx, database, &whole).map_err(|e| e.at(pos))?;
                (Some(schema), relation)
            }
            _ => {
                let message =
                    format!("improper qualified name (too many dotted names): {}", reference.names.join("."));
                return Err(PgError::new(SqlState::SYNTAX_ERROR, message).at(pos));
            }
        };
        let schema = schema.map(|s| &**s);
        match self.find_rte(schema, relation, pos)? {
            Some((depth, rte)) => Ok(self.expand_rte(depth, rte, pos)),
            None => Err(self.missing_relation(schema, relation, pos)),
        }
    }

    fn expand_all(&mut self, pos: u32) -> PgResult<Vec<(Arc<str>, FoundColumn)>> {
        let depth = self.levels.len() - 1;
        let visible: Vec<usize> =
            self.level().namespace.iter().filter(|i| i.cols_visible).map(|i| i.rte).collect();
        if visible.is_empty() {
            let message = "SELECT * with no tables specified is not valid";
            return Err(PgError::new(SqlState::SYNTAX_ERROR, message).at(pos));
        }
        let mut columns = Vec::new();
        for rte in visible {
            columns.extend(self.expand_rte(depth, rte, pos));
        }
        Ok(columns)
    }

    /// `(row).*`.
    fn expand_row(&mut self, indirection: &ast::Indirection) -> PgResult<Vec<Target>> {
        let pos = indirection.pos;
        let path = indirection.path[..indirection.path.len() - 1].to_vec();
        let row = if path.is_empty() {
            self.expr(&indirection.arg)?
        } else {
            let inner = ast::Indirection { arg: indirection.arg.clone(), path, pos };
            self.expr(&Expr::Indirection(Box::new(inner)))?
        };
        let fields = row_fields(self, &row).ok_or_else(|| {
            let message = format!("type {} is not composite", type_name(self.cx, row.ty.oid));
            PgError::new(SqlState::WRONG_OBJECT_TYPE, message).at(pos)
        })?;
        let target = |(i, (name, ty)): (usize, (String, crate::ir::Ty))| {
            let expr = take_field(row.clone(), i, ty);
            let origin = self.origin_of(&expr);
            Target { name: Arc::from(name), expr, origin, junk: false, pos }
        };
        Ok(fields.into_iter().enumerate().map(target).collect())
    }
}

/// The name of an output column without AS (`FigureColname`).
pub(super) fn column_name(expr: &Expr) -> Arc<str> {
    figure_name(expr).0.unwrap_or_else(|| Arc::from("?column?"))
}

/// A name and how good it is: 2 is the expression's own, 1 stands in for lack of a better one, 0 is none.
fn figure_name(expr: &Expr) -> (Option<Arc<str>>, u8) {
    let good = |name: &str| (Some(Arc::from(name)), 2);
    match expr {
        Expr::ColumnRef(reference) if !reference.star => (reference.names.last().cloned(), 2),
        Expr::Indirection(indirection) => {
            let field = indirection.path.iter().rev().find_map(|step| match step {
                ast::IndirectionElem::Field(name) => Some(name.clone()),
                _ => None,
            });
            match field {
                Some(field) => (Some(field), 2),
                None => figure_name(&indirection.arg),
            }
        }
        Expr::FuncCall(call) => (call.name.last().cloned(), 2),
        Expr::AExpr(e) if e.kind == ast::AExprKind::NullIf => good("nullif"),
        Expr::TypeCast(cast) => match figure_name(&cast.arg) {
            (name, 2) => (name, 2),
            _ => (cast.type_name.names.last().cloned(), 1),
        },
        Expr::CollateClause(clause) => clause.arg.as_ref().map_or((None, 0), figure_name),
        Expr::GroupingFunc(_) => good("grouping"),
        Expr::MergeSupportFunc(_) => good("merge_action"),
        Expr::SubLink(link) => match link.kind {
            ast::SubLinkKind::Exists => good("exists"),
            ast::SubLinkKind::Array => good("array"),
            ast::SubLinkKind::Expr => (Some(first_output_name(&link.subselect)), 2),
            ast::SubLinkKind::Any | ast::SubLinkKind::All => (None, 0),
        },
        Expr::CaseExpr(case) => match case.default.as_ref().map_or((None, 0), figure_name) {
            (name, 2) => (name, 2),
            _ => (Some(Arc::from("case")), 1),
        },
        Expr::ArrayExpr(_) => good("array"),
        Expr::RowExpr(_) => good("row"),
        Expr::CoalesceExpr(_) => good("coalesce"),
        Expr::MinMaxExpr(e) => good(if e.greatest { "greatest" } else { "least" }),
        Expr::SqlValueFunction(e) => good(value_function_name(e.op)),
        Expr::SqlJsonXml(e) => (Some(e.name.clone()), 2),
        _ => (None, 0),
    }
}

fn value_function_name(op: ast::SqlValueFunctionOp) -> &'static str {
    use ast::SqlValueFunctionOp as Op;
    match op {
        Op::CurrentDate => "current_date",
        Op::CurrentTime => "current_time",
        Op::CurrentTimestamp => "current_timestamp",
        Op::Localtime => "localtime",
        Op::Localtimestamp => "localtimestamp",
        Op::CurrentRole => "current_role",
        Op::CurrentUser => "current_user",
        Op::User => "user",
        Op::SessionUser => "session_user",
        Op::CurrentCatalog => "current_catalog",
        Op::CurrentSchema => "current_schema",
    }
}

/// The name of the one column of a sub-select.
fn first_output_name(select: &ast::SelectStmt) -> Arc<str> {
    if let Some(operation) = &select.set_op {
        return first_output_name(&operation.left);
    }
    if !select.values.is_empty() {
        return Arc::from("column1");
    }
    match select.targets.first() {
        Some(target) => target.name.clone().unwrap_or_else(|| column_name(&target.value)),
        None => Arc::from("?column?"),
    }
}
