//! Catalog functions that return sets.

use shardforge_types::PgError;
use shardforge_types::{Datum, PgResult, SqlState, oid as types};
use smallvec::smallvec;

use super::definitions::oid;
use crate::catalog::Relation;
use crate::catalog::builtin::system_relation;
use crate::exec::env::EvalEnv;
use crate::func::args::Args;
use crate::func::registry::TableKernelTable;
use crate::func::{CallInfo, TableRow, TableRows};

pub(super) const KERNELS: TableKernelTable = &[
    ("pg_partition_ancestors", |_, _, _| rows(Vec::new())),
    ("pg_partition_tree", partition_tree),
    ("pg_options_to_table", options_to_table),
    ("aclexplode", explode_acl),
    // information_schema._pg_expandarray, by its text: it is written in SQL.
    ("SELECT * FROM pg_catalog.unnest($1) WITH ORDINALITY", expand_array),
    ("pg_available_extensions", |_, _, _| rows(Vec::new())),
    ("pg_available_extension_versions", |_, _, _| rows(Vec::new())),
    ("pg_get_publication_tables", |_, _, _| rows(Vec::new())),
    ("pg_listening_channels", |_, _, env| {
        let channels = env.session.host.listening_channels().into_iter();
        rows(channels.map(|channel| smallvec![Datum::text(&*channel)]).collect())
    }),
    ("pg_tablespace_databases", |_, _, env| {
        rows(env.catalog.cluster.databases.keys().map(|oid| smallvec![Datum::Oid(oid.0)]).collect())
    }),
];

fn rows(rows: Vec<TableRow>) -> PgResult<TableRows> {
    Ok(Box::new(rows.into_iter().map(Ok)))
}

/// An unpartitioned relation is a tree of itself; a view is none.
fn partition_tree(args: &[Datum], _: &CallInfo, env: &EvalEnv) -> PgResult<TableRows> {
    let relation = oid(args, 0)?;
    let is_stored = match env.catalog.relation(relation) {
        Some(found) => matches!(found, Relation::Table(_) | Relation::Index(..)),
        None => system_relation(relation).is_some_and(|r| matches!(r.kind, b'r' | b'i')),
    };
    let row = smallvec![Datum::Oid(relation.0), Datum::Null, Datum::Bool(true), Datum::Int4(0)];
    rows(if is_stored { vec![row] } else { Vec::new() })
}

/// The elements of an array with their positions from 1.
fn expand_array(args: &[Datum], _: &CallInfo, _: &EvalEnv) -> PgResult<TableRows> {
    let row = |(n, value): (i32, &Datum)| -> TableRow { smallvec![value.clone(), Datum::Int4(n)] };
    rows((1..).zip(&args.array(0)?.elements).map(row).collect())
}

/// `{a=1,b}` as rows of name and value.
fn options_to_table(args: &[Datum], _: &CallInfo, _: &EvalEnv) -> PgResult<TableRows> {
    let option = |text: &str| -> TableRow {
        match text.split_once('=') {
            Some((name, value)) => smallvec![Datum::text(name), Datum::text(value)],
            None => smallvec![Datum::text(text), Datum::Null],
        }
    };
    rows(args.array(0)?.elements.iter().filter_map(Datum::as_str).map(option).collect())
}

/// The letters of an `aclitem`.
#[rustfmt::skip]
const PRIVILEGES: &[(char, &str)] = &[
    ('a', "INSERT"), ('r', "SELECT"), ('w', "UPDATE"), ('d', "DELETE"), ('D', "TRUNCATE"), ('x', "REFERENCES"),
    ('t', "TRIGGER"), ('X', "EXECUTE"), ('U', "USAGE"), ('C', "CREATE"), ('T', "TEMPORARY"), ('c', "CONNECT"),
    ('s', "SET"), ('A', "ALTER SYSTEM"), ('m', "MAINTAIN"),
];

/// `aclexplode`: a row of grantor, grantee, privilege and grant option for each privilege granted.
fn explode_acl(args: &[Datum], _: &CallInfo, env: &EvalEnv) -> PgResult<TableRows> {
    let acl = args.array(0)?;
    debug_assert!(acl.elem == types::ACLITEM || acl.elements.is_empty());
    let role = |name: &str| match name.trim_matches('"') {
        "" => 0,
        name => env.catalog.cluster.role_by_name(name).map_or(0, |role| role.oid.0),
    };
    let mut out = Vec::new();
    for item in acl.elements.iter().filter_map(Datum::as_str) {
        let parts = item.split_once('=').and_then(|(to, rest)| Some((to, rest.split_once('/')?)));
        let Some((grantee, (letters, grantor))) = parts else {
            let message = format!("invalid aclitem \"{item}\"");
            return Err(PgError::new(SqlState::INVALID_TEXT_REPRESENTATION, message));
        };
        let (grantee, grantor) = (role(grantee), role(grantor));
        for (at, letter) in letters.char_indices() {
            let Some((_, privilege)) = PRIVILEGES.iter().find(|(known, _)| *known == letter) else {
                continue;
            };
            let grantable = letters[at + 1..].starts_with('*');
            out.push(smallvec![
                Datum::Oid(grantor),
                Datum::Oid(grantee),
                Datum::text(*privilege),
                Datum::Bool(grantable)
            ]);
        }
    }
    rows(out)
}
