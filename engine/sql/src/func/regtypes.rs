//! Names behind the reg* types: `regclass`, `regtype`, `regproc`, `regprocedure`, `regoper`, `regoperator`,
//! `regnamespace`, `regrole`, `regcollation`.
//!
//! A name is looked up along the search path, and printed without its schema where the search path would find it
//! again. Numbers and `-` (for 0) are accepted and printed as PostgreSQL does.

use shardforge_types::{Datum, Oid, PgError, PgResult, SqlState, oid};

use crate::catalog::builtin::{self, ProcKind, builtin};
use crate::catalog::well_known::PG_CATALOG;
use crate::exec::env::EvalEnv;
use crate::func::ident::quote_identifier;
use crate::func::ident::split_qualified;
use crate::func::typename;

/// Whether values of the type are written as names of catalog objects.
pub(super) fn is_reg(ty: Oid) -> bool {
    matches!(
        ty,
        oid::REGCLASS
            | oid::REGTYPE
            | oid::REGPROC
            | oid::REGPROCEDURE
            | oid::REGOPER
            | oid::REGOPERATOR
            | oid::REGNAMESPACE
            | oid::REGROLE
            | oid::REGCOLLATION
    )
}

/// Reads a name (or number) of one of the reg* types.
pub(super) fn input(ty: Oid, text: &str, env: &EvalEnv) -> PgResult<Datum> {
    if text == "-" {
        return Ok(Datum::Oid(0));
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return shardforge_types::input(oid::OID, -1, text, &env.io);
    }
    lookup(ty, text, env)?.map(|found| Datum::Oid(found.0)).ok_or_else(|| missing(ty, text))
}

/// The object that a name means; None if there is none. Malformed names are errors.
pub(super) fn lookup(ty: Oid, text: &str, env: &EvalEnv) -> PgResult<Option<Oid>> {
    match ty {
        oid::REGCLASS => relation(text, env),
        oid::REGTYPE => Ok(typename::parse(text, env)?.map(|(ty, _)| ty)),
        oid::REGPROC => function(text, env),
        oid::REGPROCEDURE => function_with_args(text, env),
        oid::REGOPER => operator(text, env),
        oid::REGOPERATOR => operator_with_args(text, env),
        oid::REGNAMESPACE => Ok(env.catalog.schema_by_name(&single(text)?).map(|schema| schema.oid)),
        oid::REGROLE => Ok(env.catalog.cluster.role_by_name(&single(text)?).map(|role| role.oid)),
        oid::REGCOLLATION => collation(text, env),
        _ => Err(PgError::internal(format!("type {ty} is no reg type"))),
    }
}

/// The relation that a possibly qualified name means.
pub(crate) fn relation(text: &str, env: &EvalEnv) -> PgResult<Option<Oid>> {
    let parts = split_qualified(text)?;
    let (schema, name) = match parts.as_slice() {
        [name] => (None, name),
        [schema, name] => (Some(schema), name),
        [database, schema, name] if is_current_database(database, env) => (Some(schema), name),
        [_, _, _] => {
            let message = format!("cross-database references are not implemented: {}", text.replace('"', ""));
            return Err(PgError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
        }
        _ => {
            let message = format!("improper relation name (too many dotted names): {text}");
            return Err(PgError::new(SqlState::SYNTAX_ERROR, message));
        }
    };
    let in_schema = |schema: Oid| {
        let stored = env.catalog.relation_by_name(schema, name).map(|relation| relation.oid());
        stored.or_else(|| builtin::system_relation_by_name(schema, name).map(|relation| relation.oid))
    };
    match schema {
        Some(schema) => Ok(env.catalog.schema_by_name(schema).and_then(|schema| in_schema(schema.oid))),
        None => Ok(env.search_path.iter().copied().find_map(in_schema).or_else(|| in_schema(PG_CATALOG))),
    }
}

fn is_current_database(name: &str, env: &EvalEnv) -> bool {
    env.catalog.cluster.databases.get(&env.catalog.database).is_some_and(|database| database.name == name)
}

fn single(text: &str) -> PgResult<String> {
    let mut parts = split_qualified(text)?;
    match parts.len() {
        1 => Ok(parts.swap_remove(0)),
        _ => Err(PgError::new(SqlState::INVALID_NAME, "invalid name syntax")),
    }
}

/// A name that may have a schema before it. None if there is no such schema.
fn qualified(text: &str, env: &EvalEnv) -> PgResult<Option<(Option<Oid>, String)>> {
    let invalid = || PgError::new(SqlState::INVALID_NAME, "invalid name syntax");
    let mut parts = split_qualified(text)?;
    let name = parts.pop().ok_or_else(invalid)?;
    Ok(match parts.last() {
        None => Some((None, name)),
        Some(schema) => env.catalog.schema_by_name(schema).map(|schema| (Some(schema.oid), name)),
    })
}

fn function(text: &str, env: &EvalEnv) -> PgResult<Option<Oid>> {
    let Some((schema, name)) = qualified(text, env)? else { return Ok(None) };
    let named = builtin().procs_by_name(&name);
    let mut found = named
        .iter()
        .filter(|proc| proc.kind != ProcKind::Procedure && schema.is_none_or(|s| s == proc.namespace));
    match (found.next(), found.next()) {
        (None, _) => Ok(None),
        (Some(only), None) => Ok(Some(only.oid)),
        _ => Err(PgError::new(
            SqlState::AMBIGUOUS_FUNCTION,
            format!("more than one function named \"{text}\""),
        )),
    }
}

/// Splits `name(arg, arg)` into what is before the parenthesis and the argument types.
fn signature<'t>(text: &'t str, env: &EvalEnv) -> PgResult<(&'t str, Vec<Oid>)> {
    let malformed = |message: &str| PgError::new(SqlState::INVALID_TEXT_REPRESENTATION, message.to_owned());
    let open = text.find('(').ok_or_else(|| malformed("expected a left parenthesis"))?;
    let args = text[open + 1..]
        .trim_end()
        .strip_suffix(')')
        .ok_or_else(|| malformed("expected a right parenthesis"))?;
    let name = &text[..open];
    let mut types = Vec::new();
    for arg in args.split(',').map(str::trim).filter(|arg| !arg.is_empty()) {
        if arg.eq_ignore_ascii_case("none") {
            types.push(Oid(0));
            continue;
        }
        let found = typename::parse(arg, env)?;
        types.push(found.ok_or_else(|| missing(oid::REGTYPE, arg))?.0);
    }
    Ok((name, types))
}

fn function_with_args(text: &str, env: &EvalEnv) -> PgResult<Option<Oid>> {
    let (name, types) = signature(text, env)?;
    let Some((schema, name)) = qualified(name, env)? else { return Ok(None) };
    let found = builtin()
        .procs_by_name(&name)
        .iter()
        .find(|proc| *proc.args == *types && schema.is_none_or(|s| s == proc.namespace));
    Ok(found.map(|proc| proc.oid))
}

/// The name of an operator without its schema; None if that is not where operators are.
fn operator_name<'t>(text: &'t str, env: &EvalEnv) -> Option<&'t str> {
    match text.rsplit_once('.') {
        None => Some(text),
        Some((schema, name)) => {
            let schema = env.catalog.schema_by_name(schema)?;
            (schema.oid == PG_CATALOG).then_some(name)
        }
    }
}

fn operator(text: &str, env: &EvalEnv) -> PgResult<Option<Oid>> {
    let Some(name) = operator_name(text, env) else { return Ok(None) };
    match builtin().operators_by_name(name) {
        [] => Ok(None),
        [only] => Ok(Some(only.oid)),
        _ => Err(PgError::new(SqlState::AMBIGUOUS_FUNCTION, format!("more than one operator named {text}"))),
    }
}

fn operator_with_args(text: &str, env: &EvalEnv) -> PgResult<Option<Oid>> {
    let (name, types) = signature(text, env)?;
    let [left, right] = types.as_slice() else {
        let error = PgError::new(SqlState::UNDEFINED_PARAMETER, "missing argument");
        return Err(error.hint("Use NONE to denote the missing argument of a unary operator."));
    };
    let Some(name) = operator_name(name.trim(), env) else { return Ok(None) };
    Ok(builtin().operator_exact(name, *left, *right).map(|operator| operator.oid))
}

/// The collations that a fresh PostgreSQL has.
const COLLATIONS: &[(u32, &str)] = &[
    (100, "default"),
    (811, "pg_c_utf8"),
    (950, "C"),
    (951, "POSIX"),
    (962, "ucs_basic"),
    (963, "unicode"),
    (6411, "pg_unicode_fast"),
];

fn collation(text: &str, env: &EvalEnv) -> PgResult<Option<Oid>> {
    let Some((None | Some(PG_CATALOG), name)) = qualified(text, env)? else { return Ok(None) };
    Ok(COLLATIONS.iter().find(|(_, known)| *known == name).map(|(oid, _)| Oid(*oid)))
}

#[cold]
fn missing(ty: Oid, text: &str) -> PgError {
    let (state, message) = match ty {
        oid::REGCLASS => (SqlState::UNDEFINED_TABLE, format!("relation \"{text}\" does not exist")),
        oid::REGTYPE => (SqlState::UNDEFINED_OBJECT, format!("type \"{text}\" does not exist")),
        oid::REGPROC | oid::REGPROCEDURE => {
            (SqlState::UNDEFINED_FUNCTION, format!("function \"{text}\" does not exist"))
        }
        oid::REGOPER | oid::REGOPERATOR => {
            (SqlState::UNDEFINED_FUNCTION, format!("operator does not exist: {text}"))
        }
        oid::REGNAMESPACE => (SqlState::INVALID_SCHEMA_NAME, format!("schema \"{text}\" does not exist")),
        oid::REGROLE => (SqlState::UNDEFINED_OBJECT, format!("role \"{text}\" does not exist")),
        _ => {
            (SqlState::UNDEFINED_OBJECT, format!("collation \"{text}\" for encoding \"UTF8\" does not exist"))
        }
    };
    PgError::new(state, message)
}

/// How an object prints as one of the reg* types: its name, or its number if there is no such object.
pub(super) fn output(ty: Oid, object: Oid, env: &EvalEnv) -> String {
    if object.0 == 0 {
        return "-".to_owned();
    }
    let name = match ty {
        oid::REGCLASS => relation_name(object, env),
        oid::REGTYPE => Some(typename::format(object, None, env)).filter(|name| name != "???"),
        oid::REGPROC => builtin().proc_by_oid(object).map(|proc| {
            let unique = builtin().procs_by_name(proc.name).len() == 1;
            qualify(proc.namespace, proc.name, unique && proc.namespace == PG_CATALOG, env)
        }),
        oid::REGPROCEDURE => builtin().proc_by_oid(object).map(|proc| {
            let args: Vec<String> = proc.args.iter().map(|ty| typename::format(*ty, None, env)).collect();
            let name = qualify(proc.namespace, proc.name, proc.namespace == PG_CATALOG, env);
            format!("{name}({})", args.join(","))
        }),
        oid::REGOPER => builtin().operator(object).map(|operator| {
            let unique = builtin().operators_by_name(operator.name).len() == 1;
            if unique { operator.name.to_owned() } else { format!("pg_catalog.{}", operator.name) }
        }),
        oid::REGOPERATOR => builtin().operator(object).map(|operator| {
            let operand =
                |ty: Oid| if ty.0 == 0 { "NONE".to_owned() } else { typename::format(ty, None, env) };
            format!("{}({},{})", operator.name, operand(operator.left), operand(operator.right))
        }),
        oid::REGNAMESPACE => env.catalog.schemas.get(&object).map(|schema| quote_identifier(&schema.name)),
        oid::REGROLE => env.catalog.cluster.roles.get(&object).map(|role| quote_identifier(&role.name)),
        oid::REGCOLLATION => {
            COLLATIONS.iter().find(|(oid, _)| *oid == object.0).map(|(_, name)| quote_identifier(name))
        }
        _ => None,
    };
    name.unwrap_or_else(|| object.to_string())
}

fn relation_name(object: Oid, env: &EvalEnv) -> Option<String> {
    let (schema, name) = match env.catalog.relation(object) {
        Some(relation) => (relation.schema(), relation.name()),
        None => {
            let relation = builtin::system_relation(object)?;
            (relation.namespace, relation.name)
        }
    };
    Some(qualify(schema, name, relation_is_visible(object, env), env))
}

/// Whether the relation's bare name finds it along the search path (`pg_table_is_visible`).
pub(crate) fn relation_is_visible(object: Oid, env: &EvalEnv) -> bool {
    let name = match env.catalog.relation(object) {
        Some(relation) => relation.name(),
        None => match builtin::system_relation(object) {
            Some(relation) => relation.name,
            None => return false,
        },
    };
    relation(&quote_identifier(name), env).ok().flatten() == Some(object)
}

fn qualify(schema: Oid, name: &str, visible: bool, env: &EvalEnv) -> String {
    if visible {
        return quote_identifier(name);
    }
    let schema = env.catalog.schemas.get(&schema).map_or("pg_catalog", |schema| schema.name.as_str());
    format!("{}.{}", quote_identifier(schema), quote_identifier(name))
}
