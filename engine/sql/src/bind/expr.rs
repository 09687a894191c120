//! Expressions: `parse_expr.c`. One function a kind of node; operators are in `expr_ops.rs`, calls in `call.rs`,
//! sub-selects in `subquery.rs`.

use shardforge_types::{Datum, Oid, PgError, PgResult, SqlState, oid};

use super::binder::{AtMaybe, Binder, Clause};
use super::coerce::relabel;
use super::scope::row_fields;
use super::types::{self, array_type, base_type, element_type, type_name};
use super::walk::contains_subquery;
use crate::catalog::builtin::{CastContext, builtin};
use crate::ir::{Scalar, ScalarKind, SubscriptIndex, Ty};
use crate::limits;
use crate::parse::ast::{self, Expr};

impl Binder<'_> {
    /// Binds an expression in the current clause.
    pub fn expr(&mut self, expr: &Expr) -> PgResult<Scalar> {
        match expr {
            // The leaves need no guard against deep nesting.
            Expr::ColumnRef(e) => Ok(self.column_ref(e)?.expr),
            Expr::Const(e) => self.constant(e),
            Expr::ParamRef(e) => self.param_ref(e),
            _ => self.deeper(|b| b.inner_expr(expr)),
        }
    }

    /// Binds an expression in a given clause.
    pub fn expr_in(&mut self, expr: &Expr, clause: Clause) -> PgResult<Scalar> {
        self.in_clause(clause, |b| b.expr(expr))
    }

    fn inner_expr(&mut self, expr: &Expr) -> PgResult<Scalar> {
        match expr {
            Expr::ColumnRef(e) => Ok(self.column_ref(e)?.expr),
            Expr::Const(e) => self.constant(e),
            Expr::ParamRef(e) => self.param_ref(e),
            Expr::AExpr(e) => self.a_expr(e),
            Expr::BoolExpr(e) => self.bool_expr(e),
            Expr::NullTest(e) => self.null_test(e),
            Expr::BooleanTest(e) => self.boolean_test(e),
            Expr::CaseExpr(e) => self.case_expr(e),
            Expr::CoalesceExpr(e) => self.coalesce_expr(e),
            Expr::MinMaxExpr(e) => self.min_max_expr(e),
            Expr::TypeCast(e) => self.type_cast(e),
            Expr::CollateClause(e) => self.collate(e),
            Expr::FuncCall(e) => self.func_call(e),
            Expr::SubLink(e) => self.sub_link(e),
            Expr::ArrayExpr(e) => self.array_expr(e, None),
            Expr::RowExpr(e) => self.row_expr(e),
            Expr::Indirection(e) => self.indirection(e),
            Expr::SqlValueFunction(e) => self.sql_value_function(e),
            Expr::GroupingFunc(e) => self.grouping_func(e),
            Expr::SetToDefault(e) => {
                Err(PgError::new(SqlState::SYNTAX_ERROR, "DEFAULT is not allowed in this context").at(e.pos))
            }
            Expr::MultiAssignRef(e) => self.multi_assign_ref(e),
            Expr::NamedArg(e) => {
                Err(PgError::new(SqlState::SYNTAX_ERROR, "named arguments are allowed in calls only")
                    .at(e.pos))
            }
            Expr::CurrentOf(e) => Err(PgError::not_supported("WHERE CURRENT OF is not supported")
                .hint("Select the primary key, and update by it.")
                .at(e.pos)),
            Expr::MergeSupportFunc(e) => Err(PgError::new(
                SqlState::SYNTAX_ERROR,
                "MERGE_ACTION() can only be used in the RETURNING list of a MERGE command",
            )
            .at(e.pos)),
            Expr::JsonIsPredicate(e) => Err(PgError::not_supported("IS JSON is not supported")
                .hint("Cast the value to json, which raises an error for invalid input.")
                .at(e.pos)),
            Expr::SqlJsonXml(e) => {
                let name = e.name.to_uppercase();
                Err(PgError::not_supported(format!("{name} is not supported"))
                    .hint("Use the functions of types json and jsonb.")
                    .at(e.pos))
            }
        }
    }

    fn bool_expr(&mut self, expr: &ast::BoolExpr) -> PgResult<Scalar> {
        let name = match expr.op {
            ast::BoolOp::And => "AND",
            ast::BoolOp::Or => "OR",
            ast::BoolOp::Not => "NOT",
        };
        let mut args = Vec::with_capacity(expr.args.len());
        for arg in &expr.args {
            let arg = self.expr(arg)?;
            args.push(self.coerce_to_boolean(arg, name)?);
        }
        let kind = match expr.op {
            ast::BoolOp::And => ScalarKind::And(args),
            ast::BoolOp::Or => ScalarKind::Or(args),
            ast::BoolOp::Not => match args.pop() {
                Some(arg) => ScalarKind::Not(Box::new(arg)),
                None => return Err(PgError::internal("NOT has an operand").at(expr.pos)),
            },
        };
        Ok(Scalar {
            kind,
            ty: Ty::new(oid::BOOL),
            pos: Some(expr.args.first().map_or(expr.pos, Expr::start)),
        })
    }

    fn null_test(&mut self, test: &ast::NullTest) -> PgResult<Scalar> {
        let arg = self.expr(&test.arg)?;
        let kind = ScalarKind::IsNull { arg: Box::new(arg), negated: test.negated };
        Ok(Scalar { kind, ty: Ty::new(oid::BOOL), pos: Some(test.pos) })
    }

    fn boolean_test(&mut self, test: &ast::BooleanTest) -> PgResult<Scalar> {
        use ast::BoolTestKind as K;
        let (value, negated, name) = match test.kind {
            K::IsTrue => (Some(true), false, "IS TRUE"),
            K::IsNotTrue => (Some(true), true, "IS NOT TRUE"),
            K::IsFalse => (Some(false), false, "IS FALSE"),
            K::IsNotFalse => (Some(false), true, "IS NOT FALSE"),
            K::IsUnknown => (None, false, "IS UNKNOWN"),
            K::IsNotUnknown => (None, true, "IS NOT UNKNOWN"),
        };
        let arg = self.expr(&test.arg)?;
        let arg = self.coerce_to_boolean(arg, name)?;
        let kind = ScalarKind::BoolTest { arg: Box::new(arg), value, negated };
        Ok(Scalar { kind, ty: Ty::new(oid::BOOL), pos: Some(test.pos) })
    }

    fn case_expr(&mut self, case: &ast::CaseExpr) -> PgResult<Scalar> {
        let sets_before = self.level().set_calls.len();
        let subject = match &case.arg {
            Some(arg) => {
                let bound = self.case_subject(arg)?;
                Some((arg, contains_subquery(&bound), bound))
            }
            None => None,
        };
        let mut conditions = Vec::with_capacity(case.whens.len());
        let mut results = Vec::with_capacity(case.whens.len() + 1);
        for when in &case.whens {
            let condition = match &subject {
                None => self.expr(&when.when)?,
                Some((arg, rebind, bound)) => {
                    // A sub-select must not stand in two places: it is bound anew.
                    let subject = if *rebind { self.case_subject(arg)? } else { bound.clone() };
                    let value = self.expr(&when.when)?;
                    self.make_op(&[ast::Name::from("=")], Some(subject), value, Some(when.pos))?
                }
            };
            conditions.push(self.coerce_to_boolean(condition, "CASE/WHEN")?);
            results.push(self.expr(&when.then)?);
        }
        let default = match &case.default {
            Some(default) => self.expr(default)?,
            None => Scalar::constant(Datum::Null, Ty::new(oid::UNKNOWN)),
        };
        // PostgreSQL considers the ELSE branch first.
        results.insert(0, default);
        let common = self.select_common_type(&results, "CASE")?;
        let typmod = super::coerce::common_typmod(results.iter().map(|r| r.ty), common);
        let mut converted = Vec::with_capacity(results.len());
        for (i, result) in results.into_iter().enumerate() {
            let construct = if i == 0 { "CASE/ELSE" } else { "CASE/WHEN" };
            converted.push(self.coerce_to_common(result, common, construct)?);
        }
        self.no_sets_since(sets_before, "CASE")?;
        let mut converted = converted.into_iter();
        let otherwise = Box::new(converted.next().ok_or_else(|| PgError::internal("CASE has an ELSE"))?);
        let whens = conditions.into_iter().zip(converted).collect();
        let ty = Ty::new(common).with_typmod(typmod);
        Ok(Scalar { kind: ScalarKind::Case { whens, otherwise }, ty, pos: Some(case.pos) })
    }

    fn case_subject(&mut self, arg: &Expr) -> PgResult<Scalar> {
        let bound = self.expr(arg)?;
        // A literal that is compared with something is text.
        match bound.ty.oid {
            oid::UNKNOWN => self.coerce_to_common(bound, oid::TEXT, "CASE"),
            _ => Ok(bound),
        }
    }

    fn coalesce_expr(&mut self, coalesce: &ast::CoalesceExpr) -> PgResult<Scalar> {
        let sets_before = self.level().set_calls.len();
        let args = self.exprs(&coalesce.args)?;
        self.no_sets_since(sets_before, "COALESCE")?;
        let (args, ty) = self.unify(args, "COALESCE")?;
        Ok(Scalar { kind: ScalarKind::Coalesce(args), ty, pos: Some(coalesce.pos) })
    }

    /// Set-returning functions may not be evaluated conditionally.
    fn no_sets_since(&mut self, before: usize, construct: &str) -> PgResult<()> {
        let Some(call) = self.level().set_calls[before..].last() else { return Ok(()) };
        let message = format!("set-returning functions are not allowed in {construct}");
        Err(PgError::new(SqlState::FEATURE_NOT_SUPPORTED, message)
            .hint("You might be able to move the set-returning function into a LATERAL FROM item.")
            .at(call.pos))
    }

    fn min_max_expr(&mut self, min_max: &ast::MinMaxExpr) -> PgResult<Scalar> {
        let args = self.exprs(&min_max.args)?;
        let name = if min_max.greatest { "GREATEST" } else { "LEAST" };
        let (args, ty) = self.unify(args, name)?;
        self.check_sortable(ty.oid, Some(min_max.pos), true)?;
        let kind = ScalarKind::MinMax { greatest: min_max.greatest, args };
        Ok(Scalar { kind, ty, pos: Some(min_max.pos) })
    }

    /// Binds several expressions.
    pub fn exprs(&mut self, exprs: &[Expr]) -> PgResult<Vec<Scalar>> {
        exprs.iter().map(|e| self.expr(e)).collect()
    }

    fn type_cast(&mut self, cast: &ast::TypeCast) -> PgResult<Scalar> {
        let target = types::resolve_type_name(self.cx, &cast.type_name)?;
        if cast.type_name.setof {
            return Err(PgError::new(SqlState::DATATYPE_MISMATCH, "cannot cast to a set").at(cast.pos));
        }
        let arg = match &cast.arg {
            // ARRAY[...]::t[] makes its elements of that type at once.
            Expr::ArrayExpr(array) if element_type(self.cx, base_type(target.oid)).is_some() => {
                let elem = element_type(self.cx, base_type(target.oid)).unwrap_or(oid::TEXT);
                self.array_expr(
                    array,
                    Some((Ty::new(elem).with_typmod(target.typmod), base_type(target.oid))),
                )?
            }
            arg => self.expr(arg)?,
        };
        self.cast_to(arg, target, Some(cast.pos))
    }

    /// An explicit cast.
    pub fn cast_to(&mut self, arg: Scalar, target: Ty, pos: Option<u32>) -> PgResult<Scalar> {
        let source = arg.ty.oid;
        match self.coerce_to_target(arg, target, CastContext::Explicit)? {
            Ok(expr) => Ok(expr),
            Err(_) => Err(self.cannot_cast(source, target.oid, pos)),
        }
    }

    fn collate(&mut self, clause: &ast::CollateClause) -> PgResult<Scalar> {
        let Some(arg) = &clause.arg else {
            return Err(PgError::internal("COLLATE in an expression has an operand").at(clause.pos));
        };
        let arg = self.expr(arg)?;
        let collation = collation_oid(&clause.name).ok_or_else(|| {
            let message =
                format!("collation \"{}\" for encoding \"UTF8\" does not exist", clause.name.join("."));
            PgError::new(SqlState::UNDEFINED_OBJECT, message).at(clause.pos)
        })?;
        let arg = if arg.ty.oid == oid::UNKNOWN {
            self.coerce_type(arg, oid::TEXT, -1, CastContext::Implicit)?
        } else {
            arg
        };
        let elem = element_type(self.cx, arg.ty.oid).unwrap_or(arg.ty.oid);
        if !builtin().type_by_oid(base_type(elem)).is_some_and(|t| t.is_collatable()) {
            let message = format!("collations are not supported by type {}", type_name(self.cx, arg.ty.oid));
            return Err(PgError::new(SqlState::DATATYPE_MISMATCH, message).at(clause.pos));
        }
        Ok(Scalar { ty: Ty { collation, ..arg.ty }, ..arg })
    }

    /// `ARRAY[...]`; `target` is the element type and array type that a cast around it wants.
    fn array_expr(&mut self, array: &ast::ArrayExpr, target: Option<(Ty, Oid)>) -> PgResult<Scalar> {
        let mut elems = Vec::with_capacity(array.elements.len());
        let mut nested = false;
        for element in &array.elements {
            let bound = match element {
                Expr::ArrayExpr(inner) => {
                    nested = true;
                    self.deeper(|b| b.array_expr(inner, target))?
                }
                element => {
                    let bound = self.expr(element)?;
                    nested |= element_type(self.cx, bound.ty.oid).is_some();
                    bound
                }
            };
            elems.push(bound);
        }
        let pos = Some(array.pos);
        if let Some((elem, array_ty)) = target {
            let wanted = if nested { Ty::new(array_ty) } else { elem };
            let mut converted = Vec::with_capacity(elems.len());
            for element in elems {
                let element_pos = element.pos;
                converted.push(self.cast_to(element, wanted, element_pos)?);
            }
            let ty = Ty::new(array_ty).with_typmod(elem.typmod);
            return Ok(Scalar { kind: ScalarKind::Array { elems: converted, nested }, ty, pos });
        }
        if elems.is_empty() {
            return Err(PgError::new(
                SqlState::INDETERMINATE_DATATYPE,
                "cannot determine type of empty array",
            )
            .hint("Explicitly cast to the desired type, for example ARRAY[]::integer[].")
            .at(array.pos));
        }
        let (elems, common) = self.unify(elems, "ARRAY")?;
        let ty = if nested {
            common.oid
        } else {
            array_type(self.cx, common.oid).ok_or_else(|| {
                let name = type_name(self.cx, common.oid);
                PgError::new(
                    SqlState::UNDEFINED_OBJECT,
                    format!("could not find array type for data type {name}"),
                )
                .at(array.pos)
            })?
        };
        Ok(Scalar { kind: ScalarKind::Array { elems, nested }, ty: Ty::new(ty), pos })
    }

    fn row_expr(&mut self, row: &ast::RowExpr) -> PgResult<Scalar> {
        let fields = self.row_fields_of(&row.args)?;
        limits::check_row(fields.len()).map_err(|e| e.at(row.pos))?;
        let mut typed = Vec::with_capacity(fields.len());
        for field in fields {
            typed.push(self.resolve_unknown(field)?);
        }
        Ok(Scalar { kind: ScalarKind::Row(typed), ty: Ty::new(oid::RECORD), pos: Some(row.pos) })
    }

    /// The fields of a row constructor; `t.*` among them stands for all columns of `t`.
    pub fn row_fields_of(&mut self, args: &[Expr]) -> PgResult<Vec<Scalar>> {
        let mut fields = Vec::with_capacity(args.len());
        for arg in args {
            match arg {
                Expr::ColumnRef(reference) if reference.star => {
                    fields.extend(self.expand_star(reference)?.into_iter().map(|(_, found)| found.expr));
                }
                arg => fields.push(self.expr(arg)?),
            }
        }
        Ok(fields)
    }

    /// A literal without a type becomes text, where nothing else has been said.
    pub fn resolve_unknown(&mut self, expr: Scalar) -> PgResult<Scalar> {
        match expr.ty.oid {
            oid::UNKNOWN => self.coerce_type(expr, oid::TEXT, -1, CastContext::Implicit),
            _ => Ok(expr),
        }
    }

    fn indirection(&mut self, indirection: &ast::Indirection) -> PgResult<Scalar> {
        let mut value = self.expr(&indirection.arg)?;
        let mut subscripts: Vec<&ast::IndirectionElem> = Vec::new();
        for step in &indirection.path {
            match step {
                ast::IndirectionElem::Subscript(_) | ast::IndirectionElem::Slice(..) => subscripts.push(step),
                ast::IndirectionElem::Field(name) => {
                    value = self.subscript(value, &std::mem::take(&mut subscripts), indirection.pos)?;
                    let of_table = matches!(value.kind, ScalarKind::Row(_)) && subscripts.is_empty();
                    value = match &indirection.arg {
                        Expr::ColumnRef(reference) if of_table => self
                            .field(value, name, reference.pos)
                            .map_err(|e| no_such_column(&e, reference, name))?,
                        arg => self.field(value, name, arg.start())?,
                    };
                }
                ast::IndirectionElem::Star => {
                    let message = "row expansion via \"*\" is not supported here";
                    return Err(PgError::new(SqlState::FEATURE_NOT_SUPPORTED, message).at(indirection.pos));
                }
            }
        }
        self.subscript(value, &subscripts, indirection.pos)
    }

    /// `(row).field`.
    pub fn field(&mut self, row: Scalar, name: &str, pos: u32) -> PgResult<Scalar> {
        let Some(fields) = row_fields(self, &row) else {
            let ty = type_name(self.cx, row.ty.oid);
            let message = if row.ty.oid == oid::RECORD {
                format!("could not identify column \"{name}\" in record data type")
            } else {
                format!("column notation .{name} applied to type {ty}, which is not a composite type")
            };
            let state = if row.ty.oid == oid::RECORD {
                SqlState::UNDEFINED_COLUMN
            } else {
                SqlState::WRONG_OBJECT_TYPE
            };
            return Err(PgError::new(state, message).at(pos));
        };
        let Some(index) = fields.iter().position(|(field, _)| field == name) else {
            let message = if row.ty.oid == oid::RECORD {
                format!("could not identify column \"{name}\" in record data type")
            } else {
                format!("column \"{name}\" not found in data type {}", type_name(self.cx, row.ty.oid))
            };
            return Err(PgError::new(SqlState::UNDEFINED_COLUMN, message).at(pos));
        };
        Ok(take_field(row, index, fields[index].1))
    }

    fn subscript(
        &mut self,
        value: Scalar,
        subscripts: &[&ast::IndirectionElem],
        pos: u32,
    ) -> PgResult<Scalar> {
        if subscripts.is_empty() {
            return Ok(value);
        }
        let container = base_type(value.ty.oid);
        let elem = match container {
            oid::INT2VECTOR => Some(oid::INT2),
            oid::OIDVECTOR => Some(oid::OID),
            _ => element_type(self.cx, container),
        };
        let Some(elem) = elem else {
            let ty = type_name(self.cx, value.ty.oid);
            let message = format!("cannot subscript type {ty} because it does not support subscripting");
            return Err(PgError::new(SqlState::DATATYPE_MISMATCH, message).at_maybe(value.pos));
        };
        let slice = subscripts.iter().any(|s| matches!(s, ast::IndirectionElem::Slice(..)));
        let mut indexes = Vec::with_capacity(subscripts.len());
        for step in subscripts {
            indexes.push(match step {
                ast::IndirectionElem::Slice(lower, upper) => {
                    let lower = lower.as_ref().map(|e| self.array_index(e)).transpose()?;
                    let upper = upper.as_ref().map(|e| self.array_index(e)).transpose()?;
                    SubscriptIndex::Slice(lower, upper)
                }
                ast::IndirectionElem::Subscript(index) if slice => {
                    // In a slice a single subscript means 1 to it.
                    let one = Scalar::constant(Datum::Int4(1), Ty::new(oid::INT4));
                    SubscriptIndex::Slice(Some(one), Some(self.array_index(index)?))
                }
                ast::IndirectionElem::Subscript(index) => SubscriptIndex::Index(self.array_index(index)?),
                _ => return Err(PgError::internal("a field is no subscript").at(pos)),
            });
        }
        let arg = if container == value.ty.oid { value } else { relabel(value, Ty::new(container)) };
        let ty = if slice { Ty::new(container) } else { Ty::new(elem) }.with_typmod(arg.ty.typmod);
        let value_pos = arg.pos;
        Ok(Scalar { kind: ScalarKind::Subscript { arg: Box::new(arg), indexes }, ty, pos: value_pos })
    }

    /// The column with an element or slice replaced (`transformAssignmentSubscripts`).
    pub(super) fn assign_part(
        &mut self,
        column: Scalar,
        name: &str,
        path: &[ast::IndirectionElem],
        value: Scalar,
    ) -> PgResult<Scalar> {
        let is_subscript = |step: &ast::IndirectionElem| {
            !matches!(step, ast::IndirectionElem::Field(_) | ast::IndirectionElem::Star)
        };
        if !path.iter().all(is_subscript) {
            return Err(PgError::not_supported("assignment to a field of a column is not supported")
                .hint("Assign the whole value.")
                .at_maybe(value.pos));
        }
        let steps: Vec<&ast::IndirectionElem> = path.iter().collect();
        let (ty, pos) = (column.ty, column.pos);
        let part = self.subscript(column, &steps, value.pos.unwrap_or(0))?;
        let ScalarKind::Subscript { arg, indexes } = part.kind else {
            return Err(PgError::internal("a subscript is a subscript"));
        };
        let value = self.assign(value, name, part.ty)?;
        let kind = ScalarKind::SubscriptSet { arg, indexes, value: Box::new(value) };
        Ok(Scalar { kind, ty, pos })
    }

    fn array_index(&mut self, index: &Expr) -> PgResult<Scalar> {
        let bound = self.expr(index)?;
        let pos = bound.pos;
        match self.coerce_to_target(bound, Ty::new(oid::INT4), CastContext::Assignment)? {
            Ok(index) => Ok(index),
            Err(_) => {
                Err(PgError::new(SqlState::DATATYPE_MISMATCH, "array subscript must have type integer")
                    .at_maybe(pos))
            }
        }
    }

    /// `CURRENT_DATE` and its kin are calls of functions. A relabelling to the same type around the call tells that it
    /// was written as a keyword: `deparse` prints it so.
    fn sql_value_function(&mut self, function: &ast::SqlValueFunction) -> PgResult<Scalar> {
        use ast::SqlValueFunctionOp as Op;
        const NOW: Oid = Oid(1299);
        let now = || Scalar::call(NOW, Vec::new(), Ty::new(oid::TIMESTAMPTZ));
        let name_call = |func: u32| Scalar::call(Oid(func), Vec::new(), Ty::new(oid::NAME));
        let value = match function.op {
            Op::CurrentTimestamp => now(),
            Op::CurrentDate => self.cast_to(now(), Ty::new(oid::DATE), None)?,
            Op::CurrentTime => self.cast_to(now(), Ty::new(oid::TIMETZ), None)?,
            Op::Localtime => self.cast_to(now(), Ty::new(oid::TIME), None)?,
            Op::Localtimestamp => self.cast_to(now(), Ty::new(oid::TIMESTAMP), None)?,
            Op::CurrentRole | Op::CurrentUser | Op::User => name_call(745),
            Op::SessionUser => name_call(746),
            Op::CurrentCatalog => name_call(861),
            Op::CurrentSchema => name_call(1402),
        };
        let value = match function.precision {
            Some(precision) => {
                let ty = value.ty.with_typmod(precision.clamp(0, 6));
                self.coerce_typmod(value, ty, CastContext::Explicit)
            }
            None => value,
        };
        let ty = value.ty;
        Ok(Scalar { kind: ScalarKind::Relabel(Box::new(value)), ty, pos: Some(function.pos) })
    }
}

/// A field that a table's row lacks is a column that the table lacks.
fn no_such_column(error: &PgError, reference: &ast::ColumnRef, name: &str) -> PgError {
    let table = reference.names.last().map_or("", |n| &**n);
    PgError::new(error.sqlstate, format!("column {table}.{name} does not exist")).at(reference.pos)
}

/// A field of a row; of a row constructor, what was put there.
pub(super) fn take_field(row: Scalar, index: usize, ty: Ty) -> Scalar {
    let pos = row.pos;
    match row.kind {
        ScalarKind::Row(mut fields) if index < fields.len() => fields.swap_remove(index),
        kind => {
            let arg = Box::new(Scalar { kind, ..row });
            Scalar { kind: ScalarKind::Field { arg, index }, ty, pos }
        }
    }
}

/// The collations that every database has. All of them compare by bytes here.
pub(super) fn collation_oid(name: &ast::Names) -> Option<Oid> {
    let name = match &name[..] {
        [name] => name,
        [schema, name] if **schema == *"pg_catalog" => name,
        _ => return None,
    };
    Some(match &**name {
        "default" => Ty::DEFAULT_COLLATION,
        "C" => Ty::C_COLLATION,
        "POSIX" => Oid(951),
        "ucs_basic" => Oid(962),
        "pg_c_utf8" => Oid(811),
        _ => return None,
    })
}
