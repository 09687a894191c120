//! Bound expressions as SQL text, in the form that PostgreSQL's `pg_get_expr` prints (`ruleutils.c`).
//!
//! The catalog keeps defaults, checks and index expressions in this form: every literal has its type, every operator
//! its parentheses, so that the text means the same under any search path. Casts that the binder put in are printed
//! as if they had been written; the outermost one is left out where assignment would put it in again.

use std::fmt::Write;

use shardforge_types::{Datum, IoEnv, Oid, oid};

use super::BindContext;
use super::types::{composite_fields, format_type};
use crate::catalog::CatalogSnapshot;
use crate::catalog::builtin::{CastContext, OperatorDesc, builtin};
use crate::catalog::well_known;
use crate::ir::{Call, ColId, Scalar, ScalarKind, SubscriptIndex, Ty};

/// Prints an expression; `name_of` gives the names of columns.
pub fn deparse(
    expr: &Scalar,
    name_of: &dyn Fn(ColId) -> Option<String>,
    catalog: &CatalogSnapshot,
) -> String {
    let io = IoEnv::default();
    let cx = BindContext::for_catalog_text(catalog, &io);
    let mut printer = Printer { cx: &cx, name_of, text: String::new() };
    printer.expr(assigned_value(&cx, expr));
    printer.text
}

/// What stands below a cast that an assignment would apply by itself.
fn assigned_value<'e>(cx: &BindContext<'_>, expr: &'e Scalar) -> &'e Scalar {
    match cast_operand(expr) {
        Some(inner)
            if inner.ty.oid != expr.ty.oid
                && super::coerce::find_pathway(cx, expr.ty.oid, inner.ty.oid, CastContext::Assignment)
                    .is_some() =>
        {
            assigned_value(cx, inner)
        }
        Some(inner) if matches!(expr.kind, ScalarKind::ApplyTypmod { explicit: false, .. }) => {
            assigned_value(cx, inner)
        }
        _ => expr,
    }
}

/// The operand of a cast of any form.
fn cast_operand(expr: &Scalar) -> Option<&Scalar> {
    match &expr.kind {
        ScalarKind::Relabel(arg) if arg.ty.oid == expr.ty.oid => None,
        ScalarKind::Relabel(arg) | ScalarKind::IoCast(arg) => Some(arg),
        ScalarKind::ApplyTypmod { arg, .. } | ScalarKind::ArrayMap { arg, .. } => Some(arg),
        ScalarKind::Call(call) if is_cast_call(call, expr.ty.oid) => call.args.first(),
        _ => None,
    }
}

/// A function that pg_cast names for just this conversion.
fn is_cast_call(call: &Call, result: Oid) -> bool {
    let Some(arg) = call.args.first() else { return false };
    builtin().cast(arg.ty.oid, result).is_some_and(|cast| cast.func == call.func)
}

struct Printer<'a> {
    cx: &'a BindContext<'a>,
    name_of: &'a dyn Fn(ColId) -> Option<String>,
    text: String,
}

impl Printer<'_> {
    fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn list(&mut self, exprs: &[Scalar]) {
        for (i, expr) in exprs.iter().enumerate() {
            if i > 0 {
                self.push(", ");
            }
            self.expr(expr);
        }
    }

    fn joined(&mut self, exprs: &[Scalar], separator: &str) {
        self.push("(");
        for (i, expr) in exprs.iter().enumerate() {
            if i > 0 {
                self.push(separator);
            }
            self.expr(expr);
        }
        self.push(")");
    }

    fn expr(&mut self, expr: &Scalar) {
        match &expr.kind {
            ScalarKind::Column(id) => {
                let name = (self.name_of)(*id).unwrap_or_else(|| "?".to_owned());
                self.push(&quote_identifier(&name));
            }
            ScalarKind::Const(value) => self.constant(value, expr.ty),
            ScalarKind::Param(n) => {
                let _ = write!(self.text, "${}", u32::from(*n) + 1);
            }
            ScalarKind::Relabel(arg) if arg.ty.oid == expr.ty.oid => self.value_function(arg),
            ScalarKind::Call(call) if is_cast_call(call, expr.ty.oid) => self.cast(&call.args[0], expr.ty),
            ScalarKind::Call(call) => self.call(call),
            ScalarKind::Relabel(arg) | ScalarKind::IoCast(arg) | ScalarKind::ArrayMap { arg, .. } => {
                self.cast(arg, expr.ty);
            }
            ScalarKind::ApplyTypmod { arg, .. } => {
                // The modifier belongs to the cast below, if there is one.
                let operand = cast_operand(arg).filter(|_| arg.ty.typmod < 0).unwrap_or(arg);
                self.cast(operand, expr.ty);
            }
            ScalarKind::And(args) => self.joined(args, " AND "),
            ScalarKind::Or(args) => self.joined(args, " OR "),
            ScalarKind::Not(arg) if matches!(arg.kind, ScalarKind::InList { .. }) => self.in_list(arg, true),
            ScalarKind::Not(arg) => {
                self.push("(NOT ");
                self.expr(arg);
                self.push(")");
            }
            ScalarKind::IsNull { arg, negated } => {
                self.postfix(arg, if *negated { " IS NOT NULL" } else { " IS NULL" });
            }
            ScalarKind::BoolTest { arg, value, negated } => {
                let not = if *negated { " NOT" } else { "" };
                let value = match value {
                    Some(true) => "TRUE",
                    Some(false) => "FALSE",
                    None => "UNKNOWN",
                };
                self.postfix(arg, &format!(" IS{not} {value}"));
            }
            ScalarKind::Distinct { left, right, negated, .. } => {
                self.push(if *negated { "(NOT (" } else { "(" });
                self.expr(left);
                self.push(" IS DISTINCT FROM ");
                self.expr(right);
                self.push(if *negated { "))" } else { ")" });
            }
            ScalarKind::Case { whens, otherwise } => self.case(whens, otherwise),
            ScalarKind::Coalesce(args) => self.function("COALESCE", args),
            ScalarKind::NullIf { left, right, .. } => {
                self.push("NULLIF(");
                self.expr(left);
                self.push(", ");
                self.expr(right);
                self.push(")");
            }
            ScalarKind::MinMax { greatest, args } => {
                self.function(if *greatest { "GREATEST" } else { "LEAST" }, args);
            }
            ScalarKind::Array { elems, .. } => {
                self.push("ARRAY[");
                self.list(elems);
                self.push("]");
                if elems.is_empty() {
                    let ty = format_type(self.cx, expr.ty.oid, expr.ty.typmod);
                    let _ = write!(self.text, "::{ty}");
                }
            }
            ScalarKind::Row(fields) => self.function("ROW", fields),
            ScalarKind::Subscript { arg, indexes } => self.subscript(arg, indexes),
            // Only SET has it, and that is never stored.
            ScalarKind::SubscriptSet { arg, .. } => self.expr(arg),
            ScalarKind::Field { arg, index } => {
                let fields = composite_fields(self.cx, arg.ty.oid).unwrap_or_default();
                let name = fields.get(*index).map_or_else(|| format!("f{}", index + 1), |(n, _)| n.clone());
                self.push("(");
                self.expr(arg);
                let _ = write!(self.text, ").{}", quote_identifier(&name));
            }
            ScalarKind::ArrayOp { func, any, left, array } => {
                self.push("(");
                self.expr(left);
                let operator = operator_of(*func, 2).map_or("=", |o| o.name);
                let _ = write!(self.text, " {operator} {} (", if *any { "ANY" } else { "ALL" });
                self.expr(array);
                self.push("))");
            }
            ScalarKind::InList { .. } => self.in_list(expr, false),
            ScalarKind::Subquery(_) => self.push("(SELECT ...)"),
        }
    }

    /// IN and NOT IN are comparisons with an array.
    fn in_list(&mut self, expr: &Scalar, negated: bool) {
        let ScalarKind::InList { left, list, .. } = &expr.kind else { return };
        self.push("(");
        self.expr(left);
        self.push(if negated { " <> ALL (ARRAY[" } else { " = ANY (ARRAY[" });
        self.list(list);
        self.push("]))");
    }

    fn postfix(&mut self, arg: &Scalar, text: &str) {
        self.push("(");
        self.expr(arg);
        self.push(text);
        self.push(")");
    }

    fn function(&mut self, name: &str, args: &[Scalar]) {
        self.push(name);
        self.push("(");
        self.list(args);
        self.push(")");
    }

    fn cast(&mut self, operand: &Scalar, ty: Ty) {
        self.push("(");
        self.expr(operand);
        let _ = write!(self.text, ")::{}", self.type_text(ty));
    }

    /// A type in a cast: `character` without a length would mean a length of 1.
    fn type_text(&self, ty: Ty) -> String {
        match ty.oid {
            oid::BPCHAR if ty.typmod < 0 => "bpchar".to_owned(),
            oid::BIT if ty.typmod < 0 => "\"bit\"".to_owned(),
            _ => format_type(self.cx, ty.oid, ty.typmod),
        }
    }

    fn case(&mut self, whens: &[(Scalar, Scalar)], otherwise: &Scalar) {
        self.push("\nCASE");
        for (condition, result) in whens {
            self.push("\n    WHEN ");
            self.expr(condition);
            self.push(" THEN ");
            self.expr(result);
        }
        self.push("\n    ELSE ");
        self.expr(otherwise);
        self.push("\nEND");
    }

    fn call(&mut self, call: &Call) {
        if let Some(operator) = operator_of(call.func, call.args.len()) {
            match &call.args[..] {
                [left, right] => {
                    self.push("(");
                    self.expr(left);
                    let _ = write!(self.text, " {} ", operator.name);
                    self.expr(right);
                    self.push(")");
                }
                args => {
                    let _ = write!(self.text, "({} ", operator.name);
                    self.list(args);
                    self.push(")");
                }
            }
            return;
        }
        let Some(proc) = builtin().proc_by_oid(call.func) else {
            let _ = write!(self.text, "{}", call.func);
            self.function("", &call.args);
            return;
        };
        if proc.name == "extract"
            && let [field, source] = &call.args[..]
            && let ScalarKind::Const(Datum::Text(field)) = &field.kind
        {
            let _ = write!(self.text, "EXTRACT({field} FROM ");
            self.expr(source);
            self.push(")");
            return;
        }
        if proc.namespace != well_known::PG_CATALOG {
            self.push("information_schema.");
        }
        self.push(&quote_identifier(proc.name));
        self.push("(");
        match call.args.split_last() {
            // Arguments that were gathered for a VARIADIC parameter are written one by one.
            Some((last, fixed)) if proc.variadic.is_valid() && proc.variadic != oid::ANY => {
                self.list(fixed);
                if !fixed.is_empty() {
                    self.push(", ");
                }
                match &last.kind {
                    ScalarKind::Array { elems, nested: false } if !elems.is_empty() => self.list(elems),
                    _ => {
                        self.push("VARIADIC ");
                        self.expr(last);
                    }
                }
            }
            _ => self.list(&call.args),
        }
        self.push(")");
    }

    /// A function that was written as a keyword: `CURRENT_DATE`.
    fn value_function(&mut self, value: &Scalar) {
        let mut call = value;
        let mut precision = String::new();
        while let Some(inner) = cast_operand(call) {
            if let ScalarKind::ApplyTypmod { .. } = call.kind {
                precision = format!("({})", call.ty.typmod);
            }
            call = inner;
        }
        let name = match (&call.kind, value.ty.oid) {
            (ScalarKind::Call(call), ty) => match (call.func.0, ty) {
                (1299, oid::TIMESTAMPTZ) => "CURRENT_TIMESTAMP",
                (1299, oid::DATE) => "CURRENT_DATE",
                (1299, oid::TIMETZ) => "CURRENT_TIME",
                (1299, oid::TIME) => "LOCALTIME",
                (1299, oid::TIMESTAMP) => "LOCALTIMESTAMP",
                (745, _) => "CURRENT_USER",
                (746, _) => "SESSION_USER",
                (861, _) => "CURRENT_CATALOG",
                (1402, _) => "CURRENT_SCHEMA",
                _ => return self.expr(value),
            },
            _ => return self.expr(value),
        };
        self.push(name);
        self.push(&precision);
    }

    fn subscript(&mut self, arg: &Scalar, indexes: &[SubscriptIndex]) {
        if matches!(arg.kind, ScalarKind::Column(_)) {
            self.expr(arg);
        } else {
            self.push("(");
            self.expr(arg);
            self.push(")");
        }
        for index in indexes {
            self.push("[");
            match index {
                SubscriptIndex::Index(i) => self.expr(i),
                SubscriptIndex::Slice(lower, upper) => {
                    lower.iter().for_each(|e| self.expr(e));
                    self.push(":");
                    upper.iter().for_each(|e| self.expr(e));
                }
            }
            self.push("]");
        }
    }

    fn constant(&mut self, value: &Datum, ty: Ty) {
        if value.is_null() {
            let _ = write!(self.text, "NULL::{}", self.type_text(ty));
            return;
        }
        if let (Datum::Bool(b), oid::BOOL) = (value, ty.oid) {
            return self.push(if *b { "true" } else { "false" });
        }
        if let (Datum::Oid(object), oid::REGCLASS) = (value, ty.oid) {
            // By oid, so that renaming the relation does not break the expression.
            let _ = write!(self.text, "{object}::regclass");
            return;
        }
        let text = self.value_text(value, ty.oid);
        let number = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+'));
        let plain = match ty.oid {
            oid::INT4 => number,
            oid::NUMERIC => {
                number && ty.typmod < 0 && text.bytes().next().is_some_and(|b| b.is_ascii_digit())
            }
            _ => false,
        };
        if plain {
            return self.push(&text);
        }
        if ty.oid == oid::BIT || ty.oid == oid::VARBIT {
            let _ = write!(self.text, "B'{text}'");
            if ty.oid == oid::VARBIT {
                self.push("::bit varying");
            }
            return;
        }
        self.push(&quote_literal(&text));
        if ty.oid != oid::UNKNOWN {
            let _ = write!(self.text, "::{}", self.type_text(ty));
        }
    }

    fn value_text(&self, value: &Datum, ty: Oid) -> String {
        let mut out = Vec::new();
        shardforge_types::output(ty, value, self.cx.io, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }
}

/// The operator that a function computes, if it is one of so many operands.
fn operator_of(func: Oid, operands: usize) -> Option<&'static OperatorDesc> {
    let proc = builtin().proc_by_oid(func)?;
    if proc.args.len() != operands || operands == 0 || operands > 2 {
        return None;
    }
    builtin().operators().iter().find(|o| o.code == func)
}

/// A name as SQL needs it: quoted if it is a keyword or not plain.
pub(super) fn quote_identifier(name: &str) -> String {
    crate::func::ident::quote_identifier(name)
}

/// A string literal, with backslashes as they are.
fn quote_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
