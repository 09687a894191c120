//! Functions over names: of schemas, types and collations, and identifiers inside strings.

use std::sync::Arc;

use shardforge_types::{ArrayValue, Datum, Oid, PgError, PgResult, RecordValue, SqlState, oid};

use super::args::Args;
use super::registry::KernelTable;
use super::{regtypes, typename};
use crate::catalog::builtin::builtin;
use crate::catalog::well_known::PG_CATALOG;
use crate::exec::env::EvalEnv;
use crate::func::CallInfo;
use crate::func::ident::quote_identifier;
use crate::ir::Ty;

#[rustfmt::skip]
pub(super) const KERNELS: KernelTable = &[
    ("current_schemas", current_schemas),
    ("text_regclass", |a, _, env| regtypes::input(oid::REGCLASS, a.text(0)?, env)),
    ("to_regtypemod", |a, _, env| {
        Ok(typename::parse(a.text(0)?, env).ok().flatten().map_or(Datum::Null, |(_, typmod)| Datum::Int4(typmod)))
    }),
    ("pg_basetype", |a, _, _| {
        let ty = Oid(a.oid(0)?);
        Ok(builtin().type_by_oid(ty).map_or(Datum::Null, |_| Datum::Oid(builtin().base_type(ty).0)))
    }),
    ("pg_collation_for", collation_for),
    ("oidvectortypes", |a, _, env| {
        let types = a.array(0)?.elements.iter().filter_map(Datum::as_i64);
        let names: Vec<String> = types.map(|ty| typename::format(Oid(ty as u32), None, env)).collect();
        Ok(Datum::text(names.join(", ")))
    }),
    ("parse_ident", |a, _, _| parse_identifier(a.text(0)?, a.bool(1)?)),
    ("unistr", |a, _, _| unescape(a.text(0)?).map(Datum::text)),
    ("pg_input_is_valid", |a, _, env| Ok(Datum::Bool(try_input(a.text(0)?, a.text(1)?, env)?.is_none()))),
    ("pg_input_error_info", |a, _, env| {
        let text = |text: Option<String>| text.map_or(Datum::Null, Datum::text);
        let fields = match try_input(a.text(0)?, a.text(1)?, env)? {
            None => vec![Datum::Null; 4],
            Some(error) => vec![
                Datum::text(error.message.clone()),
                text(error.detail.clone()),
                text(error.hint.clone()),
                Datum::text(error.sqlstate.code()),
            ],
        };
        Ok(Datum::Record(Arc::new(RecordValue { types: vec![oid::TEXT; 4], fields })))
    }),
];

/// What reading a text as a value of a type raises, if anything.
fn try_input(text: &str, type_name: &str, env: &EvalEnv) -> PgResult<Option<PgError>> {
    let (ty, typmod) = typename::parse(type_name, env)?.ok_or_else(|| {
        PgError::new(SqlState::UNDEFINED_OBJECT, format!("type \"{type_name}\" does not exist"))
    })?;
    Ok(super::input(ty, typmod, text, env).err())
}

fn names(list: Vec<String>) -> Datum {
    let elements = list.into_iter().map(Datum::text).collect();
    Datum::Array(Arc::new(ArrayValue::from_elements(oid::NAME, elements)))
}

/// The search path, with or without the schemas that are searched unasked.
pub(super) fn current_schemas(args: &[Datum], _: &CallInfo, env: &EvalEnv) -> PgResult<Datum> {
    let implicit = args.bool(0)?;
    let setting = env.session.settings.get("search_path").unwrap_or_default();
    let is_listed = |schema: &Oid| match *schema {
        PG_CATALOG => setting.split(',').any(|name| name.trim().trim_matches('"') == "pg_catalog"),
        schema => Some(schema) != env.session.temp_schema,
    };
    let schemas = env.search_path.iter().filter(|schema| implicit || is_listed(schema));
    let found =
        schemas.filter_map(|schema| env.catalog.schemas.get(schema)).map(|schema| schema.name.clone());
    Ok(names(found.collect()))
}

fn collation_for(args: &[Datum], info: &CallInfo, _: &EvalEnv) -> PgResult<Datum> {
    let ty = info.arg_types.first().copied().unwrap_or(Ty::new(oid::UNKNOWN));
    let collation = match ty.collation {
        Oid(0) if args.datum(0).is_null() => return Ok(Datum::Null),
        Oid(0) => {
            let message =
                format!("collations are not supported by type {}", shardforge_types::type_name(ty.oid));
            return Err(PgError::new(SqlState::DATATYPE_MISMATCH, message));
        }
        Ty::C_COLLATION => "C",
        _ => "default",
    };
    Ok(Datum::text(quote_identifier(collation)))
}

/// `parse_ident(text, strict)`: the parts of a qualified identifier; what follows it is an error if `strict`.
fn parse_identifier(text: &str, strict: bool) -> PgResult<Datum> {
    let invalid = || {
        let message = format!("string is not a valid identifier: \"{text}\"");
        PgError::new(SqlState::INVALID_PARAMETER_VALUE, message)
    };
    let mut parts = Vec::new();
    let mut rest = text.trim_start();
    let mut after_dot = false;
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let (part, after) = super::ident::quoted_part(quoted)
                .ok_or_else(|| invalid().detail("String has unclosed double quotes."))?;
            if part.is_empty() {
                return Err(invalid().detail("Quoted identifier must not be empty."));
            }
            parts.push(part);
            rest = after;
        } else if rest.starts_with(|c: char| c.is_alphabetic() || c == '_' || !c.is_ascii()) {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()));
            let (part, after) = rest.split_at(end.unwrap_or(rest.len()));
            parts.push(part.to_lowercase());
            rest = after;
        } else {
            return Err(match rest.chars().next() {
                Some('.') => invalid().detail("No valid identifier before \".\"."),
                _ if after_dot => invalid().detail("No valid identifier after \".\"."),
                _ => invalid(),
            });
        }
        rest = rest.trim_start();
        match rest.strip_prefix('.') {
            Some(more) => {
                after_dot = true;
                rest = more.trim_start();
            }
            None if rest.is_empty() || !strict => break,
            None => return Err(invalid()),
        }
    }
    let elements = parts.into_iter().map(Datum::text).collect();
    Ok(Datum::Array(Arc::new(ArrayValue::from_elements(oid::TEXT, elements))))
}

/// Replaces `\XXXX`, `\+XXXXXX`, `\uXXXX` and `\UXXXXXXXX` by the characters that they name.
fn unescape(text: &str) -> PgResult<String> {
    let invalid = || {
        PgError::new(SqlState::SYNTAX_ERROR, "invalid Unicode escape")
            .hint("Unicode escapes must be \\XXXX, \\+XXXXXX, \\uXXXX, or \\UXXXXXXXX.")
    };
    let pair = || PgError::new(SqlState::SYNTAX_ERROR, "invalid Unicode surrogate pair");
    let mut out = String::with_capacity(text.len());
    let mut high: Option<u32> = None;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c != '\\' {
            if high.is_some() {
                return Err(pair());
            }
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        }
        let after = &rest[1..];
        if let Some(after) = after.strip_prefix('\\') {
            out.push('\\');
            rest = after;
            continue;
        }
        let (skip, digits) = match after.as_bytes().first() {
            Some(b'+') => (1, 6),
            Some(b'u') => (1, 4),
            Some(b'U') => (1, 8),
            _ => (0, 4),
        };
        let code = after.get(skip..skip + digits).filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = code.and_then(|hex| u32::from_str_radix(hex, 16).ok()).ok_or_else(invalid)?;
        rest = &after[skip + digits..];
        let code = match (high.take(), code) {
            (None, 0xD800..0xDC00) => {
                high = Some(code);
                continue;
            }
            (Some(high), 0xDC00..0xE000) => 0x10000 + ((high - 0xD800) << 10) + (code - 0xDC00),
            (Some(_), _) | (None, 0xDC00..0xE000) => return Err(pair()),
            (None, code) => code,
        };
        let c = char::from_u32(code)
            .filter(|c| *c != '\0')
            .ok_or_else(|| PgError::new(SqlState::INVALID_PARAMETER_VALUE, "invalid Unicode code point"))?;
        out.push(c);
    }
    if high.is_some() { Err(pair()) } else { Ok(out) }
}
