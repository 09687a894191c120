//! Operator expressions: comparison of rows, IN, BETWEEN, IS DISTINCT FROM, NULLIF and plain operators.

use shardforge_types::{PgError, PgResult, SqlState, oid};

use super::binder::{AtMaybe, Binder};
use super::coerce::{can_coerce_one, common_type_of};
use super::expr::take_field;
use super::operator::find_binary;
use super::scope::row_fields;
use super::types::{array_type, is_rowtype, type_name};
use super::walk::uses_level;
use crate::catalog::builtin::CastContext;
use crate::ir::{Scalar, ScalarKind, Ty};
use crate::parse::ast::{self, AExprKind, Expr};

fn name(text: &str) -> [ast::Name; 1] {
    [ast::Name::from(text)]
}

/// A boolean expression.
fn boolean(kind: ScalarKind, pos: Option<u32>) -> Scalar {
    Scalar { kind, ty: Ty::new(oid::BOOL), pos }
}

fn any_of(mut conditions: Vec<Scalar>, pos: Option<u32>) -> Scalar {
    match conditions.len() {
        1 => conditions.swap_remove(0),
        _ => boolean(ScalarKind::Or(conditions), pos),
    }
}

fn all_of(mut conditions: Vec<Scalar>, pos: Option<u32>) -> Scalar {
    match conditions.len() {
        1 => conditions.swap_remove(0),
        _ => boolean(ScalarKind::And(conditions), pos),
    }
}

fn not(condition: Scalar) -> Scalar {
    let pos = condition.pos;
    boolean(ScalarKind::Not(Box::new(condition)), pos)
}

impl Binder<'_> {
    /// An operator expression of any kind.
    pub fn a_expr(&mut self, expr: &ast::AExpr) -> PgResult<Scalar> {
        match expr.kind {
            AExprKind::Op => self.op_expr(expr),
            AExprKind::OpAny | AExprKind::OpAll => {
                let (left, right) = self.two_operands(expr)?;
                self.make_array_op(&expr.name, expr.kind == AExprKind::OpAny, left, right, Some(expr.pos))
            }
            AExprKind::Distinct => self.distinct_expr(expr, false),
            AExprKind::NotDistinct => self.distinct_expr(expr, true),
            AExprKind::NullIf => self.nullif_expr(expr),
            AExprKind::In => self.in_expr(expr),
            AExprKind::Like | AExprKind::ILike | AExprKind::SimilarTo => {
                let (left, right) = self.two_operands(expr)?;
                self.make_op(&expr.name, Some(left), right, Some(expr.pos))
            }
            AExprKind::Between => self.between(expr, false, false),
            AExprKind::NotBetween => self.between(expr, true, false),
            AExprKind::BetweenSym => self.between(expr, false, true),
            AExprKind::NotBetweenSym => self.between(expr, true, true),
        }
    }

    fn operand<'e>(&self, operand: Option<&'e Expr>, pos: u32) -> PgResult<&'e Expr> {
        operand.ok_or_else(|| PgError::internal("an operator lacks an operand").at(pos))
    }

    fn two_operands(&mut self, expr: &ast::AExpr) -> PgResult<(Scalar, Scalar)> {
        let left = self.operand(expr.left.as_ref(), expr.pos)?;
        let right = self.operand(expr.right.as_ref(), expr.pos)?;
        Ok((self.expr(left)?, self.expr(right)?))
    }

    fn op_expr(&mut self, expr: &ast::AExpr) -> PgResult<Scalar> {
        let pos = Some(expr.pos);
        match (&expr.left, &expr.right) {
            (Some(Expr::RowExpr(left)), Some(Expr::SubLink(link))) if link.kind == ast::SubLinkKind::Expr => {
                let left = self.row_fields_of(&left.args)?;
                self.row_compare_sub_link(&expr.name, left, link, expr.pos)
            }
            (Some(Expr::RowExpr(left)), Some(Expr::RowExpr(right))) => {
                let left = self.row_fields_of(&left.args)?;
                let right = self.row_fields_of(&right.args)?;
                self.row_comparison(&expr.name, left, right, pos)
            }
            (left, right) => {
                let left = left.as_ref().map(|left| self.expr(left)).transpose()?;
                let right = self.operand(right.as_ref(), expr.pos)?;
                let right = self.expr(right)?;
                self.make_op(&expr.name, left, right, pos)
            }
        }
    }

    /// `(a, b) op (c, d)` (`make_row_comparison_op`): = and <> pair by pair, the others as in a dictionary.
    pub fn row_comparison(
        &mut self,
        names: &[ast::Name],
        left: Vec<Scalar>,
        right: Vec<Scalar>,
        pos: Option<u32>,
    ) -> PgResult<Scalar> {
        if left.len() != right.len() {
            let message = "unequal number of entries in row expressions";
            return Err(PgError::new(SqlState::SYNTAX_ERROR, message).at_maybe(pos));
        }
        if left.is_empty() {
            let message = "cannot compare rows of zero length";
            return Err(PgError::new(SqlState::FEATURE_NOT_SUPPORTED, message).at_maybe(pos));
        }
        let operator = names.last().map_or("", |n| &**n);
        if left.len() == 1 || matches!(operator, "=" | "<>") {
            let mut pairs = Vec::with_capacity(left.len());
            for (left, right) in left.into_iter().zip(right) {
                let pair = self.make_op(names, Some(left), right, pos)?;
                if pair.ty.oid != oid::BOOL {
                    let message = format!(
                        "row comparison operator must yield type boolean, not type {}",
                        type_name(self.cx, pair.ty.oid)
                    );
                    return Err(PgError::new(SqlState::DATATYPE_MISMATCH, message).at_maybe(pos));
                }
                pairs.push(pair);
            }
            return Ok(if operator == "<>" { any_of(pairs, pos) } else { all_of(pairs, pos) });
        }
        let strict = match operator {
            "<" | "<=" => "<",
            ">" | ">=" => ">",
            _ => {
                let message =
                    format!("could not determine interpretation of row comparison operator {operator}");
                return Err(PgError::new(SqlState::FEATURE_NOT_SUPPORTED, message)
                    .hint("Row comparison operators must be associated with btree operator families.")
                    .at_maybe(pos));
            }
        };
        // From the last pair outwards: a < c OR (a = c AND rest).
        let mut result: Option<Scalar> = None;
        for (left, right) in left.into_iter().zip(right).rev() {
            result = Some(match result {
                None => self.make_op(names, Some(left), right, pos)?,
                Some(rest) => {
                    let equal = self.make_op(&name("="), Some(left.clone()), right.clone(), pos)?;
                    let strictly = self.make_op(&name(strict), Some(left), right, pos)?;
                    any_of(vec![strictly, all_of(vec![equal, rest], pos)], pos)
                }
            });
        }
        result.ok_or_else(|| PgError::internal("a row has a field").at_maybe(pos))
    }

    fn distinct_expr(&mut self, expr: &ast::AExpr, negated: bool) -> PgResult<Scalar> {
        let pos = Some(expr.pos);
        let is_null = |e: Option<&Expr>| matches!(e, Some(Expr::Const(c)) if c.value == ast::Value::Null);
        // Against a literal NULL it is a null test.
        for (null, other) in [(&expr.right, &expr.left), (&expr.left, &expr.right)] {
            if is_null(null.as_ref()) && !is_null(other.as_ref()) {
                let other = self.operand(other.as_ref(), expr.pos)?;
                let arg = Box::new(self.expr(other)?);
                return Ok(boolean(ScalarKind::IsNull { arg, negated: !negated }, pos));
            }
        }
        if let (Some(Expr::RowExpr(left)), Some(Expr::RowExpr(right))) = (&expr.left, &expr.right) {
            let left = self.row_fields_of(&left.args)?;
            let right = self.row_fields_of(&right.args)?;
            return self.row_distinct(left, right, negated, pos);
        }
        let (left, right) = self.two_operands(expr)?;
        self.distinct_op(left, right, negated, pos)
    }

    fn distinct_op(
        &mut self,
        left: Scalar,
        right: Scalar,
        negated: bool,
        pos: Option<u32>,
    ) -> PgResult<Scalar> {
        let (eq, left, right) = self.equality(left, right, pos)?;
        let kind = ScalarKind::Distinct { eq, left: Box::new(left), right: Box::new(right), negated };
        Ok(boolean(kind, pos))
    }

    fn row_distinct(
        &mut self,
        left: Vec<Scalar>,
        right: Vec<Scalar>,
        negated: bool,
        pos: Option<u32>,
    ) -> PgResult<Scalar> {
        if left.len() != right.len() {
            let message = "unequal number of entries in row expressions";
            return Err(PgError::new(SqlState::SYNTAX_ERROR, message).at_maybe(pos));
        }
        let mut pairs = Vec::with_capacity(left.len());
        for (left, right) in left.into_iter().zip(right) {
            pairs.push(self.distinct_op(left, right, false, pos)?);
        }
        let distinct = if pairs.is_empty() { Scalar::bool(false) } else { any_of(pairs, pos) };
        Ok(if negated { not(distinct) } else { distinct })
    }

    fn nullif_expr(&mut self, expr: &ast::AExpr) -> PgResult<Scalar> {
        let pos = Some(expr.pos);
        let (left, right) = self.two_operands(expr)?;
        let (eq, left, right) = self.equality(left, right, pos)?;
        let ty = left.ty;
        Ok(Scalar { kind: ScalarKind::NullIf { eq, left: Box::new(left), right: Box::new(right) }, ty, pos })
    }

    /// `left IN (list)` (`transformAExprIn`): what has no column of this query in it is one list of a common type,
    /// the rest is compared item by item.
    fn in_expr(&mut self, expr: &ast::AExpr) -> PgResult<Scalar> {
        let pos = Some(expr.pos);
        let negated = expr.name.last().is_some_and(|n| **n == *"<>");
        let left_ast = self.operand(expr.left.as_ref(), expr.pos)?;
        if let Expr::RowExpr(row) = left_ast {
            return self.row_in_list(row, expr, negated);
        }
        let left = self.expr(left_ast)?;
        let depth = self.level_depth();
        let mut constants = Vec::with_capacity(expr.list.len());
        let mut others = Vec::new();
        for item in &expr.list {
            let item = self.expr(item)?;
            if uses_level(self, &item, depth) { others.push(item) } else { constants.push(item) }
        }
        let mut conditions = Vec::new();
        if constants.len() > 1 {
            match self.list_type(&left, &constants) {
                Some(common) => {
                    let mut list = Vec::with_capacity(constants.len());
                    for item in constants {
                        list.push(self.coerce_type(item, common, -1, CastContext::Implicit)?);
                    }
                    conditions.push(self.in_list(left.clone(), list, common, pos)?);
                }
                None => others.splice(0..0, constants).for_each(drop),
            }
        } else {
            others.splice(0..0, constants);
        }
        for item in others {
            let equal = self.make_op(&name("="), Some(left.clone()), item, pos)?;
            conditions.push(self.coerce_to_boolean(equal, "IN")?);
        }
        let found = any_of(conditions, pos);
        Ok(if negated { not(found) } else { found })
    }

    /// The type of a list of items that are compared with `left`, if they have one in common.
    fn list_type(&self, left: &Scalar, items: &[Scalar]) -> Option<shardforge_types::Oid> {
        let mut types = vec![left.ty.oid];
        types.extend(items.iter().map(|i| i.ty.oid));
        let common = common_type_of(self.cx, &types)?;
        let all_fit = items.iter().all(|i| can_coerce_one(self.cx, i.ty.oid, common, CastContext::Implicit));
        let array = common != oid::RECORD && array_type(self.cx, common).is_some();
        (all_fit && array).then_some(common)
    }

    fn in_list(
        &mut self,
        left: Scalar,
        list: Vec<Scalar>,
        common: shardforge_types::Oid,
        pos: Option<u32>,
    ) -> PgResult<Scalar> {
        let operator = find_binary(self.cx, &name("="), left.ty.oid, common, pos)?;
        let mut declared = vec![operator.left, operator.right];
        super::polymorphic::resolve(self.cx, &[left.ty.oid, common], &mut declared, operator.result)?;
        let left = self.coerce_type(left, declared[0], -1, CastContext::Implicit)?;
        let mut items = Vec::with_capacity(list.len());
        for item in list {
            items.push(self.coerce_type(item, declared[1], -1, CastContext::Implicit)?);
        }
        Ok(boolean(ScalarKind::InList { eq: operator.code, left: Box::new(left), list: items }, pos))
    }

    fn row_in_list(&mut self, row: &ast::RowExpr, expr: &ast::AExpr, negated: bool) -> PgResult<Scalar> {
        let pos = Some(expr.pos);
        let mut conditions = Vec::with_capacity(expr.list.len());
        for item in &expr.list {
            let left = self.row_fields_of(&row.args)?;
            let right = match item {
                Expr::RowExpr(right) => self.row_fields_of(&right.args)?,
                item => self.expr(item).and_then(|item| self.explode_row(item, left.len()))?,
            };
            conditions.push(self.row_comparison(&name("="), left, right, pos)?);
        }
        let found = any_of(conditions, pos);
        Ok(if negated { not(found) } else { found })
    }

    fn explode_row(&mut self, value: Scalar, wanted: usize) -> PgResult<Vec<Scalar>> {
        match row_fields(self, &value) {
            Some(fields) if is_rowtype(self.cx, value.ty.oid) => {
                let fields = fields.into_iter().enumerate();
                Ok(fields.map(|(i, (_, ty))| take_field(value.clone(), i, ty)).collect())
            }
            _ if wanted == 1 => Ok(vec![value]),
            _ => {
                let message = "unequal number of entries in row expressions";
                Err(PgError::new(SqlState::SYNTAX_ERROR, message).at_maybe(value.pos))
            }
        }
    }

    fn between(&mut self, expr: &ast::AExpr, negated: bool, symmetric: bool) -> PgResult<Scalar> {
        let [low, high] = &expr.list[..] else {
            return Err(PgError::internal("BETWEEN has two bounds").at(expr.pos));
        };
        let value = self.operand(expr.left.as_ref(), expr.pos)?;
        let mut found = self.within(value, low, high, negated, expr.pos)?;
        if symmetric {
            let swapped = self.within(value, high, low, negated, expr.pos)?;
            let pos = Some(expr.pos);
            let both = vec![found, swapped];
            found = if negated { all_of(both, pos) } else { any_of(both, pos) };
        }
        Ok(found)
    }

    /// `value >= low AND value <= high`, or `value < low OR value > high`. The value is bound for each comparison: a
    /// sub-select in it must not stand in two places.
    fn within(&mut self, value: &Expr, low: &Expr, high: &Expr, negated: bool, at: u32) -> PgResult<Scalar> {
        let pos = Some(at);
        let (above, below) = if negated { ("<", ">") } else { (">=", "<=") };
        let mut conditions = Vec::with_capacity(2);
        for (operator, bound) in [(above, low), (below, high)] {
            let value = self.expr(value)?;
            let bound = self.expr(bound)?;
            let condition = self.make_op(&name(operator), Some(value), bound, pos)?;
            conditions.push(self.coerce_to_boolean(condition, "BETWEEN")?);
        }
        Ok(if negated { any_of(conditions, pos) } else { all_of(conditions, pos) })
    }
}
