//! Types by name and by oid: what `typcache`, `parse_type.c` and `format_type.c` do in PostgreSQL.
//!
//! Built-in types come from the data of pg_type; the only types that users have at this stage are the row types
//! of their tables and views, and the arrays over them.

use shardforge_types::{Oid, PgError, PgResult, SqlState, oid};

use super::BindContext;
use super::literal::int_literal;
use crate::catalog::Relation;
use crate::catalog::builtin::{TypeKind, builtin};
use crate::catalog::well_known;
use crate::ir::Ty;
use crate::parse::ast;

/// `pg_type.typcategory` of strings.
pub(super) const CATEGORY_STRING: u8 = b'S';
/// `pg_type.typcategory` of `unknown`.
pub(super) const CATEGORY_UNKNOWN: u8 = b'X';

/// Whether a type is `record` or a row type.
pub(super) fn is_rowtype(cx: &BindContext<'_>, ty: Oid) -> bool {
    ty == oid::RECORD || is_composite(cx, ty)
}

/// Whether a type is a named row type.
pub(super) fn is_composite(cx: &BindContext<'_>, ty: Oid) -> bool {
    match builtin().type_by_oid(ty) {
        Some(desc) => desc.kind == TypeKind::Composite,
        None => cx.catalog.relation_of_row_type(ty).is_some(),
    }
}

/// Category and preference, as overload resolution asks for them.
pub(super) fn category(ty: Oid) -> (u8, bool) {
    match builtin().type_by_oid(ty) {
        Some(desc) => (desc.category, desc.preferred),
        // A user's row type or an array of it.
        None => (b'C', false),
    }
}

/// The type below domains.
pub(super) fn base_type(ty: Oid) -> Oid {
    builtin().base_type(ty)
}

/// The element type of a true array type.
pub(super) fn element_type(cx: &BindContext<'_>, ty: Oid) -> Option<Oid> {
    match builtin().type_by_oid(ty) {
        Some(desc) => desc.is_array().then_some(desc.elem),
        None => cx.catalog.tables().find(|table| table.array_type == ty).map(|table| table.row_type),
    }
}

/// The type of arrays of a type.
pub(super) fn array_type(cx: &BindContext<'_>, elem: Oid) -> Option<Oid> {
    match builtin().type_by_oid(elem) {
        Some(desc) => Some(desc.array).filter(|array| array.is_valid()),
        None => match cx.catalog.relation_of_row_type(elem)? {
            Relation::Table(table) => Some(table.array_type),
            _ => None,
        },
    }
}

/// The kind of a type.
pub(super) fn kind(cx: &BindContext<'_>, ty: Oid) -> TypeKind {
    match builtin().type_by_oid(ty) {
        Some(desc) => desc.kind,
        None if cx.catalog.relation_of_row_type(ty).is_some() => TypeKind::Composite,
        None => TypeKind::Base,
    }
}

/// The fields of a row type: name and type of each, in order.
pub(super) fn composite_fields(cx: &BindContext<'_>, ty: Oid) -> Option<Vec<(String, Ty)>> {
    if let Some(relation) = cx.catalog.relation_of_row_type(ty) {
        return match relation {
            Relation::Table(table) => {
                let fields = table.live_columns().map(|(_, c)| (c.name.clone(), column_ty(c)));
                Some(fields.collect())
            }
            Relation::View(view) => {
                let fields = view.columns.iter().map(|(name, oid, typmod, collation)| {
                    (name.clone(), Ty { oid: *oid, typmod: *typmod, collation: *collation })
                });
                Some(fields.collect())
            }
            _ => None,
        };
    }
    let desc = builtin().type_by_oid(ty).filter(|t| t.kind == TypeKind::Composite)?;
    let relation = crate::catalog::builtin::system_relation(desc.relid)?;
    let field = |c: &crate::catalog::builtin::SystemColumn| {
        (c.name.to_owned(), Ty { oid: c.ty, typmod: c.typmod, collation: c.collation })
    };
    Some(relation.columns.iter().map(field).collect())
}

/// The type of a table's column.
pub(super) fn column_ty(column: &crate::catalog::ColumnDesc) -> Ty {
    Ty { oid: column.ty, typmod: column.typmod, collation: column.collation }
}

/// The SQL name of a type, for messages (`format_type_be`).
pub(super) fn type_name(cx: &BindContext<'_>, ty: Oid) -> String {
    format_type(cx, ty, -1)
}

/// The SQL name of a type with its modifier, schema-qualified where the search path demands it: PostgreSQL's
/// `format_type`.
pub fn format_type(cx: &BindContext<'_>, ty: Oid, typmod: i32) -> String {
    if let Some(elem) = element_type(cx, ty) {
        return format!("{}[]", format_type(cx, elem, typmod));
    }
    let Some(desc) = builtin().type_by_oid(ty) else {
        return match cx.catalog.relation_of_row_type(ty) {
            Some(relation) => qualified(cx, relation.schema(), relation.name()),
            None => format!("type with OID {ty}"),
        };
    };
    if desc.namespace != well_known::PG_CATALOG {
        return qualified(cx, desc.namespace, &desc.name);
    }
    let with = |name: &str, suffix: &str| match typmod_out(ty, typmod) {
        Some(modifier) => format!("{name}{modifier}{suffix}"),
        None => format!("{name}{suffix}"),
    };
    match ty {
        oid::BOOL => "boolean".into(),
        oid::CHAR => "\"char\"".into(),
        oid::INT2 => "smallint".into(),
        oid::INT4 => "integer".into(),
        oid::INT8 => "bigint".into(),
        oid::FLOAT4 => "real".into(),
        oid::FLOAT8 => "double precision".into(),
        oid::BPCHAR => with("character", ""),
        oid::VARCHAR => with("character varying", ""),
        oid::BIT => with("bit", ""),
        oid::VARBIT => with("bit varying", ""),
        oid::NUMERIC => with("numeric", ""),
        oid::TIME => with("time", " without time zone"),
        oid::TIMETZ => with("time", " with time zone"),
        oid::TIMESTAMP => with("timestamp", " without time zone"),
        oid::TIMESTAMPTZ => with("timestamp", " with time zone"),
        oid::INTERVAL => with("interval", ""),
        oid::ANY => "\"any\"".into(),
        _ => super::deparse::quote_identifier(&desc.name),
    }
}

fn qualified(cx: &BindContext<'_>, schema: Oid, name: &str) -> String {
    let quoted = super::deparse::quote_identifier(name);
    if cx.search_path.contains(&schema) || cx.temp_schema == Some(schema) {
        return quoted;
    }
    match cx.catalog.schemas.get(&schema) {
        Some(desc) => format!("{}.{quoted}", super::deparse::quote_identifier(&desc.name)),
        None if schema == well_known::INFORMATION_SCHEMA => format!("information_schema.{quoted}"),
        None => quoted,
    }
}

/// The printed form of a type modifier: what the type's `typmodout` function yields.
fn typmod_out(ty: Oid, typmod: i32) -> Option<String> {
    if typmod < 0 {
        return None;
    }
    match ty {
        oid::VARCHAR | oid::BPCHAR => Some(format!("({})", typmod - 4)),
        oid::BIT | oid::VARBIT => Some(format!("({typmod})")),
        oid::TIME | oid::TIMETZ | oid::TIMESTAMP | oid::TIMESTAMPTZ => Some(format!("({typmod})")),
        oid::NUMERIC => {
            let packed = typmod - 4;
            let scale = ((packed & 0x7ff) ^ 1024) - 1024;
            Some(format!("({},{scale})", (packed >> 16) & 0xffff))
        }
        oid::INTERVAL => Some(interval_typmod_out(typmod)),
        _ => None,
    }
}

const INTERVAL_FULL_RANGE: i32 = 0x7fff;
const INTERVAL_FULL_PRECISION: i32 = 0xffff;

fn interval_typmod_out(typmod: i32) -> String {
    const YEAR: i32 = 1 << 2;
    const MONTH: i32 = 1 << 1;
    const DAY: i32 = 1 << 3;
    const HOUR: i32 = 1 << 10;
    const MINUTE: i32 = 1 << 11;
    const SECOND: i32 = 1 << 12;
    let range = (typmod >> 16) & INTERVAL_FULL_RANGE;
    let precision = typmod & 0xffff;
    let fields = match range {
        YEAR => " year",
        MONTH => " month",
        DAY => " day",
        HOUR => " hour",
        MINUTE => " minute",
        SECOND => " second",
        r if r == YEAR | MONTH => " year to month",
        r if r == DAY | HOUR => " day to hour",
        r if r == DAY | HOUR | MINUTE => " day to minute",
        r if r == DAY | HOUR | MINUTE | SECOND => " day to second",
        r if r == HOUR | MINUTE => " hour to minute",
        r if r == HOUR | MINUTE | SECOND => " hour to second",
        r if r == MINUTE | SECOND => " minute to second",
        _ => "",
    };
    match precision {
        INTERVAL_FULL_PRECISION => fields.to_owned(),
        _ => format!("{fields}({precision})"),
    }
}

/// The type that a [`ast::TypeName`] means (`typenameTypeIdAndMod`).
pub(super) fn resolve_type_name(cx: &BindContext<'_>, name: &ast::TypeName) -> PgResult<Ty> {
    let ty = lookup_type_name(cx, name)?.ok_or_else(|| {
        PgError::new(SqlState::UNDEFINED_OBJECT, format!("type \"{}\" does not exist", type_name_text(name)))
            .at(name.pos)
    })?;
    let typmod = resolve_typmod(cx, name, ty)?;
    if name.array_bounds.is_empty() {
        return Ok(Ty::new(ty).with_typmod(typmod));
    }
    let array = if element_type(cx, ty).is_some() { Some(ty) } else { array_type(cx, ty) };
    let array = array.ok_or_else(|| {
        let message = format!("could not find array type for data type {}", type_name(cx, ty));
        PgError::new(SqlState::UNDEFINED_OBJECT, message).at(name.pos)
    })?;
    Ok(Ty::new(array).with_typmod(typmod))
}

fn type_name_text(name: &ast::TypeName) -> String {
    let mut text = name.names.join(".");
    if name.pct_type {
        text.push_str("%TYPE");
    }
    if !name.array_bounds.is_empty() {
        text.push_str("[]");
    }
    text
}

fn lookup_type_name(cx: &BindContext<'_>, name: &ast::TypeName) -> PgResult<Option<Oid>> {
    if name.pct_type {
        return Err(PgError::not_supported("%TYPE references are not supported")
            .hint("Write the column's type instead.")
            .at(name.pos));
    }
    let names: Vec<&str> = name.names.iter().map(|n| &**n).collect();
    lookup_type(cx, &names).map_err(|e| e.or_at(name.pos))
}

/// A type by its dotted name.
pub(super) fn lookup_type(cx: &BindContext<'_>, names: &[&str]) -> PgResult<Option<Oid>> {
    match names {
        [name] => Ok(type_schemas(cx).find_map(|schema| type_in_schema(cx, schema, name))),
        [schema, name] | [_, schema, name] => {
            if let [database, _, _] = names {
                super::relation::check_database(cx, database, &names.join("."))?;
            }
            let schema = super::relation::schema_oid(cx, schema)?;
            Ok(type_in_schema(cx, schema, name))
        }
        _ => Err(PgError::new(
            SqlState::SYNTAX_ERROR,
            format!("improper qualified name (too many dotted names): {}", names.join(".")),
        )),
    }
}

/// The schemas that unqualified names are looked for in, in order.
pub(super) fn type_schemas<'c>(cx: &'c BindContext<'_>) -> impl Iterator<Item = Oid> + use<'c> {
    let implicit = (!cx.search_path.contains(&well_known::PG_CATALOG)).then_some(well_known::PG_CATALOG);
    cx.temp_schema.into_iter().chain(implicit).chain(cx.search_path.iter().copied())
}

fn type_in_schema(cx: &BindContext<'_>, schema: Oid, name: &str) -> Option<Oid> {
    if let Some(desc) = builtin().type_by_name(schema, name) {
        return Some(desc.oid);
    }
    match cx.catalog.relation_by_name(schema, name) {
        Some(Relation::Table(table)) => Some(table.row_type),
        Some(Relation::View(view)) => Some(view.row_type),
        _ => {
            let table = cx.catalog.relation_by_name(schema, name.strip_prefix('_')?);
            match table {
                Some(Relation::Table(table)) => Some(table.array_type),
                _ => None,
            }
        }
    }
}

/// Reads the modifiers of a type name: what the type's `typmodin` function does.
fn resolve_typmod(cx: &BindContext<'_>, name: &ast::TypeName, ty: Oid) -> PgResult<i32> {
    if name.typmods.is_empty() {
        return Ok(-1);
    }
    let at = |e: PgError| e.or_at(name.pos);
    let takes_modifier = builtin().type_by_oid(ty).is_some_and(|t| t.modin.is_valid());
    if !takes_modifier {
        let message =
            format!("type modifier is not allowed for type \"{}\"", type_name_text_plain(cx, name, ty));
        return Err(at(PgError::new(SqlState::SYNTAX_ERROR, message)));
    }
    let mut values = Vec::with_capacity(name.typmods.len());
    for modifier in &name.typmods {
        values.push(int_literal(modifier).ok_or_else(|| {
            at(PgError::new(SqlState::SYNTAX_ERROR, "type modifiers must be simple constants or identifiers"))
        })?);
    }
    typmod_in(ty, &values).map_err(at)
}

fn type_name_text_plain(cx: &BindContext<'_>, name: &ast::TypeName, ty: Oid) -> String {
    match builtin().type_by_oid(ty) {
        Some(desc) if name.names.len() == 1 => desc.name.to_string(),
        Some(desc) => desc.name.to_string(),
        None => type_name(cx, ty),
    }
}

fn typmod_in(ty: Oid, values: &[i32]) -> PgResult<i32> {
    let invalid = |message: String| Err(PgError::new(SqlState::INVALID_PARAMETER_VALUE, message));
    let one = |what: &str| match values {
        [n] => Ok(*n),
        _ => Err(PgError::new(SqlState::INVALID_PARAMETER_VALUE, what.to_owned())),
    };
    match ty {
        oid::VARCHAR | oid::BPCHAR => {
            let what = if ty == oid::VARCHAR { "varchar" } else { "char" };
            let n = one("invalid type modifier")?;
            match n {
                ..1 => invalid(format!("length for type {what} must be at least 1")),
                10_485_761.. => invalid(format!("length for type {what} cannot exceed 10485760")),
                _ => Ok(n + 4),
            }
        }
        oid::BIT | oid::VARBIT => {
            let what = if ty == oid::BIT { "bit" } else { "varbit" };
            let n = one("invalid type modifier")?;
            match n {
                ..1 => invalid(format!("length for type {what} must be at least 1")),
                83_886_081.. => invalid(format!("length for type {what} cannot exceed 83886080")),
                _ => Ok(n),
            }
        }
        oid::NUMERIC => numeric_typmod_in(values),
        oid::TIME | oid::TIMETZ | oid::TIMESTAMP | oid::TIMESTAMPTZ => {
            let n = one("invalid type modifier")?;
            let (what, zone) = match ty {
                oid::TIME => ("TIME", ""),
                oid::TIMETZ => ("TIME", " WITH TIME ZONE"),
                oid::TIMESTAMP => ("TIMESTAMP", ""),
                _ => ("TIMESTAMP", " WITH TIME ZONE"),
            };
            if n < 0 {
                return invalid(format!("{what}({n}){zone} precision must not be negative"));
            }
            Ok(n.min(6))
        }
        oid::INTERVAL => match values {
            [range] if *range == INTERVAL_FULL_RANGE => Ok(-1),
            [range] => Ok(((range & INTERVAL_FULL_RANGE) << 16) | INTERVAL_FULL_PRECISION),
            [_, precision] if *precision < 0 => {
                invalid(format!("INTERVAL({precision}) precision must not be negative"))
            }
            [range, precision] => Ok(((range & INTERVAL_FULL_RANGE) << 16) | (*precision).min(6)),
            _ => invalid("invalid INTERVAL type modifier".into()),
        },
        _ => invalid("invalid type modifier".into()),
    }
}

fn numeric_typmod_in(values: &[i32]) -> PgResult<i32> {
    let invalid = |message: String| Err(PgError::new(SqlState::INVALID_PARAMETER_VALUE, message));
    let (precision, scale) = match values {
        [p] => (*p, 0),
        [p, s] => (*p, *s),
        _ => return invalid("invalid NUMERIC type modifier".into()),
    };
    if !(1..=1000).contains(&precision) {
        return invalid(format!("NUMERIC precision {precision} must be between 1 and 1000"));
    }
    if !(-1000..=1000).contains(&scale) {
        return invalid(format!("NUMERIC scale {scale} must be between -1000 and 1000"));
    }
    Ok(((precision << 16) | (scale & 0x7ff)) + 4)
}
