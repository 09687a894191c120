//! The SQL that would make an object, and what was said about it.

use shardforge_types::{Datum, Oid, PgError, PgResult, SqlState};

use crate::catalog::builtin::{ProcDesc, builtin};
use crate::catalog::{Relation, info};
use crate::exec::env::EvalEnv;
use crate::func::args::Args;
use crate::func::ident::quote_identifier;
use crate::func::registry::{KernelTable, SqlKernelTable};
use crate::func::{CallInfo, regtypes, typename};

#[rustfmt::skip]
pub(super) const KERNELS: KernelTable = &[
    ("pg_get_userbyid", |a, _, env| Ok(Datum::text(info::role_name(&env.catalog, oid(a, 0)?)))),
    ("pg_get_expr", |a, _, _| Ok(a.datum(0).clone())),
    ("pg_get_expr_ext", |a, _, _| {
        Ok(if a.bool(2)? { Datum::text(info::pretty_expression(a.text(0)?)) } else { a.datum(0).clone() })
    }),
    ("pg_get_indexdef", |a, _, env| Ok(text(info::index_definition(&env.catalog, oid(a, 0)?)))),
    ("pg_get_indexdef_ext", |a, _, env| {
        let (index, column, pretty) = (oid(a, 0)?, a.int4(1)?, a.bool(2)?);
        Ok(text(info::index_column_definition(&env.catalog, &env.search_path, index, column, pretty)))
    }),
    ("pg_get_constraintdef", |a, _, env| Ok(text(info::constraint_definition(&env.catalog, &env.search_path, oid(a, 0)?, false)))),
    ("pg_get_constraintdef_ext", |a, _, env| {
        Ok(text(info::constraint_definition(&env.catalog, &env.search_path, oid(a, 0)?, a.bool(1)?)))
    }),
    ("pg_get_viewdef", |a, _, env| Ok(text(info::view_definition(&env.catalog, oid(a, 0)?)))),
    ("pg_get_viewdef_ext", |a, _, env| Ok(text(info::view_definition(&env.catalog, oid(a, 0)?)))),
    ("pg_get_viewdef_wrap", |a, _, env| Ok(text(info::view_definition(&env.catalog, oid(a, 0)?)))),
    ("pg_get_viewdef_name", view_by_name),
    ("pg_get_viewdef_name_ext", view_by_name),
    ("pg_get_serial_sequence", serial_sequence),
    ("pg_get_function_arguments", |a, _, env| {
        of_function(a, |f| Some(info::function_arguments(f, true, |ty| typename::format(ty, None, env))))
    }),
    ("pg_get_function_identity_arguments", |a, _, env| {
        of_function(a, |f| Some(info::function_arguments(f, false, |ty| typename::format(ty, None, env))))
    }),
    ("pg_get_function_result", |a, _, env| {
        of_function(a, |f| info::function_result(f, |ty| typename::format(ty, None, env)))
    }),
    ("pg_get_function_arg_default", |a, _, _| {
        let position = a.int4(1)?;
        of_function(a, |f| info::function_argument_default(f, position))
    }),
    ("pg_get_function_sqlbody", |a, _, _| of_function(a, |f| f.sql_body().map(str::to_owned))),
    // There are no rules, triggers, partitions and statistics objects to define.
    ("pg_get_ruledef", nothing),
    ("pg_get_ruledef_ext", nothing),
    ("pg_get_triggerdef", nothing),
    ("pg_get_triggerdef_ext", nothing),
    ("pg_get_partkeydef", nothing),
    ("pg_get_partition_constraintdef", nothing),
    ("pg_get_statisticsobjdef", nothing),
    ("pg_get_statisticsobjdef_columns", nothing),
    ("pg_get_statisticsobjdef_expressions", nothing),
];

pub(super) const SQL_KERNELS: SqlKernelTable = &[
    (1215, "obj_description", |a, _, env| {
        Ok(text(info::comment(&env.catalog, oid(a, 0)?, Some(a.text(1)?))))
    }),
    (1348, "obj_description", |a, _, env| Ok(text(info::comment(&env.catalog, oid(a, 0)?, None)))),
    (1216, "col_description", |a, _, env| {
        Ok(text(info::column_comment(&env.catalog, oid(a, 0)?, a.int4(1)?)))
    }),
    (1993, "shobj_description", |a, _, env| {
        Ok(text(info::shared_comment(&env.catalog, oid(a, 0)?, a.text(1)?)))
    }),
];

/// An argument that names an object.
pub(super) fn oid(args: &[Datum], index: usize) -> PgResult<Oid> {
    args.oid(index).map(Oid)
}

fn text(value: Option<String>) -> Datum {
    value.map_or(Datum::Null, Datum::text)
}

fn nothing(_: &[Datum], _: &CallInfo, _: &EvalEnv) -> PgResult<Datum> {
    Ok(Datum::Null)
}

fn of_function(args: &[Datum], say: impl FnOnce(&ProcDesc) -> Option<String>) -> PgResult<Datum> {
    Ok(text(builtin().proc_by_oid(oid(args, 0)?).and_then(say)))
}

/// The relation of a name; 42P01 if there is none.
pub(super) fn relation_by_name(name: &str, env: &EvalEnv) -> PgResult<Oid> {
    regtypes::relation(name, env)?
        .ok_or_else(|| PgError::new(SqlState::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist")))
}

fn view_by_name(args: &[Datum], _: &CallInfo, env: &EvalEnv) -> PgResult<Datum> {
    let view = relation_by_name(args.text(0)?, env)?;
    Ok(text(info::view_definition(&env.catalog, view)))
}

/// The sequence that a column owns, quoted and with its schema.
fn serial_sequence(args: &[Datum], _: &CallInfo, env: &EvalEnv) -> PgResult<Datum> {
    let (table_name, column_name) = (args.text(0)?, args.text(1)?);
    let table = relation_by_name(table_name, env)?;
    let column =
        env.catalog.table(table).and_then(|t| t.column_by_name(column_name)).map(|(attnum, _)| attnum);
    let Some(attnum) = column else {
        let message = format!("column \"{column_name}\" of relation \"{table_name}\" does not exist");
        return Err(PgError::new(SqlState::UNDEFINED_COLUMN, message));
    };
    let owned = env.catalog.relations.values().find_map(|relation| match relation {
        Relation::Sequence(s) => s.owned_by.is_some_and(|(t, a, _)| (t, a) == (table, attnum)).then_some(s),
        _ => None,
    });
    Ok(text(owned.map(|s| {
        let schema = env.catalog.schemas.get(&s.schema).map_or("", |schema| schema.name.as_str());
        format!("{}.{}", quote_identifier(schema), quote_identifier(&s.name))
    })))
}
