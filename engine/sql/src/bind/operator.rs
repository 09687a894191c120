//! Which operator is meant, and its call: the rules of `parse_oper.c`.

use shardforge_types::{Oid, PgError, PgResult, SqlState, oid};

use super::BindContext;
use super::binder::{AtMaybe, Binder};
use super::function::{match_arg_types, select_candidate};
use super::polymorphic;
use super::relation::schema_oid;
use super::types::{array_type, base_type, element_type, type_name, type_schemas};
use crate::catalog::builtin::{CastContext, OperatorDesc, builtin};
use crate::ir::{Scalar, ScalarKind, Ty};
use crate::parse::ast;

/// The operators a name means.
fn visible<'c>(cx: &'c BindContext<'_>, names: &'c [ast::Name]) -> PgResult<(&'c str, Option<Oid>)> {
    match names {
        [name] => Ok((name, None)),
        [.., schema, name] => Ok((name, Some(schema_oid(cx, schema)?))),
        [] => Err(PgError::internal("an operator has a name")),
    }
}

fn is_visible(cx: &BindContext<'_>, schema: Option<Oid>, operator: &OperatorDesc) -> bool {
    match schema {
        Some(schema) => operator.namespace == schema,
        None => type_schemas(cx).any(|schema| schema == operator.namespace),
    }
}

/// The binary operator that is meant for two operand types (`oper`).
pub(super) fn find_binary(
    cx: &BindContext<'_>,
    names: &[ast::Name],
    left: Oid,
    right: Oid,
    pos: Option<u32>,
) -> PgResult<&'static OperatorDesc> {
    let (name, schema) = visible(cx, names).map_err(|e| e.at_maybe(pos))?;
    if let Some(exact) = binary_exact(cx, name, schema, left, right) {
        return Ok(exact);
    }
    let candidates: Vec<([Oid; 2], &'static OperatorDesc)> = builtin()
        .operators_by_name(name)
        .iter()
        .filter(|o| o.left.0 != 0 && is_visible(cx, schema, o))
        .map(|o| ([o.left, o.right], *o))
        .collect();
    let inputs = [left, right];
    let mut matching = match_arg_types(cx, candidates, &inputs, |c| &c.0);
    let ambiguous = matching.len() > 1;
    let found = match matching.len() {
        1 => matching.pop(),
        0 => None,
        _ => select_candidate(cx, &inputs, matching, |c| &c.0),
    };
    found.map(|(_, operator)| operator).ok_or_else(|| {
        let signature = format!("{} {} {}", type_name(cx, left), names.join("."), type_name(cx, right));
        operator_error(&signature, ambiguous, true).at_maybe(pos)
    })
}

/// An operator for exactly these types; a literal is assumed to be of the other operand's type.
fn binary_exact(
    cx: &BindContext<'_>,
    name: &str,
    schema: Option<Oid>,
    left: Oid,
    right: Oid,
) -> Option<&'static OperatorDesc> {
    let exact = |left: Oid, right: Oid| {
        builtin().operator_exact(name, left, right).filter(|o| is_visible(cx, schema, o))
    };
    let assumed = match (left == oid::UNKNOWN, right == oid::UNKNOWN) {
        (true, false) => right,
        (false, true) => left,
        _ => return exact(left, right),
    };
    exact(assumed, assumed).or_else(|| {
        let base = base_type(assumed);
        if base == assumed { None } else { exact(base, base) }
    })
}

/// The prefix operator that is meant for an operand type (`left_oper`).
pub(super) fn find_prefix(
    cx: &BindContext<'_>,
    names: &[ast::Name],
    right: Oid,
    pos: Option<u32>,
) -> PgResult<&'static OperatorDesc> {
    let (name, schema) = visible(cx, names).map_err(|e| e.at_maybe(pos))?;
    if let Some(exact) = builtin().operator_exact(name, Oid(0), right).filter(|o| is_visible(cx, schema, o)) {
        return Ok(exact);
    }
    let candidates: Vec<([Oid; 1], &'static OperatorDesc)> = builtin()
        .operators_by_name(name)
        .iter()
        .filter(|o| o.left.0 == 0 && is_visible(cx, schema, o))
        .map(|o| ([o.right], *o))
        .collect();
    let mut matching = match_arg_types(cx, candidates, &[right], |c| &c.0);
    let ambiguous = matching.len() > 1;
    let found = match matching.len() {
        1 => matching.pop(),
        0 => None,
        _ => select_candidate(cx, &[right], matching, |c| &c.0),
    };
    found.map(|(_, operator)| operator).ok_or_else(|| {
        let signature = format!("{} {}", names.join("."), type_name(cx, right));
        operator_error(&signature, ambiguous, false).at_maybe(pos)
    })
}

fn operator_error(signature: &str, ambiguous: bool, binary: bool) -> PgError {
    if ambiguous {
        return PgError::new(SqlState::AMBIGUOUS_FUNCTION, format!("operator is not unique: {signature}"))
            .hint("Could not choose a best candidate operator. You might need to add explicit type casts.");
    }
    let error = PgError::new(SqlState::UNDEFINED_FUNCTION, format!("operator does not exist: {signature}"));
    if binary {
        error.hint("No operator matches the given name and argument types. You might need to add explicit type casts.")
    } else {
        error.hint("No operator matches the given name and argument type. You might need to add an explicit type cast.")
    }
}

impl Binder<'_> {
    /// The call of an operator by name (`make_op`). Without a left operand it is a prefix operator.
    pub fn make_op(
        &mut self,
        names: &[ast::Name],
        left: Option<Scalar>,
        right: Scalar,
        pos: Option<u32>,
    ) -> PgResult<Scalar> {
        let operator = match &left {
            Some(left) => find_binary(self.cx, names, left.ty.oid, right.ty.oid, pos)?,
            None => find_prefix(self.cx, names, right.ty.oid, pos)?,
        };
        let mut args: Vec<Scalar> = Vec::with_capacity(2);
        args.extend(left);
        args.push(right);
        self.call_operator(operator, args, pos)
    }

    /// The call of a known operator: casts its operands and resolves a polymorphic signature.
    pub fn call_operator(
        &mut self,
        operator: &OperatorDesc,
        args: Vec<Scalar>,
        pos: Option<u32>,
    ) -> PgResult<Scalar> {
        let actual: Vec<Oid> = args.iter().map(|a| a.ty.oid).collect();
        let mut declared: Vec<Oid> = Vec::with_capacity(2);
        if operator.left.0 != 0 {
            declared.push(operator.left);
        }
        declared.push(operator.right);
        let result = polymorphic::resolve(self.cx, &actual, &mut declared, operator.result)
            .map_err(|e| e.at_maybe(pos))?;
        let args = self.coerce_args(args, &declared)?;
        let mut call = Scalar::call(operator.code, args, Ty::new(result));
        call.pos = pos;
        Ok(call)
    }

    /// Casts arguments to the declared types (`make_fn_arguments`).
    pub fn coerce_args(&mut self, args: Vec<Scalar>, declared: &[Oid]) -> PgResult<Vec<Scalar>> {
        let mut cast = Vec::with_capacity(args.len());
        for (arg, &ty) in args.into_iter().zip(declared) {
            cast.push(self.coerce_type(arg, ty, -1, CastContext::Implicit)?);
        }
        Ok(cast)
    }

    /// `left op ANY/ALL (array)` (`make_scalar_array_op`).
    pub fn make_array_op(
        &mut self,
        names: &[ast::Name],
        any: bool,
        left: Scalar,
        right: Scalar,
        pos: Option<u32>,
    ) -> PgResult<Scalar> {
        let left_type = left.ty.oid;
        let right_type = right.ty.oid;
        let wrong =
            |message: &str| PgError::new(SqlState::WRONG_OBJECT_TYPE, message.to_owned()).at_maybe(pos);
        let elem = if right_type == oid::UNKNOWN {
            oid::UNKNOWN
        } else {
            element_type(self.cx, base_type(right_type))
                .ok_or_else(|| wrong("op ANY/ALL (array) requires array on right side"))?
        };
        let operator = find_binary(self.cx, names, left_type, elem, pos)?;
        let mut declared = vec![operator.left, operator.right];
        let result = polymorphic::resolve(self.cx, &[left_type, elem], &mut declared, operator.result)
            .map_err(|e| e.at_maybe(pos))?;
        if result != oid::BOOL {
            return Err(wrong("op ANY/ALL (array) requires operator to yield boolean"));
        }
        if builtin().proc_by_oid(operator.code).is_some_and(|p| p.retset) {
            return Err(wrong("op ANY/ALL (array) requires operator not to return a set"));
        }
        let array = array_type(self.cx, declared[1]).ok_or_else(|| {
            let message =
                format!("could not find array type for data type {}", type_name(self.cx, declared[1]));
            PgError::new(SqlState::UNDEFINED_OBJECT, message).at_maybe(pos)
        })?;
        let left = self.coerce_type(left, declared[0], -1, CastContext::Implicit)?;
        let right = self.coerce_type(right, array, -1, CastContext::Implicit)?;
        let kind =
            ScalarKind::ArrayOp { func: operator.code, any, left: Box::new(left), array: Box::new(right) };
        Ok(Scalar { kind, ty: Ty::new(oid::BOOL), pos })
    }

    /// The equality operator that grouping, DISTINCT and set operations go by; error if the type has none.
    pub fn check_sortable(&self, ty: Oid, pos: Option<u32>, needs_order: bool) -> PgResult<()> {
        if ty == oid::UNKNOWN || super::types::is_rowtype(self.cx, ty) {
            return Ok(());
        }
        let base = element_type(self.cx, base_type(ty)).unwrap_or(ty);
        if builtin().ordering(base).is_some() || super::types::is_rowtype(self.cx, base) {
            return Ok(());
        }
        let hashable = builtin().default_opclass(crate::catalog::builtin::HASH_AM, base).is_some();
        if hashable && !needs_order {
            return Ok(());
        }
        let what = if needs_order { "ordering" } else { "equality" };
        let error = PgError::new(
            SqlState::UNDEFINED_FUNCTION,
            format!("could not identify an {what} operator for type {}", type_name(self.cx, ty)),
        );
        let error = if needs_order {
            error.hint("Use an explicit ordering operator or modify the query.")
        } else {
            error
        };
        Err(error.at_maybe(pos))
    }

    /// The function of the `=` operator between two expressions, after casting both.
    pub fn equality(
        &mut self,
        left: Scalar,
        right: Scalar,
        pos: Option<u32>,
    ) -> PgResult<(Oid, Scalar, Scalar)> {
        let names = [ast::Name::from("=")];
        let operator = find_binary(self.cx, &names, left.ty.oid, right.ty.oid, pos)?;
        let call = self.call_operator(operator, vec![left, right], pos)?;
        match call.kind {
            ScalarKind::Call(call) => {
                let mut args = call.args;
                match (args.pop(), args.pop()) {
                    (Some(right), Some(left)) => Ok((call.func, left, right)),
                    _ => Err(PgError::internal("an equality operator has two operands")),
                }
            }
            _ => Err(PgError::internal("an operator is a call")),
        }
    }
}
