//! Expressions as text.
//!
//! Descriptors keep expressions in the form that PostgreSQL deparses them to (`((a > 0) AND (b < 5))`). What the
//! catalogs want of them can be read off that form without binding it.

use shardforge_types::Oid;

use super::tokens::{Kind, Token, closing, tokens};
use crate::catalog::{CatalogSnapshot, TableDesc};
use crate::func::ident::quote_identifier;

/// The attribute numbers of the columns that an expression over one table mentions, ascending.
pub fn referenced_columns(table: &TableDesc, sql: &str) -> Vec<i16> {
    let tokens = tokens(sql);
    let mut found = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        // A name before a parenthesis is a function, one after `::` a type.
        let is_call = tokens.get(i + 1).is_some_and(|next| next.kind == Kind::Open);
        let is_type = i > 0 && tokens[i - 1].kind == Kind::Cast;
        if !is_call
            && !is_type
            && let Some(name) = name(sql, token)
        {
            found.extend(table.column_by_name(&name).map(|(attnum, _)| attnum));
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// The expression with a column of the table renamed.
pub fn rename_column(sql: &str, old: &str, new: &str) -> String {
    let tokens = tokens(sql);
    let mut out = String::with_capacity(sql.len());
    let mut copied = 0;
    for (i, token) in tokens.iter().enumerate() {
        let is_call = tokens.get(i + 1).is_some_and(|next| next.kind == Kind::Open);
        let is_type = i > 0 && tokens[i - 1].kind == Kind::Cast;
        if !is_call && !is_type && name(sql, token).is_some_and(|name| name == old) {
            out.push_str(&sql[copied..token.start]);
            out.push_str(&quote_identifier(new));
            copied = token.end;
        }
    }
    out.push_str(&sql[copied..]);
    out
}

/// A stored expression as it is shown: constants of type `regclass`, which are stored by oid, as names.
pub fn shown_expression(catalog: &CatalogSnapshot, sql: &str) -> String {
    let tokens = tokens(sql);
    let mut out = String::with_capacity(sql.len());
    let mut copied = 0;
    for constant in tokens.windows(3) {
        let [object, cast, ty] = constant else { continue };
        if cast.kind == Kind::Cast
            && ty.of(sql) == "regclass"
            && let Ok(oid) = object.of(sql).parse()
            && let Some(relation) = catalog.relation(Oid(oid))
        {
            out.push_str(&sql[copied..object.start]);
            let name = quote_identifier(relation.name());
            let name = match catalog.schemas.get(&relation.schema()).map(|schema| schema.name.as_str()) {
                // PostgreSQL leaves the schema out if the search path leads there; here it is public's that is usual.
                Some("public" | "pg_catalog") | None => name,
                Some(schema) => format!("{}.{name}", quote_identifier(schema)),
            };
            out.push_str(&format!("'{}'", name.replace('\'', "''")));
            copied = object.end;
        }
    }
    out.push_str(&sql[copied..]);
    out
}

/// The name that a token stands for, if it is one.
fn name(sql: &str, token: &Token) -> Option<String> {
    let text = token.of(sql);
    match token.kind {
        Kind::Word => Some(text.to_owned()),
        Kind::Quoted => Some(text.strip_prefix('"')?.strip_suffix('"')?.replace("\"\"", "\"")),
        _ => None,
    }
}

/// The name that an index column gets from its expression: the function's, else `expr`.
pub fn expression_name(sql: &str) -> String {
    let inner = strip_parentheses(sql);
    let tokens = tokens(inner);
    let function =
        tokens.iter().position(|t| t.kind == Kind::Open).and_then(|open| tokens.get(open.checked_sub(1)?));
    let name = function.filter(|_| is_call(inner)).and_then(|token| name(inner, token));
    name.unwrap_or_else(|| "expr".to_owned())
}

/// Whether the whole expression is one call: `lower(name)`, but not `lower(a) || lower(b)`.
pub(super) fn is_call(sql: &str) -> bool {
    let tokens = tokens(sql);
    let Some(open) = tokens.iter().position(|t| t.kind == Kind::Open) else { return false };
    let is_name = |t: &Token| t.of(sql) == "." || name(sql, t).is_some();
    open > 0 && tokens[..open].iter().all(is_name) && closing(&tokens, open) + 1 == tokens.len()
}

/// Whether one pair of parentheses is around the whole expression.
pub(super) fn is_parenthesized(sql: &str) -> bool {
    let tokens = tokens(sql);
    tokens.first().is_some_and(|t| t.kind == Kind::Open) && closing(&tokens, 0) + 1 == tokens.len()
}

/// The expression without the parentheses around the whole of it.
pub(super) fn strip_parentheses(sql: &str) -> &str {
    let sql = sql.trim_matches(' ');
    if is_parenthesized(sql) { strip_parentheses(&sql[1..sql.len() - 1]) } else { sql }
}
