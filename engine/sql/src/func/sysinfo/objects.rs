//! Sizes, encodings and properties of objects.

use shardforge_types::{Datum, Oid, PgError, PgResult, SqlState, oid as types};

use super::definitions::oid;
use crate::catalog::builtin::{builtin, system_relation};
use crate::catalog::pg_catalog::acl;
use crate::catalog::{Persistence, Relation, info};
use crate::exec::env::EvalEnv;
use crate::func::args::Args;
use crate::func::registry::{KernelTable, SqlKernelTable};
use crate::func::{CallInfo, regtypes};

#[rustfmt::skip]
pub(super) const KERNELS: KernelTable = &[
    ("pg_relation_size", relation_size),
    ("pg_table_size", |a, _, env| own_size(oid(a, 0)?, env)),
    ("pg_indexes_size", |a, _, env| indexes_size(oid(a, 0)?, env)),
    ("pg_total_relation_size", total_size),
    ("pg_database_size_oid", |a, _, env| database_size(oid(a, 0)?, env)),
    ("pg_database_size_name", database_size_by_name),
    ("pg_tablespace_size_oid", |_, _, env| database_size(env.catalog.database, env)),
    ("pg_tablespace_size_name", |_, _, env| database_size(env.catalog.database, env)),
    ("pg_tablespace_location", |_, _, _| Ok(Datum::text(""))),
    ("PG_encoding_to_char", |a, _, _| Ok(Datum::text(encoding(a.int4(0)?).map_or("", |e| e.0)))),
    ("PG_char_to_encoding", |a, _, _| Ok(Datum::Int4(encoding_number(a.text(0)?)))),
    ("pg_encoding_max_length_sql", |a, _, _| Ok(encoding(a.int4(0)?).map_or(Datum::Null, |e| Datum::Int4(e.1)))),
    ("pg_relation_is_publishable", is_publishable),
    ("pg_relation_filenode", filenode),
    ("pg_relation_filepath", |_, _, _| Ok(Datum::Null)),
    ("pg_relation_is_updatable", is_updatable),
    ("pg_column_is_updatable", column_is_updatable),
    ("row_security_active", |_, _, _| Ok(Datum::Bool(false))),
    ("row_security_active_name", |_, _, _| Ok(Datum::Bool(false))),
    ("pg_is_other_temp_schema", |_, _, _| Ok(Datum::Bool(false))),
    ("pg_partition_root", |_, _, _| Ok(Datum::Null)),
    ("pg_collation_actual_version", |_, _, _| Ok(Datum::Null)),
    ("pg_database_collation_actual_version", |_, _, _| Ok(Datum::text("1"))),
    ("acldefault_sql", default_acl),
    ("pg_get_acl", |_, _, _| Ok(Datum::Null)),
    ("pg_index_column_has_property", index_column_has_property),
    ("pg_index_has_property", index_has_property),
    ("pg_indexam_has_property", access_method_has_property),
    ("to_regclass", |a, _, env| by_name(types::REGCLASS, a, env)),
    ("to_regtype", |a, _, env| by_name(types::REGTYPE, a, env)),
    ("to_regproc", |a, _, env| by_name(types::REGPROC, a, env)),
    ("to_regprocedure", |a, _, env| by_name(types::REGPROCEDURE, a, env)),
    ("to_regoper", |a, _, env| by_name(types::REGOPER, a, env)),
    ("to_regoperator", |a, _, env| by_name(types::REGOPERATOR, a, env)),
    ("to_regnamespace", |a, _, env| by_name(types::REGNAMESPACE, a, env)),
    ("to_regrole", |a, _, env| by_name(types::REGROLE, a, env)),
    ("to_regcollation", |a, _, env| by_name(types::REGCOLLATION, a, env)),
];

pub(super) const SQL_KERNELS: SqlKernelTable = &[(2325, "pg_relation_size", relation_size)];

fn relation(args: &[Datum], env: &EvalEnv) -> PgResult<Option<Relation>> {
    Ok(env.catalog.relation(oid(args, 0)?).cloned())
}

/// Bytes of one relation's own storage; NULL if there is no such relation.
fn own_size(relation: Oid, env: &EvalEnv) -> PgResult<Datum> {
    match env.catalog.relation(relation) {
        Some(_) => env.session.host.relation_bytes(relation).map(Datum::Int8),
        // System catalogs are made of nothing.
        None => Ok(system_relation(relation).map_or(Datum::Null, |_| Datum::Int8(0))),
    }
}

/// `pg_relation_size`: all there is is in the main fork.
fn relation_size(args: &[Datum], _: &CallInfo, env: &EvalEnv) -> PgResult<Datum> {
    match args.datum(1) {
        Datum::Null => own_size(oid(args, 0)?, env),
        _ => match args.text(1)? {
            "main" => own_size(oid(args, 0)?, env),
            "fsm" | "vm" | "init" => Ok(Datum::Int8(0)),
            _ => Err(PgError::new(SqlState::INVALID_PARAMETER_VALUE, "invalid fork name")
                .hint("Valid fork names are \"main\", \"fsm\", \"vm\", and \"init\".")),
        },
    }
}

fn indexes_size(table: Oid, env: &EvalEnv) -> PgResult<Datum> {
    let Some(table) = env.catalog.table(table) else { return own_size(table, env) };
    let mut bytes = 0i64;
    for index in table.secondary_indexes() {
        bytes = bytes.saturating_add(env.session.host.relation_bytes(index.oid)?);
    }
    Ok(Datum::Int8(bytes))
}

fn total_size(args: &[Datum], _: &CallInfo, env: &EvalEnv) -> PgResult<Datum> {
    let relation = oid(args, 0)?;
    let own = own_size(relation, env)?;
    match (own, env.catalog.table(relation)) {
        (Datum::Int8(own), Some(_)) => {
            let indexes = indexes_size(relation, env)?.as_i64().unwrap_or(0);
            Ok(Datum::Int8(own.saturating_add(indexes)))
        }
        (own, _) => Ok(own),
    }
}

fn database_size(database: Oid, env: &EvalEnv) -> PgResult<Datum> {
    if !env.catalog.cluster.databases.contains_key(&database) {
        return Ok(Datum::Null);
    }
    let mut bytes = 0i64;
    if database == env.catalog.database {
        for table in env.catalog.tables() {
            bytes = bytes.saturating_add(env.session.host.relation_bytes(table.oid)?);
            bytes = bytes.saturating_add(indexes_size(table.oid, env)?.as_i64().unwrap_or(0));
        }
    }
    Ok(Datum::Int8(bytes))
}

fn database_size_by_name(args: &[Datum], _: &CallInfo, env: &EvalEnv) -> PgResult<Datum> {
    let name = args.text(0)?;
    match env.catalog.cluster.database_by_name(name) {
        Some(database) => database_size(database.oid, env),
        None => {
            let message = format!("database \"{name}\" does not exist");
            Err(PgError::new(SqlState::INVALID_CATALOG_NAME, message))
        }
    }
}

/// PostgreSQL's encodings by number, with the bytes that a character takes at most.
#[rustfmt::skip]
const ENCODINGS: [(&str, i32); 42] = [
    ("SQL_ASCII", 1), ("EUC_JP", 3), ("EUC_CN", 3), ("EUC_KR", 3), ("EUC_TW", 4), ("EUC_JIS_2004", 3), ("UTF8", 4),
    ("MULE_INTERNAL", 4), ("LATIN1", 1), ("LATIN2", 1), ("LATIN3", 1), ("LATIN4", 1), ("LATIN5", 1), ("LATIN6", 1),
    ("LATIN7", 1), ("LATIN8", 1), ("LATIN9", 1), ("LATIN10", 1), ("WIN1256", 1), ("WIN1258", 1), ("WIN866", 1),
    ("WIN874", 1), ("KOI8R", 1), ("WIN1251", 1), ("WIN1252", 1), ("ISO_8859_5", 1), ("ISO_8859_6", 1),
    ("ISO_8859_7", 1), ("ISO_8859_8", 1), ("WIN1250", 1), ("WIN1253", 1), ("WIN1254", 1), ("WIN1255", 1),
    ("WIN1257", 1), ("KOI8U", 1), ("SJIS", 2), ("BIG5", 2), ("GBK", 2), ("UHC", 2), ("GB18030", 4), ("JOHAB", 3),
    ("SHIFT_JIS_2004", 2),
];

fn encoding(number: i32) -> Option<(&'static str, i32)> {
    usize::try_from(number).ok().and_then(|n| ENCODINGS.get(n)).copied()
}

/// The number of an encoding, case and punctuation ignored; -1 if there is none of that name.
fn encoding_number(name: &str) -> i32 {
    let plain =
        |s: &str| s.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let wanted = match plain(name).as_str() {
        "unicode" => "utf8".to_owned(),
        other => other.to_owned(),
    };
    let found = ENCODINGS.iter().position(|(known, _)| plain(known) == wanted);
    found.and_then(|n| i32::try_from(n).ok()).unwrap_or(-1)
}

fn is_publishable(args: &[Datum], _: &CallInfo, env: &EvalEnv) -> PgResult<Datum> {
    Ok(match relation(args, env)? {
        Some(Relation::Table(table)) => Datum::Bool(table.persistence == Persistence::Permanent),
        Some(_) => Datum::Bool(false),
        None => system_relation(oid(args, 0)?).map_or(Datum::Null, |_| Datum::Bool(false)),
    })
}

fn filenode(args: &[Datum], _: &CallInfo, env: &EvalEnv) -> PgResult<Datum> {
    Ok(match relation(args, env)? {
        Some(Relation::Table(table)) => Datum::Oid(table.storage.0),
        Some(Relation::Index(table, position)) => Datum::Oid(table.indexes[position].storage.0),
        Some(Relation::Sequence(sequence)) => Datum::Oid(sequence.oid.0),
        Some(Relation::View(_)) | None => Datum::Null,
    })
}

/// The commands that a relation takes, as bits: 4 UPDATE, 8 INSERT, 16 DELETE.
fn is_updatable(args: &[Datum], _: &CallInfo, env: &EvalEnv) -> PgResult<Datum> {
    const ALL: i32 = 4 | 8 | 16;
    Ok(Datum::Int4(if matches!(relation(args, env)?, Some(Relation::Table(_))) { ALL } else { 0 }))
}

fn column_is_updatable(args: &[Datum], _: &CallInfo, env: &EvalEnv) -> PgResult<Datum> {
    let is_table = matches!(relation(args, env)?, Some(Relation::Table(_)));
    Ok(Datum::Bool(is_table && args.int2(1)? > 0))
}

/// `acldefault(kind, owner)`: what an object of the kind grants from the start.
fn default_acl(args: &[Datum], _: &CallInfo, env: &EvalEnv) -> PgResult<Datum> {
    let owner = info::role_name(&env.catalog, oid(args, 1)?);
    let (public, own) = match args.char(0)? {
        b'c' => ("", ""),
        b'r' => ("", "arwdDxtm"),
        b's' => ("", "rwU"),
        b'd' => ("Tc", "CTc"),
        b'f' => ("X", "X"),
        b'l' | b'T' => ("U", "U"),
        b'L' => ("", "rw"),
        b'n' => ("", "UC"),
        b't' => ("", "C"),
        b'F' | b'S' => ("", "U"),
        b'p' => ("", "sA"),
        other => {
            let message = format!("unrecognized object type abbreviation: {}", char::from(other));
            return Err(PgError::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
    };
    let grants =
        [("", public), (owner.as_str(), own)].into_iter().filter(|(_, privileges)| !privileges.is_empty());
    let items: Vec<String> = grants.map(|(to, privileges)| format!("{to}={privileges}/{owner}")).collect();
    Ok(acl(&format!("{{{}}}", items.join(","))))
}

/// Properties of a btree, which is what every index is.
fn btree_property(name: &str) -> Option<bool> {
    match name {
        "can_order" | "can_unique" | "can_multi_col" | "can_exclude" | "can_include" => Some(true),
        "clusterable" | "index_scan" | "backward_scan" => Some(true),
        "bitmap_scan" => Some(false),
        _ => None,
    }
}

fn access_method_has_property(args: &[Datum], _: &CallInfo, _: &EvalEnv) -> PgResult<Datum> {
    let method = builtin().access_methods().iter().find(|m| m.oid.0 == args.oid(0).unwrap_or(0));
    let name = args.text(1)?.to_ascii_lowercase();
    let known = name.starts_with("can_") && method.is_some_and(|m| m.name == "btree");
    Ok(btree_property(&name).filter(|_| known).map_or(Datum::Null, Datum::Bool))
}

fn index_has_property(args: &[Datum], _: &CallInfo, env: &EvalEnv) -> PgResult<Datum> {
    let is_index = matches!(relation(args, env)?, Some(Relation::Index(..)));
    let name = args.text(1)?.to_ascii_lowercase();
    Ok(btree_property(&name)
        .filter(|_| is_index && !name.starts_with("can_"))
        .map_or(Datum::Null, Datum::Bool))
}

fn index_column_has_property(args: &[Datum], _: &CallInfo, env: &EvalEnv) -> PgResult<Datum> {
    let Some(Relation::Index(table, position)) = relation(args, env)? else { return Ok(Datum::Null) };
    let index = &table.indexes[position];
    let Some(number) = usize::try_from(args.int4(1)?).ok().and_then(|n| n.checked_sub(1)) else {
        return Ok(Datum::Null);
    };
    let name = args.text(2)?.to_ascii_lowercase();
    let Some(column) = index.columns.get(number) else {
        let is_included = number < index.columns.len() + index.include.len();
        let returnable = is_included.then_some(name == "returnable");
        return Ok(returnable.map_or(Datum::Null, Datum::Bool));
    };
    Ok(match name.as_str() {
        "asc" => Datum::Bool(!column.desc),
        "desc" => Datum::Bool(column.desc),
        "nulls_first" => Datum::Bool(column.nulls_first),
        "nulls_last" => Datum::Bool(!column.nulls_first),
        "orderable" | "returnable" | "search_array" | "search_nulls" => Datum::Bool(true),
        "distance_orderable" => Datum::Bool(false),
        _ => Datum::Null,
    })
}

/// `to_regclass` and the like: NULL where the cast would fail because there is no such object.
fn by_name(ty: Oid, args: &[Datum], env: &EvalEnv) -> PgResult<Datum> {
    let text = args.text(0)?;
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return regtypes::input(ty, text, env);
    }
    match regtypes::lookup(ty, text, env) {
        Ok(found) => Ok(found.map_or(Datum::Null, |oid| Datum::Oid(oid.0))),
        // A schema that does not exist, or a name that several objects have, is no object either.
        Err(error) if is_absence(&error) => Ok(Datum::Null),
        Err(error) => Err(error),
    }
}

fn is_absence(error: &PgError) -> bool {
    let states = [
        SqlState::INVALID_SCHEMA_NAME,
        SqlState::UNDEFINED_TABLE,
        SqlState::UNDEFINED_OBJECT,
        SqlState::UNDEFINED_FUNCTION,
        SqlState::AMBIGUOUS_FUNCTION,
        SqlState::INVALID_NAME,
    ];
    states.contains(&error.sqlstate)
}
