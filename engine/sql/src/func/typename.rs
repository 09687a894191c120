//! Types as text: `format_type`, and the types that `regtype` reads.

use shardforge_types::{Oid, PgError, PgResult, SqlState, oid};

use super::ident::split_qualified;
use crate::catalog::Relation;
use crate::catalog::builtin::builtin;
use crate::catalog::well_known::PG_CATALOG;
use crate::exec::env::EvalEnv;
use crate::func::ident::quote_identifier;

/// The size of the header that PostgreSQL adds to lengths in type modifiers.
const HEADER: i32 = 4;

/// The SQL name of a type with its modifier, as `format_type(oid, typmod)`. `Some(-1)` is not the same as None: it
/// tells `bpchar` from `character(1)`.
pub(crate) fn format(ty: Oid, typmod: Option<i32>, env: &EvalEnv) -> String {
    if ty.0 == 0 {
        return "-".to_owned();
    }
    let desc = builtin().type_by_oid(ty);
    if let Some(desc) = desc.filter(|desc| desc.is_array()) {
        return format!("{}[]", format(desc.elem, typmod, env));
    }
    let modifier = typmod.filter(|typmod| *typmod >= 0);
    let in_parentheses = |number: Option<i32>| number.map(|n| format!("({n})")).unwrap_or_default();
    let length = in_parentheses(modifier.map(|typmod| typmod - HEADER));
    let precision = in_parentheses(modifier);
    match ty {
        oid::BIT => format!("bit{precision}"),
        oid::VARBIT => format!("bit varying{precision}"),
        oid::BOOL => "boolean".to_owned(),
        oid::BPCHAR if typmod == Some(-1) => "bpchar".to_owned(),
        oid::BPCHAR => format!("character{length}"),
        oid::VARCHAR => format!("character varying{length}"),
        oid::FLOAT4 => "real".to_owned(),
        oid::FLOAT8 => "double precision".to_owned(),
        oid::INT2 => "smallint".to_owned(),
        oid::INT4 => "integer".to_owned(),
        oid::INT8 => "bigint".to_owned(),
        oid::NUMERIC => format!("numeric{}", modifier.map(numeric_modifier).unwrap_or_default()),
        oid::INTERVAL => format!("interval{}", modifier.map(interval_modifier).unwrap_or_default()),
        oid::TIME => format!("time{precision} without time zone"),
        oid::TIMETZ => format!("time{precision} with time zone"),
        oid::TIMESTAMP => format!("timestamp{precision} without time zone"),
        oid::TIMESTAMPTZ => format!("timestamp{precision} with time zone"),
        oid::CHAR => "\"char\"".to_owned(),
        _ => match desc {
            Some(desc) if desc.namespace == PG_CATALOG => quote_identifier(&desc.name),
            Some(desc) => {
                let schema = env
                    .catalog
                    .schemas
                    .get(&desc.namespace)
                    .map_or("information_schema", |s| s.name.as_str());
                format!("{}.{}", quote_identifier(schema), quote_identifier(&desc.name))
            }
            None => row_type_name(ty, env).unwrap_or_else(|| "???".to_owned()),
        },
    }
}

/// `(p,s)`: the scale is 11 bits, signed.
fn numeric_modifier(typmod: i32) -> String {
    let packed = typmod - HEADER;
    let (precision, scale) = ((packed >> 16) & 0xFFFF, ((packed & 0x7FF) ^ 1024) - 1024);
    format!("({precision},{scale})")
}

/// ` day to second(3)`: the fields as a bit mask above the precision.
fn interval_modifier(typmod: i32) -> String {
    const FULL_PRECISION: i32 = 0xFFFF;
    const FIELDS: &[(i32, &str)] = &[
        (1 << 2, " year"),
        (1 << 1, " month"),
        (1 << 3, " day"),
        (1 << 10, " hour"),
        (1 << 11, " minute"),
        (1 << 12, " second"),
        (1 << 2 | 1 << 1, " year to month"),
        (1 << 3 | 1 << 10, " day to hour"),
        (1 << 3 | 1 << 10 | 1 << 11, " day to minute"),
        (1 << 3 | 1 << 10 | 1 << 11 | 1 << 12, " day to second"),
        (1 << 10 | 1 << 11, " hour to minute"),
        (1 << 10 | 1 << 11 | 1 << 12, " hour to second"),
        (1 << 11 | 1 << 12, " minute to second"),
    ];
    let (range, precision) = ((typmod >> 16) & 0x7FFF, typmod & 0xFFFF);
    let fields = FIELDS.iter().find(|(mask, _)| *mask == range).map_or("", |(_, name)| name);
    if precision == FULL_PRECISION { fields.to_owned() } else { format!("{fields}({precision})") }
}

/// The name of a table's row type or of the array type over it.
fn row_type_name(ty: Oid, env: &EvalEnv) -> Option<String> {
    if let Some(relation) = env.catalog.relation_of_row_type(ty) {
        return Some(qualified_if_hidden(relation, env));
    }
    let table = env.catalog.tables().find(|table| table.array_type == ty)?;
    Some(format!("{}[]", qualified_if_hidden(env.catalog.relation(table.oid)?, env)))
}

fn qualified_if_hidden(relation: &Relation, env: &EvalEnv) -> String {
    if super::regtypes::relation_is_visible(relation.oid(), env) {
        return quote_identifier(relation.name());
    }
    let schema = env.catalog.schemas.get(&relation.schema()).map_or("", |schema| schema.name.as_str());
    format!("{}.{}", quote_identifier(schema), quote_identifier(relation.name()))
}

/// Reads a type name as SQL writes it: `varchar(10)`, `timestamp with time zone`, `public.t[]`. None if there is no
/// such type; an error if it is malformed.
pub(crate) fn parse(text: &str, env: &EvalEnv) -> PgResult<Option<(Oid, i32)>> {
    let malformed = || {
        PgError::new(SqlState::SYNTAX_ERROR, format!("syntax error at or near \"{}\"", text.trim()))
            .context(format!("invalid type name \"{text}\""))
    };
    let mut rest = text.trim();
    let mut is_array = false;
    while let Some(inner) = rest.strip_suffix(']') {
        let open = inner.rfind('[').ok_or_else(malformed)?;
        if !inner[open + 1..].trim().bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(malformed());
        }
        is_array = true;
        rest = inner[..open].trim_end();
    }
    if rest.is_empty() {
        return Err(malformed());
    }
    let (name, modifiers) = split_modifiers(rest).ok_or_else(malformed)?;
    let base = match keyword_type(&name, &modifiers) {
        Some(found) => Some(found),
        None => named(&name, env)?.map(|ty| (ty, -1)),
    };
    Ok(base.and_then(|(ty, typmod)| {
        if !is_array {
            return Some((ty, typmod));
        }
        let array = match builtin().type_by_oid(ty) {
            Some(desc) => desc.array,
            None => match env.catalog.relation_of_row_type(ty)? {
                Relation::Table(table) => table.array_type,
                _ => return None,
            },
        };
        (array.0 != 0).then_some((array, typmod))
    }))
}

/// Takes `(n, m)` out of the name, wherever it stands: `timestamp(3) with time zone`.
fn split_modifiers(text: &str) -> Option<(String, Vec<i32>)> {
    let Some(open) = text.find('(') else { return Some((text.to_owned(), Vec::new())) };
    let close = open + text[open..].find(')')?;
    let numbers: Option<Vec<i32>> =
        text[open + 1..close].split(',').map(|number| number.trim().parse().ok()).collect();
    Some((
        format!("{} {}", text[..open].trim_end(), text[close + 1..].trim_start()).trim().to_owned(),
        numbers?,
    ))
}

/// The types whose names are SQL syntax rather than identifiers.
fn keyword_type(name: &str, modifiers: &[i32]) -> Option<(Oid, i32)> {
    let words: Vec<String> = name.split_whitespace().map(str::to_ascii_lowercase).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let length = modifiers.first().map_or(-1, |n| n.saturating_add(HEADER));
    let precision = modifiers.first().copied().unwrap_or(-1);
    Some(match words.as_slice() {
        ["int" | "integer"] => (oid::INT4, -1),
        ["smallint"] => (oid::INT2, -1),
        ["bigint"] => (oid::INT8, -1),
        ["real"] => (oid::FLOAT4, -1),
        ["double", "precision"] => (oid::FLOAT8, -1),
        ["float"] if (1..=24).contains(&precision) => (oid::FLOAT4, -1),
        ["float"] => (oid::FLOAT8, -1),
        ["boolean"] => (oid::BOOL, -1),
        ["decimal" | "dec" | "numeric"] => match modifiers {
            [] => (oid::NUMERIC, -1),
            [precision] => (oid::NUMERIC, (precision << 16) + HEADER),
            [precision, scale, ..] => (oid::NUMERIC, ((precision << 16) | (scale & 0x7FF)) + HEADER),
        },
        ["character" | "char" | "nchar", "varying"] | ["varchar"] => (oid::VARCHAR, length),
        ["national", "character" | "char", "varying"] => (oid::VARCHAR, length),
        ["character" | "char" | "nchar"] | ["national", "character" | "char"] => {
            (oid::BPCHAR, if modifiers.is_empty() { 1 + HEADER } else { length })
        }
        ["bpchar"] => (oid::BPCHAR, length),
        ["bit", "varying"] => (oid::VARBIT, precision),
        ["bit"] => (oid::BIT, if modifiers.is_empty() { 1 } else { precision }),
        ["time"] | ["time", "without", "time", "zone"] => (oid::TIME, precision),
        ["time", "with", "time", "zone"] => (oid::TIMETZ, precision),
        ["timestamp"] | ["timestamp", "without", "time", "zone"] => (oid::TIMESTAMP, precision),
        ["timestamp", "with", "time", "zone"] => (oid::TIMESTAMPTZ, precision),
        ["interval"] => (oid::INTERVAL, modifiers.first().map_or(-1, |p| (0x7FFF << 16) | p)),
        ["json"] => (oid::JSON, -1),
        _ => return None,
    })
}

fn named(name: &str, env: &EvalEnv) -> PgResult<Option<Oid>> {
    let parts = split_qualified(name)?;
    let in_schema = |schema: Oid, name: &str| {
        let row_type = |relation: &Relation| match relation {
            Relation::Table(table) => Some(table.row_type),
            Relation::View(view) => Some(view.row_type),
            Relation::Index(..) | Relation::Sequence(_) => None,
        };
        let built_in = builtin().type_by_name(schema, name).map(|desc| desc.oid);
        built_in.or_else(|| env.catalog.relation_by_name(schema, name).and_then(row_type))
    };
    match parts.as_slice() {
        [name] => {
            let first = in_schema(PG_CATALOG, name);
            Ok(first.or_else(|| env.search_path.iter().find_map(|schema| in_schema(*schema, name))))
        }
        [schema, name] => match env.catalog.schema_by_name(schema) {
            Some(schema) => Ok(in_schema(schema.oid, name)),
            None => Err(PgError::new(
                SqlState::INVALID_SCHEMA_NAME,
                format!("schema \"{schema}\" does not exist"),
            )),
        },
        _ => Err(PgError::new(
            SqlState::SYNTAX_ERROR,
            format!("improper qualified name (too many dotted names): {name}"),
        )),
    }
}
