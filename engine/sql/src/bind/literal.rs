//! Literals: constants of the raw tree, and string literals read as values of a type.

use shardforge_types::{Datum, IoEnv, Oid, PgError, PgResult, SqlState, oid};

use super::BindContext;
use super::binder::{AtMaybe, Binder};
use super::coerce::relabel;
use super::relation::find_relation;
use super::types::{self, base_type, lookup_type};
use crate::ir::{Scalar, ScalarKind, Ty};
use crate::parse::ast;

/// The value of a plain integer literal, possibly with a sign: type modifiers, ordinals.
pub(super) fn int_literal(expr: &ast::Expr) -> Option<i32> {
    match expr {
        ast::Expr::Const(ast::Const { value: ast::Value::Integer(n), .. }) => Some(*n),
        ast::Expr::AExpr(e) if e.left.is_none() && e.name.len() == 1 => {
            let operand = e.right.as_ref().and_then(int_literal)?;
            match &*e.name[0] {
                "-" => operand.checked_neg(),
                "+" => Some(operand),
                _ => None,
            }
        }
        _ => None,
    }
}

impl Binder<'_> {
    /// A constant as the grammar has it: numbers and booleans are typed, strings are `unknown`.
    pub fn constant(&mut self, constant: &ast::Const) -> PgResult<Scalar> {
        let pos = constant.pos;
        let (value, ty) = match &constant.value {
            ast::Value::Integer(n) => (Datum::Int4(*n), oid::INT4),
            ast::Value::Float(text) => number(text, self.cx.io).map_err(|e| e.or_at(pos))?,
            ast::Value::Boolean(b) => (Datum::Bool(*b), oid::BOOL),
            ast::Value::String(text) => (Datum::Text(text.clone()), oid::UNKNOWN),
            ast::Value::Null => (Datum::Null, oid::UNKNOWN),
            ast::Value::BitString(text) => {
                let value =
                    shardforge_types::input(oid::BIT, -1, text, self.cx.io).map_err(|e| e.or_at(pos))?;
                (value, oid::BIT)
            }
        };
        Ok(Scalar { pos: Some(pos), ..Scalar::constant(value, Ty::new(ty)) })
    }

    /// A literal of type `unknown` read as another type.
    pub fn read_literal(
        &mut self,
        value: Datum,
        target: Oid,
        typmod: i32,
        pos: Option<u32>,
    ) -> PgResult<Scalar> {
        let base = base_type(target);
        // Interval is the one type whose input needs the modifier at once; for the others it is applied later.
        let typmod = if base == oid::INTERVAL { typmod } else { -1 };
        if let (Datum::Text(_), true) = (&value, reads_catalog(base)) {
            // What it names is looked up when the statement runs.
            let text = Scalar { pos, ..Scalar::constant(value, Ty::new(oid::TEXT)) };
            let read = Scalar { kind: ScalarKind::IoCast(Box::new(text)), ty: Ty::new(base), pos };
            return Ok(if base == target { read } else { relabel(read, Ty::new(target)) });
        }
        let value = match &value {
            Datum::Text(text) => read_value(self.cx, base, typmod, text).map_err(|e| e.at_maybe(pos))?,
            _ => value,
        };
        let constant = Scalar { pos, ..Scalar::constant(value, Ty::new(base).with_typmod(typmod)) };
        Ok(if base == target { constant } else { relabel(constant, Ty::new(target)) })
    }
}

/// Whether text stands for an object of the catalog that only an execution can look up.
fn reads_catalog(ty: Oid) -> bool {
    matches!(
        ty,
        oid::REGPROC
            | oid::REGPROCEDURE
            | oid::REGOPER
            | oid::REGOPERATOR
            | oid::REGCOLLATION
            | oid::REGNAMESPACE
            | oid::REGROLE
    ) || shardforge_types::element_type(ty)
        .is_some_and(|elem| matches!(elem, oid::REGCLASS | oid::REGTYPE) || reads_catalog(elem))
}

/// A number that is no 32-bit integer: int8 if it is an integer that fits, else numeric.
fn number(text: &str, io: &IoEnv) -> PgResult<(Datum, Oid)> {
    if let Some(n) = integer(text) {
        return Ok(match i32::try_from(n) {
            Ok(n) => (Datum::Int4(n), oid::INT4),
            Err(_) => (Datum::Int8(n), oid::INT8),
        });
    }
    Ok((shardforge_types::input(oid::NUMERIC, -1, text, io)?, oid::NUMERIC))
}

fn integer(text: &str) -> Option<i64> {
    let (sign, magnitude) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text),
    };
    let radix = match magnitude.as_bytes() {
        [b'0', b'x' | b'X', ..] => 16,
        [b'0', b'o' | b'O', ..] => 8,
        [b'0', b'b' | b'B', ..] => 2,
        _ => return text.parse().ok(),
    };
    i64::from_str_radix(&format!("{sign}{}", &magnitude[2..]), radix).ok()
}

/// The value that a text stands for; the types that name objects of the catalog are read here.
pub(super) fn read_value(cx: &BindContext<'_>, ty: Oid, typmod: i32, text: &str) -> PgResult<Datum> {
    let object = match ty {
        oid::REGCLASS => regclass(cx, text)?,
        oid::REGTYPE => regtype(cx, text)?,
        _ => return shardforge_types::input(ty, typmod, text, cx.io),
    };
    Ok(Datum::Oid(object.0))
}

/// `-` is no object, a number is an oid.
fn numeric_object(text: &str) -> Option<Oid> {
    if text == "-" {
        return Some(Oid(0));
    }
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok().map(Oid)).flatten()
}

fn regclass(cx: &BindContext<'_>, text: &str) -> PgResult<Oid> {
    if let Some(oid) = numeric_object(text) {
        return Ok(oid);
    }
    let names = split_name(text)?;
    let parts: Vec<&str> = names.iter().map(String::as_str).collect();
    if parts.len() > 3 {
        let message = format!("improper relation name (too many dotted names): {}", names.join("."));
        return Err(PgError::new(SqlState::SYNTAX_ERROR, message));
    }
    let found = match parts[..] {
        [name] => find_relation(cx, None, None, name)?,
        [schema, name] => find_relation(cx, None, Some(schema), name)?,
        [database, schema, name] => find_relation(cx, Some(database), Some(schema), name)?,
        _ => None,
    };
    found.map(|f| f.oid()).ok_or_else(|| {
        PgError::new(SqlState::UNDEFINED_TABLE, format!("relation \"{}\" does not exist", names.join(".")))
    })
}

fn regtype(cx: &BindContext<'_>, text: &str) -> PgResult<Oid> {
    if let Some(oid) = numeric_object(text) {
        return Ok(oid);
    }
    let missing = || PgError::new(SqlState::UNDEFINED_OBJECT, format!("type \"{text}\" does not exist"));
    let base = text.trim().trim_end_matches("[]");
    let found = match sql_type_name(base) {
        Some(oid) => Some(oid),
        None => {
            // A modifier, as in `numeric(10,2)`, is no part of the name.
            let names = split_name(base.split('(').next().unwrap_or(base))?;
            let parts: Vec<&str> = names.iter().map(String::as_str).collect();
            lookup_type(cx, &parts)?
        }
    };
    let found = found.ok_or_else(missing)?;
    if base.len() == text.trim().len() {
        return Ok(found);
    }
    types::array_type(cx, found).ok_or_else(missing)
}

/// The types whose SQL names are more than one word, or keywords.
fn sql_type_name(text: &str) -> Option<Oid> {
    let lower = text.to_ascii_lowercase();
    let name = lower.split('(').next().unwrap_or("").trim();
    Some(match name {
        "integer" | "int" => oid::INT4,
        "smallint" => oid::INT2,
        "bigint" => oid::INT8,
        "boolean" => oid::BOOL,
        "real" => oid::FLOAT4,
        "double precision" | "float" => oid::FLOAT8,
        "decimal" | "dec" => oid::NUMERIC,
        "character varying" => oid::VARCHAR,
        "character" | "char" => oid::BPCHAR,
        "bit varying" => oid::VARBIT,
        "timestamp without time zone" => oid::TIMESTAMP,
        "timestamp with time zone" => oid::TIMESTAMPTZ,
        "time without time zone" => oid::TIME,
        "time with time zone" => oid::TIMETZ,
        _ => return None,
    })
}

/// Splits a possibly qualified, possibly quoted name as SQL would (`stringToQualifiedNameList`).
pub(super) fn split_name(text: &str) -> PgResult<Vec<String>> {
    let invalid = || PgError::new(SqlState::INVALID_NAME, "invalid name syntax");
    let mut names = Vec::new();
    let mut rest = text.trim();
    loop {
        let (name, tail) = if let Some(quoted) = rest.strip_prefix('"') {
            take_quoted(quoted).ok_or_else(invalid)?
        } else {
            let end = rest.find(|c: char| c == '.' || c.is_whitespace()).unwrap_or(rest.len());
            if end == 0 {
                return Err(invalid());
            }
            (rest[..end].to_lowercase(), &rest[end..])
        };
        names.push(name);
        let tail = tail.trim_start();
        if tail.is_empty() {
            return Ok(names);
        }
        rest = tail.strip_prefix('.').ok_or_else(invalid)?.trim_start();
    }
}

fn take_quoted(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = text;
    loop {
        let end = rest.find('"')?;
        name.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                name.push('"');
                rest = after;
            }
            None => return (!name.is_empty()).then_some((name, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_as_sql_splits_them() {
        assert_eq!(split_name("Public . \"T\"\"x\"").unwrap(), ["public", "T\"x"]);
        assert!(split_name("a..b").is_err() && split_name("").is_err() && split_name("a b").is_err());
    }

    #[test]
    fn integers_of_any_base() {
        assert_eq!(integer("0x1F"), Some(31));
        assert_eq!(integer("9223372036854775807"), Some(i64::MAX));
        assert_eq!(integer("9223372036854775808"), None);
        assert_eq!(integer("1.0"), None);
    }
}
