//! Whether an object is found by its bare name: `pg_table_is_visible` and the like. NULL if there is no such object.

use shardforge_types::{Datum, Oid, PgResult};

use super::definitions::oid;
use crate::catalog::builtin::{builtin, system_relation};
use crate::catalog::{Relation, info};
use crate::exec::env::EvalEnv;
use crate::func::registry::KernelTable;
use crate::func::{CallInfo, regtypes};

#[rustfmt::skip]
pub(super) const KERNELS: KernelTable = &[
    ("pg_table_is_visible", table_is_visible),
    ("pg_type_is_visible", type_is_visible),
    ("pg_function_is_visible", |a, _, env| {
        Ok(in_path(builtin().proc_by_oid(oid(a, 0)?).map(|f| f.namespace), env))
    }),
    ("pg_operator_is_visible", |a, _, env| {
        Ok(in_path(builtin().operator(oid(a, 0)?).map(|o| o.namespace), env))
    }),
    ("pg_opclass_is_visible", |a, _, env| Ok(in_path(builtin().opclass(oid(a, 0)?).map(|c| c.namespace), env))),
    ("pg_opfamily_is_visible", |a, _, env| by_row("pg_opfamily", "opfnamespace", a, env)),
    ("pg_collation_is_visible", |a, _, env| by_row("pg_collation", "collnamespace", a, env)),
    ("pg_conversion_is_visible", |a, _, env| by_row("pg_conversion", "connamespace", a, env)),
    ("pg_statistics_obj_is_visible", |a, _, env| by_row("pg_statistic_ext", "stxnamespace", a, env)),
    ("pg_ts_parser_is_visible", |a, _, env| by_row("pg_ts_parser", "prsnamespace", a, env)),
    ("pg_ts_dict_is_visible", |a, _, env| by_row("pg_ts_dict", "dictnamespace", a, env)),
    ("pg_ts_config_is_visible", |a, _, env| by_row("pg_ts_config", "cfgnamespace", a, env)),
    ("pg_ts_template_is_visible", |a, _, env| by_row("pg_ts_template", "tmplnamespace", a, env)),
];

/// For kinds of objects that only `pg_catalog` and `information_schema` have: no name hides another.
fn in_path(namespace: Option<Oid>, env: &EvalEnv) -> Datum {
    namespace.map_or(Datum::Null, |schema| Datum::Bool(env.search_path.contains(&schema)))
}

fn by_row(catalog: &str, namespace: &str, args: &[Datum], env: &EvalEnv) -> PgResult<Datum> {
    let rows = info::rows_where(&env.catalog, catalog, &[namespace], ("oid", oid(args, 0)?));
    let schema = rows.first().and_then(|row| match row.first() {
        Some(Datum::Oid(schema)) => Some(Oid(*schema)),
        _ => None,
    });
    Ok(in_path(schema, env))
}

fn table_is_visible(args: &[Datum], _: &CallInfo, env: &EvalEnv) -> PgResult<Datum> {
    let relation = oid(args, 0)?;
    let exists = env.catalog.relation(relation).is_some() || system_relation(relation).is_some();
    Ok(if exists { Datum::Bool(regtypes::relation_is_visible(relation, env)) } else { Datum::Null })
}

fn type_is_visible(args: &[Datum], _: &CallInfo, env: &EvalEnv) -> PgResult<Datum> {
    let ty = oid(args, 0)?;
    let rows = info::rows_where(&env.catalog, "pg_type", &["typname", "typnamespace"], ("oid", ty));
    let Some([Datum::Text(name), Datum::Oid(namespace), ..]) = rows.first().map(Vec::as_slice) else {
        return Ok(Datum::Null);
    };
    // The first schema in the path with a type of that name decides.
    let has = |schema: &&Oid| {
        let row_type = |relation: &Relation| matches!(relation, Relation::Table(_) | Relation::View(_));
        builtin().type_by_name(**schema, name).is_some()
            || env.catalog.relation_by_name(**schema, name).is_some_and(row_type)
            || **schema == Oid(*namespace)
    };
    Ok(Datum::Bool(env.search_path.iter().find(has) == Some(&Oid(*namespace))))
}
